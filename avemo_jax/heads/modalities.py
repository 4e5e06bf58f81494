"""Which columns of a head's input are of the face and which of the sound."""

import itertools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from avemo_jax.heads.spec import AUDIO, VISUAL, HeadSpec


def modality_dim(spec: HeadSpec, modality: str) -> int:
    """How many columns the sets of a modality, "visual" or "audio", have together."""
    return int(columns_of(spec, modality).sum())


def columns_of(spec: HeadSpec, modality: str) -> Bool[np.ndarray, " dim"]:
    """True for the columns of one modality's sets; the audio flag is of no set.

    Args:
        spec: A head whose ``set_kinds`` are known.
        modality: "visual" or "audio".
    """
    kinds = np.repeat(np.asarray(spec.set_kinds), spec.dims)
    return np.append(kinds, [""] * spec.audio_flag) == modality


def take_modality(
    spec: HeadSpec, x: Float[Array, "*batch dim"], modality: str
) -> Float[Array, "*batch columns"]:
    """The columns of one modality's sets, side by side in their order.

    Args:
        spec: A head whose ``set_kinds`` are known.
        x: Inputs of the head.
        modality: "visual" or "audio".
    """
    ends = tuple(itertools.accumulate(spec.dims))
    parts = [
        x[..., end - dim : end]
        for kind, dim, end in zip(spec.set_kinds, spec.dims, ends, strict=True)
        if kind == modality
    ]
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis=-1)


def modalities_there(
    spec: HeadSpec, x: Float[Array, "*batch dim"]
) -> dict[str, Bool[Array, "*batch"]]:
    """True where a frame has features of the face, and where it has some of the sound.

    What is missing is stored as zeros, so a modality is there where a column of it is
    not 0; and sound only where the audio flag, if the head has one, says so too.

    Args:
        spec: A head whose ``set_kinds`` are known.
        x: Inputs of the head, not standardised.

    Returns:
        The two masks by modality.
    """
    there = {
        modality: (take_modality(spec, x, modality) != 0).any(axis=-1)
        for modality in (VISUAL, AUDIO)
    }
    if spec.audio_flag:
        there[AUDIO] = there[AUDIO] & (x[..., -1] > 0)
    return there
