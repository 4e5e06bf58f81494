"""Frame-wise heads: the MLP of EXPR and AU, and the two forms of the VA MLP."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from avemo_jax.heads.layers import LEAKY_SLOPE, BatchNorm, Linear, Mode
from avemo_jax.heads.spec import HeadSpec


class Mlp(nnx.Module):
    """Linear, ReLU, dropout, Linear: for EXPR and AU."""

    def __init__(self, spec: HeadSpec, *, rngs: nnx.Rngs):
        dtype = jnp.dtype(spec.dtype)
        self.fc1 = Linear(spec.input_dim, spec.mlp_dim, dtype=dtype, rngs=rngs)
        self.fc2 = Linear(spec.mlp_dim, spec.num_outputs, dtype=dtype, rngs=rngs)

    def __call__(
        self, x: Float[Array, "*batch dim"], mode: Mode
    ) -> Float[Array, "*batch outputs"]:
        """Logits of each frame."""
        hidden = mode.drop(jax.nn.relu(self.fc1(x)))
        return self.fc2(hidden, last=True)


class VaMlp(nnx.Module):
    """Valence and arousal from two branches.

    "affine": both are Linear, BatchNorm, dropout, Linear. "shared": valence goes
    through the wide ``feat_fc`` and has a LeakyReLU before its BatchNorm. The branches'
    keys are the positions in the original's sequences.
    """

    def __init__(self, spec: HeadSpec, *, rngs: nnx.Rngs):
        dtype = jnp.dtype(spec.dtype)
        self.shared = spec.va_form == "shared"
        dim, hidden = spec.input_dim, spec.mlp_dim
        if self.shared:
            self.feat_fc = Linear(dim, spec.feat_dim, dtype=dtype, rngs=rngs)
            self.vhead = _branch(spec.feat_dim, hidden, ("0", "2", "3"), dtype, rngs)
        else:
            self.vhead = _branch(dim, hidden, ("0", "1", "2"), dtype, rngs)
        self.ahead = _branch(dim, hidden, ("0", "1", "2"), dtype, rngs)

    def __call__(
        self, x: Float[Array, "*batch dim"], mode: Mode
    ) -> Float[Array, "*batch 2"]:
        """Valence and arousal of each frame, before the tanh."""
        if self.shared:
            hidden = self.vhead["0"](self.feat_fc(x))
            hidden = jax.nn.leaky_relu(hidden, LEAKY_SLOPE)
            hidden = mode.drop(self.vhead["2"](hidden, mode))
            valence = self.vhead["3"](hidden, last=True)
        else:
            valence = self._affine(self.vhead, x, mode)
        return jnp.concatenate([valence, self._affine(self.ahead, x, mode)], axis=-1)

    @staticmethod
    def _affine(branch: nnx.Dict, x: Array, mode: Mode) -> Array:
        hidden = mode.drop(branch["1"](branch["0"](x), mode))
        return branch["2"](hidden, last=True)


def _branch(
    dim: int,
    hidden: int,
    names: tuple[str, str, str],
    dtype: jnp.dtype,
    rngs: nnx.Rngs,
) -> nnx.Dict:
    """Linear, BatchNorm, Linear to one value, under the names given."""
    first, norm, last = names
    return nnx.Dict(
        {
            first: Linear(dim, hidden, dtype=dtype, rngs=rngs),
            norm: BatchNorm(hidden, dtype=dtype),
            last: Linear(hidden, 1, dtype=dtype, rngs=rngs),
        }
    )
