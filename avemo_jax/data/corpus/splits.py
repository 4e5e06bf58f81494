"""Splits: train, dev, validation, test; dev drawn by source video; k folds.

The rule for "one recording". The two faces of a video are ``X_left`` and ``X_right``
of ``X``; faces that were found in it are ``X--face1``, ``X--face2``, ... Official names
are ``ID-FPS-WxH[-PART]`` and ``videoN[_PART]``: the number after the size, or after
``videoN_``, counts the parts of one recording, and is cut off. Nothing else is:
``video4`` and ``video45`` are two recordings, and a name of any other
form (``360``, ``interview_2``) is its own source, for its numbers may mean anything.
"""

import hashlib
import json
import os
import pathlib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, TypedDict

from avemo_jax.data.listing import entries, read_names
from avemo_jax.runtime.atomic_files import whole_file
from avemo_jax.runtime.json_files import read_json

SPLITS = ("train", "dev", "validation", "test")

_FACE = re.compile(r"(.+)(_left|_right|--face[1-9]\d*)")
_SIZED = re.compile(r"(\d+-\d+-\d+x\d+)-\d+")
_NUMBERED = re.compile(r"(video\d+)_\d+")
_FPS = re.compile(r"\d+-(\d+)-\d+x\d+(-\d+)?")


class _Kept(TypedDict):
    """What is read of ``splits.json``: videos by task, then by split."""

    splits: Mapping[str, Mapping[str, tuple[str, ...]]]


def base_video(video: str) -> str:
    """The video file that a subject-video was taken from, which also has its sound."""
    match = _FACE.fullmatch(video)
    return match[1] if match else video


def source_video(video: str) -> str:
    """The recording that a subject-video is a part of, by the rule of this module."""
    base = base_video(video)
    match = _SIZED.fullmatch(base) or _NUMBERED.fullmatch(base)
    return match[1] if match else base


def nominal_fps(video: str) -> float:
    """Frames per second that an official name ``ID-FPS-WxH`` tells; NaN for others."""
    match = _FPS.fullmatch(base_video(video))
    return float(match[1]) if match and int(match[1]) > 0 else float("nan")


def _shuffled(names: Iterable[str], seed: int) -> list[str]:
    """``names`` in an order that depends on the seed and on nothing else.

    Digests rather than a random generator: the order stays the same with every
    version of every library, and that of two names does not depend on a third.
    """
    return sorted(
        set(names),
        key=lambda name: (hashlib.sha256(f"{seed}:{name}".encode()).digest(), name),
    )


def draw_dev(
    train_videos: Iterable[str],
    *,
    seed: int = 0,
    grouped: bool = True,
    sources: Mapping[str, str] | None = None,
) -> set[str]:
    """The dev videos among the official train videos: about 20 % of the sources.

    ``max(1, int(n / 5))`` of n sources are drawn, with all their videos.

    Args:
        train_videos: Official train videos of one task, in any order; without any, no
            dev videos are drawn.
        seed: Seed of the draw.
        grouped: Draw source videos; False draws subject-videos one by one, so that
            both faces or two parts of a recording may fall on both sides.
        sources: Source videos by video, for those whose names do not tell it; None:
            all names tell it.

    Raises:
        ValueError: If there is only one source.
    """
    videos = sorted(set(train_videos))
    known = sources or {}
    source_of = {v: (known.get(v) or source_video(v)) if grouped else v for v in videos}
    order = _shuffled(source_of.values(), seed)
    if not order:
        return set()
    if len(order) == 1:
        raise ValueError(
            f"the only train source is {order[0]!r}; dev needs at least 2 source "
            "videos: add videos, or give the splits yourself (--split-dir)"
        )
    drawn = set(order[: max(1, len(order) // 5)])
    return {v for v in videos if source_of[v] in drawn}


def draw_splits(
    official: Mapping[str, Mapping[str, str]],
    *,
    seed: int = 0,
    grouped: bool = True,
    sources: Mapping[str, str] | None = None,
) -> dict[str, dict[str, str]]:
    """The splits of each task: the official ones, with dev drawn from train.

    Args:
        official: "train", "validation" or "test", by task, then by video; a task that
            has a "dev" video already is taken as it is.
        seed: Seed of the draw.
        grouped: Draw source videos; False draws subject-videos one by one.
        sources: Source videos by video, for those whose names do not tell it; None:
            all names tell it.

    Raises:
        ValueError: If a split has another name, or a task has only one train source.
    """
    result: dict[str, dict[str, str]] = {}
    for task, by_video in official.items():
        check_splits(by_video, where=task)
        splits = dict(sorted(by_video.items()))
        if "dev" not in splits.values():
            train = [v for v, split in splits.items() if split == "train"]
            try:
                dev = draw_dev(train, seed=seed, grouped=grouped, sources=sources)
            except ValueError as error:
                raise ValueError(f"{task}: {error}") from error
            splits.update(dict.fromkeys(sorted(dev), "dev"))
        result[task] = splits
    return result


def check_splits(splits: Mapping[str, str], *, where: str) -> None:
    """Check that every video's split is one of the four.

    Args:
        splits: Split names by video.
        where: What an error begins with, such as the task.

    Raises:
        ValueError: If a split has another name.
    """
    for video, split in splits.items():
        if split not in SPLITS:
            raise ValueError(
                f"{where}: video {video!r} is in split {split!r}; expected one of "
                f"{', '.join(SPLITS)}"
            )


def shared_groups(
    splits: Mapping[str, str], sources: Mapping[str, str]
) -> dict[str, list[str]]:
    """The splits of each source that is in several of them, sorted by source.

    Args:
        splits: Split names by video; others than the four are not looked at.
        sources: The person or recording of each video; videos without one, or with an
            empty one, are left out.
    """
    found: dict[str, set[str]] = defaultdict(set)
    for video, split in splits.items():
        if split in SPLITS and sources.get(video):
            found[sources[video]].add(split)
    return {
        source: sorted(own, key=SPLITS.index)
        for source, own in sorted(found.items())
        if len(own) > 1
    }


def grouped_folds(
    videos: Iterable[str],
    num_folds: int,
    seed: int = 0,
    *,
    sources: Mapping[str, str] | None = None,
) -> list[list[str]]:
    """The held-out videos of each of k folds, all of a source in one fold.

    Sources are dealt out in a shuffled order, so the folds' numbers of sources differ
    by one at most.

    Args:
        videos: Official train videos (train and dev), in any order.
        num_folds: k, at least 2 and at most the number of sources.
        seed: Seed of the order.
        sources: Source videos by video, for those whose names do not tell it; None:
            all names tell it.

    Raises:
        ValueError: If ``num_folds`` is out of its range.
    """
    by_source: dict[str, list[str]] = defaultdict(list)
    for video in sorted(set(videos)):
        source = (sources or {}).get(video) or source_video(video)
        by_source[source].append(video)
    if not 2 <= num_folds <= len(by_source):
        raise ValueError(
            f"num_folds is {num_folds}; expected 2 to {len(by_source)}, the number of "
            "source videos: change config.data.folds"
        )
    order = _shuffled(by_source, seed)
    return [
        sorted(v for source in order[fold::num_folds] for v in by_source[source])
        for fold in range(num_folds)
    ]


def fold_splits(folds: list[list[str]], fold: int) -> dict[str, str]:
    """Splits in which fold number ``fold`` (from 0) is dev and all others are train."""
    return {
        video: "dev" if number == fold else "train"
        for number, videos in enumerate(folds)
        for video in videos
    }


# The split of each file in a user's folder of lists, by its name in lower case.
_PLAIN = {f"{split}.txt": split for split in SPLITS}
_ORIGINAL = {"train.txt": "train", "val.txt": "dev", "test.txt": "validation"}


def read_split_lists(
    folder: str | os.PathLike[str], known_videos: Iterable[str]
) -> dict[str, str]:
    """Splits by video, from a folder of lists with one video name a line.

    The files are ``train.txt``, ``dev.txt``, ``validation.txt``, ``test.txt`` (any of
    them); or the original system's ``Train.txt``, ``Val.txt``, ``Test.txt``, whose
    "val" is our dev and whose "test" is our validation. Case does not matter: lists
    with a ``Val.txt`` are the original's, those with a ``dev.txt`` or
    ``validation.txt`` are ours.

    Args:
        folder: Where the lists are.
        known_videos: Names that may occur.

    Raises:
        ValueError: If there are no lists, it is not clear whose lists they are, a name
            is unknown (file and line are given), or a video occurs twice.
    """
    folder = pathlib.Path(folder)
    known = set(known_videos)
    files = {p.name.lower(): p for p in entries(folder) if p.is_file()}
    ours = {"dev.txt", "validation.txt"} & set(files)
    originals = "val.txt" in files
    if bool(ours) == originals:
        raise ValueError(
            f"{folder} has {', '.join(sorted(files)) or 'no files'}; expected "
            "train.txt with dev.txt or validation.txt (and test.txt), or the "
            "original's Train.txt, Val.txt, Test.txt: name the lists so"
        )
    splits: dict[str, str] = {}
    for name, split in (_ORIGINAL if originals else _PLAIN).items():
        if name not in files:
            continue
        for number, video in read_names(files[name]):
            where = f"{files[name]}, line {number}"
            if video not in known:
                raise ValueError(
                    f"{where}: unknown video {video!r:.80}; expected the name of a "
                    "video with annotations or features, without folder and ending: "
                    "correct or remove the line"
                )
            if video in splits:
                raise ValueError(
                    f"{where}: video {video!r} is in {splits[video]!r} already; "
                    "expected each video once: remove one of the lines"
                )
            splits[video] = split
    return splits


def write_splits(
    path: str | os.PathLike[str],
    splits: Mapping[str, Mapping[str, str]],
    *,
    how: Mapping[str, Any],
) -> None:
    """Write ``splits.json``: sorted videos by task and split, and how they came about.

    Args:
        path: The file.
        splits: Split names by task, then by video.
        how: How the splits came about, such as the seed of the draw.
    """
    path = pathlib.Path(path)
    content: dict[str, object] = {"schema_version": 1, "how": dict(how), "splits": {}}
    content["splits"] = {
        task: {
            split: sorted(v for v, s in by_video.items() if s == split)
            for split in SPLITS
        }
        for task, by_video in splits.items()
    }
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_splits(path: str | os.PathLike[str]) -> dict[str, dict[str, str]]:
    """Split names by task, then by video, from a file of ``write_splits``.

    Raises:
        ValueError: If the file is damaged.
    """
    content = read_json(path, _Kept, remedy="build the store again")
    return {
        task: {video: split for split, videos in lists.items() for video in videos}
        for task, lists in content["splits"].items()
    }
