"""FaceExpressionNet of face-api.js (MIT) as a network of another package.

Its published weights are read from the folder that ``EXPRESSION_WEIGHTS`` names.
"""

import json
import os
import pathlib
from collections.abc import Mapping

import jax
import numpy as np

from avemo_jax.extractors import ImageInput, PluginExtractor

NAME = "face_expression"
FOLDER = "EXPRESSION_WEIGHTS"
OUTPUTS = ("neutral", "happy", "sad", "angry", "fearful", "disgusted", "surprised")
_MEAN = (122.782, 117.001, 104.298)


def load(weights: object) -> Mapping[str, np.ndarray]:
    """The tensors of the published files."""
    del weights
    folder = pathlib.Path(os.environ[FOLDER])
    manifest = folder / "face_expression_model-weights_manifest.json"
    data = (folder / "face_expression_model.bin").read_bytes()
    (group,) = json.loads(manifest.read_text("utf-8"))
    params, start = {}, 0
    for tensor in group["weights"]:
        shape, quantised = tuple(tensor["shape"]), tensor.get("quantization")
        dtype = np.uint8 if quantised else np.float32
        count = int(np.prod(shape))
        values = np.frombuffer(data, dtype, count, start).astype(np.float32)
        start += count * np.dtype(dtype).itemsize
        if quantised:
            values = values * quantised["scale"] + quantised["min"]
        params[tensor["name"]] = values.reshape(shape).astype(np.float32)
    assert start == len(data)
    return params


def apply(params: Mapping[str, jax.Array], x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The 256 features before the last layer, and its logits."""
    for block in range(4):
        x = _block(params, f"dense{block}", x)
    features = x.mean((1, 2))  # 7 x 7
    return features, features @ params["fc/weights"] + params["fc/bias"]


def _block(params: Mapping[str, jax.Array], name: str, x: jax.Array) -> jax.Array:
    total = jax.nn.relu(_convolved(params, f"{name}/conv0", x, 2))
    out = total
    for layer in (1, 2, 3):
        out = total if layer == 1 else jax.nn.relu(total)
        total = total + _convolved(params, f"{name}/conv{layer}", out, 1)
    return jax.nn.relu(total)


def _convolved(
    params: Mapping[str, jax.Array], name: str, x: jax.Array, stride: int
) -> jax.Array:
    """A convolution, or one of each channel and then one of 1 x 1."""
    whole = params.get(f"{name}/filters")
    if whole is not None:
        x = _conv(x, whole, stride)
    else:
        each = params[f"{name}/depthwise_filter"]
        channels = each.shape[2]
        x = _conv(x, each.reshape(3, 3, 1, channels), stride, groups=channels)
        x = _conv(x, params[f"{name}/pointwise_filter"], 1)
    return x + params[f"{name}/bias"]


def _conv(x: jax.Array, kernel: jax.Array, stride: int, groups: int = 1) -> jax.Array:
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


MADE = PluginExtractor(
    NAME,
    dim=256,
    takes=ImageInput(
        size_px=112,
        mean=tuple(channel / 255 for channel in _MEAN),
        std=(1.0, 1.0, 1.0),
    ),
    licence="MIT",
    load=load,
    apply=apply,
    framework="jax",
    outputs=OUTPUTS,
    needs_weights=False,
)
