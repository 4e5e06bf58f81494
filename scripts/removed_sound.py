"""A store as if a share of its videos had no sound."""

import dataclasses
import math
from collections.abc import Collection, Mapping

import numpy as np

from avemo_jax.data.corpus.splits import base_video
from avemo_jax.data.store.store import Store
from avemo_jax.data.store.vectors import Packed

_SEED = 0


class QuietStore(Store):
    """A store on disk, some of whose recordings have no vectors of sound.

    Their frames have what frames without sound have anywhere: zeros, and an audio flag
    of 0. Labels, faces and all other videos are as they were.
    """

    def __init__(self, store: Store, videos: Collection[str]) -> None:
        """The ``store`` without sound of ``videos`` and of their recordings' others."""
        super().__init__(store.path, store._metadata)
        self._quiet = {base_video(video) for video in videos}

    def frames(self, name: str) -> Mapping[str, np.ndarray]:
        """Numbers of the frames that the set ``name`` has vectors of, by video."""
        found = super().frames(name)
        if self.feature_sets[name].kind != "audio":
            return found
        return {v: f for v, f in found.items() if base_video(v) not in self._quiet}

    def _packed(self, name: str) -> Packed:
        """The files of one set; the examples in them are of all videos."""
        frames = super().frames(name)
        return dataclasses.replace(super()._packed(name), frames=frames)


def drawn_videos(videos: Collection[str], share: float) -> list[str]:
    """A share of the videos, whole recordings, the same in every call.

    Args:
        videos: Names of subject-videos; faces of one recording are drawn together.
        share: Share of the recordings, in [0, 1], rounded up to a whole number.
    """
    recordings = sorted({base_video(video) for video in videos})
    count = math.ceil(share * len(recordings))
    drawn = np.random.default_rng(_SEED).permutation(recordings)[:count].tolist()
    return sorted(video for video in videos if base_video(video) in drawn)
