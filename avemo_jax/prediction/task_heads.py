"""Trained models of one task, as one."""

import dataclasses
import json

from avemo_jax.models.blend import Model
from avemo_jax.models.card import combined
from avemo_jax.models.certainty import Certainty, Scored
from avemo_jax.models.selection import Selection
from avemo_jax.prediction.smoothing_choice import Smooth
from avemo_jax.tasks import Task


@dataclasses.dataclass(frozen=True, eq=False)
class TaskHeads:
    """Trained models of one task, whose scores are averaged.

    Attributes:
        name: What the user called them.
        task: The task.
        models: Heads or blends: one, or those of all folds.
        selections: What was chosen for each model.
        silent: Models in their place where there is no sound; none: the models score
            without sound as they were trained to.
        is_silenced: Whether they stand in the place of models that hear, since no
            sound is used.
    """

    name: str
    task: Task
    models: tuple[Model, ...]
    selections: tuple[Selection, ...]
    silent: "TaskHeads | None" = None
    is_silenced: bool = False

    @property
    def num_seeds(self) -> int:
        """How many scores are averaged."""
        return sum(len(one.smoothings) for one in self.selections)

    def certainty(self, smooth: Smooth) -> Certainty | None:
        """What brings the averaged probabilities to how often they come true.

        Args:
            smooth: How the scores are smoothed, which it is fitted for, or nearly.

        Returns:
            None where it was not fitted for one of the models, or others stand in
            their place where there is no sound.
        """
        if self.silent is not None:
            return None
        found = []
        for selection in self.selections:
            kind: Scored = "short"
            if smooth == "as-trained":
                kind = "mean" if len(selection.smoothings) > 1 else "frames"
            if kind not in selection.certainty:
                return None
            found.append(selection.certainty[kind])
        return found[0] if len(found) == 1 else Certainty.of_several(found)

    @property
    def set_level(self) -> float:
        """Share of the frames whose set is to hold the right class; 0: no sets."""
        levels = {one.set_level for one in self.selections}
        return levels.pop() if len(levels) == 1 and self.silent is None else 0.0

    @property
    def features(self) -> tuple[str, ...]:
        """Full names of the feature sets of all heads, each once."""
        return tuple(
            dict.fromkeys(name for model in self.models for name in model.features)
        )

    @property
    def fingerprint(self) -> str:
        """Digest of the heads and of what was chosen for them."""
        chosen = [json.dumps(one.to_dict(), sort_keys=True) for one in self.selections]
        own = [model.fingerprint for model in self.models]
        options = [repr(model.options) for model in self.models]
        more = [] if self.silent is None else [self.silent.fingerprint]
        return combined([*own, *chosen, *options, *more])
