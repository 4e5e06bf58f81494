"""How long each stage of an input takes, where one runs within another."""

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import TypeVar

_T = TypeVar("_T")


class StageTimes:
    """Seconds of each stage; what runs within another stage counts for itself alone.

    What runs in a thread of its own counts beside the others, so that the sum may be
    more than the time that went by.

    Attributes:
        seconds: Seconds by name of the stage, in the order in which stages began.
    """

    def __init__(self) -> None:
        """Nothing has taken time yet."""
        self.seconds: dict[str, float] = {}
        self._adding = threading.Lock()
        self._of_thread = _Running()

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time of what runs inside for a stage."""
        self._count()
        self._of_thread.names.append(name)
        try:
            yield
        finally:
            self._count()
            self._of_thread.names.pop()

    def each(self, name: str, items: Iterator[_T]) -> Iterator[_T]:
        """The items, the time to get each of them counted for a stage."""
        while True:
            with self.stage(name):
                try:
                    item = next(items)
                except StopIteration:
                    return
            yield item

    def add(self, name: str, seconds: float) -> None:
        """Count seconds that were measured elsewhere for a stage."""
        with self._adding:
            self.seconds[name] = self.seconds.get(name, 0.0) + seconds

    def _count(self) -> None:
        now, running = time.perf_counter(), self._of_thread
        if running.names:
            self.add(running.names[-1], now - running.since)
        running.since = now


class _Running(threading.local):
    """The stages that run in a thread, and since when the last one does."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.since = 0.0
