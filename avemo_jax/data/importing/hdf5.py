"""Vectors in HDF5 files: datasets that lie in the file itself, in bounded memory."""

import math
import pathlib
import zlib
from typing import Any

import numpy as np

from avemo_jax.data.importing.source import (
    ImportSource,
    check_vectors,
    counted,
    narrowed,
)
from avemo_jax.data.listing import by_video
from avemo_jax.data.records import VideoFeatures
from avemo_jax.runtime.array_files import (
    SPARE_BYTES,
    check_growth,
    damage_told,
    opened_file,
)

# Numbers of the filters, as HDF5 registers them; other ones may be programs of others.
_DEFLATE, _SHUFFLE, _FLETCHER32, _LZF = 1, 2, 3, 32000
_MOST_DEFLATE = 1032  # bytes that deflate makes of one, at most
_CHECKSUM = 4  # bytes
_EXPECTED = "expected an HDF5 file of numbers: copy or write it again"


def import_hdf5(path: pathlib.Path, *, first_frame: int = 1) -> ImportSource:
    """A source from a dataset (frames, dim) for each video.

    In place of a dataset there may be a group with ``features`` and ``frame``, the
    number of each row; without numbers row i is frame i + 1.

    Args:
        path: A ``.h5`` or ``.hdf5`` file.
        first_frame: The number that ``frame`` gives to a video's first frame.

    Raises:
        ImportError: If h5py is not installed.
        ValueError: If the file is damaged, declares more than its bytes allow, or holds
            something else, such as links.
    """
    try:
        import h5py
    except ImportError as error:
        raise ImportError(
            f"{path} needs h5py, which is not installed; expected the extra h5: "
            "pip install 'avemo_jax[h5]'"
        ) from error
    with damage_told(path, _EXPECTED), opened_file(path):
        file = h5py.File(path, "r")
    found: dict[str, Any] = {}
    frames: dict[str, np.ndarray] = {}
    dim, numbered = None, False
    try:
        with damage_told(path, _EXPECTED):
            names = list(file)
        for video, name in by_video(names, str, str(path)).items():
            with damage_told(path, _EXPECTED):
                data, numbers = _entry(file, name)
            rows = check_vectors(data, dim, f"{path}: {name}")
            dim = rows.shape[1]
            found[video] = data
            where = f"{path}: {name}/frame"
            frames[video] = _numbers(numbers, len(data), first_frame, where)
            numbered = numbered or numbers is not None
    except BaseException:
        file.close()
        raise
    if dim is None:
        file.close()
        raise ValueError(f"{path} is empty; expected a dataset for each video")

    def read(video: str) -> VideoFeatures:
        with damage_told(path, _EXPECTED):
            stored = found[video][()]
        rows = narrowed(stored, "float32", f"{path}: {video}")
        return VideoFeatures(frames[video], rows)

    return ImportSource(
        form="HDF5",
        dim=dim,
        output_dim=0,
        frames=frames,
        numbered=numbered,
        read=read,
        close=file.close,
    )


def _entry(file: Any, name: str) -> tuple[Any, np.ndarray | None]:
    """A video's dataset, and its frame numbers; None where it has none."""
    import h5py

    data = _own(file, name)
    if isinstance(data, h5py.Dataset):
        return _checked(data), None
    if not isinstance(data, h5py.Group) or "features" not in data:
        has = ", ".join(list(data)[:5]) if isinstance(data, h5py.Group) else "no values"
        raise ValueError(
            f"{name} has {has or 'nothing'}; expected features (frames, dim), and frame"
        )
    numbers = _checked(_own(data, "frame"))[()] if "frame" in data else None
    return _checked(_own(data, "features")), numbers


def _own(group: Any, name: str) -> Any:
    """What ``group`` has under ``name``, if it lies there itself.

    Links lead into other files, or in circles.

    Raises:
        ValueError: If it is a link.
    """
    import h5py

    link = group.get(name, getlink=True)
    if isinstance(link, h5py.HardLink):
        return group[name]
    to = f" to {link.path!r:.80}" if hasattr(link, "path") else ""
    into = f" in {link.filename!r:.80}" if hasattr(link, "filename") else ""
    raise ValueError(
        f"{group.name.rstrip('/')}/{name} is a link{to}{into}; expected the data "
        "themselves in its place"
    )


def _checked(data: Any) -> Any:
    """A dataset of numbers, whose reading takes no more than its bytes allow.

    Raises:
        ValueError: If it is something else, lies in other files, or declares too much.
    """
    import h5py

    if not isinstance(data, h5py.Dataset) or data.dtype.kind not in "fiu":
        kind = getattr(data, "dtype", type(data).__name__)
        raise ValueError(f"{data.name} is {kind}; expected numbers")
    if data.is_virtual or data.external:
        raise ValueError(f"{data.name} lies in other files; expected the data here")
    stored = data.id.get_storage_size()
    check_growth(math.prod(data.shape or (0,)) * data.dtype.itemsize, stored)
    if data.chunks:
        _check_chunks(data, stored)
    return data


def _check_chunks(data: Any, stored: int) -> None:
    """Check the chunks of a dataset, which are inflated whole.

    Raises:
        ValueError: If a filter is not one of h5py's, or a chunk inflates beyond its
            size: HDF5 would take memory until the end.
    """
    plist = data.id.get_create_plist()
    filters = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
    packed = [i for i, one in enumerate(filters) if one in (_DEFLATE, _LZF)]
    known = {_DEFLATE, _SHUFFLE, _FLETCHER32, _LZF}
    if not known.issuperset(filters) or len(set(filters)) < len(filters):
        raise ValueError(
            f"{data.name} has the filters {filters}; expected gzip or lzf, shuffle and "
            "fletcher32, each once at most: write it with these, or without"
        )
    if len(packed) > 1:
        raise ValueError(f"{data.name} is compressed twice")
    chunk = math.prod(data.chunks) * data.dtype.itemsize
    check_growth(chunk, stored)
    if _DEFLATE not in filters:
        return
    large: list[tuple[int, ...]] = []

    def look(info: Any) -> None:
        skipped = info.filter_mask >> packed[0] & 1
        if not skipped and info.size * _MOST_DEFLATE > max(SPARE_BYTES, chunk):
            large.append(info.chunk_offset)

    data.id.chunk_iter(look)
    for offset in large:
        inflate = zlib.decompressobj()
        inflate.decompress(data.id.read_direct_chunk(offset)[1], chunk + _CHECKSUM)
        # One byte more shows whether the end was reached.
        if inflate.decompress(inflate.unconsumed_tail, 1) or not inflate.eof:
            raise ValueError(f"{data.name} inflates beyond its chunks of {chunk} bytes")


def _numbers(
    numbers: np.ndarray | None, rows: int, first_frame: int, where: str
) -> np.ndarray:
    """Official frame numbers of the rows, 1, 2, ... where the file has none."""
    if numbers is None:
        return np.arange(1, rows + 1, dtype=np.int32)
    if numbers.shape != (rows,) or numbers.dtype.kind not in "iu":
        raise ValueError(
            f"{where} is {numbers.dtype} of shape {numbers.shape}; expected {rows} "
            "integers, one for each row: write it again"
        )
    return counted(numbers, first_frame, where)
