"""The frame table: features and labels of the frames of one split, joined."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from avemo_jax.tasks import Task


@dataclasses.dataclass(frozen=True)
class FeatureSet:
    """One extractor's features in a store.

    Attributes:
        name: ``EXTRACTOR@INPUT``, e.g. ``enet_b2_8_best@cropped_aligned-224``.
        kind: "visual" (rows where a face was found) or "audio" (a row per frame).
        dim: Length of a feature vector.
        output_dim: Columns of the extractor's own outputs; 0 where none are stored.
        fingerprint: Digest of weights, input, alignment rule and version; sets with
            different fingerprints never mix.
    """

    name: str
    kind: str
    dim: int
    output_dim: int
    fingerprint: str


@dataclasses.dataclass(frozen=True)
class FrameTable:
    """Features and labels of one split, video after video, frames ascending.

    A row is a frame that has a vector in every visual set (in every audio set, where
    no visual one is asked for), whether or not its label is valid.

    Attributes:
        task: The task that the labels are of.
        split: "train", "dev", "train+dev", "validation" or "test".
        feature_sets: The sets in the order of their columns, visual ones first.
        features: Concatenated vectors, float16; zeros where a set has none. May be
            memory-mapped.
        outputs: The visual extractors' own outputs, float32; None: there are none.
        labels: The label of each row; -1 (NaN for VA) where invalid.
        valid: Which rows have a label that counts.
        has_audio: Which rows have a vector in every audio set asked for; all, if none
            is asked for.
        frame: Official 1-based frame number of each row.
        videos: Names of the subject-videos, sorted.
        source_videos: The recording that each video was taken from.
        row_offsets: Video i has the rows ``row_offsets[i] : row_offsets[i + 1]``.
        num_frames: Frames of each video: the decoded or annotated length or the last
            row's number, whichever is larger; without annotations, the last number in
            any feature set.
        fps: Frames per second of each video, NaN where unknown.
        dense_labels: Labels of the frames 1 to num_frames of every video, also of
            frames without a row.
        fingerprint: Digest of the data: annotations and feature sets.
        report: Counts of what was joined, missing or dropped, for results and logs.
        of_clips: Whether labels are of whole videos: in all splits of the store each
            labelled video has one label of the task, and not just of one frame.
    """

    task: Task
    split: str
    feature_sets: tuple[FeatureSet, ...]
    features: Float[np.ndarray, "rows dim"]
    outputs: Float[np.ndarray, "rows outputs"] | None
    labels: Shaped[np.ndarray, "rows ..."]
    valid: Bool[np.ndarray, " rows"]
    has_audio: Bool[np.ndarray, " rows"]
    frame: Int[np.ndarray, " rows"]
    videos: tuple[str, ...]
    source_videos: tuple[str, ...]
    row_offsets: Int[np.ndarray, " offsets"]
    num_frames: Int[np.ndarray, " videos"]
    fps: Float[np.ndarray, " videos"]
    dense_labels: Shaped[np.ndarray, "frames ..."]
    fingerprint: str
    report: dict[str, int | list[str]]
    of_clips: bool = False

    @property
    def num_rows(self) -> int:
        """How many rows there are, valid or not."""
        return len(self.frame)

    @property
    def dense_offsets(self) -> Int[np.ndarray, " offsets"]:
        """Video i has the dense frames ``dense_offsets[i] : dense_offsets[i + 1]``."""
        return np.concatenate([[0], np.cumsum(self.num_frames)]).astype(np.int64)

    @property
    def video_of_dense(self) -> Int[np.ndarray, " frames"]:
        """Index of each dense frame's video."""
        return np.repeat(np.arange(len(self.videos)), self.num_frames)

    @property
    def number_of_dense(self) -> Int[np.ndarray, " frames"]:
        """Number of each dense frame in its video, from 1."""
        total = int(self.num_frames.sum())
        return (
            np.arange(total) - np.repeat(self.dense_offsets[:-1], self.num_frames) + 1
        )

    @property
    def video_of_row(self) -> Int[np.ndarray, " rows"]:
        """Index of each row's video."""
        counts = np.diff(self.row_offsets)
        return np.repeat(np.arange(len(self.videos)), counts).astype(np.int32)

    @property
    def dense_index(self) -> Int[np.ndarray, " rows"]:
        """Position of each row among the dense frames."""
        return self.dense_offsets[self.video_of_row] + self.frame - 1

    def counts(self) -> dict[str, int]:
        """Counts of videos, frames and valid rows, under the names of results.json."""
        return {
            "videos": len(self.videos),
            "frames": int(self.num_frames.sum()),
            "frames_with_features": self.num_rows,
            "samples": int(self.valid.sum()),
            "frames_without_sound": int((~self.has_audio).sum()),
        }
