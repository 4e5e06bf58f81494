"""SIGTERM and Ctrl-C: a run stops at the same place in all its processes, saved."""

import itertools
import os
import signal
import threading
from types import FrameType
from typing import Any

from absl import logging
from jax.experimental import multihost_utils

from avemo_jax.runtime import distributed
from avemo_jax.runtime.interrupts import hears_ctrl_c

# JAX's preemption service needs numbers that count up while the process lives.
_numbers = itertools.count()


class Preemption:
    """A context in which SIGTERM and Ctrl-C do not end the process, but are noted.

    In a program of several processes JAX's runtime catches SIGTERM, as which a Ctrl-C
    is handed on to it, and the processes agree on where to stop. In a single process
    both are caught here. A second signal ends the process at once.

    Attributes:
        came: Whether one came, as far as this process knows.
        by_user: Whether it was a Ctrl-C, sent to this process.
    """

    def __init__(self) -> None:
        """Catches nothing until the context is entered."""
        self.came = self.by_user = False
        self._old: dict[int, Any] = {}

    def __enter__(self) -> "Preemption":
        if hears_ctrl_c():
            self._old[signal.SIGINT] = signal.signal(signal.SIGINT, self._note)
        main_thread = threading.current_thread() is threading.main_thread()
        if main_thread and not distributed.is_several():
            self._old[signal.SIGTERM] = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
        self._old = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.by_user = number == signal.SIGINT
        name = "Ctrl-C" if self.by_user else "SIGTERM"
        logging.warning("%s: saving at the next boundary; a second one kills", name)
        if self.by_user and distributed.is_several():
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            self.came = True
        # What Python does of itself: end the process, or raise KeyboardInterrupt.
        signal.signal(number, self._old[number] if self.by_user else signal.SIG_DFL)

    def reached(self) -> bool:
        """Whether to save and stop here; all processes ask at the same places."""
        if distributed.is_several() and not self.came:
            number = next(_numbers)
            self.came = bool(multihost_utils.reached_preemption_sync_point(number))
        return self.came
