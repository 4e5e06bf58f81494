"""Faces cut out of a video's pictures, all tracks in one decoding."""

import collections
import concurrent.futures
import contextlib
import dataclasses
import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, UInt8

from avemo_jax.extraction.face_tracks import FaceTrack
from avemo_jax.faces.crops import (
    ARCFACE_TEMPLATE,
    known_matrix,
    robust_similarities,
    tight,
    warped,
)
from avemo_jax.media.picture_sources import PictureSource, read_ahead

CropKind = Literal["aligned", "tight"]
Timed = Callable[[], contextlib.AbstractContextManager[None]]
# Faces that are cut out at once; as few as have pictures of so many MiB.
_GROUP = 8
_GROUP_MIB = 24
_THREADS = min(4, os.cpu_count() or 1)


@dataclasses.dataclass(frozen=True, eq=False)
class FaceCrop:
    """One face of one frame, or why it cannot be cut out.

    Attributes:
        track: Index of the face's track.
        frame: Number of the frame, from 1.
        kind: "aligned": 112 pixels a side, the five points at the template's.
            "tight": what the box shows.
        picture: RGB; None where it cannot be cut out.
        fault: Why there is no picture; None where there is one.
    """

    track: int
    frame: int
    kind: CropKind
    picture: UInt8[np.ndarray, "height width 3"] | None = None
    fault: str | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class FaceToCut:
    """A face of a frame that is to be cut out.

    Attributes:
        track: Index of the face's track.
        frame: Number of the frame, from 1.
        picture: The frame, RGB.
        box: Left, top, width and height in pixels.
        points: x and y of the five points in pixels.
    """

    track: int
    frame: int
    picture: UInt8[np.ndarray, "_ _ 3"]
    box: Float[np.ndarray, " 4"]
    points: Float[np.ndarray, "5 2"]


def face_crops(
    video: PictureSource,
    tracks: Sequence[FaceTrack],
    wanted: Sequence[Bool[np.ndarray, " _"]] | None,
    kinds: Sequence[CropKind],
    *,
    template: Float[np.ndarray, "5 2"] = ARCFACE_TEMPLATE,
    timed: Timed = contextlib.nullcontext,
) -> Iterator[FaceCrop]:
    """The crops of all tracks: frame after frame, in each by track, then by kind.

    Args:
        video: The video, which is decoded once, from its start to the last wanted
            frame, in a thread of its own, a few pictures further than are asked for.
        tracks: The faces.
        wanted: Which rows of each track are cut out; None: all.
        kinds: The kinds of crops to make of each row.
        template: Where the five points come in an aligned crop.
        timed: Gives what is entered while crops are made, in threads.

    Raises:
        VideoError: If the file is gone.
        ValueError: If ``wanted`` does not fit the tracks, or the video ends before the
            last wanted frame.
    """
    rows = _rows_by_frame(tracks, wanted)
    if rows and kinds:
        faces = _faces(video, tracks, rows)
        yield from cut_ahead(faces, kinds, template=template, timed=timed)


def cut_ahead(
    faces: Iterator[FaceToCut],
    kinds: Sequence[CropKind],
    *,
    template: Float[np.ndarray, "5 2"] = ARCFACE_TEMPLATE,
    timed: Timed = contextlib.nullcontext,
) -> Iterator[FaceCrop]:
    """The crops of faces, in order, by kind of each; made in threads, a few ahead.

    Args:
        faces: The faces, read in the caller's thread.
        kinds: The kinds of crops to make of each face.
        template: Where the five points come in an aligned crop.
        timed: Gives what is entered while crops are made, in threads.
    """

    def cut(group: list[FaceToCut]) -> list[FaceCrop]:
        with timed():
            return _cut(group, kinds, template)

    pool = concurrent.futures.ThreadPoolExecutor(_THREADS)
    waiting: collections.deque[concurrent.futures.Future[list[FaceCrop]]]
    waiting = collections.deque()
    try:
        for group in _groups(faces):
            waiting.append(pool.submit(cut, group))
            while waiting and (len(waiting) > _THREADS or waiting[0].done()):
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _groups(faces: Iterator[FaceToCut]) -> Iterator[list[FaceToCut]]:
    """A few faces at once, of not too many pictures."""
    group: list[FaceToCut] = []
    size = 0
    for face in faces:
        if not group or face.picture is not group[-1].picture:
            size += face.picture.nbytes
        group.append(face)
        if len(group) == _GROUP or size >= _GROUP_MIB * 2**20:
            yield group
            group, size = [], 0
    if group:
        yield group


def _faces(
    video: PictureSource,
    tracks: Sequence[FaceTrack],
    rows: Mapping[int, Sequence[tuple[int, int]]],
) -> Iterator[FaceToCut]:
    """The faces of the rows of each frame."""
    last, number = max(rows), 0
    pictures = read_ahead(itertools.islice(video.pictures(), last))
    for number, picture in enumerate(pictures, start=1):
        for index, row in rows.get(number, ()):
            track = tracks[index]
            yield FaceToCut(index, number, picture, track.boxes[row], track.points[row])
    if number == last:
        return
    raise ValueError(
        f"{video.path}: ends at frame {number} where a face is wanted of frame {last}; "
        "expected the video in which the faces were found; find them again"
    )


def _rows_by_frame(
    tracks: Sequence[FaceTrack], wanted: Sequence[Bool[np.ndarray, " _"]] | None
) -> dict[int, list[tuple[int, int]]]:
    """Index of the track and the row of each face that a frame is to give."""
    if wanted is None:
        wanted = [np.ones(len(track.frame), bool) for track in tracks]
    lengths = [len(rows) for rows in wanted]
    expected = [len(track.frame) for track in tracks]
    if lengths != expected:
        raise ValueError(
            f"wanted rows of lengths {lengths}; expected {expected}, those of the "
            "tracks; give one array for each track"
        )
    found: dict[int, list[tuple[int, int]]] = {}
    for index, (track, rows) in enumerate(zip(tracks, wanted, strict=True)):
        for row in np.flatnonzero(rows):
            found.setdefault(int(track.frame[row]), []).append((index, int(row)))
    return found


def _cut(
    faces: Sequence[FaceToCut],
    kinds: Sequence[CropKind],
    template: Float[np.ndarray, "5 2"],
) -> list[FaceCrop]:
    """The crops of a few faces."""
    matrices: Sequence[np.ndarray | None] = [None] * len(faces)
    if "aligned" in kinds:
        points = np.stack([face.points for face in faces])
        matrices = list(robust_similarities(points, template))
    return [
        _cut_one(face, kind, matrix)
        for face, matrix in zip(faces, matrices, strict=True)
        for kind in kinds
    ]


def _cut_one(
    face: FaceToCut, kind: CropKind, matrix: Float[np.ndarray, "2 3"] | None
) -> FaceCrop:
    """One crop.

    Args:
        face: The face.
        kind: Kind of the crop.
        matrix: What an aligned crop shows of the picture; NaN where it has none.
    """
    whose = (face.track, face.frame, kind)
    if not np.isfinite(face.box).all():
        return FaceCrop(*whose, fault="the face's box is not known")
    if kind == "aligned" and not np.isfinite(face.points).all():
        return FaceCrop(*whose, fault="the face's points are not known")
    try:
        crop = tight(face.picture, face.box)  # whether the face is in it at all
        if kind == "aligned":
            assert matrix is not None
            crop = warped(face.picture, known_matrix(matrix, face.points))
    except ValueError as error:
        return FaceCrop(*whose, fault=str(error))
    # A small crop that is no copy would keep a large picture in memory.
    return FaceCrop(*whose, crop.copy())
