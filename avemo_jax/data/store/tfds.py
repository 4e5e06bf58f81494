"""TensorFlow Datasets without TensorFlow: the one place that imports it.

TFDS is imported lazily (0.4 s), so that ``import avemo_jax`` stays quick, and quietly:
without TensorFlow it prints a banner that asks for it, though nothing here needs it.
"""

import functools
import importlib.util
import os
import types
from collections.abc import Sequence
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


def open_examples(folder: str | os.PathLike[str]) -> Sequence[dict[str, Any]]:
    """The examples of one built config, decoded when they are asked for.

    Args:
        folder: ``DIR/affwild2/CONFIG/VERSION``.

    Raises:
        ValueError: If the files beside the examples are not those that the builder
            writes: TFDS would run what they name.
    """
    check_declared(folder)
    builder = import_tfds().builder_from_directory(os.fspath(folder))
    if not builder.info.splits[SPLIT].num_examples:
        return ()  # array_record opens no file without records
    return builder.as_data_source(split=SPLIT)
