"""Faces cut out of a video's pictures, all tracks in one decoding."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, UInt8

from avemo_jax.extraction.face_tracks import FaceTrack
from avemo_jax.faces.crops import ARCFACE_TEMPLATE, aligned, tight
from avemo_jax.media.picture_sources import PictureSource, read_ahead

CropKind = Literal["aligned", "tight"]


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


def face_crops(
    video: PictureSource,
    tracks: Sequence[FaceTrack],
    wanted: Sequence[Bool[np.ndarray, " _"]] | None,
    kinds: Sequence[CropKind],
    *,
    template: Float[np.ndarray, "5 2"] = ARCFACE_TEMPLATE,
) -> Iterator[FaceCrop]:
    """The crops of all tracks: frame after frame, in each by track, then by kind.

    Args:
        video: The video, which is decoded once, from its start to the last wanted
            frame, in a thread of its own, a few crops further than are asked for.
        tracks: The faces.
        wanted: Which rows of each track are cut out; None: all.
        kinds: The kinds of crops to make of each row.
        template: Where the five points come in an aligned crop.

    Raises:
        VideoError: If the file is gone.
        ValueError: If ``wanted`` does not fit the tracks, or the video ends before the
            last wanted frame.
    """
    rows = _rows_by_frame(tracks, wanted)
    if rows and kinds:
        yield from read_ahead(_crops(video, tracks, rows, kinds, template))


def _crops(
    video: PictureSource,
    tracks: Sequence[FaceTrack],
    rows: Mapping[int, Sequence[tuple[int, int]]],
    kinds: Sequence[CropKind],
    template: Float[np.ndarray, "5 2"],
) -> Iterator[FaceCrop]:
    """The crops of the rows of each frame."""
    last, number = max(rows), 0
    for number, picture in enumerate(video.pictures(), start=1):
        for track, row in rows.get(number, ()):
            for kind in kinds:
                yield _cut(picture, tracks[track], row, track, kind, template)
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
    picture: UInt8[np.ndarray, "_ _ 3"],
    track: FaceTrack,
    row: int,
    index: int,
    kind: CropKind,
    template: Float[np.ndarray, "5 2"],
) -> FaceCrop:
    frame = int(track.frame[row])
    box, points = track.boxes[row], track.points[row]
    if not np.isfinite(box).all():
        return FaceCrop(index, frame, kind, fault="the face's box is not known")
    if kind == "aligned" and not np.isfinite(points).all():
        return FaceCrop(index, frame, kind, fault="the face's points are not known")
    try:
        crop = tight(picture, box)  # whether the face is in the picture at all
        if kind == "aligned":
            crop = aligned(picture, points, template)
    except ValueError as error:
        return FaceCrop(index, frame, kind, fault=str(error))
    # A small crop that is no copy would keep a large picture in memory.
    return FaceCrop(index, frame, kind, crop.copy())
