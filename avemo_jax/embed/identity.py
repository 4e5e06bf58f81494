"""What decides an extractor's numbers, and its fingerprint."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from avemo_jax.embed.weights import WeightsError
from avemo_jax.extractors import Extractor
from avemo_jax.extractors.state_dicts import Shapes, misfits
from avemo_jax.runtime.versions import VERSION


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
        "avemo_jax": VERSION,
    }
    text = json.dumps(whole, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def check_tensors(
    extractor: Extractor,
    tensors: Mapping[str, np.ndarray],
    shapes: Shapes,
    optional: Shapes | None = None,
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
    if found := misfits(tensors, shapes, optional):
        raise WeightsError(
            f"the weights do not fit {extractor.name} ({extractor.network}, "
            f"{extractor.output_dim} outputs): {found}; convert the file of this "
            f"extractor with 'avemo convert {extractor.name} FILE OUT'"
        )
