"""The fields of the store's examples."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from avemo_jax.data.store.tfds import import_tfds
from avemo_jax.tasks import TASKS, Task
from data_builders.affwild2.contents import (
    AnnotationContents,
    Contents,
    FeatureContents,
)


def fields_of(contents: Contents) -> Any:
    """TFDS's ``FeaturesDict`` of the examples that ``contents`` makes."""
    if isinstance(contents, FeatureContents):
        return feature_fields(contents.source.dim, contents.output_columns)
    assert isinstance(contents, AnnotationContents)
    return annotation_fields(contents.tasks)


def feature_fields(dim: int, output_columns: int) -> Any:
    """TFDS's ``FeaturesDict`` of a feature set.

    Args:
        dim: Length of a vector.
        output_columns: Number of the extractor's own outputs; 0: no such field.
    """
    tfds = import_tfds()
    fields = {
        "video": tfds.features.Text(),
        "frame": _tensor((None,), np.int32),
        "features": _tensor((None, dim), np.float16),
    }
    if output_columns:
        fields["outputs"] = _tensor((None, output_columns), np.float32)
    return tfds.features.FeaturesDict(fields)


def annotation_fields(tasks: Mapping[str, Task] = TASKS) -> Any:
    """TFDS's ``FeaturesDict`` of the annotations of ``tasks``, given by name."""
    tfds = import_tfds()
    fields = {
        "video": tfds.features.Text(),
        "source_video": tfds.features.Text(),
        "num_frames": tfds.features.Scalar(np.int32),
        "fps": tfds.features.Scalar(np.float32),
    }
    for name, task in tasks.items():
        fields[name.lower()] = _tensor((None, *task.label_shape), task.label_dtype)
        fields[f"{name.lower()}_split"] = tfds.features.Text()
    return tfds.features.FeaturesDict(fields)


def _tensor(shape: tuple[int | None, ...], dtype: type) -> Any:
    tensor = import_tfds().features.Tensor
    return tensor(shape=shape, dtype=dtype, encoding="bytes")
