"""The official Aff-Wild2 annotation folders -> labels and splits by video.

Each task's folder has a folder for each set, and that a file for each video. Files in
``Test_Set``, as challenge teams have it, tell how many frames a test video has; what
stands in them for labels is not read.
"""

import dataclasses
import os
import pathlib
import re
from collections.abc import Iterable, Iterator
from typing import NoReturn

import numpy as np
from absl import logging

from avemo_jax.data.corpus.label_files import (
    count_frames,
    read_label_file,
    read_mtl_file,
    task_of_file,
)
from avemo_jax.data.corpus.splits import nominal_fps
from avemo_jax.data.listing import entries, nfc, subfolders
from avemo_jax.data.records import VideoAnnotations
from avemo_jax.tasks import TASKS, Task

SET_FOLDERS = {
    "Train_Set": "train",
    "Validation_Set": "validation",
    "Test_Set": "test",
}
MTL_FOLDER = "MTL_Challenge"
_SET = re.compile(r"(train|validation|test)(?:ing)?[\W_]?set")


@dataclasses.dataclass(frozen=True)
class _Labelled:
    """What one file, or a part of a multi-task file, says of one video.

    Attributes:
        path: The file.
        split: The split of the set that it lies in.
        task: The task.
        video: Name of the subject-video.
        labels: Its labels; None for test videos.
        num_frames: How many frames the video has; 0: unknown.
    """

    path: pathlib.Path
    split: str
    task: Task
    video: str
    labels: np.ndarray | None
    num_frames: int


def split_of_set(folder: str) -> str | None:
    """The split that a set's folder holds, by its name; None: the name is of no set.

    Case does not matter, nor what stands between the words: "Test_Set", "test set".
    """
    match = _SET.fullmatch(folder.casefold())
    return match[1] if match else None


def read_annotations(
    root: str | os.PathLike[str],
    *,
    tasks: Iterable[str] | None = None,
    mtl: bool = False,
) -> list[VideoAnnotations]:
    """The labels of every annotated subject-video, sorted by name.

    A test video has no labels, only its number of frames.

    Args:
        root: Folder that has ``EXPR_Recognition_Challenge`` (or
            ``EXPR_Classification_Challenge``), ``AU_Detection_Challenge``,
            ``VA_Estimation_Challenge``, each with ``Train_Set``, ``Validation_Set``
            and, where there is one, ``Test_Set``; its own name does not matter. Or a
            task's own folder, or one of its sets: then the labels of that task alone.
        tasks: Names of the tasks to read; None: all that have a folder.
        mtl: Read the multi-task files in ``MTL_Challenge`` instead.

    Raises:
        ValueError: If a file is wrong (file and line are named), a folder has no
            files, there are no annotations, or a video is in both sets of a task.
    """
    root = pathlib.Path(root)
    wanted = tuple(TASKS) if tasks is None else tuple(tasks)
    labels: dict[str, dict[str, np.ndarray]] = {}
    splits: dict[str, dict[str, str]] = {}
    frames: dict[str, int] = {}
    origin: dict[tuple[str, str], pathlib.Path] = {}
    found = _mtl_labels(root) if mtl else _folder_labels(root, wanted, tasks is None)
    for one in found:
        video, task = one.video, one.task.name
        if task not in wanted:
            continue
        if (video, task) in origin:
            raise ValueError(
                f"{one.path}: video {video!r} has {task} labels in "
                f"{origin[video, task]} already; expected each video in one set: "
                "remove one of the two"
            )
        origin[video, task] = one.path
        of_video = labels.setdefault(video, {})
        if one.labels is not None:
            of_video[task] = one.labels
        splits.setdefault(video, {})[task] = one.split
        frames[video] = max(frames.get(video, 0), one.num_frames)
    return [
        VideoAnnotations(
            video,
            labels[video],
            splits[video],
            num_frames=frames[video],
            fps=nominal_fps(video),
        )
        for video in sorted(labels)
    ]


def frames_of_test_videos(root: str | os.PathLike[str]) -> dict[str, int]:
    """How many frames each test video has, by its name, from the files of its labels.

    Args:
        root: The folder of the tasks' folders, a task's own, or its ``Test_Set``.

    Raises:
        ValueError: If no test video has a number of frames, or a file is wrong.
    """
    frames: dict[str, int] = {}
    for task, folder in _task_folders(pathlib.Path(root), tuple(TASKS), True):
        for split, path in _label_files(folder):
            if split == "test" and (count := count_frames(path, task)):
                video = nfc(path.stem)
                frames[video] = max(frames.get(video, 0), count)
    if not frames:
        raise ValueError(
            f"{root} tells no test video's frames; expected Test_Set with VIDEO.txt of "
            "one line a frame: give the folder that has it"
        )
    return frames


def holds_annotations(root: pathlib.Path) -> bool:
    """Whether ``root`` has folders of annotations, or is one of a task or of a set."""
    official = (MTL_FOLDER, *(f for task in TASKS.values() for f in task.folders))
    return any((root / name).is_dir() for name in official) or _is_of_task(root)


def find_label_files(
    root: str | os.PathLike[str], task: Task
) -> list[tuple[str, pathlib.Path]]:
    """The split and the path of every label file of one task, one for each video.

    Args:
        root: The folder above the tasks' folders, or the task's own folder, or one with
            the files themselves, whose split its name tells (``Train_Set``), or else is
            "validation".
        task: The task whose labels are wanted.

    Raises:
        ValueError: If there are no label files, or other folders than the sets.
    """
    root = pathlib.Path(root)
    if folder := _task_folder(root, task):
        return list(_label_files(folder))
    if _is_of_task(root):
        return list(_label_files(root))
    files = _text_files(root) or _no_annotations(root, task)
    return [("validation", path) for path in files]


def _text_files(folder: pathlib.Path) -> list[pathlib.Path]:
    return [p for p in entries(folder) if p.suffix == ".txt" and p.is_file()]


def _is_of_task(root: pathlib.Path) -> bool:
    """Whether a folder is a set with its files, or has the sets of one task."""
    if split_of_set(root.absolute().name):
        return bool(_text_files(root))
    return any(split_of_set(folder.name) for folder in subfolders(root))


def _task_folder(root: pathlib.Path, task: Task) -> pathlib.Path | None:
    """The folder of a task's annotations in ``root``; None where there is none."""
    folders = [root / folder for folder in task.folders if (root / folder).is_dir()]
    if len(folders) > 1:
        raise ValueError(
            f"{root} has both {' and '.join(f.name for f in folders)}; expected "
            "one: give a root with only one of them"
        )
    return folders[0] if folders else None


def _task_folders(
    root: pathlib.Path, wanted: tuple[str, ...], skip_missing: bool
) -> list[tuple[Task, pathlib.Path]]:
    """The wanted tasks that have a folder, with it; ``root`` itself may be a task's.

    Raises:
        ValueError: If there is none, or with ``skip_missing`` False one is missing.
    """
    tasks = [TASKS[name] for name in wanted]
    found = [(t, folder) for t in tasks if (folder := _task_folder(root, t))]
    if not found and _is_of_task(root) and (own := _own_task_of(root)) in tasks:
        return [(own, root)]
    there = [task for task, _ in found]
    for task in tasks:
        if task not in there and found and skip_missing:
            logging.info("no %s annotations in %s", task.name, root)
        elif task not in there:
            _no_annotations(root, *(tasks if skip_missing else (task,)))
    return found


def _folder_labels(
    root: pathlib.Path, wanted: tuple[str, ...], skip_missing: bool
) -> Iterator[_Labelled]:
    """What every file in the tasks' folders says."""
    for task, folder in _task_folders(root, wanted, skip_missing):
        test: list[int] = []
        for split, path in _label_files(folder):
            labels = None if split == "test" else read_label_file(path, task)
            frames = count_frames(path, task) if labels is None else len(labels)
            test += [frames] if labels is None else []
            yield _Labelled(path, split, task, nfc(path.stem), labels, frames)
        if test:
            logging.info(
                "%s: %d test videos with %d frames in %s; their labels are not read",
                task.name,
                len(test),
                sum(test),
                folder,
            )


def _own_task_of(root: pathlib.Path) -> Task:
    """The task whose own folder, or set, ``root`` is, by the headers of its files.

    Raises:
        ValueError: If no file has the header of a task.
    """
    files = [path for _, path in _label_files(root)]
    for path in files:
        if task := task_of_file(path):
            return task
    raise ValueError(
        f"{root}: no file, as {files[0].name if files else 'VIDEO.txt'}, begins with "
        f"the header of {', '.join(TASKS)}; expected a task's label files: give the "
        "folder of these"
    )


def _no_annotations(root: pathlib.Path, *tasks: Task) -> NoReturn:
    """Raise that there are no annotations, saying what there is instead.

    Args:
        root: Folder in which they were expected.
        *tasks: Tasks whose folders were expected; without any, the multi-task folder
            was.
    """
    folders = tuple(f for task in tasks for f in task.folders) or (MTL_FOLDER,)
    there = [path.name for path in entries(root)]
    state = f"has {', '.join(there[:8]) or 'nothing'}"
    if not root.is_dir():
        state = "is a file" if root.exists() else "does not exist"
    raise ValueError(
        f"no annotations in {root} (which {state}); expected one of the folders "
        f"{', '.join(folders)}: {_where_instead(root, folders)}"
    )


def _where_instead(root: pathlib.Path, folders: tuple[str, ...]) -> str:
    """What the user can do about a root without annotations, for the error."""
    known = {
        MTL_FOLDER,
        *(folder for task in TASKS.values() for folder in task.folders),
    }
    if not root.exists():
        return "correct the path"
    here = root.absolute()
    for path in (here, *here.parents[:2]):
        if path.name in known:
            return f"give the folder above them, {path.parent}"
    for folder in subfolders(root):
        if any((folder / name).is_dir() for name in folders):
            return f"give {folder}"
    if (root / MTL_FOLDER).is_dir():
        return f"for the files in {MTL_FOLDER}, pass --mtl"
    others = [
        task.name
        for task in TASKS.values()
        if any((root / folder).is_dir() for folder in task.folders)
    ]
    if others:
        return f"it has those of {', '.join(others)}: ask for that, or add the folder"
    return "give the folder above them"


def _label_files(folder: pathlib.Path) -> Iterator[tuple[str, pathlib.Path]]:
    """The split and the path of every label file of a task's folder, or of one set."""
    if split := split_of_set(folder.absolute().name):
        sets = [(split, folder)]
    else:
        below = subfolders(folder)
        sets = [(s, path) for path in below if (s := split_of_set(path.name))]
        if len(sets) < len(below) or not sets:
            raise ValueError(
                f"{folder} has the folders {', '.join(p.name for p in below) or '-'}; "
                f"expected {', '.join(SET_FOLDERS)}: rename or remove the others"
            )
    for split, subfolder in sets:
        files = _text_files(subfolder)
        if not files and split == "test":
            logging.warning("%s has no .txt files: nothing is read there", subfolder)
            continue
        if not files:
            raise ValueError(
                f"{subfolder} has no .txt files; expected one per video: "
                "unpack the annotations again, or remove the folder"
            )
        if others := sorted(
            {p.name for p in entries(subfolder)} - {p.name for p in files}
        ):
            logging.warning("%s: ignored what is no label file: %s", subfolder, others)
        for path in files:
            yield split, path


def _mtl_labels(root: pathlib.Path) -> Iterator[_Labelled]:
    """What the multi-task files below ``root`` say of each video and task."""
    folder = root / MTL_FOLDER if (root / MTL_FOLDER).is_dir() else root
    files = _text_files(folder)
    found = []
    for prefix, split in (("train", "train"), ("val", "validation")):
        fitting = [p for p in files if p.name.lower().startswith(prefix)]
        if len(fitting) > 1:
            raise ValueError(
                f"{folder} has {', '.join(p.name for p in fitting)}; expected one "
                f"file that begins with {prefix!r}: keep one"
            )
        found += [(path, split) for path in fitting]
    if not found:
        if folder != root:
            raise ValueError(
                f"{folder} has no train*.txt and no val*.txt; expected one file per "
                "set: unpack the annotations again"
            )
        _no_annotations(root)
    for path, split in found:
        for video, by_task in read_mtl_file(path).items():
            for name, labels in by_task.items():
                task = TASKS[name]
                yield _Labelled(path, split, task, nfc(video), labels, len(labels))
