"""From the scores of rows to those of every frame, as a selection says."""

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from absl import logging
from jaxtyping import Array, Bool, Float

from avemo_jax.data.store.table import FrameTable
from avemo_jax.models.selection import Options, Selection
from avemo_jax.postprocess.blending import trust_confident
from avemo_jax.postprocess.gaps import FillMap, fill, make_fill_map
from avemo_jax.postprocess.smoothing import Smoothing, smooth
from avemo_jax.postprocess.smoothing_sweep import Trusted, neutral_score
from avemo_jax.postprocess.thresholds import Correction, correct
from avemo_jax.tasks import Task


@dataclasses.dataclass(frozen=True)
class SplitScores:
    """What a model says of a split, before any post-processing.

    Attributes:
        table: The split; of a blend the table of its first head.
        fill_map: How the frames are filled from the table's rows.
        scores: After the activation, of the table's rows, by every seed of every
            head; a model that is no blend has one head.
        extractor: Probabilities of the extractor's own outputs in the task's order,
            of the rows; None where they are not asked for.
    """

    table: FrameTable
    fill_map: FillMap
    scores: Float[np.ndarray, "heads seeds rows outputs"]
    extractor: Float[np.ndarray, "rows 8"] | None = None

    @property
    def task(self) -> Task:
        """Of the table."""
        return self.table.task

    @property
    def with_crop(self) -> Bool[np.ndarray, " frames"]:
        """Frames that have a face crop and a valid label."""
        valid = self.task.valid(self.table.dense_labels)
        return np.asarray(valid & ~np.asarray(self.fill_map.filled))


def table_fill_map(
    table: FrameTable, *, faithful: bool, causal: bool = False
) -> FillMap:
    """How the frames of ``table``'s videos are filled from its rows.

    The original filled from the frames with a valid label only; ours from all rows, as
    is done in both where a split has no labels.

    Args:
        table: Of the split.
        faithful: As ``make_fill_map``.
        causal: A frame without a row takes the last row before it, and nothing from
            the next one; see ``_of_the_past``.
    """
    labelled = table.valid if faithful and table.valid.any() else None
    fill_map = make_fill_map(
        table.frame,
        table.row_offsets,
        table.num_frames,
        faithful=faithful,
        samples=labelled,
    )
    return _of_the_past(fill_map, table) if causal else fill_map


def _of_the_past(fill_map: FillMap, table: FrameTable) -> FillMap:
    """The fill map without a look ahead: each frame holds the last sample before it.

    Frames before a video's first sample have none and are neutral; they are a sequence
    of their own, so that no window takes them for scores.
    """
    if not table.num_rows:
        return fill_map
    lo, hi, has_rows = map(np.asarray, (fill_map.lo, fill_map.hi, fill_map.has_rows))
    sample = table.dense_index[
        fill_map.prev_row
    ]  # a video's first, where none is before
    early = has_rows & (sample > np.arange(fill_map.num_frames))
    begin = np.zeros(
        fill_map.num_frames, np.int32
    )  # of the scores, at each sequence's lo
    begin[lo[early]] = sample[early]
    return fill_map._replace(
        next_row=fill_map.prev_row,
        weight=np.zeros(fill_map.num_frames, np.float32),
        lo=np.where(early, lo, np.maximum(lo, begin[lo])),
        hi=np.where(early, begin[lo], hi),
        has_rows=has_rows & ~early,
    )


def warn_of_lost(table: FrameTable, fill_map: FillMap) -> None:
    """Logs which videos have no row that their scores could be filled from."""
    bounds = zip(table.dense_offsets[:-1], table.dense_offsets[1:], strict=True)
    ranges = zip(table.videos, bounds, strict=True)
    if lost := [video for video, (a, b) in ranges if not fill_map.has_rows[a:b].any()]:
        logging.warning(
            "%d videos have no features; their frames get neutral scores: %s",
            *(len(lost), ", ".join(lost)),
        )


def blended(
    scores: Float[np.ndarray, "heads seeds rows outputs"],
    weights: Float[np.ndarray, "seeds heads"] | None,
) -> Float[np.ndarray, "seeds rows outputs"]:
    """Each seed's heads weighted; the only head where there are no weights.

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
    """What windows go over: the scores; for AU as the original, 0/1 decisions."""
    if task.kind == "multilabel" and options.faithful and raw_thresholds is not None:
        return (rows >= raw_thresholds[:, None]).astype(np.float32)
    return rows


def trusted_of(predicted: SplitScores, selection: Selection) -> Trusted | None:
    """The extractor's probabilities, where and from when they are trusted."""
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
    """Scores of every frame by each seed: gaps filled, smoothed by its window.

    Args:
        predicted: Of the split.
        rows: Of ``smoothable``.
        smoothings: Window of each seed.
        causal: Windows over past frames only.
        trusted: The extractor's probabilities; None leaves them out.
    """
    fill_map, neutral = predicted.fill_map, neutral_score(predicted.task)

    def smoothed(
        one: Float[Array | np.ndarray, "rows outputs"], smoothing: Smoothing
    ) -> Float[Array, "frames outputs"]:
        dense = fill(jnp.asarray(one), fill_map, neutral=neutral)
        mode, half = smoothing
        return smooth(
            dense, fill_map.lo, fill_map.hi, half_width=half, mode=mode, causal=causal
        )

    out = []
    for i, (one, smoothing) in enumerate(zip(rows, smoothings, strict=True)):
        dense = smoothed(one, smoothing)
        if trusted is not None:
            extractor = smoothed(trusted.probs, smoothing)
            level = float(trusted.confidences[i])
            dense = trust_confident(dense, extractor, level)
        out.append(dense)
    return jnp.stack(out)
