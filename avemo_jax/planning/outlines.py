"""Tables, devices and feeders in outline: all that training asks of them, no features.

A table in outline has true labels, frame numbers and counts, and features of the true
shape whose rows are all the same zero in memory.
"""

from typing import Any, Literal, cast

import jax
import numpy as np
from jax.sharding import Mesh

from avemo_jax import sharding
from avemo_jax.data import assembling, build
from avemo_jax.data import tfds as tfds_lib
from avemo_jax.data.assembling import AnnotatedVideo
from avemo_jax.data.joining import Plan
from avemo_jax.data.table import FrameTable
from avemo_jax.feeding import ResidentFeeder
from avemo_jax.loading import Data


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
        folder = build.config_folder(data.store.path, tfds_lib.ANNOTATIONS)
        self._annotated: dict[str, AnnotatedVideo] = assembling.read_annotated(folder)

    def plan(self, split: str) -> Plan:
        """Rows and bytes of a split's table.

        Raises:
            ValueError: If the split has no rows.
        """
        return self._data.store.plan(
            self._task,
            split,
            self._features,
            missing_audio=self._missing,
            splits=self._data.splits,
        )

    def table(self, plan: Plan) -> FrameTable:
        """The table of ``plan``: its features take two bytes, whatever their shape."""
        features = np.broadcast_to(np.float16(0), (plan.rows, plan.dim))
        outputs = None
        if plan.output_dim:
            outputs = np.broadcast_to(np.float32(0), (plan.rows, plan.output_dim))
        return assembling.assemble(
            plan,
            self._annotated,
            features,
            outputs,
            fingerprint=self._data.store.data_fingerprint(plan.feature_sets),
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
