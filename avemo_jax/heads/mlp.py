"""Frame-wise heads: one layer, the plain MLP, and two forms of the VA MLP."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from avemo_jax.heads.joint import outputs_of
from avemo_jax.heads.layers import Branch, Linear, Mode, Start
from avemo_jax.heads.spec import HeadKind, HeadSpec


class LinearHead(nnx.Module):
    """One layer from the inputs, after dropout, to the task's outputs."""

    def __init__(self, spec: HeadSpec, *, start: Start):
        self.dtype = jnp.dtype(spec.dtype)
        self.fc = Linear(
            spec.input_dim, spec.num_outputs, dtype=self.dtype, start=start
        )

    def __call__(
        self, x: Float[Array, "*batch dim"], mode: Mode
    ) -> Float[Array, "*batch outputs"]:
        """Logits of each frame (valence and arousal before the tanh)."""
        return self.fc(mode.drop(x.astype(self.dtype)), last=True)


class Mlp(nnx.Module):
    """Linear, ReLU, dropout, Linear: for all tasks, for VA in the form "plain"."""

    def __init__(self, spec: HeadSpec, *, start: Start):
        dtype = jnp.dtype(spec.dtype)
        self.fc1 = Linear(spec.input_dim, spec.mlp_dim, dtype=dtype, start=start)
        self.fc2 = Linear(spec.mlp_dim, spec.num_outputs, dtype=dtype, start=start)

    def __call__(
        self, x: Float[Array, "*batch dim"], mode: Mode
    ) -> Float[Array, "*batch outputs"]:
        """Logits of each frame."""
        hidden = mode.drop(jax.nn.relu(self.fc1(x)))
        return self.fc2(hidden, last=True)


class VaMlp(nnx.Module):
    """Valence and arousal from two branches.

    "affine": both are Linear, BatchNorm, dropout, Linear. "shared": valence goes
    through the wide ``feat_fc`` and has a LeakyReLU before its BatchNorm.
    """

    def __init__(self, spec: HeadSpec, *, start: Start):
        dtype = jnp.dtype(spec.dtype)
        dim, hidden = spec.input_dim, spec.mlp_dim
        self.shared = spec.va_form == "shared"
        if self.shared:
            self.feat_fc = Linear(dim, spec.feat_dim, dtype=dtype, start=start)
            self.vhead = Branch(
                spec.feat_dim,
                hidden,
                1,
                positions=("0", "2", "3"),
                leaky=True,
                dtype=dtype,
                start=start,
            )
        else:
            self.vhead = Branch(dim, hidden, 1, dtype=dtype, start=start)
        self.ahead = Branch(dim, hidden, 1, dtype=dtype, start=start)

    def __call__(
        self, x: Float[Array, "*batch dim"], mode: Mode
    ) -> Float[Array, "*batch 2"]:
        """Valence and arousal of each frame, before the tanh."""
        wide = self.feat_fc(x) if self.shared else x
        return jnp.concatenate([self.vhead(wide, mode), self.ahead(x, mode)], axis=-1)


def _mlp(spec: HeadSpec, *, start: Start) -> Mlp | VaMlp:
    branches = spec.task == "VA" and spec.va_form != "plain"
    return VaMlp(spec, start=start) if branches else Mlp(spec, start=start)


MLP = HeadKind(_mlp, part=outputs_of("fc2"))
LINEAR = HeadKind(LinearHead, part=outputs_of("fc"))
