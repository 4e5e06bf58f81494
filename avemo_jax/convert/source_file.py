"""A file that weights come from: its checksums, and the tensors in it."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import ml_dtypes  # noqa: F401  (numpy knows bfloat16 by it)
import numpy as np
import safetensors

from avemo_jax.convert.checksums import digests
from avemo_jax.convert.rules import ConversionError
from avemo_jax.convert.torch_file import read_torch, state_dict_of
from avemo_jax.extractors.published import PublishedFile
from avemo_jax.runtime.array_files import damage_told, opened_file

TORCH = (".pt", ".pth", ".bin", ".ckpt")
ONNX = ".onnx"
SAFETENSORS = ".safetensors"
# Prefixes that torch's wrappers of modules put before every name.
_OUTER = ("module.", "_orig_mod.")
_MAX_WRAPPERS = 8  # wrappers within one another


@dataclasses.dataclass(frozen=True)
class SourceFile:
    """A file and its checksums.

    Attributes:
        path: Path of the file.
        sha256: Sha256 of the content, hex digits.
        git_blob: Sha1 of git for the content, hex digits.
    """

    path: pathlib.Path
    sha256: str
    git_blob: str

    def is_published(self, source: PublishedFile) -> bool:
        """Whether this is that file, by its checksum; False if none is known."""
        return source.checkable and (
            self.git_blob.startswith(source.git_blob)
            and self.sha256.startswith(source.sha256)
        )

    def named(self, sources: Sequence[PublishedFile]) -> PublishedFile | None:
        """The published file of the same name whose checksum is known; None: none."""
        for source in sources:
            if source.checkable and source.file == self.path.name:
                return source
        return None

    def provenance(self, known: Sequence[PublishedFile]) -> dict[str, Any]:
        """Where the weights come from, for metadata and cards."""
        published = [s for s in known if self.is_published(s)]
        return {
            "source": self.path.name,
            "source_sha256": self.sha256,
            "source_git_blob": self.git_blob,
            "known_source": bool(published),
            "source_url": published[0].url if published else None,
        }


def open_source(path: str | os.PathLike[str]) -> SourceFile:
    """The file at ``path`` with its checksums.

    Raises:
        ConversionError: If the file cannot be read.
    """
    path = pathlib.Path(path)
    try:
        return SourceFile(path, *digests(path))
    except OSError as error:
        raise ConversionError(
            f"{path}: {error.strerror or error}; expected a file of weights that can "
            "be read; correct the path, or get the file with avemo fetch"
        ) from error


def read_state(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The tensors of a PyTorch or ``.safetensors`` file, by name.

    Prefixes that wrappers of modules put before every name are taken off, and a state
    dict is found among other things that were saved with it.

    Raises:
        ConversionError: If the file has another ending, or is no such file.
        TorchFileError: If a PyTorch file is damaged or would run code.
    """
    path = pathlib.Path(path)
    ending = path.suffix.lower()
    if ending == SAFETENSORS:
        return _unwrapped(_read_safetensors(path))
    if ending in TORCH:
        return _unwrapped(state_dict_of(read_torch(path)))
    raise ConversionError(
        f"{path} ends in {ending!r}; expected one of "
        f"{', '.join((*TORCH, ONNX, SAFETENSORS))}; rename the file after what it is"
    )


def _unwrapped(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """``state`` without the prefixes that wrappers put before every name."""
    state = dict(state)
    for _ in range(_MAX_WRAPPERS):
        found = [p for p in _OUTER if all(name.startswith(p) for name in state)]
        if not found or not state:
            break
        state = {name.removeprefix(found[0]): array for name, array in state.items()}
    return state


def _read_safetensors(path: pathlib.Path) -> dict[str, np.ndarray]:
    expected = (
        "expected a whole .safetensors file of floating-point tensors; take another "
        "copy"
    )
    with (
        damage_told(path, expected, error=ConversionError),
        opened_file(path),
        safetensors.safe_open(path, framework="numpy") as file,
    ):
        if "tensors_sha256" not in (file.metadata() or {}):
            return {name: file.get_tensor(name) for name in file.keys()}
    raise ConversionError(
        f"{path} was written by avemo convert already; expected original weights; use "
        "it as it is"
    )
