"""How long each stage of an input takes, where one runs within another."""

import contextlib
import time
from collections.abc import Iterator
from typing import TypeVar

_T = TypeVar("_T")


class StageTimes:
    """Seconds of each stage; what runs within another stage counts for itself alone.

    Attributes:
        seconds: Seconds by name of the stage, in the order in which stages began.
    """

    def __init__(self) -> None:
        """Nothing has taken time yet."""
        self.seconds: dict[str, float] = {}
        self._running: list[str] = []
        self._since = 0.0

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time of what runs inside for a stage."""
        self._count()
        self._running.append(name)
        try:
            yield
        finally:
            self._count()
            self._running.pop()

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
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds

    def _count(self) -> None:
        now = time.perf_counter()
        if self._running:
            self.add(self._running[-1], now - self._since)
        self._since = now
