"""Weights in ``.safetensors``: tensors by the reference network's names, and metadata.

The file holds the tensors of the reference network in its layout; the parameters that a
device computes with are derived from them on loading.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from avemo_jax.runtime.array_files import damage_told, opened_file
from avemo_jax.runtime.atomic_files import whole_file
from avemo_jax.runtime.cache import cache_dir
from avemo_jax.runtime.json_files import parsed

WEIGHTS_SCHEMA = 1
# The types that tensors may have, and their names in .safetensors.
_DTYPES = {"float16": "F16", "float32": "F32", "float64": "F64"}
_EXPECTED = (
    "expected a .safetensors file written by avemo convert; convert the original "
    "weights (.pt, .pth, .bin, .onnx) with it"
)


class WeightsError(ValueError):
    """A file of weights that is missing, damaged, or another network's."""


def weights_dir() -> pathlib.Path:
    """Folder of fetched weights, in the user's cache directory."""
    return cache_dir() / "weights"


def default_weights_path(name: str) -> pathlib.Path:
    """File of the fetched weights of the network ``name``."""
    return weights_dir() / f"{name}.safetensors"


def refuse_weights(
    weights: str | os.PathLike[str] | None, *, name: str, why: str
) -> None:
    """Check that an extractor that reads no weights is given none.

    Args:
        weights: The file that it would be given, there or not; None: none.
        name: Name of the extractor.
        why: Words that say why it reads none.

    Raises:
        WeightsError: If the file is there.
    """
    if weights is not None and pathlib.Path(weights).is_file():
        raise WeightsError(
            f"{weights}: weights of {name}, {why}; expected none; move the file away"
        )


def tensors_digest(tensors: Mapping[str, np.ndarray]) -> str:
    """Sha256 over names, dtypes, shapes and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        digest.update(f"{name}\0{array.dtype.name}\0{array.shape}\0".encode())
        digest.update(array.data)
    return digest.hexdigest()


def write_weights(
    path: str | os.PathLike[str],
    tensors: Mapping[str, np.ndarray],
    metadata: Mapping[str, Any],
) -> None:
    """Write a file of weights, whole or not at all.

    Args:
        path: Name of the file, which ends in ``.safetensors``.
        tensors: Tensors by name; float16, float32 or float64.
        metadata: Facts that JSON can hold, at least ``extractor``, the network's name.
            ``schema`` and ``tensors_sha256`` are added.

    Raises:
        ValueError: If the name has another ending, or a tensor another dtype.
        OSError: If the file cannot be written.
    """
    path = pathlib.Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(
            f"{path} for weights; expected a name that ends in .safetensors; rename it"
        )
    if wrong := sorted(n for n, a in tensors.items() if a.dtype.name not in _DTYPES):
        raise ValueError(
            f"{wrong[0]} of dtype {tensors[wrong[0]].dtype} for {path}; expected one "
            f"of {', '.join(_DTYPES)}; convert it"
        )
    whole = {
        **metadata,
        "schema": WEIGHTS_SCHEMA,
        "tensors_sha256": tensors_digest(tensors),
    }
    texts = {name: json.dumps(value) for name, value in whole.items()}
    arrays = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as temporary:
        try:
            safetensors.numpy.save_file(arrays, temporary, texts)
        except safetensors.SafetensorError as error:
            # What the system said, such as a full disk, is in the text alone.
            number = re.search(r"\(os error (\d+)\)", str(error))
            if number is None:
                raise
            reason = os.strerror(int(number[1]))
            raise OSError(int(number[1]), reason, str(path)) from error


def read_weights(
    path: str | os.PathLike[str],
    *,
    extractor: str | None = None,
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Tensors by name, and the metadata.

    Args:
        path: A file that :func:`write_weights` wrote.
        extractor: Name of the network that the weights must belong to; None: any.

    Raises:
        WeightsError: If the file is missing, was not written by this program, holds
            other tensors than were written, or those of another network.
    """
    path = pathlib.Path(path)
    if not path.exists():
        raise WeightsError(
            f"{path}: no such file; expected weights in .safetensors; fetch them with "
            "avemo fetch, or convert a file that you have with avemo convert"
        )
    with contextlib.ExitStack() as opened:
        with damage_told(path, _EXPECTED, error=WeightsError), opened_file(path):
            safe = safetensors.safe_open(path, framework="numpy")
            file = opened.enter_context(safe)
            texts = file.metadata() or {}
            dtypes = {n: file.get_slice(n).get_dtype() for n in file.keys()}
        metadata = _parsed(path, texts)
        _check_dtypes(path, dtypes)
        with damage_told(path, _EXPECTED, error=WeightsError):
            tensors = {name: file.get_tensor(name) for name in dtypes}
    if metadata.get("tensors_sha256") != tensors_digest(tensors):
        raise WeightsError(
            f"{path}: its tensors are not those that were written (sha256 differs); "
            "the file is damaged or was changed; convert the original weights again"
        )
    whose = metadata.get("extractor")
    if extractor is not None and whose != extractor:
        raise WeightsError(
            f"{path} holds weights of {whose!r}; expected {extractor}; take "
            f"that network, or the file that belongs to {extractor}"
        )
    return tensors, metadata


def network_weights(
    name: str, weights: str | os.PathLike[str] | None = None
) -> tuple[dict[str, np.ndarray], str]:
    """The tensors of a network's file of weights, and their sha256.

    Args:
        name: Name of an extractor or of the face detector.
        weights: The file; None: the one that ``avemo fetch`` keeps.

    Raises:
        WeightsError: If the file is missing, damaged, or holds another network's
            weights.
    """
    path = default_weights_path(name) if weights is None else pathlib.Path(weights)
    if not path.is_file():
        raise WeightsError(
            f"{path}: no such file; expected the weights of {name}; get them with "
            f"'avemo fetch {name}', or convert a file that you have with "
            f"'avemo convert {name} FILE --out NAME.safetensors' and pass that"
        )
    try:
        tensors, metadata = read_weights(path, extractor=name)
    except WeightsError as error:
        if weights is not None:
            raise
        raise WeightsError(
            f"{error}; to get those of {name} again: 'avemo fetch {name} --overwrite'"
        ) from error
    return tensors, str(metadata["tensors_sha256"])


def _parsed(path: pathlib.Path, texts: Mapping[str, str]) -> dict[str, Any]:
    """The metadata of a file that this program wrote."""
    try:
        metadata = {name: parsed(text) for name, text in texts.items()}
    except ValueError as error:
        if "schema" in texts:
            raise WeightsError(
                f"{path}: damaged metadata ({error}); expected JSON as avemo convert "
                "writes it; convert the original weights again"
            ) from error
        # A foreign .safetensors, such as Hugging Face's {"format": "pt"}.
        metadata = {}
    if metadata.get("schema") != WEIGHTS_SCHEMA:
        raise WeightsError(
            f"{path}: schema {metadata.get('schema')!r}; expected {WEIGHTS_SCHEMA}, as "
            "avemo convert of this version writes it; convert the original weights "
            "again"
        )
    return metadata


def _check_dtypes(path: pathlib.Path, dtypes: Mapping[str, str]) -> None:
    known = _DTYPES.values()
    if wrong := sorted(n for n, dtype in dtypes.items() if dtype not in known):
        raise WeightsError(
            f"{path}: {wrong[0]} has dtype {dtypes[wrong[0]]}; expected one of "
            f"{', '.join(known)}; convert the original weights again"
        )
