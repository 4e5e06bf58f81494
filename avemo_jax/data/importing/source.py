"""The source of an import: which frames of which videos it has, and their vectors."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Int

from avemo_jax.data.records import MAX_FRAME, VideoFeatures
from avemo_jax.extractors.contract import Column


@dataclasses.dataclass(frozen=True)
class ImportSource:
    """The videos of a source with their frames; vectors are read one video at a time.

    Attributes:
        form: What kind of file or folder it is, in words.
        dim: Length of a vector.
        output_dim: Columns of the extractor's own outputs; 0: none.
        frames: Frame number of each row (from 1), by video; for sound at its native
            rate, the number of each hop.
        numbered: Whether the source tells the numbers; if not, row i is frame i + 1.
        read: Gives a video's rows, in the order of ``frames``.
        close: Closes files and frees room on disk.
        columns: Name and unit of each number of a vector; empty: they have no meaning
            of their own.
        notes: Remarks for people, such as which files were ignored.
    """

    form: str
    dim: int
    output_dim: int
    frames: Mapping[str, Int[np.ndarray, " _"]]
    numbered: bool
    read: Callable[[str], VideoFeatures]
    close: Callable[[], None] = lambda: None
    columns: tuple[Column, ...] = ()
    notes: tuple[str, ...] = ()


def counted(
    frame: Int[np.ndarray, " rows"], first_frame: int, where: str
) -> Int[np.ndarray, " rows"]:
    """Official frame numbers (from 1) of numbers that a source gives.

    Args:
        frame: The source's numbers.
        first_frame: The number that the source gives to a video's first frame: 1 or 0.
        where: The place that errors name.

    Raises:
        ValueError: If an official number is out of range.
    """
    found = frame.astype(np.int64) + (1 - first_frame)
    if len(found) and (found.min() < 1 or found.max() > MAX_FRAME):
        wrong = frame.min() if found.min() < 1 else frame.max()
        instead = "correct the numbers"
        if wrong == 0 and first_frame == 1:
            instead = "it counts from 0: pass --first-frame 0"
        raise ValueError(
            f"{where}: frame {wrong}; expected numbers from {first_frame}, the first, "
            f"to {MAX_FRAME}: {instead}"
        )
    return found.astype(np.int32)


def check_vectors(features: Any, dim: int | None, where: str) -> Any:
    """``features``, after a check that they are rows of ``dim`` numbers.

    Args:
        features: An array, in memory or in a file.
        dim: Length of a vector; None: any.
        where: The place that errors name.

    Raises:
        ValueError: If they are not.
    """
    good = features.ndim == 2 and features.dtype.kind in "fiu" and features.shape[1]
    good = good and len(features) <= MAX_FRAME
    if not good or dim not in (None, features.shape[1]):
        raise ValueError(
            f"{where} is {features.dtype} of shape {features.shape}; expected numbers "
            f"of shape (frames, {'dim' if dim is None else dim}), as the others, of at "
            f"most {MAX_FRAME} frames: extract this video again, or leave it out"
        )
    return features


def narrowed(features: np.ndarray, dtype: str, where: str) -> np.ndarray:
    """``features`` in a narrower type; NaN and infinities stay what they are.

    Raises:
        ValueError: If a finite value is too large for the type.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        cast = features.astype(dtype)
    lost = np.isinf(cast) & np.isfinite(features)
    if lost.any():
        row, column = np.argwhere(lost)[0]
        wider = "" if dtype == "float32" else "pass --dtype float32, or "
        raise ValueError(
            f"{where} and later: {features[row, column]:g} in column {column}; "
            f"expected values that {dtype} holds: {wider}scale the features"
        )
    return cast
