"""One official annotation file -> dense labels, one per frame.

Formats: one header line, then line i (from 1) labels frame i; in the multi-task file,
one row per image name. Anything that does not follow the format is an error that names
file and line, never a guess. Read as well: Windows line ends, a byte-order mark, blank
lines at the end, spaces around values, integers written as ``5.0``.
"""

import io
import os
import pathlib
import re
from typing import NoReturn

import numpy as np
from jaxtyping import Float, Int8, Shaped

from avemo_jax.data.records import MAX_FRAME
from avemo_jax.runtime.array_files import damage_told, opened_file
from avemo_jax.tasks import AU, EXPR, VA, Task

MTL_HEADERS = (
    "image,valence,arousal,expression,aus",
    f"image,valence,arousal,expression,{AU.header}",
)
_IMAGE = re.compile(r"(.+)[/\\](\d+)\.(?:jpg|jpeg|png)")
_EXPECTED = {
    "EXPR": f"an integer 0 to {EXPR.num_outputs - 1}, or -1 for none",
    "AU": "0 or 1, or -1 for none",
    "VA": "a number from -1 to 1, or -5 for none",
}


def task_of_file(path: pathlib.Path) -> Task | None:
    """The task whose header a file begins with; None: no task's."""
    header, _ = _parts(path)
    return next((task for task in (EXPR, AU, VA) if task.header == header), None)


def count_frames(path: pathlib.Path, task: Task) -> int:
    """The number of lines after the header, whose labels are not read.

    Returns:
        0 where there are none, as in a file that is empty or a header alone.

    Raises:
        ValueError: If the first line is not the header of the task.
    """
    header, body = _parts(path)
    if not (header or body.strip()):
        return 0
    _check_header(path, header, (task.header,))
    body = body.rstrip()
    return body.count(b"\n") + 1 if body else 0


def _parts(path: pathlib.Path) -> tuple[str, bytes]:
    """The header without spaces around its names, and what follows its line."""
    with damage_told(path, "expected an annotation file: unpack it again"):
        with opened_file(path) as file:
            data = file.read()
    data = data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n")
    first, _, body = data.partition(b"\n")
    names = first.decode("utf-8", "replace").split(",")
    return ",".join(name.strip() for name in names), body


def _check_header(path: pathlib.Path, header: str, headers: tuple[str, ...]) -> None:
    if header not in headers:
        raise ValueError(
            f"{path}, line 1: header {header[:120]!r}; expected "
            f"{' or '.join(repr(h) for h in headers)}: is this another task's file?"
        )


def _read_body(path: pathlib.Path, headers: tuple[str, ...]) -> bytes:
    """All after the header line, with Unix line ends and no blank lines at the end."""
    header, body = _parts(path)
    if not (header or body.strip()):
        raise ValueError(
            f"{path} is empty; expected the header {headers[0]!r} and one line per "
            "frame: unpack the annotations again"
        )
    _check_header(path, header, headers)
    if not body.strip():
        raise ValueError(
            f"{path}, line 2: no labels after the header; expected one line per "
            "frame: unpack the annotations again"
        )
    return body.rstrip()


def read_label_file(
    path: str | os.PathLike[str], task: Task
) -> Shaped[np.ndarray, "frames ..."]:
    """The labels of the frames 1, 2, ... of one video.

    EXPR int8 (frames,), AU int8 (frames, 12), VA float32 (frames, 2); -1 (NaN for VA)
    where invalid. A VA frame with either value below -1 is invalid as a whole.

    Raises:
        ValueError: If the file is empty, or has a wrong header, a line with a wrong
            number of columns, or a label that is no number or out of range.
    """
    path = pathlib.Path(path)
    body = _read_body(path, (task.header,))
    if task is not VA:
        digits = _read_single_digits(body, task)
        if digits is not None:
            return digits
    try:
        values = np.loadtxt(
            io.BytesIO(body), delimiter=",", comments=None, ndmin=2, encoding="utf-8"
        )
    except ValueError:
        _explain(path, body, task)
    num_lines = body.count(b"\n") + 1
    if values.shape != (num_lines, _num_columns(task)) or not _in_range(values, task):
        _explain(path, body, task)
    return _to_labels(values, task)


def _num_columns(task: Task) -> int:
    return task.label_shape[0] if task.label_shape else 1


def _read_single_digits(
    body: bytes, task: Task
) -> Int8[np.ndarray, "frames ..."] | None:
    """Labels of a body in which each is one digit or -1; None for any other body.

    This is ten times faster than reading numbers of any form.
    """
    columns = _num_columns(task)
    largest = 1 if task.label_shape else task.num_outputs - 1
    if b"x" in body:
        return None
    text = np.frombuffer(body.replace(b"-1", b"x") + b"\n", np.uint8)
    if len(text) % (2 * columns):
        return None
    rows = text.reshape(-1, 2 * columns)
    labels = np.where(rows[:, ::2] == ord("x"), np.uint8(255), rows[:, ::2] - ord("0"))
    labels = labels.view(np.int8)
    separators = np.frombuffer(b"," * (columns - 1) + b"\n", np.uint8)
    if (rows[:, 1::2] != separators).any() or labels.max() > largest:
        return None
    if labels.min() < -1:
        return None
    return labels.reshape(-1, *task.label_shape)


def _in_range(values: Float[np.ndarray, "frames columns"], task: Task) -> bool:
    """Whether all values are labels of the task, or mark an invalid one."""
    if task is VA:
        return bool((np.isfinite(values) & (values <= 1)).all())
    largest = 1 if task.label_shape else task.num_outputs - 1
    integers = values == np.round(values)
    return bool((integers & (values >= -1) & (values <= largest)).all())


def _to_labels(
    values: Float[np.ndarray, "frames columns"], task: Task
) -> Shaped[np.ndarray, "frames ..."]:
    """Values that are in range, as labels are kept in memory."""
    if task is VA:
        is_valid = (values >= -1).all(axis=1)
        labels = np.full(values.shape, np.nan, np.float32)
        labels[is_valid] = values[is_valid]
        return labels
    return values.astype(np.int8).reshape(-1, *task.label_shape)


def _explain(path: pathlib.Path, body: bytes, task: Task) -> NoReturn:
    """Raise the error of the first line that is wrong."""
    columns = _num_columns(task)
    for number, line in enumerate(body.split(b"\n"), start=2):
        fields = line.decode("utf-8", "replace").split(",")
        where = f"{path}, line {number}"
        if not line.strip():
            raise ValueError(
                f"{where}: blank; expected one line per frame, for line i labels "
                f"frame i: fill in {task.invalid} where there is no label"
            )
        if len(fields) != columns or b"\r" in line:
            raise ValueError(
                f"{where}: {len(fields)} columns in {line[:80]!r}; expected {columns} "
                f"({task.header}): correct the line"
            )
        for field in fields:
            _check_field(field, task, where)
    raise ValueError(
        f"{path}: not readable; expected {columns} columns of numbers: unpack it again"
    )


def _check_field(field: str, task: Task, where: str) -> float:
    """The value of one field; ValueError if it is no label of the task."""
    try:
        # Python's own reading allows "1_0", which no file means.
        value = float("nan") if "_" in field else float(field)
    except ValueError:
        value = float("nan")
    if not _in_range(np.full((1, 1), value), task):
        raise ValueError(
            f"{where}: {task.name} label {field.strip()!r:.80}; expected "
            f"{_EXPECTED[task.name]}: correct the line"
        )
    return value


def read_mtl_file(
    path: str | os.PathLike[str],
) -> dict[str, dict[str, Shaped[np.ndarray, "_ ..."]]]:
    """Labels by video, then by task name, of the frames 1 to the last one named.

    Frames that the file does not name are invalid. A video without any valid frame of a
    task has no labels of that task.

    Args:
        path: A multi-task file: rows keyed by image name ``VIDEO/00001.jpg``.

    Raises:
        ValueError: If the file is empty, or has a wrong header, a line with a wrong
            number of columns, a label that is no number or out of range, or an image
            name that is malformed or there twice.
    """
    path = pathlib.Path(path)
    rows: dict[str, dict[int, list[float]]] = {}
    columns = (VA, VA, EXPR, *[AU] * AU.num_outputs)
    body = _read_body(path, MTL_HEADERS)
    for number, line in enumerate(body.decode("utf-8", "replace").split("\n"), start=2):
        where = f"{path}, line {number}"
        image, *fields = line.split(",")
        if len(fields) != len(columns):
            raise ValueError(
                f"{where}: {len(fields) + 1} columns; expected {len(columns) + 1} "
                f"({MTL_HEADERS[1]}): correct the line"
            )
        match = _IMAGE.fullmatch(image.strip())
        if match is None or not 1 <= int(match[2]) <= MAX_FRAME:
            raise ValueError(
                f"{where}: image name {image.strip()!r:.80}; expected VIDEO/00001.jpg, "
                f"counted from 1 to {MAX_FRAME} at most: correct the line"
            )
        frames = rows.setdefault(match[1], {})
        if int(match[2]) in frames:
            raise ValueError(
                f"{where}: image {image.strip()!r} again; expected each once: "
                "remove one of the lines"
            )
        frames[int(match[2])] = [
            _check_field(field, task, where)
            for field, task in zip(fields, columns, strict=True)
        ]
    return {video: _dense_mtl(rows[video]) for video in sorted(rows)}


def _dense_mtl(frames: dict[int, list[float]]) -> dict[str, np.ndarray]:
    """One video's labels by task, one per frame, from its lines by frame number."""
    numbers = np.array(sorted(frames))
    values = np.array([frames[number] for number in numbers])
    labels: dict[str, np.ndarray] = {}
    for task, part in ((VA, slice(0, 2)), (EXPR, slice(2, 3)), (AU, slice(3, None))):
        dense = task.empty_labels(int(numbers[-1]))
        dense[numbers - 1] = _to_labels(values[:, part], task)
        if task.valid(dense).any():
            labels[task.name] = dense
    return labels
