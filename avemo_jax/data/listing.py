"""Users' folders and lists of names, without what archives and systems leave there."""

import os
import pathlib
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from avemo_jax.runtime.plain_text import one_line

T = TypeVar("T")

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


def entries(folder: str | os.PathLike[str]) -> list[pathlib.Path]:
    """Files and folders in ``folder``, sorted; empty if there is no such folder.

    Hidden ones (``.DS_Store``, ``._NAME``) and ``__MACOSX``, which macOS puts into
    archives, hold no data and are left out.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        return []
    return sorted(
        path
        for path in folder.iterdir()
        if path.name != "__MACOSX" and not path.name.startswith(".")
    )


def subfolders(folder: str | os.PathLike[str]) -> list[pathlib.Path]:
    """Folders in ``folder``, sorted, without hidden ones and ``__MACOSX``."""
    return [path for path in entries(folder) if path.is_dir()]


def nfc(name: str) -> str:
    """A video's name in Unicode's form NFC, the one in which names are compared.

    Archives made on macOS have names in the form NFD.
    """
    return unicodedata.normalize("NFC", name)


def first_of(names: Sequence[str], most: int) -> str:
    """The first names of many, and dots where there are more: "a, b, ..."."""
    return ", ".join(map(one_line, names[:most])) + (
        ", ..." if len(names) > most else ""
    )


def said_of_many(notes: Mapping[str, Sequence[str]], most: int = 5) -> list[str]:
    """One line for each kind of note: the note, and the first videos that have it.

    Notes that differ in their numbers alone are of one kind, told with the numbers of
    the first video. So a note that all videos have does not hide one that few have.

    Args:
        notes: The notes of each video, in words without its name.
        most: Number of names to tell; where there are more, their number is told too.
    """
    kinds: dict[str, list[tuple[str, str]]] = {}
    for video, texts in sorted(notes.items()):
        for text in texts:
            kinds.setdefault(_NUMBER.sub("#", text), []).append((video, text))
    lines = []
    for told in kinds.values():
        text = told[0][1]
        if any(other != text for _, other in told):
            text += " (others with other numbers)"
        videos = list(dict.fromkeys(video for video, _ in told))
        count = f" ({len(videos):,} videos)" if len(videos) > most else ""
        lines.append(f"{text}: {first_of(videos, most)}{count}")
    return sorted(lines)


def by_video(
    places: Iterable[T], name_of: Callable[[T], str], where: str
) -> dict[str, T]:
    """The files, or what else holds one video each, by the video's name in NFC.

    Args:
        places: The files.
        name_of: Gives a file's name, without folder and ending.
        where: The folder or file that errors name.

    Raises:
        ValueError: If two are of one video; such are names that differ only in their
            Unicode form.
    """
    found: dict[str, T] = {}
    for place in places:
        video = nfc(name_of(place))
        if video in found:
            both = " and ".join(ascii(str(one)) for one in (found[video], place))
            raise ValueError(
                f"{where}: {both} are both video {video!r}, as names are compared in "
                "one Unicode form (NFC); expected each video once: remove or rename one"
            )
        found[video] = place
    return found


def read_names(path: str | os.PathLike[str]) -> list[tuple[int, str]]:
    """Line number and name of every line of a list that is not blank.

    Windows line ends and a byte-order mark are accepted; the ending ``.txt`` of a name
    is cut off.

    Raises:
        ValueError: If there is no such file, or it is not text in UTF-8.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise ValueError(
            f"no file {str(path)!r}; expected a list with one video name a line: "
            "correct the path"
        )
    data = path.read_bytes()
    try:
        text = data.removeprefix(b"\xef\xbb\xbf").decode()
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ValueError(
            f"{path}, line {line}: not UTF-8 (byte {error.object[error.start]:#04x}); "
            "expected one video name a line: save the list as UTF-8"
        ) from error
    names = [nfc(line.strip().removesuffix(".txt")) for line in text.splitlines()]
    return [(number, name) for number, name in enumerate(names, start=1) if name]
