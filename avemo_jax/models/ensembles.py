"""Means over the heads of a run: over its seeds, or over its folds."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from avemo_jax.batches.tables import Data
from avemo_jax.models import blend
from avemo_jax.models.blend import Model, load_heads
from avemo_jax.models.card import JOINT_FILE, Card, CheckpointError
from avemo_jax.models.frame_scores import SplitScores
from avemo_jax.models.head import TrainedHead

EnsembleOver = Literal["seeds", "folds"]
OUT_OF_FOLD = "the training videos, each by the head of the fold that left it out"


@dataclasses.dataclass
class Ensemble(Model):
    """A model whose scores are means over heads.

    Attributes:
        seeds: The seeds of each fold's heads, or those that the mean is over.
        num_folds: Number of folds of the run; 1 where the mean is over seeds. Each of
            ``heads`` has the seeds of fold 0, then those of fold 1, ...
        fold_of: By training video, the fold that left it out; empty over seeds.
    """

    seeds: tuple[int, ...] = ()
    num_folds: int = 1
    fold_of: Mapping[str, int] = dataclasses.field(default_factory=dict)

    @property
    def over_folds(self) -> bool:
        """Whether the mean is over folds, for each seed, and not over seeds."""
        return self.num_folds > 1

    @property
    def best_epochs(self) -> list[Any]:
        """The epochs of all heads of each mean."""
        of_heads, count = super().best_epochs, len(self.seeds)
        if not self.over_folds:
            return [of_heads]
        return [of_heads[seed::count] for seed in range(count)]

    @property
    def averaged(self) -> dict[str, Any]:
        """The block ``ensemble`` of results.json."""
        block: dict[str, Any] = {
            "over": "folds" if self.over_folds else "seeds",
            "heads": self.num_folds * len(self.seeds),
            "seeds": list(self.seeds),
        }
        return block | ({"folds": self.num_folds} if self.over_folds else {})


def load_model(directory: pathlib.Path, kind: EnsembleOver | None = None) -> Model:
    """The model in ``directory``: the head checkpoint or blend, or means over heads.

    Args:
        directory: The checkpoint or blend; for "folds" the run.
        kind: What the mean is over; None takes no mean.

    Raises:
        CheckpointError: If there is no model, it is damaged, or has nothing to average.
    """
    return load_ensemble(directory, kind) if kind else load_heads(directory)


def load_ensemble(directory: pathlib.Path, kind: EnsembleOver) -> Ensemble:
    """The heads of a run as one model.

    Args:
        directory: For "seeds" the checkpoint or blend, ``RUN/best_model``; for "folds"
            the run, which has ``fold_0/``, ``fold_1/``, ...
        kind: What the mean is over.

    Raises:
        CheckpointError: If there is nothing to average, a fold is missing, or folds do
            not fit each other.
    """
    return _of_folds(directory) if kind == "folds" else _of_seeds(directory)


def _of_seeds(directory: pathlib.Path) -> Ensemble:
    model = load_heads(directory)
    seeds = model.card.seeds
    if len(seeds) < 2:
        raise CheckpointError(
            f"{directory} has one seed; expected several to average: train with "
            "--config.num_seeds=5"
        )
    return Ensemble(
        model.directory,
        model.heads,
        _fresh(model.card, seeds[:1]),
        model.options,
        model.blend,
        seeds=seeds,
    )


def fold_models(directory: pathlib.Path) -> dict[pathlib.Path, Model]:
    """The model of every fold of a run, by the fold's folder, in their order.

    Args:
        directory: The run, which has ``fold_0/``, ``fold_1/``, ...

    Raises:
        CheckpointError: If a fold is missing, or folds do not fit each other.
    """
    folders = sorted(
        (path for path in directory.glob("fold_*") if path.name[5:].isdigit()),
        key=lambda path: int(path.name[5:]),
    )
    if not folders:
        raise CheckpointError(
            f"{directory} has no fold_0; expected the folder of a run with "
            "config.data.folds: correct the path, or average seeds, --ensemble=seeds"
        )
    models = {folder: _load_fold(folder / "best_model") for folder in folders}
    first = models[folders[0]]
    # How many folds of speakers there are, the store knows.
    wanted = first.card.config["data"]["folds"] or len(folders)
    if [int(path.name[5:]) for path in folders] != list(range(wanted)):
        raise CheckpointError(
            f"{directory} has {', '.join(path.name for path in folders)} of {wanted} "
            "folds; expected all: the command that made them goes on"
        )
    for folder, model in models.items():
        _check_alike(folder, first, model)
    return models


def _of_folds(directory: pathlib.Path) -> Ensemble:
    by_folder = fold_models(directory)
    folders, models = list(by_folder), list(by_folder.values())
    first = models[0]
    if protocol := first.card.config["data"].get("protocol"):
        raise CheckpointError(
            f"{directory} has the folds of {protocol!r}, each of which is reported by "
            "a model of the others; expected folds that share what is reported: train "
            "with config.data.folds, or evaluate a fold, --checkpoint "
            f"{directory}/fold_0/best_model"
        )
    heads = tuple(
        _stacked(directory, [model.heads[i] for model in models])
        for i in range(len(first.heads))
    )
    return Ensemble(
        directory,
        heads,
        _fresh(first.card, first.card.seeds),
        first.options,
        first.blend,
        seeds=first.card.seeds,
        num_folds=len(models),
        fold_of=_fold_of(folders, models),
    )


def _load_fold(directory: pathlib.Path) -> Model:
    if (directory / JOINT_FILE).is_file():
        raise CheckpointError(
            f"{directory} has several tasks; expected the folds of one: train the "
            "tasks alone for an ensemble of folds, or average seeds, --ensemble=seeds"
        )
    if not directory.is_dir():
        raise CheckpointError(
            f"there is no {directory}; expected every fold to be trained: the command "
            "that began the run goes on"
        )
    return load_heads(directory)


def _fresh(card: Card, seeds: tuple[int, ...]) -> Card:
    """The card with these seeds, without what was chosen for single heads."""
    return dataclasses.replace(card, seeds=seeds, selection=None, dev_scores=None)


def _check_alike(folder: pathlib.Path, first: Model, other: Model) -> None:
    """Refuses folds of another head, of other features or seeds."""
    for name in ("task", "head", "features", "seeds", "protocol"):
        expected, found = getattr(first.card, name), getattr(other.card, name)
        if found != expected:
            raise CheckpointError(
                f"{folder}: {name} {found!r}, of the first fold {expected!r}; expected "
                "the same: remove the folder and let the run train it anew"
            )


def _stacked(directory: pathlib.Path, heads: Sequence[Any]) -> TrainedHead:
    """The heads of all folds as the seeds of one."""
    assert all(isinstance(head, TrainedHead) for head in heads)
    variables = jax.tree.map(
        lambda *leaves: jnp.concatenate(leaves), *(head.variables for head in heads)
    )
    card = dataclasses.replace(
        heads[0].card,
        seeds=tuple(seed for head in heads for seed in head.card.seeds),
        best_epochs=tuple(epoch for head in heads for epoch in head.best_epochs),
        training_videos=tuple(
            sorted({video for head in heads for video in head.training_videos})
        ),
        sha256={str(i): head.fingerprint for i, head in enumerate(heads)},
    )
    return TrainedHead(directory, card, heads[0].head, variables, heads[0].mesh)


def _fold_of(
    folders: Sequence[pathlib.Path], models: Sequence[Model]
) -> dict[str, int]:
    """By video, the fold that left it out.

    Raises:
        CheckpointError: If a fold was trained on what it is said to have left out, or
            two left out one video.
    """
    left_out: dict[str, int] = {}
    for number, (folder, model) in enumerate(zip(folders, models, strict=True)):
        for head in model.heads:
            assert isinstance(head, TrainedHead)
            videos = head.card.dev_videos
            trained = set(videos) & set(head.training_videos)
            twice = [v for v in videos if left_out.get(v, number) != number]
            if trained or twice:
                raise CheckpointError(
                    f"{folder}: video {next(iter([*trained, *twice]))!r} was trained "
                    "on, or is another fold's too; expected each left out by one: "
                    "train the folds anew"
                )
            left_out |= dict.fromkeys(videos, number)
    return left_out


def split_scores(model: Model, data: Data, split: str, budget: int) -> SplitScores:
    """Scores of ``split`` by each head of a model; for an ensemble their means."""
    predicted = blend.scores_by_head(model, data, split, budget)
    if not isinstance(model, Ensemble):
        return predicted
    # The mean leaves (heads, seeds, ...), or the one fold in the place of the seeds.
    scores = _by_fold(model, predicted.scores)
    mean = scores.mean(axis=1 if model.over_folds else 2, dtype=np.float32)
    return dataclasses.replace(predicted, scores=mean)


def out_of_fold(model: Ensemble, data: Data, budget: int) -> SplitScores:
    """Scores of the official training videos, each by the head that left it out.

    Raises:
        ValueError: If the store has other videos than the folds were made of.
    """
    predicted = blend.scores_by_head(model, data, "train+dev", budget)
    table = predicted.table
    counts = np.diff(table.row_offsets)
    unknown = [
        video
        for video, rows in zip(table.videos, counts, strict=True)
        if rows and video not in model.fold_of
    ]
    if unknown:
        raise ValueError(
            f"{len(unknown)} training videos of {data.name} are in no fold of "
            f"{model.directory}, as {unknown[0]!r}; expected the store that it was "
            "trained on: name that, --data-dir=DIR"
        )
    folds = np.array([model.fold_of.get(video, 0) for video in table.videos], int)
    fold = np.repeat(folds, counts)
    by_fold = _by_fold(model, predicted.scores)
    rows = np.arange(table.num_rows)
    # (rows, heads, seeds, outputs): the indices stand on both sides of a slice.
    own = np.moveaxis(by_fold[:, fold, :, rows], 0, 2)
    return dataclasses.replace(predicted, scores=np.ascontiguousarray(own))


def _by_fold(
    model: Ensemble, scores: Float[np.ndarray, "heads runs rows outputs"]
) -> Float[np.ndarray, "heads folds seeds rows outputs"]:
    heads, runs, *rest = scores.shape
    folds = model.num_folds
    return scores.reshape(heads, folds, runs // folds, *rest)
