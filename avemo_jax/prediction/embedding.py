"""Faces of many inputs -> their features on disk, in batches across all of them.

A batch may hold faces of several inputs, so that many small ones are as fast as a long
one, and what is in memory does not grow with an input's length.
"""

import array
import collections
import contextlib
import dataclasses
import functools
import itertools
import pathlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Shaped, UInt8

from avemo_jax.embed import Embeddings, ImageExtractor
from avemo_jax.embed.contract import by_owner
from avemo_jax.extraction.face_crops import CropKind, FaceCrop, face_crops
from avemo_jax.extraction.face_tracks import FaceTrack
from avemo_jax.faces.crops import ARCFACE_TEMPLATE
from avemo_jax.media.picture_sources import PictureSource
from avemo_jax.media.resizing import LARGEST_CANVAS_PX, reduced
from avemo_jax.prediction.stage_times import StageTimes
from avemo_jax.runtime.scratch_rows import ScratchRows


@dataclasses.dataclass(frozen=True, eq=False)
class VisualSet:
    """A feature set of faces to make.

    Attributes:
        name: Full name.
        extractor: The network.
        crop: The crops that it sees.
        has_features: Whether its vectors are kept.
        has_outputs: Whether its own outputs are kept.
    """

    name: str
    extractor: ImageExtractor
    crop: CropKind
    has_features: bool = True
    has_outputs: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class EmbedJob:
    """Faces of one input to embed.

    Attributes:
        name: Name of the input.
        pictures: Its pictures.
        tracks: Its faces.
        wanted: Which rows of each face are embedded.
        stages: Counts the time that is taken.
    """

    name: str
    pictures: PictureSource
    tracks: Sequence[FaceTrack]
    wanted: Sequence[Bool[np.ndarray, " _"]]
    stages: StageTimes

    def crops(
        self, kinds: Sequence[CropKind], template: Float[np.ndarray, "5 2"]
    ) -> Iterator[FaceCrop]:
        """The crops of the faces, in another decoding."""
        return face_crops(
            self.pictures,
            self.tracks,
            self.wanted,
            kinds,
            template=template,
            timed=functools.partial(self.stages.stage, "crop"),
        )

    def order(self) -> list[int]:
        """The tracks of the crops, in the order of the faces."""
        return list(range(len(self.tracks)))


@runtime_checkable
class Job(Protocol):
    """Faces to embed, wherever they come from.

    Attributes:
        name: Name of the input.
        stages: Counts the time that is taken.
    """

    @property
    def name(self) -> str:
        """Name of the input."""
        ...

    @property
    def stages(self) -> StageTimes:
        """Counts the time that is taken."""
        ...

    def crops(
        self, kinds: Sequence[CropKind], template: Float[np.ndarray, "5 2"]
    ) -> Iterator[FaceCrop]:
        """The crops: those of a track by ascending frame, all kinds of a row together.

        Args:
            kinds: The kinds of crops of each row.
            template: Where the five points come in aligned crops.
        """
        ...

    def order(self) -> list[int]:
        """The tracks of the crops, in the order of the faces, once all were read."""
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class FaceRows:
    """What was embedded of one face.

    Attributes:
        frame: Frames of the rows, ascending.
        features: Vectors of the rows in float16, by full name of the feature set.
        outputs: The networks' own outputs of the rows in float32, likewise.
        mean: Mean vector of the first feature set; None without a row.
    """

    frame: Int[np.ndarray, " rows"]
    features: Mapping[str, Float[np.ndarray, "rows _"]]
    outputs: Mapping[str, Float[np.ndarray, "rows _"]]
    mean: Float64[np.ndarray, " dim"] | None


@dataclasses.dataclass(frozen=True, eq=False)
class Embedded:
    """What came of a job.

    Attributes:
        job: The job.
        faces: Rows of each face.
        faults: Why rows are missing, each reason with the number of rows.
        error: Why the input could not be read; None where it could.
    """

    job: Job
    faces: tuple[FaceRows, ...]
    faults: Mapping[str, int]
    error: Exception | None = None


def joined_rows(a: FaceRows, b: FaceRows) -> FaceRows:
    """The rows of two rounds, or of two scenes, of one face, by their frames.

    Args:
        a: Some rows.
        b: Rows of other frames.
    """
    if not len(a.frame) or not len(b.frame):
        return a if len(a.frame) else b
    frame = np.concatenate([a.frame, b.frame])
    order = np.argsort(frame)

    def both(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
        return {n: np.concatenate([one[n], other[n]])[order] for n in one}

    mean = a.mean
    if a.mean is not None and b.mean is not None:
        mean = np.average(
            [a.mean, b.mean], axis=0, weights=[len(a.frame), len(b.frame)]
        )
    return FaceRows(
        frame[order], both(a.features, b.features), both(a.outputs, b.outputs), mean
    )


def embed(
    sets: Sequence[VisualSet],
    jobs: Iterable[Job],
    folder: pathlib.Path | None,
    *,
    template: Float[np.ndarray, "5 2"] = ARCFACE_TEMPLATE,
    progress: Callable[[str, int], None] = lambda name, frame: None,
) -> Iterator[Embedded]:
    """What came of each job, as soon as it is known.

    Args:
        sets: The feature sets to make.
        jobs: The inputs, read lazily one after another.
        folder: Where rows lie until they are used; None: where the system keeps
            temporary files.
        template: Where the five points come in aligned crops.
        progress: Called with the name of a job and the frame that was read last.

    Raises:
        OSError: If rows cannot be written, as on a full disk.
    """
    with _Reader(sets, jobs, folder, template, progress) as reader:
        sources = itertools.tee(reader.crops(), len(sets))
        streams = {
            one.name: one.extractor.stream(reader.pictures(one, source))
            for one, source in zip(sets, sources, strict=True)
        }
        if not sets:
            for _ in reader.crops():
                yield from reader.finished()
        taken = dict.fromkeys(streams, 0)
        while streams:
            # The one that is behind, so that few pictures wait for it.
            name = min(streams, key=lambda name: taken[name])
            began = time.perf_counter()
            inside = reader.seconds
            batch = next(streams[name], None)
            spent = time.perf_counter() - began - (reader.seconds - inside)
            if batch is None:
                del streams[name]
                continue
            taken[name] += len(batch.features)
            reader.take(name, batch, spent)
            yield from reader.finished()
        yield from reader.finished()


class _Open:
    """A job whose rows are being written, in the order in which they were read."""

    def __init__(
        self, job: Job, sets: Sequence[VisualSet], folder: pathlib.Path | None
    ):
        self.job = job
        self._folder = folder
        self._tracks, self._frames = array.array("i"), array.array("i")  # of the rows
        self._spools: dict[tuple[str, str], ScratchRows] = {}
        self._good = {one.name: bytearray() for one in sets}
        for one in sets:
            known = one.extractor.extractor
            if one.has_features:
                rows = ScratchRows(folder, 0, known.dim, np.float16)
                self._spools["features", one.name] = rows
            if one.has_outputs:
                rows = ScratchRows(folder, 0, known.output_dim, np.float32)
                self._spools["outputs", one.name] = rows
        self._first = sets[0].name if sets else ""
        # Of each track: the sum of its vectors, and their number.
        self._sums: dict[int, Float64[np.ndarray, " dim"]] = {}
        self._counts: collections.Counter[int] = collections.Counter()
        self.faults: collections.Counter[str] = collections.Counter()
        self.error: Exception | None = None
        self.is_read = False
        self.given = collections.Counter[CropKind]()
        self.taken = collections.Counter[str]()

    def close(self) -> None:
        for spool in self._spools.values():
            spool.close()

    def place(self, track: int, frame: int) -> int:
        """Number of a face's row among all rows; the next one, unless it is the last.

        The kinds of crops of a row follow one another.
        """
        if not (
            self._frames and (track, frame) == (self._tracks[-1], self._frames[-1])
        ):
            self._tracks.append(track)
            self._frames.append(frame)
            for good in self._good.values():
                good.append(False)
        return len(self._frames) - 1

    def is_done(self, sets: Sequence[VisualSet]) -> bool:
        return self.is_read and all(
            self.taken[one.name] == self.given[one.crop] for one in sets
        )

    def take(self, name: str, places: np.ndarray, rows: Embeddings) -> None:
        """Keep rows; those that are not finite have failed."""
        self.taken[name] += len(places)
        with np.errstate(over="ignore", invalid="ignore"):
            features = rows.features.astype(np.float16)
        parts = {"features": features, "outputs": rows.outputs}
        good = np.ones(len(places), bool)
        for kind, part in parts.items():
            if part is not None and (kind, name) in self._spools:
                good &= np.isfinite(part).all(axis=1)
                self._spools[kind, name].write(places, part)
        for place, is_good in zip(places.tolist(), good.tolist(), strict=True):
            self._good[name][place] = is_good
        if name == self._first:
            # Row by row, so that the sums do not depend on how batches are cut.
            kept = rows.features[good]
            for place, row in zip(places[good].tolist(), kept, strict=True):
                track = self._tracks[place]
                if track not in self._sums:
                    self._sums[track] = np.zeros(len(row))
                self._sums[track] += row
                self._counts[track] += 1
        if not good.all():
            self.faults["the network's answer is no number"] += int((~good).sum())

    def outcome(self) -> Embedded:
        """What came of the job, its rows mapped from disk, one face after another."""
        if self.error is not None:
            return Embedded(self.job, (), dict(self.faults), self.error)
        tracks, frames = (np.array(a, np.int32) for a in (self._tracks, self._frames))
        faces = self.job.order()
        rank = np.zeros(max(faces, default=-1) + 1, np.int64)
        rank[faces] = np.arange(len(faces))
        order = np.argsort(rank[tracks], kind="stable")
        whole = np.ones(len(order), bool)
        for good in self._good.values():
            whole &= np.array(good, bool)
        mapped = {key: self._ordered(key, order) for key in self._spools}
        ends = np.cumsum(np.bincount(rank[tracks], minlength=len(faces)))
        found = []
        for track, start, end in zip(faces, [0, *ends], ends, strict=False):
            rows = slice(start, end)
            good_rows = whole[order[rows]]
            # A copy only where some are missing.
            pick = slice(None) if good_rows.all() else good_rows
            features, outputs = (
                {
                    name: table[rows][pick]
                    for (of, name), table in mapped.items()
                    if of == kind
                }
                for kind in ("features", "outputs")
            )
            count = self._counts[track]
            mean = self._sums[track] / count if count else None
            own = frames[order[rows]][pick]
            found.append(FaceRows(own, features, outputs, mean))
        return Embedded(self.job, tuple(found), dict(self.faults))

    def _ordered(
        self, key: tuple[str, str], order: Int[np.ndarray, " rows"]
    ) -> Shaped[np.ndarray, "rows _"]:
        """A table of rows in the order of the faces, mapped from disk."""
        spool = self._spools[key]
        spool.reserve(len(order))
        if (np.diff(order) != 1).any():
            self._spools[key] = spool.reordered(order, self._folder)
            spool.close()
        return self._spools[key].mapped()


_Item = tuple[_Open, int, CropKind, UInt8[np.ndarray, "_ _ 3"]]


class _Reader(contextlib.AbstractContextManager["_Reader"]):
    """Reads jobs for several networks, and puts their rows in place.

    Attributes:
        seconds: Seconds that reading has taken.
    """

    def __init__(
        self,
        sets: Sequence[VisualSet],
        jobs: Iterable[Job],
        folder: pathlib.Path | None,
        template: Float[np.ndarray, "5 2"],
        progress: Callable[[str, int], None],
    ):
        self._sets, self._jobs, self._folder = sets, jobs, folder
        self._template, self._progress = template, progress
        self._open: list[_Open] = []
        self._pending: dict[str, collections.deque[tuple[_Open, int]]] = {
            one.name: collections.deque() for one in sets
        }
        self.seconds = 0.0

    def __exit__(self, *_: object) -> None:
        for one in self._open:
            one.close()

    def crops(self) -> Iterator[_Item]:
        """The crops of all jobs, of each kind once."""
        kinds = sorted({one.crop for one in self._sets})
        began = time.perf_counter()
        for job in self._jobs:
            one = _Open(job, self._sets, self._folder)
            self._open.append(one)
            try:
                found = job.crops(kinds, self._template)
                for crop in job.stages.each("wait", found):
                    self._progress(job.name, crop.frame)
                    if (item := self._item(one, crop)) is not None:
                        self.seconds += time.perf_counter() - began
                        yield item
                        began = time.perf_counter()
            except (ValueError, OSError) as error:
                one.error = error
            one.is_read = True
        self.seconds += time.perf_counter() - began

    def _item(self, one: _Open, crop: FaceCrop) -> _Item | None:
        if crop.picture is None:
            one.faults[str(crop.fault)] += 1
            return None
        one.given[crop.kind] += 1
        return one, one.place(crop.track, crop.frame), crop.kind, crop.picture

    def pictures(
        self, wanted: VisualSet, items: Iterator[_Item]
    ) -> Iterator[UInt8[np.ndarray, "_ _ 3"]]:
        """The pictures for one network."""
        size_px = wanted.extractor.settings["size_px"]
        for one, place, kind, picture in items:
            if kind == wanted.crop:
                self._pending[wanted.name].append((one, place))
                large = max(picture.shape) > LARGEST_CANVAS_PX
                yield reduced(picture, size_px) if large else picture

    def take(self, name: str, batch: Embeddings, seconds: float) -> None:
        """Put the rows of a batch in place."""
        count = len(batch.features)
        for one, places, rows in by_owner(self._pending[name], batch):
            one.take(name, places, rows)
            one.job.stages.add("embed", seconds * len(places) / count)

    def finished(self) -> Iterator[Embedded]:
        """The jobs whose rows are all there, each once."""
        for one in [one for one in self._open if one.is_done(self._sets)]:
            self._open.remove(one)
            yield one.outcome()
            one.close()
