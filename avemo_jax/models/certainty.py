"""What makes probabilities say how often they come true. Loads no JAX."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from avemo_jax.data.predictions.threshold_file import shortest_digits
from avemo_jax.postprocess.scaling import SLOPES, scale_classes, scale_units

# Scores of frames by each seed; of whole videos by each seed; of frames, their mean
# over seeds; and that mean of scores that are smoothed as predictions of videos are.
Scored = Literal["frames", "videos", "mean", "short"]

_ARRAYS = ("slopes", "intercepts", "set_limits")


@dataclasses.dataclass(frozen=True)
class Certainty:
    """What was fitted on dev to the probabilities of one kind of scores.

    Attributes:
        slopes: Slope of each seed's log-probabilities, which is 1 / temperature;
            for units of each unit's logit.
        intercepts: Units: added to the logits after that; None for classes.
        num_videos: Number of videos that it was fitted to.
        set_limits: Classes: least probability of a class of a set, for each seed;
            None where no sets were asked for.
    """

    slopes: Float[np.ndarray, "seeds columns"]
    intercepts: Float[np.ndarray, "seeds units"] | None
    num_videos: int
    set_limits: Float[np.ndarray, " seeds"] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The form that ``head.json`` keeps; what is None is left out."""
        stored: dict[str, Any] = {"num_videos": self.num_videos}
        for name in _ARRAYS:
            if (array := getattr(self, name)) is not None:
                stored[name] = shortest_digits(array).tolist()
        return stored

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "Certainty":
        """The inverse of :meth:`to_dict`.

        Raises:
            ValueError: If a name is missing.
        """
        if missing := [n for n in ("slopes", "num_videos") if n not in stored]:
            raise ValueError(
                f"certainty in the card's selection lacks {', '.join(missing)}; "
                "expected what this version writes: take certainty out of the card, "
                "and probabilities stay as they are"
            )
        arrays: dict[str, Any] = {
            name: np.asarray(stored[name], np.float32)
            for name in _ARRAYS
            if name in stored
        }
        return cls(num_videos=stored["num_videos"], **{"intercepts": None, **arrays})

    @classmethod
    def of_several(cls, parts: Sequence["Certainty"]) -> "Certainty":
        """What stands for the mean of models that were each fitted on videos of theirs.

        Temperatures are averaged by their logarithms, intercepts and limits as they
        are. Nothing is fitted to the mean itself: no video is new to all of them.

        Args:
            parts: One seed's of each model.
        """
        limits = [one.set_limits for one in parts if one.set_limits is not None]
        shifts = [one.intercepts for one in parts if one.intercepts is not None]
        return cls(
            np.exp(np.mean([np.log(one.slopes) for one in parts], axis=0)),
            np.mean(shifts, axis=0) if shifts else None,
            sum(one.num_videos for one in parts),
            np.mean(limits, axis=0) if len(limits) == len(parts) else None,
        )

    @property
    def at_bound(self) -> bool:
        """Whether a slope is at an end of its range, so that the fit says little."""
        low, high = map(np.float32, SLOPES)
        return bool(((self.slopes <= low) | (self.slopes >= high)).any())

    @property
    def inverse(self) -> "Certainty":
        """What takes :meth:`scaled` back, but for probabilities all but 0 or 1."""
        intercepts = self.intercepts
        if intercepts is not None:
            intercepts = -intercepts / self.slopes
        return dataclasses.replace(self, slopes=1 / self.slopes, intercepts=intercepts)

    def scaled(
        self,
        scores: Float[np.ndarray, "*axes outputs"],
        seed: int,
        thresholds: Float[np.ndarray, " units"] | None = None,
    ) -> tuple[Float[np.ndarray, "*axes outputs"], Float[np.ndarray, " units"] | None]:
        """Scores of one seed that decide as before, and thresholds that fit them.

        Args:
            scores: Probabilities.
            seed: Index of the seed that they are by.
            thresholds: Threshold of each unit; None: 0.5, and for classes.

        Returns:
            The probabilities; and for units the thresholds, None for classes.
        """
        if self.intercepts is None:
            return scale_classes(scores, float(self.slopes[seed, 0])), None
        if thresholds is None:
            thresholds = np.full(scores.shape[-1], 0.5, np.float32)
        slopes, intercepts = self.slopes[seed], self.intercepts[seed]
        return scale_units(scores, slopes, intercepts, thresholds)
