"""What a report is made of: results, the model's card, predictions, epochs."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from avemo_jax.data.predictions.threshold_file import read_thresholds
from avemo_jax.evaluation.figures import learning_records
from avemo_jax.evaluation.joint import JointModel
from avemo_jax.evaluation.report import frame_sets, model_title
from avemo_jax.evaluation.run_report.frames import ReportFrames, read_frames
from avemo_jax.models.blend import Model
from avemo_jax.models.card import Card
from avemo_jax.models.head import TrainedHead
from avemo_jax.models.selection import best_seed
from avemo_jax.runtime.json_files import read_json
from avemo_jax.runtime.logs import MetricsLog
from avemo_jax.tasks import Task, get_task

_BEST = "best_model"  # the checkpoint beside which a run keeps its epochs


@dataclasses.dataclass(frozen=True)
class Epochs:
    """The epochs of one head's training.

    Attributes:
        title: What the head is.
        card: The card of its checkpoint.
        records: The epochs, as ``figures.learning_records`` has them.
    """

    title: str
    card: Card
    records: list[dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class TaskContents:
    """The evaluation of one task.

    Attributes:
        found: Content of results.json.
        card: The model's card, with what was chosen.
        frames: Predictions of every frame, by the seed that is best on dev.
        heads: Names of the model's heads, in the order of a blend's weights.
    """

    found: Mapping[str, Any]
    card: Card
    frames: ReportFrames
    heads: tuple[str, ...]

    @property
    def task(self) -> Task:
        """The task that was evaluated."""
        return self.frames.task

    @property
    def best(self) -> int:
        """Index of the seed that predictions are by."""
        found, card = self.found, self.card
        if per_seed := found.get("per_seed"):
            dev = [one.get("dev", {}) for one in per_seed]
            name = f"smoothed_{self.task.headline}"
            scores = [one[name] for one in dev if name in one] or card.dev_scores
            return int(np.argmax(scores or [0.0]))
        if card.selection is not None:
            return best_seed(card.selection, card.dev_scores)
        return int(np.argmax(card.dev_scores or [0.0]))

    @property
    def by_seed(self) -> str:
        """Which seed the predictions are by, in words; empty where there is one."""
        if self.found["num_seeds"] < 2:
            return ""
        return f" by seed {self.card.seeds[self.best]}, the best on dev"

    @property
    def counted(self) -> str:
        """The frames that are counted, in words."""
        return f"frames {frame_sets(self.found)['with_crop']}"


def task_contents(
    folder: pathlib.Path, model: Model, found: Mapping[str, Any]
) -> TaskContents:
    """The evaluation of a task that ``evaluate`` has written.

    Args:
        folder: Folder with ``predictions.csv``.
        model: The model that was evaluated.
        found: Content of results.json.

    Raises:
        ValueError: If the file with thresholds is damaged.
    """
    task, path = get_task(found["task"]), folder / "predictions.csv"
    limits = read_thresholds(path, task) if task.kind == "multilabel" else None
    heads = [
        " on ".join(filter(None, (head.kind, " + ".join(head.features))))
        for head in model.heads
    ]
    frames = read_frames(path, task, limits)
    return TaskContents(found, model.card, frames, tuple(heads))


def trained_of(model: Model | JointModel) -> dict[pathlib.Path, Card]:
    """The card of each training that a model comes from, by the run's folder.

    Runs that are not beside their checkpoints, ``RUN/best_model``, are left out.

    Args:
        model: A model; tasks that were trained together have one training.
    """
    if isinstance(model, JointModel):
        first = next(iter(model.models.values()))
        found = {first.directory.parent: model.card}
    else:
        found = {
            head.directory: head.card
            for head in model.heads
            if isinstance(head, TrainedHead)
        }
    whole = {folder.absolute(): card for folder, card in found.items()}
    return {
        folder.parent: card
        for folder, card in whole.items()
        if folder.name == _BEST and (folder.parent / "metrics.jsonl").is_file()
    }


def epochs_of(trained: Mapping[pathlib.Path, Card]) -> list[Epochs]:
    """The epochs of each training that has scores on dev.

    Args:
        trained: What :func:`trained_of` gives.

    Raises:
        ValueError: If a ``metrics.jsonl`` is damaged.
    """
    found = []
    for run, card in trained.items():
        history = MetricsLog(run, tensorboard=False, writes=False).read()
        if records := learning_records(history, card):
            names = [one.name for one in card.features]
            title = model_title(str(card.head["kind"]), names)
            if len(trained) > 1:
                title = f"{run.name}: {title}"
            found.append(Epochs(title, card, records))
    return found


def environment_of(trained: Mapping[pathlib.Path, Card]) -> dict[str, Any]:
    """Content of the first training's ``environment.json``; empty where it is missing.

    Args:
        trained: What :func:`trained_of` gives.

    Raises:
        ValueError: If the file is no JSON.
    """
    path = next((run / "environment.json" for run in trained), None)
    if path is None or not path.is_file():
        return {}
    remedy = "remove it; the report will lack the versions of the training"
    found: dict[str, Any] = read_json(path, dict, remedy=remedy)
    return found
