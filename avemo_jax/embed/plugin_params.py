"""The weights of another package's extractor, and their digest."""

import hashlib
import os
import pathlib
from typing import Any

import jax
import numpy as np

from avemo_jax.embed.weights import WeightsError, default_weights_path
from avemo_jax.extractors import PluginExtractor

_PIECE = 1 << 20  # bytes that are hashed at a time


def read_params(
    extractor: PluginExtractor, weights: str | os.PathLike[str] | None
) -> tuple[Any, str]:
    """What its ``load`` gives, and the digest that its fingerprint takes.

    The digest is that of the arrays of a JAX plug-in. Of others it is that of the file
    of weights, or else of the package's name and version.

    Args:
        extractor: Whose.
        weights: Its file; None: where fetched ones lie, in the cache directory.

    Raises:
        WeightsError: If a file is needed and missing, or there and not taken.
        PluginError: If ``load`` fails, or its params are no arrays.
    """
    path = _weights_path(extractor, weights)
    try:
        params = extractor.load(None if path is None else str(path))
    except Exception as error:
        raise extractor.error(
            f"failed to load its weights: {type(error).__name__}: {error}",
            f"load({'weights' if path else 'None'}) to return its params",
        ) from error
    if extractor.framework == "jax":
        return params, _digest_of_arrays(extractor, params)
    if path is not None:
        return params, _digest_of_file(path)
    package = f"{extractor.origin.distribution} {extractor.origin.version}"
    return params, hashlib.sha256(package.encode()).hexdigest()


def _weights_path(
    extractor: PluginExtractor, weights: str | os.PathLike[str] | None
) -> pathlib.Path | None:
    """The file that ``load`` is given."""
    name = extractor.name
    given = None if weights is None else pathlib.Path(weights)
    if not extractor.needs_weights:
        if given is not None and given.is_file():
            raise WeightsError(
                f"{given}: weights of {name}, a plug-in that brings its own "
                f"({extractor.origin}); expected none; move the file away"
            )
        return None
    path = given or default_weights_path(name)
    if not path.is_file():
        raise WeightsError(
            f"{path}: no such file; expected the weights of {name}, a plug-in of "
            f"{extractor.origin}; get them as its authors say, and put them there, or "
            f"into another folder as {name}.safetensors and name that with --weights"
        )
    return path


def _digest_of_arrays(extractor: PluginExtractor, params: Any) -> str:
    """Sha256 over places, dtypes, shapes and bytes."""
    digest = hashlib.sha256()
    for place, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        array = np.asarray(leaf)
        if array.dtype.hasobject or array.dtype.kind in "USMm":
            raise extractor.error(
                f"loaded params with a {type(leaf).__name__} at "
                f"{jax.tree_util.keystr(place) or 'their root'}",
                "a tree of numeric arrays, as its framework is 'jax'",
            )
        named = f"{jax.tree_util.keystr(place)}\0{array.dtype.name}\0{array.shape}\0"
        digest.update(named.encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _digest_of_file(path: pathlib.Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()
