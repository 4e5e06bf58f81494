"""Many inputs, one after another, to what is predicted of each."""

import collections
import dataclasses
import functools
import pathlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from avemo_jax.extraction.face_tracks import FaceTrack
from avemo_jax.prediction.certainty_notes import certainty_notes
from avemo_jax.prediction.embedded_face import EmbeddedFace
from avemo_jax.prediction.embedding import (
    Embedded,
    EmbedJob,
    FaceRows,
    Job,
    embed,
    joined_rows,
)
from avemo_jax.prediction.embedding_frames import EmbeddingFrames
from avemo_jax.prediction.face_scores import predicted_faces
from avemo_jax.prediction.frame_progress import Progress
from avemo_jax.prediction.input_faces import (
    InputFaces,
    InputPart,
    faces_of,
    opened_part,
)
from avemo_jax.prediction.inputs import Input
from avemo_jax.prediction.joined_faces import same_people, with_joined
from avemo_jax.prediction.networks import Networks
from avemo_jax.prediction.predicted import Predicted
from avemo_jax.prediction.searched_input import SearchJob
from avemo_jax.prediction.settings import PredictSettings
from avemo_jax.prediction.sound_rows import SoundRows, heard

_NO_SOUND = ("sound not used, as asked for (--audio none)",)


@dataclasses.dataclass(frozen=True, eq=False)
class Unread:
    """An input that could not be read.

    Attributes:
        input: The input.
        error: Why.
    """

    input: Input
    error: Exception


def predict_inputs(
    inputs: Iterable[Input],
    networks: Networks,
    settings: PredictSettings,
    *,
    folder: pathlib.Path | None = None,
    told: Callable[[Input], dict[str, Any]] = lambda one: {},
    progress: Progress | None = None,
) -> Iterator[Predicted | Unread]:
    """What is predicted of each input, as soon as it is known.

    The networks see batches of the faces of all inputs, so an input may be done only
    when the next has begun.

    Args:
        inputs: The inputs.
        networks: The model and its networks.
        settings: What is asked for.
        folder: Where rows lie until they are used; None: where the system keeps
            temporary files.
        told: What ``run.json`` is to say of an input beside the settings.
        progress: Hears how far the work is.

    Raises:
        OSError: If rows cannot be written, as on a full disk.
    """
    hears = progress or Progress()
    found: dict[str, _Found | SearchJob] = {}
    unread: collections.deque[Unread] = collections.deque()

    def jobs() -> Iterator[Job]:
        for one in inputs:
            try:
                part = opened_part(one, settings.search_in(one.name))
                hears.opened(one, part.times.num_frames)
                search = _search_job(part, networks, settings, hears)
                if search is None:
                    faces = _faces_of(part, networks, settings, hears)
                    frames = _frames_of(faces, networks, settings)
                    found[one.name] = _Found(faces, frames)
                    job: Job = _job(faces, frames.first())
                else:
                    found[one.name] = job = search
            except (ValueError, OSError) as error:
                unread.append(Unread(one, error))
                hears.finished(one)
                continue
            yield job

    rows = embed(
        networks.visual,
        jobs(),
        folder,
        template=settings.points,
        progress=hears.embedded,
    )
    for embedded in rows:
        while unread:
            yield unread.popleft()
        known = found.pop(embedded.job.name)
        one = known.part.input if isinstance(known, SearchJob) else known.faces.input
        try:
            if embedded.error is not None:
                raise UnreadableError(embedded.error)
            if isinstance(known, SearchJob):
                known, embedded = _of_search(
                    known, embedded, networks, settings, folder, hears
                )
            yield _predicted(known, embedded, networks, settings, folder, told)
        except UnreadableError as error:
            yield Unread(one, error.cause)
        hears.finished(one)
    yield from unread


class UnreadableError(Exception):
    """An input that could be read at first, and cannot any more.

    Attributes:
        cause: Why.
    """

    def __init__(self, cause: Exception):
        """An error with its cause."""
        super().__init__(str(cause))
        self.cause = cause


@dataclasses.dataclass(frozen=True, eq=False)
class _Found:
    """An input's faces, and which of their frames are embedded.

    Attributes:
        faces: The faces.
        frames: Names the frames, in rounds.
    """

    faces: InputFaces
    frames: EmbeddingFrames


def _search_job(
    part: InputPart, networks: Networks, settings: PredictSettings, progress: Progress
) -> SearchJob | None:
    """The work to embed the faces of an input while they are searched.

    Returns:
        None where that cannot be: which frames are embedded of which faces is known
        only when all are found, or pictures are reduced to be searched.
    """
    search = settings.search_in(part.input.name)
    if (
        search.faces != "all"
        or search.boxes is not None
        or settings.every == "adaptive"
        or not networks.visual
    ):
        return None
    job = SearchJob(
        part,
        networks.detect,
        search,
        settings.every,
        progress=lambda frames: progress.searched(part.input, frames),
    )
    return job if job.is_possible else None


def _of_search(
    job: SearchJob,
    embedded: Embedded,
    networks: Networks,
    settings: PredictSettings,
    folder: pathlib.Path | None,
    progress: Progress,
) -> tuple[_Found, Embedded]:
    """An input whose faces were embedded while they were searched.

    Where the times by which they were searched were wrong all is done again, and so is
    the embedding where other frames are wanted than were taken on the way.

    Raises:
        UnreadableError: If the input cannot be read any more.
    """
    try:
        if job.holds():
            faces = job.found()
        else:
            one = job.part.input
            search = settings.search_in(one.name)
            part = opened_part(one, search, is_sure=True)
            faces = _faces_of(part, networks, settings, progress)
    except (ValueError, OSError) as error:
        raise UnreadableError(error) from error
    known = _Found(faces, _frames_of(faces, networks, settings))
    first = known.frames.first()
    shift = faces.first_frame - 1
    if job.holds() and job.took([own - shift for own in first]):
        return known, embedded
    return known, _embedded(_job(faces, first), networks, settings, folder)


def _embedded(
    job: EmbedJob,
    networks: Networks,
    settings: PredictSettings,
    folder: pathlib.Path | None,
) -> Embedded:
    """What comes of one job alone.

    Raises:
        UnreadableError: If the input cannot be read any more.
    """
    (embedded,) = embed(networks.visual, [job], folder, template=settings.points)
    if embedded.error is not None:
        raise UnreadableError(embedded.error)
    return embedded


def _faces_of(
    part: InputPart, networks: Networks, settings: PredictSettings, progress: Progress
) -> InputFaces:
    return faces_of(
        part,
        networks.detect,
        settings.search_in(part.input.name),
        progress=lambda frames: progress.searched(part.input, frames),
    )


def _frames_of(
    found: InputFaces, networks: Networks, settings: PredictSettings
) -> EmbeddingFrames:
    """What names the frames to embed of the faces that are taken."""
    return EmbeddingFrames(
        networks.model,
        settings.every,
        [_shifted(track, found) for track in found.tracks],
        found.times.times_s,
        fps=found.times.fps,
        first_frame=found.first_frame,
    )


def _shifted(track: FaceTrack, found: InputFaces) -> FaceTrack:
    """A face of a part, its frames numbered as those of the whole input."""
    shift = np.int32(found.first_frame - 1)
    return dataclasses.replace(track, frame=track.frame + shift)


def _job(found: InputFaces, numbers: Sequence[Int[np.ndarray, " _"]]) -> EmbedJob:
    """The work to embed some frames of each face, numbered as in the whole input."""
    shift = found.first_frame - 1
    wanted = [
        np.isin(track.frame, own - shift)
        for track, own in zip(found.tracks, numbers, strict=True)
    ]
    return EmbedJob(
        found.input.name, found.pictures, found.tracks, wanted, found.stages
    )


def _embedded_faces(
    known: _Found,
    rows: Sequence[FaceRows],
    sound: Sequence[SoundRows],
) -> list[EmbeddedFace]:
    """The faces with their rows of pictures and of sound."""
    faces = []
    found = known.faces
    for number, (track, own, heard_rows) in enumerate(
        zip(found.tracks, rows, sound, strict=True), start=1
    ):
        at = np.searchsorted(track.frame, own.frame)
        pick = slice(None) if len(at) == len(track.frame) else at
        heard_of = {name: part[pick] for name, part in heard_rows.features.items()}
        faces.append(
            EmbeddedFace(
                face_id=number,
                track=_shifted(track, found),
                frame=own.frame + np.int32(found.first_frame - 1),
                features={**own.features, **heard_of},
                outputs=own.outputs,
                has_audio=heard_rows.has_audio[pick],
                is_merged=found.is_joined[number - 1],
            )
        )
    return faces


def _with_joined(
    known: _Found,
    rows: Sequence[FaceRows],
    networks: Networks,
    settings: PredictSettings,
) -> tuple[_Found, list[FaceRows]]:
    """The input with the faces of several scenes joined, and their rows."""
    found = known.faces
    groups = same_people(found.tracks, rows)
    if len(groups) == len(found.tracks):
        return known, list(rows)
    joined_faces = with_joined(found, groups)
    own = [functools.reduce(joined_rows, [rows[i] for i in group]) for group in groups]
    return _Found(joined_faces, _frames_of(joined_faces, networks, settings)), own


def _predicted(
    known: _Found,
    embedded: Embedded,
    networks: Networks,
    settings: PredictSettings,
    folder: pathlib.Path | None,
    told: Callable[[Input], dict[str, Any]],
) -> Predicted:
    """What is predicted of an input whose faces are embedded.

    Raises:
        UnreadableError: If the input cannot be read any more.
    """
    model, stages = networks.model, known.faces.stages
    faults = Counter(embedded.faults)
    first, rows = known, embedded.faces
    known, joined = _with_joined(first, rows, networks, settings)
    found = known.faces
    with stages.stage("sound"):
        sound = heard(networks.sound, found, settings.audio, folder)
    whole = _embedded_faces(known, joined, sound.faces)
    again = settings.every == "adaptive" and known is not first
    while True:
        have = [face.frame for face in whole]
        named = known.frames.first() if again else known.frames.next(whole)
        more = [np.setdiff1d(a, b) for a, b in zip(named, have, strict=True)]
        if not any(map(len, more)) and not again:
            break
        again = False
        embedded = _embedded(_job(found, more), networks, settings, folder)
        faults += Counter(embedded.faults)
        joined = [
            joined_rows(a, b) for a, b in zip(joined, embedded.faces, strict=True)
        ]
        whole = _embedded_faces(known, joined, sound.faces)
    times = found.times
    with stages.stage("heads"):
        scored = predicted_faces(
            model,
            whole,
            times.times_s,
            fps=times.fps,
            first_frame=found.first_frame,
            smooth=settings.smooth,
            adaptive=settings.every == "adaptive",
            calibrated=settings.calibrated,
        )
    used = [face.audio_used for face in scored if face.audio_used is not None]
    notes = (
        *_notes_on_faces(found, whole, settings),
        *found.notes,
        *(f"{count} faces not embedded: {why}" for why, count in faults.items()),
        *sound.notes,
        *(_NO_SOUND if model.hears and settings.audio == "none" else ()),
        *model.smoothing_notes(settings.smooth),
        *certainty_notes(model, settings.smooth, calibrated=settings.calibrated),
        *_notes_on_rate(found, settings),
    )
    return Predicted(
        name=found.input.name,
        path=found.input.path,
        times_s=times.times_s,
        fps=times.fps,
        width=found.pictures.width,
        height=found.pictures.height,
        tasks=model.tasks,
        thresholds=model.thresholds(settings.smooth, calibrated=settings.calibrated),
        faces=scored,
        audio_used=any(bool(one.any()) for one in used),
        with_spread=model.with_spread,
        with_sets=model.with_sets,
        with_disagreement=model.with_disagreement,
        notes=tuple(dict.fromkeys(n for n in notes if n not in found.losses)),
        losses=(*found.losses, *sound.losses),
        settings=told(found.input),
        stages_s=dict(stages.seconds),
        first_frame=found.first_frame,
        files=found.input.pictures_files,
    )


def _notes_on_rate(found: InputFaces, settings: PredictSettings) -> Iterator[str]:
    """What a user should know of seconds where frames are not shown alike long."""
    if found.times.constant_rate or isinstance(settings.smooth, str):
        return
    yield (
        f"its frame rate varies: {settings.smooth:g} s of smoothing are counted in "
        f"frames, of which it shows {found.times.fps:.3g} a second mostly"
    )


def _notes_on_faces(
    found: InputFaces, rows: Sequence[EmbeddedFace], settings: PredictSettings
) -> Iterator[str]:
    """What a user should know of the faces that were found."""
    count, taken = len(found.all_tracks), len(found.tracks)
    size = f"{found.pictures.width} x {found.pictures.height} px"
    if not count:
        where = "in the table" if settings.boxes else f"in pictures of {size}"
        yield (
            f"no face found {where}: is one shown, from the front, larger than 10 px "
            "after the picture is reduced to 640 px? --detect every searches each frame"
        )
    if taken < count:
        yield f"{taken} of {count} faces taken (--faces {settings.search.faces})"
    if settings.every != 1 and rows:
        seen = sum(len(one.frame) for one in rows)
        total = sum(len(track.frame) for track in found.tracks)
        yield f"the network saw {seen:,} of {total:,} faces (--every {settings.every})"
