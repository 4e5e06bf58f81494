"""The annotations that predictions are scored against."""

import dataclasses
import os
import pathlib
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int, Shaped

from avemo_jax.data.corpus.annotations import find_label_files
from avemo_jax.data.corpus.label_files import read_label_file
from avemo_jax.data.listing import by_video, read_names
from avemo_jax.tasks import Task

Split = Literal["train", "validation", "all"]


@dataclasses.dataclass(frozen=True)
class Truth:
    """The labels of videos, one video after the other, sorted by name.

    Attributes:
        task: The task that the labels are of.
        split: Which of the official sets; "all" where the user lists the videos.
        videos: Names of the subject-videos.
        offsets: Video i has the frames ``offsets[i] : offsets[i + 1]``.
        labels: Labels of the frames, in the task's shape and type.
        valid: Which frames have a label that counts.
        others: Annotated videos that are not scored.
    """

    task: Task
    split: Split
    videos: tuple[str, ...]
    offsets: Int[np.ndarray, " bounds"]
    labels: Shaped[np.ndarray, "frames ..."]
    valid: Bool[np.ndarray, " frames"]
    others: frozenset[str]

    @property
    def video(self) -> Int[np.ndarray, " frames"]:
        """Index of each frame's video."""
        return np.repeat(np.arange(len(self.videos)), np.diff(self.offsets))


def read_truth(
    root: str | os.PathLike[str],
    task: Task,
    *,
    split: Split = "validation",
    split_list: str | os.PathLike[str] | None = None,
) -> Truth:
    """The labels of one task for the videos of one set, or of a list.

    Args:
        root: The folder above the tasks' folders, or the task's own folder, or one with
            the files themselves.
        task: The task whose labels are wanted.
        split: Which of the official sets.
        split_list: A file with one video name a line: these videos, of either set, are
            taken in place of ``split``.

    Raises:
        ValueError: If there are no annotations, a file is wrong, the set has no video,
            or the list names one that is not annotated.
    """
    sets = {path: own for own, path in find_label_files(root, task)}
    paths = by_video(sets, lambda path: path.stem, str(root))
    files = {video: (sets[path], path) for video, path in paths.items()}
    if split_list is None:
        # What stands in a test set for labels is scored only if nothing else is given.
        only_test = {own for own, _ in files.values()} == {"test"}
        videos = [
            video
            for video, (own, _) in files.items()
            if split in (own, "all") and (own != "test" or only_test)
        ]
        if not videos:
            raise ValueError(
                f"{root} has {task.name} annotations of no {split} video; expected "
                "some: pass --split all, or another folder"
            )
    else:
        videos = _listed(split_list, files, pathlib.Path(root), task)
    videos.sort()
    labels = [read_label_file(files[video][1], task) for video in videos]
    joined = np.concatenate(labels)
    return Truth(
        task=task,
        split="all" if split_list else split,
        videos=tuple(videos),
        offsets=np.cumsum([0, *map(len, labels)]),
        labels=joined,
        valid=task.valid(joined),
        others=frozenset(set(files) - set(videos)),
    )


def _listed(
    split_list: str | os.PathLike[str],
    files: dict[str, tuple[str, pathlib.Path]],
    root: pathlib.Path,
    task: Task,
) -> list[str]:
    """The videos of a list, sorted.

    Raises:
        ValueError: If the list is empty, or names a video without labels.
    """
    lines = read_names(split_list)
    for number, video in lines:
        if video not in files:
            raise ValueError(
                f"{split_list}, line {number}: {video!r} has no {task.name} "
                f"annotations in {root}; expected the name of one that has: correct "
                "or remove the line"
            )
    if not lines:
        raise ValueError(
            f"{split_list} is empty; expected one video name a line: list the videos"
        )
    return sorted({video for _, video in lines})
