"""TensorFlow Datasets without TensorFlow: the one place that imports it.

TFDS is imported lazily (0.4 s), so that ``import avemo_jax`` stays quick, and quietly:
without TensorFlow it prints a banner that asks for it, though nothing here needs it.
"""

import contextlib
import functools
import importlib.util
import os
import pathlib
import types
from collections.abc import Iterator, Sequence
from typing import Any

from avemo_jax.data.store.fields import check_declared
from avemo_jax.data.store.layout import SPLIT


def check_installed() -> None:
    """Check that stores can be read and written here.

    Raises:
        ImportError: If array-record is not installed.
    """
    if importlib.util.find_spec("array_record") is None:
        raise ImportError(
            "a store needs array-record, which is not installed and has no build for "
            "Windows; expected Linux or macOS: on Windows use WSL, elsewhere install "
            "it (pip install array-record)"
        )


@functools.cache
def import_tfds() -> types.ModuleType:
    """The module ``tensorflow_datasets``, without its banner about TensorFlow.

    Raises:
        ImportError: If stores cannot be read and written here.
    """
    check_installed()
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.utils import lazy_imports_utils

    if importlib.util.find_spec("tensorflow") is None:
        # The banner is what TFDS calls when the import fails. Setting the attribute
        # in the usual way would itself import TensorFlow.
        _silence(lazy_imports_utils.tensorflow)
    return tfds


def _silence(lazy_module: Any) -> None:
    """Let a lazy module of TFDS fail with its ``ImportError`` and no banner."""
    fields = vars(lazy_module)
    fields["error_callback"] = None
    for child in fields["_submodules"].values():
        _silence(child)


def open_examples(folder: str | os.PathLike[str]) -> "Examples":
    """The examples of one built config, decoded when they are asked for.

    Args:
        folder: ``DIR/affwild2/CONFIG/VERSION``.

    Raises:
        ValueError: If the files beside the examples are not those that the builder
            writes: TFDS would run what they name; if the examples are damaged, also
            later, when one is asked for.
    """
    check_declared(folder)
    for path in pathlib.Path(folder).iterdir():
        if not path.is_file():  # a pipe would be waited for
            raise ValueError(
                f"{path} is no regular file; expected what the builder wrote: build "
                "the store again, or get it anew"
            )
    with _damage_told(folder):
        builder = import_tfds().builder_from_directory(os.fspath(folder))
        if not builder.info.splits[SPLIT].num_examples:
            return Examples(folder, ())  # array_record opens no file without records
        return Examples(folder, builder.as_data_source(split=SPLIT))


class Examples(Sequence[dict[str, Any]]):
    """Examples whose damage is told with the folder that they lie in."""

    def __init__(self, folder: str | os.PathLike[str], source: Any) -> None:
        """Examples that are decoded when they are asked for.

        Args:
            folder: Where their files lie.
            source: The data source of TFDS.
        """
        self._folder, self._source = folder, source

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: Any) -> Any:
        if index >= len(self):
            raise IndexError(index)  # ends a loop
        with _damage_told(self._folder):
            return self._source[index]


@contextlib.contextmanager
def _damage_told(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Raise what TFDS and array_record say of damaged records as one error."""
    try:
        yield
    # Decoding raises whatever the bytes of a record happen to lead to.
    except Exception as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{folder}: its records cannot be read ({reason:.300}); expected those "
            "that the builder wrote: build the store again, or get it anew"
        ) from error
