"""Training on made-up data of the size of Aff-Wild2's features, for benchmarks.

The module puts together the same parts as ``avemo_jax.training.train``, without files,
dev and checkpoints. ``benchmark_scale.py`` starts it as a program, which prints each
result as one line of JSON.
"""

import collections
import dataclasses
import json
import pathlib
import runpy
import sys
import time
from typing import Any

import jax
from made_validation import made_lengths, made_table
from ml_collections import ConfigDict
from tqdm import tqdm

from avemo_jax.batches import sharding
from avemo_jax.batches.feeders import Feeder, make_feeder
from avemo_jax.config.fields import base_config
from avemo_jax.data.store.store import open_store
from avemo_jax.data.store.table import FeatureSet, FrameTable
from avemo_jax.heads import build_head
from avemo_jax.runtime import compilation
from avemo_jax.runtime.preemption import Preemption
from avemo_jax.tasks import get_task
from avemo_jax.training.amount import fitted
from avemo_jax.training.epochs import Epochs, Progress
from avemo_jax.training.objective import configured_loss, make_order, make_spec
from avemo_jax.training.seeds import make_candidates
from avemo_jax.training.state import fresh_state
from avemo_jax.training.step import make_train_chunk

SETS = (
    FeatureSet("enet_b2_8_best@made", "visual", 1408, 0, "made"),
    FeatureSet("wav2vec2_base@made", "audio", 768, 0, "made"),
)
DIMS = tuple(one.dim for one in SETS)
KINDS = tuple(one.kind for one in SETS)
_VIDEO_FRAMES = 1024


def table_of(task: str, frames: int) -> FrameTable:
    """A table of ``frames`` rows with 2,176 features and random labels."""
    lengths = made_lengths(frames, max(frames // _VIDEO_FRAMES, 1))
    return dataclasses.replace(made_table(get_task(task), lengths, SETS), split="train")


class MadeTraining:
    """A configuration's training over made data, on all devices of this process."""

    def __init__(self, config: ConfigDict, table: FrameTable, feeder: Feeder | None):
        """Makes the state and the compiled scan, which compiles when it is called.

        Args:
            config: The configuration that is trained.
            table: Table that :func:`table_of` made.
            feeder: Feeder of ``table`` from another training, which takes windows if
                this one does; None: a new one.
        """
        mesh = sharding.make_mesh()
        self.spec = make_spec(config, DIMS, KINDS)
        config = fitted(config, table, self.spec, mesh)
        head, self.candidates = build_head(self.spec), make_candidates(config)
        self.order = make_order(config, table, self.spec, mesh)
        self.feeder = feeder or make_feeder(
            table,
            mesh,
            window=self.spec.window if self.spec.takes_windows else 0,
            audio_flag=self.spec.audio_flag,
            resident=True,
        )
        steps = self.order.num_steps * config.num_epochs
        self.chunk = make_train_chunk(
            config,
            self.candidates,
            head,
            configured_loss(config, table),
            self.feeder,
            mesh,
            steps,
        )
        self.hyper = sharding.replicate(self.candidates.hyper(), mesh)
        self.state = sharding.replicate(
            fresh_state(config, self.candidates, head, steps), mesh
        )
        self._epochs = Epochs(
            config,
            self.chunk,
            self.order,
            self.feeder,
            self.hyper,
            tqdm(disable=True),
        )
        self._done = 0

    def epoch(self) -> float:
        """Trains one epoch, the host's work included; returns the seconds it took."""
        began = time.perf_counter()
        progress = Progress(self._done)
        self.state, *_ = self._epochs.run(self.state, progress, Preemption())
        jax.block_until_ready(self.state)
        self._done += 1
        return time.perf_counter() - began


def serve_epochs(frames: int, batch_size: int) -> None:
    """Trains an epoch of the EXPR MLP for each line of standard input; says seconds."""
    config = base_config("EXPR", "mlp")
    config.batch_size = batch_size
    training = MadeTraining(config, table_of("EXPR", frames), None)
    training.epoch()  # compiles
    trained = training.order.num_steps * training.order.batch_size
    _say({"devices": jax.device_count(), "frames": trained})
    for _ in sys.stdin:
        _say(training.epoch())


def compile_all(folder: str, files: list[str]) -> None:
    """Says how long the train scan of each configuration compiles.

    Args:
        folder: Compilation cache.
        files: Paths of the configurations.
    """
    seconds: collections.Counter[str] = collections.Counter()
    counts: collections.Counter[str] = collections.Counter()

    def add(event: str, duration: float, **about: Any) -> None:
        if "train_chunk" in str(about.get("fun_name")):
            seconds[event.rsplit("/", 1)[1]] += duration

    jax.monitoring.register_event_duration_secs_listener(add)
    jax.monitoring.register_event_listener(
        lambda event, **_: counts.update([event.rsplit("/", 1)[1]])
    )
    compilation.keep_compiled(folder)
    found = {}
    tables: dict[str, FrameTable] = {}
    for path in map(pathlib.Path, files):
        config = runpy.run_path(str(path))["get_config"]()
        if config.task not in tables:
            tables[config.task] = table_of(config.task, 8192)
        seconds.clear()
        counts.clear()
        MadeTraining(config, tables[config.task], None).epoch()
        found[path.stem] = {
            "trace_and_lower": seconds["jaxpr_trace_duration"]
            + seconds["jaxpr_to_mlir_module_duration"],
            "compile": seconds["backend_compile_duration"],
            "hits": counts["cache_hits"],
            "misses": counts["cache_misses"],
        }
    _say(found)


def load(store: str, features: str) -> None:
    """Says the bytes of a table, and by how much loading it raises the peak memory."""
    opened = open_store(store)
    opened.load_table("EXPR", "dev", [features], show_progress=False)
    before = _peak_bytes()
    table = opened.load_table("EXPR", "train", [features], show_progress=False)
    _say({"bytes": table.features.nbytes, "peak": _peak_bytes() - before})


def _peak_bytes() -> int:
    """Peak memory of this process; ru_maxrss would include the one that started it."""
    status = pathlib.Path("/proc/self/status").read_text(encoding="ascii")
    line = next(one for one in status.splitlines() if one.startswith("VmHWM"))
    return 1024 * int(line.split()[1])


def _say(result: Any) -> None:
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    name, *given = json.loads(sys.argv[1])
    {"epochs": serve_epochs, "compile": compile_all, "load": load}[name](*given)
