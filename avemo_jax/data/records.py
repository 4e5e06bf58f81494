"""What a store is built from: annotations and features of videos, from any origin.

They may come from files (`corpus/annotations.py`, `features/folders.py`) or be made.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from avemo_jax.extractors import Modality

KINDS: tuple[Modality, ...] = ("visual", "audio")
# 92 hours at 30 frames/s: a larger frame number is a mistake, and labels are dense, so
# that one such number would take all memory.
MAX_FRAME = 10_000_000


@dataclasses.dataclass(frozen=True)
class VideoAnnotations:
    """The labels of one subject-video, of the tasks that it is annotated for.

    Attributes:
        video: Name of the subject-video, e.g. ``5-60-1920x1080-4_left``.
        labels: One label for each of the frames 1, 2, ..., by task name: EXPR int8
            (frames,), AU int8 (frames, 12), VA float32 (frames, 2); -1 (NaN for VA)
            where invalid. Lengths may differ between tasks.
        splits: "train", "dev", "validation" or "test", by task name. Official train
            videos are "train"; ``build_store`` draws dev from them.
        num_frames: Frames of the decoded video, or as its annotations count them; 0 if
            unknown.
        fps: Frames per second; NaN if unknown.
        source: The recording or person that no two splits are to share; empty: the
            one of :func:`avemo_jax.data.corpus.splits.source_video`.
    """

    video: str
    labels: Mapping[str, Shaped[np.ndarray, "_ ..."]]
    splits: Mapping[str, str]
    num_frames: int = 0
    fps: float = float("nan")
    source: str = ""


@dataclasses.dataclass(frozen=True)
class Remarks:
    """Remarks on one video's rows: what was mended, what failed.

    Attributes:
        mended: Rows that had to be mended while reading, by ``nonfinite_rows``,
            ``duplicate_rows``, ``unsorted_rows``.
        failed: Frames that have no row because of a fault in their picture, each with
            the fault.
        notes: Anything else that the extraction noted.
        decoders: Versions of what decoded its pictures or sound, by name; empty: not
            known.
    """

    mended: Mapping[str, int] = dataclasses.field(default_factory=dict)
    failed: tuple[tuple[int, str], ...] = ()
    notes: tuple[str, ...] = ()
    decoders: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class VideoFeatures:
    """One video's vectors of one feature set.

    Attributes:
        frame: Official 1-based frame numbers, ascending, each once.
        features: One finite vector a frame. The store keeps float16.
        outputs: The extractor's own outputs (logits, then valence and arousal); None:
            it has none.
        remarks: What was mended or failed; counted in the store and told in its card.
    """

    frame: Int[np.ndarray, " rows"]
    features: Float[np.ndarray, "rows dim"]
    outputs: Float[np.ndarray, "rows outputs"] | None = None
    remarks: Remarks = Remarks()


@dataclasses.dataclass(frozen=True)
class RowRate:
    """The rate of the rows of sound alone, which has no frames of pictures.

    Attributes:
        fps: Rows per second.
        num_rows: Number of rows from the sound's start to its end.
        by_hop: Whether the rows are the hops of an extractor; then they are no frames
            of any video.
    """

    fps: float
    num_rows: int
    by_hop: bool


@dataclasses.dataclass(frozen=True)
class FeatureSource:
    """One feature set to be packed, read video by video.

    Attributes:
        name: ``EXTRACTOR@INPUT``.
        kind: "visual" (rows where a face was found) or "audio" (a row per frame).
        dim: Length of a vector.
        output_dim: Columns of the extractor's own outputs; 0 where there are none.
        fingerprint: Digest of weights, input, alignment rule and version. Sets of
            different fingerprints never mix.
        content: Text that changes whenever anything that ``read`` returns changes (e.g.
            a digest of the files, or of a generator's parameters): a set of the same
            content is not built again.
        videos: Names of the videos that have features.
        read: Gives a video's features by its name. Called once a video while the store
            is written, on Apache Beam by other processes: so it can be pickled, and
            keeps no state.
        provenance: How the vectors were made, as far as it is known: ``extractor``,
            ``weights_sha256``, ``settings``, ``input``, ``alignment``, ``decoding``.
            Kept in the store as JSON.
        rates: The rate of the rows, by video, for sound alone; a video that is not
            named has a row for each of its frames, or of some.
        read_frames: Gives a video's frame numbers by its name, in any order, without
            its vectors; None: only ``read`` gives them.
    """

    name: str
    kind: Modality
    dim: int
    output_dim: int
    fingerprint: str
    content: str
    videos: tuple[str, ...]
    read: Callable[[str], VideoFeatures]
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    rates: Mapping[str, RowRate] = dataclasses.field(default_factory=dict)
    read_frames: Callable[[str], Int[np.ndarray, " rows"]] | None = None


def as_float16(
    values: Float[np.ndarray, "rows dim"], *, where: str
) -> Float[np.ndarray, "rows dim"]:
    """``values`` in float16, each still finite after the cast.

    Raises:
        ValueError: If a value is not finite, or overflows (65,520 and more).
    """
    with np.errstate(over="ignore", invalid="ignore"):
        cast = values.astype(np.float16)
    finite = np.isfinite(cast)
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        raise ValueError(
            f"{where}: row {row}, column {column} is {values[row, column]!r}; expected "
            "finite values below 65520, the range of float16: scale the features, or "
            "extract them again"
        )
    return cast


def check_features(features: VideoFeatures, source: FeatureSource, video: str) -> None:
    """Check that ``features`` are rows that a store may hold.

    Raises:
        ValueError: If frames do not ascend from 1, or shapes are not the source's.
    """
    where = f"{source.name}, video {video!r}"
    frame = features.frame
    if len(frame) and (int(frame[0]) < 1 or (np.diff(frame) <= 0).any()):
        raise ValueError(
            f"{where}: frame numbers {frame[:5].tolist()} ...; expected ascending ones "
            "from 1, each once: sort them, and remove what is there twice"
        )
    shape = (len(frame), source.dim)
    if features.features.shape != shape:
        raise ValueError(
            f"{where}: features of shape {features.features.shape}; expected {shape}: "
            "extract this video again with the network of the others"
        )
    outputs = None if features.outputs is None else features.outputs.shape
    expected = (len(frame), source.output_dim) if source.output_dim else None
    if outputs != expected:
        raise ValueError(
            f"{where}: outputs of shape {outputs}; expected {expected}: extract this "
            "video again with the network of the others"
        )
