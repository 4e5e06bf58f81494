"""How far seeds disagree on a frame's class, and whether that tells its errors."""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int


def disagreement(
    by_seed: Int[np.ndarray, "seeds frames"], decided: Int[np.ndarray, " frames"]
) -> Float[np.ndarray, " frames"]:
    """Share of the seeds whose own class is another than the decided one.

    Args:
        by_seed: Class of each frame by each seed alone.
        decided: The class that is decided for each frame.
    """
    return np.asarray((by_seed != decided).mean(axis=0))


def told_errors(
    shares: Float[np.ndarray, " frames"], right: Bool[np.ndarray, " frames"]
) -> dict[str, Any]:
    """Whether frames on which seeds disagree are those that are decided wrongly.

    Args:
        shares: What :func:`disagreement` gives of each frame.
        right: Whether the frame's decided class is right.

    Returns:
        ``right`` and ``wrong``: the mean share of such frames; ``auroc``: how probably
        a wrong frame has a larger share than a right one, equal ones counting half,
        so that 0.5 tells nothing. None where there is no such frame. ``num_right`` and
        ``num_wrong``: how many frames there are.
    """
    good, bad = shares[right], shares[~right]
    area = None
    if len(good) and len(bad):
        values, index = np.unique(shares, return_inverse=True)
        of_good, of_bad = (
            np.bincount(index[kind], minlength=len(values)) for kind in (right, ~right)
        )
        below = np.cumsum(of_good) - of_good / 2
        area = float((below * of_bad).sum() / (len(good) * len(bad)))
    return {
        "right": float(good.mean()) if len(good) else None,
        "wrong": float(bad.mean()) if len(bad) else None,
        "auroc": area,
        "num_right": len(good),
        "num_wrong": len(bad),
    }
