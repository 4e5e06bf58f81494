"""The recurrent head: gated means over the frames so far, or over both directions.

Each block is the residual block of Griffin (De et al., "Griffin: Mixing Gated Linear
Recurrences with Local Attention for Efficient Language Models", 2024) around the
recurrence of minGRU (Feng et al., "Were RNNs All We Needed?", 2024), whose gates depend
on the input alone, so that all frames are computed at once.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from avemo_jax.heads.joint import outputs_of
from avemo_jax.heads.layers import LayerNorm, Linear, Mode, Start
from avemo_jax.heads.matmul import accumulator
from avemo_jax.heads.spec import HeadKind, HeadSpec

# Frames over which the units' states fade to 1 / e at the start: a tenth of a second to
# ten seconds at 30 frames/s, evenly in the logarithm.
SHORTEST, LONGEST = 3.0, 300.0
_TINY = 1e-15  # a weight below it is none; its square is a number in float32

# What is carried from one frame to the next: (sequences, units) each.
State = tuple[Float[Array, "sequences units"], Float[Array, "sequences units"]]
# The same at every frame.
Sums = tuple[
    Float[Array, "sequences frames units"], Float[Array, "sequences frames units"]
]


def weighted_sums(
    gate: Float[Array, "sequences frames units"],
    value: Float[Array, "sequences frames units"],
    mask: Bool[Array, "sequences frames"] | None,
    state: State | None = None,
    *,
    backwards: bool = False,
) -> Sums:
    """Sums of the values so far, and of their weights, both fading, at every frame.

    With ``z = sigmoid(gate)`` both follow ``h[t] = (1 - z[t]) h[t-1] + z[t] v[t]``,
    ``v`` being the value for the sum and 1 for the weight. A factor that underflows
    becomes 0, which is what it is then: nothing divides by one.

    Args:
        gate: Logits of how much of a frame enters.
        value: What enters.
        mask: True where a frame is there; others leave both sums as they are. None: all
            are there.
        state: Both sums before the first frame. None: zeros.
        backwards: Whether the sums run from the last frame to the first.
    """
    keep, enter = jax.nn.sigmoid(-gate), jax.nn.sigmoid(gate)
    if mask is not None:
        there = mask[..., None]
        keep, enter = jnp.where(there, keep, 1), jnp.where(there, enter, 0)
        value = jnp.where(there, value, 0)
    total = enter * value
    if state is not None:
        total = total.at[:, 0].add(keep[:, 0] * state[0])
        enter = enter.at[:, 0].add(keep[:, 0] * state[1])

    def joined(first: Any, second: Any) -> Any:
        (before, *sums), (keep, total, weight) = first, second
        return before * keep, keep * sums[0] + total, keep * sums[1] + weight

    _, total, weight = jax.lax.associative_scan(
        joined, (keep, total, enter), reverse=backwards, axis=1
    )
    return total, weight


class Recurrence(nnx.Module):
    """A mean of the frames so far for each unit, in which late frames count more.

    minGRU's state is such a mean but for the zero that it starts from, which a unit
    that fades slowly shows for seconds. Divided by the sum of the weights it is one
    from the first frame on, in a window as in a long video.
    """

    def __init__(self, dim: int, *, dtype: jnp.dtype, start: Start):
        self.gate = Linear(dim, dim, dtype=dtype, start=start)
        self.value = Linear(dim, dim, dtype=dtype, start=start)
        # The biases of a Linear start uniform in +-1 / sqrt(inputs); here so that a
        # state fades over SHORTEST to LONGEST frames where the rest of the gate is 0.
        place = self.gate.bias[...] * math.sqrt(dim)
        middle = math.sqrt(SHORTEST * LONGEST)
        frames = middle * jnp.exp(place * math.log(LONGEST / middle))
        self.gate.bias[...] = jnp.log(jnp.expm1(1 / frames))

    def __call__(
        self,
        x: Float[Array, "sequences frames dim"],
        mask: Bool[Array, "sequences frames"] | None,
        state: State | None,
        *,
        backwards: bool,
    ) -> tuple[Float[Array, "sequences frames dim"], State]:
        """The mean at every frame, in float32 or better, and the state at the last."""
        gate, value = self.gate(x, last=True), self.value(x, last=True)
        total, weight = weighted_sums(gate, value, mask, state, backwards=backwards)
        mean = total / jnp.maximum(weight, _TINY)
        return mean, (total[:, -1], weight[:, -1])


class Block(nnx.Module):
    """Recurrence and feed-forward part, each of normalised frames, added to them."""

    def __init__(self, spec: HeadSpec, *, start: Start):
        self.dtype = jnp.dtype(spec.dtype)
        dim = spec.model_dim
        how: dict[str, Any] = {"dtype": self.dtype, "start": start}
        self.causal = spec.causal
        self.norm1 = LayerNorm(dim, dtype=self.dtype)
        self.forwards = Recurrence(dim, **how)
        if not spec.causal:
            self.backwards = Recurrence(dim, **how)
        ways = 1 if spec.causal else 2
        self.branch = Linear(dim, ways * dim, **how)
        self.mixed = Linear(ways * dim, dim, **how)
        self.norm2 = LayerNorm(dim, dtype=self.dtype)
        self.linear1 = Linear(dim, spec.ffn_dim, **how)
        self.linear2 = Linear(spec.ffn_dim, dim, **how)

    def __call__(
        self,
        x: Float[Array, "sequences frames dim"],
        mode: Mode,
        state: State | None,
    ) -> tuple[Float[Array, "sequences frames dim"], State]:
        """The frames after this block, and the state of its forward recurrence."""
        normed = self.norm1(x)
        mean, state = self.forwards(normed, mode.mask, state, backwards=False)
        if not self.causal:
            later, _ = self.backwards(normed, mode.mask, None, backwards=True)
            mean = jnp.concatenate([mean, later], axis=-1)
        mean = mean * jax.nn.silu(self.branch(normed, last=True))
        x = x + mode.drop(self.mixed(mean.astype(self.dtype)))
        hidden = jax.nn.relu(self.linear1(self.norm2(x)))
        return x + mode.drop(self.linear2(hidden)), state


class Recurrent(nnx.Module):
    """Projection of the features, blocks, and the outputs of each frame."""

    def __init__(self, spec: HeadSpec, *, start: Start):
        dtype, dim = jnp.dtype(spec.dtype), spec.model_dim
        self.dtype, self.dim = dtype, dim
        self.project = Linear(spec.input_dim, dim, dtype=dtype, start=start)
        self.norm = LayerNorm(dim, dtype=dtype)
        self.blocks = nnx.Dict(
            {str(i): Block(spec, start=start) for i in range(spec.num_layers)}
        )
        self.last_norm = LayerNorm(dim, dtype=dtype)
        self.fc = Linear(dim, spec.num_outputs, dtype=dtype, start=start)

    def __call__(
        self, x: Float[Array, "sequences frames dim"], mode: Mode
    ) -> Float[Array, "sequences frames outputs"]:
        """Logits of each frame; without meaning where the mask is False."""
        return self.advance(x, mode, (None,) * len(self.blocks))[0]

    def advance(
        self,
        x: Float[Array, "sequences frames dim"],
        mode: Mode,
        state: tuple[State | None, ...],
    ) -> tuple[Float[Array, "sequences frames outputs"], tuple[State, ...]]:
        """Logits of the next frames of each sequence, and the state after them.

        Args:
            x: Features of the frames.
            mode: How the pass is run.
            state: What each block has after the frames before; None: there are none.
        """
        x = mode.drop(self.norm(self.project(x)))
        after = []
        for i, before in enumerate(state):
            x, own = self.blocks[str(i)](x, mode, before)
            after.append(own)
        return self.fc(self.last_norm(x), last=True), tuple(after)

    def first_state(self, sequences: int) -> tuple[State, ...]:
        """The state of each block before any frame: zeros."""
        nothing = jnp.zeros((sequences, self.dim), accumulator(self.dtype))
        return ((nothing, nothing),) * len(self.blocks)


RECURRENT = HeadKind(
    Recurrent,
    sequence=lambda spec: "windows",
    carries=lambda spec: spec.causal,
    part=outputs_of("fc"),
)
