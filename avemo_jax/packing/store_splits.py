"""The splits of a store: given or drawn, and whether persons are in several of them."""

from collections.abc import Iterable, Mapping
from typing import Any

from absl import logging

from avemo_jax.data.corpus.splits import check_splits, draw_splits, shared_groups
from avemo_jax.data.listing import first_of
from avemo_jax.data.records import VideoAnnotations

_TOLD = 5  # names in a line

SplitsByTask = dict[str, dict[str, str]]


def make_splits(
    records: Mapping[str, VideoAnnotations],
    given: Mapping[str, Mapping[str, str]] | None,
    *,
    seed: int,
    grouped: bool,
    tasks: Iterable[str],
    allow_shared_groups: bool = False,
) -> tuple[SplitsByTask, dict[str, Any]]:
    """Each task's splits, and how they came about.

    Args:
        records: Annotations by video.
        given: Split names by task, then by video, in place of the records' own; nothing
            is drawn then. None: dev is drawn for each task that has none.
        seed: Seed of the draw.
        grouped: Draw source videos; False: subject-videos.
        tasks: Names of the tasks.
        allow_shared_groups: Accept persons or recordings in several splits.

    Returns:
        Split names by task, then by video; and ``origin`` ("given" or "drawn"), with
        ``seed`` and ``grouped`` of a draw, ``given_dev`` (the tasks that had dev videos
        where it was drawn for others), and ``shared_groups`` (the splits of each group
        that is in several, where there are such).

    Raises:
        ValueError: If a split has another name, a task has only one train source, or a
            group is in several splits and may not be.
    """
    if given is None:
        official: SplitsByTask = {task: {} for task in tasks}
        for video, record in sorted(records.items()):
            for task, split in record.splits.items():
                official[task][video] = split
    else:
        official = _labelled(records, given)
    sources = {video: record.source for video, record in records.items()}
    if not allow_shared_groups:
        _refuse_shared(_shared(official, sources))
    how: dict[str, Any] = {"origin": "given"}
    splits = official
    if given is None:
        splits = draw_splits(official, seed=seed, grouped=grouped, sources=sources)
        how = _origin(official, seed, grouped)
    if shared := _shared(splits, sources):
        how["shared_groups"] = shared
    return splits, how


def shared_words(shared: Mapping[str, Iterable[str]]) -> str:
    """The first of some groups with their splits, in words."""
    told = [f"{name!r} in {' and '.join(splits)}" for name, splits in shared.items()]
    return first_of(told, _TOLD)


def _origin(official: SplitsByTask, seed: int, grouped: bool) -> dict[str, Any]:
    """How the dev videos came about, where none of the user's lists replace all."""
    has = {task: set(by_video.values()) for task, by_video in official.items()}
    given = [task for task, splits in has.items() if "dev" in splits]
    drawn = [task for task in has if task not in given and "train" in has[task]]
    if given and not drawn:
        return {"origin": "given"}
    how: dict[str, Any] = {"origin": "drawn", "seed": seed, "grouped": grouped}
    return how | ({"given_dev": given} if given else {})


def _labelled(
    records: Mapping[str, VideoAnnotations], given: Mapping[str, Mapping[str, str]]
) -> SplitsByTask:
    """The user's lists, without videos that have no labels of the task.

    A list may name such videos: they are in none of the task's splits, unless the list
    says that they are to be predicted.
    """
    used = {}
    for task, by_video in given.items():
        check_splits(by_video, where=task)
        used[task] = {
            video: split
            for video, split in sorted(by_video.items())
            if split == "test" or (video in records and task in records[video].labels)
        }
        _say_left_out(task, sorted(set(by_video) - set(used[task])))
    return used


def _say_left_out(task: str, videos: list[str]) -> None:
    """Log the videos of a user's list that have no labels of the task."""
    if videos:
        logging.warning(
            "%s: %d listed videos have no %s labels and are in none of its splits: %s",
            task,
            len(videos),
            task,
            first_of(videos, _TOLD),
        )


def _shared(splits: SplitsByTask, sources: Mapping[str, str]) -> dict[str, list[str]]:
    """The splits of each group that is in several splits of a task."""
    found: dict[str, list[str]] = {}
    for by_video in splits.values():
        found |= shared_groups(by_video, sources)
    return dict(sorted(found.items()))


def _refuse_shared(shared: Mapping[str, list[str]]) -> None:
    if shared:
        one = len(shared) == 1
        raise ValueError(
            f"{len(shared)} {'group is' if one else 'groups are'} in several splits: "
            f"{shared_words(shared)}; expected all videos of a person or recording in "
            "one split, else a model is scored on those that it knows: correct the "
            "column 'split' of the manifest, or pass --allow-shared-groups, which the "
            "store's card and results.json then tell"
        )
