"""Labels and vectors of joined rows -> a frame table."""

import dataclasses
import os
from collections.abc import Iterable, Mapping

import numpy as np
from absl import logging
from jaxtyping import Float, Shaped

from avemo_jax.data.corpus.splits import nominal_fps, source_video
from avemo_jax.data.records import MAX_FRAME
from avemo_jax.data.store import tfds
from avemo_jax.data.store.join import Join
from avemo_jax.data.store.table import FrameTable
from avemo_jax.metrics.ceilings import ceilings_in_words
from avemo_jax.tasks import JointTask, Task


@dataclasses.dataclass(frozen=True)
class AnnotatedVideo:
    """The annotations of one video, from one example of the store.

    Attributes:
        num_frames: Decoded or annotated length in frames, whichever is larger.
        fps: Frames per second; NaN if unknown.
        source_video: The recording that the video is a part of.
        labels: Labels of the frames 1 to ``num_frames``, by task; none in a store to
            predict.
        splits: The video's split by task; "" where it is in none. None in a store to
            predict.
    """

    num_frames: int
    fps: float
    source_video: str
    labels: Mapping[str, np.ndarray]
    splits: Mapping[str, str]


def read_annotated(
    folder: str | os.PathLike[str], tasks: Iterable[str]
) -> dict[str, AnnotatedVideo]:
    """All examples of the config ``annotations`` in ``folder``, by video.

    Raises:
        ValueError: If a video has another number of frames than videos can have, or
            more labels than frames.
    """
    names = tuple(tasks)
    found: dict[str, AnnotatedVideo] = {}
    for example in tfds.open_examples(folder):
        video = AnnotatedVideo(
            num_frames=int(example["num_frames"]),
            fps=float(example["fps"]),
            source_video=example["source_video"].decode(),
            labels={task: example[task.lower()] for task in names},
            splits={t: example[f"{t.lower()}_split"].decode() for t in names},
        )
        name = example["video"].decode()
        labelled = max(map(len, video.labels.values()), default=0)
        if not labelled <= video.num_frames <= MAX_FRAME:
            raise ValueError(
                f"{folder}: {name!r:.80} has {video.num_frames} frames and {labelled} "
                f"labels; expected up to {MAX_FRAME} frames, each with a label at "
                "most: build the store again"
            )
        found[name] = video
    return found


def assemble(
    joined: Join,
    annotated: Mapping[str, AnnotatedVideo],
    features: Float[np.ndarray, "rows dim"],
    outputs: Float[np.ndarray, "rows outputs"] | None,
    *,
    fingerprint: str,
) -> FrameTable:
    """The table of the join's rows.

    Args:
        joined: Which rows of which videos.
        annotated: Annotations by video; a video without any has no valid label.
        features: The rows' vectors.
        outputs: The extractors' own outputs of the rows; None where there are none.
        fingerprint: Digest of the annotations and the feature sets.
    """
    videos = joined.videos
    counts = [len(v.frame) for v in videos]
    num_frames = np.array([v.num_frames for v in videos], np.int32)
    dense = _dense_labels(joined, annotated)
    starts = np.concatenate([[0], np.cumsum(num_frames, dtype=np.int64)])
    index = [s + v.frame - 1 for s, v in zip(starts, videos, strict=False)]
    labels = dense[np.concatenate(index)]
    valid = joined.task.valid(labels)
    labelled = int(joined.task.valid(dense).sum())
    report = {
        **joined.report,
        "rows_with_label": int(valid.sum()),
        "labelled_frames_without_row": labelled - int(valid.sum()),
    }
    known = [annotated.get(v.video, _unannotated(v.video)) for v in videos]
    return FrameTable(
        task=joined.task,
        split=joined.split,
        feature_sets=joined.feature_sets,
        features=features,
        outputs=outputs,
        labels=labels,
        valid=valid,
        has_audio=np.concatenate([v.has_audio for v in videos]),
        frame=np.concatenate([v.frame for v in videos]),
        videos=tuple(v.video for v in videos),
        source_videos=tuple(a.source_video for a in known),
        row_offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        num_frames=num_frames,
        fps=np.array([a.fps for a in known], np.float32),
        dense_labels=dense,
        fingerprint=fingerprint,
        report=report,
        of_clips=_of_clips(annotated, joined.task),
    )


def say_table(table: FrameTable, told: set[str]) -> None:
    """Log what a table has and lacks, each line once for a store.

    Args:
        table: The table.
        told: The lines that were logged before; gets the new ones.
    """
    names = "+".join(one.name for one in table.feature_sets)
    report = table.report.items()
    words = [f"{len(v) if isinstance(v, list) else v:,} {k}" for k, v in report]
    said = ", ".join(w.replace("_", " ") for w in words if not w.startswith("0 "))
    lines = [(logging.INFO, f"{table.task.name} {table.split}, {names}: {said}")]
    for lack in ceilings_in_words(table.task, table.labels, table.valid):
        lines.append((logging.WARNING, f"{table.split}, {lack}"))
    for level, line in lines:
        if line not in told:
            told.add(line)
            logging.log(level, "%s", line)


def _of_clips(annotated: Mapping[str, AnnotatedVideo], task: Task) -> bool:
    """Whether each labelled video has one label, and one of them on several frames."""
    if isinstance(task, JointTask):
        return all(_of_clips(annotated, one) for one in task.tasks)
    most = 0
    for video in annotated.values():
        labels = _labels_of(video, task)
        labels = labels[task.valid(labels)]
        if (labels != labels[:1]).any():
            return False
        most = max(most, len(labels))
    return most > 1


def _unannotated(video: str) -> AnnotatedVideo:
    """The annotations of a video that has none: only what its name tells."""
    return AnnotatedVideo(0, nominal_fps(video), source_video(video), {}, {})


def _dense_labels(
    joined: Join, annotated: Mapping[str, AnnotatedVideo]
) -> Shaped[np.ndarray, "frames ..."]:
    """Labels of all frames of all videos, in one array."""
    dense = joined.task.empty_labels(sum(video.num_frames for video in joined.videos))
    start = 0
    for video in joined.videos:
        if video.video in annotated:
            labels = _labels_of(annotated[video.video], joined.task)
            dense[start : start + len(labels)] = labels
        start += video.num_frames
    return dense


def _labels_of(video: AnnotatedVideo, task: Task) -> Shaped[np.ndarray, "frames ..."]:
    if not video.labels:
        return task.empty_labels(video.num_frames)
    if isinstance(task, JointTask):
        return task.join(video.labels, video.num_frames)
    return video.labels[task.name]
