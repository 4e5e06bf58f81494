"""Folders of arrays: one ``.npy`` a video, or one a frame."""

import pathlib
import re
from collections.abc import Mapping
from typing import NoReturn

import numpy as np

from avemo_jax.data.features.files import read_original_file
from avemo_jax.data.features.original_npy import numpy_header
from avemo_jax.data.importing.source import (
    ImportSource,
    check_vectors,
    counted,
    narrowed,
)
from avemo_jax.data.listing import by_video, entries, read_names, subfolders
from avemo_jax.data.records import VideoFeatures
from avemo_jax.runtime.array_files import read_npy

# Endings of the file beside VIDEO.npy that has the frame number of each row.
SIDECARS = (".frames.npy", ".frames.txt")
_FRAME = re.compile(r"\d{1,9}")


def import_folder(path: pathlib.Path, *, first_frame: int = 1) -> ImportSource:
    """A source of ``VIDEO.npy`` (frames, dim), or of ``VIDEO/00001.npy`` (dim,).

    Row i of ``VIDEO.npy`` is frame i + 1, unless ``VIDEO.frames.npy`` (integers) or
    ``VIDEO.frames.txt`` (one number a line) lies beside it. The original system's
    files, for which ``np.save`` stored a dict by image, are read too.

    Args:
        path: The folder.
        first_frame: Number of the first frame of a video in names and sidecars.

    Raises:
        ValueError: If there are no such files, one is damaged, or lengths disagree.
    """
    arrays = [file for file in entries(path) if file.suffix == ".npy"]
    if any(file.is_file() and numpy_header(file) for file in arrays):
        return _of_dicts(path, arrays)
    if any(file.is_file() for file in arrays):
        return _by_video(path, first_frame)
    if any(_images(folder) for folder in subfolders(path)):
        return _by_frame(path, first_frame)
    names = ", ".join(file.name for file in entries(path)[:5]) or "nothing"
    raise ValueError(
        f"{path} has {names}; expected VIDEO.npy or VIDEO/00001.npy: give the folder "
        "of these"
    )


def load(path: pathlib.Path, *, mapped: bool = False) -> np.ndarray:
    """The array of numbers in a ``.npy``; pickled objects are not read.

    Args:
        path: The file.
        mapped: Map the file into memory, read-only, instead of reading it.

    Raises:
        ValueError: If the file is damaged or holds objects.
    """
    expected = "expected numbers as np.save writes them: save it again, without objects"
    return read_npy(path, expected=expected, mapped=mapped)


def _by_video(path: pathlib.Path, first_frame: int) -> ImportSource:
    """A source with one file of an array for each video."""
    there = [
        file
        for file in entries(path)
        if file.is_file() and not file.name.endswith(SIDECARS)
    ]
    arrays = [file for file in there if file.suffix == ".npy"]
    files = by_video(arrays, lambda file: file.stem, str(path))
    ignored = [file.name for file in there if file.suffix != ".npy"]
    notes: tuple[str, ...] = ()
    if ignored:
        notes = (f"ignored, as no .npy: {', '.join(ignored[:5])}",)
    frames: dict[str, np.ndarray] = {}
    dim, numbered = None, False
    for video, file in files.items():
        rows = check_vectors(load(file, mapped=True), dim, str(file))
        dim = rows.shape[1]
        own = _sidecar(path, file, len(rows), first_frame)
        numbered = numbered or own is not None
        frames[video] = (
            np.arange(1, len(rows) + 1, dtype=np.int32) if own is None else own
        )
    if dim is None:
        _no_arrays(path)

    def read(video: str) -> VideoFeatures:
        rows = narrowed(load(files[video]), "float32", str(files[video]))
        return VideoFeatures(frames[video], rows)

    return ImportSource(
        form="one .npy a video" + (" with frame numbers" if numbered else ""),
        dim=dim,
        output_dim=0,
        frames=frames,
        numbered=numbered,
        read=read,
        notes=notes,
    )


def _of_dicts(path: pathlib.Path, arrays: list[pathlib.Path]) -> ImportSource:
    """A source with one pickled dict by image for each video.

    Files are read once for their frame numbers, and again for their rows.
    """
    files = by_video(arrays, lambda file: file.stem, str(path))
    frames: dict[str, np.ndarray] = {}
    dim = None
    for video, file in files.items():
        rows = read_original_file(file)
        frames[video] = rows.frame
        dim = check_vectors(rows.features, dim, str(file)).shape[1]
    assert dim is not None
    others = sorted({file.name for file in entries(path)} - {f.name for f in arrays})
    return ImportSource(
        form="one pickled dict by image a video",
        dim=dim,
        output_dim=0,
        frames=frames,
        numbered=True,
        read=lambda video: read_original_file(files[video]),
        notes=(f"ignored: {', '.join(others[:5])}",) if others else (),
    )


def _no_arrays(path: pathlib.Path) -> NoReturn:
    raise ValueError(
        f"{path} has frame numbers and no VIDEO.npy; expected both: give the folder of "
        "the arrays"
    )


def _sidecar(
    path: pathlib.Path, file: pathlib.Path, rows: int, first_frame: int
) -> np.ndarray | None:
    """Official frame numbers of a video's rows; None without a file of them.

    Args:
        path: The folder.
        file: The video's array.
        rows: How many rows the array has.
        first_frame: The number that the source gives to the first frame.
    """
    found = [path / f"{file.stem}{ending}" for ending in SIDECARS]
    found = [side for side in found if side.is_file()]
    if not found:
        return None
    if len(found) > 1:
        raise ValueError(
            f"{found[0]} and {found[1].name} both tell frame numbers; expected one: "
            "remove the other"
        )
    side = found[0]
    if side.suffix == ".npy":
        numbers = load(side)
    else:
        lines = read_names(side)
        for number, line in lines:
            if not _FRAME.fullmatch(line):
                raise ValueError(
                    f"{side}, line {number}: {line[:80]!r}; expected a frame number: "
                    "correct it"
                )
        numbers = np.array([int(line) for _, line in lines], np.int64)
    if numbers.shape != (rows,) or numbers.dtype.kind not in "iu":
        raise ValueError(
            f"{side} has {numbers.dtype} of shape {numbers.shape}; expected {rows} "
            f"integers, one for each row of {file.name}: write it again"
        )
    return counted(numbers, first_frame, str(side))


def _images(folder: pathlib.Path) -> dict[int, pathlib.Path]:
    """The files of frames in a video's folder, by the number in their names."""
    return {
        int(file.stem): file
        for file in entries(folder)
        if file.suffix == ".npy" and _FRAME.fullmatch(file.stem)
    }


def _by_frame(path: pathlib.Path, first_frame: int) -> ImportSource:
    """A source with one folder for each video, and in it one file for each frame."""
    files: dict[str, Mapping[int, pathlib.Path]] = {}
    notes = []
    folders = by_video(subfolders(path), lambda folder: folder.name, str(path))
    for video, folder in folders.items():
        own = _images(folder)
        if not own:
            notes.append(f"ignored, as it has no 00001.npy: {folder.name}")
            continue
        other = [f.name for f in entries(folder) if f not in own.values()]
        if other:
            notes.append(f"ignored in {folder.name}: {', '.join(other[:5])}")
        files[video] = own
    frames = {
        video: counted(np.array(sorted(own)), first_frame, str(path / video))
        for video, own in files.items()
    }
    first = next(iter(files.values()))
    dim = load(first[min(first)]).shape
    if len(dim) != 1:
        raise ValueError(
            f"{first[min(first)]} has shape {dim}; expected (dim,), one frame's "
            "vector: save it again"
        )

    def read(video: str) -> VideoFeatures:
        rows = []
        for number in sorted(files[video]):
            vector = load(files[video][number])
            if vector.shape != dim or vector.dtype.kind not in "fiu":
                raise ValueError(
                    f"{files[video][number]} is {vector.dtype} of shape "
                    f"{vector.shape}; expected numbers of shape {dim}, as the others: "
                    "extract this frame again, or leave it out"
                )
            file = str(files[video][number])
            rows.append(narrowed(vector[None], "float32", file))
        return VideoFeatures(frames[video], np.concatenate(rows))

    return ImportSource(
        form="one .npy a frame",
        dim=dim[0],
        output_dim=0,
        frames=frames,
        numbered=True,
        read=read,
        notes=tuple(notes),
    )
