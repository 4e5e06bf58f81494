"""Networks of pictures: their parameters, and the function that embeds pixels."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from avemo_jax.embed import identity
from avemo_jax.embed.contract import check_count, check_float32
from avemo_jax.extractors import Extractor, dinov2, efficientnet, hog


class ImageNetwork(NamedTuple):
    """What an extractor of pictures runs.

    Attributes:
        params: Its parameters, {} without any.
        embed: Called as ``embed(params, pixels)``, gives features and outputs of
            normalised pixels (batch, size, size, 3).
        settings: What decides its numbers beside weights, size and precision.
    """

    params: Any
    embed: Callable[[Any, jax.Array], tuple[jax.Array, jax.Array]]
    settings: Mapping[str, Any] = {}


def image_network(
    extractor: Extractor,
    tensors: Mapping[str, np.ndarray] | None,
    *,
    size_px: int,
    dtype: str,
) -> ImageNetwork:
    """The network of an extractor, for pictures of one size.

    Args:
        extractor: The extractor's entry in the table.
        tensors: Weights by the names in its published files; None: it has none.
        size_px: Side of the pictures.
        dtype: Precision of the arithmetic.

    Raises:
        ValueError: If the network does not take this size or precision.
        WeightsError: If the tensors are not those of this network.
    """
    made = next(m for k, m in _MAKERS.items() if extractor.network.startswith(k))
    return made(extractor, tensors or {}, size_px, dtype)


def _efficientnet(
    extractor: Extractor, tensors: Mapping[str, np.ndarray], size_px: int, dtype: str
) -> ImageNetwork:
    check_count(extractor, "size_px", size_px, efficientnet.MIN_SIZE_PX)
    spec = efficientnet.EfficientNetSpec(
        extractor.network.removeprefix("efficientnet_"), extractor.output_dim
    )
    identity.check_tensors(extractor, tensors, efficientnet.state_shapes(spec))
    return ImageNetwork(
        efficientnet.prepare(spec, tensors),
        lambda params, x: efficientnet.apply(spec, params, x, dtype=dtype),
    )


def _dinov2(
    extractor: Extractor, tensors: Mapping[str, np.ndarray], size_px: int, dtype: str
) -> ImageNetwork:
    spec = dinov2.dinov2_spec(extractor)
    spec.patches(size_px)
    identity.check_tensors(extractor, tensors, dinov2.state_shapes(spec))
    return ImageNetwork(
        dinov2.prepare(spec, tensors, size_px=size_px),
        lambda params, x: _alone(dinov2.apply(spec, params, x, dtype=dtype)),
    )


def _hog(
    extractor: Extractor, tensors: Mapping[str, np.ndarray], size_px: int, dtype: str
) -> ImageNetwork:
    del tensors
    check_count(extractor, "size_px", size_px, hog.MIN_SIZE_PX)
    check_float32(extractor.name, dtype)
    return ImageNetwork({}, lambda _, x: _alone(hog.apply(x)), {"cells": hog.CELLS})


def _alone(features: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Features of a network that has no outputs of its own."""
    return features, features[:, :0]


# By the beginnings of networks' names.
_MAKERS = {"efficientnet": _efficientnet, "dinov2": _dinov2, "hog": _hog}
