"""Folders and file names of a store, and the metadata beside its examples."""

import os
import pathlib
from collections.abc import Mapping
from typing import Any, Literal, NotRequired, TypedDict

from avemo_jax.extractors import Modality
from avemo_jax.runtime.json_files import read_json
from avemo_jax.tasks.own import TaskDefinition

DATASET = "affwild2"
STORE_VERSION = "1.0.0"
SPLIT = "videos"  # "all" is reserved by TFDS
ANNOTATIONS = "annotations"
INCOMPLETE_PREFIX = "incomplete."
SPLITS_FILE = "splits.json"
FORMAT = 1  # of examples and metadata; part of every content digest


def config_folder(root: str | os.PathLike[str], name: str) -> pathlib.Path:
    """The folder of the config ``name``: ``DIR/affwild2/CONFIG/VERSION``."""
    return pathlib.Path(root) / DATASET / name / STORE_VERSION


class AnnotationsMetadata(TypedDict):
    """What ``metadata.json`` says of the annotations, as far as it is read.

    Attributes:
        format: :data:`FORMAT`.
        content: Digest of all that the config holds.
        synthetic: Whether the data are made.
        how: How the splits came about.
        num_frames: Length of each video.
        tasks: Definitions of a user's own tasks, none in a store to predict; absent:
            the challenge's.
    """

    format: Literal[1]
    content: str
    synthetic: bool
    how: Mapping[str, Any]
    num_frames: Mapping[str, int]
    tasks: NotRequired[tuple[TaskDefinition, ...]]


class FeaturesMetadata(TypedDict):
    """What ``metadata.json`` says of a feature set, as far as it is read.

    Attributes:
        format: :data:`FORMAT`.
        content: Digest of all that the config holds.
        synthetic: Whether the data are made.
        kind: "visual" or "audio".
        dim: Length of a vector.
        output_dim: Number of the extractor's own outputs.
        fingerprint: Digest of how the vectors were made.
        provenance: How the vectors were made, as far as it is known.
        runs: First and last number of each run of frames, in turn, by video.
        report: Counts of faults, and the first of them.
    """

    format: Literal[1]
    content: str
    synthetic: bool
    kind: Modality
    dim: int
    output_dim: int
    fingerprint: str
    provenance: NotRequired[Mapping[str, Any]]
    runs: Mapping[str, tuple[int, ...]]
    report: NotRequired[Mapping[str, Any]]


def read_metadata(root: str | os.PathLike[str], name: str) -> dict[str, Any]:
    """The metadata that is kept beside the examples of a config.

    Raises:
        ValueError: If there is none, as the config was not written by ``build_store``;
            if it is of another format, or damaged.
    """
    path = config_folder(root, name) / "metadata.json"
    if not path.is_file():
        raise ValueError(
            f"{path.parent} has no metadata.json; expected a config that build_store "
            "wrote: remove the folder and build it again"
        )
    kind = AnnotationsMetadata if name == ANNOTATIONS else FeaturesMetadata
    remedy = "build the store again with this version"
    metadata: dict[str, Any] = read_json(path, kind, remedy=remedy)
    return metadata
