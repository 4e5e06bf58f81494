"""The arrays of a head."""

from typing import Any

import chex


@chex.dataclass(frozen=True, mappable_dataclass=False)
class Variables:
    """What a head computes with; the arrays of several heads lie on a leading axis.

    Attributes:
        params: What is trained: nested dicts of arrays.
        stats: Running statistics of BatchNorm: nested dicts of arrays; {} without any.
    """

    params: dict[str, Any]
    stats: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """The two trees by their names, which is how files keep them."""
        return {"params": self.params, "stats": self.stats}
