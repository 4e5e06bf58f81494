"""The TFDS builder of the store: annotations in one config, each feature set in one.

``avemo_jax.data.build.build_store`` drives it without TensorFlow. Where TensorFlow is
installed the folder is a regular one: ``tfds build --config annotations
--manual_dir DIR``, with ``DIR/annotations`` and ``DIR/features``.
"""

import os
import pathlib
from typing import Any

import numpy as np

from avemo_jax.data import annotations, feature_folders, feature_sets, splits
from avemo_jax.data.tfds import ANNOTATIONS, DATASET, SPLIT, VERSION, import_tfds
from avemo_jax.tasks import TASKS
from data_builders.affwild2.contents import (
    AnnotationContents,
    Contents,
    FeatureContents,
)

tfds = import_tfds()


class Builder(tfds.core.ShardBasedBuilder):
    """Labels and features of the subject-videos of Aff-Wild2, one example each."""

    name = DATASET
    VERSION = tfds.core.Version(VERSION)
    RELEASE_NOTES = {"1.0.0": "First release."}  # noqa: RUF012
    BUILDER_CONFIGS = [  # noqa: RUF012
        tfds.core.BuilderConfig(name=ANNOTATIONS, description="Labels and splits."),
        *(
            tfds.core.BuilderConfig(
                name=feature_sets.full_name(extractor), description="Features."
            )
            for extractor in feature_sets.EXTRACTORS
        ),
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = """\
    The data is given out under a signed agreement. Put the official annotation
    folders into annotations/ and the feature files into features/SET/.
    """

    def __init__(
        self,
        *,
        contents: Contents | None = None,
        config: str | Any = None,
        file_format: str | Any = None,
        **kwargs: Any,
    ) -> None:
        """A builder of one config.

        Args:
            contents: What to write; None: read it from TFDS's manual directory.
            config: Its name; a ``BuilderConfig`` for a set that is not predefined.
            file_format: array_record where None, which needs no TensorFlow.
            **kwargs: Of ``tfds.core.DatasetBuilder``.
        """
        self._contents = contents
        super().__init__(
            config=config, file_format=file_format or "array_record", **kwargs
        )

    def _create_builder_config(self, builder_config: Any, version: Any) -> Any:
        if isinstance(builder_config, tfds.core.BuilderConfig):
            return builder_config  # without a warning that it is not predefined
        return super()._create_builder_config(builder_config, version)

    def _log_download_bytes(self) -> None:
        """Nothing is downloaded, and the progress bar tells the rest."""

    def _log_download_done(self) -> None:
        """See ``_log_download_bytes``."""

    def _info(self) -> Any:
        name = self.builder_config.name
        features = _annotations() if name == ANNOTATIONS else self._features(name)
        info = self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features),
            supervised_keys=None,
            metadata=tfds.core.MetadataDict(),
            homepage="https://ibug.doc.ic.ac.uk/resources/aff-wild2/",
        )
        # Nothing of this data lies in TFDS's bucket; looking leaves a temporary folder.
        info.initialize_from_bucket = lambda: None
        return info

    def _features(self, name: str) -> dict[str, Any]:
        """The fields of a feature set's example."""
        if isinstance(self._contents, FeatureContents):
            dim, outputs = self._contents.source.dim, self._contents.output_columns
        else:
            known = feature_sets.EXTRACTORS[feature_sets.split_name(name)[0]]
            dim, outputs = known.dim, known.output_dim
        fields = {
            "video": tfds.features.Text(),
            "frame": _tensor((None,), np.int32),
            "features": _tensor((None, dim), np.float16),
        }
        if outputs:
            fields["outputs"] = _tensor((None, outputs), np.float32)
        return fields

    def _shard_iterators_per_split(self, dl_manager: Any) -> dict[str, list[Any]]:
        if self._contents is None:
            folder = pathlib.Path(os.fspath(dl_manager.manual_dir))
            self._contents = _manual_contents(folder, self.builder_config.name)
        return {SPLIT: self._contents.shards()}

    def _download_and_prepare(self, *args: Any, **kwargs: Any) -> None:
        super()._download_and_prepare(*args, **kwargs)
        assert self._contents is not None
        self.info.metadata.update(self._contents.metadata())


def _tensor(shape: tuple[int | None, ...], dtype: type) -> Any:
    return tfds.features.Tensor(shape=shape, dtype=dtype, encoding="bytes")


def _annotations() -> dict[str, Any]:
    """The fields of an example of the annotations."""
    fields = {
        "video": tfds.features.Text(),
        "source_video": tfds.features.Text(),
        "num_frames": tfds.features.Scalar(np.int32),
        "fps": tfds.features.Scalar(np.float32),
    }
    for name, task in TASKS.items():
        fields[name.lower()] = _tensor((None, *task.label_shape), task.label_dtype)
        fields[f"{name.lower()}_split"] = tfds.features.Text()
    return fields


def _manual_contents(folder: pathlib.Path, name: str) -> Contents:
    """What ``tfds build`` writes: a config from the files in its manual directory."""
    if name == ANNOTATIONS:
        records = {a.video: a for a in annotations.read_annotations(folder / name)}
        official: dict[str, dict[str, str]] = {task: {} for task in TASKS}
        for video, record in records.items():
            for task, split in record.splits.items():
                official[task][video] = split
        return AnnotationContents(
            name,
            records,
            splits.draw_splits(official),
            how={"origin": "drawn", "seed": 0, "grouped": True},
            synthetic=False,
            show_progress=True,
        )
    sources = feature_folders.find_feature_sources([folder / "features"])
    by_name = {source.name: source for source in sources}
    if name not in by_name:
        raise ValueError(
            f"no feature set {name!r} in {folder / 'features'}; it has "
            f"{', '.join(by_name) or 'none'}: choose among these"
        )
    known = feature_sets.EXTRACTORS[feature_sets.split_name(name)[0]]
    return FeatureContents(
        by_name[name],
        output_columns=known.output_dim,
        synthetic=False,
        show_progress=True,
    )
