"""A store on disk -> the frame table of (task, split, feature sets)."""

import dataclasses
import functools
import hashlib
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from avemo_jax.data.corpus.splits import SPLITS, base_video, shared_groups
from avemo_jax.data.features import names as feature_sets
from avemo_jax.data.features.frame_runs import check_runs, from_runs
from avemo_jax.data.store import assembly, join, layout, tfds, vectors
from avemo_jax.data.store.assembly import AnnotatedVideo
from avemo_jax.data.store.join import Join, JoinCounts, JoinedVideo, Missing
from avemo_jax.data.store.table import FeatureSet, FrameTable
from avemo_jax.runtime.array_files import check_growth, damage_told
from avemo_jax.tasks import (
    TASKS,
    Task,
    from_definition,
    get_task,
    joint_split,
    joint_task,
    register,
)

SPLIT_CHOICES = (*SPLITS, "train+dev")


def open_store(data_dir: str | os.PathLike[str]) -> "Store":
    """The store that ``build_store`` wrote into ``data_dir``.

    Raises:
        ValueError: If there is no store, it was written in another format, or its
            metadata are damaged.
        ImportError: If stores cannot be read here.
    """
    tfds.check_installed()
    root = pathlib.Path(data_dir)
    folder = root / layout.DATASET
    if not layout.config_folder(root, layout.ANNOTATIONS).is_dir():
        hint = "build it with avemo build-store, or correct the path"
        if root.name == layout.DATASET:
            hint = f"give the folder above it, {root.parent}"
        raise ValueError(
            f"no store in {str(root)!r}; expected the folder "
            f"{layout.config_folder(root, layout.ANNOTATIONS)}: {hint}"
        )
    names = sorted(p.parent.name for p in folder.glob(f"*/{layout.STORE_VERSION}"))
    metadata = {name: layout.read_metadata(root, name) for name in names}
    return Store(root, metadata)


class Store:
    """Annotations and feature sets of subject-videos, on disk.

    Attributes:
        path: The folder that ``build_store`` was given.
        feature_sets: The feature sets by full name.
        fingerprint: Digest of everything in the store.
        synthetic: Whether the data are made: every result made from them says so.
        tasks: The tasks whose labels the store has, by name; none in a store to
            predict, whose videos are test videos of any task.
    """

    def __init__(
        self, path: pathlib.Path, metadata: Mapping[str, Mapping[str, Any]]
    ) -> None:
        """A store with this metadata by config; users call ``open_store``."""
        self.path = path
        self._metadata = metadata
        own = metadata[layout.ANNOTATIONS].get("tasks")
        self.tasks = dict(TASKS) if own is None else _registered(own)
        self.synthetic = any(bool(m["synthetic"]) for m in metadata.values())
        self.fingerprint = _digest({n: m["content"] for n, m in metadata.items()})
        self.feature_sets: dict[str, FeatureSet] = {
            name: FeatureSet(
                name, m["kind"], m["dim"], m["output_dim"], m["fingerprint"]
            )
            for name, m in metadata.items()
            if name != layout.ANNOTATIONS
        }
        self._frames: dict[str, dict[str, np.ndarray]] = {}
        self._told: set[str] = set()

    @functools.cached_property
    def _annotated(self) -> dict[str, AnnotatedVideo]:
        """The annotations by video, which take about 21 bytes a frame."""
        folder = layout.config_folder(self.path, layout.ANNOTATIONS)
        return assembly.read_annotated(folder, self.tasks)

    def _packed(self, name: str) -> vectors.Packed:
        """The files of one feature set on disk."""
        return vectors.Packed(
            folder=layout.config_folder(self.path, name),
            content=self._metadata[name]["content"],
            frames=self.frames(name),
        )

    def frames(self, name: str) -> Mapping[str, np.ndarray]:
        """Numbers of the frames that the set ``name`` has vectors of, by video."""
        if name not in self._frames:
            file = layout.config_folder(self.path, name) / "metadata.json"
            runs = self._metadata[name]["runs"]
            rows = check_runs(runs, where=str(file))
            self._check_rows(name, rows, file)
            self._frames[name] = {video: from_runs(r) for video, r in runs.items()}
        return self._frames[name]

    def _check_rows(self, name: str, rows: int, file: pathlib.Path) -> None:
        """Check that the shards of a set may hold so many vectors, before any is read.

        Raises:
            ValueError: If they have too few bytes.
        """
        one = self.feature_sets[name]
        declared = rows * (2 * one.dim + 4 * one.output_dim)
        stored = sum(
            path.stat().st_size for path in file.parent.glob("*.array_record*")
        )
        with damage_told(file, "build the store again, or get it from its makers"):
            check_growth(declared, stored)

    @functools.cached_property
    def _unlabelled(self) -> frozenset[str]:
        """Videos with features and no annotations: test videos of every task.

        A name that has sound only and belongs to a video of several faces is left out.
        A store to predict has the videos that were listed, and no others.
        """
        if not self.tasks:
            return frozenset()
        have = {video for name in self.feature_sets for video in self.frames(name)}
        seen = {
            video
            for name, one in self.feature_sets.items()
            if one.kind == "visual"
            for video in self.frames(name)
        }
        known = have | set(self._annotated)
        shared_sound = {base_video(v) for v in known if base_video(v) != v} - seen
        return frozenset(have - set(self._annotated) - shared_sound)

    @property
    def has_own_tasks(self) -> bool:
        """Whether the videos, and labels if any, are a user's own, not Aff-Wild2's."""
        return self.tasks.keys() != TASKS.keys()

    def task(self, name: str) -> Task:
        """The task called ``name``; for names joined by "+", those tasks as one.

        Raises:
            ValueError: If the store has no labels of the task, or there is no such
                task.
        """
        if not self.tasks:
            return get_task(name)
        if "+" in name:
            return joint_task([self.task(one) for one in name.split("+")])
        if name not in self.tasks:
            raise ValueError(
                f"unknown task {name!r} for the store {self.path}; expected one of "
                f"{', '.join(self.tasks)}: change config.task, or open another store"
            )
        return self.tasks[name]

    def sources_of(self) -> dict[str, str]:
        """The recording or person that each annotated video is of, by video."""
        return {v: one.source_video for v, one in self._annotated.items()}

    def shared_groups(
        self, task: str, splits: Mapping[str, str] | None = None
    ) -> dict[str, list[str]]:
        """The splits of each person or recording that is in several, by its name.

        Only those are looked for that the user allowed when the store was built: the
        official splits part recordings as they do.

        Args:
            task: Name of one of ``tasks``, or several joined by "+".
            splits: Splits by video, in place of the stored ones.
        """
        how = self._metadata[layout.ANNOTATIONS]["how"]
        allowed = how.get("shared_groups", {})
        sources = {v: s for v, s in self.sources_of().items() if s in allowed}
        return shared_groups({**self.split_of(task), **(splits or {})}, sources)

    def split_of(self, task: str) -> dict[str, str]:
        """The split of each video that has one, by video.

        Args:
            task: Name of a task; for names joined by "+", the split is that of
                :func:`avemo_jax.tasks.joint_split`.
        """
        self.task(task)
        splits = dict.fromkeys(self._unlabelled, "test")
        for video, annotated in self._annotated.items():
            of_tasks = ["test"]
            if self.tasks:
                of_tasks = [annotated.splits[one] for one in task.split("+")]
            if split := joint_split(of_tasks):
                splits[video] = split
        return dict(sorted(splits.items()))

    def split_videos(
        self, task: str, split: str, splits: Mapping[str, str] | None = None
    ) -> tuple[str, ...]:
        """The videos of a split, sorted, whether or not they have features.

        Args:
            task: Name of one of ``tasks``, or several joined by "+".
            split: "train", "dev", "train+dev", "validation" or "test".
            splits: Splits by video, in place of the stored ones ("none": in no split).
                Other videos keep theirs.

        Raises:
            ValueError: If the split's name, or a video in ``splits``, is unknown.
        """
        if split not in SPLIT_CHOICES:
            raise ValueError(
                f"unknown split {split!r}; expected one of {', '.join(SPLIT_CHOICES)}"
            )
        by_video = self.split_of(task)
        known = set(self._annotated) | self._unlabelled
        for video, own in (splits or {}).items():
            if video not in known or own not in (*SPLITS, "none"):
                raise ValueError(
                    f"split {own!r} for video {video!r}; expected one of "
                    f"{', '.join(SPLITS)}, none, for one of the {len(known)} videos of "
                    f"{self.path}: correct the list"
                )
            by_video[video] = own
        wanted = split.split("+")
        return tuple(sorted(v for v, own in by_video.items() if own in wanted))

    def resolve(self, names: Sequence[str]) -> tuple[FeatureSet, ...]:
        """The sets that ``names`` mean, short or full, visual ones first.

        Raises:
            ValueError: If there are no names, one is unknown or ambiguous, or a set is
                named twice.
        """
        found = [feature_sets.resolve_name(n, self.feature_sets) for n in names]
        if not found or len(set(found)) < len(found):
            raise ValueError(
                f"feature sets {', '.join(found) or 'none'}; expected at least one, "
                f"each once, of {', '.join(self.feature_sets)}: change "
                "config.data.features"
            )
        sets = [self.feature_sets[name] for name in found]
        return tuple(sorted(sets, key=lambda s: s.kind != "visual"))

    def check_same(self, wanted: Sequence[FeatureSet]) -> None:
        """Check that the store has the sets that a model was trained on.

        Raises:
            ValueError: If one is not there, or has another fingerprint or dim.
        """
        for one in wanted:
            here = self.feature_sets.get(one.name)
            if here is None:
                raise ValueError(
                    f"no feature set {one.name!r} in {self.path}; it has "
                    f"{', '.join(self.feature_sets)}: add the set with build_store"
                )
            if (here.fingerprint, here.dim) != (one.fingerprint, one.dim):
                raise ValueError(
                    f"feature set {one.name!r} in {self.path} has fingerprint "
                    f"{here.fingerprint} and dim {here.dim}; expected "
                    f"{one.fingerprint} and {one.dim}: it was extracted with other "
                    "weights, input, alignment or version; extract it alike"
                )

    def join(
        self,
        task: str,
        split: str,
        feature_names: Sequence[str],
        *,
        missing_audio: Missing = "zeros",
        splits: Mapping[str, str] | None = None,
    ) -> Join:
        """The rows that ``load_table`` loads when it is given the same arguments.

        Raises:
            ValueError: If a name is unknown, or there are no rows.
        """
        found = self.task(task)
        sets = self.resolve(feature_names)
        counts = JoinCounts()
        names = self.split_videos(task, split, splits)
        joined = [self._join(v, sets, missing_audio, counts) for v in names]
        videos = tuple(video for video in joined if video is not None)
        if not any(len(video.frame) for video in videos):
            if not self.tasks:
                raise ValueError(
                    f"{self.path} has no labels, only {len(self._annotated)} videos to "
                    f"predict; expected those of {task} {split}: name the split test, "
                    "or another store"
                )
            by_task = {one: tuple(self.split_of(one).values()) for one in self.tasks}
            by_task[task] = tuple(self.split_of(task).values())
            join.fail_without_rows(task, split, sets, names, counts, by_task)
        report = {
            "videos": len(videos),
            "rows": sum(len(video.frame) for video in videos),
            **dataclasses.asdict(counts),
        }
        return Join(found, split, sets, videos, report)

    def _join(
        self,
        video: str,
        sets: Sequence[FeatureSet],
        missing_audio: Missing,
        counts: JoinCounts,
    ) -> JoinedVideo | None:
        """The rows of one video; None if it has neither rows nor annotations."""
        none = np.zeros(0, np.int32)
        parts: dict[str, str | None] = {}
        frames: dict[str, dict[str, np.ndarray]] = {"visual": {}, "audio": {}}
        for one in sets:
            present = self.frames(one.name)
            part = join.origin(video, one.kind == "audio", present)
            parts[one.name] = part
            frames[one.kind][one.name] = none if part is None else present[part]
        annotated = self._annotated.get(video)
        return join.join_video(
            video,
            frames["visual"],
            frames["audio"],
            annotated=annotated.num_frames if annotated else 0,
            parts=parts,
            missing_audio=missing_audio,
            counts=counts,
        )

    def load_table(
        self,
        task: str,
        split: str,
        feature_names: Sequence[str],
        *,
        missing_audio: Missing = "zeros",
        memmap_path: str | os.PathLike[str] | None = None,
        splits: Mapping[str, str] | None = None,
        show_progress: bool = True,
    ) -> FrameTable:
        """Features and labels of a split, joined by video and frame.

        Rows are the frames that every visual set has. A frame without sound keeps its
        row, with zeros and ``has_audio`` False, and is counted in the report.

        Args:
            task: Name of one of ``tasks``, or several joined by "+".
            split: "train", "dev", "train+dev", "validation" or "test".
            feature_names: Short or full names of one or more sets, also audio alone.
            missing_audio: What becomes of rows without sound: "zeros" keeps them,
                "drop" leaves them out.
            memmap_path: Write the features into this file and map it, or map it if it
                is there with the same content; None: load them into memory.
            splits: Splits by video, in place of the stored ones ("none": in no split).
            show_progress: Draw a bar on stderr, if loading takes over two seconds.

        Raises:
            ValueError: If a name is unknown, there are no rows, or the store is
                damaged.
        """
        joined = self.join(
            task, split, feature_names, missing_audio=missing_audio, splits=splits
        )
        return self.load(joined, memmap_path=memmap_path, show_progress=show_progress)

    def load(
        self,
        joined: Join,
        *,
        memmap_path: str | os.PathLike[str] | None = None,
        show_progress: bool = True,
    ) -> FrameTable:
        """The table of the rows of ``joined``, for callers that need its size first.

        Args:
            joined: The rows, from :meth:`join`.
            memmap_path: Write the features into this file and map it, or map it if it
                is there with the same content; None: load them into memory.
            show_progress: Draw a bar on stderr, if loading takes over two seconds.

        Raises:
            ValueError: If the store is damaged.
        """
        features, outputs = vectors.load_vectors(
            joined,
            {one.name: self._packed(one.name) for one in joined.feature_sets},
            memmap_path,
            show_progress=show_progress,
        )
        return self._assembled(joined, features, outputs)

    def outline(self, joined: Join) -> FrameTable:
        """The table that :meth:`load` loads, without its vectors.

        Labels, frame numbers and shapes are true; the values of features and outputs
        are all one zero in memory, and no vectors are read.
        """
        outputs = None
        if joined.output_dim:
            outputs = np.broadcast_to(np.float32(0), (joined.rows, joined.output_dim))
        features = np.broadcast_to(np.float16(0), (joined.rows, joined.dim))
        return self._assembled(joined, features, outputs)

    def _assembled(
        self, joined: Join, features: np.ndarray, outputs: np.ndarray | None
    ) -> FrameTable:
        table = assembly.assemble(
            joined,
            self._annotated,
            features,
            outputs,
            fingerprint=self.data_fingerprint(joined.feature_sets),
        )
        assembly.say_table(table, self._told)
        return table

    def data_fingerprint(self, sets: Sequence[FeatureSet]) -> str:
        """Digest of the annotations and of these sets; other sets do not change it."""
        names = [layout.ANNOTATIONS, *(s.name for s in sets)]
        return _digest({name: self._metadata[name]["content"] for name in names})


def _registered(definitions: Sequence[Mapping[str, Any]]) -> dict[str, Task]:
    """A user's own tasks by name; from now on ``get_task`` finds them."""
    tasks = [register(from_definition(one)) for one in definitions]
    return {task.name: task for task in tasks}


def _digest(contents: Mapping[str, str]) -> str:
    """Sha256 (hex) of the configs' content digests, in the order of their names."""
    return hashlib.sha256(json.dumps(sorted(contents.items())).encode()).hexdigest()
