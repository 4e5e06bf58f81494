"""What a store holds, to be compared: every record and all that describes it."""

import json
import pathlib
from typing import Any

from avemo_jax.data.store.layout import DATASET
from avemo_jax.data.store.tfds import open_examples


def records_of(out: pathlib.Path) -> dict[str, Any]:
    """By config: its records in order, decoded, and its metadata; and the splits."""
    found: dict[str, Any] = {"splits": json.loads((out / "splits.json").read_text())}
    for folder in sorted((out / DATASET).glob("[!.]*/[!.]*")):
        found[folder.parent.name] = (
            [_plain(example) for example in open_examples(folder)],
            json.loads((folder / "metadata.json").read_text()),
        )
    return found


def _plain(example: dict[str, Any]) -> dict[str, Any]:
    return {
        key: (value.dtype.str, value.shape, value.tobytes())
        if hasattr(value, "tobytes")
        else value
        for key, value in example.items()
    }
