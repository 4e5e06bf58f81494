"""Tables, devices and feeders in outline: all that training asks of them, no features.

A table in outline has true labels, frame numbers and counts, and features of the true
shape whose rows are all the same zero in memory.
"""

import dataclasses
import functools
from typing import Any, Literal, cast

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from avemo_jax.batches import sharding
from avemo_jax.batches.feeders import (
    Batch,
    ResidentFeeder,
    TableArrays,
    inputs_at,
    rows_at,
    table_arrays,
    targets_at,
)
from avemo_jax.batches.head_inputs import input_dims
from avemo_jax.batches.order import FrameOrder, WindowOrder
from avemo_jax.batches.tables import Data, feature_names, fold_data, with_task
from avemo_jax.config.checks import check_config
from avemo_jax.data.store import assembly, layout
from avemo_jax.data.store.assembly import AnnotatedVideo
from avemo_jax.data.store.join import Join
from avemo_jax.data.store.table import FrameTable
from avemo_jax.heads import Head, HeadSpec, build_head
from avemo_jax.training.dev_scores import fresh_state
from avemo_jax.training.objective import make_order, make_spec
from avemo_jax.training.seeds import Candidates, make_candidates


class Outlines:
    """Plans and tables in outline, of one task and some feature sets of a store."""

    def __init__(self, data: Data, task: str, features: list[str], missing_audio: str):
        """Reads the annotations; of the features it reads nothing.

        Args:
            data: The store.
            task: Whose labels.
            features: Full names of the feature sets.
            missing_audio: "zeros" or "drop", for frames without sound.
        """
        self._data = data
        self._task = task
        self._features = features
        self._missing = cast(Literal["zeros", "drop"], missing_audio)
        folder = layout.config_folder(data.store.path, layout.ANNOTATIONS)
        self._annotated: dict[str, AnnotatedVideo] = assembly.read_annotated(
            folder, data.store.tasks
        )

    def join(self, split: str) -> Join:
        """Rows and bytes of a split's table.

        Raises:
            ValueError: If the split has no rows.
        """
        return self._data.store.join(
            self._task,
            split,
            self._features,
            missing_audio=self._missing,
            splits=self._data.splits,
        )

    def table(self, joined: Join) -> FrameTable:
        """The table of a join; its features take two bytes, whatever their shape."""
        features = np.broadcast_to(np.float16(0), (joined.rows, joined.dim))
        outputs = None
        if joined.output_dim:
            outputs = np.broadcast_to(np.float32(0), (joined.rows, joined.output_dim))
        return assembly.assemble(
            joined,
            self._annotated,
            features,
            outputs,
            fingerprint=self._data.store.data_fingerprint(joined.feature_sets),
        )


class OutlineFeeder(ResidentFeeder):
    """A resident feeder that holds no table: for tracing only."""

    def __init__(self, window: int):
        """Puts nothing anywhere.

        Args:
            window: Frames per window, or 0.
        """
        self.window = window


def outline_mesh(devices: int) -> Mesh:
    """A mesh of so many devices, to be counted; all of them are this host's first.

    Raises:
        ValueError: If there are none.
    """
    if devices < 1:
        raise ValueError(f"--devices is {devices}; expected 1 or more; correct it")
    return Mesh(np.array(jax.local_devices()[:1] * devices), (sharding.AXIS,))


def shapes_of(tree: Any) -> Any:
    """``tree`` with shapes and types in the place of arrays."""
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), tree)


def bytes_of(tree: Any) -> int:
    """Bytes of all arrays, or shapes of arrays, in ``tree``."""
    return sum(_bytes_of_leaf(leaf) for leaf in jax.tree.leaves(tree))


def _bytes_of_leaf(leaf: Any) -> int:
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.eval_shape(jax.random.key_data, leaf)
    return int(np.prod(leaf.shape, dtype=np.int64)) * np.dtype(leaf.dtype).itemsize


@dataclasses.dataclass(frozen=True)
class Outline:
    """A run in outline, from which sizes are told and programs are compiled.

    Attributes:
        config: Of the run.
        spec: Of the head.
        head: The network.
        candidates: Seeds x settings.
        joins: What each table joins, by split.
        tables: In outline, by split.
    """

    config: ConfigDict
    spec: HeadSpec
    head: Head
    candidates: Candidates
    joins: dict[str, Join]
    tables: dict[str, FrameTable]

    @property
    def window(self) -> int:
        """Frames per window, or 0."""
        return self.spec.window if self.spec.takes_windows else 0

    @property
    def train_split(self) -> str:
        """What is trained on."""
        return str(self.config.data.train_on)

    def arrays(self, split: str) -> TableArrays:
        """What a step gathers from: shapes and types of the arrays."""
        arrays = table_arrays(
            self.tables[split],
            windows=bool(self.window),
            audio_flag=self.spec.audio_flag,
            inputs=self.config.data.inputs,
        )
        shapes: TableArrays = shapes_of(arrays)
        return shapes

    def order(self, mesh: Mesh) -> FrameOrder | WindowOrder:
        """The order of examples.

        Raises:
            TrainingError: As training does.
        """
        return make_order(self.config, self.tables[self.train_split], self.spec, mesh)

    def state(self, num_steps: int) -> Any:
        """Shapes of what a run's checkpoint holds."""
        make = functools.partial(
            fresh_state, self.config, self.candidates, self.head, num_steps
        )
        return jax.eval_shape(make)

    def hyper(self) -> Any:
        """Shapes of the candidates' keys and settings."""
        return jax.eval_shape(self.candidates.hyper)

    def batch(self, split: str, index: Any) -> Batch:
        """Shapes of the batches that an index (steps, batch, ...) names."""

        def gather(arrays: TableArrays, index: Any) -> Batch:
            rows = rows_at(arrays, index, self.window)
            return Batch(inputs_at(arrays, rows), *targets_at(arrays, rows))

        batch: Batch = jax.eval_shape(gather, self.arrays(split), index)
        return batch


def index_shape(order: FrameOrder | WindowOrder, length: int) -> Any:
    """Shape of what ``length`` steps of ``order`` are told by."""
    if isinstance(order, WindowOrder):
        return jax.ShapeDtypeStruct((length, order.windows_per_step, 3), np.int32)
    return jax.ShapeDtypeStruct((length, order.batch_size), np.int32)


def outline_run(config: ConfigDict, data: Data) -> Outline:
    """The run that ``config`` says, in outline; no feature is read.

    Raises:
        ValueError: If the configuration or the store make no sense, or if a split has
            no rows.
    """
    config = with_task(config, data)
    check_config(config)
    data = fold_data(data, config)
    feature_sets = data.store.resolve(feature_names(config))
    names = [feature_set.name for feature_set in feature_sets]
    spec = make_spec(config, input_dims(feature_sets, config.data.inputs))
    outlines = Outlines(data, config.task, names, config.data.missing_audio)
    joins = {split: outlines.join(split) for split in splits_of(config)}
    tables = {split: outlines.table(joined) for split, joined in joins.items()}
    head = build_head(spec)
    return Outline(config, spec, head, make_candidates(config), joins, tables)


def splits_of(config: ConfigDict) -> tuple[str, ...]:
    """The splits that a run loads, in the order of loading, each once."""
    training = ("dev",) if config.data.train_on == "train" else ()
    splits = (*training, config.data.train_on, config.evaluate.split)
    return tuple(dict.fromkeys(splits))
