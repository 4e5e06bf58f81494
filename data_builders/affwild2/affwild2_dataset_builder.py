"""The TFDS builder of the store: one config of annotations, one for each feature set.

``avemo_jax.packing.build.build_store`` drives it without TensorFlow. Where TensorFlow
is installed the folder is a regular one: ``tfds build --config annotations
--manual_dir DIR``, with ``DIR/annotations`` and ``DIR/features``.
"""

import dataclasses
import os
import pathlib
from typing import Any

from avemo_jax.data.corpus import annotations, splits
from avemo_jax.data.features import folders, names
from avemo_jax.data.store.fields import annotation_fields, feature_fields
from avemo_jax.data.store.layout import ANNOTATIONS, DATASET, SPLIT, STORE_VERSION
from avemo_jax.data.store.tfds import import_tfds
from avemo_jax.tasks import TASKS
from data_builders.affwild2 import fields, on_beam, records
from data_builders.affwild2.contents import (
    AnnotationContents,
    Contents,
    FeatureContents,
)

tfds = import_tfds()


class Builder(tfds.core.ShardBasedBuilder):
    """Labels and features of the subject-videos of Aff-Wild2, one example each."""

    name = DATASET
    VERSION = tfds.core.Version(STORE_VERSION)
    RELEASE_NOTES = {"1.0.0": "First release."}  # noqa: RUF012
    BUILDER_CONFIGS = [  # noqa: RUF012
        tfds.core.BuilderConfig(name=ANNOTATIONS, description="Labels and splits."),
        *(
            tfds.core.BuilderConfig(
                name=names.full_name(extractor), description="Features."
            )
            for extractor in names.EXTRACTORS
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
            config: The config's name; a ``BuilderConfig`` for a set that is not
                predefined.
            file_format: TFDS's file format; None: array_record, which needs no
                TensorFlow.
            **kwargs: Passed on to ``tfds.core.DatasetBuilder``.
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
        """Log nothing: nothing is downloaded, and the progress bar tells the rest."""

    def _log_download_done(self) -> None:
        """Log nothing, for nothing is downloaded."""

    def _info(self) -> Any:
        info = self.dataset_info_from_configs(
            features=self._fields(self.builder_config.name),
            supervised_keys=None,
            metadata=tfds.core.MetadataDict(),
            homepage="https://ibug.doc.ic.ac.uk/resources/aff-wild2/",
        )
        # Nothing of this data lies in TFDS's bucket; looking leaves a temporary folder.
        info.initialize_from_bucket = lambda: None
        return info

    def _fields(self, name: str) -> Any:
        """The fields of an example of the config ``name``."""
        if self._contents is not None:
            return fields.fields_of(self._contents)
        if name == ANNOTATIONS:
            return fields.as_tfds(annotation_fields(TASKS))
        known = names.EXTRACTORS[names.split_name(name)[0]]
        return fields.as_tfds(feature_fields(known.dim, known.output_dim))

    def _shard_iterators_per_split(self, dl_manager: Any) -> dict[str, list[Any]]:
        if self._contents is None:
            folder = pathlib.Path(os.fspath(dl_manager.manual_dir))
            self._contents = _manual_contents(folder, self.builder_config.name)
        return {SPLIT: self._contents.shards()}

    def _example_writer(self) -> Any:
        return records.RecordWriter(self.info.file_format)

    def _download_and_prepare(
        self, dl_manager: Any, download_config: Any = None
    ) -> None:
        """Write the examples, in this process or on the runner of ``download_config``.

        The annotations are always written in this process, which has them in memory: to
        send them would cost more than to write them. TFDS has a Beam pipeline of its
        own for shards, which is not used: with more than ten of them it lists their
        lengths in the order of the numbers as text ("0", "1", "10", "11", "2"), so that
        wrong records are read, and it leaves a file among the records.
        """
        runner = download_config and download_config.beam_runner
        if runner and not isinstance(self._contents, AnnotationContents):
            self._prepare_on_beam(dl_manager, runner, download_config.beam_options)
        else:
            if runner:
                download_config = dataclasses.replace(download_config, beam_runner=None)
            super()._download_and_prepare(dl_manager, download_config)
        assert self._contents is not None
        self.info.metadata.update(self._contents.metadata())

    def _prepare_on_beam(self, dl_manager: Any, runner: Any, options: Any) -> None:
        """Write the examples by Beam's workers, under the names that TFDS gives."""
        self._shard_iterators_per_split(dl_manager)  # finds the contents
        assert self._contents is not None
        template = self._get_filename_template(split_name=SPLIT).replace(split=SPLIT)
        num_shards = len(self._contents.videos_of_shards())
        paths = [
            pathlib.Path(
                os.fspath(
                    template.sharded_filepath(shard_index=i, num_shards=num_shards)
                )
            )
            for i in range(num_shards)
        ]
        lengths = on_beam.write_on_beam(
            self._contents, paths, runner=runner, options=options
        )
        info = tfds.core.SplitInfo(
            name=SPLIT,
            shard_lengths=lengths,
            num_bytes=sum(path.stat().st_size for path in paths),
            filename_template=template,
        )
        self.info.set_splits(tfds.core.SplitDict([info]))


def _manual_contents(folder: pathlib.Path, name: str) -> Contents:
    """The contents of a config, from files in the manual directory of ``tfds build``.

    Args:
        folder: The manual directory, with ``annotations`` and ``features``.
        name: The config's name.

    Raises:
        ValueError: If ``folder`` has no such feature set, or its files are wrong.
    """
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
    sources = folders.find_feature_sources([folder / "features"])
    by_name = {source.name: source for source in sources}
    if name not in by_name:
        raise ValueError(
            f"no feature set {name!r} in {folder / 'features'}; it has "
            f"{', '.join(by_name) or 'none'}: choose among these"
        )
    known = names.EXTRACTORS[names.split_name(name)[0]]
    return FeatureContents(
        by_name[name],
        output_columns=known.output_dim,
        synthetic=False,
        show_progress=True,
    )
