"""Cross-attention: over windows of frames, face and sound attend to each other."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from avemo_jax.heads.gated import Gate, Projection
from avemo_jax.heads.joint import outputs_of
from avemo_jax.heads.layers import Attention, LayerNorm, Linear, Mode, Start
from avemo_jax.heads.positions import learned_positions, with_positions
from avemo_jax.heads.spec import AUDIO, VISUAL, HeadKind, HeadSpec
from avemo_jax.heads.transformer import check_width


class CrossLayer(nnx.Module):
    """One modality's frames attend to the other's; then a feed-forward part.

    Each is added and then normalised, as in the Transformer's encoder layers.
    """

    def __init__(self, spec: HeadSpec, *, start: Start):
        dtype, dim = jnp.dtype(spec.dtype), spec.model_dim
        self.attention = Attention(dim, spec.num_heads, dtype=dtype, start=start)
        self.linear1 = Linear(dim, spec.ffn_dim, dtype=dtype, start=start)
        self.linear2 = Linear(spec.ffn_dim, dim, dtype=dtype, start=start)
        self.norm1 = LayerNorm(dim, dtype=dtype)
        self.norm2 = LayerNorm(dim, dtype=dtype)

    def __call__(
        self,
        x: Float[Array, "windows frames dim"],
        other: Float[Array, "windows frames dim"],
        there: Bool[Array, "windows frames"],
        mode: Mode,
    ) -> Float[Array, "windows frames dim"]:
        """The frames of ``x`` after this layer.

        Args:
            x: One modality's frames.
            other: The other modality's frames.
            there: True where a frame of ``other`` is there; others are not attended to.
            mode: Drops values in training.
        """
        attended = self.attention(x, mode, other, there)
        x = self.norm1(x + mode.drop(attended))
        hidden = mode.drop(jax.nn.relu(self.linear1(x)))
        return self.norm2(x + mode.drop(self.linear2(hidden)))


class CrossAttention(nnx.Module):
    """Two streams of frames through the layers, weighed by a gate at the end.

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
        self.to_sound = nnx.Dict({i: CrossLayer(spec, start=start) for i in names})
        self.to_face = nnx.Dict({i: CrossLayer(spec, start=start) for i in names})
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
                self.to_sound[str(i)](face, sound, keys[AUDIO], mode),
                self.to_face[str(i)](sound, face, keys[VISUAL], mode),
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
