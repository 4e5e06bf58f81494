"""Files of predictions that are arrays: .npz, .npy, pickled dicts, folders by video."""

import dataclasses
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from avemo_jax.data.features.original_npy import numpy_header, read_pickled_dict
from avemo_jax.data.listing import entries, nfc
from avemo_jax.data.predictions.frames import FramePredictions
from avemo_jax.data.predictions.tables import IMAGE, FramePlaces, joined_names
from avemo_jax.runtime import array_files
from avemo_jax.runtime.tables import header_of, read_table
from avemo_jax.tasks import EXPR, TASKS, Task

_ROW_BYTES = 24  # of each row beside its values: video, frame, and their order
_KEY = re.compile(IMAGE)


def read_npz(path: pathlib.Path, task: Task) -> FramePredictions:
    """Predictions in a ``.npz``, whose arrays may have one of two forms.

    These are ``video``, ``frame`` and ``scores``, or an array (frames, outputs) for
    each video.

    Raises:
        ValueError: If the file is damaged, or holds other arrays.
    """
    expected = "expected a .npz of numbers and texts: save it again, without objects"
    arrays = array_files.read_npz(path, expected=expected)
    if {"video", "frame", "scores"} <= set(arrays):
        return _columnar(path, task, arrays)
    return of_videos(path, task, arrays, "arrays by video")


def read_npy(path: pathlib.Path, task: Task) -> FramePredictions:
    """Predictions in a ``.npy``: a pickled dict, or the array of the video it names.

    Raises:
        ValueError: If the file is damaged, or holds something else.
    """
    if numpy_header(path):
        return read_pickle(path, task)
    array = _array(path, task)
    return of_videos(path, task, {path.stem: array}, "array of one video")


def read_pickle(path: pathlib.Path, task: Task) -> FramePredictions:
    """Predictions in a pickled dict by image (``VIDEO/00001.jpg``) or by video.

    Nothing of the pickle is run.

    Raises:
        ValueError: If the file holds something else, or asks for anything but numpy
            arrays and plain containers.
    """
    found = read_pickled_dict(path)
    if not found:
        raise ValueError(f"{path}: an empty dict; expected predictions: save it again")
    first = next(iter(found))
    if not isinstance(first, str) or not _KEY.match(first):
        by_video = {str(key): np.asarray(value) for key, value in found.items()}
        return of_videos(path, task, by_video, "pickled arrays by video")
    names: dict[str, int] = {}
    video, frame = np.empty(len(found), np.int64), np.empty(len(found), np.int64)
    rows = []
    for row, (key, value) in enumerate(found.items()):
        match = _KEY.match(key) if isinstance(key, str) else None
        if match is None:
            raise ValueError(
                f"{path}: key {key!r:.80}; expected 'VIDEO/00001.jpg', as the others: "
                "save it again"
            )
        video[row] = names.setdefault(match["video"], len(names))
        frame[row] = int(match["frame"])
        rows.append(_vector(path, key, value))
    widths = {len(row): key for row, key in zip(rows, found, strict=True)}
    if len(widths) > 1:
        raise ValueError(
            f"{path}: values of {' and '.join(map(str, sorted(widths)))} numbers "
            f"({', '.join(widths.values())}); expected as many for every frame: save "
            "it again"
        )
    place = joined_names(list(names), video, frame)
    return _unnamed(path, task, "pickled dict by image", place, np.stack(rows))


def _vector(path: pathlib.Path, key: str, value: Any) -> np.ndarray:
    """One frame's values."""
    if isinstance(value, tuple) and not all(isinstance(v, int | float) for v in value):
        raise ValueError(
            f"{path}: {key} holds an embedding and scores; expected scores alone: "
            "import the embeddings with avemo import-features"
        )
    try:
        return np.asarray(value, np.float64).reshape(-1)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: {key} holds a {type(value).__name__}; expected numbers: save it "
            "again"
        ) from error


def read_folder(path: pathlib.Path, task: Task) -> FramePredictions:
    """Predictions in one file for each video: ``VIDEO.npy``, or ``VIDEO.txt``.

    The texts have the form of the annotations.

    Raises:
        ValueError: If there are no such files, or both kinds, or a file is wrong.
    """
    files = [file for file in entries(path) if file.is_file()]
    kinds = {file.suffix for file in files} & {".txt", ".npy"}
    if len(kinds) != 1:
        raise ValueError(
            f"{path} has {', '.join(file.name for file in files[:5]) or 'no files'}; "
            "expected VIDEO.txt or VIDEO.npy for every video: give the folder of these"
        )
    kind = kinds.pop()
    read = _text_values if kind == ".txt" else _array
    arrays = {file.stem: read(file, task) for file in files if file.suffix == kind}
    found = of_videos(path, task, arrays, f"one {kind} file a video")
    if ignored := [file.name for file in files if file.suffix != kind]:
        note = f"ignored in {path}: {', '.join(ignored[:5])}"
        return dataclasses.replace(found, notes=(note,))
    return found


def read_one_text(path: pathlib.Path, task: Task) -> FramePredictions:
    """Predictions in the text of one video, in the form of the annotations.

    Raises:
        ValueError: If the file is wrong.
    """
    values = _text_values(path, task)
    return of_videos(path, task, {path.stem: values}, "text of one video")


def _array(path: pathlib.Path, task: Task) -> np.ndarray:
    """The array in one video's file; ``task`` is not needed."""
    del task
    expected = "expected numbers of shape (frames, outputs): save it again"
    return array_files.read_npy(path, expected=expected)


def _text_values(path: pathlib.Path, task: Task) -> np.ndarray:
    """The numbers in one video's text, a row for each line below the header."""
    header = ",".join(header_of(path))
    if header != task.header:
        own = [t.name for t in TASKS.values() if t.header == header]
        instead = f"pass --task {own[0].lower()}" if own else "write it in line 1"
        raise ValueError(
            f"{path}, line 1: {header[:80]!r}; expected the header {task.header!r}, "
            f"then a line for every frame: {instead}"
        )
    narrow = (task.decided,) if task is EXPR else ()
    table = read_table(path, narrow=narrow)
    return np.stack([table.numbers(name) for name in table.columns], axis=1)


def of_videos(
    path: pathlib.Path, task: Task, arrays: Mapping[str, np.ndarray], form: str
) -> FramePredictions:
    """Predictions from one array for each video, whose row i is frame i + 1.

    Args:
        path: The file, for errors.
        task: The task of the predictions.
        arrays: Arrays (frames, outputs) by video.
        form: What kind of file they come from, in words.

    Raises:
        ValueError: If an array has another shape, or its width is not the others'.
    """
    _check_size(path, arrays)
    parts: list[np.ndarray] = []
    frames: list[np.ndarray] = []
    names: list[str] = []
    for name, array in arrays.items():
        if array.ndim == 1 and task is EXPR:
            array = array[:, None]
        if array.ndim != 2 or array.dtype.kind not in "fiub":
            raise ValueError(
                f"{path}: {name} is {array.dtype} of shape {array.shape}; expected "
                f"numbers of shape (frames, {task.num_outputs}): save it again"
            )
        if parts and array.shape[1] != parts[0].shape[1]:
            raise ValueError(
                f"{path}: {array.shape[1]} values a frame in {name}, and "
                f"{parts[0].shape[1]} in {names[0]}; expected as many in all: save it "
                "again"
            )
        names.append(nfc(name))
        parts.append(array.astype(np.float64))
        frames.append(np.arange(1, len(array) + 1))
    if not parts:
        raise ValueError(f"{path} holds no arrays; expected predictions: save it again")
    video = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    place = joined_names(names, video, np.concatenate(frames))
    values = np.concatenate(parts)
    return _unnamed(path, task, form, place, values, numbered=False)


def _check_size(path: pathlib.Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Check that the rows, once they are scores of frames, fit what the file has.

    Raises:
        ValueError: If they are more.
    """
    files = entries(path) if path.is_dir() else [path]
    needed = sum(8 * a.size + _ROW_BYTES * len(a) for a in arrays.values() if a.ndim)
    with array_files.damage_told(path, "expected a row for each frame: save it again"):
        array_files.check_growth(needed, sum(file.stat().st_size for file in files))


def _unnamed(
    path: pathlib.Path,
    task: Task,
    form: str,
    place: FramePlaces,
    values: Float[np.ndarray, "rows columns"],
    *,
    numbered: bool = True,
) -> FramePredictions:
    """Predictions of a file that names no columns and fills no frames.

    Args:
        path: The file.
        task: The task of the predictions.
        form: What kind of file it is, in words.
        place: The videos, and each row's video and frame.
        values: The values of each frame.
        numbered: Whether the file tells the frames' numbers.
    """
    filled = np.zeros(len(values), bool)
    return FramePredictions(path, task, form, *place, filled, values, numbered=numbered)


def _columnar(
    path: pathlib.Path, task: Task, arrays: Mapping[str, np.ndarray]
) -> FramePredictions:
    """Predictions from the arrays ``video``, ``frame`` and ``scores``, row by row."""
    _check_size(path, arrays)
    video, frame, scores = (arrays[name] for name in ("video", "frame", "scores"))
    scores = scores[:, None] if scores.ndim == 1 else scores
    good = video.ndim == frame.ndim == 1 and scores.ndim == 2
    good = good and len(video) == len(frame) == len(scores)
    good = good and video.dtype.kind == "U" and frame.dtype.kind in "iu"
    if not good or scores.dtype.kind not in "fiub":
        shapes = {name: (a.dtype.name, a.shape) for name, a in arrays.items()}
        raise ValueError(
            f"{path} holds {shapes}; expected video (rows,) of text, frame (rows,) of "
            "integers, scores (rows, outputs) of numbers: save it again"
        )
    names, index = np.unique(video, return_inverse=True)
    place = joined_names(names.tolist(), index, frame)
    return _unnamed(path, task, "columns", place, scores.astype(np.float64))
