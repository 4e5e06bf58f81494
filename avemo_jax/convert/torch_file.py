"""Files of PyTorch, read without PyTorch and without running their pickles."""

import os
from typing import Any

import numpy as np


class TorchFileError(ValueError):
    """A file that is damaged, asks to run code, or holds what is not expected."""


def read_torch(path: str | os.PathLike[str]) -> Any:
    """What ``torch.save`` stored, with numpy arrays for tensors.

    Raises:
        TorchFileError: If the file is not there, is damaged or asks to run code.
    """
    raise NotImplementedError


def state_dict_of(value: Any) -> dict[str, np.ndarray]:
    """Tensors by dotted name, of a state dict or of a whole pickled module.

    Raises:
        TorchFileError: If ``value`` holds none, or more than one.
    """
    raise NotImplementedError
