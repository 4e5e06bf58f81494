"""The fields of a store's examples, by name and type, and whether a config has these.

TFDS imports whatever Python class a config's ``features.json`` names. So that a store
from elsewhere runs no code, its files must declare exactly what the builder declares.
"""

import os
import pathlib
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np

from avemo_jax.data.features.names import EXTRACTORS, split_name
from avemo_jax.data.store import layout
from avemo_jax.runtime.json_files import read_json
from avemo_jax.tasks import TASKS, Task, from_definition

_CLASSES = {
    "text": "text_feature.Text",
    "scalar": "scalar.Scalar",
    "tensor": "tensor_feature.Tensor",
    "fields": "features_dict.FeaturesDict",
}
# What the builder writes into dataset_info.json.
_INFO = {
    "name": layout.DATASET,
    "version": layout.STORE_VERSION,
    "fileFormat": "array_record",
    "moduleName": "data_builders.affwild2.affwild2_dataset_builder",
}
_REMEDY = "the store is not as it was built; build it again, or get it from its makers"


class StoredField(NamedTuple):
    """One field of an example.

    Attributes:
        kind: A text, one number, or an array that is stored as bytes.
        dtype: Type of the numbers; empty for a text.
        shape: Lengths of the array's axes; None where it differs between examples.
    """

    kind: Literal["text", "scalar", "tensor"]
    dtype: str = ""
    shape: tuple[int | None, ...] = ()


def feature_fields(dim: int, output_dim: int) -> dict[str, StoredField]:
    """The fields of a feature set, by name.

    Args:
        dim: Length of a vector.
        output_dim: Number of the extractor's own outputs; 0: no such field.
    """
    fields = {
        "video": StoredField("text"),
        "frame": StoredField("tensor", "int32", (None,)),
        "features": StoredField("tensor", "float16", (None, dim)),
    }
    if output_dim:
        fields["outputs"] = StoredField("tensor", "float32", (None, output_dim))
    return fields


def annotation_fields(tasks: Mapping[str, Task]) -> dict[str, StoredField]:
    """The fields of the annotations of ``tasks``, given by name."""
    fields = {
        "video": StoredField("text"),
        "source_video": StoredField("text"),
        "num_frames": StoredField("scalar", "int32"),
        "fps": StoredField("scalar", "float32"),
    }
    for name, task in tasks.items():
        dtype, shape = np.dtype(task.label_dtype).name, (None, *task.label_shape)
        fields[name.lower()] = StoredField("tensor", dtype, shape)
        fields[f"{name.lower()}_split"] = StoredField("text")
    return fields


def check_declared(folder: str | os.PathLike[str]) -> None:
    """Check that a config declares the examples that its metadata tell of.

    Args:
        folder: ``DIR/affwild2/CONFIG/VERSION``.

    Raises:
        ValueError: If the files that TFDS reads beside the examples are not those that
            the builder writes.
    """
    folder = pathlib.Path(folder)
    root, name = folder.parents[2], folder.parent.name
    metadata = layout.read_metadata(root, name)
    if name == layout.ANNOTATIONS:
        own = metadata.get("tasks")
        tasks = TASKS
        if own is not None:
            tasks = {task.name: task for task in map(from_definition, own)}
        good = [annotation_fields(tasks)]
    else:
        known = EXTRACTORS.get(split_name(name)[0])
        # ``tfds build`` gives a known extractor its outputs also where files lack them.
        widths = {metadata["output_dim"], known.output_dim if known else 0}
        good = [feature_fields(metadata["dim"], width) for width in widths]
    path = folder / "features.json"
    if read_json(path, dict, remedy=_REMEDY) not in map(_declaration, good):
        raise ValueError(
            f"{path} declares other fields than {', '.join(good[0])} in the form that "
            f"the builder gives them; expected these: {_REMEDY}"
        )
    path = folder / "dataset_info.json"
    info = read_json(path, dict, remedy=_REMEDY)
    wrong = [key for key, value in _INFO.items() if info.get(key) != value]
    if wrong or not _are_shards(info.get("splits")):
        named = ", ".join(wrong) or "splits"
        raise ValueError(
            f"{path}: {named} differ from what the builder writes; expected the same: "
            f"{_REMEDY}"
        )


def _are_shards(splits: Any) -> bool:
    """Whether ``splits`` are the one split of a store, whose files have plain names."""
    return (
        isinstance(splits, list)
        and len(splits) == 1
        and isinstance(splits[0], dict)
        and splits[0].get("name") == layout.SPLIT
        and splits[0].get("filepathTemplate")
        == "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
    )


def _declaration(fields: Mapping[str, StoredField]) -> dict[str, Any]:
    """The content of ``features.json`` that TFDS writes for these fields."""
    members = {name: _declared(field) for name, field in fields.items()}
    return _of_class("fields") | {"featuresDict": {"features": members}}


def _declared(field: StoredField) -> dict[str, Any]:
    if field.kind == "text":
        return _of_class("text") | {"text": {}}
    # As protobuf writes numbers of 64 bits; -1 is a length that differs.
    lengths = [str(-1 if n is None else n) for n in field.shape]
    return _of_class(field.kind) | {
        "tensor": {
            "dtype": field.dtype,
            "encoding": "bytes" if field.kind == "tensor" else "none",
            "shape": {"dimensions": lengths} if lengths else {},
        }
    }


def _of_class(kind: str) -> dict[str, Any]:
    return {"pythonClassName": f"tensorflow_datasets.core.features.{_CLASSES[kind]}"}
