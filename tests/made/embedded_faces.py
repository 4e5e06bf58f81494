"""Faces of an input with made features, as prediction gets them."""

from collections.abc import Mapping, Sequence

import numpy as np

from avemo_jax.extraction.face_tracks import FaceTrack
from avemo_jax.prediction.embedded_face import EmbeddedFace


def made_track(frames: Sequence[int]) -> FaceTrack:
    """A face that drifts to the right."""
    frame = np.array(frames, np.int32)
    boxes = np.stack([frame, frame * 0 + 20, frame * 0 + 50, frame * 0 + 60], axis=1)
    points = np.zeros((len(frame), 5, 2)) + frame[:, None, None]
    scores = np.full(len(frame), 0.9, np.float32)
    return FaceTrack(
        frame,
        boxes.astype(np.float32),
        points.astype(np.float32),
        scores,
        np.ones(len(frame), bool),
    )


def embedded_face(
    track: Sequence[int],
    *,
    face_id: int = 1,
    frame: Sequence[int] | None = None,
    features: Mapping[str, np.ndarray] | None = None,
    outputs: Mapping[str, np.ndarray] | None = None,
    has_audio: np.ndarray | None = None,
) -> EmbeddedFace:
    """A face; ``frame`` are the embedded ones, None: all of the track."""
    own = np.array(track if frame is None else frame, np.int32)
    return EmbeddedFace(
        face_id,
        made_track(track),
        own,
        {n: np.asarray(v, np.float16) for n, v in (features or {}).items()},
        {n: np.asarray(v, np.float32) for n, v in (outputs or {}).items()},
        np.ones(len(own), bool) if has_audio is None else has_audio,
    )
