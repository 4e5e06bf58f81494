"""Errors of the operating system, made by it, and what is said of them."""

import errno
import os
import pathlib

import pytest

from avemo_jax.runtime import system_errors


def said(work) -> str:
    """The words for the error that ``work`` ends with."""
    with pytest.raises(OSError, match=r"\[Errno") as error:
        work()
    text = system_errors.words(error.value)
    assert "expected" in text
    assert "\n" not in text
    return text


def test_what_is_not_there(tmp_path):
    here = tmp_path / "here"
    assert said(here.read_text).startswith(f"there is no {here}; expected a file or")
    inside = here / "below" / "x"
    for work in (inside.read_text, lambda: inside.write_text("")):
        assert said(work).startswith(f"there is no folder {here}, in which below/x is")
    here.symlink_to(tmp_path / "gone")
    assert said(here.read_text).startswith(f"{here} is a link to {tmp_path / 'gone'},")


def test_a_file_for_a_folder_and_the_reverse(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    for work in ((file / "x").read_text, lambda: os.mkdir(file / "x" / "y")):
        assert said(work).startswith(f"{file} is a file, and {file}/x")
    assert said(tmp_path.read_text).endswith(
        "name one, or leave out what is not to be read"
    )


@pytest.mark.parametrize(
    ("denied", "words"),
    [
        ("file r", "file may not be read by this user; expected the permission: give"),
        ("file w", "file may not be written by this user"),
        ("folder w", "folder may not be written in by this user"),
        ("folder x", "folder may not be entered by this user"),
        ("", "file: the system denies access; expected leave to use it: is it open in"),
    ],
)
def test_which_permission_is_missing(tmp_path, monkeypatch, denied, words):
    folder = tmp_path / "folder"
    folder.mkdir()
    file = folder / "file"
    if denied != "folder w":
        file.write_text("")
    modes = {os.R_OK: "r", os.W_OK: "w", os.X_OK: "x"}

    def access(path: pathlib.Path, mode: int) -> bool:
        return f"{path.name} {modes[mode]}" != denied

    monkeypatch.setattr(os, "access", access)
    error = PermissionError(errno.EACCES, "Permission denied", str(file))
    assert words in system_errors.words(error)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "No space left on device; expected room for what is written: make some",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device", "a", None, "b"),
            "b: No space left on device; expected room",
        ),
        (
            OSError(errno.EMFILE, "Too many", b"x"),
            "x: Too many; expected leave to open",
        ),
        (
            ConnectionResetError(errno.ECONNRESET, "reset"),
            "reset; expected a connection",
        ),
        (OSError(errno.EXDEV, "Cross-device", "x"), "x: Cross-device; expected the"),
        (OSError(errno.EBADF, "Bad", 3), "Bad; expected the system to do it"),
    ],
)
def test_others(error, words):
    assert system_errors.words(error).startswith(words)
