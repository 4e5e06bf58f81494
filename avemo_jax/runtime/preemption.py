"""SIGTERM: all processes of a run stop at the same place, saved, to go on later."""

import itertools
import signal
import threading
from types import FrameType
from typing import Any

from absl import logging
from jax.experimental import multihost_utils

from avemo_jax.runtime import distributed

# JAX's preemption service needs numbers that count up while the process lives.
_numbers = itertools.count()


class Preemption:
    """A context in which a SIGTERM does not end the process, but is noted.

    In a program of several processes JAX's runtime catches the signal, and the
    processes agree on where to stop. In a single process it is caught here; a second
    signal ends the process at once.

    Attributes:
        came: Whether a SIGTERM came, as far as this process knows.
    """

    def __init__(self) -> None:
        """Catches nothing until the context is entered."""
        self.came = False
        self._old: Any = None

    def __enter__(self) -> "Preemption":
        main_thread = threading.current_thread() is threading.main_thread()
        if not distributed.is_several() and main_thread:
            self._old = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        if self._old is not None:
            signal.signal(signal.SIGTERM, self._old)
            self._old = None

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.came = True
        logging.warning("SIGTERM: saving at the next boundary; a second one kills")
        signal.signal(number, signal.SIG_DFL)

    def reached(self) -> bool:
        """Whether to save and stop here; all processes ask at the same places."""
        if distributed.is_several() and not self.came:
            number = next(_numbers)
            self.came = bool(multihost_utils.reached_preemption_sync_point(number))
        return self.came
