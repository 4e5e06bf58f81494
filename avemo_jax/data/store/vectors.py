"""The vectors of joined rows: array_record files -> one matrix."""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from tqdm import tqdm

from avemo_jax.data.store import memmap, tfds
from avemo_jax.data.store.join import Join, JoinedVideo, rows_digest
from avemo_jax.runtime.progress import progress_bar

_ALIGNMENT = 64  # bytes; what XLA aligns its buffers to
_NUM_THREADS = 4


@dataclasses.dataclass(frozen=True)
class Packed:
    """One feature set on disk.

    Attributes:
        folder: Folder of the built config.
        content: Digest of what the config holds.
        frames: Numbers of the frames that have a vector, by video, in the order of the
            examples.
    """

    folder: pathlib.Path
    content: str
    frames: Mapping[str, np.ndarray]


def load_vectors(
    joined: Join,
    packed: Mapping[str, Packed],
    memmap_path: str | os.PathLike[str] | None,
    *,
    show_progress: bool,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Features and the extractors' outputs of the join's rows, in memory or mapped.

    Args:
        joined: Which rows of which videos.
        packed: The join's feature sets on disk, by name.
        memmap_path: File for the features, with the outputs beside it; None: both are
            loaded into memory.
        show_progress: Draw a bar on stderr, if loading takes over two seconds.

    Raises:
        ValueError: If the store is damaged.
    """
    fill = functools.partial(_fill, joined, packed, show_progress)
    if memmap_path is None:
        features = aligned_zeros((joined.rows, joined.dim), np.float16)
        outputs = np.zeros((joined.rows, joined.output_dim), np.float32)
        fill(features, outputs)
        return features, outputs if joined.output_dim else None
    path = pathlib.Path(memmap_path)
    files = [memmap.FlatFile(path, (joined.rows, joined.dim), np.float16)]
    if joined.output_dim:
        shape = (joined.rows, joined.output_dim)
        beside = path.with_name(f"{path.name}.outputs")
        files.append(memmap.FlatFile(beside, shape, np.float32))
    contents = [packed[one.name].content for one in joined.feature_sets]
    mapped = memmap.open_or_write(files, rows_digest(contents, joined.videos), fill)
    return mapped[0], mapped[1] if joined.output_dim else None


def aligned_zeros(shape: tuple[int, int], dtype: type) -> np.ndarray:
    """Zeros that begin at a multiple of 64 bytes: JAX on a CPU takes them uncopied."""
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    memory = np.zeros(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)


def _fill(
    joined: Join,
    packed: Mapping[str, Packed],
    show_progress: bool,
    features: np.ndarray,
    outputs: np.ndarray | None = None,
) -> None:
    """Write the vectors of the join's rows into matrices of zeros, set by set."""
    bar = progress_bar(
        len(joined.videos) * len(joined.feature_sets),
        f"loading {joined.task.name} {joined.split}",
        "video",
        quiet=not show_progress,
        delay_s=2.0,
    )
    column = output_column = 0
    for one in joined.feature_sets:
        columns = slice(column, column + one.dim)
        column = columns.stop
        targets = {"features": features[:, columns]}
        if one.output_dim and one.kind == "visual":
            assert outputs is not None
            columns = slice(output_column, output_column + one.output_dim)
            output_column = columns.stop
            targets["outputs"] = outputs[:, columns]
        _fill_set(joined, one.name, packed[one.name], targets, bar)
    bar.close()


def _fill_set(
    joined: Join,
    name: str,
    packed: Packed,
    targets: Mapping[str, np.ndarray],
    bar: tqdm,
) -> None:
    """Write one set's vectors into its columns of the targets."""
    examples = tfds.open_examples(packed.folder)
    position = {video: i for i, video in enumerate(packed.frames)}

    def fill_video(video: JoinedVideo, rows: slice) -> None:
        part = video.parts[name]
        if part is None:
            return
        example = examples[position[part]]
        _check_example(packed, part, example)
        take, put = _matching(example["frame"], video.frame)
        for field, target in targets.items():
            target[rows][put] = example[field][take]

    ends = np.cumsum([len(video.frame) for video in joined.videos]).tolist()
    rows = [slice(*pair) for pair in zip([0, *ends], ends, strict=False)]
    # Decompression frees the interpreter; every thread holds one video.
    with ThreadPoolExecutor(min(_NUM_THREADS, os.cpu_count() or 1)) as pool:
        for _ in pool.map(fill_video, joined.videos, rows):
            bar.update()


def _check_example(packed: Packed, video: str, example: dict[str, Any]) -> None:
    """Raise ``ValueError`` if an example is not the one that the metadata tell of."""
    found = example["video"].decode()
    if found != video or not np.array_equal(example["frame"], packed.frames[video]):
        raise ValueError(
            f"{packed.folder}: the example of {video!r} is of {found!r} with "
            f"{len(example['frame'])} frames; expected {len(packed.frames[video])}: "
            "the store is damaged, build it again"
        )


def _matching(
    there: np.ndarray, wanted: np.ndarray
) -> tuple[slice | np.ndarray, slice | np.ndarray]:
    """Indices into ``there`` and into ``wanted`` of the numbers that both have.

    Consecutive indices are given as slices, which need no copy.
    """
    _, take, put = np.intersect1d(
        there, wanted, assume_unique=True, return_indices=True
    )
    return _as_slice(take), _as_slice(put)


def _as_slice(index: np.ndarray) -> slice | np.ndarray:
    if len(index) and index[-1] - index[0] == len(index) - 1:
        return slice(int(index[0]), int(index[-1]) + 1)
    return index
