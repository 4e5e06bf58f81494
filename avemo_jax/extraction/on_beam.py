"""The jobs of one feature set done by Apache Beam, on Dataflow, Flink, Spark or here.

Every worker opens the tree, the weights and the folder of features by the same paths.
"""

import dataclasses
import functools
import json
import pathlib
import shutil
import tempfile
import threading
from collections.abc import Sequence

from avemo_jax.embed import AnyExtractor
from avemo_jax.extraction.extractor_choice import ExtractorChoice
from avemo_jax.extraction.faces import FaceJob
from avemo_jax.extraction.feature_set import ExtractedSet
from avemo_jax.extraction.one_set import outcomes_of
from avemo_jax.extraction.outcomes import VideoOutcome
from avemo_jax.extraction.settings import Settings
from avemo_jax.extraction.sounds import SoundJob
from avemo_jax.runtime.beam import checked_options, import_beam
from avemo_jax.runtime.interrupts import workers_apart
from avemo_jax.runtime.json_files import fitted, parsed

BEAM_PREFIX = ".beam-"  # begins the names of folders that hold workers' outcomes
# Beam runs a function in several threads of a worker; the devices take one at a time.
_DEVICES = threading.Lock()


def outcomes_on_beam(
    choice: ExtractorChoice,
    jobs: Sequence[FaceJob | SoundJob],
    features: pathlib.Path,
    settings: Settings,
) -> list[VideoOutcome]:
    """The outcomes of the jobs of one set, each done by some worker, sorted by video.

    Args:
        choice: The extractor, loaded once by every worker.
        jobs: One job for each video; which worker does it changes nothing.
        features: The folder of all sets.
        settings: How the extraction is carried out, with the name of the runner. Every
            worker decodes pictures as they say.

    Raises:
        ImportError: If apache-beam is not installed.
        ValueError: If the runner is unknown, or an option has a wrong value.
        RuntimeError: If the pipeline fails.
    """
    assert settings.beam_runner is not None
    beam = import_beam()
    checked = checked_options(settings.beam_runner, settings.beam_options)
    quiet = dataclasses.replace(settings, show_progress=False)
    place = pathlib.Path(tempfile.mkdtemp(prefix=BEAM_PREFIX, dir=features))
    try:
        with workers_apart(), beam.Pipeline(options=checked) as pipeline:
            _ = (
                pipeline
                | "jobs" >> beam.Create(list(jobs), reshuffle=True)
                | "extract" >> beam.FlatMap(_lines_of, choice, str(features), quiet)
                | "outcomes" >> beam.io.WriteToText(str(place / "outcomes"))
            )
        texts = [path.read_text("utf-8") for path in sorted(place.glob("outcomes*"))]
    finally:
        shutil.rmtree(place)
    found = [_outcome(line) for text in texts for line in text.splitlines()]
    return sorted(found, key=lambda one: one.video)


@functools.cache
def _loaded(
    choice: ExtractorChoice, features: str
) -> tuple[AnyExtractor, ExtractedSet]:
    """The extractor of this worker and its feature set."""
    extractor = choice.load()
    return extractor, choice.feature_set(extractor, pathlib.Path(features))


def _lines_of(
    job: FaceJob | SoundJob,
    choice: ExtractorChoice,
    features: str,
    settings: Settings,
) -> list[str]:
    """Do one job, and return its outcomes as lines of JSON: one of each face."""
    with _DEVICES:
        extractor, feature_set = _loaded(choice, features)
        feature_set.folder.mkdir(parents=True, exist_ok=True)
        place = pathlib.Path(features)
        outcomes = list(outcomes_of(extractor, feature_set, [job], place, settings))
    return [json.dumps(dataclasses.asdict(outcome)) for outcome in outcomes]


def _outcome(line: str) -> VideoOutcome:
    found: VideoOutcome = fitted(VideoOutcome, parsed(line))
    return found
