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
from avemo_jax.training.seeds import Hyper
from avemo_jax.training.state import TrainState
from avemo_jax.training.step import scan_length


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a run has come.

    Attributes:
        epoch: Epochs that are complete.
        step: Steps done of the epoch after them.
        losses: Sum of each candidate's losses over these steps; empty where ``step``
            is 0.
    """

    epoch: int = 0
    step: int = 0
    losses: tuple[float, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The progress as values that JSON takes."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> "Progress":
        """The progress from what :meth:`to_dict` returned, or from JSON of that."""
        return cls(**{**stored, "losses": tuple(stored["losses"])})


@dataclasses.dataclass(frozen=True)
class Epochs:
    """What every epoch of a run needs.

    Attributes:
        config: The run's configuration.
        chunk: The compiled scan of :func:`step.make_train_chunk`.
        order: Which rows, or windows, each step sees.
        feeder: Brings the frames of a step to the devices.
        hyper: PRNG keys and swept values of all candidates.
        bar: Progress bar that counts steps.
    """

    config: ConfigDict
    chunk: Callable[..., Any]
    order: FrameOrder | WindowOrder
    feeder: Feeder
    hyper: Hyper
    bar: tqdm

    def run(
        self, state: TrainState, progress: Progress, preemption: Preemption
    ) -> tuple[TrainState, Progress, float]:
        """Trains to the end of the epoch, or to the chunk at which the run is stopped.

        Args:
            state: State of the run at ``progress``; its models are donated, so the
                caller must not use it again.
            progress: Where the epoch begins, or goes on at the end of a chunk.
            preemption: Says after each chunk whether the run is to stop.

        Returns:
            The state after the last step; the progress, whose ``step`` is the number of
            steps of the epoch if that is complete; and trained frames per second.

        Raises:
            TrainingError: If a loss is not finite.
        """
        num_steps = self.order.num_steps
        length = scan_length(self.config, num_steps)
        done, total = progress.step, np.zeros(len(state.stopped))
        if progress.losses:
            total = np.array(progress.losses)
        order = self.order.epoch(progress.epoch)[done:]
        began, models = time.perf_counter(), state.models
        pending: Any = None
        for shared, steps in self.feeder.chunks(order, length):
            first = np.int32(progress.epoch * num_steps + done)
            models, latest = self.chunk(
                models, state.stopped, self.hyper, shared, steps, first
            )
            # Reading the losses waits for them: those of the chunk before are read
            # while the devices compute this one.
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
        return dataclasses.replace(state, models=models), progress, speed

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
