"""VGGish: tensors by torchvggish's names, and the published PCA."""

import io
import os
import pathlib
import zipfile
import zlib
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

_PCA_ARRAYS = {"pca_eigen_vectors": "pca.eigen_vectors", "pca_means": "pca.means"}
_PCA_BYTES = 2**20  # most bytes of an array; the published ones have 64 KiB or less
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

    Nothing in the file is executed, and no more is read than a PCA has.

    Raises:
        ConversionError: If the file is not readable, or holds no such PCA.
    """
    path = pathlib.Path(path)
    state = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for name in _PCA_ARRAYS:
                with archive.open(f"{name}.npy") as file:
                    state[name] = _read_array(file.read(_PCA_BYTES))
    except KeyError as error:
        raise _no_pca(path, f"it has no {error.args[0]!r}") from error
    # zipfile raises RuntimeError for encryption and NotImplementedError for methods.
    except (
        zipfile.BadZipFile,
        zlib.error,
        ValueError,
        EOFError,
        OSError,
        RuntimeError,
    ) as error:
        raise _no_pca(path, str(error)) from error
    rules = [Renaming(name, target, squeeze=1) for name, target in _PCA_ARRAYS.items()]
    return rename(state, PCA_SHAPES, rules, file=path.name, wanted="a PCA").tensors


def _read_array(content: bytes) -> np.ndarray:
    """The array of a ``.npy`` file, whose header must agree with its size."""
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise ValueError(f"a .npy of version {version}")
    shape, fortran, dtype = readers[version](stream)
    rest = content[stream.tell() :]
    size = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if dtype.hasobject or size != len(rest) or dtype.kind != "f":
        raise ValueError(f"{len(rest)} bytes for an array {shape} of {dtype}")
    order = "F" if fortran else "C"
    return np.frombuffer(rest, dtype).reshape(shape, order=order)  # type: ignore


def _no_pca(path: pathlib.Path, reason: str) -> ConversionError:
    return ConversionError(
        f"{path}: not readable as the PCA of VGGish ({reason}); expected the arrays "
        f"{' and '.join(_PCA_ARRAYS)}; take vggish_pca_params.npz as published"
    )
