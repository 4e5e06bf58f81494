"""Packages with extractors, as pip would have installed them."""

import pathlib
import textwrap

from avemo_jax.extractors.plugins import GROUP

# An extractor's module; what a test wants otherwise goes before "MADE".
MODULE = """
import jax.numpy as jnp
import numpy as np
from avemo_jax.extractors import ImageInput, PluginExtractor, SoundInput

name, dim, framework, outputs, needs = "{name}", 4, "jax", (), False
takes = ImageInput(size_px=16)

def load(weights):
    return {{"scale": np.float32([[1, 2, 3, 4]])}}

def apply(params, x):
    return x.reshape(len(x), -1).mean(1, keepdims=True) * params["scale"]

{changes}
MADE = PluginExtractor(name, dim=dim, takes=takes, licence="MIT", load=load,
    apply=apply, framework=framework, outputs=outputs, needs_weights=needs)
"""


def install(
    site: pathlib.Path,
    name: str,
    changes: str = "",
    *,
    module: str | None = None,
    version: str = "0.1",
    distribution: str | None = None,
    value: str | None = None,
) -> pathlib.Path:
    """A package whose one entry point is ``name``.

    Args:
        site: A folder that Python looks into.
        name: Of the entry point and of the extractor.
        changes: Lines of the module, which make the extractor another one.
        module: Its whole text, instead.
        version: Of the package.
        distribution: The package's name; None: of the extractor's.
        value: Of the entry point; None: the right one.
    """
    dist = distribution or f"avemo-{name}"
    place = dist.replace("-", "_")
    info = site / f"{place}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {dist}\nVersion: {version}\n"
    )
    found = value or f"{place}:MADE"
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{name} = {found}\n")
    text = MODULE.format(name=name, changes=textwrap.dedent(changes))
    (site / f"{place}.py").write_text(module or text)
    return site
