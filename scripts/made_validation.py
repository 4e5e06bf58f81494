"""Made-up data of the size of Aff-Wild2's validation sets, for benchmarks."""

import numpy as np

from avemo_jax.data.store.table import FeatureSet, FrameTable
from avemo_jax.tasks import Task

# Frames with a face, and videos, of the validation sets.
SIZES = {"EXPR": (280_532, 70), "AU": (445_836, 105), "VA": (376_323, 76)}


def made_labels(task: Task, rows: int) -> np.ndarray:
    """Random labels of ``rows`` frames, all valid."""
    rng, labels = np.random.default_rng(0), task.empty_labels(rows)
    if task.name == "VA":
        labels[:] = rng.uniform(-1, 1, labels.shape)
    else:
        highest = task.num_outputs if task.name == "EXPR" else 2
        labels[:] = rng.integers(0, highest, labels.shape)
    return labels


def made_table(
    task: Task, lengths: np.ndarray, sets: tuple[FeatureSet, ...]
) -> FrameTable:
    """A table of videos without gaps, with random features and valid labels.

    Args:
        task: Task of the labels.
        lengths: Frames of each video.
        sets: Feature sets, their columns side by side.
    """
    rng = np.random.default_rng(0)
    rows, videos = int(lengths.sum()), len(lengths)
    block = rng.standard_normal((4096, sum(s.dim for s in sets)), np.float32)
    block = block.astype(np.float16)
    features = np.empty((rows, block.shape[1]), np.float16)
    for start in range(0, rows, len(block)):
        part = features[start : start + len(block)]
        part[:] = block[: len(part)]
    labels = made_labels(task, rows)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    names = tuple(f"made{i:03d}" for i in range(videos))
    return FrameTable(
        task=task,
        split="validation",
        feature_sets=sets,
        features=features,
        outputs=None,
        labels=labels,
        valid=np.ones(rows, bool),
        has_audio=np.ones(rows, bool),
        frame=(np.arange(rows) - np.repeat(offsets[:-1], lengths) + 1).astype(np.int32),
        videos=names,
        source_videos=names,
        row_offsets=offsets.astype(np.int64),
        num_frames=lengths.astype(np.int32),
        fps=np.full(videos, 30.0),
        dense_labels=labels,
        fingerprint="made",
        report={"videos": videos},
    )


def made_lengths(frames: int, videos: int) -> np.ndarray:
    """Frames of each video: uneven numbers of at least 1 that sum to ``frames``."""
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.full(videos, 4.0))
    return 1 + rng.multinomial(frames - videos, shares)
