"""Cross-attention: over windows of frames, face and sound attend to each other."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from avemo_jax.heads.gated import Gate, Projection
from avemo_jax.heads.joint import outputs_of
from avemo_jax.heads.layers import Linear, Mode, Start
from avemo_jax.heads.positions import learned_positions, with_positions
from avemo_jax.heads.spec import AUDIO, VISUAL, HeadKind, HeadSpec
from avemo_jax.heads.transformer import EncoderLayer, check_width


class CrossAttention(nnx.Module):
    """Two streams of frames that attend to each other, weighed by a gate at the end.

    Frames without sound are no keys for the face and have no share in the result, so
    that a window without sound is scored from its faces, each by itself.
    """

    def __init__(self, spec: HeadSpec, *, start: Start):
        dtype, dim = jnp.dtype(spec.dtype), spec.model_dim
        self.dtype, self.kind_of_positions = dtype, spec.positions
        self.face = Projection(spec, VISUAL, dim, start=start)
        self.sound = Projection(spec, AUDIO, dim, start=start)
        if (learned := learned_positions(spec, start)) is not None:
            self.positions = learned
        names = [str(i) for i in range(spec.num_layers)]
        self.to_sound = nnx.Dict({i: EncoderLayer(spec, start=start) for i in names})
        self.to_face = nnx.Dict({i: EncoderLayer(spec, start=start) for i in names})
        self.gate = Gate(dim, dtype=dtype, start=start)
        self.fc = Linear(dim, spec.num_outputs, dtype=dtype, start=start)

    def __call__(
        self, x: Float[Array, "windows frames dim"], mode: Mode
    ) -> Float[Array, "windows frames outputs"]:
        """Logits of each frame; without meaning where the mask is False."""
        assert mode.there is not None  # Head.apply gives it, as the kind asks for it
        there = mode.there
        keys = {name: _and(one, mode.mask) for name, one in there.items()}
        face = self._placed(self.face(x, there))
        sound = self._placed(self.sound(x, there))
        for i in range(len(self.to_sound)):
            face, sound = (
                self.to_sound[str(i)](face, mode, sound, keys[AUDIO]),
                self.to_face[str(i)](sound, mode, face, keys[VISUAL]),
            )
        fused = self.gate(_kept(face, there[VISUAL]), _kept(sound, there[AUDIO]), there)
        return self.fc(mode.drop(fused), last=True)

    def _placed(self, x: Array) -> Array:
        learned = getattr(self, "positions", None)
        table = None if learned is None else learned[...]
        return with_positions(x, self.kind_of_positions, table, self.dtype)


def _and(there: Array, mask: Array | None) -> Array:
    return there if mask is None else there & mask


def _kept(x: Array, there: Array) -> Array:
    """``x``, 0 where the frame lacks this modality."""
    return jnp.where(there[..., None], x, 0)


CROSS_ATTENTION = HeadKind(
    CrossAttention,
    sequence=lambda spec: "windows",
    check=check_width,
    part=outputs_of("fc"),
    by_modality=True,
)
