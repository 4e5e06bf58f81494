"""Which inputs are predicted already, and whether as they are asked for now."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import logging

from avemo_jax.data.listing import subfolders
from avemo_jax.prediction.inputs import Input
from avemo_jax.prediction.summaries import SummaryRow, write_summary
from avemo_jax.prediction.writing import RUN, WrittenRun, written_run

SUMMARY = "summary.csv"
Beside = Callable[[str], Sequence[pathlib.Path]]


@dataclasses.dataclass(frozen=True, eq=False)
class Work:
    """What is left to do.

    Attributes:
        todo: Inputs whose tables are missing, damaged, or of an input that has changed.
        standing: What ``run.json`` says of the others, by name of the input.
    """

    todo: tuple[Input, ...]
    standing: Mapping[str, WrittenRun]


def find_work(
    out: pathlib.Path,
    inputs: Sequence[Input],
    facts: Mapping[str, Any],
    *,
    beside: Beside = lambda name: (),
    overwrite: bool = False,
) -> Work:
    """The inputs that are still to be predicted, and those that are.

    Args:
        out: The folder of all results.
        inputs: The inputs.
        facts: What decides the tables beside the input, as :func:`run_facts` gives it.
        beside: Names the files that are read with the input of a name.
        overwrite: Do all again.

    Raises:
        ValueError: If a folder has the tables of another model or other settings.
    """
    todo: list[Input] = []
    standing: dict[str, WrittenRun] = {}
    for one in inputs:
        found = None if overwrite else _found(out / one.name)
        if found is None or "fingerprint" not in found["settings"]:
            todo.append(one)
            continue
        there = found["settings"]
        if there["fingerprint"] != facts["fingerprint"]:
            raise ValueError(
                f"{out / one.name} has predictions made otherwise "
                f"({_difference(there, facts)}); expected one kind in a folder: give "
                "another --out, or --overwrite to replace them"
            )
        if there.get("source") != _digest(one, beside):
            logging.warning(
                "%s, or a file of its faces or sound, has changed: it is predicted "
                "again",
                one.path,
            )
            todo.append(one)
        else:
            standing[one.name] = found
    return Work(tuple(todo), standing)


def run_facts(
    facts: Mapping[str, Any],
    settings: Mapping[str, Any],
    fingerprint: str,
    device: str,
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """What ``run.json`` keeps under ``settings`` of every input.

    Args:
        facts: What decides the networks' results.
        settings: What was asked for.
        fingerprint: Digest of both.
        device: What the networks run on, in words.
        notes: What a user should know of the model, in words.
    """
    return {
        **settings,
        **facts,
        "model_notes": list(notes),
        "device": device,
        "fingerprint": fingerprint,
    }


def told_of(
    facts: Mapping[str, Any], one: Input, beside: Beside = lambda name: ()
) -> dict[str, Any]:
    """What ``run.json`` keeps under ``settings`` of one input.

    Args:
        facts: What :func:`run_facts` gives.
        one: The input.
        beside: Names the files that are read with the input of a name.
    """
    return {**facts, "source": _digest(one, beside)}


def _digest(one: Input, beside: Beside) -> str | None:
    try:
        return one.digest(beside(one.name))
    except OSError:
        return None  # gone, which reading it will tell


def _found(folder: pathlib.Path) -> WrittenRun | None:
    try:
        return written_run(folder)
    except ValueError as error:
        logging.warning("%s; it is predicted again", error)
        return None


def _difference(there: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """How what was asked for differs, in words."""
    skip = {"fingerprint", "source", "device", "model_notes"}
    names = [n for n in now if n not in skip and there.get(n) != now[n]]
    words = [
        f"{name} {_short(there.get(name))} there, {_short(now[name])} now"
        for name in names
        if not isinstance(now[name], dict)
    ]
    words += [name for name in names if isinstance(now[name], dict)]
    return "; ".join(words[:3]) or "another version"


def _short(value: Any) -> str:
    if isinstance(value, list):
        return "+".join(map(str, value))
    return str(value)[:40]


def write_all_summaries(out: pathlib.Path) -> pathlib.Path:
    """Write ``summary.csv`` of all inputs that are complete in the folder of results.

    Args:
        out: The folder of all results.

    Raises:
        OSError: If it cannot be written.
    """
    rows: list[SummaryRow] = []
    for folder in subfolders(out):
        if (folder / RUN).is_file() and (found := _found(folder)) is not None:
            rows += [dict(row) for row in found["summary"]]
    write_summary(rows, out / SUMMARY)
    return out / SUMMARY
