"""The faces of a video: found and followed.

Only boxes and points are kept; another decoding cuts the faces out. So at most a
hundred pictures are in memory, however long the video is, and which face is seen the
longest is known before the first is cut out.
"""

import array
import dataclasses
import functools
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
    search = FaceSearch(
        video, detect, times_s, interval_s=interval_s, progress=progress
    )
    for _ in search.frames():
        pass
    return search.tracks()


class OtherFramesError(ValueError):
    """A video that has other frames than have times."""


@dataclasses.dataclass(frozen=True, eq=False)
class SearchedFrame:
    """A frame whose faces are known, and followed up to here.

    Attributes:
        number: Number of the frame, from 1.
        picture: The picture as it was searched: the video's own, or reduced.
        faces: Its faces, in pixels of the video's pictures.
        followed: Which faces are of a track: the track's number, from 0 in the order in
            which tracks begin, and the face's index in ``faces``.
    """

    number: int
    picture: Picture
    faces: FrameFaces
    followed: tuple[tuple[int, int], ...]


class FaceSearch:
    """The search for the faces of a video, whose frames may be used on the way."""

    def __init__(
        self,
        video: PictureSource,
        detect: Detect,
        times_s: Float[np.ndarray, " frames"],
        *,
        interval_s: float = INTERVAL_S,
        progress: Callable[[int], None] = lambda frames: None,
    ):
        """Nothing is read yet; the arguments are those of :func:`find_faces`."""
        self._video, self._detect, self._times_s = video, detect, times_s
        self._interval_s, self._progress = interval_s, progress
        self._size = (video.height, video.width)
        self._small = reduced_size(*self._size, SHARP_LONG_SIDE_PX)
        self._tracker = Tracker()
        self._found = _Found()

    @property
    def sees_all_pixels(self) -> bool:
        """Whether pictures are searched as they are, so that faces can be cut out."""
        return self._small == self._size

    def frames(self) -> Iterator[SearchedFrame]:
        """All frames in order; a hundred at most are in memory.

        Raises:
            VideoError: If the file is gone.
            OtherFramesError: If the video has other frames than have times.
            ValueError: If the interval is negative.
        """
        numbers: dict[int, int] = {}  # of each track, by its identity
        for is_scene, picture, faces in self._by_frame():
            if is_scene:
                self._tracker.cut()
            self._found.append(faces)
            number = self._found.num_frames
            if number > len(self._times_s):
                continue  # counted alone, for the error
            time_s = float(self._times_s[number - 1])
            self._tracker.add(number, time_s, faces.boxes, faces.scores)
            tracks = self._tracker.tracks
            for i in range(len(numbers), len(tracks)):
                numbers[id(tracks[i])] = i
            seen = self._tracker.seen(number)
            followed = tuple((numbers[id(t)], t.picks[-1]) for t in seen)
            self._progress(1)
            faces = scaled(faces, self._small, self._size)
            yield SearchedFrame(number, picture, faces, followed)
        if self._found.num_frames != len(self._times_s):
            raise OtherFramesError(
                f"{self._video.path}: {self._found.num_frames} frames where "
                f"{len(self._times_s)} have times; expected as many: was the file "
                "changed? Run it again"
            )

    def order(self) -> list[int]:
        """Numbers of the tracks, the one that is seen in most frames first."""
        tracks = self._tracker.tracks

        def key(number: int) -> tuple[int, int]:
            return -len(tracks[number].frames), tracks[number].frames[0]

        return sorted(range(len(tracks)), key=key)

    def tracks(self) -> list[FaceTrack]:
        """All faces in the order of :meth:`order`, once all frames were read."""
        tracks = []
        for number in self.order():
            track = self._tracker.tracks[number]
            of_track, detected = self._found.faces(track.frames, track.picks)
            faces = scaled(of_track, self._small, self._size)
            frames = np.array(track.frames, np.int32)
            tracks.append(
                FaceTrack(frames, faces.boxes, faces.points, faces.scores, detected)
            )
        return tracks

    def _by_frame(self) -> Iterator[tuple[bool, Picture, FrameFaces]]:
        """Whether each frame begins a scene, its reduced picture and the faces in it.

        Pictures are reduced no further than small faces need, which the detector looks
        at again; it reduces them itself for the first look.
        """
        height, width = self._small
        length = min(max(_CHUNK_MIB * 2**20 // (3 * height * width), 1), _CHUNK)
        # A chunk is decoded while the one before is searched.
        pictures = read_ahead(map(_searched, self._video.pictures()), length)
        # The last frame of a chunk is the first of the next, which knows its faces.
        held: list[Picture] = []
        outlines: list[Outline] = []
        last: FrameFaces | None = None
        start = 0
        while chunk := list(itertools.islice(pictures, length)):
            held = held[-1:] + [picture for picture, _ in chunk]
            outlines = outlines[-1:] + [small for _, small in chunk]
            known = len(held) - len(chunk)
            chunk.clear()
            cuts = [i for i in range(1, len(held)) if is_cut(*outlines[i - 1 : i + 1])]
            faces = faces_of_frames(
                self._times_of(start, len(held)),
                cuts,
                functools.partial(self._detected, held, last),
                interval_s=self._interval_s,
            )
            for i in range(known, len(faces)):
                yield i in cuts, held[i], faces[i]
            last = faces[-1]
            start += len(held) - 1

    def _times_of(self, start: int, count: int) -> Float[np.ndarray, " frames"]:
        """When some frames are shown; a step apart where there are no times for them.

        What is made up is never used: the search ends with an error.
        """
        shown_s = self._times_s[start : start + count]
        more = count - len(shown_s)
        after = (shown_s[-1] if len(shown_s) else 0.0) + np.arange(1, more + 1)
        return np.concatenate([shown_s, after])

    def _detected(
        self, held: Sequence[Picture], last: FrameFaces | None, wanted: Sequence[int]
    ) -> list[FrameFaces]:
        """The faces of some pictures of a chunk, of which the first may be known."""
        anew = [i for i in wanted if i or last is None]
        found = dict(zip(anew, self._detect([held[i] for i in anew]), strict=True))
        return [found[i] if i in found or last is None else last for i in wanted]


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
