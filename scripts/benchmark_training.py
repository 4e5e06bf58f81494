"""Training speed of the EXPR MLP: ours against PyTorch, on the same work and machine.

One epoch over frames of 2,176 features, at batch 32 and at batch 1024: our compiled
scan; a PyTorch loop over a Dataset of per-frame dicts with a DataLoader, as the
original system has it; a PyTorch loop over tensors already in memory. Rounds alternate
between them; medians are reported. Needs the extra ``parity``.
"""

import argparse
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import torch
from measuring import Matmul, add_options, alternating, report
from tqdm import tqdm

from avemo_jax.batches import sharding
from avemo_jax.batches.feeders import make_feeder
from avemo_jax.config.fields import original_config
from avemo_jax.data.store.table import FeatureSet, FrameTable
from avemo_jax.heads import build_head
from avemo_jax.runtime.preemption import Preemption
from avemo_jax.tasks import EXPR
from avemo_jax.training.amount import fitted
from avemo_jax.training.epochs import Epochs, Progress
from avemo_jax.training.objective import configured_loss, make_order, make_spec
from avemo_jax.training.seeds import make_candidates
from avemo_jax.training.state import fresh_state
from avemo_jax.training.step import make_train_chunk

DIMS = (1408, 768)
DIM, HIDDEN, CLASSES = sum(DIMS), 128, 8
FLOPS_PER_FRAME = 4 * DIM * HIDDEN + 6 * HIDDEN * CLASSES  # no gradient of the input
BARS = {
    "batch 32: DataLoader loop / ours": (">=", 3.5),
    "batch 32: tensor loop / ours": (">=", 3.0),
    "batch 1024: tensor loop / ours": (">=", 1.2),
    "batch 1024: share of the matmul rate": (">=", 0.55),
    "batch 32: ten seeds / one": ("<=", 11.0),
    "batch 1024: ten seeds / one": ("<=", 8.0),
    "batch 32: candidates unequal to their solo runs": ("<=", 0),
}


def made_table(frames: int) -> FrameTable:
    """``frames`` rows of noise with random labels, one video."""
    rng = np.random.default_rng(0)
    features = np.empty((frames, DIM), np.float16)
    for start in range(0, frames, 10_000):
        part = features[start : start + 10_000]
        part[:] = rng.standard_normal(part.shape, np.float32)
    labels = rng.integers(0, CLASSES, frames).astype(np.int8)
    sets = tuple(FeatureSet(f"set{d}@made", "visual", d, 0, "") for d in DIMS)
    return FrameTable(
        task=EXPR,
        split="train",
        feature_sets=sets,
        features=features,
        outputs=None,
        labels=labels,
        valid=np.ones(frames, bool),
        has_audio=np.ones(frames, bool),
        frame=np.arange(1, frames + 1, dtype=np.int32),
        videos=("made",),
        source_videos=("made",),
        row_offsets=np.array([0, frames]),
        num_frames=np.array([frames], np.int32),
        fps=np.array([30.0]),
        dense_labels=labels,
        fingerprint="made",
        report={},
    )


class Ours:
    """One epoch of our training, with everything that the host does in it.

    Attributes:
        feeder: Feeder of the table, for another training on it.
        state: State after the last epoch.
        losses: Mean loss of each candidate in the last epoch.
    """

    def __init__(self, table: FrameTable, batch_size: int, seeds: int = 1, **options):
        config = original_config("EXPR", "mlp")
        config.batch_size, config.num_seeds = batch_size, seeds
        config.train.seed_mode = options.get("seed_mode", "auto")
        config.seed = options.get("seed", 0)
        config.learning_rate = 1e-3
        mesh = sharding.make_mesh()
        spec = make_spec(config, DIMS)
        config = fitted(config, table, spec, mesh)
        head, candidates = build_head(spec), make_candidates(config)
        self._order = make_order(config, table, spec, mesh)
        self.feeder = options.get("feeder") or make_feeder(
            table, mesh, window=0, audio_flag=False, resident=True
        )
        steps = self._order.num_steps * config.num_epochs
        loss_of = configured_loss(config, table)
        chunk = make_train_chunk(
            config, candidates, head, loss_of, self.feeder, mesh, steps
        )
        self._epochs = Epochs(
            config,
            chunk,
            self._order,
            self.feeder,
            candidates.hyper(),
            tqdm(disable=True),
        )
        self.state = fresh_state(config, candidates, head, steps)
        self._epoch = 0

    def __call__(self) -> None:
        """Trains an epoch and waits until the devices are done."""
        self.state, progress, _ = self._epochs.run(
            self.state, Progress(self._epoch), Preemption()
        )
        jax.block_until_ready(self.state)
        self.losses = np.array(progress.losses) / self._order.num_steps
        self._epoch += 1

    def params(self) -> Any:
        """Parameters of all candidates, leading axis candidates."""
        return self.state.models.variables.params


class FrameDicts(torch.utils.data.Dataset):
    """Gives a dict for each frame, as the original's Dataset does."""

    def __init__(self, features: np.ndarray, labels: np.ndarray):
        self._frames = list(features)
        self._labels = labels

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {
            "features": torch.from_numpy(self._frames[index]),
            "label": int(self._labels[index]),
        }


class Torch:
    """One epoch of a PyTorch loop: AdamW, weighted cross entropy."""

    def __init__(self, table: FrameTable, batch_size: int, features: np.ndarray, kind):
        torch.manual_seed(0)
        self._features, self._labels = features, table.labels.astype(np.int64)
        self._batch_size, self._kind = batch_size, kind
        self._net = torch.nn.Sequential(
            torch.nn.Linear(DIM, HIDDEN),
            torch.nn.ReLU(),
            torch.nn.Linear(HIDDEN, CLASSES),
        )
        self._optimizer = torch.optim.AdamW(
            self._net.parameters(), lr=1e-3, weight_decay=5e-5, fused=kind == "fused"
        )
        counts = np.bincount(self._labels, minlength=CLASSES)
        weights = torch.tensor(len(self._labels) / (CLASSES * counts)).float()
        self._loss = torch.nn.CrossEntropyLoss(weight=weights, reduction="none")
        if kind == "loader":
            dataset = FrameDicts(features, self._labels)
            self._loader = torch.utils.data.DataLoader(
                dataset, batch_size=batch_size, shuffle=True, drop_last=True
            )

    def _batches(self):
        if self._kind == "loader":
            for batch in self._loader:
                yield batch["features"], batch["label"]
            return
        features = torch.from_numpy(self._features)
        labels = torch.from_numpy(self._labels)
        order = torch.randperm(len(features))
        size = self._batch_size
        for start in range(0, len(order) - size + 1, size):
            index = order[start : start + size]
            yield features[index], labels[index]

    def __call__(self) -> None:
        """Trains an epoch."""
        self._net.train()
        for features, labels in self._batches():
            self._optimizer.zero_grad()
            loss = self._loss(self._net(features), labels).mean()
            loss.backward()
            self._optimizer.step()
        if not torch.isfinite(loss):
            raise RuntimeError("the PyTorch loop's loss is not finite")


def unequal_candidates(frames: int, seeds: int) -> int:
    """How many candidates of one program differ in a bit from their solo runs."""
    table = made_table(frames)
    together = Ours(table, 32, seeds)
    together()
    wrong = 0
    for seed in range(seeds):
        alone = Ours(table, 32, seed=seed, feeder=together.feeder)
        alone()
        pairs = zip(
            jax.tree.leaves(together.params()),
            jax.tree.leaves(alone.params()),
            strict=True,
        )
        wrong += not all(np.array_equal(a[seed], b[0]) for a, b in pairs)
    return wrong


def measure(frames: int, rounds: int, seeds: int) -> dict[str, Any]:
    """All figures that are reported.

    Args:
        frames: Frames of an epoch.
        rounds: Rounds in which the ways are timed in turn.
        seeds: Candidates trained together where several are compared with one.
    """
    table = made_table(frames)
    features = table.features.astype(np.float32)
    found: dict[str, Any] = {"frames": frames, "rounds": rounds}
    for size in (32, 1024):
        print(f"batch {size}", flush=True)
        ours = Ours(table, size)
        entries: dict[str, Callable[[], None]] = {
            "ours": ours,
            "tensor loop": Torch(table, size, features, "tensors"),
            "tensor loop, fused AdamW": Torch(table, size, features, "fused"),
            "matmul": Matmul(),
        }
        if size == 32:
            entries["DataLoader loop"] = Torch(table, size, features, "loader")
        ours()  # compiles
        times = alternating(entries, rounds)
        del entries
        rate = Matmul.flops / times["matmul"]
        share = FLOPS_PER_FRAME * (frames // size * size) / times["ours"] / rate
        for name in ("DataLoader loop", "tensor loop", "tensor loop, fused AdamW"):
            if name in times:
                found[f"batch {size}: {name} / ours"] = times[name] / times["ours"]
        found[f"batch {size}: share of the matmul rate"] = share
        many = Ours(table, size, seeds, feeder=ours.feeder)
        many()  # compiles
        both = alternating({"one": ours, "ten": many}, rounds)
        found[f"batch {size}: ten seeds / one"] = both["ten"] / both["one"]
        found[f"batch {size}: seconds"] = {**times, "ten seeds": both["ten"]}
    name = "batch 32: candidates unequal to their solo runs"
    found[name] = unequal_candidates(min(frames, 16_000), seeds)
    return found


def main() -> None:
    """Measures, prints, and with ``--check`` fails where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=300_000, help="in an epoch")
    parser.add_argument("--rounds", type=int, default=3)
    add_options(parser)
    options = parser.parse_args()
    found = measure(options.frames, options.rounds, seeds=10)
    report(found, BARS, options)


if __name__ == "__main__":
    main()
