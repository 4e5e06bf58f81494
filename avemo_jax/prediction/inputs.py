"""The inputs that paths name: videos, images, numbered pictures; and their names."""

import collections
import dataclasses
import hashlib
import json
import os
import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from avemo_jax.data.corpus.file_tree import Folder, name_of, one_folder, walk
from avemo_jax.data.listing import first_of
from avemo_jax.data.predictions.threshold_file import RUN
from avemo_jax.media.alignment import frame_times
from avemo_jax.media.file_endings import (
    PICTURE_ENDINGS,
    SOUND_ENDINGS,
    USUAL_VIDEO,
    VIDEO_ENDINGS,
    ending_of,
)
from avemo_jax.media.picture_sources import ImageSequence, PictureSource
from avemo_jax.media.video import FrameTimes, open_video
from avemo_jax.runtime.regular_files import sha256_of

InputKind = Literal["video", "image", "sequence"]
_BETWEEN = "--"  # between the folders of a name
_MAX_NAME = 120  # characters; a folder of that name has files in it
_UNSAFE = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]|[. ]+$|^[. ]+')
# What Windows takes for a device, with any ending.
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_NUMBERS = re.compile(r"(\d+)")
_VIDEOS = VIDEO_ENDINGS | {".gif"}
_PICTURES = PICTURE_ENDINGS - {".gif"}


@dataclasses.dataclass(frozen=True)
class Input:
    """One input, which gets one table.

    Attributes:
        name: Name in tables and of the folder of its results; no other input has it.
        path: The file, or the folder of a numbered sequence.
        kind: "video", "image", or "sequence", the pictures of a folder.
        files: The files, one unless it is a sequence, in the order of the frames.
        fps: Pictures a second of a sequence; 0 else.
    """

    name: str
    path: pathlib.Path
    kind: InputKind
    files: tuple[pathlib.Path, ...]
    fps: float = 0.0

    @property
    def pictures_files(self) -> tuple[pathlib.Path, ...]:
        """The files that are pictures: none of a video."""
        return () if self.kind == "video" else self.files

    def opened(
        self, *, by_packets: bool = False
    ) -> tuple[PictureSource, FrameTimes, bool]:
        """The pictures, when each is shown, and whether that is sure.

        A video is decoded once for its times, unless packets may tell them: then they
        are to be compared with the pictures, once these were read.

        Args:
            by_packets: Whether packets may tell the times.

        Raises:
            ValueError: If it cannot be read.
        """
        if self.kind == "video":
            video = open_video(self.path)
            times = video.packet_times() if by_packets else None
            if times is not None:
                return video, times, False
            return video, video.frame_times(), True
        source = ImageSequence(self.path, self.files)
        if self.kind == "image":
            return source, FrameTimes(np.zeros(1), 0.0, True, ()), True
        times_s = frame_times(len(self.files), self.fps)
        return source, FrameTimes(times_s, self.fps, True, ()), True

    def digest(self, beside: Sequence[pathlib.Path] = ()) -> str:
        """Digest of the names, sizes and times of change of the files, and the rate.

        Args:
            beside: Other files that are read with it, which count by their bytes.

        Raises:
            OSError: If a file is gone.
        """
        found = [(file.name, file.stat()) for file in self.files]
        facts = [(name, st.st_size, int(st.st_mtime)) for name, st in found]
        others = [sha256_of(file) for file in beside]
        text = json.dumps([self.kind, self.fps, facts, others])
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()

    def num_bytes(self) -> int:
        """Size of the files, 0 of those that are gone; the amount of work."""
        return sum(file.stat().st_size for file in self.files if file.is_file())


@dataclasses.dataclass(frozen=True)
class FoundInputs:
    """What the paths of a command name.

    Attributes:
        inputs: The inputs, sorted by name.
        notes: What was passed over, and why, in words.
    """

    inputs: tuple[Input, ...]
    notes: tuple[str, ...]


def find_inputs(
    paths: Sequence[str | os.PathLike[str]],
    *,
    recursive: bool = False,
    fps: float | None = None,
    out: str | os.PathLike[str] | None = None,
) -> FoundInputs:
    """The inputs that paths name, each once, with names that are unique.

    An input is called as its file without the ending. Where two are called alike, the
    folders above are put before, joined by ``--``.

    Args:
        paths: Videos, images, or folders of videos or of images.
        recursive: Look into folders within folders.
        fps: Take each folder for one video, of so many numbered pictures a second;
            None: its files are inputs of their own.
        out: The folder of the results, which is not looked into; nor are folders of
            inputs that were predicted before.

    Raises:
        ValueError: If a path names nothing, a sound, or a folder without any input.
    """
    notes: list[str] = []
    found: list[tuple[pathlib.Path, InputKind, tuple[pathlib.Path, ...]]] = []
    for given in paths:
        path = pathlib.Path(given)
        if path.is_dir():
            if fps is None:
                found += _in_folder(path, recursive, out, notes)
            else:
                found += _sequences(path, recursive, out)
        elif fps is not None:
            raise ValueError(
                f"--as-video with {path}, which is no folder; expected a folder of "
                "numbered pictures: name that, or leave --as-video out"
            )
        else:
            found.append((path, _kind_of(path), (path,)))
    once = {os.path.realpath(one[0]): one for one in reversed(found)}
    names = _names([path for path, _, _ in once.values()])
    inputs = [
        Input(names[path], path, kind, files, fps or 0.0)
        for path, kind, files in once.values()
    ]
    return FoundInputs(tuple(sorted(inputs, key=lambda i: i.name)), tuple(notes))


def _kind_of(path: pathlib.Path) -> InputKind:
    """What a file is by its ending; one that tells nothing is tried as a video.

    Raises:
        ValueError: If there is no such file, or it is sound.
    """
    if not os.path.lexists(path):
        raise ValueError(
            f"{path}: no such file or folder; expected a video, an image, or a folder "
            "of them: correct the path"
        )
    ending = ending_of(path.name)
    if ending in _PICTURES:
        return "image"
    if ending in SOUND_ENDINGS - VIDEO_ENDINGS:
        raise ValueError(
            f"{path} is sound, without faces; expected a video or an image: give the "
            "sound of a video with --audio, or use avemo extract for sound alone"
        )
    return "video"


def _folders(
    path: pathlib.Path, recursive: bool, out: str | os.PathLike[str] | None
) -> Iterator[Folder]:
    """The folder, and with ``recursive`` those within; without any results."""
    if not recursive:
        yield one_folder(path)
        return
    results = None if out is None else os.path.realpath(out)
    for folder in walk(path):
        here = pathlib.Path(os.path.realpath(folder.path))
        if results is not None and pathlib.Path(results) in (here, *here.parents):
            continue
        # Of an earlier run, with another --out.
        if not {RUN, "predictions.csv"}.issubset(folder.files):
            yield folder


def _files_of(folder: Folder) -> list[str]:
    return sorted([*folder.files, *(entry.name for entry in folder.pictures)])


def _in_folder(
    path: pathlib.Path,
    recursive: bool,
    out: str | os.PathLike[str] | None,
    notes: list[str],
) -> list[tuple[pathlib.Path, InputKind, tuple[pathlib.Path, ...]]]:
    """The videos of each folder; its pictures where there are none.

    Raises:
        ValueError: If there are neither.
    """
    found: list[tuple[pathlib.Path, InputKind, tuple[pathlib.Path, ...]]] = []
    others: list[str] = []
    deeper = False
    for folder in _folders(path, recursive, out):
        names = _files_of(folder)
        deeper |= bool(folder.folders)
        videos = [name for name in names if ending_of(name) in _VIDEOS]
        pictures = [name for name in names if ending_of(name) in _PICTURES]
        kind: InputKind = "video" if videos else "image"
        for name in videos or pictures:
            file = folder.path / name
            found.append((file, kind, (file,)))
        taken = {*videos} or {*pictures}
        others += [name for name in names if name not in taken]
    if not found:
        hint = "; it has folders: add --recursive" if deeper and not recursive else ""
        seen = f"only {first_of(others, 3)}" if others else "nothing of the kind"
        raise ValueError(
            f"{path}: no videos and no images in it, {seen}; expected files as "
            f"{', '.join(USUAL_VIDEO[:5])}, .jpg or .png{hint or ': correct the path'}"
        )
    if others:
        notes.append(
            f"{path}: {len(others)} other files passed over ({first_of(others, 3)})"
        )
    return found


def _sequences(
    path: pathlib.Path, recursive: bool, out: str | os.PathLike[str] | None
) -> list[tuple[pathlib.Path, InputKind, tuple[pathlib.Path, ...]]]:
    """The numbered pictures of each folder, by their numbers.

    Raises:
        ValueError: If there are none.
    """
    found: list[tuple[pathlib.Path, InputKind, tuple[pathlib.Path, ...]]] = []
    for folder in _folders(path, recursive, out):
        names = [n for n in _files_of(folder) if ending_of(n) in PICTURE_ENDINGS]
        if names:
            files = tuple(folder.path / name for name in sorted(names, key=_by_number))
            found.append((folder.path, "sequence", files))
    if not found:
        raise ValueError(
            f"{path}: no pictures in it; expected numbered ones as 00001.jpg with "
            "--as-video: correct the path, add --recursive, or leave --as-video out"
        )
    return found


def _by_number(name: str) -> list[tuple[int, str]]:
    """A key that puts img9.png before img10.png."""
    parts = _NUMBERS.split(name)
    return [(int(p), "") if p.isdecimal() else (0, p) for p in parts if p]


def _names(paths: Sequence[pathlib.Path]) -> dict[pathlib.Path, str]:
    """A name for each path that no other has, whatever the system's letters."""
    parts = _parts(paths)
    depth = dict.fromkeys(paths, 1)
    while True:
        names = {
            path: safe_name(_BETWEEN.join(parts[path][-depth[path] :]))
            for path in paths
        }
        alike = collections.Counter(name.casefold() for name in names.values())
        longer = [
            path
            for path, name in names.items()
            if alike[name.casefold()] > 1 and depth[path] < len(parts[path])
        ]
        if not longer:
            return _numbered(names)
        for path in longer:
            depth[path] += 1


def _parts(paths: Sequence[pathlib.Path]) -> dict[pathlib.Path, list[str]]:
    """The names of the folders above each path, and its own without the ending.

    Files of one folder that differ by their endings alone keep them.
    """
    stems = {path: name_of(path, stem=not path.is_dir()) for path in paths}
    place = {path: pathlib.Path(os.path.abspath(path)) for path in paths}
    alike = collections.Counter((place[p].parent, stems[p].casefold()) for p in paths)
    found = {}
    for path in paths:
        own = stems[path]
        if alike[place[path].parent, own.casefold()] > 1 or not own:
            own = name_of(path)
        above = [name_of(one) for one in reversed(place[path].parents)]
        found[path] = [*above[1:], own]
    return found


def _numbered(names: dict[pathlib.Path, str]) -> dict[pathlib.Path, str]:
    """The names, of alike ones all but the first with a number."""
    taken: set[str] = set()
    found = {}
    for path in sorted(names):
        name, count = names[path], 1
        while name.casefold() in taken:
            count += 1
            name = f"{names[path]}_{count}"
        taken.add(name.casefold())
        found[path] = name
    return found


def safe_name(name: str) -> str:
    """The name as a folder may have it on every system."""
    name = _UNSAFE.sub("_", name)
    if len(name) > _MAX_NAME:
        digest = hashlib.sha256(name.encode()).hexdigest()[:8]
        name = f"{name[: _MAX_NAME - 9].rstrip('. ')}_{digest}"
    return f"_{name}" if _RESERVED.fullmatch(name) or name.startswith("-") else name
