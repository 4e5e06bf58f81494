"""The extraction of feature sets: resumable, whole or as one part of a job array."""

import contextlib
import dataclasses
import pathlib
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from absl import logging

from avemo_jax.data.store import folder
from avemo_jax.embed import AnyExtractor, ImageExtractor
from avemo_jax.extraction.extractor_choice import ExtractorChoice
from avemo_jax.extraction.feature_set import ExtractedSet
from avemo_jax.extraction.jobs import Material, Work, find_work
from avemo_jax.extraction.on_beam import BEAM_PREFIX, outcomes_on_beam
from avemo_jax.extraction.one_set import outcomes_of
from avemo_jax.extraction.outcomes import Outcomes, VideoOutcome
from avemo_jax.extraction.settings import PART_FAILURES, Settings
from avemo_jax.runtime.atomic_files import LEFTOVER


@dataclasses.dataclass
class SetSummary:
    """The result of a run for one feature set.

    Attributes:
        name: Name of the feature set.
        unit: What its progress counts: "images" or "videos".
        made: Number of videos extracted by this run.
        stood: Number of videos whose files were there already.
        failed_frames: Number of frames that a fault left without a row.
        rows: Number of rows written by this run.
        seconds: Duration of the extraction, without loading the extractor.
        notes: What a user should know of a video, by video.
        others: Videos that have a file in the folder but are not in this run.
    """

    name: str
    unit: str
    made: int = 0
    stood: int = 0
    failed_frames: int = 0
    rows: int = 0
    seconds: float = 0.0
    notes: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    others: tuple[str, ...] = ()

    def count(self, outcome: VideoOutcome) -> None:
        """Add the outcome of one video to the counts."""
        self.failed_frames += len(outcome.failed)
        if outcome.notes:
            self.notes[outcome.video] = outcome.notes
        if outcome.error is not None:
            return
        if outcome.stood:
            self.stood += 1
        else:
            self.made += 1
            self.rows += outcome.rows


@contextlib.contextmanager
def held(features: pathlib.Path, *, shared: bool) -> Iterator[None]:
    """Hold the folder of all sets for one run, and remove what killed runs left.

    Args:
        features: The folder of all sets; made if missing.
        shared: Other parts of a job may use the folder at the same time; then nothing
            is removed.

    Raises:
        ValueError: If ``features`` is a file.
        RuntimeError: If another run holds the folder.
        OSError: If the folder cannot be written.
    """
    if features.exists() and not features.is_dir():
        raise ValueError(
            f"{features} is a file; expected a folder, or none yet: choose another "
            "--out"
        )
    features.mkdir(parents=True, exist_ok=True)
    with folder.locked(features, shared=shared):
        if not shared:
            _remove_leftovers(features)
        yield


def _remove_leftovers(features: pathlib.Path) -> None:
    """Remove what killed runs left: half-written files, folders of Beam's outcomes."""
    hidden = [*features.glob(".*"), *features.glob("*/.*")]
    left = [path for path in hidden if LEFTOVER.fullmatch(path.name)]
    for path in sorted([*left, *features.glob(f"{BEAM_PREFIX}*")]):
        logging.warning("removing what an earlier run left: %s", path)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def extract(
    features: pathlib.Path,
    choices: Sequence[ExtractorChoice],
    material: Material,
    settings: Settings,
    *,
    failures: pathlib.Path | None = None,
    load: Callable[[ExtractorChoice], AnyExtractor] = ExtractorChoice.load,
) -> tuple[list[SetSummary], Outcomes]:
    """Extract all feature sets of all videos, one set after another.

    The caller holds the folder with :func:`held`.

    Args:
        features: The folder of all sets.
        choices: The extractors to run.
        material: The files to extract from.
        settings: How the extraction is carried out.
        failures: File that lists the failures; None: one in ``features``.
        load: Function that loads the extractor of a choice.

    Raises:
        ValueError: If files of a set were extracted with other weights or settings.
        WeightsError: If weights are missing or of another network.
        TooManyFailuresError: If more failed than the settings allow.
        OSError: If a file cannot be written.
    """
    # All are loaded before the first runs, so that a mistake shows at once.
    loaded = [(choice, load(choice)) for choice in choices]
    sets = [choice.feature_set(extractor, features) for choice, extractor in loaded]
    for feature_set in sets:
        feature_set.check_standing()
    path = failures or features / settings.failures_name
    outcomes = Outcomes(path, max_failures=settings.max_failures)
    summaries = []
    for (choice, extractor), feature_set in zip(loaded, sets, strict=True):
        summaries.append(
            _extract_set(choice, extractor, feature_set, material, settings, outcomes)
        )
    outcomes.finish()
    if settings.num_shards == 1:
        _tidy(path, sets)
    return summaries, outcomes


def _tidy(failures: pathlib.Path, sets: Sequence[ExtractedSet]) -> None:
    """Remove lists of the failures of single parts, and folders without a file."""
    for path in failures.parent.glob(PART_FAILURES.format("*", "*")):
        path.unlink()
    for feature_set in sets:
        if not any(feature_set.folder.iterdir()):
            feature_set.folder.rmdir()


def _extract_set(
    choice: ExtractorChoice,
    extractor: AnyExtractor,
    feature_set: ExtractedSet,
    material: Material,
    settings: Settings,
    outcomes: Outcomes,
) -> SetSummary:
    features = feature_set.folder.parent
    feature_set.folder.mkdir(parents=True, exist_ok=True)
    faces = isinstance(extractor, ImageExtractor)
    summary = SetSummary(feature_set.name, "images" if faces else "videos")
    jobs = material.face_jobs() if faces else material.sound_jobs()
    work: Work[Any] = find_work(
        feature_set,
        jobs,
        num_shards=settings.num_shards,
        shard_index=settings.shard_index,
        retry_failed=settings.retry_failed,
    )
    for video, why in work.again.items():
        logging.warning("%s of %s is made again: %s", feature_set.name, video, why)
    for outcome in work.standing:
        summary.count(outcome)
        outcomes.add(outcome)
    start = time.monotonic()
    with contextlib.ExitStack() as opened:
        made: Iterable[VideoOutcome]
        if settings.beam_runner and work.todo:
            made = outcomes_on_beam(choice, work.todo, features, settings)
        else:
            made = opened.enter_context(
                contextlib.closing(
                    outcomes_of(extractor, feature_set, work.todo, features, settings)
                )
            )
        for outcome in made:
            if outcome.error is not None:
                # A file that is there is damaged, or made from a source that is gone.
                feature_set.path_of(outcome.video).unlink(missing_ok=True)
            summary.count(outcome)
            outcomes.add(outcome)
    mine = {one.video for one in outcomes.all if one.feature_set == feature_set.name}
    summary.others = tuple(sorted(feature_set.videos() - set(jobs) - mine))
    summary.seconds = time.monotonic() - start
    return summary
