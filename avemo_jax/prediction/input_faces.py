"""The faces of one input: its part, the faces in it, and which of them are taken."""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float, UInt8

from avemo_jax.extraction.chosen_faces import Faces, chosen_faces
from avemo_jax.extraction.face_points import with_points
from avemo_jax.extraction.face_tracks import (
    Detect,
    FaceTrack,
    OtherFramesError,
    find_faces,
)
from avemo_jax.extraction.given_faces import read_given_faces
from avemo_jax.faces.keyframes import INTERVAL_S, FrameFaces
from avemo_jax.media.picture_sources import PartOfPictures, PictureSource
from avemo_jax.media.video import FrameTimes, VideoFile
from avemo_jax.prediction.inputs import Input
from avemo_jax.prediction.stage_times import StageTimes


@dataclasses.dataclass(frozen=True)
class Search:
    """Which part of an input is looked at, and which faces are taken there.

    Attributes:
        faces: "all", "largest", or how many of those that are shown the longest.
        interval_s: Seconds between two frames that are always searched; 0: every one.
        start_s: What is shown before is left out; None: nothing.
        end_s: What is shown after is left out; None: nothing.
        boxes: Table of faces that were found elsewhere; None: they are searched.
        boxes_of: Name by which the table calls the input; None: it has no other.
    """

    faces: Faces = "all"
    interval_s: float = INTERVAL_S
    start_s: float | None = None
    end_s: float | None = None
    boxes: pathlib.Path | None = None
    boxes_of: str | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class InputFaces:
    """An input and the faces in it. Frames count from 1 at the start of the part.

    Attributes:
        input: The input.
        pictures: The pictures of the part.
        times: When they are shown, in seconds from the start of the whole input.
        whole_times: When the pictures of the whole input are shown.
        first_frame: Number of the part's first frame in the whole input.
        num_sound_tracks: Number of sound tracks; 0 for pictures.
        all_tracks: All faces, the one that is shown the longest first.
        tracks: Those that are taken.
        is_joined: Which of these were joined of faces of several scenes.
        stages: Time that was needed so far.
        notes: What a user should know, in words without the file's name.
        losses: What could not be read, in words.
    """

    input: Input
    pictures: PictureSource
    times: FrameTimes
    whole_times: FrameTimes
    first_frame: int
    num_sound_tracks: int
    all_tracks: tuple[FaceTrack, ...]
    tracks: tuple[FaceTrack, ...]
    is_joined: tuple[bool, ...]
    stages: StageTimes
    notes: tuple[str, ...]
    losses: tuple[str, ...]


class TimedPictures(PartOfPictures):
    """A part of a source's pictures, the time to decode them counted."""

    def __init__(
        self, whole: PictureSource, start: int, stop: int | None, stages: StageTimes
    ):
        """Nothing is read.

        Args:
            whole: The source.
            start: Index of the first picture of the part.
            stop: Index of the first picture after the part; None: it ends with the
                source.
            stages: Counts the time as "decode".
        """
        super().__init__(whole, start, stop)
        self._stages = stages

    def pictures(self) -> Iterator[UInt8[np.ndarray, "_ _ 3"]]:
        """The pictures of the part."""
        return self._stages.each("decode", super().pictures())


@dataclasses.dataclass(frozen=True, eq=False)
class InputPart:
    """The part of an input that is looked at, opened.

    Attributes:
        input: The input.
        source: Its pictures.
        pictures: The pictures of the part.
        times: When these are shown, in seconds from the start of the whole input.
        whole_times: When the pictures of the whole input are shown.
        start: Index of the part's first picture in the whole input.
        stages: Time that was needed so far.
        is_sure: Whether pictures were decoded for their times; else packets told them.
    """

    input: Input
    source: PictureSource
    pictures: TimedPictures
    times: FrameTimes
    whole_times: FrameTimes
    start: int
    stages: StageTimes
    is_sure: bool

    def holds(self) -> bool:
        """Whether the times were right, once all pictures were read."""
        if self.is_sure or not isinstance(self.source, VideoFile):
            return True
        return self.source.shown_at(self.whole_times)

    def with_faces(self, tracks: Sequence[FaceTrack], faces: Faces) -> InputFaces:
        """The input with the faces that were found in the part.

        Args:
            tracks: All faces.
            faces: Which of them are taken.
        """
        taken = chosen_faces(tracks, faces)
        sounds = (
            self.source.num_sound_tracks if isinstance(self.source, VideoFile) else 0
        )
        return InputFaces(
            self.input,
            self.pictures,
            self.times,
            self.whole_times,
            self.start + 1,
            sounds,
            tuple(chosen_faces(tracks, "all")),
            tuple(taken),
            (False,) * len(taken),
            self.stages,
            tuple(dict.fromkeys((*self.whole_times.notes, *self.pictures.notes))),
            tuple(dict.fromkeys((*self.whole_times.losses, *self.pictures.losses))),
        )


def opened_part(one: Input, search: Search, *, is_sure: bool = False) -> InputPart:
    """The part of an input that is looked at.

    Args:
        one: The input.
        search: Which part that is.
        is_sure: Decode a video to know when its pictures are shown, also where its
            packets tell.

    Raises:
        ValueError: If the input cannot be read, or has nothing in the part.
        OSError: If a file is gone.
    """
    stages = StageTimes()
    # A part ends before the pictures do, so times could not be compared with them.
    is_whole = search.start_s is None and search.end_s is None
    by_packets = is_whole and not is_sure and search.boxes is None
    with stages.stage("times"):
        source, times, is_sure = one.opened(by_packets=by_packets)
    start, stop = _part(times, search, one)
    end = None if stop == times.num_frames else stop
    pictures = TimedPictures(source, start, end, stages)
    part = dataclasses.replace(times, times_s=times.times_s[start:stop])
    return InputPart(one, source, pictures, part, times, start, stages, is_sure)


def faces_of(
    part: InputPart,
    detect: Detect,
    search: Search,
    *,
    progress: Callable[[int], None] = lambda frames: None,
) -> InputFaces:
    """The faces of a part of an input.

    Args:
        part: The part; where its times turn out to be wrong it is opened anew.
        detect: Finds the faces of pictures, and points that a table of faces lacks;
            :func:`no_faces` leaves both.
        search: How they are searched, and which are taken.
        progress: Called with the number of frames that were done since the last call.

    Raises:
        ValueError: If the input cannot be read, or the table of faces does not fit it.
        OSError: If a file is gone.
    """
    try:
        tracks = _tracks(part, detect, search, progress)
    except OtherFramesError:
        if part.is_sure:
            raise
        tracks = []
    if not part.holds():
        return faces_of(opened_part(part.input, search, is_sure=True), detect, search)
    return part.with_faces(tracks, search.faces)


def _tracks(
    part: InputPart, detect: Detect, search: Search, progress: Callable[[int], None]
) -> list[FaceTrack]:
    """The faces of a part, searched or as a table has them."""
    pictures, times_s = part.pictures, part.whole_times.times_s
    with part.stages.stage("detect"):
        if search.boxes is None:
            return find_faces(
                pictures,
                detect,
                part.times.times_s,
                interval_s=search.interval_s,
                progress=progress,
            )
        size = (pictures.height, pictures.width)
        given = read_given_faces(
            search.boxes, times_s=times_s, size=size, input_name=search.boxes_of
        )
        start, stop = part.start, part.start + part.times.num_frames
        tracks = [t for t in (_within(g, start, stop) for g in given) if t]
        if detect is not no_faces:
            tracks = with_points(pictures, tracks, detect)
        progress(part.times.num_frames)
        return tracks


def _part(times: FrameTimes, search: Search, one: Input) -> tuple[int, int]:
    """Index of the first frame of the part, and of the one after its last.

    Raises:
        ValueError: If no frame is shown in it.
    """
    times_s = times.times_s
    begin = -np.inf if search.start_s is None else search.start_s
    end = np.inf if search.end_s is None else search.end_s
    # A frame is shown until the next; the one that is shown at the start is in.
    start = max(int(np.searchsorted(times_s, begin, "right")) - 1, 0)
    stop = int(np.searchsorted(times_s, end, "left"))
    length_s = float(times_s[-1]) + (1 / times.fps if times.fps > 0 else 0.0)
    if begin >= length_s or stop <= start:
        until = "on" if end == np.inf else f"to {end:g} s"
        raise ValueError(
            f"{one.path}: nothing is shown from {max(begin, 0):g} s {until}, it is "
            f"{length_s:.2f} s long; expected a part of it: correct --start and --end"
        )
    return start, stop


def _within(track: FaceTrack, start: int, stop: int) -> FaceTrack | None:
    """The rows of a face in a part, its frames counted from the part's start."""
    rows = (track.frame > start) & (track.frame <= stop)
    if not rows.any():
        return None
    return FaceTrack(
        track.frame[rows] - np.int32(start),
        track.boxes[rows],
        track.points[rows],
        track.scores[rows],
        track.detected[rows],
    )


def main_face(tracks: Sequence[FaceTrack]) -> bool:
    """Whether the first face has most of the screen time.

    Most is over half of all faces in all frames, and of the frames with a face.

    Args:
        tracks: All faces of an input, the one that is shown the longest first.
    """
    if not tracks:
        return False
    counts = [len(track.frame) for track in tracks]
    with_face = len(np.unique(np.concatenate([track.frame for track in tracks])))
    return counts[0] > sum(counts) / 2 and counts[0] > with_face / 2


def alone(track: FaceTrack, tracks: Sequence[FaceTrack]) -> Bool[np.ndarray, " rows"]:
    """In which of its frames a face is the only one.

    Args:
        track: The face.
        tracks: All faces of the input.
    """
    others = [t.frame for t in tracks if t is not track]
    if not others:
        return np.ones(len(track.frame), bool)
    return ~np.isin(track.frame, np.concatenate(others))


def no_faces(pictures: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> list[FrameFaces]:
    """No face in any picture, as a detector tells it where faces are given."""
    none: Float[np.ndarray, "0 4"] = np.zeros((0, 4))
    return [FrameFaces(none, np.zeros((0, 5, 2)), np.zeros(0)) for _ in pictures]
