"""Scores of embedded rows by trained heads, part by part, so that memory is bounded.

A part of the rows is copied at a time, however long the faces are seen. The scores are
those of all rows at once: parts of heads over windows overlap by a window, parts of
heads over the batch end where a batch does, and heads that carry a state go on with
that at the end of the part before.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from avemo_jax.batches.tables import Data
from avemo_jax.data.features.names import split_name
from avemo_jax.data.store.table import FeatureSet
from avemo_jax.extractors import get_extractor
from avemo_jax.models.blend import Model, scores_by_head
from avemo_jax.models.card import CardFeatures
from avemo_jax.models.frame_scores import SplitScores
from avemo_jax.models.head import TrainedHead
from avemo_jax.models.prediction_files import PredictionFile
from avemo_jax.prediction.embedded_face import EmbeddedFace
from avemo_jax.prediction.face_runs import FaceRuns
from avemo_jax.prediction.face_store import FaceRows, FaceStore
from avemo_jax.prediction.run_scores import ScoredRows

_PART_BYTES = 2**25  # of features that are copied at a time


@dataclasses.dataclass(frozen=True)
class _Part:
    """A part of a face's rows.

    Attributes:
        face: Index of the face.
        rows: The rows that heads see.
        begin: Place in the span of the first frame that heads see.
        length: Number of frames that they see.
        kept: Places of the frames whose scores are kept: from the first to before the
            second.
    """

    face: int
    rows: slice
    begin: int
    length: int
    kept: tuple[int, int]


def has_sound(models: Sequence[Model], faces: Sequence[EmbeddedFace]) -> bool:
    """Whether the models take sound and any face has some.

    Args:
        models: The models of one task.
        faces: The faces.
    """
    names = [one.name for one in _features(models) if one.kind == "audio"]
    return bool(names) and any(
        face.has_audio.any() and all(name in face.features for name in names)
        for face in faces
    )


def head_rows(
    model: Model,
    faces: Sequence[EmbeddedFace],
    spans: Sequence[FaceRuns],
    *,
    fps: float,
    programs: dict[Any, Any],
) -> ScoredRows:
    """The rows that a model scores, with the scores by each of its heads and seeds.

    Where heads were trained on frames with sound only, others are no rows.

    Args:
        model: A head or a blend.
        faces: The faces.
        spans: Span of each face.
        fps: Frames per second.
        programs: Compiled passes, shared by all calls.

    Raises:
        ValueError: If a face has no vectors of a visual set that a head takes.
    """
    sets = _sets(model)
    _check(model, sets, faces)
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]] = []
    states: dict[int, dict[str, Any]] = {}
    for parts in _chunks(model, sets, faces, spans):
        rows = {
            name: _rows_of(part, faces[part.face], spans[part.face])
            for name, part in zip(_names(model, parts), parts, strict=True)
        }
        store = FaceStore(
            [dataclasses.replace(own, video=name) for name, own in rows.items()],
            list(sets.values()),
            fps,
        )
        if not _any_row(model.heads[0], store):
            continue  # the first head counts the rows
        data = Data(store, "the input", "the input", programs=programs, states=states)
        predicted = _scores(model, data, store)
        table = predicted.table
        by_name = dict(zip(rows, parts, strict=True))
        own = [by_name[video] for video in table.videos]
        part_of = table.video_of_row
        at = np.array([part.begin for part in own])[part_of] + table.frame - 1
        low, high = np.array([part.kept for part in own]).T[:, part_of]
        keep = np.flatnonzero((at >= low) & (at < high))
        face = np.array([part.face for part in own])[part_of]
        extractor = predicted.extractor
        found.append(
            (
                face[keep],
                at[keep],
                predicted.scores[:, :, keep],
                None if extractor is None else extractor[keep],
            )
        )
    return _joined(model, found)


def _joined(model: Model, found: Sequence[tuple[Any, Any, Any, Any]]) -> ScoredRows:
    """The rows of all chunks as one."""
    if not found:
        shape = (len(model.heads), len(model.card.seeds), 0, model.task.num_outputs)
        nothing = np.zeros(0, np.int64)
        return ScoredRows(model.task, nothing, nothing, np.zeros(shape, np.float32))
    face, at, scores, extractor = zip(*found, strict=True)
    return ScoredRows(
        model.task,
        np.concatenate(face),
        np.concatenate(at),
        np.concatenate(scores, axis=2),
        None if extractor[0] is None else np.concatenate(extractor),
    )


def _features(models: Sequence[Model]) -> Iterator[CardFeatures]:
    for model in models:
        for head in model.heads:
            assert isinstance(head, TrainedHead)
            yield from head.card.features


def _sets(model: Model) -> dict[str, FeatureSet]:
    """The feature sets of all heads by name; with outputs where these are looked at."""
    found: dict[str, FeatureSet] = {}
    for head in model.heads:
        assert isinstance(head, TrainedHead)
        takes = head.card.inputs == "outputs" or model.options.trust_extractor
        for one in head.card.features:
            own = 0
            if takes and one.kind == "visual":
                own = get_extractor(split_name(one.name)[0]).output_dim
            there = found.get(one.name)
            if there is None or own:
                found[one.name] = FeatureSet(
                    one.name, one.kind, one.dim, own, one.fingerprint
                )
    return found


def _check(
    model: Model, sets: dict[str, FeatureSet], faces: Sequence[EmbeddedFace]
) -> None:
    """Refuses faces without vectors of a set, or with some of another length."""
    for face in faces:
        for one in sets.values():
            vectors = face.features.get(one.name)
            if vectors is None and one.kind == "audio":
                continue  # no sound
            if vectors is None or vectors.shape[1] != one.dim:
                told = "no vectors" if vectors is None else f"{vectors.shape[1]} values"
                raise ValueError(
                    f"face {face.face_id} has {told} of {one.name} a frame; expected "
                    f"{one.dim}, as {model.directory} takes: embed it by that extractor"
                )


def _scores(model: Model, data: Data, store: FaceStore) -> SplitScores:
    """Scores of a chunk's rows; of heads without any row those of the first head."""
    scored = [i for i, head in enumerate(model.heads) if _any_row(head, store)]
    some = dataclasses.replace(model, heads=tuple(model.heads[i] for i in scored))
    predicted = scores_by_head(some, data, "test", 0)
    of_heads = [
        predicted.scores[scored.index(i) if i in scored else 0]
        for i in range(len(model.heads))
    ]
    return dataclasses.replace(predicted, scores=np.stack(of_heads))


def _any_row(head: TrainedHead | PredictionFile, store: FaceStore) -> bool:
    """Whether a head has any row in the store."""
    assert isinstance(head, TrainedHead)
    if head.card.missing_audio != "drop":
        return True
    audio = [one.name for one in head.card.features if one.kind == "audio"]
    return all(
        any(len(frame) for frame in store.frames(name).values()) for name in audio
    )


def _chunks(
    model: Model,
    sets: dict[str, FeatureSet],
    faces: Sequence[EmbeddedFace],
    spans: Sequence[FaceRuns],
) -> Iterator[list[_Part]]:
    """Parts of all faces' rows that are scored together."""
    wide = sum(2 * one.dim + 4 * one.output_dim for one in sets.values())
    most = max(_PART_BYTES // max(wide, 1), 1)
    heads = [head for head in model.heads if isinstance(head, TrainedHead)]
    batches = [
        h.card.evaluation_batch_size for h in heads if h.head.spec.batch_is_sequence
    ]
    carries = _carries(model)
    windows = [
        h.head.spec.window
        for h in heads
        if h.head.spec.takes_windows and not h.head.spec.carries
    ]
    chunk: list[_Part] = []
    count = 0
    for number, (face, span) in enumerate(zip(faces, spans, strict=True)):
        if carries and (windows or batches):
            # What is seen twice or in batches cannot go on from a state: faces whole.
            parts = _by_rows(number, face, span, max(len(face.frame), 1))
        elif windows:
            parts = _by_window(number, face, span, windows, most)
        else:
            size = most
            if batches:
                whole = math.lcm(*batches)
                size = max(most // whole, 1) * whole
            parts = _by_rows(number, face, span, size)
        for part in parts:
            rows = part.rows.stop - part.rows.start
            # Where the batch is the sequence, no face is to see another; a state goes
            # on from chunk to chunk.
            again = carries and chunk and chunk[-1].face == part.face
            if chunk and (batches or again or count + rows > most):
                yield chunk
                chunk, count = [], 0
            chunk.append(part)
            count += rows
    if chunk:
        yield chunk


def _carries(model: Model) -> bool:
    """Whether any head of the model carries a state."""
    heads = [head for head in model.heads if isinstance(head, TrainedHead)]
    return any(head.head.spec.carries for head in heads)


def _names(model: Model, parts: Sequence[_Part]) -> list[str]:
    """Names of parts as videos: of the face, by which its state is found again."""
    if _carries(model):
        return [f"face{part.face:06d}" for part in parts]
    return [f"part{number:06d}" for number in range(len(parts))]


def _by_rows(
    number: int, face: EmbeddedFace, span: FaceRuns, size: int
) -> Iterator[_Part]:
    """Parts of at most ``size`` rows."""
    at = np.asarray(face.frame) - span.first
    for start in range(0, len(at), size):
        end = min(start + size, len(at))
        first, last = int(at[start]), int(at[end - 1])
        yield _Part(
            number, slice(start, end), first, last - first + 1, (first, last + 1)
        )


def _by_window(
    number: int, face: EmbeddedFace, span: FaceRuns, windows: list[int], most: int
) -> Iterator[_Part]:
    """Parts of at most about ``most`` frames that begin where windows do.

    A part is seen with a margin of the longest window on both sides; the last part is
    longer than two windows, since a face's last window is moved back.
    """
    at = np.asarray(face.frame) - span.first
    step = math.lcm(*(max(window // 2, 1) for window in windows))
    margin = -(-max(windows) // step) * step
    size = max(most // step, 4 * margin // step) * step
    begins = list(range(0, max(span.length - 3 * margin, 1), size))
    for begin, end in zip(begins, [*begins[1:], span.length], strict=True):
        low = max(begin - margin, 0)
        high = min(end + margin, span.length)
        rows = slice(*map(int, np.searchsorted(at, [low, high])))
        if rows.stop > rows.start:
            yield _Part(number, rows, low, high - low, (begin, end))


def _rows_of(part: _Part, face: EmbeddedFace, span: FaceRuns) -> FaceRows:
    """The rows of a part, as views."""
    frame: Int[np.ndarray, " rows"] = np.asarray(face.frame[part.rows])
    return FaceRows(
        "",
        part.length,
        (frame - span.first - part.begin + 1).astype(np.int32),
        {name: vectors[part.rows] for name, vectors in face.features.items()},
        {name: outputs[part.rows] for name, outputs in face.outputs.items()},
        np.asarray(face.has_audio[part.rows]),
    )
