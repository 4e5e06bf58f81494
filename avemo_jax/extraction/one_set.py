"""The jobs of one feature set, done by this process."""

import pathlib
from collections.abc import Generator, Sequence

from avemo_jax.embed import AnyExtractor, ImageExtractor
from avemo_jax.extraction.faces import FaceJob, embed_faces
from avemo_jax.extraction.feature_set import ExtractedSet
from avemo_jax.extraction.frame_times import KeptFrameTimes
from avemo_jax.extraction.outcomes import VideoOutcome
from avemo_jax.extraction.settings import Settings
from avemo_jax.extraction.sounds import SoundJob, embed_sound
from avemo_jax.runtime.progress import progress_bar


def outcomes_of(
    extractor: AnyExtractor,
    feature_set: ExtractedSet,
    jobs: Sequence[FaceJob | SoundJob],
    features: pathlib.Path,
    settings: Settings,
) -> Generator[VideoOutcome, None, None]:
    """The outcome of each job of one set, as soon as its file is written."""
    faces = [job for job in jobs if isinstance(job, FaceJob)]
    total = sum(len(job.crops.frame) for job in faces if job.crops is not None)
    bar = progress_bar(
        (total or None) if faces else len(jobs),
        feature_set.name,
        "image" if faces else "video",
        quiet=not settings.show_progress or not jobs,
    )
    with bar:
        if isinstance(extractor, ImageExtractor):
            with settings.decoders() as decoders:
                yield from embed_faces(
                    extractor,
                    feature_set,
                    faces,
                    decoders,
                    progress=bar.update,
                    quiet=not settings.show_progress,
                )
            return
        kept = KeptFrameTimes(features)
        sounds = [job for job in jobs if isinstance(job, SoundJob)]
        files = {job.video: job.file for job in sounds if job.file is not None}
        with kept.ahead(files, settings.workers):
            for job in sounds:
                yield embed_sound(extractor, feature_set, job, kept)
                bar.update()
