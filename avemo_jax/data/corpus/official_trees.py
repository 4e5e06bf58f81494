"""Videos, face crops and annotations in any of the official arrangements."""

import dataclasses
import os
import pathlib
from collections.abc import Iterable
from typing import Literal

from absl import logging

from avemo_jax.data.corpus.annotations import MTL_FOLDER, holds_annotations
from avemo_jax.data.corpus.crop_folders import CropFolder, crop_folder
from avemo_jax.data.corpus.file_tree import (
    ALIGNED,
    Folder,
    name_of,
    name_of_path,
    one_folder,
    printable,
    walk,
)
from avemo_jax.data.corpus.found_instead import found_instead
from avemo_jax.data.listing import first_of
from avemo_jax.media.file_endings import (
    PICTURE_ENDINGS,
    SOUND_ENDINGS,
    VIDEO_ENDINGS,
    ending_of,
)
from avemo_jax.tasks import TASKS

Crops = Literal["cropped_aligned", "cropped"]
Names = Literal["file", "path"]
_TASK_FOLDERS = {
    MTL_FOLDER,
    *(name for task in TASKS.values() for name in task.folders),
}
_NAMED = 3  # names in a line
_LOGGED = 10  # lines on what is not used


@dataclasses.dataclass(frozen=True, eq=False)
class Corpus:
    """The files of a tree.

    Attributes:
        root: The tree's folder.
        annotations: The folder that holds the tasks' folders; None: there is none.
        videos: Video files by the name of the base video, sorted.
        crops: Folders of crops by the name of the subject-video, sorted.
        ignored: What was found and is not used, and why, for people to read.
    """

    root: pathlib.Path
    annotations: pathlib.Path | None
    videos: dict[str, pathlib.Path]
    crops: dict[str, CropFolder]
    ignored: tuple[str, ...]


def find_corpus(
    root: str | os.PathLike[str],
    *,
    crops: Crops = "cropped_aligned",
    videos: Iterable[str | os.PathLike[str]] = (),
    crop_folders: Iterable[str | os.PathLike[str]] = (),
    annotations: str | os.PathLike[str] | None = None,
    follow_links: bool = False,
) -> Corpus:
    """The videos, crops and annotations in a tree; no file is opened.

    A folder of pictures named by numbers holds a subject-video's crops. They are
    aligned if a folder above, up to ``root`` itself, is called ``cropped_aligned...``.
    Names are converted to Unicode's form NFC, which macOS often does not use.

    Args:
        root: Folder of the tree; the official folders may be anywhere in it.
        crops: Which kind of crops is wanted.
        videos: More video files, such as unlabelled test videos, with any ending.
        crop_folders: More folders of crops, each of one subject-video.
        annotations: The folder that holds the tasks' folders, wherever it is; None:
            the one in the tree.
        follow_links: Follow links that lead out of the tree, or out of one of
            ``crop_folders``, which are refused otherwise.

    Raises:
        ValueError: If there is nothing, a folder cannot be read, a video, subject or
            frame is there twice, there are several roots of annotations, crops are
            misnamed or all of the other kind, or links lead out or nowhere.
    """
    seen = _Seen(pathlib.Path(root))
    other = _Other()
    roots: dict[str, pathlib.Path] = {}
    for folder in walk(seen.root, follow_links=follow_links):
        if not _TASK_FOLDERS.isdisjoint(folder.parts):
            continue
        if not _TASK_FOLDERS.isdisjoint(folder.folders):
            roots.setdefault(os.path.realpath(folder.path), folder.path)
        seen.add_videos(folder, VIDEO_ENDINGS)
        seen.note_unused(folder, VIDEO_ENDINGS)
        if folder.aligned == (crops == ALIGNED):
            seen.add_crops(folder)
        else:
            other.add(folder)
    for video in videos:
        seen.add_given_video(pathlib.Path(video))
    for one in crop_folders:
        seen.add_given_crops(one_folder(one, follow_links=follow_links))
    given = None if annotations is None else pathlib.Path(annotations)
    root_of_labels = _annotations(seen, list(roots.values()), given)
    seen.check_once()
    seen.ignored += other.check(seen, crops)
    return Corpus(
        seen.root,
        root_of_labels,
        seen.sorted_videos(),
        seen.sorted_crops(),
        seen.all_ignored(),
    )


def find_crops(
    folder: str | os.PathLike[str],
    *,
    follow_links: bool = False,
    names: Names | None = None,
) -> dict[str, CropFolder]:
    """The folders of crops among ``folder`` and those beneath it, by name.

    Args:
        folder: Where to look.
        follow_links: Follow links that lead out of the tree.
        names: What names a subject-video: its own folder ("file"), or with those on the
            way to it ("path"). None: its own, where no choice is offered.

    Raises:
        ValueError: If a folder cannot be read, a name or frame is there twice, crops
            are misnamed, or links lead out of the tree or nowhere.
    """
    seen = _Seen(pathlib.Path(folder), names)
    for one in walk(seen.root, follow_links=follow_links):
        seen.add_crops(one)
        seen.note_unused(one, frozenset())
    seen.check_once()
    seen.log_ignored()
    return seen.sorted_crops()


def find_videos(
    folder: str | os.PathLike[str], *, follow_links: bool = False
) -> dict[str, pathlib.Path]:
    """Every video file beneath ``folder``, by its name without the ending.

    Raises:
        ValueError: If a folder cannot be read, a name is there twice, or links lead out
            of the tree or nowhere.
    """
    return _found(folder, follow_links, VIDEO_ENDINGS)[0]


def find_sounds(
    folder: str | os.PathLike[str],
    *,
    follow_links: bool = False,
    names: Names | None = None,
) -> dict[str, pathlib.Path]:
    """Every sound file beneath ``folder``, by its name without the ending.

    Args:
        folder: Where to look.
        follow_links: Follow links that lead out of the tree.
        names: What names a file, the same choices as for :func:`find_recordings`.

    Raises:
        ValueError: If a folder cannot be read, a name is there twice, or links lead out
            of the tree or nowhere.
    """
    return _found(folder, follow_links, SOUND_ENDINGS, names=names)[0]


def find_recordings(
    folder: str | os.PathLike[str],
    *,
    follow_links: bool = False,
    names: Names | None = None,
) -> tuple[dict[str, pathlib.Path], dict[str, pathlib.Path]]:
    """Every video file and every sound file beneath ``folder``, each by its name.

    Args:
        folder: Where to look.
        follow_links: Follow links that lead out of the tree.
        names: What names a recording: its file without the ending ("file"), or with the
            folders on the way to it ("path"). None: its file, where no choice is
            offered.

    Raises:
        ValueError: If a folder cannot be read, a name is there twice among the videos
            or among the sound files, or links lead out of the tree or nowhere.
    """
    kinds = (VIDEO_ENDINGS, SOUND_ENDINGS)
    videos, sounds = _found(folder, follow_links, *kinds, names=names)
    return videos, sounds


def _found(
    folder: str | os.PathLike[str],
    follow_links: bool,
    *kinds: frozenset[str],
    names: Names | None = None,
) -> list[dict[str, pathlib.Path]]:
    """The files of each kind, which is told by endings; those of no kind are logged."""
    found = [_Seen(pathlib.Path(folder), names) for _ in kinds]
    for one in walk(folder, follow_links=follow_links):
        for seen, kind in zip(found, kinds, strict=True):
            seen.add_videos(one, kind)
        found[0].note_unused(one, frozenset().union(*kinds), others=not one.pictures)
    for seen in found:
        seen.check_once()
    found[0].log_ignored()
    return [seen.sorted_videos() for seen in found]


def _annotations(
    seen: "_Seen", found: list[pathlib.Path], given: pathlib.Path | None
) -> pathlib.Path | None:
    """The folder of annotations: ``given``, or the one in the tree, or None."""
    if given is None:
        if len(found) > 1:
            raise ValueError(
                f"{printable(seen.root)} has annotations in "
                f"{', '.join(map(printable, found))}; expected one folder of them: "
                "remove the others, or move them out of the tree"
            )
        return found[0] if found else None
    if not holds_annotations(given):
        raise ValueError(
            f"{printable(given)} has no annotations; expected a folder with "
            f"{', '.join(sorted(_TASK_FOLDERS))}, or one of them: correct the path"
        )
    real = os.path.realpath(given)
    seen.ignored += [
        f"{printable(path)}: annotations, others were given"
        for path in found
        if os.path.realpath(path) != real
    ]
    return given


class _Other:
    """Counts of the crops of the kind that is not wanted."""

    def __init__(self) -> None:
        self.folders = 0
        self.pictures = 0
        self.first: pathlib.Path | None = None

    def add(self, folder: Folder) -> None:
        if folder.pictures:
            self.folders += 1
            self.pictures += len(folder.pictures)
            self.first = self.first or folder.path

    def _count(self) -> str:
        return "1 folder" if self.folders == 1 else f"{self.folders} folders"

    def check(self, seen: "_Seen", crops: Crops) -> list[str]:
        """Notes about the unwanted crops, if any.

        Raises:
            ValueError: If the tree has crops of the other kind only, or neither crops
                nor videos.
        """
        unwanted: Crops = "cropped" if crops == ALIGNED else "cropped_aligned"
        root = printable(seen.root)
        if self.first is not None and not seen.crops:
            aligned = (
                "; if they are aligned, move them into a folder cropped_aligned"
                if crops == ALIGNED
                else ""
            )
            raise ValueError(
                f"{root} has no {crops} face crops, but {self._count()} of "
                f"{unwanted} ones ({printable(self.first)}, ...); expected {crops}: "
                f"pass --crops {unwanted}, or unpack the others{aligned}"
            )
        if not (seen.crops or seen.videos):
            found = found_instead(seen.root, {}, follow_links=True)
            raise ValueError(
                f"{root} has no face crops and no videos, only {found}; expected "
                "folders such as cropped_aligned/VIDEO/00001.jpg and "
                "batch1/VIDEO.mp4: correct the path"
            )
        if self.first is None:
            return []
        return [
            f"{self._count()} of {unwanted} crops ({printable(self.first)}, "
            f"...; {self.pictures:,} pictures): {crops} ones are wanted"
        ]


class _Seen:
    """What was found in a tree so far."""

    def __init__(self, root: pathlib.Path, names: Names | None = None):
        self.root = root
        self.names = names
        self.videos: dict[str, pathlib.Path] = {}
        self.crops: dict[str, CropFolder] = {}
        self.ignored: list[str] = []
        self.twice: list[str] = []
        self.apart = False  # whether folders tell two such names apart

    def add_crops(self, folder: Folder) -> None:
        """Add a folder's pictures as crops, if it has any."""
        if not folder.pictures:
            return
        name = name_of(folder.path)
        if self.names == "path" and folder.parts:
            name = name_of_path(folder.parts, self.root)
        if name in self.crops:
            self._again(f"crops of {name!r}", self.crops[name].path, folder.path)
        else:
            sizes = folder.picture_sizes()
            self.crops[name] = crop_folder(name, folder.path, sizes)

    def add_videos(self, folder: Folder, endings: frozenset[str]) -> None:
        """Add a folder's files with these endings."""
        for name in folder.files:
            if ending_of(name) in endings:
                self.add_video(folder.path / name, folder.parts)

    def note_unused(
        self, folder: Folder, used: frozenset[str], *, others: bool = True
    ) -> None:
        """Note what is not used in a folder; other files only if ``others``."""
        unused = [name for name in folder.files if ending_of(name) not in used]
        where = printable(folder.path)
        if unused and others:
            pictures = folder.pictures or any(
                ending_of(name) in PICTURE_ENDINGS for name in unused
            )
            what = "pictures named by numbers" if pictures else "of a known kind"
            self.ignored.append(f"{where}: {_files(unused)} not {what}")
        if folder.special:
            self.ignored.append(f"{where}: {_files(folder.special)} not regular files")
        if folder.empty:
            self.ignored.append(f"{where}: an empty folder")

    def add_given_crops(self, folder: Folder) -> None:
        """Add a folder of crops that the user named.

        Raises:
            ValueError: If there are no crops in it.
        """
        if not folder.pictures:
            raise ValueError(
                f"--crop-folder {printable(folder.path)} has no pictures; expected "
                "00001.jpg, 00002.jpg, ...: give the folder of one subject-video's "
                "crops"
            )
        self.add_crops(folder)

    def add_given_video(self, path: pathlib.Path) -> None:
        """Add a video file, with any ending, that the user named.

        Raises:
            ValueError: If there is no such file.
        """
        if not path.is_file():
            state = "is no file" if path.exists() else "does not exist"
            raise ValueError(
                f"--video {printable(path)} {state}; expected a video file: correct "
                "the path"
            )
        self.add_video(path)

    def add_video(self, path: pathlib.Path, parts: tuple[str, ...] = ()) -> None:
        """Add one video file, which lies in the folders ``parts`` of the tree."""
        name = name_of(path, stem=True)
        if self.names == "path":
            name = name_of_path((*parts, path.stem), self.root)
        before = self.videos.setdefault(name, path)
        if before is not path:
            self._again(f"video {name!r}", before, path)

    def _again(self, what: str, one: pathlib.Path, two: pathlib.Path) -> None:
        """Note a name that is there twice, unless both paths lead to one place."""
        if os.path.realpath(one) != os.path.realpath(two):
            self.apart |= one.parent != two.parent
            self.twice.append(f"{what} in {printable(one)} and {printable(two)}")

    def check_once(self) -> None:
        """Raise ``ValueError`` if a name is there twice."""
        if self.twice:
            more = f", ... ({len(self.twice)} in all)"
            flag = ""
            if self.apart and self.names == "file":
                flag = ", or pass --names path, which puts the folders into the names"
            raise ValueError(
                f"{'; '.join(self.twice[:_NAMED])}"
                f"{more if len(self.twice) > _NAMED else ''}; expected each name once "
                "(without ending, in Unicode NFC): remove or rename one of each pair"
                f"{flag}"
            )

    def sorted_videos(self) -> dict[str, pathlib.Path]:
        return dict(sorted(self.videos.items()))

    def sorted_crops(self) -> dict[str, CropFolder]:
        return dict(sorted(self.crops.items()))

    def all_ignored(self) -> tuple[str, ...]:
        """The notes, each once, although a folder may be reached in several ways."""
        return tuple(dict.fromkeys(self.ignored))

    def log_ignored(self) -> None:
        ignored = self.all_ignored()
        for text in ignored[:_LOGGED]:
            logging.warning("not used: %s", text)
        if len(ignored) > _LOGGED:
            logging.warning("not used: ... (%d in all)", len(ignored))


def _files(names: list[str] | tuple[str, ...]) -> str:
    """How many files there are, and the names of the first."""
    text = first_of([printable(name) for name in names], _NAMED)
    count = "1 file" if len(names) == 1 else f"{len(names)} files"
    return f"{count} ({text})"
