"""The fingerprint of all that decides an extractor's numbers; checks of tensors."""

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
    """Sha256 (hex) of all that decides the features but the input files themselves.

    Args:
        extractor: The extractor's entry in the table, or a plug-in.
        tensors_sha256: Digest of its weights.
        settings: Settings of the input and the arithmetic, as JSON can hold them. The
            kind of crops and the alignment rule are not among them.
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
    """Check that the tensors are those of the extractor's network.

    Args:
        extractor: The extractor, for the message.
        tensors: Tensors by name, as the file has them.
        shapes: Shapes of the tensors that are needed, by name.
        optional: Shapes of tensors that may be there, by name; None: there are none.

    Raises:
        WeightsError: If a tensor is missing, surplus or of another shape.
    """
    if found := misfits(tensors, shapes, optional):
        raise WeightsError(
            f"the weights do not fit {extractor.name} ({extractor.network}, "
            f"{extractor.output_dim} outputs): {found}; convert the file of this "
            f"extractor with 'avemo convert {extractor.name} FILE --out OUT'"
        )
