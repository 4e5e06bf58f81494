"""What OpenFace and py-feat measure of a face, as features of its frames."""

import fnmatch
import functools
import pathlib
import re

import numpy as np
from jaxtyping import Float

from avemo_jax.data.face_tables import (
    OPENFACE,
    Face,
    FaceProgram,
    face_rows,
    read_face_table,
    tables_in,
)
from avemo_jax.data.importing.source import ImportSource
from avemo_jax.data.listing import first_of
from avemo_jax.data.records import VideoFeatures
from avemo_jax.extractors.contract import Column
from avemo_jax.runtime.tables import Table

# What is measured of the face itself: neither where it is in the picture, nor points,
# nor vectors that tell who it is.
_MEASURED = {
    "OpenFace": r"AU\d+_[rc]|pose_[TR][xyz]|gaze_[01]_[xyz]|gaze_angle_[xy]",
    "py-feat": r"AU\d+|Pitch|Roll|Yaw|valence|arousal|gaze_\w+|(?i:neutral|anger|angry|"
    r"disgust|fear|happiness|happy|sadness|sad|surprise|contempt)",
}
# Units by OpenFace's documentation; py-feat's differ by the version and its models.
_UNITS = (
    (r"AU\d+_r", "intensity, 0 to 5"),
    (r"AU\d+_c", "1 where it is present"),
    (r"pose_T[xyz]", "mm"),
    (r"pose_R[xyz]|gaze_angle_[xy]", "rad"),
    (r"gaze_[01]_[xyz]", "of a direction of length 1"),
)
_UNKNOWN = "as py-feat gives it"


def import_face_tables(
    path: pathlib.Path,
    *,
    first_frame: int = 1,
    face: Face = None,
    wanted: str | None = None,
) -> ImportSource:
    """A source of the measures in a table of OpenFace or py-feat, or in a folder.

    Rows that show no face (success 0, or no box) are frames without features.

    Args:
        path: The table or folder.
        first_frame: What the user says of the first frame's number; the programs' own
            is known, and 1 says nothing.
        face: Which face of each video, 1 being the one that most frames show; "all":
            each as a video ``VIDEO--face1``; None: each video must have one.
        wanted: Names of columns with commas between, ``*`` for any letters; None:
            units, pose, gaze, emotions and affects, as far as the tables have them.

    Raises:
        ValueError: If a table is wrong, or has not the columns of the first, a video is
            there twice, or a wanted column is nowhere.
    """
    paths, notes = tables_in(path)
    frames: dict[str, np.ndarray] = {}
    rows: dict[str, tuple[pathlib.Path, np.ndarray]] = {}
    names: tuple[str, ...] = ()
    without = 0
    for one in paths:
        table, program = read_face_table(one)
        _check_first_frame(one, program, first_frame)
        names = names or _columns(table, program, wanted)
        lacking = [name for name in names if name not in table.columns]
        if lacking:
            raise ValueError(
                f"{table.header}: no column {first_of(lacking, 5)}, which {paths[0]} "
                "has; expected the same columns in all tables: let the program write "
                "them again, or choose with --columns"
            )
        found = face_rows(table, program, face)
        without += found.without
        for i, video in enumerate(found.videos):
            if video in rows:
                raise ValueError(
                    f"{one} and {rows[video][0]} both have the video {video!r}; "
                    "expected each video once: remove or rename one"
                )
            own = np.flatnonzero(found.video == i)
            own = own[np.argsort(found.frame[own], kind="stable")]
            frames[video] = found.frame[own].astype(np.int32)
            rows[video] = (one, found.row[own])

    @functools.lru_cache(maxsize=1)  # the videos of one table follow each other
    def vectors(table_path: pathlib.Path) -> Float[np.ndarray, "rows columns"]:
        table, _ = read_face_table(table_path)
        return np.stack([table.numbers(name) for name in names], axis=1)

    def read(video: str) -> VideoFeatures:
        table_path, own = rows[video]
        found = vectors(table_path)[own].astype(np.float32)
        return VideoFeatures(frames[video], found)

    if without:
        notes += (
            f"rows without a face, taken as frames without features: {without:,}",
        )
    columns = tuple(Column(name, _unit(name, program)) for name in names)
    told = first_of([column.name for column in columns], len(columns))
    return ImportSource(
        form=f"{len(paths)} tables of {program.name}",
        dim=len(names),
        output_dim=0,
        frames=frames,
        numbered=True,
        read=read,
        columns=columns,
        notes=(f"columns: {told}", *notes),
    )


def _check_first_frame(
    path: pathlib.Path, program: FaceProgram, first_frame: int
) -> None:
    """Raise ``ValueError`` if a flag says otherwise than what is known."""
    if first_frame not in (1, program.first_frame):
        raise ValueError(
            f"{path}: --first-frame {first_frame} and a table of {program.name}, which "
            f"counts from {program.first_frame}; expected no flag for what is known: "
            "leave it out"
        )


def _columns(table: Table, program: FaceProgram, wanted: str | None) -> tuple[str, ...]:
    """The columns that become features, in the table's order.

    Raises:
        ValueError: If there are none, or a wanted one is not there.
    """
    if wanted is None:
        measured = re.compile(_MEASURED[program.name])
        found = [name for name in table.columns if measured.fullmatch(name)]
        if not found:
            raise ValueError(
                f"{table.header}: no action units, pose or gaze in a table of "
                f"{program.name}; expected some: let it write them, or choose columns "
                "with --columns"
            )
        return tuple(found)
    chosen: list[str] = []
    for pattern in (one.strip() for one in wanted.split(",")):
        matching = [n for n in table.columns if fnmatch.fnmatchcase(n, pattern)]
        if not matching:
            raise ValueError(
                f"{table.header}: no column {pattern!r} of --columns; expected one of "
                f"{', '.join(table.columns):.300}: correct the flag"
            )
        chosen += [name for name in matching if name not in chosen]
    return tuple(name for name in table.columns if name in chosen)


def _unit(name: str, program: FaceProgram) -> str:
    """The unit of a column."""
    if program is not OPENFACE:
        return _UNKNOWN
    return next((unit for own, unit in _UNITS if re.fullmatch(own, name)), "")
