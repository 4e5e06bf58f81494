"""Reading a file of predictions of any form."""

import os
import pathlib
from collections.abc import Callable

from avemo_jax.data.face_tables import Face, is_of_face_programs
from avemo_jax.data.predictions import arrays, tables
from avemo_jax.data.predictions.face_programs import read_face_tables
from avemo_jax.data.predictions.frames import FramePredictions, checked
from avemo_jax.data.predictions.predicted_folders import is_predicted, read_predicted
from avemo_jax.runtime.tables import header_of
from avemo_jax.tasks import TASKS, Task

_TABLES = (".csv", ".tsv", ".tab", ".txt", ".parquet", ".pq")
_ARRAYS = {
    ".npz": arrays.read_npz,
    ".npy": arrays.read_npy,
    ".pkl": arrays.read_pickle,
    ".pickle": arrays.read_pickle,
    ".p": arrays.read_pickle,
}


def read_frame_predictions(
    path: str | os.PathLike[str],
    task: Task,
    *,
    first_frame: int = 1,
    columns: tuple[str, ...] | None = None,
    face: Face = None,
    partial: bool = False,
) -> FramePredictions:
    """The predictions in a file or a folder of any form.

    A table (``.csv``, ``.tsv``, ``.txt``, these with ``.gz``, ``.parquet``) has a row
    per frame: ``video`` and ``frame``, or ``image_location`` (``VIDEO/00001.jpg``), and
    the outputs by name; so do our ``predictions.csv`` and a submission. A ``.npz``
    holds ``video``, ``frame``, ``scores``, or one array (frames, outputs) a video; a
    ``.npy`` one video's array or a pickled dict; a ``.pkl`` a dict by image or by
    video. A folder has ``VIDEO.txt`` (in the form of annotations) or ``VIDEO.npy``. Row
    i of an array is frame i + 1. Rows without any value are taken as left out. The
    folder of an input that ``avemo predict`` made, or the one with all of them, is read
    by its tables. Tables of OpenFace and py-feat, or a folder of them, are known by
    their columns.

    Args:
        path: The file or folder.
        task: The task of the predictions; a user's own is refused.
        first_frame: Number of the first frame where the file tells numbers: 1, or 0.
        columns: Names of the values of a frame, for a file that does not tell them;
            None: they are in the task's order.
        face: Which face of each input, by its number, of tables that tell faces apart;
            "all": each as a video ``INPUT--face1``; None: each input must have one.
        partial: Take predictions that lack outputs of the task, as those of a program
            that does not know them.

    Raises:
        FileNotFoundError: If there is no such file or folder.
        ValueError: If the file is wrong (it is named, with the line or the frame), or
            the task is a user's own.
    """
    path = pathlib.Path(path)
    if task.name not in TASKS:
        raise ValueError(
            f"{path}: predictions of the task {task.name}; expected one of "
            f"{', '.join(TASKS)}, as files of others are not read yet: blend heads"
        )
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}; expected a file of predictions")
    if path.is_dir() and is_predicted(path):
        found = read_predicted(path, task, face)
    elif (path.is_dir() or is_table(path)) and is_of_face_programs(path):
        found = read_face_tables(path, task, face)
    elif is_table(path) and not path.is_dir() and not _is_annotation(path):
        found = tables.read_columns(path, task, face)
    elif face is not None:
        raise ValueError(
            f"{path} is no table, and --face {face}; expected a table of avemo predict "
            "with the flag: leave it out"
        )
    else:
        found = _reader_of(path)(path, task)
    if found.lacking and not partial:
        raise ValueError(
            f"{path}: a {found.form}, without {', '.join(found.lacking)}; expected all "
            f"outputs of {task.name}: score it with avemo score, which leaves these out"
        )
    return checked(found, first_frame=first_frame, columns=columns)


def _reader_of(
    path: pathlib.Path,
) -> Callable[[pathlib.Path, Task], FramePredictions]:
    """The reader of a file or folder that is no table with names of columns.

    Raises:
        ValueError: If there is none for its ending.
    """
    if path.is_dir():
        return arrays.read_folder
    if is_table(path):
        return arrays.read_one_text
    reader = _ARRAYS.get(path.suffix.lower())
    if reader is None:
        raise ValueError(
            f"{path}: the ending {path.suffix!r}; expected "
            f"{', '.join((*_TABLES, *_ARRAYS))}, or a folder: rename or convert it"
        )
    return reader


def is_table(path: pathlib.Path) -> bool:
    """Whether a file's ending is one of tables, perhaps packed by gzip."""
    return path.name.lower().removesuffix(".gz").endswith(_TABLES)


def _is_annotation(path: pathlib.Path) -> bool:
    """Whether a table has the header of annotations, which names no frames."""
    header = ",".join(header_of(path))
    return any(header == task.header for task in TASKS.values())
