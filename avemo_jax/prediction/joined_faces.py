"""Faces of several scenes that are likely one person's, joined."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from avemo_jax.extraction.face_tracks import FaceTrack, joined
from avemo_jax.faces.scenes import join_scenes
from avemo_jax.prediction.embedding import FaceRows
from avemo_jax.prediction.input_faces import InputFaces


def same_people(
    tracks: Sequence[FaceTrack], rows: Sequence[FaceRows]
) -> list[list[int]]:
    """Which faces are one person's, the one that is shown the longest first.

    Args:
        tracks: The faces.
        rows: What was embedded of each.
    """
    if not tracks:
        return []
    dim = max((len(one.mean) for one in rows if one.mean is not None), default=1)
    means = np.full((len(tracks), dim), np.nan)
    for mean, one in zip(means, rows, strict=True):
        if one.mean is not None:
            mean[:] = one.mean
    return join_scenes([track.frame for track in tracks], means)


def with_joined(found: InputFaces, groups: Sequence[Sequence[int]]) -> InputFaces:
    """An input with some of the faces that are taken joined.

    Args:
        found: The input.
        groups: Indices of the faces of each person, who is shown the longest first.
    """
    tracks = tuple(joined([found.tracks[i] for i in group]) for group in groups)
    taken = {id(track) for track in found.tracks}
    others = [track for track in found.all_tracks if id(track) not in taken]
    return dataclasses.replace(
        found,
        tracks=tracks,
        all_tracks=tuple(
            sorted([*tracks, *others], key=lambda t: (-len(t.frame), int(t.frame[0])))
        ),
        is_joined=tuple(len(group) > 1 for group in groups),
    )
