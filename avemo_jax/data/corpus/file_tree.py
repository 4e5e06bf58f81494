"""A walk over a user's tree: every folder with its files; links stay in the tree."""

import dataclasses
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import NoReturn

from avemo_jax.data.corpus.crop_folders import is_picture
from avemo_jax.data.listing import nfc
from avemo_jax.media.file_endings import without_endings
from avemo_jax.runtime.progress import progress_bar

_BETWEEN = "--"  # between the folders of a name that is made from a path
ALIGNED = "cropped_aligned"  # how the official folders of aligned crops begin
# Files and folders that systems and archives leave and that hold no data; lower case.
_LEFTOVERS = frozenset(
    "__macosx|thumbs.db|ehthumbs.db|desktop.ini|lost+found|@eadir|$recycle.bin|"
    "system volume information".split("|")
)
_NAMED = 3  # links in an error


@dataclasses.dataclass(frozen=True)
class Folder:
    """One folder of the tree.

    Attributes:
        path: Path of the folder.
        parts: Names on the way from the tree's root to the folder; none for the root.
        aligned: Whether this folder or one above it, up to the root, is called
            ``cropped_aligned...``.
        folders: Names of the folders in it.
        pictures: Files named by a frame number, as the scan found them.
        files: Names of the other files, sorted.
        special: Names of what is neither a file nor a folder, such as a pipe.
    """

    path: pathlib.Path
    parts: tuple[str, ...]
    aligned: bool
    folders: tuple[str, ...]
    pictures: tuple[os.DirEntry[str], ...]
    files: tuple[str, ...]
    special: tuple[str, ...]

    @property
    def empty(self) -> bool:
        """Whether there is nothing in the folder."""
        return not (self.folders or self.pictures or self.files or self.special)

    def picture_sizes(self) -> dict[str, int]:
        """Sizes of the pictures in bytes, by name; asks the file system for each.

        Raises:
            ValueError: If the folder does not let its files be seen.
        """
        try:
            # An entry would keep its own result, some hundred bytes for each picture.
            return {one.name: os.stat(one.path).st_size for one in self.pictures}
        except OSError as error:
            _unreadable(self.path, error)


def name_of(path: pathlib.Path, *, stem: bool = False) -> str:
    """The name that a file or folder gives to its video, in Unicode's form NFC.

    Args:
        path: The file or folder; "." and ".." are resolved.
        stem: Leave out the ending, and endings of media before it.

    Raises:
        ValueError: If the name is not UTF-8.
    """
    name = pathlib.Path(os.path.abspath(path)).name
    name = without_endings(name) if stem else name
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{printable(path)}: the name is not UTF-8; expected a name that can be "
            "written into lists and stores: rename it"
        ) from error
    return nfc(name)


def name_of_path(parts: Sequence[str], root: pathlib.Path) -> str:
    """The name that a file or folder gives to its video with the folders on its way.

    The parts are joined by ``--``, as in ``P01--IMG_0001``: no rule for official names
    (faces ``_left``, numbered parts) reads that, and the parts can be told again.

    Args:
        parts: Names from the tree's root to the file, without its ending.
        root: The tree's root, for errors.

    Raises:
        ValueError: If a name is not UTF-8, or the parts could not be told again.
    """
    names = [name_of(root / part) for part in parts]
    name = _BETWEEN.join(names)
    if name.split(_BETWEEN) != names:
        raise ValueError(
            f"{printable(root.joinpath(*parts))}: {name!r} does not tell its folders; "
            f"expected none that has {_BETWEEN!r} or ends with '-', which --names path "
            "puts between them: rename it"
        )
    return name


def printable(path: str | os.PathLike[str]) -> str:
    """A path as text; bytes that are not UTF-8 are written in hexadecimal."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def walk(
    root: str | os.PathLike[str], *, follow_links: bool = False
) -> Iterator[Folder]:
    """``root`` and then every folder beneath it, in the order of names.

    Links that stay inside the tree are followed. A folder that several links lead to
    comes once under each name, aligned and not, and never within itself; so loops end.
    Hidden entries and what systems leave are passed over. No file is opened.

    Args:
        root: The folder to begin at.
        follow_links: Also follow links that lead out of the tree.

    Raises:
        ValueError: If there is no such folder, a folder cannot be read, or, at the
            end, if links lead out of the tree or nowhere.
    """
    scan = _Scan(pathlib.Path(root), follow_links)
    text = f"looking through {printable(root)}"
    with progress_bar(None, text, "folder", delay_s=2.0, keep=False) as bar:
        for folder in scan.folders():
            yield folder
            bar.update()
    scan.refuse()


def one_folder(path: str | os.PathLike[str], *, follow_links: bool = False) -> Folder:
    """One folder, without a visit to those beneath it.

    Raises:
        ValueError: If there is no such folder, it cannot be read, or a link in it leads
            out of it or nowhere.
    """
    scan = _Scan(pathlib.Path(path), follow_links)
    folder = next(scan.folders())
    scan.refuse()
    return folder


@dataclasses.dataclass(frozen=True)
class _Step:
    """A folder that is to be visited.

    Attributes:
        path: Path of the folder, which may go through links.
        parts: Names on the way from the root to the folder.
        real: Path of the folder without links.
        above: Real paths of the folder and of those on the way to it.
        aligned: Whether this folder or one above it is called ``cropped_aligned...``.
        linked: Whether there is a link on the way to the folder.
    """

    path: pathlib.Path
    parts: tuple[str, ...]
    real: str
    above: frozenset[str]
    aligned: bool
    linked: bool


class _Scan:
    """One walk over a tree, with the refused links that it has met."""

    def __init__(self, root: pathlib.Path, follow_links: bool):
        if not root.is_dir():
            state = "is a file" if root.exists() else "does not exist"
            raise ValueError(
                f"{printable(root)} {state}; expected a folder: correct the path"
            )
        self.root = root
        self.real = os.path.realpath(root)
        self.follow_links = follow_links
        self.outside: list[str] = []
        self.broken: list[str] = []

    def folders(self) -> Iterator[Folder]:
        name = os.path.basename(os.path.abspath(self.root))
        above = frozenset({self.real})
        steps = [_Step(self.root, (), self.real, above, _is_aligned(name), False)]
        seen: set[tuple[str, str, bool]] = set()
        while steps:
            step = steps.pop()
            below: list[_Step] = []
            yield self._visit(step, below)
            for one in reversed(below):
                key = (one.real, one.parts[-1], one.aligned)
                if one.real in step.above or (one.linked and key in seen):
                    continue
                seen.add(key)
                steps.append(one)

    def _visit(self, step: _Step, below: list[_Step]) -> Folder:
        """What is in a folder; the folders in it are added to ``below``."""
        pictures, files, special = [], [], []
        for entry in _entries(step.path):
            name = entry.name
            real: str | None = os.path.join(step.real, name)
            link = entry.is_symlink()
            if link:
                real = self._target(entry)
            if real is None:
                continue
            if entry.is_file():
                if is_picture(name):
                    pictures.append(entry)
                else:
                    files.append(name)
            elif entry.is_dir():
                below.append(
                    _Step(
                        pathlib.Path(entry.path),
                        (*step.parts, name),
                        real,
                        step.above | {real},
                        step.aligned or _is_aligned(name),
                        step.linked or link,
                    )
                )
            else:
                special.append(name)
        below.sort(key=lambda one: one.path.name)
        return Folder(
            step.path,
            step.parts,
            step.aligned,
            tuple(one.path.name for one in below),
            tuple(pictures),
            tuple(sorted(files)),
            tuple(sorted(special)),
        )

    def _target(self, link: "os.DirEntry[str]") -> str | None:
        """Where a link leads; None if it is refused."""
        real = os.path.realpath(link.path)
        text = f"{printable(link.path)} -> {printable(os.readlink(link.path))}"
        if not os.path.exists(real):
            self.broken.append(text)
        elif self.follow_links or _within(real, self.real):
            return real
        else:
            self.outside.append(text)
        return None

    def refuse(self) -> None:
        """Raise if there are links that may not be followed."""
        root = printable(self.root)
        if self.outside:
            raise ValueError(
                f"{_count(self.outside)} out of {root}: {_some(self.outside)}; "
                "expected files of the tree itself: remove them, copy what they point "
                "to, or pass --follow-links"
            )
        if self.broken:
            raise ValueError(
                f"{_count(self.broken)} nowhere in {root}: {_some(self.broken)}; "
                "expected files that are there: remove them, or bring back what they "
                "point to"
            )


def _entries(path: pathlib.Path) -> "Iterator[os.DirEntry[str]]":
    """What is in a folder, without hidden entries and leftovers of systems."""
    try:
        with os.scandir(path) as found:
            for entry in found:
                name = entry.name
                if not name.startswith(".") and name.lower() not in _LEFTOVERS:
                    yield entry
    except OSError as error:
        _unreadable(path, error)


def _unreadable(path: pathlib.Path, error: OSError) -> NoReturn:
    raise ValueError(
        f"{printable(path)} cannot be read ({error.strerror or error}); expected a "
        "folder that you may list and enter: change its permissions, or move it out "
        "of the tree"
    ) from error


def _is_aligned(name: str) -> bool:
    return name.lower().startswith(ALIGNED)


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(os.path.join(folder, ""))


def _count(links: list[str]) -> str:
    return f"{len(links)} link leads" if len(links) == 1 else f"{len(links)} links lead"


def _some(links: list[str]) -> str:
    """The first of some links, in the order of their names, for an error."""
    text = ", ".join(sorted(links)[:_NAMED])
    return text if len(links) <= _NAMED else f"{text}, ..."
