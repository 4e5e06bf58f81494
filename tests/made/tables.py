"""Small made tables and a store of them, for tests of training and evaluation."""

import dataclasses
import pathlib
import zlib

import jax
import numpy as np

from avemo_jax.batches.tables import Data
from avemo_jax.data.corpus.splits import SPLITS
from avemo_jax.data.store.join import Join, JoinedVideo
from avemo_jax.data.store.store import Store
from avemo_jax.data.store.table import FeatureSet, FrameTable
from avemo_jax.tasks import TASKS, get_task


def made_table(
    task: str = "EXPR",
    *,
    split: str = "train",
    videos: int = 6,
    frames: int = 90,
    dims: tuple[int, ...] = (12, 5),
    seed: int = 0,
    slow: float = 0.9,
    noise: float = 0.3,
) -> FrameTable:
    """Videos whose features carry their labels; gaps, invalid labels, lost sound.

    ``slow`` is how much of a frame the next one keeps, ``noise`` what the features
    have of their own. All splits have tables of the same shape, so that programs are
    compiled once. Split "test" has no labels.
    """
    rng = np.random.default_rng([seed, zlib.crc32(f"{task} {split}".encode())])
    kind = get_task(task)
    shapes = np.random.default_rng([seed, videos])  # the same for all splits
    lengths = shapes.integers(frames // 2, frames + 1, videos)
    total, dim = int(lengths.sum()), sum(dims)
    teacher = np.random.default_rng(99).normal(size=(dim, kind.num_outputs))
    latent = rng.normal(size=(total, dim))
    for i in range(1, total):  # slow in time
        latent[i] = slow * latent[i - 1] + 4 * (1 - slow) * latent[i]
    signal = latent @ teacher / np.sqrt(dim)
    if task == "EXPR":
        labels = signal.argmax(axis=1).astype(np.int8)
    elif task == "AU":
        labels = (signal > 0.5).astype(np.int8)
    else:
        labels = np.tanh(signal).astype(np.float32)
    labels = labels.copy()
    labels[rng.random(total) < 0.05] = -1 if task != "VA" else np.nan
    if split == "test":
        labels = kind.empty_labels(total)
    has_row = shapes.random(total) > 0.1
    has_row[0] = True
    frame = np.concatenate([np.arange(1, n + 1) for n in lengths])
    video = np.repeat(np.arange(videos), lengths)
    counts = np.bincount(video[has_row], minlength=videos)
    has_audio = np.ones(int(has_row.sum()), bool)
    features = (latent + noise * rng.normal(size=latent.shape)).astype(np.float16)
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


def joined(tables: list[FrameTable], split: str) -> FrameTable:
    """One table of the videos of several, as ``split``."""

    def stacked(name: str) -> np.ndarray:
        return np.concatenate([getattr(table, name) for table in tables])

    arrays = ("features", "labels", "valid", "has_audio", "frame", "num_frames", "fps")
    names = sum((table.videos for table in tables), ())
    counts = np.concatenate([np.diff(table.row_offsets) for table in tables])
    return dataclasses.replace(
        tables[0],
        split=split,
        **{name: stacked(name) for name in (*arrays, "dense_labels")},
        videos=names,
        source_videos=names,
        row_offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        report={"videos": len(names)},
    )


def one_video(table: FrameTable, i: int) -> FrameTable:
    """Video number ``i`` of a table, alone."""
    low, high = table.row_offsets[i : i + 2]
    first, end = table.dense_offsets[i : i + 2]
    by_row = ("features", "labels", "valid", "has_audio", "frame")
    return dataclasses.replace(
        table,
        **{name: getattr(table, name)[low:high] for name in by_row},
        **{name: getattr(table, name)[i : i + 1] for name in ("videos", "num_frames")},
        fps=table.fps[i : i + 1],
        source_videos=table.videos[i : i + 1],
        row_offsets=np.array([0, high - low]),
        dense_labels=table.dense_labels[first:end],
    )


class MadeStore(Store):
    """A store of made tables; every split is there for every task."""

    def __init__(self, task="EXPR", fingerprint="made", **options):
        self.path = pathlib.Path("made")
        self.options = options
        sets = made_table(task, **options).feature_sets
        self.feature_sets = {fs.name: fs for fs in sets}
        self.synthetic = True
        self.fingerprint = fingerprint
        self.tasks = TASKS

    def sources_of(self):
        return {}  # their names tell them

    def shared_groups(self, task, splits=None):
        return {}

    def data_fingerprint(self, sets):
        return self.fingerprint

    def videos_of(self, task, split, splits):
        """The videos of a split, each as a table."""
        by_name = {}
        for own in SPLITS:
            table = made_table(task, split=own, **self.options)
            for i, name in enumerate(table.videos):
                if (splits or {}).get(name, own) in split.split("+"):
                    by_name[name] = one_video(table, i)
        return dict(sorted(by_name.items()))

    def table_of(self, task, split, names):
        everywhere = self.videos_of(task, "+".join(SPLITS), None)
        return joined([everywhere[name] for name in names], split)

    def split_videos(self, task, split, splits=None):
        return tuple(self.videos_of(task, split, splits))

    def load_table(self, task, split, features, *, splits=None, **_):
        return self.table_of(task, split, self.videos_of(task, split, splits))

    def load(self, joined, *, memmap_path=None, **_):
        names = [one.video for one in joined.videos]
        table = self.table_of(joined.task.name, joined.split, names)
        if memmap_path:
            memmap_path.parent.mkdir(parents=True, exist_ok=True)
            shape = table.features.shape
            mapped = np.memmap(memmap_path, np.float16, "w+", shape=shape)
            mapped[:] = table.features
            table = dataclasses.replace(table, features=mapped)
        return table

    def outline(self, joined):
        return self.load(joined)

    def join(self, task, split, features, *, splits=None, **_):
        table = self.load_table(task, split, features, splits=splits)
        offsets = table.row_offsets
        videos = tuple(
            JoinedVideo(
                video=name,
                frame=table.frame[offsets[i] : offsets[i + 1]],
                has_audio=table.has_audio[offsets[i] : offsets[i + 1]],
                num_frames=int(table.num_frames[i]),
                parts=dict.fromkeys(self.feature_sets, name),
            )
            for i, name in enumerate(table.videos)
        )
        return Join(table.task, split, table.feature_sets, videos, dict(table.report))


def made_data(**options) -> Data:
    return Data(MadeStore(**options), "made", "made data")


def batches_of(feeder, order, length):
    """The batch of every step of ``order``, sent in chunks of ``length`` steps."""
    found, batch = [], jax.jit(feeder.batch)
    for shared, chunk in feeder.chunks(order, length):
        steps = jax.tree.map(np.asarray, feeder.spread(shared, chunk))
        for i in range(len(steps.present)):
            step = jax.tree.map(lambda leaf, i=i: leaf[i], steps)
            found.append(batch(shared, step))
    return found
