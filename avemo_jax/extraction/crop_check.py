"""Our aligned crops of a video's faces against crops that were made elsewhere."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from avemo_jax.data.corpus.crop_folders import CropFolder
from avemo_jax.embed import Embeddings
from avemo_jax.extraction.face_crops import face_crops
from avemo_jax.extraction.face_tracks import Detect, FaceTrack
from avemo_jax.faces.crops import ALIGNED_PX, ARCFACE_TEMPLATE
from avemo_jax.media.images import ImageError, read_image
from avemo_jax.media.picture_sources import PictureSource

ALIKE = 0.8  # correlation of two grey crops from which on they match

Crop = UInt8[np.ndarray, "_ _ 3"]
Embed = Callable[[Sequence[Crop]], Embeddings]


@dataclasses.dataclass(frozen=True, eq=False)
class CropRows:
    """What a network makes of the crops of a subject-video, a row a frame.

    Attributes:
        frame: Numbers of the frames with both crops, ascending.
        given: Rows of the given crops.
        ours: Rows of ours.
    """

    frame: Int[np.ndarray, " found"]
    given: Embeddings
    ours: Embeddings


@dataclasses.dataclass(frozen=True, eq=False)
class CropCheck:
    """How crops of a subject-video agree, one value a crop, in frame order.

    Attributes:
        video: Name of the subject-video.
        likeness: Correlation of the grey crop with that of our face which is most like
            it, -1 to 1; NaN where we found no face.
        shifts: How far the detector's points of the given crop lie from those of ours,
            in pixels of a crop; only crops that match, a sample of them.
        cosine: Cosine of the embeddings of both; empty without an extractor.
        faults: Crops that cannot be read, in words.
        rows: The embeddings of both crops; None: they were not to be kept.
    """

    video: str
    likeness: Float[np.ndarray, " crops"]
    shifts: Float[np.ndarray, "sampled 5 2"]
    cosine: Float[np.ndarray, " found"]
    faults: tuple[str, ...] = ()
    rows: CropRows | None = None


def check_crops(
    video: PictureSource,
    tracks: Sequence[FaceTrack],
    folders: Sequence[CropFolder],
    detect: Detect,
    *,
    embed: Embed | None = None,
    template: Float[np.ndarray, "5 2"] = ARCFACE_TEMPLATE,
    sample: int = 100,
    keeps_rows: bool = False,
) -> list[CropCheck]:
    """How the crops of a video's subject-videos agree with ours.

    Args:
        video: The video, which is decoded once.
        tracks: Its faces.
        folders: The given crops, of one subject-video each.
        detect: The face detector, to find the points in both crops.
        embed: Embeds crops; None: they are not embedded.
        template: Where the five points come in our crops.
        sample: Crops of each subject-video in which points are found, spread evenly;
            others are not looked at by the detector.
        keeps_rows: Whether the embeddings are kept, in memory.

    Raises:
        VideoError: If the video is gone.
        ValueError: If a crop's pictures cannot be embedded.
    """
    running = [
        _Running(folder, detect, embed, sample, keeps_rows) for folder in folders
    ]
    last = max((int(folder.frame[-1]) for folder in folders), default=0)
    wanted = [
        np.isin(track.frame, np.concatenate([folder.frame for folder in folders]))
        for track in tracks
    ]
    for frame, ours in _by_frame(video, tracks, wanted, template, last):
        for one in running:
            one.take(frame, ours)
    return [one.done() for one in running]


def _by_frame(
    video: PictureSource,
    tracks: Sequence[FaceTrack],
    wanted: Sequence[np.ndarray],
    template: Float[np.ndarray, "5 2"],
    last: int,
) -> Iterator[tuple[int, list[Crop]]]:
    """Our crops of each frame up to the last of interest; frames without have none."""
    ours: list[Crop] = []
    reached = 0
    for crop in face_crops(video, tracks, wanted, ["aligned"], template=template):
        if crop.frame != reached:
            if reached:
                yield reached, ours
            yield from ((frame, []) for frame in range(reached + 1, crop.frame))
            reached, ours = crop.frame, []
        if crop.picture is not None:
            ours.append(crop.picture)
    if reached:
        yield reached, ours
    yield from ((frame, []) for frame in range(reached + 1, last + 1))


class _Running:
    """The comparison of one subject-video, frame by frame."""

    def __init__(
        self,
        folder: CropFolder,
        detect: Detect,
        embed: Embed | None,
        sample: int,
        keeps_rows: bool,
    ):
        self._keeps_rows = keeps_rows
        self._frames: list[int] = []
        self._rows: list[Embeddings] = []
        self._video, self._detect, self._embed = folder.video, detect, embed
        self._files = dict(folder.paths())
        numbers = list(self._files)
        picks = np.linspace(0, len(numbers) - 1, min(sample, len(numbers)))
        self._sampled = {numbers[i] for i in np.round(picks).astype(int)}
        self._likeness: list[float] = []
        self._shifts: list[np.ndarray] = []
        self._cosine: list[np.ndarray] = []
        self._pairs: list[Crop] = []
        self._faults: list[str] = []

    def take(self, frame: int, ours: Sequence[Crop]) -> None:
        """Compare the frame's crop, if there is one, with ours of the frame."""
        if frame not in self._files:
            return
        try:
            given = _at_size(read_image(self._files[frame]))
        except ImageError as error:
            self._faults.append(str(error))
            return
        likeness = [_likeness(given, crop) for crop in ours]
        self._likeness.append(max(likeness, default=np.nan))
        if not likeness:
            return
        near = ours[int(np.argmax(likeness))]
        if frame in self._sampled and self._likeness[-1] > ALIKE:
            self._compare_points(given, near)
        if self._embed is not None:
            self._pairs += [given, near]
            self._frames.append(frame)
            if len(self._pairs) >= 64:
                self._embed_pairs()

    def done(self) -> CropCheck:
        """The whole comparison."""
        if self._pairs:
            self._embed_pairs()
        return CropCheck(
            self._video,
            np.array(self._likeness, float),
            np.array(self._shifts, float).reshape(-1, 5, 2),
            np.concatenate([np.zeros(0), *self._cosine]),
            tuple(self._faults),
            self._kept() if self._keeps_rows and self._rows else None,
        )

    def _kept(self) -> CropRows:
        """The embeddings of all pairs."""
        features = np.concatenate([rows.features for rows in self._rows])
        outputs = None
        if self._rows[0].outputs is not None:
            outputs = np.concatenate([rows.outputs for rows in self._rows])
        given, ours = (
            Embeddings(features[i::2], None if outputs is None else outputs[i::2])
            for i in (0, 1)
        )
        return CropRows(np.array(self._frames, np.int32), given, ours)

    def _compare_points(self, given: Crop, ours: Crop) -> None:
        """Keep how far the points are apart, where the detector finds both faces."""
        found = [faces.points for faces in self._detect([given, ours])]
        if all(map(len, found)):
            centre = np.full(2, (ALIGNED_PX - 1) / 2)
            there, here = (
                points[np.argmin(np.abs(points.mean(axis=1) - centre).sum(axis=1))]
                for points in found
            )
            self._shifts.append(there - here)

    def _embed_pairs(self) -> None:
        assert self._embed is not None
        embedded = self._embed(self._pairs)
        self._pairs = []
        if self._keeps_rows:
            self._rows.append(embedded)
        rows = np.asarray(embedded.features, np.float64)
        length = np.linalg.norm(rows, axis=1)
        products = (rows[::2] * rows[1::2]).sum(axis=1)
        self._cosine.append(products / np.maximum(length[::2] * length[1::2], 1e-30))


def measured_template(
    checks: Sequence[CropCheck],
    template: Float[np.ndarray, "5 2"] = ARCFACE_TEMPLATE,
) -> Float[np.ndarray, "5 2"]:
    """The template that brings our crops nearest to the given ones.

    The points of both are found in crops of the same size, so what the detector does
    wrong in such crops is in both, and only the difference counts: the median of each
    video, and the mean over the videos.

    Args:
        checks: Comparisons of crops that were made with ``template``.
        template: The template of our crops.

    Raises:
        ValueError: If there is no crop whose points were compared.
    """
    shifts = [np.median(one.shifts, axis=0) for one in checks if len(one.shifts)]
    if not shifts:
        raise ValueError(
            "no crop in which the detector found the points of a face that matches "
            "ours; expected some: check that crops and videos belong together"
        )
    return template + np.mean(shifts, axis=0)


def summary(check: CropCheck) -> Mapping[str, float | int | None]:
    """The numbers of a comparison: counts, shares, medians and 5 % quantiles.

    None stands where there is nothing to count.

    Args:
        check: The comparison.
    """
    likeness = check.likeness[~np.isnan(check.likeness)]
    distances = np.linalg.norm(check.shifts, axis=2).mean(axis=1)
    return {
        "crops": len(check.likeness),
        "found": len(likeness),
        "matching": int((likeness > ALIKE).sum()),
        "likeness_median": _quantile(likeness, 0.5),
        "likeness_5": _quantile(likeness, 0.05),
        "points_px": _quantile(distances, 0.5),
        "cosine_median": _quantile(check.cosine, 0.5),
        "cosine_5": _quantile(check.cosine, 0.05),
        "unreadable": len(check.faults),
    }


def together(checks: Sequence[CropCheck]) -> CropCheck:
    """All crops of several comparisons as one."""
    return CropCheck(
        "all",
        np.concatenate([np.zeros(0), *(one.likeness for one in checks)]),
        np.concatenate([np.zeros((0, 5, 2)), *(one.shifts for one in checks)]),
        np.concatenate([np.zeros(0), *(one.cosine for one in checks)]),
        tuple(fault for one in checks for fault in one.faults),
    )


def _quantile(values: Float[np.ndarray, " values"], share: float) -> float | None:
    return round(float(np.quantile(values, share)), 4) if len(values) else None


def _at_size(crop: Crop) -> Crop:
    """The crop at the size of ours."""
    if crop.shape[:2] == (ALIGNED_PX, ALIGNED_PX):
        return crop
    image = Image.fromarray(crop).resize(
        (ALIGNED_PX, ALIGNED_PX), Image.Resampling.BILINEAR, reducing_gap=2.0
    )
    return np.asarray(image)


def _likeness(a: Crop, b: Crop) -> float:
    """Correlation of two grey pictures; 0 where one has no contrast."""
    grey = [np.asarray(Image.fromarray(p).convert("L"), float).ravel() for p in (a, b)]
    first, second = (values - values.mean() for values in grey)
    length = np.sqrt((first**2).sum() * (second**2).sum())
    return float(first @ second / length) if length else 0.0
