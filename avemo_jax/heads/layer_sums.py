"""Hidden layers of one network as one feature set: their sum, with trained weights.

So use Yang et al., "SUPERB: Speech processing Universal PERformance Benchmark" (2021),
frozen networks: the softmax of one weight for each layer gives its share of the sum.
Before, a layer is brought to mean 0 and variance 1 over its columns, frame by frame, as
their program does where it is asked to normalise: layers differ much in size, so that
shares would say little otherwise.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from avemo_jax.heads.layers import NORM_EPSILON
from avemo_jax.heads.matmul import accumulator
from avemo_jax.heads.spec import HeadSpec

LAYERS = "layer_weights"  # in the parameters: {number of the sum: (layers,)}


def first_weights(spec: HeadSpec) -> dict[str, Any]:
    """Parameters of sums with equal shares; {} for a head without any."""
    if not spec.layer_sums:
        return {}
    groups = enumerate(spec.layer_sums)
    return {LAYERS: {str(i): jnp.zeros(len(group)) for i, group in groups}}


def layers_summed(
    spec: HeadSpec, weights: Mapping[str, Array], x: Float[Array, "*batch dim"]
) -> Float[Array, "*batch columns"]:
    """The columns that the head behind the sums sees.

    Each sum has the place of its first layer; other sets, and the audio flag, stay as
    they are. What is missing is stored as zeros, and stays 0.

    Args:
        spec: A head with sums.
        weights: The weights of each sum, by its number.
        x: Inputs of the head, of all its feature sets.
    """
    x = x.astype(accumulator(x.dtype))
    ends = [sum(spec.dims[: i + 1]) for i in range(len(spec.dims))]
    parts = [x[..., end - dim : end] for end, dim in zip(ends, spec.dims, strict=True)]
    for i, group in enumerate(spec.layer_sums):
        shares = jax.nn.softmax(weights[str(i)].astype(x.dtype))
        total = jnp.zeros_like(parts[group[0]])
        for share, place in zip(shares, group, strict=True):
            total += share * _normalised(parts[place])
        parts[group[0]] = total
    dropped = {place for group in spec.layer_sums for place in group[1:]}
    kept = [part for place, part in enumerate(parts) if place not in dropped]
    return jnp.concatenate([*kept, x[..., ends[-1] :]], axis=-1)


def _normalised(
    layer: Float[Array, "*batch columns"],
) -> Float[Array, "*batch columns"]:
    away = layer - layer.mean(axis=-1, keepdims=True)
    variance = jnp.square(away).mean(axis=-1, keepdims=True)
    return away * jax.lax.rsqrt(variance + NORM_EPSILON)
