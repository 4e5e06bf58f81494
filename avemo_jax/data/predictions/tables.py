"""Files of predictions that are tables: submissions, CSV, Parquet."""

import dataclasses
import pathlib
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int8, Shaped

from avemo_jax.data.face_tables import Face
from avemo_jax.data.listing import nfc
from avemo_jax.data.predictions.frames import FramePredictions, kept_rows
from avemo_jax.data.predictions.threshold_file import read_thresholds
from avemo_jax.runtime.tables import Table, header_of, read_table, words
from avemo_jax.tasks import AU, EXPR, TASKS, Task

IMAGE = r"^(?P<video>.+)[/\\](?P<frame>\d{1,9})\.(?i:jpg|jpeg|png)$"
# Names of the videos, and the index of each row's video and its frame's number.
FramePlaces = tuple[tuple[str, ...], np.ndarray, np.ndarray]
_IMAGE_COLUMNS = ("image_location", "image", "filename", "path")
_OURS = ("video", "frame", "filled", "has_crop", "expression", "input", "face_id")
_CONTEMPT = "Contempt"  # of AffectNet's classes, which have no Other


def read_columns(path: pathlib.Path, task: Task, face: Face = None) -> FramePredictions:
    """Predictions in a submission, ``predictions.csv``, or any table.

    The outputs have a column each, or are lists in one column.

    Args:
        path: The file.
        task: The task of the predictions.
        face: Which face of each input, by its number, of a table with several; "all":
            each as a video ``INPUT--face1``; None: each input must have one.

    Raises:
        ValueError: If the columns do not name the frames and the task's outputs, or a
            value is wrong.
    """
    names = header_of(path)
    narrow: tuple[str, ...] = ()
    if len(names) > 2 and names[0].casefold() in _IMAGE_COLUMNS:
        narrow = ("image_location", "expression")  # official: 8 names, one value
    known = (*_OURS, *_IMAGE_COLUMNS)
    table = read_table(path, known=known, narrow=narrow)
    if table.columns == narrow:
        _refuse_other(path, task, names)
    places = _keys(table)
    columns = {_plain(name): name for name in table.columns}
    wanted = [columns.get(_plain(name)) for name in task.columns]
    notes, classes = table.notes, EXPR.columns
    if task is EXPR and wanted[-1] is None and _plain(_CONTEMPT) in columns:
        wanted[-1] = columns[_plain(_CONTEMPT)]
        classes = (*classes[:-1], _CONTEMPT)
        notes += (f"{_CONTEMPT} counts as {EXPR.columns[-1]}, which the file lacks",)
    decided, named = None, True
    if task is EXPR and "expression" in table.columns:
        decided = _classes(table, "expression", classes)
    elif task is AU:
        decided = _decided_units(table, columns)
    if None not in wanted:
        values = np.stack([table.numbers(name) for name in wanted if name], axis=1)
    elif decided is not None and not any(wanted):
        values = np.where(decided < 0, np.nan, decided.astype(np.float64))
        decided = None
    elif not any(wanted) and len(lists := table.list_columns()) == 1:
        values, named = table.vectors(lists[0]), False
    else:
        _refuse_other(path, task, table.columns)
        lacking = [n for n, w in zip(task.columns, wanted, strict=True) if w is None]
        raise ValueError(
            f"{table.header}: no column for {', '.join(lacking)}; expected "
            f"{', '.join(task.columns)}"
            f"{' or expression' if task is EXPR else ''}: name the columns so"
        )
    ours = "filled" in table.columns
    form = "submission" if table.columns[0] in _IMAGE_COLUMNS else "table"
    found = FramePredictions(
        path,
        task,
        "predictions of this package" if ours else form,
        *places,
        filled=np.zeros(len(values), bool),
        scores=values,
        decided=decided,
        named=named,
        notes=notes,
    )
    if ours:
        found = _with_our_columns(found, table)
    if not _has_faces(table):
        if face is not None:
            raise ValueError(
                f"{table.header}: no columns input and face_id, and --face {face}; "
                "expected a table of avemo predict with the flag: leave it out"
            )
        return found
    return _of_faces(found, table, face)


def _has_faces(table: Table) -> bool:
    """Whether a table may have several faces in a frame, as ``avemo predict``'s."""
    return {"input", "face_id"} <= set(table.columns)


def _of_faces(found: FramePredictions, table: Table, face: Face) -> FramePredictions:
    """The rows of one face of each input, or of all as videos of their own.

    Frames without a face have none.

    Raises:
        ValueError: If ``face`` is None and an input has several.
    """
    ids = table.numbers("face_id")
    there = ~np.isnan(ids)
    pairs = np.stack([found.video[there], ids[there].astype(np.int64)], axis=1)
    pairs, index = np.unique(pairs, axis=0, return_inverse=True)
    if face == "all":
        names = tuple(f"{found.videos[video]}--face{one}" for video, one in pairs)
        kept = kept_rows(found, there)
        return dataclasses.replace(kept, videos=names, video=index.reshape(-1))
    if face is not None:
        return kept_rows(found, there & (ids == face))
    count = np.bincount(pairs[:, 0], minlength=len(found.videos))
    if count.max(initial=0) > 1:
        several = int(np.argmax(count > 1))
        raise ValueError(
            f"{found.path}: {count[several]} faces in {found.videos[several]!r}; "
            "expected one face of each input: pass --face 1 for the one that is seen "
            "longest, --face all for each as INPUT--face1, ..., or predict with "
            "--faces largest"
        )
    return kept_rows(found, there)


def _decided_units(
    table: Table, columns: Mapping[str, str]
) -> Int8[np.ndarray, "rows 12"] | None:
    """The decisions in the columns ``AU01_c`` ..., -1 where missing; None: no columns.

    Raises:
        ValueError: If there are some only, or a value is not 0 or 1.
    """
    wanted = [f"{name}_c" for name in AU.columns]
    lacking = [name for name in wanted if _plain(name) not in columns]
    if len(lacking) == len(wanted):
        return None
    if lacking:
        raise ValueError(
            f"{table.header}: no column for {', '.join(lacking)}; expected decisions "
            "of all units, or of none: add the columns, or remove the others"
        )
    values = np.stack([table.numbers(columns[_plain(n)]) for n in wanted], axis=1)
    values = np.nan_to_num(values, nan=-1)
    wrong = ((values != 0) & (values != 1) & (values != -1)).any(axis=1)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"{table.where(row)}: decisions {values[row].tolist()}; expected 0 or "
            "1: correct the line"
        )
    return values.astype(np.int8)


def _with_our_columns(found: FramePredictions, table: Table) -> FramePredictions:
    """``found`` with what files of this package say besides the predictions."""
    path, task = found.path, found.task
    for name in {"filled", "has_crop"} & set(table.columns):
        table.check_there(name)
    crops = None
    if "has_crop" in table.columns:
        crops = table.numbers("has_crop") == 1
    return dataclasses.replace(
        found,
        filled=table.numbers("filled") != 0,
        has_crop=crops,
        labels=_labels(table, task),
        thresholds=None if found.decided is None else read_thresholds(path, task),
    )


def _labels(table: Table, task: Task) -> Shaped[np.ndarray, "rows ..."] | None:
    """The labels in the columns ``label_...``; None where there are none.

    Raises:
        ValueError: If a label is no number.
    """
    if task is EXPR:
        if "label_expression" not in table.columns:
            return None
        texts, index = table.encoded("label_expression")
        number = [EXPR.columns.index(t) if t in EXPR.columns else -1 for t in texts]
        return np.array([*number, -1], np.int8)[index]
    names = [f"label_{name}" for name in task.columns]
    if not set(names) <= set(table.columns):
        return None
    values = np.stack([table.numbers(name) for name in names], axis=1)
    if task is AU:
        return np.nan_to_num(values, nan=-1).astype(np.int8)
    return values.astype(np.float32)


def _keys(table: Table) -> FramePlaces:
    """Names of the videos, and each row's index of a video and frame number."""
    image = next((n for n in _IMAGE_COLUMNS if n in table.columns), None)
    for name in ("video", "input"):
        if {name, "frame"} <= set(table.columns):
            table.check_there(name)
            return joined_names(*table.encoded(name), table.frames("frame"))
    if image is None:
        raise ValueError(
            f"{table.header}: the columns {', '.join(table.columns)[:120]}; "
            "expected video and frame, or image_location with VIDEO/00001.jpg: name "
            "the columns so"
        )
    table.check_there(image)
    texts = table.texts(image)
    parts = pc.extract_regex(texts, IMAGE)
    if parts.null_count:
        row = int(np.argmax(parts.is_null().to_numpy()))
        raise ValueError(
            f"{table.where(row)}: {image} is {texts[row].as_py()!r:.80}; "
            "expected VIDEO/00001.jpg: correct it"
        )
    frame = pc.cast(pc.struct_field(parts, "frame"), pa.int64()).to_numpy()
    videos = pc.dictionary_encode(pc.struct_field(parts, "video"))
    encoded = videos.unify_dictionaries().combine_chunks()
    names, index = encoded.dictionary.to_pylist(), encoded.indices.to_numpy()
    return joined_names(names, index, frame)


def joined_names(names: list[str], video: np.ndarray, frame: np.ndarray) -> FramePlaces:
    """Names, videos and frames with each name once, in NFC and without folders.

    Args:
        names: Names of videos, perhaps with folders.
        video: Index of each row's video among ``names``.
        frame: Frame number of each row.
    """
    plain = [nfc(name.replace("\\", "/").rpartition("/")[2]) for name in names]
    unique = sorted(set(plain))
    index = {name: i for i, name in enumerate(unique)}
    place = np.array([index[name] for name in plain], np.int64)
    return tuple(unique), place[video], frame.astype(np.int64)


def _plain(name: str) -> str:
    """A column's name in the form that is compared, in which "AU1" is "AU01"."""
    name = name.strip().lower()
    digits = name.removeprefix("au").removesuffix("_c")
    if name.startswith("au") and digits.isdigit():
        return f"au{int(digits):02d}{'_c' if name.endswith('_c') else ''}"
    return name


def _classes(
    table: Table, column: str, names: tuple[str, ...]
) -> Int8[np.ndarray, "rows 1"]:
    """Classes, from their names or their numbers from 0; -1 where missing."""
    numbers = {name.casefold(): i for i, name in enumerate(names)}
    numbers |= {str(i): i for i in range(EXPR.num_outputs)}
    numbers |= dict.fromkeys([one.casefold() for one in words.MISSING], -1) | {"-1": -1}
    texts, index = table.encoded(column)
    found = [numbers.get(words.whole(text).casefold()) for text in texts]
    if None in found:
        wrong = found.index(None)
        row = int(np.argmax(index == wrong))
        raise ValueError(
            f"{table.where(row)}: {column} {texts[wrong]!r:.80}; expected one "
            f"of {', '.join(names)}, or its number from 0: correct it"
        )
    return np.array([*found, -1], np.int8)[index][:, None]


def _refuse_other(path: pathlib.Path, task: Task, names: tuple[str, ...]) -> None:
    """Raise ``ValueError`` if the columns are those of another task."""
    there = {_plain(name) for name in names}
    if {_plain(name) for name in task.columns} <= there:
        return
    for other in TASKS.values():
        if {_plain(name) for name in other.columns} <= there:
            raise ValueError(
                f"{path} has predictions of {other.name}; expected {task.name}: pass "
                f"--task {other.name.lower()}, or give another file"
            )
