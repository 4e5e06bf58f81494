"""Annotations and features -> a store on disk, with no TensorFlow."""

import contextlib
import os
import pathlib
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from absl import logging

from avemo_jax.data.corpus import splits as splits_lib
from avemo_jax.data.records import FeatureSource, VideoAnnotations
from avemo_jax.data.store import folder as store_folder
from avemo_jax.data.store import layout
from avemo_jax.data.store import tfds as tfds_lib
from avemo_jax.data.store.store import open_store
from avemo_jax.packing.card import write_card
from avemo_jax.packing.report import BuildReport, report_of
from avemo_jax.packing.row_rates import rates_of, with_rates
from avemo_jax.packing.store_splits import make_splits
from avemo_jax.runtime.beam import checked_options
from avemo_jax.runtime.interrupts import workers_apart
from avemo_jax.runtime.json_files import read_json
from avemo_jax.tasks import TASKS, Task, register
from data_builders.affwild2.contents import (
    AnnotationContents,
    Contents,
    FeatureContents,
)


def build_store(
    out_dir: str | os.PathLike[str],
    annotations: Iterable[VideoAnnotations],
    feature_sources: Iterable[FeatureSource] = (),
    *,
    splits: Mapping[str, Mapping[str, str]] | None = None,
    split_seed: int = 0,
    grouped_dev: bool = True,
    synthetic: bool = False,
    overwrite: bool = False,
    show_progress: bool = True,
    beam_runner: str | None = None,
    beam_options: Sequence[str] = (),
    command: str | None = None,
    tasks: Mapping[str, Task] = TASKS,
    allow_shared_groups: bool = False,
) -> dict[str, BuildReport]:
    """Counts of what was written, dropped or missing, by config of the store.

    Each config (``annotations`` and one per feature set) is written into an incomplete
    folder that is renamed at the end: a killed build leaves no half config. A config
    that is there with the same content is skipped; incomplete folders that an earlier
    build left are removed first.

    Args:
        out_dir: Gets ``affwild2/CONFIG/VERSION``, ``splits.json`` and the store's card.
        annotations: One record per subject-video; a video without one is a test video.
        feature_sources: The feature sets, each read video by video.
        splits: Split names by task, then by video; they replace those of the
            annotations, and nothing is drawn. None: dev is drawn from the train videos
            of every task that has no dev videos.
        split_seed: Seed of that draw.
        grouped_dev: Draw source videos; False: subject-videos, as the original did.
        synthetic: The data are made; the store keeps this, so that every result says
            so.
        overwrite: Replace a config that is there with other content.
        show_progress: Draw a bar on stderr.
        beam_runner: Name of the Beam runner whose workers write the feature sets;
            None: this process writes them.
        beam_options: Flags of the Beam pipeline, such as ``--direct_num_workers=2``.
        command: The command line that the card quotes; None: a program built the store.
        tasks: The tasks that the records may have labels of, by name: the official
            ones, or a user's own.
        allow_shared_groups: Accept sources of records (persons, recordings) that are in
            several splits; the card and all results then tell it.

    Raises:
        ValueError: If a record, ``out_dir`` or a Beam option is wrong, a source is in
            several splits and may not be, rows of sound alone and labels are of
            different rates, or a config stands with other content and ``overwrite`` is
            False.
        ImportError: If stores cannot be written here, or Beam is asked for and not
            installed.
        RuntimeError: If another build writes into ``out_dir``, or Beam fails.
    """
    tfds_lib.check_installed()
    engine = _engine(beam_runner, beam_options)
    root = store_folder.checked_folder(pathlib.Path(out_dir))
    sources = _by_name(feature_sources)
    rates = rates_of(sources.values())
    records = with_rates(_by_video(annotations, tasks), rates)
    by_task, how = make_splits(
        records,
        splits,
        seed=split_seed,
        grouped=grouped_dev,
        tasks=tasks,
        allow_shared_groups=allow_shared_groups,
    )
    made: Any = {"synthetic": synthetic, "show_progress": show_progress, "tasks": tasks}
    contents = _contents(records, sources, by_task, how, **made)
    root.mkdir(parents=True, exist_ok=True)
    with store_folder.locked(root):
        store_folder.remove_incomplete(root)
        # All are checked before the first is written, so that a refused build leaves
        # the store as it was.
        for content in [c for c in contents if not _stands(root, c, overwrite)]:
            _build_config(root, content, engine)
        _write_splits(root, how)
        _write_card(root, command)
    return {
        c.name: report_of(layout.read_metadata(root, c.name), records) for c in contents
    }


def _by_video(
    annotations: Iterable[VideoAnnotations], tasks: Mapping[str, Task]
) -> dict[str, VideoAnnotations]:
    """Records by their videos; an error where a video has two."""
    for task in tasks.values():
        register(task)
    records: dict[str, VideoAnnotations] = {}
    for record in annotations:
        if record.video in records:
            raise ValueError(
                f"video {record.video!r} has two annotation records; expected one: "
                "put the labels of all tasks into one record"
            )
        unknown = (set(record.labels) | set(record.splits)) - set(tasks)
        if unknown:
            raise ValueError(
                f"video {record.video!r} is annotated for {sorted(unknown)}; expected "
                f"{', '.join(tasks)}: correct the record"
            )
        records[record.video] = record
    return records


def _by_name(sources: Iterable[FeatureSource]) -> dict[str, FeatureSource]:
    """Feature sets by name; an error where two have the same name."""
    by_name: dict[str, FeatureSource] = {}
    for source in sources:
        if source.name in by_name:
            raise ValueError(
                f"two feature sets are called {source.name!r}; expected different "
                "names: tell them apart by EXTRACTOR@INPUT"
            )
        by_name[source.name] = source
    return by_name


def _contents(
    records: Mapping[str, VideoAnnotations],
    sources: Mapping[str, FeatureSource],
    splits: Mapping[str, Mapping[str, str]],
    how: Mapping[str, Any],
    *,
    synthetic: bool,
    show_progress: bool,
    tasks: Mapping[str, Task],
) -> list[Contents]:
    """The contents of the configs, the annotations first."""
    return [
        AnnotationContents(
            layout.ANNOTATIONS,
            records,
            splits,
            how=how,
            synthetic=synthetic,
            show_progress=show_progress,
            tasks=tasks,
        ),
        *(
            FeatureContents(source, synthetic=synthetic, show_progress=show_progress)
            for source in sources.values()
        ),
    ]


def _stands(root: pathlib.Path, content: Contents, overwrite: bool) -> bool:
    """Whether the config is there with this content; False if it is to be written.

    Raises:
        ValueError: If it is there with other content and may not be replaced.
    """
    folder = layout.config_folder(root, content.name)
    if not folder.exists():
        return False
    metadata: dict[str, Any] = {}
    if (folder / "metadata.json").is_file():  # perhaps of another version
        remedy = "remove the folder and build it again"
        metadata = read_json(folder / "metadata.json", dict, remedy=remedy)
    found = metadata.get("content")
    if found == content.digest:
        if isinstance(content, AnnotationContents) and content.how != metadata.get(
            "how"
        ):
            return False  # the same splits, which came about in another way
        logging.info("%s stands already in %s", content.name, root)
        return True
    if not overwrite:
        raise ValueError(
            f"{folder} stands with other content (fingerprint {str(found)[:12]}, "
            f"expected {content.digest[:12]}): the files, the splits or their seed "
            "changed; pass --overwrite to replace it, or build into another folder"
        )
    return False


def _engine(runner: str | None, options: Sequence[str]) -> Any:
    """TFDS's configuration for a Beam runner; None without one.

    Raises:
        ImportError: If Beam is not installed.
        ValueError: If the runner or an option is wrong.
    """
    if runner is None:
        if options:
            raise ValueError(
                f"Beam options {' '.join(options)!r} without a runner; expected both "
                "or neither: name a --beam-runner, as DirectRunner"
            )
        return None
    return tfds_lib.import_tfds().download.DownloadConfig(
        beam_runner=runner, beam_options=checked_options(runner, options)
    )


def _build_config(root: pathlib.Path, content: Contents, engine: Any) -> None:
    """Write one config; if that fails, the one that was in its place comes back.

    Args:
        root: The store's folder.
        content: What to write.
        engine: TFDS's configuration for a Beam runner (from ``_engine``); None: this
            process writes.
    """
    from data_builders.affwild2.affwild2_dataset_builder import Builder

    tfds = tfds_lib.import_tfds()
    config: Any = content.name
    if content.name not in Builder.builder_configs:
        config = tfds.core.BuilderConfig(
            name=content.name, version=layout.STORE_VERSION, description="Features."
        )
    folder = layout.config_folder(root, content.name)
    builder = Builder(contents=content, config=config, data_dir=os.fspath(root))
    # TFDS wants a folder for downloads, of which there are none.
    with (
        store_folder.replacing(folder),
        tempfile.TemporaryDirectory() as downloads,
        workers_apart() if engine is not None else contextlib.nullcontext(),
    ):
        builder.download_and_prepare(download_dir=downloads, download_config=engine)


def _write_splits(root: pathlib.Path, how: Mapping[str, Any]) -> None:
    """Write ``splits.json``: the splits of the store as it is now."""
    store = open_store(root)
    by_task = {
        task: {
            video: split
            for split in splits_lib.SPLITS
            for video in store.split_videos(task, split)
        }
        for task in store.tasks
    }
    splits_lib.write_splits(root / layout.SPLITS_FILE, by_task, how=how)


def _write_card(root: pathlib.Path, command: str | None) -> None:
    """Write the card of the store as it is now."""
    write_card(root, command=command)
