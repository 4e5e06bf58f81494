"""Small made tables and a store of them, for tests of training and evaluation."""

import dataclasses
import types
import zlib

import numpy as np

from avemo_jax.data.store import Store
from avemo_jax.data.table import FeatureSet, FrameTable
from avemo_jax.loading import Data
from avemo_jax.tasks import get_task


def made_table(
    task: str = "EXPR",
    *,
    split: str = "train",
    videos: int = 6,
    frames: int = 90,
    dims: tuple[int, ...] = (12, 5),
    seed: int = 0,
) -> FrameTable:
    """Videos whose features carry their labels; gaps, invalid labels, lost sound."""
    rng = np.random.default_rng([seed, zlib.crc32(f"{task} {split}".encode())])
    kind = get_task(task)
    lengths = rng.integers(frames // 2, frames + 1, videos)
    total, dim = int(lengths.sum()), sum(dims)
    teacher = np.random.default_rng(99).normal(size=(dim, kind.num_outputs))
    latent = rng.normal(size=(total, dim))
    for i in range(1, total):  # slow in time
        latent[i] = 0.9 * latent[i - 1] + 0.4 * latent[i]
    signal = latent @ teacher / np.sqrt(dim)
    if task == "EXPR":
        labels = signal.argmax(axis=1).astype(np.int8)
    elif task == "AU":
        labels = (signal > 0.5).astype(np.int8)
    else:
        labels = np.tanh(signal).astype(np.float32)
    labels = labels.copy()
    labels[rng.random(total) < 0.05] = -1 if task != "VA" else np.nan
    has_row = rng.random(total) > 0.1
    has_row[0] = True
    frame = np.concatenate([np.arange(1, n + 1) for n in lengths])
    video = np.repeat(np.arange(videos), lengths)
    counts = np.bincount(video[has_row], minlength=videos)
    has_audio = np.ones(int(has_row.sum()), bool)
    features = (latent + 0.3 * rng.normal(size=latent.shape)).astype(np.float16)
    features = features[has_row]
    if len(dims) > 1:
        has_audio = video[has_row] != videos - 1
        features[~has_audio, dims[0] :] = 0
    names = ("enet_b2_8_best@cropped_aligned-224", "wav2vec2_base@16k")
    sets = tuple(
        FeatureSet(name, "visual" if i == 0 else "audio", size, 0, f"made{i}")
        for i, (name, size) in enumerate(zip(names, dims, strict=False))
    )
    return FrameTable(
        task=kind,
        split=split,
        feature_sets=sets,
        features=features,
        outputs=None,
        labels=labels[has_row],
        valid=kind.valid(labels[has_row]),
        has_audio=has_audio,
        frame=frame[has_row].astype(np.int32),
        videos=tuple(f"{split}{i:02d}" for i in range(videos)),
        source_videos=tuple(f"{split}{i:02d}" for i in range(videos)),
        row_offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        num_frames=lengths.astype(np.int32),
        fps=np.full(videos, 30.0),
        dense_labels=labels,
        fingerprint=f"made-{task}-{split}-{seed}",
        report={"videos": videos},
    )


class MadeStore(Store):
    """A store of made tables; every split is there for every task."""

    def __init__(self, task="EXPR", dims=(12, 5), videos=6, frames=90):
        self.options = {"dims": dims, "videos": videos, "frames": frames}
        sets = made_table(task, **self.options).feature_sets
        self.feature_sets = {fs.name: fs for fs in sets}
        self.synthetic = True
        self.fingerprint = "made"

    def split_videos(self, task, split, splits=None):
        parts = [made_table(task, split=s, **self.options) for s in split.split("+")]
        return tuple(video for part in parts for video in part.videos)

    def load_table(self, task, split, features, *, memmap_path=None, **_):
        table = made_table(task, split=split, **self.options)
        if memmap_path:
            memmap_path.parent.mkdir(parents=True, exist_ok=True)
            shape = table.features.shape
            mapped = np.memmap(memmap_path, np.float16, "w+", shape=shape)
            mapped[:] = table.features
            table = dataclasses.replace(table, features=mapped)
        return table

    def plan(self, task, split, features, **_):
        table = self.load_table(task, split, features)
        return types.SimpleNamespace(rows=table.num_rows, bytes=table.features.nbytes)


def made_data(**options) -> Data:
    return Data(MadeStore(**options), "made", "made data")
