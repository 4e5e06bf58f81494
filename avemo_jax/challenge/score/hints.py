"""A likely mistake that scores show: the outputs are in another order."""

import dataclasses

import numpy as np
from jaxtyping import Bool

from avemo_jax.challenge.score.matching import Matched
from avemo_jax.challenge.score.truth import Truth
from avemo_jax.data.predictions.frames import FramePredictions
from avemo_jax.metrics.numpy_states import video_states
from avemo_jax.tasks import EXPR, VA

# Orders of the eight classes in other programs; "Other" stands for their contempt.
ORDERS = {
    "AffectNet's by alphabet": (
        "Anger",
        "Other",
        "Disgust",
        "Fear",
        "Happiness",
        "Neutral",
        "Sadness",
        "Surprise",
    ),
    "AffectNet's by number": (
        "Neutral",
        "Happiness",
        "Sadness",
        "Surprise",
        "Fear",
        "Disgust",
        "Anger",
        "Other",
    ),
    "the alphabet's": tuple(sorted(EXPR.columns)),
}
# By so much a score in another order must be larger to count as a sign.
_MORE = 0.1


@dataclasses.dataclass(frozen=True)
class OutputOrder:
    """An order of the outputs in which a file scores far better.

    Attributes:
        name: Name of the order, for people.
        columns: The outputs in this order, for ``--columns``.
        score: The file's score in this order.
        as_is: The file's score in the order in which it was read.
    """

    name: str
    columns: tuple[str, ...]
    score: float
    as_is: float

    def __str__(self) -> str:
        return (
            f"the outputs seem to be in {self.name} order: {self.score:.4f} in it, "
            f"{self.as_is:.4f} as read; if they are, write them in the order of the "
            f"task, or pass --columns {','.join(self.columns)} for scores"
        )


def better_order(
    truth: Truth,
    found: FramePredictions,
    matched: Matched,
    mask: Bool[np.ndarray, " frames"],
) -> OutputOrder | None:
    """The order in which a file that names no outputs scores far better, or None.

    Args:
        truth: The annotations.
        found: The predictions.
        matched: The predictions side by side with the annotations.
        mask: Which frames count.
    """
    if found.named or not mask.any():
        return None
    tried: dict[str, tuple[tuple[str, ...], np.ndarray]] = {}
    if truth.task is VA:
        swapped = matched.predicted[:, ::-1]
        tried["the other"] = (("arousal", "valence"), swapped)
    elif truth.task is EXPR:
        tried = {
            name: (
                order,
                np.array([EXPR.columns.index(c) for c in order])[matched.predicted],
            )
            for name, order in ORDERS.items()
        }
    else:
        return None

    def score(predicted: np.ndarray) -> float:
        states = video_states(truth.task, predicted, truth.labels, mask)
        return float(states.together()[truth.task.criterion])

    as_is = score(matched.predicted)
    orders = [OutputOrder(n, c, score(p), as_is) for n, (c, p) in tried.items()]
    best = max(orders, key=lambda order: order.score)
    return best if best.score > as_is + _MORE else None
