"""How commands end: what their exit status says, and errors as one line."""

import sys
import traceback
from collections.abc import Callable

SOME_FAILED = 3  # the work is done, but videos or frames failed
STOPPED = 130  # by Ctrl-C
PREEMPTED = 75  # by SIGTERM, saved: the same command goes on (EX_TEMPFAIL)


class Preempted(Exception):
    """A run that was asked to stop, and stands saved."""


def guarded(
    run: Callable[[], int | None],
    *,
    plainly: bool = True,
    leave: Callable[[Exception, str], None] | None = None,
) -> int:
    """The exit status that ``run`` gives; after an error 1, and a line on stderr.

    What a user can mend (ValueError, RuntimeError, ImportError, OSError) is told
    without a traceback; anything else is a fault of the program and passes.

    Args:
        run: The command; None as its status is 0.
        plainly: False lets every error pass, for its traceback.
        leave: Called with an error and what there is to say of it before the command
            ends by it, as a process among several has to tell that it goes. It need
            not return.
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
    """What is told of an error that a user can mend; None for other ones."""
    # The system's own errors have a number, and do not say what to do.
    if isinstance(error, OSError) and error.errno is not None:
        return (
            f"error: {error}; expected files that can be read, and for the output a "
            "place that can be written, with room: mend that; the same command goes on"
        )
    if isinstance(error, ValueError | RuntimeError | ImportError | OSError):
        return f"error: {error}"
    return None
