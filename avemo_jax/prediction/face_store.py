"""The faces of an input as a store, so that heads score them as any other videos.

Each face is a video to predict, its frames counted from the first that shows it.
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from avemo_jax.data.store import assembly, layout
from avemo_jax.data.store.assembly import AnnotatedVideo
from avemo_jax.data.store.join import Join
from avemo_jax.data.store.store import Store
from avemo_jax.data.store.table import FeatureSet, FrameTable


@dataclasses.dataclass(frozen=True, eq=False)
class FaceRows:
    """Rows of one face, or of a part of it.

    Attributes:
        video: What the face is called in the store.
        length: Number of frames.
        frame: Numbers of the rows, from 1 to ``length``, ascending.
        features: Vectors of the rows, by full name of the feature set.
        outputs: The extractors' own outputs of the rows, likewise.
        has_audio: Which rows have sound.
    """

    video: str
    length: int
    frame: Int[np.ndarray, " rows"]
    features: Mapping[str, Float[np.ndarray, "rows dim"]]
    outputs: Mapping[str, Float[np.ndarray, "rows outputs"]]
    has_audio: Bool[np.ndarray, " rows"]


class FaceStore(Store):
    """A store to predict, in memory: its videos are faces."""

    def __init__(
        self, faces: Sequence[FaceRows], sets: Sequence[FeatureSet], fps: float
    ):
        """A store of these faces.

        Args:
            faces: The faces, each called otherwise.
            sets: The feature sets that heads take.
            fps: Frames per second of the input.
        """
        plain: dict[str, Any] = {"synthetic": False, "content": ""}
        metadata = {layout.ANNOTATIONS: plain | {"tasks": []}}
        for one in sets:
            metadata[one.name] = plain | dataclasses.asdict(one)
        super().__init__(pathlib.Path("the input"), metadata)
        self._rows = {face.video: face for face in faces}
        # In the place of what a store on disk reads when it is asked first.
        self.__dict__["_annotated"] = {
            face.video: AnnotatedVideo(face.length, fps, face.video, {}, {})
            for face in faces
        }
        for one in sets:
            self._frames[one.name] = {
                face.video: face.frame[self._has(one, face)] for face in faces
            }

    @staticmethod
    def _has(one: FeatureSet, face: FaceRows) -> Bool[np.ndarray, " rows"]:
        """Which rows have a vector of the set; without any, none has sound."""
        if one.kind == "visual":
            return np.ones(len(face.frame), bool)
        return face.has_audio & (one.name in face.features)

    def load(
        self,
        joined: Join,
        *,
        memmap_path: Any = None,
        show_progress: bool = True,
    ) -> FrameTable:
        """The table of the rows of ``joined``, copied from the faces.

        Args:
            joined: The rows, from :meth:`join`.
            memmap_path: Not looked at, since the faces are at hand.
            show_progress: Not looked at, since nothing is waited for.
        """
        del memmap_path, show_progress
        features = np.zeros((joined.rows, joined.dim), np.float16)
        outputs = None
        if joined.output_dim:
            outputs = np.zeros((joined.rows, joined.output_dim), np.float32)
        start = 0
        for video in joined.videos:
            face = self._rows[video.video]
            at = np.flatnonzero(np.isin(face.frame, video.frame, assume_unique=True))
            rows = slice(start, start := start + len(at))
            column, output = 0, 0
            for one in joined.feature_sets:
                columns = slice(column, column := column + one.dim)
                has = self._has(one, face)[at]
                if has.any():
                    vectors = face.features[one.name][at[has]]
                    features[rows, columns][has] = vectors
                if outputs is not None and one.kind == "visual" and one.output_dim:
                    own = slice(output, output := output + one.output_dim)
                    outputs[rows, own] = face.outputs[one.name][at]
        return assembly.assemble(
            joined, self._annotated, features, outputs, fingerprint=self.fingerprint
        )
