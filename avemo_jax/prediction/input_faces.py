"""The faces of one input: its part, the faces in it, and which of them are taken."""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float, UInt8

from avemo_jax.extraction.chosen_faces import Faces, chosen_faces
from avemo_jax.extraction.face_points import with_points
from avemo_jax.extraction.face_tracks import Detect, FaceTrack, find_faces
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


def faces_of(
    one: Input,
    detect: Detect,
    search: Search,
    *,
    opened: Callable[[int], None] = lambda frames: None,
    progress: Callable[[int], None] = lambda frames: None,
) -> InputFaces:
    """The faces of an input.

    Args:
        one: The input.
        detect: Finds the faces of pictures, and points that a table of faces lacks;
            :func:`no_faces` leaves both.
        search: Which part is searched, and which faces are taken.
        opened: Called with the number of frames of the part, once it is known.
        progress: Called with the number of frames that were done since the last call.

    Raises:
        ValueError: If the input cannot be read, has nothing in the part, or the table
            of faces does not fit it.
        OSError: If a file is gone.
    """
    stages = StageTimes()
    with stages.stage("decode"):
        source, times = one.opened()
    num_sounds = source.num_sound_tracks if isinstance(source, VideoFile) else 0
    start, stop = _part(times, search, one)
    end = None if stop == times.num_frames else stop
    pictures = TimedPictures(source, start, end, stages)
    part = dataclasses.replace(times, times_s=times.times_s[start:stop])
    opened(part.num_frames)
    with stages.stage("detect"):
        if search.boxes is not None:
            size = (pictures.height, pictures.width)
            given = read_given_faces(
                search.boxes,
                times_s=times.times_s,
                size=size,
                input_name=search.boxes_of,
            )
            tracks = [t for t in (_within(g, start, stop) for g in given) if t]
            if detect is not no_faces:
                tracks = with_points(pictures, tracks, detect)
            progress(part.num_frames)
        else:
            tracks = find_faces(
                pictures,
                detect,
                part.times_s,
                interval_s=search.interval_s,
                progress=progress,
            )
    ordered, taken = chosen_faces(tracks, "all"), chosen_faces(tracks, search.faces)
    return InputFaces(
        one,
        pictures,
        part,
        times,
        start + 1,
        num_sounds,
        tuple(ordered),
        tuple(taken),
        (False,) * len(taken),
        stages,
        tuple(dict.fromkeys((*times.notes, *pictures.notes))),
        tuple(dict.fromkeys((*times.losses, *pictures.losses))),
    )


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
