"""The five points of faces of which only boxes are known, found around their boxes."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from avemo_jax.extraction.face_tracks import Detect, FaceTrack
from avemo_jax.faces.boxes import overlaps
from avemo_jax.faces.second_look import Patch, patch_around
from avemo_jax.media.picture_sources import PictureSource

_MIN_OVERLAP = 0.3  # of the found box with the given one, which others may draw wider
_BATCH = 16  # patches that are looked at together


def with_points(
    video: PictureSource,
    tracks: Sequence[FaceTrack],
    detect: Detect,
    *,
    progress: Callable[[int], None] = lambda frames: None,
) -> list[FaceTrack]:
    """The tracks with the points of their faces, where these were not known.

    Each box is looked at alone, with what is around it. Where the detector finds no
    face that overlaps the box, points stay NaN.

    Args:
        video: The video, which is decoded once, from its start to the last such frame;
            not at all where all points are known.
        tracks: The faces.
        detect: Finds the faces of pictures, in their own pixels.
        progress: Called with the number of frames that were done since the last call.

    Raises:
        VideoError: If the file is gone.
    """
    points = [track.points.copy() for track in tracks]
    patches = _patches(video, tracks, progress)
    while some := list(itertools.islice(patches, _BATCH)):
        found = detect([patch.pixels for _, _, patch in some])
        for (index, row, patch), seen in zip(some, found, strict=True):
            faces = patch.in_picture(seen)
            box = tracks[index].boxes[row]
            overlap = overlaps(faces.boxes, box[None])[:, 0]
            if len(overlap) and overlap.max() >= _MIN_OVERLAP:
                points[index][row] = faces.points[int(overlap.argmax())]
    return [
        dataclasses.replace(track, points=own)
        for track, own in zip(tracks, points, strict=True)
    ]


def _patches(
    video: PictureSource,
    tracks: Sequence[FaceTrack],
    progress: Callable[[int], None],
) -> Iterator[tuple[int, int, Patch]]:
    """Track, row and patch of each face whose points are not known, by frame."""
    rows: dict[int, list[tuple[int, int]]] = {}
    for index, track in enumerate(tracks):
        unknown = ~np.isfinite(track.points).all(axis=(1, 2))
        for one in np.flatnonzero(unknown).tolist():
            rows.setdefault(int(track.frame[one]), []).append((index, one))
    if not rows:
        return
    last = max(rows)
    for number, picture in enumerate(video.pictures(), start=1):
        for index, row in rows.get(number, ()):
            yield index, row, patch_around(picture, tracks[index].boxes[row])
        progress(1)
        if number == last:
            return
