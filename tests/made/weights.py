"""Weights that mean nothing, of any network of ours, as files."""

import contextlib
import functools
import pathlib
from collections.abc import Iterator, Mapping

import numpy as np
import pytest

from avemo_jax.embed.weights import write_weights
from avemo_jax.extractors import (
    Extractor,
    dinov2,
    efficientnet,
    efficientnet_spec,
    get_extractor,
)
from avemo_jax.extractors import vggish as vggish_network
from avemo_jax.extractors import wav2vec2 as wav2vec2_network
from avemo_jax.extractors.wav2vec2_spec import SPECS
from avemo_jax.faces import yunet
from avemo_jax.faces.published import DETECTOR


def made_state(shapes: Mapping[str, tuple[int, ...]], seed: int = 0):
    """Random tensors by name, of a scale that lets signals through."""
    rng = np.random.default_rng(seed)
    state = {}
    for name, shape in shapes.items():
        noise = rng.standard_normal(shape, np.float32)
        if name.endswith("running_var") or (
            name.endswith("weight") and len(shape) == 1
        ):
            state[name] = 1 + 0.1 * np.tanh(noise)
        elif len(shape) > 1:
            state[name] = noise * np.float32(np.sqrt(2 / np.prod(shape[1:])))
        else:
            state[name] = 0.1 * noise
    return state


def made_detector(folder: pathlib.Path, seed: int = 0) -> pathlib.Path:
    """A file of random weights of the face detector; what it finds means nothing."""
    path = folder / f"{DETECTOR.name}-{seed}.safetensors"
    write_weights(
        path, made_state(yunet.state_shapes(), seed), {"extractor": DETECTOR.name}
    )
    return path


def network_shapes(extractor: Extractor) -> dict[str, tuple[int, ...]]:
    """Names and shapes of its tensors."""
    if extractor.network == "vggish":
        return vggish_network.state_shapes(vggish_network.VggishSpec())
    if extractor.network in SPECS:
        return wav2vec2_network.state_shapes(SPECS[extractor.network])
    if extractor.network.startswith("dinov2"):
        return dinov2.state_shapes(dinov2.dinov2_spec(extractor))
    variant = extractor.network.removeprefix("efficientnet_")
    spec = efficientnet.EfficientNetSpec(variant, extractor.output_dim)
    return efficientnet.state_shapes(spec)


def made_weights(folder: pathlib.Path, name: str, seed: int = 0) -> pathlib.Path:
    """A file of random weights of the extractor called ``name``."""
    path = folder / f"{name}-{seed}.safetensors"
    state = made_state(network_shapes(get_extractor(name)), seed)
    write_weights(path, state, {"extractor": name})
    return path


@contextlib.contextmanager
def small_networks() -> Iterator[None]:
    """For tests of what surrounds the networks: all of their layers, but narrow ones.

    The embeddings keep their lengths. EfficientNets have one block a stage.
    """
    width = 8
    convolutions = tuple(
        (name, min(inputs, width), width, pooled)
        for name, inputs, _, pooled in vggish_network._CONVOLUTIONS
    )
    linears = (("0", 6 * 4 * width, 32), ("2", 32, 32), ("4", 32, vggish_network.DIM))
    stages = tuple(
        (1, kernel, stride, min(expansion, 2), width)
        for _, kernel, stride, expansion, _ in efficientnet_spec._STAGES
    )
    with contextlib.ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(vggish_network, "_CONVOLUTIONS", convolutions)
        patch.setattr(vggish_network, "_LINEARS", linears)
        patch.setattr(efficientnet_spec, "_STAGES", stages)
        patch.setattr(efficientnet_spec, "_STEM", width)
        # The modules' definitions are kept by their specs, which say no sizes.
        for module in (vggish_network, efficientnet):
            own = functools.cache(module._graphdef.__wrapped__)
            patch.setattr(module, "_graphdef", own)
        yield
