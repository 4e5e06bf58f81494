"""The face detector with its weights, and the facts that decide what it finds."""

import hashlib
import json
import os
from typing import Any

from avemo_jax.embed.weights import WeightsError, network_weights
from avemo_jax.faces import detection, detector, keyframes, second_look, tracks
from avemo_jax.faces.detector import FaceDetector
from avemo_jax.faces.published import DETECTOR

# Raised whenever boxes, points, tracks or crops of the same pictures come out otherwise
# by a change that no setting tells.
DETECTION_VERSION = 5
# The settings that earlier versions lacked (None) or had otherwise. Whoever raises the
# version, or changes a setting, adds how the one before differs from the new one.
_PATCHES = ("sharp_long_side_px", "patch_px", "patch_face_px", "patch_gain")
_RIVALS = ("unsure_gap_s", "rival_share")
EARLIER_VERSIONS: dict[int, dict[str, float | None]] = {
    1: dict.fromkeys((*_PATCHES, "patch_overlap", *_RIVALS)),
    2: dict.fromkeys(_RIVALS),
    3: dict.fromkeys(_RIVALS),
    4: dict.fromkeys(_RIVALS),
}


def load_face_detector(
    weights: str | os.PathLike[str] | None = None,
) -> FaceDetector:
    """The face detector, ready to run.

    Args:
        weights: A ``.safetensors`` that ``avemo convert yunet_n`` wrote; None: the one
            that ``avemo fetch yunet_n`` keeps in the cache directory.

    Raises:
        WeightsError: If the file is missing, damaged, or holds another network's
            weights; the message says how to get them.
    """
    tensors, _ = network_weights(DETECTOR.name, weights)
    try:
        return FaceDetector(tensors)
    except ValueError as error:
        raise WeightsError(
            f"{weights or 'the fetched weights'}: {error}; convert the published file "
            f"again with 'avemo fetch {DETECTOR.name} --overwrite'"
        ) from error


def detector_facts(
    weights: str | os.PathLike[str] | None = None,
    *,
    interval_s: float = keyframes.INTERVAL_S,
) -> dict[str, Any]:
    """All that decides which faces are found in the same pictures, for files to keep.

    ``name``, ``weights_sha256`` (of the tensors), ``settings``, ``version``, and
    ``fingerprint``, the sha256 of these four.

    Args:
        weights: The detector's file of weights; None: the one that is fetched.
        interval_s: Seconds between two frames of those that are always detected; 0:
            every frame is detected.

    Raises:
        WeightsError: If the file is missing, damaged, or holds another network's
            weights.
    """
    facts = {
        "name": DETECTOR.name,
        "weights_sha256": network_weights(DETECTOR.name, weights)[1],
        "settings": {
            "long_side_px": detector.LONG_SIDE_PX,
            "sharp_long_side_px": detector.SHARP_LONG_SIDE_PX,
            "patch_px": second_look.PATCH_PX,
            "patch_face_px": second_look.FACE_PX,
            "patch_gain": second_look.MIN_GAIN,
            "patch_overlap": second_look.MIN_OVERLAP,
            "min_score": detection.MIN_SCORE,
            "max_overlap": detection.MAX_OVERLAP,
            "max_faces": detection.MAX_FACES,
            "interval_s": float(interval_s),
            "agreeing_overlap": keyframes.AGREEING_OVERLAP,
            "high_score": tracks.HIGH_SCORE,
            "track_overlap": tracks.MIN_OVERLAP,
            "longest_gap_s": tracks.LONGEST_GAP_S,
            "unsure_gap_s": tracks.UNSURE_GAP_S,
            "rival_share": tracks.RIVAL_SHARE,
            "cut_change": tracks.CUT_CHANGE,
        },
        "version": DETECTION_VERSION,
    }
    return {**facts, "fingerprint": _fingerprint(facts)}


def earlier_fingerprints(
    weights: str | os.PathLike[str] | None = None,
    *,
    interval_s: float = keyframes.INTERVAL_S,
) -> dict[int, str]:
    """By which fingerprints earlier versions are known, by version.

    Args:
        weights: The detector's file of weights, as in :func:`detector_facts`.
        interval_s: Seconds between two frames of those that are always detected.

    Raises:
        WeightsError: If the file is missing, damaged, or holds another network's
            weights.
    """
    facts = detector_facts(weights, interval_s=interval_s)
    del facts["fingerprint"]
    found = {}
    for version, others in EARLIER_VERSIONS.items():
        settings = {
            name: value
            for name, value in (facts["settings"] | others).items()
            if value is not None
        }
        earlier = facts | {"version": version, "settings": settings}
        found[version] = _fingerprint(earlier)
    return found


def _fingerprint(facts: dict[str, Any]) -> str:
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
