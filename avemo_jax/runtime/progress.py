"""Progress of long work: a bar on a terminal, elsewhere a line now and then."""

import io
import os
import sys
import time
from typing import Any

from tqdm import tqdm

LINE_EVERY_S = 30.0


def progress_bar(
    total: int | None,
    text: str,
    unit: str,
    *,
    quiet: bool = False,
    done: int = 0,
    delay_s: float = 0.0,
    keep: bool = True,
    in_bytes: bool = False,
) -> tqdm:
    """A counter of work that is shown on standard error; a context that ends with it.

    On a terminal it is a bar. Into a file or a pipe it writes a line every 30 s, and
    what takes less leaves nothing there.

    Args:
        total: How many units there are; None: unknown.
        text: Words before the counts.
        unit: One unit, in the singular.
        quiet: Show nothing.
        done: Units that an earlier run has done.
        delay_s: Seconds after which the bar appears.
        keep: Leave the finished bar on the terminal.
        in_bytes: Units are bytes, shown as kB, MB, ...
    """
    options: dict[str, Any] = {
        "total": total,
        "desc": text,
        "unit": unit,
        "initial": done,
        "disable": quiet,
    }
    if in_bytes:
        options |= {"unit_scale": True, "unit_divisor": 1024}
    if _has_room():
        return tqdm(**options, delay=delay_s, leave=keep)
    return _Lines(
        **options,
        file=io.StringIO(),
        delay=LINE_EVERY_S,
        mininterval=LINE_EVERY_S,
        miniters=1,
    )


def clear_bars() -> None:
    """Clear the line of every bar, for a message; a bar that moves is drawn again."""
    for bar in tuple(getattr(tqdm, "_instances", ())):
        bar.clear()


def _has_room() -> bool:
    """Whether standard error is a terminal on which a bar can be drawn."""
    if not sys.stderr.isatty():
        return False
    try:
        columns, rows = os.get_terminal_size(sys.stderr.fileno())
    except OSError:
        return True  # of unknown size
    return columns > 0 and rows > 0


class Stages:
    """The stages of one piece of work, shown like other progress."""

    def __init__(self, text: str, count: int):
        """Shows ``text``; no stage has begun.

        Args:
            text: Words for the whole work.
            count: Number of its stages.
        """
        self._bar = progress_bar(count, text, "stage", keep=False)
        self._begun = False

    def begin(self, words: str) -> None:
        """The stage before is over; the next one is shown by ``words``."""
        if self._begun:
            self._bar.update()
        self._begun = True
        self._bar.set_postfix_str(words)

    def end(self) -> None:
        """All stages are over, or the work was given up."""
        self._bar.close()


class _Lines(tqdm):
    """A counter that writes lines, not a bar."""

    def set_postfix_str(self, s: str = "", refresh: bool = True) -> None:
        """Keep ``s`` for the next line; a line of its own it is not worth."""
        del refresh
        super().set_postfix_str(s, refresh=False)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Write the line of now; tqdm calls this when it would draw."""
        del msg, pos
        known = self.format_dict
        count = self._told(self.n)
        if self.total is not None:
            count += f" of {self._told(self.total)}"
        seconds = self.format_interval(known["elapsed"])
        after = f", {known['postfix']}" if known["postfix"] else ""
        print(
            f"{time.strftime('%H:%M:%S')} {self.desc}: {count} ({self.unit}), after "
            f"{seconds}{after}",
            file=sys.stderr,
            flush=True,
        )

    def _told(self, count: int) -> str:
        if self.unit_scale:
            return str(self.format_sizeof(count, divisor=self.unit_divisor))
        return f"{count:,}"
