"""From the scores of rows to those of every frame of every face, run by run.

Each run of a face is a sequence of its own: filled and smoothed without its neighbours.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Array, Bool, Float, Int

from avemo_jax.data.store.table import FrameTable
from avemo_jax.models.frame_scores import SplitScores, table_fill_map
from avemo_jax.postprocess.fill_map import FillMap
from avemo_jax.prediction.face_runs import FaceRuns, stacked
from avemo_jax.tasks import Task

# Numbers of rows and frames are filled up to the first, or to multiples of the second,
# so that programs serve many inputs.
_LEAST, _BLOCK = 2_048, 16_384


@dataclasses.dataclass(frozen=True, eq=False)
class ScoredRows:
    """Scores of rows of several faces, by one model of one task.

    Attributes:
        task: The task.
        face: Index of each row's face, never falling.
        at: Place of each row in the span of its face, from 0, ascending within it.
        scores: Scores after the activation, by every seed of every head.
        extractor: Probabilities of the rows by the extractor's own outputs, in the
            task's order; None where they are not asked for.
    """

    task: Task
    face: Int[np.ndarray, " rows"]
    at: Int[np.ndarray, " rows"]
    scores: Float[np.ndarray, "heads seeds rows outputs"]
    extractor: Float[np.ndarray, "rows 8"] | None = None


def run_scores(
    rows: ScoredRows,
    spans: Sequence[FaceRuns],
    *,
    fps: float,
    faithful: bool = False,
    causal: bool = False,
) -> SplitScores:
    """The rows as a split whose videos are the runs of all faces.

    Numbers of rows and frames are filled up, by a video without rows at the end.

    Args:
        rows: The scored rows.
        spans: Span and runs of each face.
        fps: Frames per second.
        faithful: Fill gaps like the original, with swapped weights.
        causal: A frame without a row takes the last row before it.
    """
    table = _run_table(rows, spans, fps)
    fill_map = table_fill_map(table, faithful=faithful, causal=causal)
    more_frames = _filled_up(fill_map.num_frames) - fill_map.num_frames
    more_rows = _filled_up(len(rows.at)) - len(rows.at)
    labels = rows.task.empty_labels(more_frames)
    table = dataclasses.replace(
        table, dense_labels=np.concatenate([table.dense_labels, labels])
    )
    extractor = rows.extractor
    if extractor is not None:
        extractor = np.pad(extractor, ((0, more_rows), (0, 0)))
    return SplitScores(
        table,
        _longer(fill_map, more_frames),
        np.pad(rows.scores, ((0, 0), (0, 0), (0, more_rows), (0, 0))),
        extractor,
    )


def by_face(
    dense: Float[np.ndarray, "frames outputs"],
    has_rows: Bool[np.ndarray, " frames"],
    spans: Sequence[FaceRuns],
) -> list[Float[np.ndarray, "_ outputs"]]:
    """Scores of every frame of each face's span; NaN between runs and without rows.

    Args:
        dense: Scores of the frames of all runs, one after the other, and maybe more.
        has_rows: Which of these frames are of a run that has any row.
        spans: Span and runs of each face.
    """
    found = [
        np.full((own.length, dense.shape[-1]), np.nan, np.float32) for own in spans
    ]
    start = 0
    for face, begin, end in stacked(spans):
        run = slice(start, start := start + end - begin)
        at = np.flatnonzero(has_rows[run])
        found[face][begin + at] = dense[run][at]
    return found


def _run_table(rows: ScoredRows, spans: Sequence[FaceRuns], fps: float) -> FrameTable:
    """A table without features whose videos are the runs of all faces."""
    runs = stacked(spans)
    # Where each face's span begins among the spans of all faces.
    starts = np.cumsum([0, *(own.length for own in spans)])
    place = starts[rows.face] + rows.at
    begin = starts[runs[:, 0]] + runs[:, 1]
    run = np.searchsorted(begin, place, side="right") - 1
    names = tuple(f"{number:06d}" for number in range(len(runs)))
    num_frames = (runs[:, 2] - runs[:, 1]).astype(np.int32)
    task, count = rows.task, len(rows.at)
    return FrameTable(
        task=task,
        split="test",
        feature_sets=(),
        features=np.zeros((count, 0), np.float16),
        outputs=None,
        labels=task.empty_labels(count),
        valid=np.zeros(count, bool),
        has_audio=np.ones(count, bool),
        frame=(place - begin[run] + 1).astype(np.int32),
        videos=names,
        source_videos=names,
        row_offsets=np.searchsorted(run, np.arange(len(runs) + 1)).astype(np.int64),
        num_frames=num_frames,
        fps=np.full(len(runs), fps, np.float32),
        dense_labels=task.empty_labels(int(num_frames.sum())),
        fingerprint="",
        report={},
    )


def _longer(fill_map: FillMap, more: int) -> FillMap:
    """The fill map with frames of a video without rows at the end."""
    if not more:
        return fill_map
    count = fill_map.num_frames
    zeros = np.zeros(more, np.int32)

    def longer(array: Array | np.ndarray, end: np.ndarray) -> np.ndarray:
        own = np.asarray(array)
        return np.concatenate([own, end.astype(own.dtype)])

    return FillMap(
        prev_row=longer(fill_map.prev_row, zeros),
        next_row=longer(fill_map.next_row, zeros),
        weight=longer(fill_map.weight, zeros),
        filled=longer(fill_map.filled, zeros + 1),
        lo=longer(fill_map.lo, zeros + count),
        hi=longer(fill_map.hi, zeros + count + more),
        has_rows=longer(fill_map.has_rows, zeros),
    )


def _filled_up(count: int) -> int:
    if count <= _LEAST:
        return _LEAST
    return -(-count // _BLOCK) * _BLOCK
