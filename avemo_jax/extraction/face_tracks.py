"""The faces of a video: found and followed.

Only boxes and points are kept; another decoding cuts the faces out. So at most a
hundred pictures are in memory, however long the video is, and which face is seen the
longest is known before the first is cut out.
"""

import array
import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from avemo_jax.faces.detector import (
    SHARP_LONG_SIDE_PX,
    reduced,
    reduced_size,
    scaled,
)
from avemo_jax.faces.keyframes import INTERVAL_S, FrameFaces, faces_of_frames
from avemo_jax.faces.tracks import Tracker, is_cut, outline
from avemo_jax.media.picture_sources import PictureSource, read_ahead

# Frames that are searched at once, and MiB that they take: 16 frames of 1920 x 1080. As
# many are decoded meanwhile.
_CHUNK = 100
_CHUNK_MIB = 96

_NUMBERS = 15  # of a face: its box, its five points and its score

Picture = UInt8[np.ndarray, "_ _ 3"]
Outline = UInt8[np.ndarray, "_ _"]
Detect = Callable[[Sequence[Picture]], list[FrameFaces]]


@dataclasses.dataclass(frozen=True, eq=False)
class FaceTrack:
    """One face over the frames that show it.

    Attributes:
        frame: Numbers of the frames, from 1, ascending.
        boxes: Left, top, width and height in pixels of the video's pictures.
        points: x and y of the eyes, the nose and the corners of the mouth, the
            picture's left before its right, in pixels.
        scores: What the detector gives them, 0 to 1.
        detected: Which frames were detected; those between were interpolated.
    """

    frame: Int[np.ndarray, " rows"]
    boxes: Float[np.ndarray, "rows 4"]
    points: Float[np.ndarray, "rows 5 2"]
    scores: Float[np.ndarray, " rows"]
    detected: Bool[np.ndarray, " rows"]


def joined(tracks: Sequence[FaceTrack]) -> FaceTrack:
    """Several tracks of one face as one, such as those of scenes.

    Args:
        tracks: One or more tracks, of which no two have a frame in common.
    """
    parts = {
        field.name: np.concatenate([getattr(track, field.name) for track in tracks])
        for field in dataclasses.fields(FaceTrack)
    }
    order = np.argsort(parts["frame"], kind="stable")
    return FaceTrack(**{name: part[order] for name, part in parts.items()})


def find_faces(
    video: PictureSource,
    detect: Detect,
    times_s: Float[np.ndarray, " frames"],
    *,
    interval_s: float = INTERVAL_S,
    progress: Callable[[int], None] = lambda frames: None,
) -> list[FaceTrack]:
    """The faces of a video, the one that is seen in most frames first.

    Args:
        video: The video, which is decoded once, from its start.
        detect: Finds the faces of pictures, in their own pixels, as
            :class:`avemo_jax.faces.detector.FaceDetector` does.
        times_s: When each frame is shown, as ``video.frame_times()`` tells.
        interval_s: Seconds between two frames of those that are always detected; 0:
            every frame is detected.
        progress: Called with the number of frames that were done since the last call.

    Raises:
        VideoError: If the file is gone.
        ValueError: If ``interval_s`` is negative, or the video has other frames than
            have times.
    """
    tracker = Tracker()
    found = _Found()
    for is_scene, faces in _by_frame(video, detect, times_s, interval_s):
        if is_scene:
            tracker.cut()
        found.append(faces)
        number = found.num_frames
        time_s = float(times_s[number - 1])
        tracker.add(number, time_s, faces.boxes, faces.scores)
        progress(1)
    if found.num_frames != len(times_s):
        raise ValueError(
            f"{video.path}: {found.num_frames} frames where {len(times_s)} have times; "
            "expected as many: was the file changed? Run it again"
        )
    size = (video.height, video.width)
    small = reduced_size(*size, SHARP_LONG_SIDE_PX)
    tracks = []
    for track in sorted(tracker.tracks, key=lambda t: (-len(t.frames), t.frames[0])):
        of_track, detected = found.faces(track.frames, track.picks)
        faces = scaled(of_track, small, size)
        frames = np.array(track.frames, np.int32)
        tracks.append(
            FaceTrack(frames, faces.boxes, faces.points, faces.scores, detected)
        )
    return tracks


class _Found:
    """The faces of all frames, in a hundred bytes each.

    Attributes:
        num_frames: Number of frames.
    """

    def __init__(self) -> None:
        self.num_frames = 0
        self._numbers = array.array("d")  # box, points and score of each face
        self._starts = array.array("q")  # of each frame, in faces
        self._detected = bytearray()

    def append(self, faces: FrameFaces) -> None:
        """Keep the faces of the next frame."""
        self._starts.append(len(self._numbers) // _NUMBERS)
        points = faces.points.reshape(-1, 10)
        rows = np.hstack([faces.boxes, points, faces.scores[:, None]])
        self._numbers.frombytes(rows.astype(np.float64).tobytes())
        self._detected.append(faces.is_detected)
        self.num_frames += 1

    def faces(
        self, frames: Sequence[int], picks: Sequence[int]
    ) -> tuple[FrameFaces, Bool[np.ndarray, " rows"]]:
        """One face of each of some frames, and which of these were detected.

        Args:
            frames: Numbers of the frames, from 1.
            picks: Index of the face in each.
        """
        at = np.asarray(frames) - 1
        starts = np.frombuffer(self._starts, np.int64)
        table = np.frombuffer(self._numbers, np.float64).reshape(-1, _NUMBERS)
        rows = table[starts[at] + np.asarray(picks)]
        faces = FrameFaces(rows[:, :4], rows[:, 4:14].reshape(-1, 5, 2), rows[:, 14])
        return faces, np.frombuffer(self._detected, bool)[at]


def _searched(picture: Picture) -> tuple[Picture, Outline]:
    """A picture as faces are searched in it, and as cuts are found by."""
    sharp = reduced(picture, SHARP_LONG_SIDE_PX)
    return sharp, outline(sharp)


def _by_frame(
    video: PictureSource,
    detect: Detect,
    times_s: Float[np.ndarray, " frames"],
    interval_s: float,
) -> Iterator[tuple[bool, FrameFaces]]:
    """Whether each frame begins a scene, and its faces in the reduced pictures.

    Pictures are reduced no further than small faces need, which the detector looks at
    again; it reduces them itself for the first look.
    """
    height, width = reduced_size(video.height, video.width, SHARP_LONG_SIDE_PX)
    length = min(max(_CHUNK_MIB * 2**20 // (3 * height * width), 1), _CHUNK)
    # A chunk is decoded while the one before is searched.
    pictures = read_ahead(map(_searched, video.pictures()), length)
    # The last frame of a chunk is the first of the next, which knows its faces.
    held: list[Picture] = []
    outlines: list[Outline] = []
    last: FrameFaces | None = None
    start = 0
    while chunk := list(itertools.islice(pictures, length)):
        held = held[-1:] + [picture for picture, _ in chunk]
        outlines = outlines[-1:] + [small for _, small in chunk]
        cuts = [i for i in range(1, len(held)) if is_cut(*outlines[i - 1 : i + 1])]

        def detected(
            wanted: Sequence[int],
            held: Sequence[Picture] = held,
            last: FrameFaces | None = last,
        ) -> list[FrameFaces]:
            anew = [i for i in wanted if i or last is None]
            found = dict(zip(anew, detect([held[i] for i in anew]), strict=True))
            return [found[i] if i in found or last is None else last for i in wanted]

        shown_s = times_s[start : start + len(held)]
        faces = faces_of_frames(shown_s, cuts, detected, interval_s=interval_s)
        known = len(held) - len(chunk)
        for i in range(known, len(faces)):
            yield i in cuts, faces[i]
        last = faces[-1]
        start += len(held) - 1
