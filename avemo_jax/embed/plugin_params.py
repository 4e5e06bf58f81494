"""The weights of another package's extractor, and their digest."""

import hashlib
import os
import pathlib
from typing import Any

import jax
import numpy as np

from avemo_jax.embed.weights import (
    WeightsError,
    default_weights_path,
    refuse_weights,
)
from avemo_jax.extractors import PluginExtractor
from avemo_jax.runtime.regular_files import sha256_of


def read_params(
    extractor: PluginExtractor, weights: str | os.PathLike[str] | None
) -> tuple[Any, str]:
    """The params that a plug-in's ``load`` returns, and a digest for the fingerprint.

    The digest is over the arrays of a JAX plug-in. For others it is over the file of
    weights or, without one, over the package's name and version.

    Args:
        extractor: The plug-in.
        weights: File of its weights; None: the fetched one in the cache directory.

    Raises:
        WeightsError: If a file is needed and missing, or given and not needed.
        PluginError: If ``load`` fails, or a JAX plug-in's params are no arrays.
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
        return params, sha256_of(path)
    package = f"{extractor.origin.distribution} {extractor.origin.version}"
    return params, hashlib.sha256(package.encode()).hexdigest()


def _weights_path(
    extractor: PluginExtractor, weights: str | os.PathLike[str] | None
) -> pathlib.Path | None:
    """The file that is passed to ``load``; None: the plug-in brings its own weights."""
    name = extractor.name
    given = None if weights is None else pathlib.Path(weights)
    if not extractor.needs_weights:
        why = f"a plug-in that brings its own ({extractor.origin})"
        refuse_weights(given, name=name, why=why)
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
    """Sha256 over each array's place in the tree, dtype, shape and bytes."""
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
