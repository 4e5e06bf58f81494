"""How commands end: what their exit status says, and errors as one line."""

import sys
from collections.abc import Callable

SOME_FAILED = 3  # the work is done, but videos or frames failed
STOPPED = 130  # by Ctrl-C
PREEMPTED = 75  # by SIGTERM, saved: the same command goes on (EX_TEMPFAIL)


class Preempted(Exception):
    """A run that was asked to stop, and stands saved."""


def guarded(run: Callable[[], int]) -> int:
    """The exit status that ``run`` gives; after an error 1, and a line on stderr.

    What a user can mend (ValueError, RuntimeError, ImportError, OSError) is told
    without a traceback; anything else is a fault of the program and passes.
    """
    try:
        return run()
    except (ValueError, RuntimeError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
    except OSError as error:
        print(
            f"error: {error}; expected files that can be read, and for the output a "
            "place that can be written, with room: mend that; the same command goes on",
            file=sys.stderr,
        )
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        return STOPPED
    return 1
