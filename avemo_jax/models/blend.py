"""Models, a head checkpoint or a blend of several, and their scores of a split.

A blend is a directory with ``blend.json``: the paths of its heads (head checkpoints,
or files of predictions made elsewhere), what was chosen for it on dev, and how.
"""

import dataclasses
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from absl import logging
from jaxtyping import Float

from avemo_jax.batches.tables import Data
from avemo_jax.data.store.table import FeatureSet, FrameTable
from avemo_jax.models.card import (
    BLEND_FILE,
    HEAD_FILE,
    UNKNOWN,
    BlendCard,
    BlendFiles,
    Card,
    CheckpointError,
    Evaluated,
    Videos,
    combined,
    read_as,
    read_card,
    write_card,
)
from avemo_jax.models.frame_scores import SplitScores, table_fill_map
from avemo_jax.models.head import TrainedHead, load_trained_head, row_scores
from avemo_jax.models.options import Options
from avemo_jax.models.prediction_files import (
    PredictionFile,
    digest,
    is_prediction_file,
    load_prediction_file,
    prediction_file_scores,
)
from avemo_jax.postprocess.blending import (
    AFFECTNET_CLASSES,
    HeadRows,
    align,
    extractor_probs,
)
from avemo_jax.tasks import Task, get_task


@dataclasses.dataclass
class Model:
    """One head checkpoint, or several to be blended.

    Attributes:
        directory: The folder of the checkpoint or the blend.
        heads: The head checkpoints, then predictions made elsewhere, if any.
        card: The card of the only head; for a blend that of its first head, with the
            configuration and what was chosen of ``blend.json``.
        options: What post-processing may do, by the card's configuration.
        blend: The content of ``blend.json``; None where there is one head alone.
    """

    directory: pathlib.Path
    heads: tuple[TrainedHead | PredictionFile, ...]
    card: Card
    options: Options
    blend: BlendCard | None = None

    @property
    def task(self) -> Task:
        """The task that all heads were trained on."""
        return get_task(self.card.task)

    @property
    def kind(self) -> str:
        """The kinds of all heads, in words."""
        return " + ".join(head.kind for head in self.heads)

    @property
    def fingerprint(self) -> str:
        """Digest of all heads, whatever was chosen for them and wherever they lie."""
        return combined(head.fingerprint for head in self.heads)

    @property
    def training_videos(self) -> Videos:
        """The videos that any of the heads was trained on."""
        videos: set[str] = set()
        for head in self.heads:
            if head.training_videos == UNKNOWN:
                return UNKNOWN
            videos |= set(head.training_videos)
        return tuple(sorted(videos))

    @property
    def best_epochs(self) -> list[Any]:
        """The epoch of each seed; in a blend those of all heads."""
        if self.blend is None:
            return list(self.heads[0].best_epochs)
        by_head = (head.best_epochs for head in self.heads)
        return [list(epochs) for epochs in zip(*by_head, strict=True)]

    @property
    def features(self) -> list[str]:
        """Full names of the feature sets of all heads, each once."""
        names = [name for head in self.heads for name in head.features]
        return list(dict.fromkeys(names))

    @property
    def priors(self) -> Float[np.ndarray, " classes"] | None:
        """Shares of the classes in training, from counts plus 1; None: unknown."""
        counts = self.card.class_counts
        if counts is None:
            return None
        more = np.asarray(counts, np.float64) + 1
        return more / more.sum()

    def keep(self, evaluated: Evaluated) -> None:
        """Writes what an evaluation found into the card, here and on disk."""
        content: dict[str, Any] = vars(evaluated)
        self.card = dataclasses.replace(self.card, **content)
        if self.blend is None:
            write_card(self.directory / HEAD_FILE, self.card)
        else:
            self.blend = dataclasses.replace(self.blend, **content)
            write_card(self.directory / BLEND_FILE, self.blend)


def blend_fingerprint(heads: Iterable[pathlib.Path]) -> str:
    """The fingerprint of the blend of these heads, before it is written.

    Args:
        heads: Head checkpoints, or files of predictions made elsewhere.

    Raises:
        CheckpointError: If one is neither.
    """
    return combined(
        digest(one) if is_prediction_file(one) else read_card(one).fingerprint
        for one in heads
    )


def write_blend(
    directory: pathlib.Path,
    heads: Sequence[pathlib.Path],
    config: dict[str, Any] | None = None,
    *,
    trained_on: Sequence[str] | None = None,
) -> None:
    """Writes ``blend.json``; nothing is chosen yet.

    Args:
        directory: The blend's folder; made where it is missing.
        heads: A head checkpoint, then more of them or files of predictions made
            elsewhere. Those of the same run, beneath ``directory``'s parent, are named
            by relative paths, so that the run can be moved.
        config: ``postprocess``, ``evaluate`` and ``blend`` of a configuration; None
            takes the first head's.
        trained_on: Videos that the models behind the files were trained on; None:
            unknown, so that nothing is chosen on dev.

    Raises:
        CheckpointError: If one of ``heads`` is neither, the first is a file, they do
            not fit each other, or ``directory`` is itself a head checkpoint.
    """
    path = directory / BLEND_FILE
    if (directory / HEAD_FILE).exists():
        raise CheckpointError(
            f"{directory} is a head checkpoint, which a blend would hide; expected a "
            "folder of the blend's own; name another --workdir"
        )
    own = [one for one in heads if not is_prediction_file(one)]
    if not own or own[0] != heads[0]:
        raise CheckpointError(
            f"{heads[0]} is no head checkpoint; expected one in the first place, by "
            "which frames are counted; name it first (files alone: avemo score)"
        )
    _check_alike(path, {one: read_card(one) for one in own})
    directory.mkdir(parents=True, exist_ok=True)
    base = directory.absolute()
    paths = []
    for head in heads:
        whole = head.absolute()
        inside = whole.is_relative_to(base.parent)
        paths.append(os.path.relpath(whole, base) if inside else str(whole))
    videos = UNKNOWN if trained_on is None else tuple(sorted(trained_on))
    files = {
        name: digest(head)
        for name, head in zip(paths, heads, strict=True)
        if head not in own
    }
    card = BlendCard(
        head_paths=tuple(paths),
        predictions=BlendFiles(videos, files) if files else None,
        config=config,
    )
    write_card(path, card)


def load_heads(directory: pathlib.Path) -> Model:
    """The head checkpoint or the blend in ``directory``.

    Raises:
        CheckpointError: If ``directory`` is neither, is damaged, or its heads do not
            fit each other.
    """
    path = directory / BLEND_FILE
    if not path.is_file():
        only = load_trained_head(directory)
        return Model(directory, (only,), only.card, Options.of_config(only.card.config))
    blend = read_as(BlendCard, path)
    heads = tuple(_heads(path, blend))
    own = {head.directory: head.card for head in heads if isinstance(head, TrainedHead)}
    _check_alike(path, own)
    first = next(iter(own.values()))
    card = dataclasses.replace(
        first,
        config=first.config if blend.config is None else blend.config,
        dev_scores=None,
        selection=blend.selection,
        best_seed=blend.best_seed,
        scores=blend.scores,
    )
    return Model(directory, heads, card, Options.of_config(card.config), blend)


def _heads(
    path: pathlib.Path, blend: BlendCard
) -> Iterator[TrainedHead | PredictionFile]:
    """The heads that ``blend.json`` names, loaded, in its order."""
    files = blend.predictions or BlendFiles(UNKNOWN, {})
    first = None
    for name in blend.head_paths:
        where = path.parent / name
        if name not in files.sha256:
            trained = load_trained_head(where)
            first = first or trained
            yield trained
            continue
        if not where.exists() or digest(where) != files.sha256[name]:
            raise CheckpointError(
                f"{where} is missing, or was changed after {path} was written; "
                "expected the same file; put it back, or blend anew"
            )
        assert first is not None
        seeds = len(first.card.seeds)
        yield load_prediction_file(
            where, first.task, num_seeds=seeds, trained_on=files.trained_on
        )


def _check_alike(path: pathlib.Path, cards: Mapping[pathlib.Path, Card]) -> None:
    """Refuses heads of several tasks, protocols or numbers of seeds."""
    (where, first), *others = cards.items()
    for folder, card in others:
        for name, expected, found in (
            ("task", first.task, card.task),
            ("protocol", first.protocol, card.protocol),
            ("number of seeds", len(first.seeds), len(card.seeds)),
        ):
            if found != expected:
                raise CheckpointError(
                    f"{path}: {name} of {where} is {expected}, of {folder} {found}; "
                    "expected the same of all; blend heads that were trained alike"
                )


def scores_by_head(model: Model, data: Data, split: str, budget: int) -> SplitScores:
    """Scores of ``split`` by every head, on the rows of the first one.

    Where another head has no score for a row, e.g. for want of sound, the first head's
    score stands in; how often is logged and in the table's report.

    Raises:
        ValueError: If the extractor is to be trusted and has no outputs of the classes.
    """
    options = model.options
    first_head = model.heads[0]
    assert isinstance(first_head, TrainedHead)
    table, first = row_scores(first_head, data, split, budget)
    scores = [first]
    for head in model.heads[1:]:
        if isinstance(head, PredictionFile):
            rows, found = prediction_file_scores(head, data, split)
        else:
            own_table, found = row_scores(head, data, split, budget)
            rows = _rows(own_table)
        aligned = align([_rows(table), rows])
        on_first_rows = first.copy()
        on_first_rows[:, aligned.rows[0]] = found[:, aligned.rows[1]]
        scores.append(on_first_rows)
        if missing := int(aligned.lost[0]):
            names = " + ".join(head.features) or head.kind
            table.report[f"without {names}"] = missing
            logging.warning(
                "%d of %d frames have no score by the head on %s: that of the first "
                "head stands in",
                missing,
                table.num_rows,
                names,
            )
    extractor = None
    if options.trust_extractor:
        extractor = _own_probs(table)
    fill_map = table_fill_map(table, faithful=options.faithful, causal=options.causal)
    return SplitScores(table, fill_map, np.stack(scores), extractor)


def _rows(table: FrameTable) -> HeadRows:
    return HeadRows(table.videos, table.row_offsets, table.frame)


def check_trust(task: Task, feature_sets: Sequence[FeatureSet]) -> None:
    """Refuses to trust an extractor that has no outputs of the task's classes.

    Args:
        task: The heads' task.
        feature_sets: Feature sets of the first head; the first visual one with outputs
            is trusted.

    Raises:
        ValueError: If the task is not EXPR, or that set has under 8 outputs.
    """
    columns = [
        one.output_dim
        for one in feature_sets
        if one.kind == "visual" and one.output_dim
    ]
    if task.name == "EXPR" and columns and columns[0] >= len(AFFECTNET_CLASSES):
        return
    names = ", ".join(f"{one.name} ({one.output_dim})" for one in feature_sets)
    raise ValueError(
        f"config.blend.trust_extractor for {task.name} with (outputs) {names}; "
        "expected EXPR and a visual set with its extractor's 8 classes or more as "
        "outputs; set it to False, or extract the features with outputs"
    )


def _own_probs(table: FrameTable) -> Float[np.ndarray, "rows 8"]:
    check_trust(table.task, table.feature_sets)
    assert table.outputs is not None
    return np.asarray(extractor_probs(jnp.asarray(table.outputs)))
