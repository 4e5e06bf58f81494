"""Faces that another program, or an earlier run, has found in a video: from its table.

Three forms are known by their columns: our own ``predictions.csv``, OpenFace's and
py-feat's. The first two number frames from 1, py-feat from 0.
"""

import dataclasses
import os
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from avemo_jax.data.face_tables import (
    BOX,
    KNOWN,
    OPENFACE,
    PY_FEAT,
    FaceProgram,
    program_of,
    shows_face,
)
from avemo_jax.data.listing import first_of, nfc
from avemo_jax.extraction.face_tracks import FaceTrack
from avemo_jax.faces.crops import ARCFACE_TEMPLATE
from avemo_jax.faces.tracks import Tracker
from avemo_jax.media.file_endings import without_endings
from avemo_jax.runtime.tables import Table, read_table

_ENDINGS = (".csv", ".parquet", ".tsv", ".csv.gz", ".txt")
_NUM_LANDMARKS = 68
# The points of iBUG's 68 whose means are the eyes, the tip of the nose and the corners
# of the mouth, the picture's left before its right.
_FIVE = (range(36, 42), range(42, 48), (30,), (48,), (54,))
# Edges of the detector's boxes from the middle of its five points, left, top, right and
# bottom, in pixels once the points are as large as ArcFace's template. Medians over the
# twelve faces that six videos show for 60 frames or more, made even at the sides.
_BOX_EDGES = np.array([-40.0, -60.0, 40.0, 48.0])
_LARGEST = 3  # sides of a box over the picture's longer side
_LATE_S = 0.5  # by which a time of our own table may miss that of its frame
_OTHER_LENGTH = 0.02  # share of the frames by which OpenFace's count may be another


@dataclasses.dataclass(frozen=True)
class _Form:
    """What a table has.

    Attributes:
        program: Whose table it is.
        face: Column that tells faces apart; "": there is none.
        score: Column of what the detector gives a face; "": there is none.
        boxes: Whether it has boxes; else they are taken from the landmarks.
        landmarks: Whether it has 68 landmarks.
        whole: Whether it has every frame of its video.
    """

    program: FaceProgram
    face: str
    score: str
    boxes: bool
    landmarks: bool
    whole: bool


@dataclasses.dataclass(frozen=True, eq=False)
class _Rows:
    """The rows of a table that show a face.

    Attributes:
        row: Which rows of the table they are.
        frame: Numbers of their frames, from 1.
        face: Which face each is; any numbers.
        boxes: Left, top, width and height in pixels.
        points: The five points; NaN where they are not known.
        scores: 0 to 1.
    """

    row: Int[np.ndarray, " rows"]
    frame: Int[np.ndarray, " rows"]
    face: Int[np.ndarray, " rows"]
    boxes: Float[np.ndarray, "rows 4"]
    points: Float[np.ndarray, "rows 5 2"]
    scores: Float[np.ndarray, " rows"]

    def of(self, kept: np.ndarray) -> "_Rows":
        """Some of the rows, by index or by what is true."""
        parts = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return _Rows(**{name: part[kept] for name, part in parts.items()})


def given_tables(
    path: str | os.PathLike[str], videos: Sequence[str]
) -> dict[str, pathlib.Path]:
    """The table of faces of each video that has one.

    Args:
        path: One table for all videos; or a folder of tables, each named by its video,
            or called ``predictions`` in a folder of that name.
        videos: Names of the videos.

    Raises:
        ValueError: If there is no such table, or one for several videos does not tell
            them apart.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        found = {}
        for video in videos:
            stems = (path / video, path / video / "predictions")
            files = [
                file
                for stem in stems
                for ending in _ENDINGS
                if (file := stem.parent / f"{stem.name}{ending}").is_file()
            ]
            if files:
                found[video] = files[0]
        if not found:
            raise ValueError(
                f"{path}: no table of any of {first_of(videos, 3)}; expected VIDEO.csv "
                "or .parquet, or VIDEO/predictions.csv: name tables by their videos"
            )
        return found
    table = read_table(path, known=KNOWN)
    if len(videos) > 1 and "input" not in table.columns:
        raise ValueError(
            f"{table.header}: no column 'input' in the table of {len(videos)} videos; "
            "expected the names of the videos there: add it, or give a folder with a "
            "table for each video"
        )
    return dict.fromkeys(videos, path)


def read_given_faces(
    path: str | os.PathLike[str],
    *,
    times_s: Float[np.ndarray, " frames"],
    size: tuple[int, int],
    input_name: str | None = None,
) -> list[FaceTrack]:
    """The faces of a video that a table has, the one of most frames first.

    Points are NaN where the table has no landmarks. Rows without a face (an empty box,
    or success 0) are none.

    Args:
        path: A table in any form that ``read_table`` reads, with the columns of our
            ``predictions.csv``, of OpenFace or of py-feat.
        times_s: When each frame of the video is shown.
        size: Height and width of its pictures in pixels.
        input_name: Name of the video: only its rows count where the table has a column
            ``input``. None: the table is of one video, whatever its name.

    Raises:
        ValueError: If the file is no such table, has no rows of this video, or its
            frames, times or boxes are not this video's; names the place.
    """
    path = pathlib.Path(path)
    table = read_table(path, known=KNOWN)
    form = _form_of(table)
    kept = _of_input(table, input_name)
    frames = table.frames("frame") + (1 - form.program.first_frame)
    _check_frames(table, form, frames, kept, len(times_s))
    _check_times(table, frames, kept, times_s)
    rows = _faces(table, form, frames, kept)
    if not len(rows.row):
        return []
    _check_boxes(table, rows, size)
    if not form.face:
        rows = _followed(rows, times_s)
    _check_once(table, form, rows)
    tracks = [
        FaceTrack(
            one.frame.astype(np.int32),
            one.boxes,
            one.points,
            one.scores,
            np.ones(len(one.frame), bool),
        )
        for one in _by_face(rows)
    ]
    return sorted(tracks, key=lambda t: (-len(t.frame), int(t.frame[0])))


def _form_of(table: Table) -> _Form:
    """Which program's table it is.

    Raises:
        ValueError: If columns are missing.
    """
    names = set(table.columns)
    has_boxes = names.issuperset(BOX)
    count = _NUM_LANDMARKS
    marks = {f"{axis}_{i}" for axis in "xy" for i in range(count)}
    has_marks = names.issuperset(marks) and f"x_{count}" not in names
    if "frame" not in names or not (has_boxes or has_marks):
        lacking = [name for name in ("frame", *BOX) if name not in names]
        raise ValueError(
            f"{table.header}: no {', '.join(lacking)} among "
            f"{', '.join(table.columns):.200}; expected frame and {', '.join(BOX)}, "
            f"as avemo predict or py-feat writes them, or 68 landmarks x_0 to x_67 and "
            "y_0 to y_67, as OpenFace does with -2Dfp: give such a table"
        )
    program = program_of(names) or OPENFACE
    # Ours may have py-feat's names, as its readers want them.
    both = (program, PY_FEAT)
    face = next((one.face for one in both if one.face in names), "")
    score = next((one.score for one in both if one.score in names), "")
    return _Form(program, face, score, has_boxes, has_marks, program is OPENFACE)


def _of_input(table: Table, name: str | None) -> Bool[np.ndarray, " rows"]:
    """The rows of a video.

    Raises:
        ValueError: If there are none.
    """
    kept = np.ones(table.num_rows, bool)
    if not table.num_rows:
        raise ValueError(
            f"{table.path}: no rows; expected one for each frame and face: write it "
            "again"
        )
    if name is None or "input" not in table.columns:
        return kept
    inputs, index = table.encoded("input")
    # Other programs write the file with its folders and its ending.
    plain = [nfc(text.replace("\\", "/").rpartition("/")[2]) for text in inputs]
    mine = [
        i
        for i, text in enumerate(plain)
        if name in (nfc(inputs[i]), text, without_endings(text))
    ]
    kept = np.isin(index, mine)
    if not kept.any():
        told = first_of(plain, 3) or "nothing"
        raise ValueError(
            f"{table.path}, column 'input': {told}; expected "
            f"rows of the video {name!r}: give the table of that"
        )
    return kept


def _check_frames(
    table: Table,
    form: _Form,
    frames: Int[np.ndarray, " rows"],
    kept: Bool[np.ndarray, " rows"],
    count: int,
) -> None:
    wrong = kept & ((frames < 1) | (frames > count))
    first = form.program.first_frame
    if wrong.any():
        row = int(np.argmax(wrong))
        told, last = frames[row] - 1 + first, count - 1 + first
        raise ValueError(
            f"{table.where(row, 'frame')}: frame {told} in a table of "
            f"{form.program.name}, which counts from {first}; expected {first} to "
            f"{last}, since "
            f"{count} frames of the video are decoded: give the table of this video"
        )
    last = int(frames[kept].max())
    if form.whole and count - last > max(5, _OTHER_LENGTH * count):
        raise ValueError(
            f"{table.path}: {last} frames in a table of {form.program.name}, which has "
            f"every frame; expected about the video's {count}: give the table of this "
            "video"
        )


def _check_times(
    table: Table,
    frames: Int[np.ndarray, " rows"],
    kept: Bool[np.ndarray, " rows"],
    times_s: Float[np.ndarray, " frames"],
) -> None:
    """Raise ``ValueError`` where a table's times are those of another video.

    Other programs count times by a rate, which may vary in the file.
    """
    if not {"timestamp", *BOX}.issubset(table.columns):
        return
    told_s, shown_s = table.numbers("timestamp"), times_s[np.where(kept, frames - 1, 0)]
    wrong = kept & (np.abs(told_s - shown_s) > _LATE_S)  # NaN is none
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"{table.where(row, 'timestamp')}: {told_s[row]:.3f} s for frame "
            f"{frames[row]}; expected {shown_s[row]:.3f} s, when the video shows it: "
            "give the table of this video"
        )


def _faces(
    table: Table,
    form: _Form,
    frames: Int[np.ndarray, " rows"],
    kept: Bool[np.ndarray, " rows"],
) -> _Rows:
    """The rows that show a face."""
    count = table.num_rows
    points = np.full((count, 5, 2), np.nan)
    if form.landmarks:
        marks = np.stack(
            [
                np.stack([table.numbers(f"{a}_{i}") for a in "xy"], axis=1)
                for i in range(_NUM_LANDMARKS)
            ],
            axis=1,
        )
        points = np.stack([marks[:, list(p)].mean(axis=1) for p in _FIVE], axis=1)
    if form.boxes:
        boxes = np.stack([table.numbers(name) for name in BOX], axis=1)
    else:
        boxes = _boxes_of(points)
    scores = table.numbers(form.score) if form.score else np.ones(count)
    kept = kept & shows_face(table) & np.isfinite(boxes).all(axis=1)
    scores = np.where(np.isnan(scores), 1.0, scores)
    face = np.zeros(count, np.int64)
    if form.face:
        face = table.encoded(form.face)[1]
        if (nameless := kept & (face < 0)).any():
            row = int(np.argmax(nameless))
            raise ValueError(
                f"{table.where(row, form.face)}: no value beside a box; expected a "
                "name or number of each face, or no such column, and faces are then "
                "told apart by where they are: fill it in, or remove the column"
            )
    everything = _Rows(np.arange(count), frames, face, boxes, points, scores)
    found = everything.of(kept)
    flat = (found.boxes[:, 2:] <= 0).any(axis=1)
    if flat.any():
        row = int(np.argmax(flat))
        raise ValueError(
            f"{table.where(int(found.row[row]))}: a box {found.boxes[row].tolist()} "
            "(left, top, width, height); expected width and height over 0, or empty "
            "cells where no face is: correct it"
        )
    return found


def _boxes_of(points: Float[np.ndarray, "rows 5 2"]) -> Float[np.ndarray, "rows 4"]:
    """Boxes as the detector gives them to faces with these points."""
    middle = points.mean(axis=1)
    centred = points - middle[:, None]
    template = ARCFACE_TEMPLATE - ARCFACE_TEMPLATE.mean(axis=0)
    scale = np.sqrt((centred**2).sum(axis=(1, 2)) / (template**2).sum())
    near = middle + scale[:, None] * _BOX_EDGES[:2]
    far = middle + scale[:, None] * _BOX_EDGES[2:]
    return np.concatenate([near, far - near], axis=1)


def _check_boxes(table: Table, rows: _Rows, size: tuple[int, int]) -> None:
    """Raise ``ValueError`` where most boxes lie outside the pictures."""
    height, width = size
    left, top, wide, high = rows.boxes.T
    large = np.maximum(wide, high) > _LARGEST * max(size)
    if large.any():
        row = int(np.argmax(large))
        raise ValueError(
            f"{table.where(int(rows.row[row]))}: a box {rows.boxes[row].tolist()} "
            f"(left, top, width, height) in pictures of {width} x {height} pixels; "
            "expected one of a face's size: give the table of this video"
        )
    outside = (left >= width) | (top >= height) | (left + wide <= 0) | (top + high <= 0)
    if outside.sum() > 0.5 * len(outside):
        row = int(np.argmax(outside))
        box = np.round(rows.boxes[row], 1).tolist()
        raise ValueError(
            f"{table.where(int(rows.row[row]))}: a box {box} (left, top, width, "
            f"height), and {int(outside.sum())} of {len(outside)} so, outside the "
            f"pictures of {width} x {height} pixels; expected boxes in pixels of this "
            "video: give its own table, of a file of this size"
        )


def _check_once(table: Table, form: _Form, rows: _Rows) -> None:
    order = np.lexsort((rows.row, rows.frame, rows.face))
    face, frame = rows.face[order], rows.frame[order]
    same = (face[1:] == face[:-1]) & (frame[1:] == frame[:-1])
    if same.any():
        first, again = rows.row[order][int(np.argmax(same)) :][:2]
        which = f"column {form.face!r}" if form.face else f"rows of {form.program.name}"
        raise ValueError(
            f"{table.where(int(again))}: frame {frame[int(np.argmax(same))]} of one "
            f"face again ({which}); expected each face once in a frame "
            f"({table.place(int(first))}): remove one, or give another name"
        )


def _followed(rows: _Rows, times_s: Float[np.ndarray, " frames"]) -> _Rows:
    """The rows with faces told apart by where they are."""
    rows = rows.of(np.argsort(rows.frame, kind="stable"))
    frames, starts = np.unique(rows.frame, return_index=True)
    tracker = Tracker(leaves_shared=False)
    for frame, start, stop in zip(
        frames, starts, [*starts[1:], len(rows.frame)], strict=True
    ):
        # Whatever its score: who made the table took it for a face.
        ones = np.ones(stop - start)
        time_s = float(times_s[frame - 1])
        tracker.add(int(frame), time_s, rows.boxes[start:stop], ones)
    first = dict(zip(frames.tolist(), starts.tolist(), strict=True))
    face = np.empty(len(rows.face), np.int64)
    for number, track in enumerate(tracker.tracks):
        for frame, pick in zip(track.frames, track.picks, strict=True):
            face[first[frame] + pick] = number
    return dataclasses.replace(rows, face=face)


def _by_face(rows: _Rows) -> Iterator[_Rows]:
    """The rows of each face, by frame."""
    for face in np.unique(rows.face):
        own = np.flatnonzero(rows.face == face)
        yield rows.of(own[np.argsort(rows.frame[own], kind="stable")])
