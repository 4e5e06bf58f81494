"""Models, a head checkpoint or a blend of several, and their scores of a split.

A blend is a directory with ``blend.json``: the paths of its heads (head checkpoints,
or files of predictions made elsewhere), what was chosen for it on dev, and how.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from absl import logging
from jaxtyping import Float

from avemo_jax.batches.tables import Data
from avemo_jax.data.store.table import FeatureSet, FrameTable
from avemo_jax.models import checkpoints
from avemo_jax.models.checkpoints import CheckpointError
from avemo_jax.models.frame_scores import SplitScores, table_fill_map
from avemo_jax.models.head import TrainedHead, load_trained_head, row_scores
from avemo_jax.models.prediction_files import (
    PredictionFile,
    digest,
    is_prediction_file,
    load_prediction_file,
    prediction_file_scores,
)
from avemo_jax.models.selection import Options
from avemo_jax.postprocess.blending import (
    AFFECTNET_CLASSES,
    HeadRows,
    align,
    extractor_probs,
)
from avemo_jax.runtime.atomic_files import write_json
from avemo_jax.tasks import Task, get_task

BLEND_SCHEMA = 1
_FILE = "blend.json"


@dataclasses.dataclass
class Model:
    """One head checkpoint, or several to be blended.

    Attributes:
        directory: The folder of the checkpoint or the blend.
        heads: The head checkpoints, then predictions made elsewhere, if any.
        card: ``head.json`` of the only head; for a blend the cards of its heads as one,
            with ``blend.json``.
        options: What post-processing may do, by the card's configuration.
    """

    directory: pathlib.Path
    heads: tuple[TrainedHead | PredictionFile, ...]
    card: dict[str, Any]
    options: Options

    @property
    def task(self) -> Task:
        """The task that all heads were trained on."""
        return get_task(self.card["task"])

    @property
    def is_blend(self) -> bool:
        """Whether there is a ``blend.json``."""
        return "head_paths" in self.card

    @property
    def features(self) -> list[str]:
        """Full names of the feature sets of all heads, each once."""
        names = [name for head in self.heads for name in head.features]
        return list(dict.fromkeys(names))

    @property
    def priors(self) -> Float[np.ndarray, " classes"] | None:
        """Shares of the classes in training, from counts plus 1; None: unknown."""
        counts = self.card["class_counts"]
        if counts is None:
            return None
        more = np.asarray(counts, np.float64) + 1
        return more / more.sum()

    def keep(self, **content: Any) -> None:
        """Writes ``content`` into the card, here and on disk."""
        self.card |= content
        name = _FILE if self.is_blend else "head.json"
        path = self.directory / name
        stored = json.loads(path.read_text(encoding="utf-8"))
        write_json(path, stored | content)


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
    path = directory / _FILE
    if (directory / "head.json").exists():
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
    _check_alike(path, {one: checkpoints.read_card(one) for one in own})
    directory.mkdir(parents=True, exist_ok=True)
    base = directory.absolute()
    paths = []
    for head in heads:
        whole = head.absolute()
        inside = whole.is_relative_to(base.parent)
        paths.append(os.path.relpath(whole, base) if inside else str(whole))
    stored: dict[str, Any] = {"schema": BLEND_SCHEMA, "head_paths": paths}
    if files := {
        name: digest(head)
        for name, head in zip(paths, heads, strict=True)
        if head not in own
    }:
        videos = "unknown" if trained_on is None else sorted(trained_on)
        stored["predictions"] = {"trained_on": videos, "sha256": files}
    if config is not None:
        stored["config"] = config
    write_json(path, stored)


def load_heads(directory: pathlib.Path) -> Model:
    """The head checkpoint or the blend in ``directory``.

    Raises:
        CheckpointError: If ``directory`` is neither, is damaged, or its heads do not
            fit each other.
    """
    path = directory / _FILE
    if not path.is_file():
        only = load_trained_head(directory)
        return Model(directory, (only,), only.card, _options(only.card))
    stored = _read(path)
    heads = tuple(_heads(path, stored))
    card = _card_of(path, heads) | stored
    return Model(directory, heads, card, _options(card))


def _read(path: pathlib.Path) -> dict[str, Any]:
    """The content of ``blend.json``, of the schema that this version reads."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise CheckpointError(
            f"{path}:{error.lineno}: {error.msg}; expected what avemo blend or a run "
            "with config.blend.features writes; blend anew"
        ) from error
    schema = stored.get("schema") if isinstance(stored, dict) else None
    if schema != BLEND_SCHEMA:
        raise CheckpointError(
            f"{path}: schema {schema!r}; this version reads {BLEND_SCHEMA}; blend anew"
        )
    return dict(stored)


def _heads(
    path: pathlib.Path, stored: dict[str, Any]
) -> Iterator[TrainedHead | PredictionFile]:
    """The heads that ``blend.json`` names, loaded, in its order."""
    given = stored.get("predictions", {"sha256": {}})
    first = None
    for name in stored["head_paths"]:
        where = path.parent / name
        if name not in given["sha256"]:
            trained = load_trained_head(where)
            first = first or trained
            yield trained
            continue
        if not where.exists() or digest(where) != given["sha256"][name]:
            raise CheckpointError(
                f"{where} is missing, or was changed after {path} was written; "
                "expected the same file; put it back, or blend anew"
            )
        assert first is not None
        yield load_prediction_file(where, first.card, trained_on=given["trained_on"])


def _options(card: dict[str, Any]) -> Options:
    return Options.of_config(card["config"])


def _check_alike(
    path: pathlib.Path, cards: Mapping[pathlib.Path, Mapping[str, Any]]
) -> None:
    """Refuses heads of several tasks, protocols or numbers of seeds."""
    (where, first), *others = cards.items()
    for folder, card in others:
        for name, expected, found in (
            ("task", first["task"], card["task"]),
            ("protocol", first["protocol"], card["protocol"]),
            ("number of seeds", len(first["seeds"]), len(card["seeds"])),
        ):
            if found != expected:
                raise CheckpointError(
                    f"{path}: {name} of {where} is {expected}, of {folder} {found}; "
                    "expected the same of all; blend heads that were trained alike"
                )


def _card_of(
    path: pathlib.Path, heads: Sequence[TrainedHead | PredictionFile]
) -> dict[str, Any]:
    """One card made of those of all heads."""
    _check_alike(path, {head.directory: head.card for head in heads})
    first = heads[0].card
    unknown = any(head.card["training_videos"] == "unknown" for head in heads)
    videos = {video for head in heads for video in head.card["training_videos"]}
    names = list(dict.fromkeys(name for head in heads for name in head.features))
    sets = {entry["name"]: entry for head in heads for entry in head.card["features"]}
    return {
        **first,
        "features": [sets[name] for name in names],
        "head": {"kind": " + ".join(head.card["head"]["kind"] for head in heads)},
        "training_videos": "unknown" if unknown else sorted(videos),
        "best_epochs": [
            list(epochs)
            for epochs in zip(
                *(head.card["best_epochs"] for head in heads), strict=True
            )
        ],
        "dev_scores": None,
        "selection": None,
        "heads": [
            {"features": head.features, "head": head.card["head"]["kind"]}
            for head in heads
        ],
    }


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
            names = " + ".join(head.features) or head.card["head"]["kind"]
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
