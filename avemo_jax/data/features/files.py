"""Feature files, one per video and set: our ``.npz`` and the original's ``.npy``.

``FEATURES/NAME/VIDEO.npz`` holds ``frame`` int32, ``features`` float16 or float32
(frames, dim), optionally ``outputs`` float32, and ``meta`` (JSON text). The original's
are ``KIND/VIDEO.npy``, a pickled dict ``VIDEO/00001.jpg`` -> vector.
"""

import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from jaxtyping import Int

from avemo_jax.data.features.original_npy import read_original_npy
from avemo_jax.data.features.writer import FeatureFileWriter
from avemo_jax.data.records import MAX_FRAME, VideoFeatures
from avemo_jax.runtime.array_files import damage_told, opened_npz, read_entry, read_npz
from avemo_jax.runtime.json_files import parsed

_KEY = re.compile(r"(?:(.*)[/\\])?(\d+)\.(?:jpg|jpeg|png)")
_FIELDS = {"frame", "features", "outputs", "meta"}
_EXPECTED = (
    "expected a .npz with frame, features and meta (JSON text): extract this video "
    "again"
)


def write_feature_file(
    path: str | os.PathLike[str],
    features: VideoFeatures,
    meta: Mapping[str, Any],
    *,
    dtype: Literal["float16", "float32"] = "float16",
) -> None:
    """Write ``path`` whole or not at all: beside it, synced, then renamed.

    Args:
        path: ``FEATURES/NAME/VIDEO.npz``.
        features: Rows with ascending frame numbers and finite vectors.
        meta: At least ``fingerprint`` (str); also ``kind`` ("visual" or "audio"),
            ``source``, ``checksums``.
        dtype: Type of the stored vectors.

    Raises:
        ValueError: If there is no fingerprint, frames do not ascend from 1, or a value
            is not finite (after the cast).
    """
    output_dim = 0 if features.outputs is None else features.outputs.shape[1]
    with FeatureFileWriter(
        path, dim=features.features.shape[1], output_dim=output_dim, dtype=dtype
    ) as writer:
        writer.append(features.frame, features.features, features.outputs)
        writer.finish(meta)


def read_feature_file(
    path: str | os.PathLike[str],
) -> tuple[VideoFeatures, dict[str, Any]]:
    """The rows and the meta of a ``.npz`` file, unchanged. No pickle is read.

    Raises:
        ValueError: If the file is damaged, or fields, shapes or dtypes are wrong.
    """
    path = pathlib.Path(path)
    arrays = read_npz(path, expected=_EXPECTED)
    with damage_told(path, _EXPECTED):
        meta = parsed(str(arrays.get("meta", "null")))
    shapes = {name: (a.dtype.name, a.shape) for name, a in arrays.items()}
    rows = shapes.get("frame", ("", (0,)))[1][:1]
    good = (
        {"frame", "features", "meta"} <= set(arrays) <= _FIELDS
        and arrays["frame"].dtype == np.int32
        and arrays["frame"].ndim == 1
        and arrays["features"].dtype in (np.float16, np.float32)
        and arrays["features"].ndim == 2
        and arrays["features"].shape[:1] == rows
        and isinstance(meta, dict)
        and isinstance(meta.get("fingerprint"), str)
    )
    if good and "outputs" in arrays:
        outputs = arrays["outputs"]
        good = outputs.dtype == np.float32 and outputs.ndim == 2
        good = good and outputs.shape[:1] == rows
    if not good:
        raise ValueError(
            f"{path} holds {shapes}; expected frame int32 (frames,), features float16 "
            "or float32 (frames, dim), optionally outputs float32 (frames, n), and "
            "meta, a JSON object with a fingerprint: extract this video again"
        )
    rows_of = VideoFeatures(arrays["frame"], arrays["features"], arrays.get("outputs"))
    return rows_of, meta


def read_frame_numbers(path: pathlib.Path) -> Int[np.ndarray, " rows"]:
    """The frame numbers of a feature file's rows, as they stand there.

    Of a ``.npz`` nothing else is read.

    Raises:
        ValueError: If the file is damaged.
    """
    if path.suffix != ".npz":
        return read_original_file(path).frame
    with opened_npz(path, expected=_EXPECTED) as archive:
        frame = read_entry(archive, "frame.npy")
        if frame.dtype != np.int32 or frame.ndim != 1:
            raise ValueError(f"frame {frame.dtype.name} of shape {frame.shape}")
        return frame


def read_original_file(path: str | os.PathLike[str]) -> VideoFeatures:
    """The rows of one of the original's ``.npy`` files, in the order of its keys.

    Raises:
        ValueError: If a key is malformed or names another video, the vectors disagree
            in length, or there are none.
        RefusedPickleError: If it holds more than numpy arrays and plain containers.
    """
    path = pathlib.Path(path)
    vectors = read_original_npy(path)
    frames = []
    shapes: dict[tuple[tuple[int, ...], str], str] = {}
    for key, vector in vectors.items():
        match = _KEY.fullmatch(key)
        number = 0 if match is None else int(match[2])
        of_video = match is not None and match[1] in (None, path.stem)
        if not of_video or not 1 <= number <= MAX_FRAME:
            raise ValueError(
                f"{path}: key {key!r:.80}; expected '{path.stem}/00001.jpg', counted "
                f"from 1 to {MAX_FRAME} at most: rename the file or extract this video "
                "again"
            )
        frames.append(number)
        shapes.setdefault((vector.shape, vector.dtype.kind), key)
    if len(shapes) != 1 or any(len(s) != 1 or k != "f" for s, k in shapes):
        raise ValueError(
            f"{path}: vectors of shape "
            f"{', '.join(f'{s} ({key})' for (s, _), key in shapes.items()) or 'none'}; "
            "expected one float vector a frame, all of one length: extract this video "
            "again"
        )
    features = np.stack(list(vectors.values())).astype(np.float32)
    return VideoFeatures(np.array(frames, np.int32), features)


def clean_rows(
    raw: VideoFeatures, *, where: str
) -> tuple[VideoFeatures, dict[str, int]]:
    """Rows that a store may hold, and how many had to be mended.

    Rows are put in ascending order. A frame that is there twice with the same values
    is kept once; a row with a NaN or infinity is left out.

    Args:
        raw: Rows that were read from a file.
        where: The place that errors name.

    Returns:
        The rows, and those counts that are not 0, named ``nonfinite_rows``,
        ``duplicate_rows`` and ``unsorted_rows``.

    Raises:
        ValueError: If two rows of one frame differ, or a frame number is below 1 or
            above ``MAX_FRAME``.
    """
    counts: dict[str, int] = {}
    finite = np.isfinite(raw.features).all(axis=1)
    if raw.outputs is not None:
        finite &= np.isfinite(raw.outputs).all(axis=1)
    steps = np.diff(raw.frame)
    for number in (raw.frame.min(), raw.frame.max()) if len(raw.frame) else ():
        if not 1 <= number <= MAX_FRAME:
            raise ValueError(
                f"{where}: frame number {number}; expected 1 to {MAX_FRAME}: extract "
                "this video again"
            )
    if finite.all() and (steps > 0).all():
        return raw, counts
    counts["nonfinite_rows"] = int((~finite).sum())
    counts["unsorted_rows"] = int((steps < 0).sum())
    order = np.argsort(raw.frame, kind="stable")
    order = order[finite[order]]
    frame, features = raw.frame[order], raw.features[order]
    outputs = None if raw.outputs is None else raw.outputs[order]
    again = np.flatnonzero(np.diff(frame) == 0) + 1
    for i in again:
        same = (features[i] == features[i - 1]).all()
        if outputs is not None:
            same = same and (outputs[i] == outputs[i - 1]).all()
        if not same:
            raise ValueError(
                f"{where}: frame {frame[i]} is there twice with different values; "
                "expected each frame once: extract this video again"
            )
    counts["duplicate_rows"] = len(again)
    keep = np.ones(len(frame), bool)
    keep[again] = False
    outputs = None if outputs is None else outputs[keep]
    counts = {name: count for name, count in counts.items() if count}
    return VideoFeatures(frame[keep], features[keep], outputs), counts
