"""Programs compiled for TPUs that are not there, for the compiler's own figures.

libtpu compiles for the devices of a named topology, whatever this host has. Arguments
are shapes with shardings; nothing runs.
"""

import contextlib
import dataclasses
import importlib.util
import math
import os
import re
import time
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import topologies
from jax.experimental.compilation_cache import compilation_cache
from jax.sharding import Mesh, NamedSharding

from avemo_jax.batches import sharding
from avemo_jax.batches.feeders import Feeder, StreamedFeeder, place_of
from avemo_jax.batches.row_scores import Predictor
from avemo_jax.training.objective import configured_loss
from avemo_jax.training.plan.outlines import (
    Outline,
    OutlineFeeder,
    index_shape,
    shapes_of,
)
from avemo_jax.training.step import make_train_chunk, one_by_one, scan_length

# Memory of a chip in GiB: cloud.google.com/tpu/docs/system-architecture-tpu-vm.
_MEMORY_GIB = {"v2": 16, "v3": 32, "v4": 32, "v5e": 16, "v5p": 95, "v6e": 32}
_COLLECTIVE = re.compile(
    r"= (.*?) (all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute"
    r"|ragged-all-to-all|collective-broadcast)(?:-start)?\("
)
_SHAPE = re.compile(r"\b([a-z]+)(\d*)[a-z0-9]*\[([\d,]*)\]")


@dataclasses.dataclass(frozen=True)
class Collective:
    """What crosses between the devices at one place of a program.

    Attributes:
        kind: XLA's name of the operation, such as "all-reduce".
        elements: Number of values that come out.
        num_bytes: Bytes of these values.
    """

    kind: str
    elements: int
    num_bytes: int


@dataclasses.dataclass(frozen=True)
class Compiled:
    """The compiler's figures of one program; bytes are of one device.

    Attributes:
        name: What the report calls the program.
        seconds: Time that the compilation took on this host.
        argument_bytes: Bytes of the arguments.
        output_bytes: Bytes of the outputs.
        alias_bytes: Bytes of the outputs that lie where arguments lay.
        temporary_bytes: Bytes of everything between arguments and outputs.
        code_bytes: Bytes of the program itself.
        collectives: Collectives in the order of the program's text.
        text: The program as XLA writes it.
    """

    name: str
    seconds: float
    argument_bytes: int
    output_bytes: int
    alias_bytes: int
    temporary_bytes: int
    code_bytes: int
    collectives: tuple[Collective, ...]
    text: str = dataclasses.field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """The figures as values that JSON takes, without ``text``."""
        found = dataclasses.asdict(self)
        del found["text"]
        return found


def topology_mesh(name: str) -> Mesh:
    """The mesh of all devices of a TPU topology, such as "v5e:4x4".

    Raises:
        ImportError: If libtpu is not installed.
        ValueError: If libtpu knows no such topology.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise ImportError(
            "libtpu, which compiles for TPUs, is not installed; expected it for "
            '--tpu: pip install "avemo_jax[tpu-compile]"'
        )
    os.environ["TPU_SKIP_MDS_QUERY"] = "1"  # or it asks the cloud what host this is
    try:
        topology = topologies.get_topology_desc(name, platform="tpu")
    except (RuntimeError, ValueError, NotImplementedError) as error:
        raise ValueError(
            f"TPU topology {name!r}: {str(error).splitlines()[0]}; expected a kind and "
            "its shape, such as v5e:2x4 or v5e:4x4; correct --tpu"
        ) from error
    return Mesh(np.array(topology.devices), (sharding.AXIS,))


def chip_memory_gb(name: str) -> float | None:
    """Memory of one chip of a topology, in 10^9 bytes; None where it is unknown."""
    gibibytes = _MEMORY_GIB.get(name.split(":")[0])
    return None if gibibytes is None else gibibytes * 2**30 / 1e9


def num_hosts(mesh: Mesh) -> int:
    """Number of processes that the devices of ``mesh`` belong to."""
    return len({device.process_index for device in mesh.devices.flat})


def compile_run(outline: Outline, mesh: Mesh, *, resident: bool) -> list[Compiled]:
    """The figures of the training scan and of prediction, compiled for ``mesh``.

    Args:
        outline: The run.
        mesh: The mesh of a topology.
        resident: Whether the tables lie on the devices, or else are streamed.

    Raises:
        TrainingError: If a batch cannot be divided over the devices.
    """
    return [
        compile_training(outline, mesh, resident=resident),
        compile_prediction(outline, mesh, resident=resident),
    ]


def compile_training(outline: Outline, mesh: Mesh, *, resident: bool) -> Compiled:
    """The figures of the scan over one chunk of steps, as ``train`` compiles it.

    Raises:
        TrainingError: If a batch cannot be divided over the devices.
    """
    config, table = outline.config, outline.tables[outline.train_split]
    order = outline.order(mesh)
    num_steps = order.num_steps * config.num_epochs
    feeder = _feeder(outline, outline.train_split, mesh, resident)
    chunk = make_train_chunk(
        config,
        outline.candidates,
        outline.head,
        configured_loss(config, table),
        feeder,
        mesh,
        num_steps,
    )
    whole = sharding.replicated(mesh)
    state = placed_shapes(outline.state(num_steps), whole)
    index = index_shape(order, scan_length(config, order.num_steps))
    shared, steps = _sent(outline, outline.train_split, mesh, index, resident)
    return compiled(
        f"training, {index.shape[0]} steps of {order.batch_size} frames",
        chunk,
        state["models"],
        state["stopped"],
        placed_shapes(outline.hyper(), whole),
        shared,
        steps,
        jax.ShapeDtypeStruct((), np.int32),
    )


def compile_prediction(outline: Outline, mesh: Mesh, *, resident: bool) -> Compiled:
    """The figures of prediction for one batch of the split that is evaluated."""
    config, split = outline.config, outline.config.evaluate.split
    feeder = _feeder(outline, split, mesh, resident)
    predictor = Predictor(
        outline.head,
        outline.tables[split],
        feeder,
        mesh,
        batch_size=outline.spec.evaluation_batch(
            training=config.batch_size, evaluation=config.evaluate.batch_size
        ),
        windows=config.evaluate.windows,
        mapped=one_by_one(config, mesh),
    )
    variables, _ = placed_shapes(outline.state(1)["models"], sharding.replicated(mesh))
    index = shapes_of(predictor.order[:1])
    shared, steps = _sent(outline, split, mesh, index, resident)
    frames = math.prod(index.shape[1:2]) * max(outline.window, 1)
    return compiled(
        f"prediction, {frames} frames",
        predictor.program,
        variables,
        shared,
        steps,
    )


def compiled(name: str, program: Any, *arguments: Any) -> Compiled:
    """The compiler's figures of a jitted ``program``.

    Args:
        name: What the report calls the program.
        program: A function compiled by ``jax.jit``.
        arguments: Shapes of its arguments, with shardings over a topology's devices.
    """
    began = time.perf_counter()
    with _compiling_anew():
        done = program.lower(*arguments).compile()
    seconds = time.perf_counter() - began
    memory, text = done.memory_analysis(), done.as_text()
    return Compiled(
        name=name,
        seconds=seconds,
        argument_bytes=int(memory.argument_size_in_bytes),
        output_bytes=int(memory.output_size_in_bytes),
        alias_bytes=int(memory.alias_size_in_bytes),
        temporary_bytes=int(memory.temp_size_in_bytes),
        code_bytes=int(memory.generated_code_size_in_bytes),
        collectives=tuple(collectives_in(text)),
        text=text,
    )


@contextlib.contextmanager
def _compiling_anew() -> Iterator[None]:
    """Turns off the compilation cache, whose programs load only on their devices."""
    config: Any = jax.config  # its type does not name the settings
    before = config.jax_enable_compilation_cache
    config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()  # else JAX does not look at the setting again
    try:
        yield
    finally:
        config.update("jax_enable_compilation_cache", before)
        compilation_cache.reset_cache()


def collectives_in(text: str) -> Iterable[Collective]:
    """The collectives in the text of a program, as XLA writes it."""
    for result, kind in _COLLECTIVE.findall(text):
        elements = num_bytes = 0
        for _, bits, axes in _SHAPE.findall(result):
            size = math.prod(map(int, axes.split(","))) if axes else 1
            elements += size
            # The name "pred" gives no width: it takes a byte.
            num_bytes += size * max(int(bits or 8), 8) // 8
        yield Collective(kind, elements, num_bytes)


def placed_shapes(tree: Any, place: NamedSharding) -> Any:
    """``tree`` with each array or shape replaced by its shape, sharded as ``place``."""
    return jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=place), tree
    )


def _feeder(outline: Outline, split: str, mesh: Mesh, resident: bool) -> Feeder:
    if resident:
        return OutlineFeeder(outline.window)
    return StreamedFeeder(outline.arrays(split), mesh, outline.window)


def _sent(
    outline: Outline, split: str, mesh: Mesh, index: Any, resident: bool
) -> tuple[Any, Any]:
    """Sharded shapes of the two parts of a chunk: ``shared``, and each step's own."""
    place = place_of(index, mesh)
    if resident:
        shared = placed_shapes(outline.arrays(split), sharding.replicated(mesh))
        return shared, placed_shapes(index, place)
    return (), placed_shapes(outline.batch(split, index), place)
