"""Weights that mean nothing, of any network of ours, as files."""

import pathlib
from collections.abc import Mapping

import numpy as np

from avemo_jax.embed.weights import write_weights
from avemo_jax.extractors import Extractor, efficientnet, get_extractor
from avemo_jax.extractors import vggish as vggish_network
from avemo_jax.extractors import wav2vec2 as wav2vec2_network


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


def network_shapes(extractor: Extractor) -> dict[str, tuple[int, ...]]:
    """Names and shapes of its tensors."""
    if extractor.network == "vggish":
        return vggish_network.state_shapes(vggish_network.VggishSpec())
    if extractor.network == "wav2vec2":
        return wav2vec2_network.state_shapes(wav2vec2_network.BASE)
    variant = extractor.network.removeprefix("efficientnet_")
    spec = efficientnet.EfficientNetSpec(variant, extractor.output_dim)
    return efficientnet.state_shapes(spec)


def made_weights(folder: pathlib.Path, name: str, seed: int = 0) -> pathlib.Path:
    """A file of random weights of the extractor called ``name``."""
    path = folder / f"{name}-{seed}.safetensors"
    state = made_state(network_shapes(get_extractor(name)), seed)
    write_weights(path, state, {"extractor": name})
    return path
