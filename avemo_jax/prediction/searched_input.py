"""An input whose faces are embedded while they are searched, in one decoding."""

import functools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Float, Int

from avemo_jax.extraction.face_crops import CropKind, FaceCrop, cut_ahead
from avemo_jax.extraction.face_tracks import Detect, FaceSearch, OtherFramesError
from avemo_jax.extraction.searched_crops import SearchedFaces
from avemo_jax.faces.keyframes import FrameFaces
from avemo_jax.prediction.frame_choice import StridedOnTheWay
from avemo_jax.prediction.input_faces import InputFaces, InputPart, Search
from avemo_jax.prediction.stage_times import StageTimes


class SearchJob:
    """The faces of an input, to be embedded while they are searched.

    Attributes:
        part: The part of the input that is looked at.
    """

    def __init__(
        self,
        part: InputPart,
        detect: Detect,
        search: Search,
        every: int,
        *,
        progress: Callable[[int], None] = lambda frames: None,
    ):
        """Nothing is read yet.

        Args:
            part: The part of the input that is looked at.
            detect: Finds the faces of pictures.
            search: How they are searched; all are taken.
            every: Frames from one that is embedded to the next.
            progress: Called with the number of frames that were searched since the last
                call.
        """
        self.part = part
        self._detect = detect
        self._search = FaceSearch(
            part.pictures,
            self._timed,
            part.times.times_s,
            interval_s=search.interval_s,
            progress=progress,
        )
        rows = StridedOnTheWay(every, part.times.times_s)
        self._faces = SearchedFaces(self._search, rows)
        self._has_other_frames = False

    @property
    def is_possible(self) -> bool:
        """Whether pictures are searched as they are, so that faces can be cut out."""
        return self._search.sees_all_pixels

    @property
    def name(self) -> str:
        """Name of the input."""
        return self.part.input.name

    @property
    def stages(self) -> StageTimes:
        """Counts the time that is taken."""
        return self.part.stages

    def crops(
        self, kinds: Sequence[CropKind], template: Float[np.ndarray, "5 2"]
    ) -> Iterator[FaceCrop]:
        """The crops of all faces, as they are found.

        Args:
            kinds: The kinds of crops of each row.
            template: Where the five points come in aligned crops.

        Raises:
            ValueError: If the input cannot be read.
            OSError: If a file is gone.
        """
        try:
            timed = functools.partial(self.stages.stage, "crop")
            faces = self._faces.faces()
            yield from cut_ahead(faces, kinds, template=template, timed=timed)
        except OtherFramesError:
            if self.part.is_sure:
                raise
            self._has_other_frames = True

    def order(self) -> list[int]:
        """The tracks of the crops, the face of most frames first."""
        return self._search.order()

    def holds(self) -> bool:
        """Whether the times by which faces were searched were right."""
        return not self._has_other_frames and self.part.holds()

    def found(self) -> InputFaces:
        """The input with its faces, once all crops were read."""
        return self.part.with_faces(self._search.tracks(), "all")

    def took(self, numbers: Sequence[Int[np.ndarray, " _"]]) -> bool:
        """Whether these frames of each face were cut out, and no other.

        Args:
            numbers: Numbers of the frames of each face within the part, ascending.
        """
        taken = [self._faces.frames_of(track) for track in self.order()]
        return taken == [own.tolist() for own in numbers]

    def _timed(self, pictures: Sequence[np.ndarray]) -> list[FrameFaces]:
        with self.stages.stage("detect"):
            return self._detect(pictures)
