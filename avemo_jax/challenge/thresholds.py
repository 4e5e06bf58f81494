"""Thresholds of the action units from the value of a flag."""

import pathlib
import re

import numpy as np
from jaxtyping import Float

from avemo_jax.data.predictions.threshold_file import shortest_digits
from avemo_jax.models.card import read_card
from avemo_jax.tasks import AU

_OTHER_NUMBER = re.compile(r"[+-]?[0-9.]+(e[+-]?[0-9]+)?|nan|inf")
_NUMBER = re.compile(r"0(\.[0-9]*)?|\.[0-9]+|1(\.0*)?")


def thresholds_of_flag(
    flag: str, text: str | None
) -> Float[np.ndarray, " units"] | None:
    """The threshold of each action unit that a flag names.

    Args:
        flag: The name of the flag, for errors.
        text: A number from 0 to 1, for all units, or the path of a ``head.json``, whose
            best seed's are taken; None: the flag is not given, and the result is None.

    Raises:
        ValueError: If ``text`` is neither, or the head has no thresholds.
    """
    if text is None:
        return None
    if _NUMBER.fullmatch(text):
        return np.full(AU.num_outputs, float(text))
    if _OTHER_NUMBER.fullmatch(text):
        raise ValueError(
            f"{flag} {text}; expected a number from 0 to 1, as probabilities are: "
            "correct the flag"
        )
    try:
        card = read_card(pathlib.Path(text))
        if card.selection is None or card.selection.thresholds is None:
            raise ValueError("no thresholds were chosen")
        limits = card.selection.thresholds[card.seeds.index(card.best_seed)]
        # The decimal numbers in the card, with which rounded scores are compared.
        return shortest_digits(limits).reshape(AU.num_outputs)
    except (ValueError, IndexError) as error:
        raise ValueError(
            f"{flag} {text}: {type(error).__name__}: {error}; expected a number "
            "from 0 to 1, or the head.json of an evaluated AU head "
            "(RUN/best_model/head.json): "
            "correct the flag, or leave it out"
        ) from error
