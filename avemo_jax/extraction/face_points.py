"""The five points of faces of which only boxes are known, found around their boxes."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from avemo_jax.extraction.face_tracks import Detect, FaceTrack
from avemo_jax.faces.boxes import overlaps
from avemo_jax.media.picture_sources import PictureSource

_MARGIN = 0.5  # of the box's longer side, on each side of it
_FACE_PX = 96  # to which the longer side of a smaller box is enlarged
_MIN_OVERLAP = 0.3  # of the found box with the given one
_BATCH = 16  # patches that are looked at together


@dataclasses.dataclass(frozen=True, eq=False)
class _Patch:
    """What a picture shows around the box of a face.

    Attributes:
        track: Index of the face's track.
        row: Row of the track.
        picture: The part of the picture, enlarged where the face is small.
        corner: x and y of the part's left upper corner in the picture.
        scale: Pixels of ``picture`` to one of the whole picture.
    """

    track: int
    row: int
    picture: UInt8[np.ndarray, "_ _ 3"]
    corner: Float[np.ndarray, " 2"]
    scale: float


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
    waiting: list[_Patch] = []

    def look() -> None:
        found = detect([patch.picture for patch in waiting])
        for patch, faces in zip(waiting, found, strict=True):
            box = tracks[patch.track].boxes[patch.row]
            # The first pixel's centre is (0, 0), whatever a pixel's size.
            boxes = faces.boxes.copy()
            boxes[:, :2] = (boxes[:, :2] + 0.5) / patch.scale - 0.5 + patch.corner
            boxes[:, 2:] /= patch.scale
            overlap = overlaps(boxes, box[None])[:, 0]
            if len(overlap) and overlap.max() >= _MIN_OVERLAP:
                own = faces.points[int(overlap.argmax())]
                own = (own + 0.5) / patch.scale - 0.5 + patch.corner
                points[patch.track][patch.row] = own
        waiting.clear()

    for patch in _patches(video, tracks, progress):
        waiting.append(patch)
        if len(waiting) == _BATCH:
            look()
    if waiting:
        look()
    return [
        dataclasses.replace(track, points=own)
        for track, own in zip(tracks, points, strict=True)
    ]


def _patches(
    video: PictureSource,
    tracks: Sequence[FaceTrack],
    progress: Callable[[int], None],
) -> Iterator[_Patch]:
    """What is around each box whose points are not known, frame by frame."""
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
            if patch := _patch(picture, tracks[index].boxes[row], index, row):
                yield patch
        progress(1)
        if number == last:
            return


def _patch(
    picture: UInt8[np.ndarray, "_ _ 3"],
    box: Float[np.ndarray, " 4"],
    track: int,
    row: int,
) -> _Patch | None:
    """What is around a box; None where that is outside the picture."""
    longer = float(box[2:].max())
    margin = _MARGIN * longer
    height, width = picture.shape[:2]
    left, top = np.floor(np.maximum(box[:2] - margin, 0)).astype(int)
    right, bottom = np.ceil(box[:2] + box[2:] + margin).astype(int)
    part = picture[top : min(bottom, height), left : min(right, width)]
    if not part.size:
        return None
    scale = max(1.0, _FACE_PX / longer)
    if scale > 1:
        size = [max(1, round(side * scale)) for side in part.shape[1::-1]]
        part = np.asarray(Image.fromarray(part).resize((size[0], size[1])))
    return _Patch(track, row, part.copy(), np.array([left, top], float), scale)
