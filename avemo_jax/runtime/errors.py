"""How commands end: the meaning of exit statuses, and errors as one line."""

import sys
import traceback
from collections.abc import Callable

SOME_FAILED = 3  # the work is done, but videos or frames failed
STOPPED = 130  # by Ctrl-C
PREEMPTED = 75  # by SIGTERM, saved: the same command resumes (EX_TEMPFAIL)


class Preempted(Exception):
    """A run that was asked to stop, and has saved its state."""


def guarded(
    run: Callable[[], int | None],
    *,
    plainly: bool = True,
    leave: Callable[[Exception, str], None] | None = None,
) -> int:
    """The exit status that ``run`` gives; after an error 1, and a line on stderr.

    Errors that a user can mend (ValueError, RuntimeError, ImportError, OSError) are
    told without a traceback; any other is a fault of the program and is raised.

    Args:
        run: The command; returns an exit status, or None for 0.
        plainly: Tell errors in one line; False raises them all, with a traceback.
        leave: Called with an error and its text before the command ends by it, so that
            one process of several can tell the others. It need not return.
    """
    try:
        return run() or 0
    except Preempted as stop:
        print(stop, file=sys.stderr)
        return PREEMPTED
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        return STOPPED
    except Exception as error:
        line = _line(error) if plainly else None
        if leave:
            leave(error, line or traceback.format_exc())
        if line is None:
            raise
        print(line, file=sys.stderr)
        return 1


def _line(error: Exception) -> str | None:
    """The line for an error that a user can mend; None for another one."""
    # The system's own errors have a number, and do not say what to do.
    if isinstance(error, OSError) and error.errno is not None:
        return (
            f"error: {error}; expected files that can be read, and for the output a "
            "place that can be written, with room: mend that; the same command goes on"
        )
    if isinstance(error, ValueError | RuntimeError | ImportError | OSError):
        return f"error: {error}"
    return None
