"""Which feature sets are layers of one network; told by their names, without JAX."""

import re
from collections.abc import Sequence

from avemo_jax.extractors import EXTRACTORS

_LAYER = re.compile(r"-layer\d+$")


def layer_groups(features: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """Which feature sets are layers of one network, made of the same input.

    Args:
        features: Names of a head's feature sets, in order; "EXTRACTOR@INPUT-layerN"
            is a hidden layer, and "EXTRACTOR@INPUT" the last.

    Returns:
        The places of the sets of each network of which there are several.
    """
    found: dict[tuple[str, str], list[int]] = {}
    for place, name in enumerate(features):
        extractor, _, given = name.partition("@")
        if not given and extractor in EXTRACTORS:
            given = EXTRACTORS[extractor].default_input
        found.setdefault((extractor, _LAYER.sub("", given)), []).append(place)
    return tuple(tuple(places) for places in found.values() if len(places) > 1)
