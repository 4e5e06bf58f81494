"""What lies in a folder where nothing of the wanted kind was found: for an error."""

import collections
import os
import pathlib
from collections.abc import Mapping, Sequence

from avemo_jax.data.corpus.file_tree import printable, walk
from avemo_jax.data.listing import first_of
from avemo_jax.media.file_endings import (
    PICTURE_ENDINGS,
    SOUND_ENDINGS,
    USUAL_SOUND,
    USUAL_VIDEO,
    VIDEO_ENDINGS,
    ending_of,
)

# What is expected of a folder of each kind.
CROPS = "a folder for each video with its pictures by frame: VIDEO/00001.jpg, ..."
VIDEOS = f"VIDEO{', '.join(USUAL_VIDEO)} or another video, in it or beneath it"
SOUNDS = f"VIDEO{', '.join(USUAL_SOUND)} or another sound file, in it or beneath it"

_NAMED = 3  # names in a list
_ARCHIVES = frozenset(".zip .tar .tgz .gz .bz2 .xz .7z .rar".split())


def found_instead(
    folder: str | os.PathLike[str],
    where: Mapping[str, str],
    *,
    follow_links: bool = False,
) -> str:
    """The files beneath a folder by their kinds, and what to do with each kind.

    Args:
        folder: The folder, in which nothing of use was found.
        where: What to do with "crops", "videos" and "sounds"; without that of a kind
            only its files are told.
        follow_links: Follow links that lead out of the folder.

    Returns:
        The kinds, as "2 videos (a.mp4, b.mp4; give them with --videos), 1 archives
        (c.zip; unpack them)".

    Raises:
        ValueError: If a folder cannot be read, or links lead out of the tree or
            nowhere.
    """
    crops: list[str] = []
    files: dict[str, list[str]] = collections.defaultdict(list)
    for one in walk(folder, follow_links=follow_links):
        if one.pictures:
            crops.append(printable(pathlib.Path(os.path.abspath(one.path)).name))
        for name in one.files:
            files[_kind(name)].append(printable(name))
        files["special"] += map(printable, one.special)
    found = [
        _told("folders", crops, "of face crops", where.get("crops", "")),
        _told("videos", files["videos"], "", where.get("videos", "")),
        _told("sound files", files["sounds"], "", where.get("sounds", "")),
        _told("pictures", files["pictures"], "", "names must be the frame's number"),
        _told("archives", files["archives"], "", "unpack them"),
        _told("files", files["others"], "of other endings", ""),
        _told("pipes or devices", files["special"], "", "only files are read"),
    ]
    return ", ".join(text for text in found if text) or "an empty folder"


def is_archive(name: str) -> bool:
    """Whether a file's ending is one of archives, which are to be unpacked."""
    return ending_of(name) in _ARCHIVES


def _kind(name: str) -> str:
    ending = ending_of(name)
    for kind, endings in (
        ("videos", VIDEO_ENDINGS),
        ("sounds", SOUND_ENDINGS),
        ("pictures", PICTURE_ENDINGS),
        ("archives", _ARCHIVES),
    ):
        if ending in endings:
            return kind
    return "others"


def _told(kind: str, names: Sequence[str], of: str, instead: str) -> str:
    """One kind: its number, its first names, and what to do; empty without names."""
    if not names:
        return ""
    shown = first_of(names, _NAMED) + (f"; {instead}" if instead else "")
    return " ".join(filter(None, [str(len(names)), kind, of, f"({shown})"]))
