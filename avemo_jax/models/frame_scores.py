"""From the scores of rows to those of every frame, by what was chosen."""

import dataclasses
import functools
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from absl import logging
from jaxtyping import Array, Bool, Float

from avemo_jax.data.store.table import FrameTable
from avemo_jax.models.options import Options
from avemo_jax.models.selection import Selection
from avemo_jax.postprocess.clips import Clips, clips_of
from avemo_jax.postprocess.gaps import FillMap, make_fill_map
from avemo_jax.postprocess.smoothed_frames import Trusted, smoothed_frames
from avemo_jax.postprocess.smoothing import Smoothing
from avemo_jax.postprocess.thresholds import Correction, correct
from avemo_jax.tasks import Task


@dataclasses.dataclass(frozen=True)
class SplitScores:
    """A model's scores of a split, before any post-processing.

    Attributes:
        table: The split; for a blend the table of its first head.
        fill_map: How the frames are filled from the table's rows.
        scores: Scores of the table's rows, after the activation, by every seed of
            every head; a model that is no blend has one head.
        extractor: Probabilities of the rows by the extractor's own outputs, in the
            task's order; None where they are not asked for.
    """

    table: FrameTable
    fill_map: FillMap
    scores: Float[np.ndarray, "heads seeds rows outputs"]
    extractor: Float[np.ndarray, "rows 8"] | None = None

    @property
    def task(self) -> Task:
        """The task of the labels and scores."""
        return self.table.task

    @property
    def with_crop(self) -> Bool[np.ndarray, " frames"]:
        """Frames that have a face crop and a valid label."""
        valid = self.task.valid(self.table.dense_labels)
        return np.asarray(valid & ~np.asarray(self.fill_map.filled))

    @functools.cached_property
    def clips(self) -> Clips | None:
        """The videos as wholes, where labels are of these; else None."""
        if not self.table.of_clips:
            return None
        return clips_of(self.task, self.table.dense_labels, self.table.dense_offsets)


def table_fill_map(
    table: FrameTable, *, faithful: bool, causal: bool = False
) -> FillMap:
    """How the frames of ``table``'s videos are filled from its rows.

    All rows are used, but with ``faithful`` only those with a valid label, like in the
    original, unless the split has no labels.

    Args:
        table: The split.
        faithful: Fill like the original, see ``make_fill_map``.
        causal: A frame without a row takes the last row before it, and nothing from
            the next one.
    """
    labelled = table.valid if faithful and table.valid.any() else None
    fill_map = make_fill_map(
        table.frame,
        table.row_offsets,
        table.num_frames,
        faithful=faithful,
        used=labelled,
    )
    return _without_look_ahead(fill_map, table) if causal else fill_map


def _without_look_ahead(fill_map: FillMap, table: FrameTable) -> FillMap:
    """A fill map in which each frame holds the last used row before it.

    Frames before a video's first used row have none and are neutral; they are a
    sequence of their own, so that no window mixes them with scores.
    """
    if not table.num_rows:
        return fill_map
    lo, hi, has_rows = map(np.asarray, (fill_map.lo, fill_map.hi, fill_map.has_rows))
    # the frame of the row before each frame; of the video's first row where none is
    source = table.dense_index[fill_map.prev_row]
    early = has_rows & (source > np.arange(fill_map.num_frames))
    # at each sequence's first frame: where its scores begin
    begin = np.zeros(fill_map.num_frames, np.int32)
    begin[lo[early]] = source[early]
    return fill_map._replace(
        next_row=fill_map.prev_row,
        weight=np.zeros(fill_map.num_frames, np.float32),
        lo=np.where(early, lo, np.maximum(lo, begin[lo])),
        hi=np.where(early, begin[lo], hi),
        has_rows=has_rows & ~early,
    )


def warn_of_lost(table: FrameTable, fill_map: FillMap) -> None:
    """Warns of the videos that have no row to fill their scores from."""
    bounds = zip(table.dense_offsets[:-1], table.dense_offsets[1:], strict=True)
    ranges = zip(table.videos, bounds, strict=True)
    if lost := [video for video, (a, b) in ranges if not fill_map.has_rows[a:b].any()]:
        logging.warning(
            "%d videos have no features; their frames get neutral scores: %s",
            len(lost),
            ", ".join(lost),
        )


def blended(
    scores: Float[np.ndarray, "heads seeds rows outputs"],
    weights: Float[np.ndarray, "seeds heads"] | None,
) -> Float[np.ndarray, "seeds rows outputs"]:
    """Scores of each seed: its heads weighted, or without weights its only head.

    Raises:
        ValueError: If there are several heads and no weights.
    """
    if weights is None:
        if len(scores) > 1:
            raise ValueError(
                f"{len(scores)} heads without weights; expected one; choose weights"
            )
        return scores[0]
    return np.einsum("msro,sm->sro", scores, weights).astype(np.float32)


def corrected_rows(
    predicted: SplitScores, selection: Selection
) -> Float[np.ndarray, "seeds rows outputs"]:
    """Scores of each seed, blended and corrected, not yet smoothed."""
    rows = blended(predicted.scores, selection.weights)
    if selection.temperatures is None or selection.offsets is None:
        return rows
    pairs = zip(selection.temperatures, selection.offsets, strict=True)
    corrections = [Correction(jnp.asarray(t), jnp.asarray(o)) for t, o in pairs]
    return np.stack(
        [
            np.asarray(correct(jnp.asarray(one), correction))
            for one, correction in zip(rows, corrections, strict=True)
        ]
    )


def smoothable(
    task: Task,
    rows: Float[np.ndarray, "seeds rows outputs"],
    raw_thresholds: Float[np.ndarray, "seeds units"] | None,
    options: Options,
) -> Float[np.ndarray, "seeds rows outputs"]:
    """The rows that are smoothed: scores, or 0/1 decisions for AU like the original."""
    if task.kind == "multilabel" and options.faithful and raw_thresholds is not None:
        return (rows >= raw_thresholds[:, None]).astype(np.float32)
    return rows


def trusted_of(predicted: SplitScores, selection: Selection) -> Trusted | None:
    """The extractor's probabilities and from when they are trusted; None if never."""
    if predicted.extractor is None or selection.confidences is None:
        return None
    return Trusted(predicted.extractor, selection.confidences)


def dense_scores(
    predicted: SplitScores,
    rows: Float[np.ndarray, "seeds rows outputs"],
    smoothings: Sequence[Smoothing],
    *,
    causal: bool = False,
    trusted: Trusted | None = None,
) -> Float[Array, "seeds frames outputs"]:
    """Scores of every frame by each seed: gaps filled, then smoothed.

    Args:
        predicted: The split, with its task and fill map.
        rows: Scores of the rows to be smoothed, e.g. from ``smoothable``.
        smoothings: Smoothing of each seed.
        causal: Windows end with their own frame.
        trusted: The extractor's probabilities; None leaves them out.
    """
    of_seeds = smoothed_frames(
        predicted.task,
        rows,
        predicted.fill_map,
        [(smoothing,) for smoothing in smoothings],
        causal=causal,
        trusted=trusted,
    )
    return jnp.stack([scores for (scores,) in of_seeds])
