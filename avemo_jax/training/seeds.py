"""The models that one program trains together: seeds x settings."""

import dataclasses
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from avemo_jax.heads import Head

SWEPT = ("learning_rate", "weight_decay", "dropout")


@dataclasses.dataclass(frozen=True)
class Candidates:
    """What the candidates differ in; settings outside, seeds inside.

    Attributes:
        seeds: Of each candidate's parameters and dropout.
        settings: Values of :data:`SWEPT` for each candidate.
        num_seeds: Candidates of each setting.
    """

    seeds: tuple[int, ...]
    settings: tuple[dict[str, float], ...]
    num_seeds: int

    @property
    def swept(self) -> bool:
        """Whether there is more than one setting."""
        return len(self.seeds) > self.num_seeds

    def hyper(self) -> dict[str, Any]:
        """Seeds' keys and settings as arrays with a leading axis of candidates."""
        keys = [jax.random.fold_in(jax.random.key(seed), 1) for seed in self.seeds]
        values = {
            name: jnp.asarray([s[name] for s in self.settings], jnp.float32)
            for name in SWEPT
        }
        return {"key": jnp.stack(keys), **values}

    def init(self, head: Head) -> dict[str, Any]:
        """Fresh ``{"params", "stats"}``, leading axis candidates.

        A seed's values do not depend on the other candidates.
        """
        init = jax.jit(head.init)
        trees = []
        for seed in self.seeds:
            params, stats = init(jax.random.fold_in(jax.random.key(seed), 0))
            trees.append({"params": params, "stats": stats})
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def make_candidates(config: ConfigDict) -> Candidates:
    """The candidates that ``config`` asks for: num_seeds, or x the sweep's settings."""
    lists = [
        tuple(config.sweep.learning_rate) or (config.learning_rate,),
        tuple(config.sweep.weight_decay) or (config.weight_decay,),
        tuple(config.sweep.dropout) or (config.dropout,),
    ]
    seeds, settings = [], []
    for values in itertools.product(*lists):
        setting = dict(zip(SWEPT, map(float, values), strict=True))
        for seed in range(config.seed, config.seed + config.num_seeds):
            seeds.append(seed)
            settings.append(setting)
    return Candidates(tuple(seeds), tuple(settings), config.num_seeds)


def best_setting(
    candidates: Candidates, scores: np.ndarray
) -> tuple[slice, list[dict]]:
    """The candidates of the setting with the best mean score, and a table of all.

    Args:
        candidates: All that were trained.
        scores: On dev, one per candidate, larger is better.
    """
    by_setting = scores.reshape(-1, candidates.num_seeds)
    table = []
    for i, row in enumerate(by_setting):
        setting = candidates.settings[i * candidates.num_seeds]
        table.append(
            {**setting, "dev_mean": float(row.mean()), "dev_std": float(row.std())}
        )
    best = int(by_setting.mean(axis=1).argmax())
    start = best * candidates.num_seeds
    return slice(start, start + candidates.num_seeds), table


def take_candidates(tree: Any, which: slice) -> Any:
    """The candidates ``which`` of a tree with a leading axis of candidates."""
    return jax.tree.map(lambda leaf: leaf[which], tree)
