"""Predictions files of the package's own making, and submissions written of them."""

import csv
import pathlib

import numpy as np

from avemo_jax.data.predictions.predictions_file import (
    predictions_of,
    write_predictions,
)
from avemo_jax.data.store.table import FrameTable
from avemo_jax.postprocess.gaps import make_fill_map
from avemo_jax.tasks import Task

LENGTHS = {"14-30-1920x1080": 6, "video3_left": 9, "360": 1}
# As the challenge's files have them.
HEADERS = {
    "EXPR": "image_location,"
    "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other",
    "AU": "image_location,AU1,AU2,AU4,AU6,AU7,AU10,AU12,AU15,AU23,AU24,AU25,AU26",
    "VA": "image_location,valence,arousal",
}


def table_of(task: Task, lengths: dict[str, int]) -> FrameTable:
    """A table of unlabelled videos, a crop in every frame."""
    counts = np.array(list(lengths.values()))
    total = int(counts.sum())
    return FrameTable(
        task=task,
        split="test",
        feature_sets=(),
        features=np.zeros((total, 1), np.float16),
        outputs=None,
        labels=task.empty_labels(total),
        valid=np.zeros(total, bool),
        has_audio=np.ones(total, bool),
        frame=np.concatenate([np.arange(1, n + 1) for n in counts]).astype(np.int32),
        videos=tuple(lengths),
        source_videos=tuple(lengths),
        row_offsets=np.concatenate([[0], np.cumsum(counts)]),
        num_frames=counts,
        fps=np.full(len(counts), np.nan),
        dense_labels=task.empty_labels(total),
        fingerprint="0",
        report={},
    )


def predicted(
    path: pathlib.Path,
    task: Task,
    *,
    lengths: dict[str, int] = LENGTHS,
    seed: int = 0,
    thresholds: np.ndarray | None = None,
    keep: dict[str, list[int]] | None = None,
) -> pathlib.Path:
    """A file of random scores; if given, of the frames in ``keep`` alone."""
    table = table_of(task, lengths)
    fill_map = make_fill_map(table.frame, table.row_offsets, table.num_frames)
    low, high = task.score_range
    shape = (table.num_rows, task.num_outputs)
    scores = np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)
    write_predictions(
        predictions_of(path, table, fill_map, scores, thresholds=thresholds)
    )
    if keep is not None:
        header, *lines = path.read_text().splitlines(keepends=True)
        wanted = {(video, frame) for video in keep for frame in keep[video]}
        names = zip(np.repeat(table.videos, table.num_frames), table.frame, strict=True)
        kept = [line for line, name in zip(lines, names, strict=True) if name in wanted]
        path.write_text(header + "".join(kept))
    return path


def rows_of(path: pathlib.Path) -> list[dict[str, str]]:
    """The rows of a predictions file, as text."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def naive(
    path: pathlib.Path, task: Task, lengths: dict[str, int], limits: np.ndarray
) -> list[str]:
    """The lines of a submission without the header, by a plain loop over the frames."""
    lines = []
    rows = rows_of(path)
    for video, length in lengths.items():
        own = [row for row in rows if row["video"] == video]
        at = [int(row["frame"]) for row in own]
        for frame in range(1, length + 1):
            scores = [
                np.interp(frame, at, [float(row[name]) for row in own])
                for name in task.columns
            ]
            if task.name == "EXPR":
                values = [str(int(np.argmax(scores)))]
            elif task.name == "AU":
                values = [str(int(s >= t)) for s, t in zip(scores, limits, strict=True)]
            else:
                values = [f"{s:.6f}" for s in scores]
            lines.append(",".join([f"{video}/{frame:05d}.jpg", *values]))
    return lines


def write_list(path: pathlib.Path, names) -> pathlib.Path:
    """A list with one name a line."""
    path.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    return path
