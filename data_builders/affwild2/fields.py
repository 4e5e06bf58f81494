"""The fields of the store's examples, as TFDS has them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from avemo_jax.data.store.fields import StoredField, annotation_fields, feature_fields
from avemo_jax.data.store.tfds import import_tfds
from data_builders.affwild2.contents import (
    AnnotationContents,
    Contents,
    FeatureContents,
)


def fields_of(contents: Contents) -> Any:
    """TFDS's ``FeaturesDict`` of the examples that ``contents`` makes."""
    if isinstance(contents, FeatureContents):
        return as_tfds(feature_fields(contents.source.dim, contents.output_columns))
    assert isinstance(contents, AnnotationContents)
    return as_tfds(annotation_fields(contents.tasks))


def as_tfds(fields: Mapping[str, StoredField]) -> Any:
    """TFDS's ``FeaturesDict`` of fields, given by name."""
    features = import_tfds().features
    made = {
        "text": lambda field: features.Text(),
        "scalar": lambda field: features.Scalar(np.dtype(field.dtype)),
        "tensor": lambda field: features.Tensor(
            shape=field.shape, dtype=np.dtype(field.dtype), encoding="bytes"
        ),
    }
    return features.FeaturesDict({n: made[f.kind](f) for n, f in fields.items()})
