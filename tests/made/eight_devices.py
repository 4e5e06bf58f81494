"""A program of its own: training on eight devices of the host, and on one of them.

Writes a JSON object to standard output; ``test_devices.py`` starts and judges it.
"""

import json
import pathlib
import re
import sys
import tempfile
from typing import Any

import jax
import numpy as np
import optax
from jax import export

from avemo_jax.batches import sharding
from avemo_jax.batches.row_scores import Predictor
from avemo_jax.batches.tables import Data, Loader
from avemo_jax.config.fields import base_config
from avemo_jax.heads import build_head
from avemo_jax.training import train
from avemo_jax.training.amount import fitted
from avemo_jax.training.objective import (
    TrainingError,
    configured_loss,
    make_order,
    make_spec,
)
from avemo_jax.training.seeds import make_candidates
from avemo_jax.training.state import fresh_state
from avemo_jax.training.step import make_train_chunk
from made.tables import MadeStore

DIMS = (40, 24)
BATCH = 640  # a number that is no other axis, nor an eighth of it
NAMES = ["enet_b2_8_best", "wav2vec2_base"]
CASES = {"EXPR mlp": ("EXPR", "mlp"), "VA mlp": ("VA", "mlp")}
CASES["AU transformer"] = ("AU", "transformer")
_COLLECTIVE = re.compile(
    r"= (.*?) (all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute)"
    r"(?:-start)?\("
)
_SHAPE = re.compile(r"\b[a-z]+\d*\[([\d,]*)\]")


def small_config(task: str, kind: str, **fields: Any) -> Any:
    config = base_config(task, kind)
    config.batch_size = BATCH
    config.dropout = 0.1
    config.head.window = 16
    config.head.num_layers = 1
    config.train.warmup = 0.0
    config.train.window_stride = 8
    config.log.tensorboard = False
    config.update_from_flattened_dict(fields)
    return config


def data_of(task: str) -> Data:
    store = MadeStore(task, dims=DIMS, videos=8, frames=180)
    return Data(store, "made", "made data")


def mesh_of(count: int) -> Any:
    devices = np.array(jax.devices()[:count])
    return jax.sharding.Mesh(devices, (sharding.AXIS,))


class Trainer:
    """What ``train`` puts together, for a mesh of any size."""

    def __init__(self, config: Any, count: int, dtype: str = "float32"):
        with config.unlocked():
            config.head.dtype = dtype
        self.mesh = mesh_of(count)
        data = data_of(config.task)
        self.spec = make_spec(config, DIMS)
        options = {"task": config.task, "missing_audio": "zeros", "budget": 10**9}
        loader = Loader(data, self.mesh, **options)
        self.table, self.feeder = loader.load("train", self.spec, NAMES)
        self.head, candidates = build_head(self.spec), make_candidates(config)
        config = fitted(config, self.table, self.spec, self.mesh)
        self.order = make_order(config, self.table, self.spec, self.mesh)
        loss_of = configured_loss(config, self.table)
        self.chunk = make_train_chunk(
            config, candidates, self.head, loss_of, self.feeder, self.mesh, 100
        )
        state = fresh_state(config, candidates, self.head, 100)
        if dtype == "float64":
            state = jax.tree.map(widened, state)
        self.state = sharding.replicate(state, self.mesh)
        self.hyper = sharding.replicate(candidates.hyper(), self.mesh)

    def arguments(self, steps: int, *, first: int = 0) -> tuple:
        order = np.concatenate([self.order.epoch(i) for i in range(20)])[:steps]
        ((arrays, index),) = self.feeder.chunks(order, steps)
        models, stopped = self.state.models, self.state.stopped
        return models, stopped, self.hyper, arrays, index, np.int32(first)

    def after(self, steps: int) -> tuple[list, list]:
        """Parameters and Adam's first moments: of the first step, a tenth gradients."""
        models, _ = self.chunk(*self.arguments(steps))
        trees = models.variables.params, optax.tree.get(models.optimiser, "mu")
        return tuple([np.asarray(x) for x in jax.tree.leaves(t)] for t in trees)


def widened(leaf: Any) -> Any:
    return leaf.astype("float64") if leaf.dtype == "float32" else leaf


def gradient_difference(one: Trainer, eight: Trainer) -> float:
    """Largest difference of a gradient, as a share of the largest gradient."""
    assert one.order.batch_size == eight.order.batch_size == BATCH
    gradients = [trainer.after(1)[1] for trainer in (one, eight)]
    largest = max(np.abs(leaf).max() for leaf in gradients[0])
    assert largest > 0
    pairs = zip(*gradients, strict=True)
    return float(max(np.abs(a - b).max() for a, b in pairs) / largest)


def parameter_difference(steps: int) -> dict[str, float]:
    """How far parameters moved in float64, and the largest difference after that."""
    with jax.enable_x64(True):
        trainers = [
            Trainer(small_config("EXPR", "mlp"), count, "float64") for count in (1, 8)
        ]
        start = jax.tree.leaves(trainers[0].state.models.variables.params)
        start = [np.array(leaf) for leaf in start]
        one, eight = (trainer.after(steps)[0] for trainer in trainers)
    assert {leaf.dtype.name for leaf in one} == {"float64"}

    def largest(others: list[np.ndarray]) -> float:
        pairs = zip(one, others, strict=True)
        return float(max(np.abs(a - b).max() for a, b in pairs))

    return {"moved": largest(start), "difference": largest(eight)}


def shapes_in(text: str) -> list[tuple[int, ...]]:
    return [tuple(map(int, s.split(","))) if s else () for s in _SHAPE.findall(text)]


def compiled(trainer: Trainer) -> dict[str, Any]:
    """What the compiled program of one device does."""
    text = trainer.chunk.lower(*trainer.arguments(2)).compile().as_text()
    collectives = [
        {
            "kind": kind,
            "elements": int(sum(np.prod(shape) for shape in shapes_in(result))),
        }
        for result, kind in _COLLECTIVE.findall(text)
    ]
    params = jax.tree.leaves(trainer.state.models.variables.params)
    return {
        "collectives": collectives,
        "params": sum(leaf.size for leaf in params),
        "batch": trainer.order.batch_size,
        "batch_values": trainer.order.batch_size * sum(DIMS),
        "first_axes": sorted({s[0] for s in shapes_in(text) if len(s) > 1}),
        "matrix_products": [
            list(shape)
            for line in text.splitlines()
            if re.search(r" (dot|custom-call)\(", line)
            for shape in shapes_in(line.split("=", 1)[1].split("(")[0])
        ],
    }


def undivided() -> str:
    try:
        Trainer(small_config("EXPR", "mlp", batch_size=30), 8)
    except TrainingError as error:
        return str(error)
    return ""


def dev_scores() -> list[float]:
    """Of a whole training on one device, and on eight."""
    found = []
    for count in (1, 8):
        config = small_config("VA", "mlp", num_epochs=4, learning_rate=3e-3)
        config.batch_size, config.head.standardize = 64, True
        sharding.make_mesh = lambda count=count: mesh_of(count)
        with tempfile.TemporaryDirectory() as folder:
            workdir = pathlib.Path(folder)
            train.train(config, data_of("VA"), workdir)
            lines = (workdir / "metrics.jsonl").read_text().splitlines()
        found.append(json.loads(lines[-1])["dev_ccc_mean"])
    return found


def exported(trainer: Trainer) -> list[list[str]]:
    """Platforms that the training and the prediction were lowered for."""
    platforms = ("tpu", "cuda")
    step = export.export(trainer.chunk, platforms=platforms)(*trainer.arguments(2))
    predictor = Predictor(
        trainer.head, trainer.table, trainer.feeder, trainer.mesh, batch_size=128
    )
    ((arrays, index), *_) = trainer.feeder.chunks(predictor.order[:1], 1)
    variables = trainer.state.models.variables
    program = export.export(predictor.program, platforms=platforms)
    return [list(p.platforms) for p in (step, program(variables, arrays, index))]


def main() -> None:
    """All of it."""
    assert jax.device_count() == 8
    found: dict[str, Any] = {"undivided": undivided(), "dev_scores": dev_scores()}
    found["parameters"] = parameter_difference(20)
    for name, case in CASES.items():
        one, eight = (Trainer(small_config(*case), count) for count in (1, 8))
        # The gradients last: taking a step gives the state away.
        found[name] = {
            "exported": exported(eight),
            "compiled": compiled(eight),
            "gradients": gradient_difference(one, eight),
        }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
