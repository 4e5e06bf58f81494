"""How commands end: the meaning of exit statuses, and errors as one line."""

import io
import os
import select
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

from avemo_jax.runtime import interrupts, system_errors
from avemo_jax.runtime.interrupts import STOPPED
from avemo_jax.runtime.plain_text import lines

SOME_FAILED = 3  # the work is done, but videos or frames failed
UNREAD = 141  # nobody reads what is printed, as a shell tells SIGPIPE
PREEMPTED = 75  # by SIGTERM, saved: the same command resumes (EX_TEMPFAIL)
_TOLD = 200  # characters of an error that came while a command stopped


class Preempted(Exception):
    """A run that was asked to stop by SIGTERM, and has saved its state."""


class Interrupted(KeyboardInterrupt):
    """A run that was asked to stop by Ctrl-C, and has saved its state."""


def run_program(program: Callable[[], int | None]) -> NoReturn:
    """Runs a command as the whole process, and ends that with the command's status.

    After an interruption the process ends without waiting for threads of libraries,
    which would go on with their work. A run that noted the Ctrl-C and saved ends as
    always: other processes may wait for it.

    Args:
        program: The command; returns an exit status, or None for 0.
    """
    with interrupts.second_ends_at_once():
        try:
            status = program() or 0
        except BaseException as error:  # outside of the command, as while modules load
            if not (isinstance(error, KeyboardInterrupt) or interrupts.came()):
                raise
            status = _say_stopped("nothing had begun")
        if status == STOPPED and interrupts.came():
            interrupts.end_at_once()
    sys.exit(status)


def guarded(
    run: Callable[[], int | None],
    *,
    prog: str,
    kept: str,
    plainly: bool = True,
    leave: Callable[[Exception, str], None] | None = None,
) -> int:
    """The exit status that ``run`` gives; after an error 1, and a line on stderr.

    Errors that a user can mend (ValueError, RuntimeError, ImportError, OSError, and
    MemoryError) are told without a traceback, "avemo score: error: ..."; any other is a
    fault of the program and is raised. After a Ctrl-C it is 130, and one line says what
    is kept.
    Where nobody reads what is printed any more, as behind ``| head``, the program ends
    without a word.

    Args:
        run: The command; returns an exit status, or None for 0.
        prog: The command as it was called, "avemo score"; errors begin with it.
        kept: What is kept of a command that was stopped, in words.
        plainly: Tell errors in one line; False raises them all, with a traceback.
        leave: Called with an error and its text before the command ends by it, so that
            one process of several can tell the others. It need not return.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name that the terminal's encoding lacks is escaped, as on stderr.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        status = run() or 0
        sys.stdout.flush()
        return status
    except Preempted as stop:
        print(stop, file=sys.stderr)
        return PREEMPTED
    except KeyboardInterrupt as stop:
        return _say_stopped(str(stop) or kept)
    except Exception as error:
        if interrupts.came():  # libraries make errors of their own of it
            return _say_stopped(f"{kept} ({_first_line(error)})")
        if isinstance(error, BrokenPipeError) and _nobody_reads():
            return UNREAD
        line = _line(prog, error) if plainly else None
        if leave:
            leave(error, line or traceback.format_exc())
        if line is None:
            raise
        print(line, file=sys.stderr)
        return 1


def _say_stopped(kept: str) -> int:
    """Tell that a command was stopped, and return its status."""
    print(f"stopped: {kept}; the same command goes on", file=sys.stderr)
    return STOPPED


def _first_line(error: Exception) -> str:
    first = next(iter(str(error).splitlines()), "")[:_TOLD]
    return f"while it stopped: {type(error).__name__} {first}".strip()


def _nobody_reads() -> bool:
    """Whether standard output is closed at its other end; what is left is dropped."""
    if not hasattr(select, "poll"):
        return False  # Windows tells of it in another way
    output = select.poll()
    output.register(sys.stdout, 0)
    if not any(state & select.POLLERR for _, state in output.poll(0)):
        return False
    # Else the interpreter's own last flush fails.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True


def text_of(error: Exception) -> str:
    """What an error says to a user, also one of the operating system."""
    if isinstance(error, OSError) and error.errno is not None:
        return system_errors.words(error)
    return str(error)


def _line(prog: str, error: Exception) -> str | None:
    """The line for an error that a user can mend; None for another one."""
    if isinstance(error, ValueError | RuntimeError | ImportError | OSError):
        return f"{prog}: error: {lines(text_of(error))}"
    if isinstance(error, MemoryError):
        return (
            f"{prog}: error: more memory is needed than there is ({error!s:.200}); "
            "expected enough: end other programs, or give it less at once"
        )
    return None
