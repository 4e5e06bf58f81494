"""The gate against its definition, written out in numpy."""

import jax
import numpy as np
from made.compiled_heads import apply, init

from avemo_jax.heads import HeadSpec, build_head


def test_gate_is_its_definition():
    spec = HeadSpec("EXPR", "gated", (4, 3), ("visual", "audio"), mlp_dim=5)
    head = build_head(spec)
    params, stats = init(head)
    x = np.random.default_rng(0).normal(size=(7, 7)).astype(np.float32)
    x[4:, 4:] = 0  # without sound
    found, _ = apply(head, params, stats, x)

    def units(part, columns):
        return np.tanh(columns @ part["fc"]["weight"].T + part["fc"]["bias"])

    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    face, sound = units(p["face"], x[:, :4]), units(p["sound"], x[:, 4:])
    both = np.concatenate([face, sound], axis=1)
    gate = 1 / (
        1 + np.exp(-(both @ p["gate"]["fc"]["weight"].T + p["gate"]["fc"]["bias"]))
    )
    fused = (1 - gate) * face + gate * sound
    fused[4:] = face[4:]
    expected = fused @ p["fc"]["weight"].T + p["fc"]["bias"]
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-6)
