"""Tables of faces by other programs: whose they are, and which row shows which face.

OpenFace 2 (Baltrusaitis, Zadeh, Lim and Morency, 2018) and py-feat (Cheong and others,
2023) write a row for each frame and face, with what they measured. Whose table it is,
is told by its columns. OpenFace numbers frames from 1, py-feat from 0.
"""

import dataclasses
import pathlib
from collections.abc import Collection
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int

from avemo_jax.data.listing import entries, first_of, nfc
from avemo_jax.data.records import MAX_FRAME
from avemo_jax.media.file_endings import MEDIA_ENDINGS, ending_of, without_endings
from avemo_jax.runtime.tables import Table, header_of, read_table

Face = int | Literal["all"] | None
BOX = ("FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight")
TABLE_ENDINGS = (".csv", ".csv.gz", ".parquet", ".tsv")  # that folders are searched for
_OPENFACE_HAS = {"AU01_c", "AU01_r", "gaze_0_x", "pose_Tx", "x_0"}
_NAMED = 5  # files in a line
_OF_ROWS = ("row", "video", "frame", "face")  # what ``FaceRows`` has of each row


@dataclasses.dataclass(frozen=True)
class FaceProgram:
    """What a program's tables of faces have in common.

    Attributes:
        name: The program, in words.
        first_frame: Number that it gives the first frame.
        face: Column that tells faces apart; some tables lack it.
        score: Column of what the detector gives a face; some tables lack it.
    """

    name: str
    first_frame: int
    face: str
    score: str


OURS = FaceProgram("avemo predict", 1, "face_id", "confidence")
OPENFACE = FaceProgram("OpenFace", 1, "face_id", "confidence")
PY_FEAT = FaceProgram("py-feat", 0, "Identity", "FaceScore")
# Columns that are known whatever their case.
KNOWN: tuple[str, ...] = (*BOX, "input", "frame", "timestamp", "success")
KNOWN += (OURS.face, OURS.score, PY_FEAT.face, PY_FEAT.score)


def program_of(columns: Collection[str]) -> FaceProgram | None:
    """The program that writes tables with these columns; None: none that is known."""
    names = set(columns)
    if "frame" not in names:
        return None
    has_boxes = names.issuperset(BOX)
    if "filled" in names:  # whatever the others are called
        return OURS if has_boxes else None
    if PY_FEAT.score in names:
        return PY_FEAT
    if has_boxes:
        return OURS
    found = {"success", OPENFACE.score} <= names and names & _OPENFACE_HAS
    return OPENFACE if found else None


def shows_face(table: Table) -> Bool[np.ndarray, " rows"]:
    """Which rows show a face: success is 1, and no side of a box is missing."""
    shown = np.ones(table.num_rows, bool)
    if "success" in table.columns:
        shown = table.numbers("success") == 1
    for name in set(BOX) & set(table.columns):
        shown = shown & np.isfinite(table.numbers(name))
    return shown


@dataclasses.dataclass(frozen=True, eq=False)
class FaceRows:
    """The rows of a table that show the faces that are wanted.

    Attributes:
        videos: Names of the videos; of faces, where all are wanted.
        row: Which rows of the table they are.
        video: Index of each one's video.
        frame: Number of each one's frame, from 1.
        face: Number of each one's face, 1 for the one of most frames of its video.
        without: How many rows show no face.
    """

    videos: tuple[str, ...]
    row: Int[np.ndarray, " rows"]
    video: Int[np.ndarray, " rows"]
    frame: Int[np.ndarray, " rows"]
    face: Int[np.ndarray, " rows"]
    without: int


def face_rows(table: Table, program: FaceProgram, face: Face = None) -> FaceRows:
    """The rows that show a face, or one face of each video.

    Args:
        table: A table of that program.
        program: Whose table it is.
        face: Which face of each video, 1 being the one that most frames show; "all":
            each as a video ``VIDEO--face1``; None: each video must have one.

    Raises:
        ValueError: If a frame is out of range, or a video has several faces and none is
            chosen, or they cannot be told apart; names the place.
    """
    found = numbered_rows(table, program)
    if face is None and found.face.max(initial=1) > 1:
        several = found.videos[int(found.video[int(np.argmax(found.face > 1))])]
        raise ValueError(
            f"{table.path}: several faces in {several!r}; expected one face of each "
            "video: pass --face 1 for the one that is seen longest, or --face all for "
            "each as VIDEO--face1, ..."
        )
    if isinstance(face, int):
        kept = found.face == face
        parts = {name: getattr(found, name)[kept] for name in _OF_ROWS}
        return dataclasses.replace(found, **parts)
    if face == "all":
        pairs = np.stack([found.video, found.face], axis=1)
        unique, video = np.unique(pairs, axis=0, return_inverse=True)
        names = tuple(f"{found.videos[i]}--face{one}" for i, one in unique.tolist())
        return dataclasses.replace(found, videos=names, video=video.reshape(-1))
    return found


def numbered_rows(table: Table, program: FaceProgram) -> FaceRows:
    """The rows that show a face, each with the number of its face.

    A video is called as the column ``input`` says, without folders and ending, or as
    the file is.

    Args:
        table: A table of that program.
        program: Whose table it is.

    Raises:
        ValueError: If a frame is out of range, or faces cannot be told apart; names the
            place.
    """
    frame = table.frames("frame") + (1 - program.first_frame)
    wrong = (frame < 1) | (frame > MAX_FRAME)
    if wrong.any():
        row = int(np.argmax(wrong))
        told = int(frame[row]) - 1 + program.first_frame
        raise ValueError(
            f"{table.where(row, 'frame')}: frame {told} in a table of {program.name}, "
            f"which counts from {program.first_frame}; expected "
            f"{program.first_frame} to {MAX_FRAME}: correct the number"
        )
    names, video = _videos(table)
    shown = np.flatnonzero(shows_face(table))
    return FaceRows(
        videos=tuple(names),
        row=shown,
        video=video[shown],
        frame=frame[shown],
        face=_numbers(table, program, names, video, frame, shown),
        without=table.num_rows - len(shown),
    )


def _videos(table: Table) -> tuple[list[str], Int[np.ndarray, " rows"]]:
    """Names of the videos in a table, sorted, and each row's index of them."""
    if "input" not in table.columns:
        name = table.path.name
        for ending in TABLE_ENDINGS:
            name = name.removesuffix(ending)
        return [nfc(name)], np.zeros(table.num_rows, np.int64)
    table.check_there("input")
    texts, index = table.encoded("input")
    plain = [nfc(text.replace("\\", "/").rpartition("/")[2]) for text in texts]
    plain = [without_endings(n) if ending_of(n) in MEDIA_ENDINGS else n for n in plain]
    names = sorted(set(plain))
    return names, np.array([names.index(name) for name in plain], np.int64)[index]


def _numbers(
    table: Table,
    program: FaceProgram,
    names: list[str],
    video: Int[np.ndarray, " rows"],
    frame: Int[np.ndarray, " rows"],
    shown: Int[np.ndarray, " shown"],
) -> Int[np.ndarray, " shown"]:
    """The number of each shown face: 1 for the one of most frames of its video."""
    number = np.ones(len(shown), np.int64)
    if program.face not in table.columns:
        pairs = np.stack([video[shown], frame[shown]], axis=1)
        unique, counts = np.unique(pairs, axis=0, return_counts=True)
        if (counts > 1).any():
            of_video, twice = unique[int(np.argmax(counts > 1))].tolist()
            raise ValueError(
                f"{table.path}: several rows of frame {twice} of {names[of_video]!r}, "
                f"and no column {program.face!r}; expected it where a frame shows "
                f"several faces: let {program.name} write it, or leave one row a frame"
            )
        return number
    face = table.encoded(program.face)[1][shown]
    for one in range(len(names)):
        own = np.flatnonzero(video[shown] == one)
        faces, first, counts = np.unique(
            face[own], return_index=True, return_counts=True
        )
        order = np.lexsort((frame[shown][own][first], -counts))
        rank = np.empty(len(faces), np.int64)
        rank[order] = np.arange(1, len(faces) + 1)
        number[own] = rank[np.searchsorted(faces, face[own])]
    return number


def is_of_face_programs(path: pathlib.Path) -> bool:
    """Whether a file is a table of OpenFace or py-feat, or a folder has some."""
    if path.is_dir():
        return bool(tables_in(path)[0])
    return program_of(header_of(path)) in (OPENFACE, PY_FEAT)


def tables_in(
    path: pathlib.Path,
) -> tuple[list[pathlib.Path], tuple[str, ...]]:
    """The tables of OpenFace or py-feat at a path, and remarks on other files.

    Args:
        path: A table, or a folder of them. OpenFace writes more files beside each.
    """
    if not path.is_dir():
        return [path], ()
    files = [one for one in entries(path) if one.is_file()]
    tables = [one for one in files if one.name.lower().endswith(TABLE_ENDINGS)]
    tables = [one for one in tables if is_of_face_programs(one)]
    others = [one.name for one in files if one not in tables]
    if not tables or not others:
        return tables, ()
    return tables, (f"ignored in {path}: {first_of(others, _NAMED)}",)


def read_face_table(path: pathlib.Path) -> tuple[Table, FaceProgram]:
    """A table of OpenFace or py-feat, and which of both wrote it.

    Raises:
        ValueError: If the file has no table, or another one.
    """
    table = read_table(path, known=KNOWN)
    program = program_of(table.columns)
    if program not in (OPENFACE, PY_FEAT):
        raise ValueError(
            f"{table.header}: the columns {', '.join(table.columns):.200}; expected "
            "those of OpenFace (frame, confidence, success, ...) or py-feat (frame, "
            "FaceScore, ...): give such a table"
        )
    return table, program
