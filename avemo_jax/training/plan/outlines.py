"""Tables, devices and feeders in outline: all that a plan needs, without features.

A table in outline has true labels, frame numbers and counts, and features of the true
shape whose values are all one and the same zero in memory.
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
    """Joins, and tables in outline, of one task and some feature sets of a store."""

    def __init__(self, data: Data, task: str, features: list[str], missing_audio: str):
        """Reads the annotations and no features.

        Args:
            data: The store and the splits.
            task: Name of the task whose labels are read.
            features: Full names of the feature sets.
            missing_audio: "zeros" or "drop": what becomes of frames without sound.
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
        """The rows of a split's table, counted and not read.

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
        """The table of ``joined`` in outline; its features take two bytes in memory."""
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
    """A resident feeder without a table: its batches can be traced, not computed."""

    def __init__(self, window: int):
        """Copies nothing to any device.

        Args:
            window: Frames per window; 0 for single frames.
        """
        self.window = window


def outline_mesh(devices: int) -> Mesh:
    """A mesh of ``devices`` places, all this host's first device: only to be counted.

    Raises:
        ValueError: If ``devices`` is below 1.
    """
    if devices < 1:
        raise ValueError(f"--devices is {devices}; expected 1 or more; correct it")
    return Mesh(np.array(jax.local_devices()[:1] * devices), (sharding.AXIS,))


def shapes_of(tree: Any) -> Any:
    """``tree`` with each array replaced by its shape and type."""
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
    """A run in outline: enough to compute its sizes and to compile its programs.

    Attributes:
        config: The run's configuration.
        spec: What head is trained.
        head: The network.
        candidates: Seeds and settings that are trained together.
        joins: The join behind each split's table.
        tables: Each split's table, in outline.
    """

    config: ConfigDict
    spec: HeadSpec
    head: Head
    candidates: Candidates
    joins: dict[str, Join]
    tables: dict[str, FrameTable]

    @property
    def window(self) -> int:
        """Frames per window; 0 where the head does not take windows."""
        return self.spec.window if self.spec.takes_windows else 0

    @property
    def train_split(self) -> str:
        """The split that is trained on."""
        return str(self.config.data.train_on)

    def arrays(self, split: str) -> TableArrays:
        """Shapes and types of the arrays that a step gathers its batch from."""
        arrays = table_arrays(
            self.tables[split],
            windows=bool(self.window),
            audio_flag=self.spec.audio_flag,
            inputs=self.config.data.inputs,
        )
        shapes: TableArrays = shapes_of(arrays)
        return shapes

    def order(self, mesh: Mesh) -> FrameOrder | WindowOrder:
        """Which rows, or windows, each step sees.

        Raises:
            TrainingError: If training on ``mesh`` would refuse to begin.
        """
        return make_order(self.config, self.tables[self.train_split], self.spec, mesh)

    def state(self, num_steps: int) -> Any:
        """Shapes of the state that a run trains and its checkpoint holds."""
        make = functools.partial(
            fresh_state, self.config, self.candidates, self.head, num_steps
        )
        return jax.eval_shape(make)

    def hyper(self) -> Any:
        """Shapes of the candidates' PRNG keys and swept values."""
        return jax.eval_shape(self.candidates.hyper)

    def batch(self, split: str, index: Any) -> Batch:
        """Shapes of the batches that an index of shape (steps, batch, ...) names."""

        def gather(arrays: TableArrays, index: Any) -> Batch:
            rows = rows_at(arrays, index, self.window)
            return Batch(inputs_at(arrays, rows), *targets_at(arrays, rows))

        batch: Batch = jax.eval_shape(gather, self.arrays(split), index)
        return batch


def index_shape(order: FrameOrder | WindowOrder, length: int) -> Any:
    """Shape of the index that names the rows, or windows, of ``length`` steps."""
    if isinstance(order, WindowOrder):
        return jax.ShapeDtypeStruct((length, order.windows_per_step, 3), np.int32)
    return jax.ShapeDtypeStruct((length, order.batch_size), np.int32)


def outline_run(config: ConfigDict, data: Data) -> Outline:
    """The run that ``config`` describes, in outline; no features are read.

    Raises:
        ValueError: If the configuration makes no sense or does not fit the store, or if
            a split has no rows.
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
    """The splits that a run loads, in the order that it loads them, each once."""
    training = ("dev",) if config.data.train_on == "train" else ()
    splits = (*training, config.data.train_on, config.evaluate.split)
    return tuple(dict.fromkeys(splits))
