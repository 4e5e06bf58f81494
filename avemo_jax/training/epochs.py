"""One epoch of training: chunks of steps, after each of which a run may be stopped."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict
from tqdm import tqdm

from avemo_jax.batches.feeders import Feeder
from avemo_jax.batches.order import FrameOrder, WindowOrder
from avemo_jax.runtime.preemption import Preemption
from avemo_jax.training.objective import TrainingError
from avemo_jax.training.step import scan_length


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        epoch: Whole epochs.
        step: Steps of the next one.
        losses: Sums of each candidate's losses in these steps; empty without steps.
    """

    epoch: int = 0
    step: int = 0
    losses: tuple[float, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> "Progress":
        """Of what :meth:`to_dict` gave."""
        return cls(**{**stored, "losses": tuple(stored["losses"])})


@dataclasses.dataclass(frozen=True)
class Epochs:
    """What every epoch of a run needs.

    Attributes:
        config: Of the run.
        chunk: The compiled scan.
        order: The order of examples.
        feeder: Of the table.
        hyper: Keys and settings of the candidates.
        bar: Counts steps.
    """

    config: ConfigDict
    chunk: Callable[..., Any]
    order: FrameOrder | WindowOrder
    feeder: Feeder
    hyper: dict[str, Any]
    bar: tqdm

    def run(
        self, state: dict[str, Any], progress: Progress, preemption: Preemption
    ) -> tuple[dict[str, Any], Progress, float]:
        """Trains to the end of the epoch, or to where the run is to stop.

        Args:
            state: At ``progress``; given away.
            progress: Steps of the epoch that are done, at a chunk's end, are left out.
            preemption: Asked after each chunk.

        Returns:
            The state; the progress, with as many steps as the epoch has where it is
            done; and frames per second.

        Raises:
            TrainingError: If a loss is not finite.
        """
        num_steps = self.order.num_steps
        length = scan_length(self.config, num_steps)
        done, total = progress.step, np.zeros(len(state["stopped"]))
        if progress.losses:
            total = np.array(progress.losses)
        order = self.order.epoch(progress.epoch)[done:]
        began, models = time.perf_counter(), state["models"]
        pending: Any = None
        for shared, steps in self.feeder.chunks(order, length):
            first = np.int32(progress.epoch * num_steps + done)
            models, latest = self.chunk(
                models, state["stopped"], self.hyper, shared, steps, first
            )
            # The chunk before is looked at while this one is computed.
            if pending is not None:
                total = self._add(total, *pending)
            done += latest.shape[1]
            pending = latest, progress.epoch * num_steps + done
            if preemption.reached():
                break
        if pending is not None:
            total = self._add(total, *pending)
        seconds = time.perf_counter() - began
        speed = (done - progress.step) * self.order.batch_size / seconds
        progress = Progress(progress.epoch, done, tuple(total.tolist()))
        return {**state, "models": models}, progress, speed

    def _add(
        self, total: Float[np.ndarray, " candidates"], losses: Any, end: int
    ) -> Float[np.ndarray, " candidates"]:
        """``total`` with the losses of a chunk that ends after step ``end``."""
        values = np.asarray(losses)
        self.bar.update(values.shape[1])
        if not np.isfinite(values).all():
            candidate, step = np.argwhere(~np.isfinite(values))[0]
            first = end - values.shape[1]
            raise TrainingError(
                f"the loss is {values[candidate, step]} in steps {first + 1} to {end} "
                f"(first at step {first + step + 1}, candidate {candidate}); try a "
                "lower config.learning_rate, or look at the features"
            )
        summed: np.ndarray = total + values.sum(axis=1, dtype=np.float64)
        return summed
