"""How commands end: one frame for all of them."""

import functools
import io

import pytest

from avemo_jax.runtime import errors
from avemo_jax.runtime.errors import PREEMPTED, STOPPED, Interrupted, Preempted

guarded = functools.partial(
    errors.guarded, prog="avemo score", kept="what was done is kept"
)


def raising(error: BaseException):
    def run() -> int:
        raise error

    return run


@pytest.mark.parametrize(("given", "status"), [(None, 0), (0, 0), (3, 3)])
def test_status_is_that_of_the_command(given, status):
    assert guarded(lambda: given) == status


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (ValueError("no such field"), 1, "avemo score: error: no such field\n"),
        (RuntimeError("nan"), 1, "avemo score: error: nan\n"),
        (ImportError("no gcsfs"), 1, "avemo score: error: no gcsfs\n"),
        (FileNotFoundError("no store in 'x'"), 1, "score: error: no store in 'x'\n"),
        (MemoryError("4 TB"), 1, "error: more memory is needed than there is (4 TB)"),
        (OSError(28, "No space left"), 1, "expected room for what is written"),
        (Preempted("stopped after epoch 2"), PREEMPTED, "stopped after epoch 2\n"),
        (
            KeyboardInterrupt(),
            STOPPED,
            "stopped: what was done is kept; the same command goes on\n",
        ),
        (
            Interrupted("epoch 2 is saved"),
            STOPPED,
            "stopped: epoch 2 is saved; the same command goes on\n",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_can_be_mended_is_one_line(capsys, error, status, words):
    assert guarded(raising(error)) == status
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "plainly"), [(KeyError("x"), True), (ValueError("x"), False)]
)
def test_others_pass_with_their_traceback(error, plainly):
    told = []
    with pytest.raises(type(error)):
        guarded(raising(error), plainly=plainly, leave=lambda *each: told.append(each))
    ((left, text),) = told
    assert left is error
    assert text.startswith("Traceback")


def test_others_are_told_before_the_line(capsys):
    told = []

    def leave(error: Exception, message: str) -> None:
        assert not capsys.readouterr().err
        told.append(message)

    assert guarded(raising(ValueError("x")), leave=leave) == 1
    assert told == ["avemo score: error: x"]
    guarded(raising(Preempted("saved")), leave=leave)
    assert len(told) == 1  # it is no error: all of them stop


def test_names_that_the_terminal_lacks_are_escaped(monkeypatch):
    """A console on Windows, or a file's name that is no text."""
    printed = io.BytesIO()
    terminal = io.TextIOWrapper(printed, encoding="cp1252")
    monkeypatch.setattr("sys.stdout", terminal)
    assert guarded(lambda: print("vidéo, видео, \udcff", flush=True)) == 0
    assert (
        printed.getvalue()
        == b"vid\xe9o, \\u0432\\u0438\\u0434\\u0435\\u043e, \\udcff\n"
    )
