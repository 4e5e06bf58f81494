"""Videos, face crops and annotations in any of the official arrangements."""

import dataclasses
import pathlib
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Literal

from avemo_jax.data.annotations import MTL_FOLDER
from avemo_jax.data.crop_folders import CropFolder, crop_folder
from avemo_jax.data.tree import Folder, walk
from avemo_jax.tasks import TASKS

Crops = Literal["cropped_aligned", "cropped"]
VIDEO_ENDINGS = frozenset(".mp4 .avi .mkv .mov .webm .m4v .mpg .mpeg .wmv .flv".split())
SOUND_ENDINGS = frozenset(".wav .flac .mp3 .m4a .aac .ogg .opus".split())
_ALIGNED = "cropped_aligned"
_TASK_FOLDERS = {
    MTL_FOLDER,
    *(name for task in TASKS.values() for name in task.folders),
}


@dataclasses.dataclass(frozen=True)
class Corpus:
    """The files of a tree.

    Attributes:
        root: Of the tree.
        annotations: The folder that holds the tasks' folders; None: there is none.
        videos: Files by the name of the base video.
        crops: By the name of the subject-video.
        ignored: What was found and is not used, and why.
    """

    root: pathlib.Path
    annotations: pathlib.Path | None
    videos: dict[str, pathlib.Path]
    crops: dict[str, CropFolder]
    ignored: tuple[str, ...]


def find_corpus(
    root: pathlib.Path,
    *,
    crops: Crops = "cropped_aligned",
    videos: Iterable[str | pathlib.Path] = (),
    crop_folders: Iterable[str | pathlib.Path] = (),
    follow_links: bool = False,
) -> Corpus:
    """What lies in a tree; nothing is opened.

    A folder of pictures named by numbers holds a subject-video's crops. They are
    aligned if a folder above, or ``root`` itself, is called ``cropped_aligned...``.
    Names are in Unicode's form NFC, for archives made on macOS are not.

    Args:
        root: The official folders lie anywhere in it.
        crops: Which of the crops are wanted.
        videos: More files, such as unlabelled test videos.
        crop_folders: More folders of crops, each of one subject-video.
        follow_links: Follow links that lead out of the tree, which are refused
            otherwise.

    Raises:
        ValueError: If there is nothing, a video or subject is there twice, there are
            several roots of annotations, crops are misnamed, or links lead out.
        OSError: If a folder cannot be read.
    """
    if not root.is_dir():
        state = "is a file" if root.exists() else "does not exist"
        raise ValueError(
            f"{root} {state}; expected the folder with the official videos, crops and "
            "annotations: correct the path"
        )
    seen = _Seen(root)
    other = _Seen(root)  # crops of the other kind
    for folder in walk(root, follow_links=follow_links):
        if _TASK_FOLDERS & set(folder.parts) or root.name in _TASK_FOLDERS:
            continue
        if _has_task_folders(folder):
            seen.annotations.append(folder.path)
        aligned = any(part.startswith(_ALIGNED) for part in (root.name, *folder.parts))
        wanted = aligned == (crops == _ALIGNED)
        (seen if wanted else other).add_crops(folder)
        seen.add_videos(folder)
    for path in map(pathlib.Path, videos):
        seen.add_video(_existing(path, "--video"))
    for path in map(pathlib.Path, crop_folders):
        seen.add_crops(next(walk(_existing(path, "--crop-folder"))), given=True)
    return seen.corpus(crops, other)


def find_crops(folder: pathlib.Path) -> dict[str, CropFolder]:
    """Every folder of pictures named by numbers beneath ``folder``, by its name.

    Raises:
        ValueError: As :func:`find_corpus`.
    """
    seen = _Seen(folder)
    for one in walk(folder):
        seen.add_crops(one)
    return dict(sorted(seen.crops.items()))


def find_videos(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """Every video file beneath ``folder``, by its name without the ending.

    Raises:
        ValueError: As :func:`find_corpus`.
    """
    return _found(folder, VIDEO_ENDINGS)


def find_sounds(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """Every sound file beneath ``folder``, by its name without the ending.

    Raises:
        ValueError: As :func:`find_corpus`.
    """
    return _found(folder, SOUND_ENDINGS)


def _found(folder: pathlib.Path, endings: frozenset[str]) -> dict[str, pathlib.Path]:
    seen = _Seen(folder)
    for one in walk(folder):
        seen.add_videos(one, endings)
    return dict(sorted(seen.videos.items()))


def _has_task_folders(folder: Folder) -> bool:
    return any((folder.path / name).is_dir() for name in _TASK_FOLDERS)


def _existing(path: pathlib.Path, flag: str) -> pathlib.Path:
    if not path.exists():
        raise ValueError(
            f"{flag} {path} does not exist; expected a path: correct the flag"
        )
    return path


class _Seen:
    """What was found so far."""

    def __init__(self, root: pathlib.Path):
        self.root = root
        self.annotations: list[pathlib.Path] = []
        self.videos: dict[str, pathlib.Path] = {}
        self.crops: dict[str, CropFolder] = {}
        self.ignored: list[str] = []

    def add_crops(self, folder: Folder, *, given: bool = False) -> None:
        """Take a folder's pictures, if it has some."""
        if not folder.pictures:
            if given:
                raise ValueError(
                    f"{folder.path} has no pictures; expected 00001.jpg, 00002.jpg, "
                    "...: give the folder of one subject-video's crops"
                )
            return
        name = _nfc(folder.path.name)
        if name in self.crops:
            if self.crops[name].path.resolve() == folder.path.resolve():
                return
            raise ValueError(
                f"{folder.path}: crops of {name!r} are in {self.crops[name].path} too; "
                "expected one folder a subject-video: remove one of the two"
            )
        self.crops[name] = crop_folder(name, folder.path, folder.pictures)
        if folder.files:
            self.ignored.append(
                f"{len(folder.files)} files in {folder.path} that are no pictures "
                f"named by a number ({folder.files[0]}, ...)"
            )

    def add_videos(
        self, folder: Folder, endings: frozenset[str] = VIDEO_ENDINGS
    ) -> None:
        """Take a folder's videos."""
        for name in folder.files:
            path = folder.path / name
            if path.suffix.lower() in endings:
                self.add_video(path)
            elif not folder.pictures:
                self.ignored.append(f"{path}: no {_kind(endings)}")

    def add_video(self, path: pathlib.Path) -> None:
        """Take one video."""
        name = _nfc(path.stem)
        before = self.videos.setdefault(name, path)
        if before is not path and before.resolve() != path.resolve():
            raise ValueError(
                f"{path}: {name!r} is in {before} too; expected one file a video: "
                "remove one of the two"
            )

    def corpus(self, crops: Crops, other: "_Seen") -> Corpus:
        """All of it, if it is what was wanted."""
        unwanted: Crops = "cropped" if crops == _ALIGNED else "cropped_aligned"
        if not self.crops and other.crops:
            raise ValueError(
                f"{self.root} has no {crops} face crops, but {len(other.crops)} "
                f"folders of {unwanted} ones; expected {crops}: pass --crops "
                f"{unwanted}, or unpack the others"
            )
        if not (self.crops or self.videos):
            raise ValueError(
                f"{self.root} has no face crops and no videos; expected folders such "
                "as cropped_aligned/VIDEO/00001.jpg and batch1/VIDEO.mp4: correct the "
                "path"
            )
        if len(self.annotations) > 1:
            raise ValueError(
                f"{self.root} has annotations in "
                f"{', '.join(map(str, self.annotations))}; expected one set: remove "
                "the others, or move them out"
            )
        if other.crops:
            self.ignored.append(f"{len(other.crops)} folders of {unwanted} crops")
        return Corpus(
            self.root,
            self.annotations[0] if self.annotations else None,
            dict(sorted(self.videos.items())),
            dict(sorted(self.crops.items())),
            tuple(self.ignored),
        )


def _nfc(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _kind(endings: Sequence[str] | frozenset[str]) -> str:
    return "video" if endings is VIDEO_ENDINGS else "sound"
