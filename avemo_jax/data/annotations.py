"""The official Aff-Wild2 annotation files -> dense labels, one per frame.

Formats: one header line, then line i (from 1) labels frame i; in the multi-task file,
one row per image name. Anything that does not follow the format is an error that names
file and line, never a guess. Read as well: Windows line ends, a byte-order mark, blank
lines at the end, spaces around values, integers written as ``5.0``.
"""

import io
import os
import pathlib
import re
from collections.abc import Iterable, Iterator
from typing import NoReturn

import numpy as np
from absl import logging
from jaxtyping import Float, Int8, Shaped

from avemo_jax.data.sources import VideoAnnotations
from avemo_jax.data.splits import nominal_fps
from avemo_jax.tasks import AU, EXPR, TASKS, VA, Task

SET_FOLDERS = {"Train_Set": "train", "Validation_Set": "validation"}
MTL_FOLDER = "MTL_Challenge"
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


def read_annotations(
    root: str | os.PathLike[str],
    *,
    tasks: Iterable[str] | None = None,
    mtl: bool = False,
) -> list[VideoAnnotations]:
    """The labels of every annotated subject-video, sorted by name.

    Args:
        root: Folder that has ``EXPR_Recognition_Challenge`` (or
            ``EXPR_Classification_Challenge``), ``AU_Detection_Challenge``,
            ``VA_Estimation_Challenge``, each with ``Train_Set`` and
            ``Validation_Set``. Its own name does not matter.
        tasks: Names of the tasks to read; None: all that are there.
        mtl: Read the multi-task files in ``MTL_Challenge`` instead.

    Raises:
        ValueError: If a file is wrong (file and line are named), a folder has no
            files, there are no annotations, or a video is in both sets of a task.
    """
    root = pathlib.Path(root)
    wanted = tuple(TASKS) if tasks is None else tuple(tasks)
    labels: dict[str, dict[str, np.ndarray]] = {}
    splits: dict[str, dict[str, str]] = {}
    origin: dict[tuple[str, str], pathlib.Path] = {}
    found = _mtl_labels(root) if mtl else _folder_labels(root, wanted, tasks is None)
    for path, split, task, video, values in found:
        if task.name not in wanted:
            continue
        if (video, task.name) in origin:
            raise ValueError(
                f"{path}: video {video!r} has {task.name} labels in "
                f"{origin[video, task.name]} already; expected each video in one set: "
                "remove one of the two"
            )
        origin[video, task.name] = path
        labels.setdefault(video, {})[task.name] = values
        splits.setdefault(video, {})[task.name] = split
    return [
        VideoAnnotations(video, labels[video], splits[video], fps=nominal_fps(video))
        for video in sorted(labels)
    ]


def _folder_labels(
    root: pathlib.Path, wanted: tuple[str, ...], skip_missing: bool
) -> Iterator[tuple[pathlib.Path, str, Task, str, np.ndarray]]:
    """File, split, task, video and labels of every file in the tasks' folders."""
    present = 0
    for name in wanted:
        task = TASKS[name]
        folders = [root / folder for folder in task.folders if (root / folder).is_dir()]
        if len(folders) > 1:
            raise ValueError(
                f"{root} has both {' and '.join(f.name for f in folders)}; expected "
                "one: give a root with only one of them"
            )
        if not folders:
            if not skip_missing:
                _no_annotations(root, task.folders)
            logging.info("no %s annotations in %s", name, root)
            continue
        present += 1
        for split, path in _label_files(folders[0]):
            yield path, split, task, path.stem, read_label_file(path, task)
    if not present:
        _no_annotations(root, tuple(f for t in wanted for f in TASKS[t].folders))


def _no_annotations(root: pathlib.Path, folders: tuple[str, ...]) -> NoReturn:
    """Raise that there are no annotations, with what is there instead."""
    there = sorted(p.name for p in root.glob("*")) if root.is_dir() else []
    raise ValueError(
        f"no annotations in {root} (which has {', '.join(there[:8]) or 'nothing'}); "
        f"expected one of the folders {', '.join(folders)}: give the folder above them"
    )


def _label_files(folder: pathlib.Path) -> Iterator[tuple[str, pathlib.Path]]:
    """The split and the path of every label file of one task's folder."""
    subfolders = [p for p in sorted(folder.iterdir()) if p.is_dir()]
    unknown = [p.name for p in subfolders if p.name not in SET_FOLDERS]
    if unknown or not subfolders:
        raise ValueError(
            f"{folder} has the folders {', '.join(p.name for p in subfolders) or '-'}; "
            f"expected {' and '.join(SET_FOLDERS)}: rename or remove the others"
        )
    for subfolder in subfolders:
        entries = [p for p in sorted(subfolder.iterdir()) if not p.name.startswith(".")]
        files = [p for p in entries if p.suffix == ".txt" and p.is_file()]
        if not files:
            raise ValueError(
                f"{subfolder} has no .txt files; expected one per video: "
                "unpack the annotations again, or remove the folder"
            )
        if len(files) < len(entries):
            others = sorted({p.name for p in entries} - {p.name for p in files})
            logging.warning("%s: ignored what is no label file: %s", subfolder, others)
        for path in files:
            yield SET_FOLDERS[subfolder.name], path


def _read_body(path: pathlib.Path, headers: tuple[str, ...]) -> bytes:
    """What follows the header line, with Unix line ends and no blank end."""
    data = path.read_bytes().removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n")
    first, _, body = data.partition(b"\n")
    if not data.strip():
        raise ValueError(
            f"{path} is empty; expected the header {headers[0]!r} and one line per "
            "frame: unpack the annotations again"
        )
    header = ",".join(c.strip() for c in first.decode("utf-8", "replace").split(","))
    if header not in headers:
        raise ValueError(
            f"{path}, line 1: header {header[:120]!r}; expected "
            f"{' or '.join(repr(h) for h in headers)}: is this another task's file?"
        )
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
    """Labels where each is one digit or -1, ten times faster; else None."""
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
    """Values in range -> labels in memory."""
    if task is VA:
        labels = values.astype(np.float32)
        labels[(values < -1).any(axis=1)] = np.nan
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
            f"{where}: {task.name} label {field.strip()!r}; expected "
            f"{_EXPECTED[task.name]}: correct the line"
        )
    return value


def read_mtl_file(
    path: str | os.PathLike[str],
) -> dict[str, dict[str, Shaped[np.ndarray, "frames ..."]]]:
    """By video, then by task name: labels of the frames 1 .. the last one named.

    Frames that the file does not name are invalid. A task of which a video has no
    valid frame at all is left out for that video.

    Args:
        path: A multi-task file: rows keyed by image name ``VIDEO/00001.jpg``.

    Raises:
        ValueError: If the file is wrong, as in ``read_label_file``, or an image name
            is malformed or occurs twice.
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
        if match is None or int(match[2]) < 1:
            raise ValueError(
                f"{where}: image name {image.strip()!r}; expected VIDEO/00001.jpg, "
                "counted from 1: correct the line"
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
    """One video's rows by frame number -> dense labels of the tasks it has any of."""
    numbers = np.array(sorted(frames))
    values = np.array([frames[number] for number in numbers])
    labels: dict[str, np.ndarray] = {}
    for task, part in ((VA, slice(0, 2)), (EXPR, slice(2, 3)), (AU, slice(3, None))):
        dense = task.empty_labels(int(numbers[-1]))
        dense[numbers - 1] = _to_labels(values[:, part], task)
        if task.valid(dense).any():
            labels[task.name] = dense
    return labels


def _mtl_labels(
    root: pathlib.Path,
) -> Iterator[tuple[pathlib.Path, str, Task, str, np.ndarray]]:
    """File, split, task, video and labels of the multi-task files below ``root``."""
    folder = root / MTL_FOLDER if (root / MTL_FOLDER).is_dir() else root
    files = [p for p in sorted(folder.glob("*.txt")) if not p.name.startswith(".")]
    chosen = []
    for prefix, split in (("train", "train"), ("val", "validation")):
        fitting = [p for p in files if p.name.lower().startswith(prefix)]
        if len(fitting) > 1:
            raise ValueError(
                f"{folder} has {', '.join(p.name for p in fitting)}; expected one "
                f"file that begins with {prefix!r}: keep one"
            )
        chosen += [(path, split) for path in fitting]
    if not chosen:
        _no_annotations(folder, (f"{MTL_FOLDER} (with train*.txt and val*.txt)",))
    for path, split in chosen:
        for video, by_task in read_mtl_file(path).items():
            for name, labels in by_task.items():
                yield path, split, TASKS[name], video, labels
