"""What decides an extractor's numbers, and its fingerprint."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

import avemo_jax
from avemo_jax.extractors import Extractor
from avemo_jax.weights import WeightsError


def fingerprint(
    extractor: Extractor, tensors_sha256: str, settings: Mapping[str, Any]
) -> str:
    """Sha256 (hex) of all that decides the features but the files themselves.

    Args:
        extractor: Which.
        tensors_sha256: Digest of its weights.
        settings: Of the input and the arithmetic, as JSON can hold them; a caller adds
            the crops or the alignment rule.
    """
    whole = {
        "extractor": extractor.name,
        "weights": tensors_sha256,
        "settings": dict(settings),
        "avemo_jax": avemo_jax.__version__,
    }
    text = json.dumps(whole, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def check_tensors(
    extractor: Extractor,
    tensors: Mapping[str, np.ndarray],
    shapes: Mapping[str, tuple[int, ...]],
    optional: Mapping[str, tuple[int, ...]] | None = None,
) -> None:
    """Nothing, if the tensors are those that the network has.

    Args:
        extractor: Whose.
        tensors: As the file has them.
        shapes: By name, all of which are needed.
        optional: By name, which may be there.

    Raises:
        WeightsError: With every tensor that is missing, surplus or of another shape.
    """
    allowed = {**shapes, **(optional or {})}
    faults = [f"{name} is missing" for name in shapes.keys() - tensors.keys()]
    for name, tensor in tensors.items():
        if name not in allowed:
            faults.append(f"{name} is not a tensor of this network")
        elif tuple(tensor.shape) != allowed[name]:
            faults.append(f"{name} is {tuple(tensor.shape)}, expected {allowed[name]}")
    if faults:
        listed = "; ".join(sorted(faults)[:20])
        more = f"; and {len(faults) - 20} more" if len(faults) > 20 else ""
        raise WeightsError(
            f"the weights do not fit {extractor.name} ({extractor.network}, "
            f"{extractor.output_dim} outputs): {listed}{more}; convert the file of "
            f"this extractor with 'avemo convert {extractor.name} FILE OUT'"
        )
