"""Annotations and features -> a store on disk, with no TensorFlow."""

import os
from collections.abc import Iterable, Mapping

from avemo_jax.data.sources import FeatureSource, VideoAnnotations


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
) -> dict[str, dict[str, int | list[str]]]:
    """What was written, dropped or missing, by config; the store lies in ``out_dir``.

    Each config (``annotations`` and one per feature set) is written into an incomplete
    folder that is renamed at the end: a killed build leaves no half config that reads
    as whole. A config that stands already with the same content is skipped; incomplete
    folders of earlier builds are removed at the start.

    Args:
        out_dir: Where ``affwild2/CONFIG/VERSION`` and ``splits.json`` are written.
        annotations: One record per subject-video. Videos that only have features
            need none: they are test videos of every task.
        feature_sources: The feature sets. Each is read video by video, so they may be
            generators of any size.
        splits: By task, then by video, one of "train", "dev", "validation", "test";
            replaces the splits of the annotations, nothing is drawn. None: dev is
            drawn from the "train" videos of each task that has no dev video yet.
        split_seed: Seed of that draw.
        grouped_dev: Draw by source video; False draws single subject-videos, as the
            original system did.
        synthetic: Made data: kept in the store, so that every result says so.
        overwrite: Replace a config that stands with other content.
        show_progress: Draw a bar on stderr.

    Raises:
        ValueError: If a record is wrong, or a config stands with other content and
            ``overwrite`` is False.
        RuntimeError: If another build writes into ``out_dir`` at the moment.
    """
    raise NotImplementedError
