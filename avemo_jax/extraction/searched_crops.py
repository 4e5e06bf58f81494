"""Faces cut out of a video while they are searched, in the one decoding."""

import array
from collections.abc import Iterable, Iterator
from typing import Protocol, runtime_checkable

from avemo_jax.extraction.face_crops import FaceToCut
from avemo_jax.extraction.face_tracks import FaceSearch


@runtime_checkable
class RowsOnTheWay(Protocol):
    """Which rows of each track are cut out, told while the video is searched."""

    def see(self, track: int, frame: int) -> Iterable[int]:
        """Frames of a track to cut out now that it is seen in one more.

        Args:
            track: Number of the track.
            frame: Number of the frame; those of a track ascend.

        Returns:
            None, this frame, the last one that was seen of the track before, or both.
        """
        ...

    def ended(self, frame: int) -> Iterable[int]:
        """Tracks whose last seen row is to be cut out, since they have ended.

        Args:
            frame: Number of the frame that was searched last.
        """
        ...

    def left(self) -> Iterable[int]:
        """Tracks whose last seen row is to be cut out, since the video has ended."""
        ...


class SearchedFaces:
    """The faces to cut out of a video, frame after frame, as the search goes.

    A face that is not wanted yet, but may be, is held with its picture until the next
    row of its track, or the end of that, tells. So are at most as many pictures as
    tracks are seen, or were seen shortly before.

    Attributes:
        search: The search; its tracks are known once all faces were read.
    """

    def __init__(self, search: FaceSearch, rows: RowsOnTheWay):
        """Nothing is read yet.

        Args:
            search: The search, of a video whose pictures are searched as they are.
            rows: Which rows are wanted.
        """
        self.search = search
        self._rows = rows
        self._taken: dict[int, array.array[int]] = {}

    def frames_of(self, track: int) -> list[int]:
        """Numbers of the frames in which a track was given, ascending."""
        return self._taken.get(track, array.array("i")).tolist()

    def faces(self) -> Iterator[FaceToCut]:
        """The faces; those of a track by ascending frame.

        Raises:
            VideoError: If the file is gone.
            OtherFramesError: If the video has other frames than have times.
        """
        held: dict[int, FaceToCut] = {}
        for frame in self.search.frames():
            for track, pick in frame.followed:
                here = FaceToCut(
                    track,
                    frame.number,
                    frame.picture,
                    frame.faces.boxes[pick],
                    frame.faces.points[pick],
                )
                before = held.pop(track, None)
                held[track] = here
                for number in self._rows.see(track, frame.number):
                    if number == frame.number:
                        yield self._given(held.pop(track))
                    elif before is not None:
                        yield self._given(before)
            for track in self._rows.ended(frame.number):
                yield self._given(held.pop(track))
        for track in self._rows.left():
            yield self._given(held.pop(track))

    def _given(self, face: FaceToCut) -> FaceToCut:
        self._taken.setdefault(face.track, array.array("i")).append(face.frame)
        return face
