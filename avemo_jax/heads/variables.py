"""The arrays of a head."""

from typing import Any

import chex

INPUTS = "inputs"  # in the statistics: {"mean": (dim,), "deviation": (dim,)}


@chex.dataclass(frozen=True, mappable_dataclass=False)
class Variables:
    """What a head computes with; the arrays of several heads lie on a leading axis.

    Attributes:
        params: What is trained: nested dicts of arrays.
        stats: What is not trained: nested dicts of arrays. Running statistics of
            BatchNorm, and under :data:`INPUTS` the mean and deviation of the inputs; {}
            without any.
    """

    params: dict[str, Any]
    stats: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """The two trees by their names, which is how files keep them."""
        return {"params": self.params, "stats": self.stats}
