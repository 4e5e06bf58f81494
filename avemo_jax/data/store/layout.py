"""Folders and file names of a store, and the metadata beside its examples."""

import json
import os
import pathlib
from typing import Any

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


def read_metadata(root: str | os.PathLike[str], name: str) -> dict[str, Any]:
    """The metadata that is kept beside the examples of a config.

    Raises:
        ValueError: If there is none: the config was not written by ``build_store``.
    """
    path = config_folder(root, name) / "metadata.json"
    if not path.is_file():
        raise ValueError(
            f"{path.parent} has no metadata.json; expected a config that build_store "
            "wrote: remove the folder and build it again"
        )
    return json.loads(path.read_text(encoding="utf-8"))
