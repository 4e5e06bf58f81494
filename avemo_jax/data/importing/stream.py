"""A pickled dict of any size, read entry by entry; nothing of it is run.

The machine of ``runtime/safe_pickle.py`` reads the memory-mapped file. Entries of the
outermost dict are handed on as soon as the pickle sets them. Of the values that the
pickle has stored to name them again, only the newest, up to a budget, and those that
were named again are kept. A pickle that names an older one is refused with that reason.
"""

import collections
import mmap
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from avemo_jax.data.features.original_npy import FeaturePolicy
from avemo_jax.runtime import safe_pickle

_BUDGET = 128 << 20  # bytes of values that are kept to be named again
_EACH = 200  # bytes of a small object, roughly
_RELEASED = 64 << 20  # bytes of the file between two releases
_LARGE = 64  # bytes of a text or bytes that may be forgotten


class _Forgotten:
    """What stands for a value that is no longer kept."""


_FORGOTTEN = _Forgotten()


class _Root:
    """What stands for the outermost dict, whose entries are not kept."""


Sink = Callable[[list[tuple[Any, Any]]], None]


class _SinkError(Exception):
    """An error that the sink raised: the pickle is whole, but its content is wrong."""

    def __init__(self, error: ValueError) -> None:
        super().__init__(str(error))
        self.error = error


class _StreamPolicy(FeaturePolicy):
    """Allows numpy arrays only, and hands entries of the outermost dict to a sink."""

    def __init__(self, path: pathlib.Path, size: int, sink: Sink) -> None:
        super().__init__(path, size)
        self.sink = sink
        self.root: _Root | None = None

    def new_dict(self) -> Any:
        """What stands for the outermost dict at first, then an empty one.

        In a file of ``np.save`` the outermost dict is in an array of one object.
        """
        if self.root is None:
            self.root = _Root()
            return self.root
        return {}

    def set_items(self, target: Any, items: list[Any]) -> None:
        """Hand on entries of the outermost dict; put others into their own dict."""
        if not isinstance(target, _Root):
            super().set_items(target, items)
            return
        if len(items) % 2:
            raise ValueError("a key without a value")
        keys, values = items[::2], items[1::2]
        for key in keys:
            self.check_key(key)
        whole = [(k, self._whole(v)) for k, v in zip(keys, values, strict=True)]
        try:
            self.sink(whole)
        except ValueError as error:
            raise _SinkError(error) from error

    def _whole(self, value: Any) -> Any:
        """A value with finished arrays, also within a tuple."""
        if isinstance(value, tuple):
            value = tuple(self.finished(each) for each in value)
        value = self.finished(value)
        self.check_parts(value)
        return value


def _advise(data: mmap.mmap, advice: str, *span: int) -> None:
    """Say how a mapped file is read, where the system takes advice; Windows does not.

    Args:
        data: The file.
        advice: Name of the constant in ``mmap``.
        span: First byte and number of bytes; none: the whole file.
    """
    if hasattr(data, "madvise"):
        data.madvise(getattr(mmap, advice), *span)


class _StreamMachine(safe_pickle.Machine):
    """Reads a memory-mapped file, and frees the pages that it has read."""

    def __init__(self, data: mmap.mmap, policy: _StreamPolicy, start: int) -> None:
        super().__init__(data, policy, start)
        self.mapped = data
        self.released = 0
        # Numbers of remembered values that may be forgotten, and their sizes.
        self.young: collections.deque[tuple[int, int]] = collections.deque()
        self.kept: set[int] = set()
        self.size = 0

    def set_items(self, items: list[Any]) -> None:
        """Hand entries on, and free the pages of the file that were read."""
        super().set_items(items)
        page = mmap.PAGESIZE
        if self.position - self.released > _RELEASED:
            start = self.released // page * page
            self.released = self.position // page * page
            span = (start, self.released - start)
            _advise(self.mapped, "MADV_DONTNEED", *span)

    def put(self, index: int) -> None:
        """Keep the last value to be named again; forget old ones over the budget."""
        super().put(index)
        size = _size_of(self.stack[-1])
        if size:
            self.young.append((index, size))
            self.size += size
            while self.size > _BUDGET:
                old, size = self.young.popleft()
                self.size -= size
                if old not in self.kept:
                    self.memo[old] = _FORGOTTEN

    def get(self, index: int) -> None:
        """Push a value that was kept, and keep it from now on."""
        super().get(index)
        value = self.stack[-1]
        if value is _FORGOTTEN:
            raise ValueError(
                f"value {index} is named again after {_BUDGET >> 20} MB of others, as "
                "where many frames share one vector; save the dict with a copy for "
                "each frame"
            )
        if _size_of(value):
            self.kept.add(index)


def _size_of(value: Any) -> int:
    """Bytes of a value that may be forgotten; 0 for one that is always kept."""
    if isinstance(value, bytes | bytearray | str):
        return len(value) + _EACH if len(value) > _LARGE or type(value) is str else 0
    if isinstance(value, np.ndarray):
        return value.nbytes + _EACH
    if isinstance(value, tuple | list | dict):
        return _EACH + 8 * len(value)
    return FeaturePolicy.size_of(value)


def stream_entries(path: pathlib.Path, start: int, sink: Sink) -> None:
    """Hand the entries of a pickled dict to ``sink``.

    Args:
        path: The file.
        start: The byte at which the pickle begins.
        sink: Called with some pairs of key and value at a time, in their order.

    Raises:
        ValueError: If the file is damaged or holds no dict, or the sink raises it.
        RefusedPickleError: If the pickle asks for anything but numpy arrays and plain
            containers.
    """
    if not path.stat().st_size:
        raise ValueError(f"{path} is empty; expected a pickled dict: copy it again")
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
    ):
        _advise(data, "MADV_SEQUENTIAL")
        policy = _StreamPolicy(path, len(data), sink)
        try:
            value = _StreamMachine(data, policy, start).run()
        except _SinkError as stop:
            raise stop.error from None
    if isinstance(value, np.ndarray) and value.shape == () and value.dtype == object:
        value = value.item()
    if not isinstance(value, _Root):
        raise ValueError(
            f"{path} holds a {type(value).__name__}; expected a dict "
            "{'VIDEO/00001.jpg': vector}: is this another kind of file?"
        )
