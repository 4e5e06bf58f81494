"""Faces of several scenes joined to one person, where they look much alike.

A cut ends all tracks, so a person whom a film shows again and again has many. The mean
embedding of an expression network tells people apart to some extent, though it was not
trained to: what is joined by it is uncertain.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

# Cosine of two mean embeddings from which on they count as one person. On clips of six
# people, 24 frames a piece, a small trained expression network gives pieces of two
# people .52 in the median and .94 at most, and two pieces of one person .69: as much
# depends on the expression, so few are joined, and those are right. It is not measured
# with the networks of published models.
MIN_COSINE = 0.95


def join_scenes(
    frames: Sequence[Int[np.ndarray, " _"]],
    means: Float[np.ndarray, "tracks dim"],
    *,
    min_cosine: float = MIN_COSINE,
) -> list[list[int]]:
    """Which tracks are one person, by how much alike their mean embeddings are.

    Pairs are taken by falling cosine. Two groups become one if their means, weighted by
    frames, are alike enough too, and no tracks of the two overlap in time, from first
    to last frame: whoever is seen at the same time stays apart.

    Args:
        frames: Numbers of the frames of each track, ascending.
        means: Mean embedding of each track; a row of NaN is like nothing, such as that
            of a track without an embedded frame.
        min_cosine: What counts as alike enough, -1 to 1; over 1 joins nothing.

    Returns:
        Indices of the tracks of each person, ascending: who has most frames comes
        first, and of as many the one who is seen first.

    Raises:
        ValueError: If there are more or fewer means than tracks, or a track is empty.
    """
    if len(frames) != len(means) or not all(map(len, frames)):
        raise ValueError(
            f"{len(means)} mean embeddings of {len(frames)} tracks of "
            f"{[len(f) for f in frames]} frames; expected one of each track, and no "
            "empty track; leave empty ones out"
        )
    weights = np.array([len(f) for f in frames], float)
    spans = [np.array([[f[0], f[-1]]]) for f in frames]
    sums = _unit(means) * weights[:, None]
    groups = {i: [i] for i in range(len(frames))}
    group_of = list(groups)
    for i, j in _alike(means, min_cosine):
        a, b = group_of[i], group_of[j]
        if a == b or _overlap(spans[a], spans[b]).any():
            continue
        ours, theirs = _unit(sums[[a, b]])
        if ours @ theirs < min_cosine:
            continue
        sums[a] += sums[b]
        spans[a] = np.concatenate([spans[a], spans[b]])
        for track in groups[b]:
            group_of[track] = a
        groups[a] += groups.pop(b)
    return sorted(
        (sorted(group) for group in groups.values()),
        key=lambda g: (-weights[g].sum(), min(int(frames[i][0]) for i in g), g),
    )


def _alike(
    means: Float[np.ndarray, "tracks dim"], min_cosine: float
) -> list[tuple[int, int]]:
    """Pairs of rows whose cosine is this or more, the most alike first."""
    unit = _unit(means)
    pairs = []
    for i, row in enumerate(unit[:-1]):
        cosines = unit[i + 1 :] @ row
        near = np.flatnonzero(cosines >= min_cosine)  # NaN is not
        pairs += [(-float(cosines[k]), i, i + 1 + int(k)) for k in near]
    return [(i, j) for _, i, j in sorted(pairs)]


def _overlap(
    a: Int[np.ndarray, "spans 2"], b: Int[np.ndarray, "others 2"]
) -> Bool[np.ndarray, "spans others"]:
    """Whether each span of frames has frames of each of the others."""
    return (a[:, None, 0] <= b[None, :, 1]) & (b[None, :, 0] <= a[:, None, 1])


def _unit(rows: Float[np.ndarray, "rows dim"]) -> Float[np.ndarray, "rows dim"]:
    """The rows, each of length 1; NaN where a row is 0."""
    rows = np.asarray(rows, np.float64)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 0, length, np.nan)
