"""A user's tree walked once: every file by its folder, links only where they may go."""

import dataclasses
import os
import pathlib
from collections.abc import Iterator

from avemo_jax.data.crop_folders import is_picture

# What systems and archives leave, which is nobody's data.
LEFTOVERS = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini", "lost+found"})


@dataclasses.dataclass(frozen=True)
class Folder:
    """One folder of the tree.

    Attributes:
        path: Where it is.
        parts: Names from the tree's root to it.
        pictures: Sizes in bytes of the files named by a frame number.
        files: Names of the others, sorted.
    """

    path: pathlib.Path
    parts: tuple[str, ...]
    pictures: dict[str, int]
    files: tuple[str, ...]


def walk(root: pathlib.Path, *, follow_links: bool = False) -> Iterator[Folder]:
    """Every folder beneath ``root``, itself first, in the order of names.

    Links that stay inside the tree are followed, but not into a folder that they lie
    in. Hidden entries and what systems leave are passed over.

    Args:
        root: A folder.
        follow_links: Follow links that lead out of the tree, too.

    Raises:
        ValueError: If a link leads out of the tree, or nowhere.
        OSError: If a folder cannot be read.
    """
    inside = root.resolve()
    refused: list[str] = []

    def visit(
        path: pathlib.Path, parts: tuple[str, ...], above: frozenset[pathlib.Path]
    ) -> Iterator[Folder]:
        pictures: dict[str, int] = {}
        files: list[str] = []
        below: list[tuple[str, pathlib.Path]] = []
        with os.scandir(path) as entries:
            for entry in sorted(entries, key=lambda one: one.name):
                if entry.name.startswith(".") or entry.name in LEFTOVERS:
                    continue
                if entry.is_symlink():
                    target = pathlib.Path(entry.path).resolve()
                    leads_out = not target.is_relative_to(inside)
                    if not target.exists() or (leads_out and not follow_links):
                        refused.append(f"{entry.path} -> {os.readlink(entry.path)}")
                        continue
                if entry.is_dir():
                    below.append((entry.name, pathlib.Path(entry.path)))
                elif is_picture(entry.name):
                    pictures[entry.name] = entry.stat().st_size
                else:
                    files.append(entry.name)
        yield Folder(path, parts, pictures, tuple(files))
        for name, folder in below:
            target = folder.resolve()
            if target not in above:
                yield from visit(folder, (*parts, name), above | {target})

    yield from visit(root, (), frozenset({inside}))
    if refused:
        raise ValueError(
            f"{len(refused)} links in {root} lead out of it, or nowhere: "
            f"{', '.join(refused[:3])}{', ...' if len(refused) > 3 else ''}; expected "
            "files of the tree itself: remove the links, put what they point to in "
            "their place, or pass --follow-links"
        )
