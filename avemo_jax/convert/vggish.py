"""VGGish: tensors by torchvggish's names, and the published PCA."""

import os
import pathlib
from collections.abc import Mapping

import numpy as np

from avemo_jax.convert.rules import (
    IDENTITY,
    ConversionError,
    Renamed,
    Renaming,
    failure,
    rename,
)
from avemo_jax.extractors.vggish import PCA_SHAPES, state_shapes
from avemo_jax.runtime.array_files import read_npz

_PCA_ARRAYS = {"pca_eigen_vectors": "pca.eigen_vectors", "pca_means": "pca.means"}
_RULES = (
    Renaming(r"pproc\.pca_eigen_vectors", "pca.eigen_vectors"),
    # The means are published as one column.
    Renaming(r"pproc\.pca_means", "pca.means", squeeze=1),
    IDENTITY,
)


def from_state(
    state: Mapping[str, np.ndarray],
    *,
    file: str,
    wanted: str,
    pca: Mapping[str, np.ndarray] | None = None,
) -> Renamed:
    """The tensors of torchvggish's state dict, with the PCA if there is one.

    Args:
        state: Tensors by torchvggish's names, with or without its ``pproc``.
        file: Name of the source, for errors.
        wanted: Name of the extractor, for errors.
        pca: Tensors from :func:`read_pca`; None: there is no file of the PCA.

    Raises:
        ConversionError: If the tensors do not fit (all faults are named), or the state
            dict has another PCA than ``pca``, or half of one.
    """
    found = rename(
        state, state_shapes(), _RULES, file=file, wanted=wanted, optional=PCA_SHAPES
    )
    own = {name: found.tensors[name] for name in PCA_SHAPES if name in found.tensors}
    if len(own) == 1:
        missing = next(name for name in PCA_SHAPES if name not in own)
        raise failure(file, wanted, [f"destination {missing}: nothing is written"])
    if own and pca is not None:
        differ = [name for name in own if not np.array_equal(own[name], pca[name])]
        if differ:
            raise ConversionError(
                f"{file} has a PCA of its own, and {', '.join(differ)} differ from "
                "those of --pca; expected one PCA; leave --pca out to keep the file's"
            )
    return Renamed(found.tensors | dict(pca or {}), found.ignored)


def read_pca(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The tensors of the published PCA, float32.

    Nothing in the file is executed.

    Raises:
        ConversionError: If the file is not readable, or holds no such PCA.
    """
    path = pathlib.Path(path)
    expected = (
        f"expected the arrays {' and '.join(_PCA_ARRAYS)}; take vggish_pca_params.npz "
        "as published"
    )
    try:
        found = read_npz(path, expected=expected)
    except ValueError as error:
        raise ConversionError(str(error)) from error
    state = {name: found[name] for name in _PCA_ARRAYS if name in found}
    if len(state) < len(_PCA_ARRAYS) or any(
        a.dtype.kind != "f" for a in state.values()
    ):
        kinds = {name: array.dtype.name for name, array in found.items()}
        raise ConversionError(
            f"{path} is not the PCA of VGGish: it has {kinds!s:.200}; {expected}"
        )
    rules = [Renaming(name, target, squeeze=1) for name, target in _PCA_ARRAYS.items()]
    return rename(state, PCA_SHAPES, rules, file=path.name, wanted="a PCA").tensors
