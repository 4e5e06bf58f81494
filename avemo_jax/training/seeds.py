"""The models that one program trains together: seeds x settings."""

import dataclasses
import itertools
import math
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from avemo_jax.heads import Head, Variables

SWEPT = ("learning_rate", "weight_decay", "dropout")


@chex.dataclass(frozen=True, mappable_dataclass=False)
class Hyper:
    """What a step needs of a candidate, or of all on a leading axis.

    Attributes:
        key: PRNG key of dropout.
        learning_rate: Peak of the schedule.
        weight_decay: Decay of every parameter.
        dropout: Rate in [0, 1).
    """

    key: Any
    learning_rate: Any
    weight_decay: Any
    dropout: Any


@dataclasses.dataclass(frozen=True)
class Candidates:
    """What the candidates differ in: all seeds of the first setting, then the next.

    Attributes:
        seeds: Seed of each candidate; its first parameters and its dropout are drawn
            from it.
        settings: Values of :data:`SWEPT` for each candidate.
        num_seeds: Seeds of each setting.
    """

    seeds: tuple[int, ...]
    settings: tuple[dict[str, float], ...]
    num_seeds: int

    @property
    def swept(self) -> bool:
        """Whether there is more than one setting."""
        return len(self.seeds) > self.num_seeds

    def hyper(self) -> Hyper:
        """Dropout keys and swept values as arrays, leading axis candidates."""
        keys = [jax.random.fold_in(jax.random.key(seed), 1) for seed in self.seeds]
        values = {
            name: jnp.asarray([s[name] for s in self.settings], jnp.float32)
            for name in SWEPT
        }
        return Hyper(key=jnp.stack(keys), **values)

    def init(self, head: Head) -> Variables:
        """Freshly drawn parameters and statistics, leading axis candidates.

        What a seed draws does not depend on the other candidates.
        """
        init = jax.jit(head.init)
        trees = []
        for seed in self.seeds:
            params, stats = init(jax.random.fold_in(jax.random.key(seed), 0))
            trees.append(Variables(params=params, stats=stats))
        stacked: Variables = jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
        return stacked


def count_candidates(config: ConfigDict) -> int:
    """How many candidates ``config`` asks for, which are not made."""
    lists = (
        config.sweep.learning_rate,
        config.sweep.weight_decay,
        config.sweep.dropout,
    )
    return int(config.num_seeds) * math.prod(max(len(one), 1) for one in lists)


def make_candidates(config: ConfigDict) -> Candidates:
    """The candidates that ``config`` asks for: each seed with each setting swept."""
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
    """The setting that scores best on dev, on average over its seeds.

    Args:
        candidates: All candidates that were trained.
        scores: Score of each candidate on dev; larger is better.

    Returns:
        Where the setting's candidates are among all, and one entry per setting with
        its values, ``dev_mean`` and ``dev_std``.
    """
    chex.assert_shape(scores, (len(candidates.seeds),))
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
    """``tree`` with only the candidates ``which`` on its leading axis."""
    return jax.tree.map(lambda leaf: leaf[which], tree)
