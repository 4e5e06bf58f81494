"""The official Aff-Wild2 annotation folders -> labels and splits by video."""

import os
import pathlib
from collections.abc import Iterable, Iterator
from typing import NoReturn

import numpy as np
from absl import logging

from avemo_jax.data.corpus.label_files import read_label_file, read_mtl_file
from avemo_jax.data.corpus.splits import nominal_fps
from avemo_jax.data.listing import entries, nfc, subfolders
from avemo_jax.data.records import VideoAnnotations
from avemo_jax.tasks import TASKS, Task

SET_FOLDERS = {"Train_Set": "train", "Validation_Set": "validation"}
MTL_FOLDER = "MTL_Challenge"


def read_annotations(
    root: str | os.PathLike[str],
    *,
    tasks: Iterable[str] | None = None,
    mtl: bool = False,
) -> list[VideoAnnotations]:
    """The labels of every annotated subject-video, sorted by name.

    Args:
        root: Folder that has ``EXPR_Recognition_Challenge`` (or
            ``EXPR_Classification_Challenge``), ``AU_Detection_Challenge``,
            ``VA_Estimation_Challenge``, each with ``Train_Set`` and
            ``Validation_Set``. Its own name does not matter.
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
    origin: dict[tuple[str, str], pathlib.Path] = {}
    found = _mtl_labels(root) if mtl else _folder_labels(root, wanted, tasks is None)
    for path, split, task, video, values in found:
        if task.name not in wanted:
            continue
        if (video, task.name) in origin:
            raise ValueError(
                f"{path}: video {video!r} has {task.name} labels in "
                f"{origin[video, task.name]} already; expected each video in one set: "
                "remove one of the two"
            )
        origin[video, task.name] = path
        labels.setdefault(video, {})[task.name] = values
        splits.setdefault(video, {})[task.name] = split
    return [
        VideoAnnotations(video, labels[video], splits[video], fps=nominal_fps(video))
        for video in sorted(labels)
    ]


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
    there = entries(root)
    if files := [p for p in there if p.suffix == ".txt" and p.is_file()]:
        split = SET_FOLDERS.get(root.absolute().name, "validation")
        return [(split, path) for path in files]
    if any(path.name in SET_FOLDERS for path in there):
        return list(_label_files(root))
    return list(_label_files(_task_folder(root, task) or _no_annotations(root, task)))


def _task_folder(root: pathlib.Path, task: Task) -> pathlib.Path | None:
    """The folder of a task's annotations in ``root``; None where there is none."""
    folders = [root / folder for folder in task.folders if (root / folder).is_dir()]
    if len(folders) > 1:
        raise ValueError(
            f"{root} has both {' and '.join(f.name for f in folders)}; expected "
            "one: give a root with only one of them"
        )
    return folders[0] if folders else None


def _folder_labels(
    root: pathlib.Path, wanted: tuple[str, ...], skip_missing: bool
) -> Iterator[tuple[pathlib.Path, str, Task, str, np.ndarray]]:
    """File, split, task, video and labels of every file in the tasks' folders."""
    present = 0
    for name in wanted:
        task = TASKS[name]
        folder = _task_folder(root, task)
        if folder is None:
            if not skip_missing:
                _no_annotations(root, task)
            logging.info("no %s annotations in %s", name, root)
            continue
        present += 1
        for split, path in _label_files(folder):
            yield path, split, task, nfc(path.stem), read_label_file(path, task)
    if not present:
        _no_annotations(root, *(TASKS[name] for name in wanted))


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
    """The split and the path of every label file of one task's folder."""
    sets = subfolders(folder)
    unknown = [p.name for p in sets if p.name not in SET_FOLDERS]
    if unknown or not sets:
        raise ValueError(
            f"{folder} has the folders {', '.join(p.name for p in sets) or '-'}; "
            f"expected {' and '.join(SET_FOLDERS)}: rename or remove the others"
        )
    for subfolder in sets:
        there = entries(subfolder)
        files = [p for p in there if p.suffix == ".txt" and p.is_file()]
        if not files:
            raise ValueError(
                f"{subfolder} has no .txt files; expected one per video: "
                "unpack the annotations again, or remove the folder"
            )
        if len(files) < len(there):
            others = sorted({p.name for p in there} - {p.name for p in files})
            logging.warning("%s: ignored what is no label file: %s", subfolder, others)
        for path in files:
            yield SET_FOLDERS[subfolder.name], path


def _mtl_labels(
    root: pathlib.Path,
) -> Iterator[tuple[pathlib.Path, str, Task, str, np.ndarray]]:
    """File, split, task, video and labels of the multi-task files below ``root``."""
    folder = root / MTL_FOLDER if (root / MTL_FOLDER).is_dir() else root
    files = [p for p in entries(folder) if p.suffix == ".txt" and p.is_file()]
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
                yield path, split, TASKS[name], nfc(video), labels
