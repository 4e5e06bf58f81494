"""A face of an input as networks see it: its rows of features, before any head."""

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float, Int

from avemo_jax.extraction.face_tracks import FaceTrack


@dataclasses.dataclass(frozen=True, eq=False)
class EmbeddedFace:
    """The features of one face in the frames that were embedded.

    Arrays may be memory-mapped: a face may be seen for hours.

    Attributes:
        face_id: 1 for the face that most frames show, then 2, ...
        track: Where the face is, in the frames in which it was found.
        frame: Numbers of the embedded frames, ascending; each is in the track.
        features: Vectors of these frames, float16, by full name of the feature set; of
            sound those of the frame's time.
        outputs: The extractor's own outputs for these frames, float32, by full name of
            the feature set; only sets that have some.
        has_audio: Which of these frames have sound; all, where none is asked for.
        is_merged: Whether it was joined of faces of several scenes that look alike.
    """

    face_id: int
    track: FaceTrack
    frame: Int[np.ndarray, " rows"]
    features: Mapping[str, Float[np.ndarray, "rows dim"]]
    outputs: Mapping[str, Float[np.ndarray, "rows outputs"]]
    has_audio: Bool[np.ndarray, " rows"]
    is_merged: bool = False
