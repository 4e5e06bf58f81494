"""A tiny network of another package, which tells faces of the coloured film apart."""

import contextlib
import importlib
import pathlib
import sys
from collections.abc import Iterator

import pytest

from avemo_jax.prediction import networks, weights_at_hand
from made.coloured_faces import ByColour
from made.plugins import install

NAME = "colours"
_CHANGES = """
takes = ImageInput(size_px=16, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
outputs = ("angry", "happy", "valence", "arousal")

def apply(params, x):
    # The red face is angry, the blue one happy; both in the middle of the crop.
    rgb = x[:, 4:12, 4:12].mean((1, 2))
    red, blue = rgb[:, :1], rgb[:, 2:]
    logits = jnp.concatenate([8 * (red - blue), 8 * (blue - red)], 1)
    return params["scale"] * red, jnp.concatenate([logits, blue - red, red], 1)
"""


@contextlib.contextmanager
def colour_network(folder: pathlib.Path) -> Iterator[str]:
    """Its name, as a model; faces are found by their colours, without weights.

    Args:
        folder: Gets the network's package.
    """
    site = folder / "site"
    site.mkdir()
    install(site, NAME, _CHANGES)
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        patch.setattr(networks, "load_face_detector", ByColour)
        facts = {"name": "by colour"}
        patch.setattr(networks, "detector_facts", lambda interval_s: facts)
        patch.setattr(weights_at_hand, "_is_there", lambda name: True)
        yield NAME
    for name in set(sys.modules) - before:
        if str(site) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
    importlib.invalidate_caches()
