"""Gated fusion: face and sound projected, and weighed unit by unit, frame by frame."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from avemo_jax.heads.joint import outputs_of
from avemo_jax.heads.layers import Linear, Mode, Start
from avemo_jax.heads.matmul import accumulator
from avemo_jax.heads.modalities import modality_dim, take_modality
from avemo_jax.heads.spec import AUDIO, VISUAL, HeadKind, HeadSpec


class Projection(nnx.Module):
    """One modality's columns brought to a common width: Linear and tanh."""

    def __init__(self, spec: HeadSpec, modality: str, width: int, *, start: Start):
        dtype = jnp.dtype(spec.dtype)
        self.spec, self.modality, self.dtype = spec, modality, dtype
        dim = modality_dim(spec, modality)
        self.fc = Linear(dim, width, dtype=dtype, start=start)

    def __call__(
        self, x: Float[Array, "*batch dim"], there: Mapping[str, Bool[Array, "*batch"]]
    ) -> Float[Array, "*batch width"]:
        """The units of each frame; 0 where the frame lacks this modality.

        Whatever stands in the columns of such a frame has no part in the result.
        """
        own = there[self.modality][..., None]
        columns = jnp.where(own, take_modality(self.spec, x, self.modality), 0)
        return jnp.where(own, jnp.tanh(self.fc(columns, last=True)), 0).astype(
            self.dtype
        )


class Gate(nnx.Module):
    """Face and sound weighed: for each unit a share of sound, that both decide.

    The bimodal case of Arevalo et al., "Gated Multimodal Units for Information Fusion"
    (2017), equation 3, with shares of exactly 0 for what a frame lacks. There the gate
    sees the columns, here the projected units of both.
    """

    def __init__(self, width: int, *, dtype: jnp.dtype, start: Start):
        self.fc = Linear(2 * width, width, dtype=dtype, start=start)
        self.dtype = dtype

    def __call__(
        self,
        face: Float[Array, "*batch width"],
        sound: Float[Array, "*batch width"],
        there: Mapping[str, Bool[Array, "*batch"]],
    ) -> Float[Array, "*batch width"]:
        """The weighted sum of both; one alone where the other is missing.

        Args:
            face: Units of each frame, 0 where it has no face.
            sound: Units of each frame, 0 where it has no sound.
            there: Which frames have "visual" and which "audio" features.
        """
        both = jnp.concatenate([face, sound], axis=-1)
        share = jax.nn.sigmoid(self.fc(both, last=True))
        has_face, has_sound = there[VISUAL][..., None], there[AUDIO][..., None]
        share = jnp.where(has_sound, jnp.where(has_face, share, 1), 0)
        wide = accumulator(self.dtype)
        fused = (1 - share) * face.astype(wide) + share * sound.astype(wide)
        return fused.astype(self.dtype)


class Gated(nnx.Module):
    """Both modalities projected, weighed by the gate, and the outputs of the sum."""

    def __init__(self, spec: HeadSpec, *, start: Start):
        dtype, width = jnp.dtype(spec.dtype), spec.mlp_dim
        self.face = Projection(spec, VISUAL, width, start=start)
        self.sound = Projection(spec, AUDIO, width, start=start)
        self.gate = Gate(width, dtype=dtype, start=start)
        self.fc = Linear(width, spec.num_outputs, dtype=dtype, start=start)

    def __call__(
        self, x: Float[Array, "*batch dim"], mode: Mode
    ) -> Float[Array, "*batch outputs"]:
        """Logits of each frame (valence and arousal before the tanh)."""
        assert mode.there is not None  # Head.apply gives it, as the kind asks for it
        face, sound = self.face(x, mode.there), self.sound(x, mode.there)
        return self.fc(mode.drop(self.gate(face, sound, mode.there)), last=True)


GATED = HeadKind(Gated, part=outputs_of("fc"), by_modality=True)
