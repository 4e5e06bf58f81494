"""wav2vec 2.0 and WavLM of transformers, with random weights of ours."""

import math
from typing import Any

import numpy as np
import pytest

from avemo_jax.extractors import wav2vec2
from avemo_jax.extractors.wav2vec2 import Wav2Vec2Spec
from reference.torch_libraries import import_transformers


def random_state(spec: Wav2Vec2Spec, seed: int) -> dict[str, np.ndarray]:
    """Weights that keep values near 1 through the network, and norms that matter."""
    rng = np.random.default_rng(seed)
    state = {}
    for name, shape in wav2vec2.state_shapes(spec).items():
        value = rng.standard_normal(shape, np.float32)
        if name.endswith(("weight_g", "norm.weight", "pos_const")):
            value = 1 + 0.2 * value
        elif name.endswith("bias"):
            value = 0.2 * value
        elif len(shape) > 1 and "rel_attn_embed" not in name:
            value = value * np.float32(math.sqrt(1.5 / math.prod(shape[1:])))
        state[name] = value.astype(np.float32)
    return state


def reference(spec: Wav2Vec2Spec, state: dict[str, np.ndarray]) -> Any:
    """transformers' network with these weights, WavLM where the spec has buckets."""
    transformers, torch = import_transformers(), pytest.importorskip("torch")
    kind, more = "Wav2Vec2", {}
    if spec.position_buckets:
        kind = "WavLM"
        more["num_buckets"] = spec.position_buckets
        more["max_bucket_distance"] = spec.max_distance
    config = getattr(transformers, f"{kind}Config")(
        hidden_size=spec.hidden_size,
        num_hidden_layers=spec.num_layers,
        num_attention_heads=spec.num_heads,
        intermediate_size=spec.ffn_dim,
        conv_dim=spec.conv_dims,
        conv_kernel=spec.conv_kernels,
        conv_stride=spec.conv_strides,
        conv_bias=spec.conv_bias,
        feat_extract_norm=spec.feat_extract_norm,
        do_stable_layer_norm=spec.do_stable_layer_norm,
        num_conv_pos_embeddings=spec.pos_kernel,
        num_conv_pos_embedding_groups=spec.pos_groups,
        **more,
    )
    model = getattr(transformers, f"{kind}Model")(config).eval()
    renamed = {
        name.replace("weight_g", "parametrizations.weight.original0").replace(
            "weight_v", "parametrizations.weight.original1"
        ): torch.from_numpy(x)
        for name, x in state.items()
    }
    model.load_state_dict(renamed, strict=True)
    return model


def outputs_of(model: Any, waveform: np.ndarray) -> tuple[np.ndarray, ...]:
    """Hidden states 0 to the last, then the network's output."""
    torch = pytest.importorskip("torch")
    with torch.inference_mode():
        found = model(torch.from_numpy(waveform), output_hidden_states=True)
    return tuple(x.numpy() for x in (*found.hidden_states, found.last_hidden_state))
