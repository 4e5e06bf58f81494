"""Picture files decoded by threads or processes, in order and ahead of their use."""

import collections
import concurrent.futures
import contextlib
import itertools
import multiprocessing
import pathlib
import signal
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, TypeVar

import numpy as np

from avemo_jax.media.images import ImageError, read_image
from avemo_jax.runtime.interrupts import sheltered

WorkerKind = Literal["threads", "processes"]
Decoded = np.ndarray | str  # a picture, or the error of its file
_CHUNK = 32  # pictures that a worker decodes at once

Tag = TypeVar("Tag")


class Decoders(contextlib.AbstractContextManager["Decoders"]):
    """Workers that decode pictures.

    Threads start at once and share the interpreter, which suits a CPU that the network
    needs itself. Processes cost a second at the start, and feed fast accelerators.
    """

    def __init__(self, workers: int, kind: WorkerKind = "threads"):
        """Prepares the workers; they start when the first picture is decoded.

        Args:
            workers: Number of workers, 1 or more.
            kind: Whether a worker is a thread or a process.
        """
        self._ahead = workers + 1
        self._pool: concurrent.futures.Executor
        if kind == "threads":
            self._pool = concurrent.futures.ThreadPoolExecutor(workers)
        else:
            context = multiprocessing.get_context("spawn")
            self._pool = concurrent.futures.ProcessPoolExecutor(
                workers, context, signal.signal, (signal.SIGINT, signal.SIG_IGN)
            )

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def decode(
        self, paths: Iterable[tuple[Tag, pathlib.Path]]
    ) -> Iterator[tuple[Tag, Decoded]]:
        """Tag and picture of each path, in order; the error in place of a bad picture.

        Paths are read a few hundred ahead at most, whatever their number.
        """
        waiting: collections.deque[tuple[list[Tag], concurrent.futures.Future]]
        waiting = collections.deque()
        paths = iter(paths)
        while chunk := list(itertools.islice(paths, _CHUNK)):
            with sheltered():  # processes start when they are first needed
                future = self._pool.submit(decode_all, [path for _, path in chunk])
            waiting.append(([tag for tag, _ in chunk], future))
            if len(waiting) > self._ahead:
                yield from _results(*waiting.popleft())
        for tags, future in waiting:
            yield from _results(tags, future)


def decode_all(paths: Sequence[pathlib.Path]) -> list[Decoded]:
    """The picture of each path, or the error of its file."""
    return [_decoded(path) for path in paths]


def _decoded(path: pathlib.Path) -> Decoded:
    try:
        return read_image(path)
    except ImageError as error:
        return str(error).replace(str(path), path.name)


def _results(
    tags: Sequence[Tag], future: concurrent.futures.Future
) -> Iterator[tuple[Tag, Decoded]]:
    return zip(tags, future.result(), strict=True)
