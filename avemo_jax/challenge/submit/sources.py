"""The sources of submissions: files of predictions, and trained models."""

import dataclasses
import pathlib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from avemo_jax.challenge.submit.means import MeanPart, mean_of
from avemo_jax.challenge.submit.predictions import (
    Predictions,
    task_of,
    with_thresholds,
)
from avemo_jax.data.predictions.frames import FramePredictions
from avemo_jax.data.predictions.reading import read_frame_predictions
from avemo_jax.tasks import AU, EXPR, Task

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
) -> tuple[Predictions, ...]:
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
            own = task_of(path) or task
            if own is None:
                raise ValueError(
                    f"{path} does not tell its task; expected columns with the names "
                    "of a task's outputs, or --task expr|au|va: add the flag"
                )
            part = MeanPart(_as_predictions(path, own, thresholds), source.weight)
            by_task.setdefault(own.name, []).append(part)
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
        path, data_dir=data_dir, split="test", workdir=out, ensemble=ensemble
    )
    alone = out / "predictions.csv"
    return [alone] if alone.exists() else sorted(out.glob("*/predictions.csv"))


def _as_predictions(
    path: pathlib.Path, task: Task, thresholds: Float[np.ndarray, " units"] | None
) -> Predictions:
    """The predictions in a file of any form, with decisions and thresholds."""
    found = read_frame_predictions(path, task)
    made = Predictions(
        path,
        task,
        found.videos,
        found.video,
        found.frame.astype(np.int32),
        found.own,
        _scores(found, task),
        _decided(found, task, thresholds),
        has_scores=found.scores is not None,
    )
    if found.decided is not None:
        return with_thresholds(made)
    if task is not AU:
        return made
    if thresholds is not None:
        return dataclasses.replace(made, thresholds=thresholds)
    note = f"{path} has neither thresholds nor decisions: decided at 0.5"
    half = np.full(task.num_outputs, 0.5)
    return dataclasses.replace(made, thresholds=half, note=note)


def _scores(found: FramePredictions, task: Task) -> Float[np.ndarray, "rows outputs"]:
    """The file's scores; where it holds decisions only, these as 0 and 1."""
    if found.scores is not None:
        return found.scores
    assert found.decided is not None
    if task is EXPR:
        return np.eye(task.num_outputs)[found.decided[:, 0]]
    return found.decided.astype(np.float64)


def _decided(
    found: FramePredictions, task: Task, thresholds: Float[np.ndarray, " units"] | None
) -> np.ndarray:
    """The file's decisions; where it holds none, those made from its scores."""
    if task not in (EXPR, AU):
        return np.zeros((len(found.frame), 0), np.int8)
    if found.decided is not None:
        return found.decided
    assert found.scores is not None
    if task is EXPR:
        return found.scores.argmax(axis=1).astype(np.int8)[:, None]
    limits = np.full(task.num_outputs, 0.5) if thresholds is None else thresholds
    return (found.scores >= limits).astype(np.int8)
