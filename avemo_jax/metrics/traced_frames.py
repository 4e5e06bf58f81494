"""How frames on devices become sets: all as one, or those of each video."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

_BLOCK = 256  # frames added up at a time: a running float32 sum loses digits


class AllFrames:
    """All frames are one set."""

    def total(self, values: Shaped[Array, "frames ..."]) -> Shaped[Array, "..."]:
        """Sum over all frames, of float32 block by block."""
        if values.dtype == bool:
            return values.sum(axis=0, dtype=jnp.int32)
        padding = [(0, -len(values) % _BLOCK)] + [(0, 0)] * (values.ndim - 1)
        blocks = jnp.pad(values, padding).reshape(-1, _BLOCK, *values.shape[1:])
        # The barrier keeps the compiler from making one long sum of the two.
        return jax.lax.optimization_barrier(blocks.sum(axis=1)).sum(axis=0)

    def least(self, values: Float[Array, "frames ..."]) -> Float[Array, "..."]:
        """Least value of all frames."""
        return values.min(axis=0, initial=jnp.inf)

    def by_frame(self, values: Float[Array, "..."]) -> Float[Array, "..."]:
        """The values as they are: they fit every frame."""
        return values

    def confusion(
        self,
        labels: Int[Array, " frames"],
        predicted: Int[Array, " frames"],
        counted: Bool[Array, " frames"],
        num_classes: int,
    ) -> Int[Array, "classes classes"]:
        """Number of at most 2 ** 24 frames by label and prediction."""
        classes = jnp.arange(num_classes)
        truth = (labels[:, None] == classes) & counted[:, None]
        guess = predicted[:, None] == classes
        # A product of zeros and ones in float32 counts exactly up to 2 ** 24.
        counts = truth.astype(jnp.float32).T @ guess.astype(jnp.float32)
        return counts.astype(jnp.int32)


@dataclasses.dataclass(frozen=True)
class VideoFrames:
    """The frames of each video are a set.

    Attributes:
        videos: Index of each frame's video, never falling.
        num_videos: Number of videos, those without a frame included.
    """

    videos: Int[Array, " frames"]
    num_videos: int

    def total(self, values: Shaped[Array, "frames ..."]) -> Shaped[Array, "videos ..."]:
        """Sum over the frames of each video, of float32 block by block."""
        if values.dtype == bool:
            whole = values.astype(jnp.int32)
            return jax.ops.segment_sum(whole, self.videos, self.num_videos)
        # Both terms never fall: each pair of block and video has a number of its own.
        blocks = jnp.arange(len(self.videos)) // _BLOCK + self.videos
        num_blocks = len(self.videos) // _BLOCK + self.num_videos + 1
        owner = jax.ops.segment_max(self.videos, blocks, num_blocks)
        sums = jax.ops.segment_sum(values, blocks, num_blocks)
        # A block without frames has an owner out of range, and its sum is dropped.
        return jax.ops.segment_sum(sums, owner, self.num_videos)

    def least(self, values: Float[Array, "frames ..."]) -> Float[Array, "videos ..."]:
        """Least value in each video, infinite where it has no frame."""
        return jax.ops.segment_min(values, self.videos, self.num_videos)

    def by_frame(
        self, values: Float[Array, "videos ..."]
    ) -> Float[Array, "frames ..."]:
        """The values of each frame's video."""
        return values[self.videos]

    def confusion(
        self,
        labels: Int[Array, " frames"],
        predicted: Int[Array, " frames"],
        counted: Bool[Array, " frames"],
        num_classes: int,
    ) -> Int[Array, "videos classes classes"]:
        """Number of each video's frames by label and prediction."""
        zeros = jnp.zeros((self.num_videos, num_classes, num_classes), jnp.int32)
        cells = zeros.at[self.videos, jnp.where(counted, labels, 0), predicted]
        return cells.add(counted.astype(jnp.int32))
