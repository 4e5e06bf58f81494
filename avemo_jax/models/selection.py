"""What was chosen for the post-processing of a model. Loads no JAX."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Float

from avemo_jax.data.predictions.threshold_file import shortest_digits
from avemo_jax.models.certainty import Certainty, Scored
from avemo_jax.postprocess.seconds import SECONDS_MODE, half_width
from avemo_jax.tasks import Task

if TYPE_CHECKING:  # they load JAX
    from avemo_jax.postprocess.frame_rate.comparison import RateChoice
    from avemo_jax.postprocess.smoothing import Smoothing

NO_SMOOTHING: "Smoothing" = ("none", 0)


def mean_over(window_s: float, fps: float) -> "Smoothing":
    """The mean over about so many seconds; no smoothing where that is one frame.

    Args:
        window_s: Seconds of the whole window.
        fps: Frames per second; 0 or NaN for an image.
    """
    half = half_width(window_s, fps)
    return (SECONDS_MODE, half) if half else NO_SMOOTHING


@dataclasses.dataclass(frozen=True)
class Selection:
    """What was chosen for each seed, or fixed where nothing could be chosen.

    Attributes:
        on: What it was chosen on, "dev" or the videos left out by folds, in words; None
            where nothing was chosen.
        reason: Why nothing was chosen; empty where it was.
        smoothings: Smoothing of each seed.
        thresholds: AU: thresholds for smoothed scores; None for other tasks.
        raw_thresholds: AU: thresholds for scores that are not smoothed; None for other
            tasks.
        dev_scores: The headline score on dev with all that was chosen, of each seed;
            empty where nothing was chosen.
        weights: Weights of a blend's heads, for each seed; None where there is one.
        temperatures: EXPR: temperature of each seed's correction; None where there is
            no correction.
        offsets: EXPR: offsets of the classes' log-probabilities in each seed's
            correction; None where there is no correction.
        confidences: EXPR: confidence of each seed over which the extractor is trusted;
            None where it never is.
        frame_rates: The rule of each seed for the frames to embed; None where all are
            embedded.
        by: What it was scored by on dev: frames, or videos as wholes.
        short_thresholds: AU: thresholds for means over ``postprocess.seconds.SHORT_S``,
            by which predictions of videos are smoothed; None where none were chosen.
        certainty: How probabilities are brought to how often they come true, by what
            the scores are of; empty where nothing was fitted.
        set_level: Share of the frames whose set of classes is to hold the right one;
            0 where there are no sets.
    """

    on: str | None
    reason: str
    smoothings: "tuple[Smoothing, ...]"
    thresholds: Float[np.ndarray, "seeds units"] | None
    raw_thresholds: Float[np.ndarray, "seeds units"] | None
    dev_scores: tuple[float, ...] = ()
    weights: Float[np.ndarray, "seeds heads"] | None = None
    temperatures: Float[np.ndarray, " seeds"] | None = None
    offsets: Float[np.ndarray, "seeds classes"] | None = None
    confidences: Float[np.ndarray, " seeds"] | None = None
    frame_rates: "tuple[RateChoice, ...] | None" = None
    by: Literal["frame", "video"] = "frame"
    short_thresholds: Float[np.ndarray, "seeds units"] | None = None
    certainty: Mapping[Scored, Certainty] = dataclasses.field(default_factory=dict)
    set_level: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """The selection in the form that ``head.json`` keeps."""
        stored: dict[str, Any] = {
            "chosen_on": self.on,
            "reason": self.reason,
            "smoothing": [
                {"mode": mode, "half_width_frames": half}
                for mode, half in self.smoothings
            ],
            "dev_scores": list(self.dev_scores),
            "frame_rates": None,
        }
        if self.frame_rates is not None:
            stored["frame_rates"] = [choice.to_dict() for choice in self.frame_rates]
        if self.by != "frame":
            stored["chosen_by"] = self.by
        if self.short_thresholds is not None:
            stored["short_thresholds"] = _listed(self.short_thresholds)
        if self.certainty:
            fitted = {name: one.to_dict() for name, one in self.certainty.items()}
            stored["certainty"] = fitted
        if self.set_level:
            stored["set_level"] = self.set_level
        return stored | {name: _listed(getattr(self, name)) for name in _ARRAYS}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "Selection":
        """The inverse of :meth:`to_dict`.

        Raises:
            ValueError: If a name is missing.
        """
        needed = ("chosen_on", "reason", "smoothing", "dev_scores", "frame_rates")
        if missing := [name for name in (*needed, *_ARRAYS) if name not in stored]:
            raise ValueError(
                f"the card's selection lacks {', '.join(missing)}; expected what this "
                "version writes: take selection out of the card, and it is chosen anew"
            )
        return cls(
            on=stored["chosen_on"],
            reason=stored["reason"],
            smoothings=tuple(
                (one["mode"], one["half_width_frames"]) for one in stored["smoothing"]
            ),
            dev_scores=tuple(stored["dev_scores"]),
            frame_rates=_rates(stored["frame_rates"]),
            by=stored.get("chosen_by", "frame"),
            short_thresholds=_array(stored.get("short_thresholds")),
            certainty={
                name: Certainty.from_dict(one)
                for name, one in stored.get("certainty", {}).items()
            },
            set_level=stored.get("set_level", 0.0),
            **{name: _array(stored[name]) for name in _ARRAYS},
        )


_ARRAYS = (
    "thresholds",
    "raw_thresholds",
    "weights",
    "temperatures",
    "offsets",
    "confidences",
)


def fixed_selection(
    task: Task, num_seeds: int, reason: str, num_heads: int = 1
) -> Selection:
    """The task's fixed smoothing, thresholds of 0.5 and equal weights, and why."""
    limits = weights = None
    if task.kind == "multilabel":
        limits = np.full((num_seeds, task.num_outputs), 0.5, np.float32)
    if num_heads > 1:
        weights = np.full((num_seeds, num_heads), 1 / num_heads, np.float32)
    smoothings = (task.fixed_smoothing,) * num_seeds
    return Selection(None, reason, smoothings, limits, limits, weights=weights)


def best_seed(selection: Selection, dev_scores: Sequence[float] | None) -> int:
    """Index of the seed that is best on dev; the first where there is no dev.

    Args:
        selection: What was chosen, with its scores on dev.
        dev_scores: Scores of training on dev, for a selection without; None: no dev.
    """
    return int(np.argmax(selection.dev_scores or dev_scores or [0.0]))


def _listed(array: Float[np.ndarray, "..."] | None) -> Any:
    return None if array is None else shortest_digits(array).tolist()


def _rates(stored: Any) -> "tuple[RateChoice, ...] | None":
    if stored is None:
        return None
    from avemo_jax.postprocess.frame_rate.comparison import RateChoice  # loads JAX

    return tuple(map(RateChoice.from_dict, stored))


def _array(values: Any) -> Float[np.ndarray, "..."] | None:
    return None if values is None else np.asarray(values, np.float32)
