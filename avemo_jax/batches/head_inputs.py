"""Inputs of a head: the features of its sets, or the extractors' own outputs."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from avemo_jax.data.store.table import FeatureSet, FrameTable


def input_dims(feature_sets: Sequence[FeatureSet], inputs: str) -> tuple[int, ...]:
    """Number of columns that a head gets from each feature set.

    Args:
        feature_sets: The head's feature sets, in order.
        inputs: "features", or "outputs": the visual extractors' own logits (and
            valence, arousal).

    Raises:
        ValueError: If outputs are asked for and a set has none.
    """
    if inputs == "features":
        return tuple(one.dim for one in feature_sets)
    without = [
        f"{one.name} ({one.kind})"
        for one in feature_sets
        if one.kind != "visual" or not one.output_dim
    ]
    if without:
        raise ValueError(
            f"config.data.inputs is {inputs!r} and the store has no outputs of "
            f"{', '.join(without)}; expected visual sets with their extractor's own "
            "outputs; leave these sets out, extract them with outputs, or set "
            "config.data.inputs='features'"
        )
    return tuple(one.output_dim for one in feature_sets)


def inputs_of(table: FrameTable, inputs: str) -> Float[np.ndarray, "rows dim"]:
    """The columns of ``table`` that a head sees: float16 features or float32 outputs.

    Args:
        table: Rows of a split.
        inputs: "features", or "outputs" of the extractors.

    Raises:
        ValueError: If outputs are asked for and a set has none, or the table's columns
            are not those of its feature sets.
    """
    dims = input_dims(table.feature_sets, inputs)
    found = table.features if inputs == "features" else table.outputs
    if found is None or found.shape[1] != sum(dims):
        raise ValueError(
            f"{inputs} of {table.split} have "
            f"{'no' if found is None else found.shape[1]} columns; expected "
            f"{sum(dims)}, as its feature sets say; build the store again"
        )
    return found
