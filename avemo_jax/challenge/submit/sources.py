"""The sources of submissions: files of predictions, and trained models."""

import dataclasses
import pathlib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from avemo_jax.challenge.submit.means import MeanPart, mean_of
from avemo_jax.challenge.submit.predictions import load_predictions
from avemo_jax.data.predictions.frames import FramePredictions
from avemo_jax.tasks import Task

if TYPE_CHECKING:
    from avemo_jax.models.ensembles import EnsembleOver

MOST = 5  # submissions of a task that the challenge takes from a team
_MODEL_FILES = ("head.json", "blend.json", "joint.json")
_WEIGHTED = re.compile(r"(.+)\*([0-9]*\.?[0-9]+)")


@dataclasses.dataclass(frozen=True)
class SubmissionSource:
    """A file of predictions or a model, and its weight in a mean."""

    path: pathlib.Path
    weight: float


@dataclasses.dataclass(frozen=True)
class Wanted:
    """One submission that is asked for: its name, and the sources to be averaged."""

    name: str
    sources: tuple[SubmissionSource, ...]


def parse_submissions(texts: Sequence[str]) -> tuple[Wanted, ...]:
    """The submissions that texts ``NAME=SOURCE[*WEIGHT][,SOURCE[*WEIGHT]...]`` ask for.

    Raises:
        ValueError: If a text has no name or source, a name is there twice or cannot be
            a folder's, or a weight is 0.
    """
    found: dict[str, Wanted] = {}
    for text in texts:
        name, _, right = text.partition("=")
        names = [one.strip() for one in right.split(",")]
        plain = name and pathlib.Path(name).name == name and not name.startswith(".")
        if not plain or not all(names) or name in found:
            raise ValueError(
                f"--submission {text!r}{' again' if name in found else ''}; expected "
                "NAME=SOURCE[,SOURCE...] with another NAME each, which a folder in "
                "--out will have: correct the flag"
            )
        sources = []
        for one in names:
            weighted = _WEIGHTED.fullmatch(one)
            path, weight = weighted.groups() if weighted else (one, "1")
            if not float(weight):
                raise ValueError(
                    f"--submission {text!r}: weight 0 of {path}; expected a positive "
                    "number, or the source left out: correct the flag"
                )
            sources.append(SubmissionSource(pathlib.Path(path), float(weight)))
        found[name] = Wanted(name, tuple(sources))
    return tuple(found.values())


def load_submission(
    wanted: Wanted,
    out: pathlib.Path,
    *,
    task: Task | None,
    data_dir: str | None,
    ensemble: "EnsembleOver | None",
    thresholds: Float[np.ndarray, " units"] | None,
) -> tuple[FramePredictions, ...]:
    """The predictions of one submission, for each task the mean of its sources.

    Args:
        wanted: The submission's name and sources.
        out: Folder for what models predict, in a folder for each.
        task: The task of files that do not tell theirs; None: every file tells it.
        data_dir: Store with the test videos, for models; None: no source is a model.
        ensemble: Whether a model predicts the mean over its "seeds", or a run the mean
            over its "folds"; None: neither.
        thresholds: Threshold of each action unit; None: those beside the files.

    Raises:
        ValueError: If a source is wrong, or does not tell its task.
    """
    by_task: dict[str, list[MeanPart]] = {}
    for number, source in enumerate(wanted.sources):
        made = out / f"predicted_{number}"
        for path in _files_of(source.path, made, data_dir, ensemble):
            found = load_predictions(path, task, thresholds)
            part = MeanPart(found, source.weight)
            by_task.setdefault(found.task.name, []).append(part)
    return tuple(mean_of(wanted.name, parts, thresholds) for parts in by_task.values())


def _is_model(path: pathlib.Path, ensemble: "EnsembleOver | None") -> bool:
    """Whether ``path`` is a checkpoint (of a head, a blend, joint tasks) or such folds.

    Args:
        path: The source.
        ensemble: With "folds", the folder of a run with folds is a model too.

    Raises:
        ValueError: If ``path`` is the folder of a run where its checkpoint is needed.
    """
    if ensemble == "folds" and (path / "fold_0").is_dir():
        return True
    if (path / "best_model").is_dir() or (path / "fold_0").is_dir():
        instead = f"give {path / 'best_model'}"
        if (path / "fold_0").is_dir():
            instead = "add --ensemble folds"
        raise ValueError(
            f"{path} is the folder of a run; expected a model or predictions: {instead}"
        )
    return any((path / name).is_file() for name in _MODEL_FILES)


def _files_of(
    path: pathlib.Path,
    out: pathlib.Path,
    data_dir: str | None,
    ensemble: "EnsembleOver | None",
) -> list[pathlib.Path]:
    """The source itself, or the files of what a model predicts for the test videos."""
    if not _is_model(path, ensemble):
        return [path]
    from avemo_jax.experiment import evaluate_checkpoint  # needs JAX, only for models

    evaluate_checkpoint(
        path,
        data_dir=data_dir,
        split="test",
        workdir=out,
        ensemble=ensemble,
        report=False,
    )
    alone = out / "predictions.csv"
    return [alone] if alone.exists() else sorted(out.glob("*/predictions.csv"))
