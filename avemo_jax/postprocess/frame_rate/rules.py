"""Rules that look at few frames, and their parameters.

Four families, which all end in scores of every frame:

* "fixed stride": every n-th frame of a video is embedded, those between are
  interpolated, windows see all (``fixed_grid``).
* "grid refinement": a coarse grid, refined where in doubt (``refined_grid``).
* "fixed stride, sliding windows": the original's row. The median of every n-th entry of
  each frame's window, from its left edge. Windows slide, so every frame is embedded.
* "sequential": the original's rule of several strides, EXPR only; likewise.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from avemo_jax.postprocess.frame_rate.sequential import Strides, all_strides

Family = Literal[
    "fixed stride", "grid refinement", "fixed stride, sliding windows", "sequential"
]
FIXED: Family = "fixed stride"
REFINED: Family = "grid refinement"
SLIDING: Family = "fixed stride, sliding windows"
SEQUENTIAL: Family = "sequential"


@dataclasses.dataclass(frozen=True)
class FrameRateRule:
    """One rule with its parameters.

    Attributes:
        family: See the module.
        strides: In frames, coarse to fine; fixed ones have one.
        limits: "grid refinement": confidence from which a frame is sure, one for each
            stride but the last. "sequential": winning score from which a stride's
            decision is taken, likewise. Else empty.
        reach: "grid refinement": frames around one in doubt that get the finer grid;
            None is the window's half width.
        fitted_by: How the limits were found on dev; empty where there are none.
    """

    family: Family
    strides: Strides
    limits: tuple[float, ...] = ()
    reach: int | None = None
    fitted_by: str = ""

    def __post_init__(self) -> None:
        """Raises ValueError unless strides and limits fit the family."""
        all_strides([self.strides])
        several = self.family in (REFINED, SEQUENTIAL)
        if len(self.limits) != len(self.strides) - 1 or (
            not several and len(self.strides) > 1
        ):
            raise ValueError(
                f"rule {self.family!r} with strides {list(self.strides)} and "
                f"{len(self.limits)} limits; expected one limit fewer than strides, "
                "and one stride where it is fixed; take a rule that was fitted"
            )
        if self.reach is not None and self.reach < 0:
            raise ValueError(
                f"reach {self.reach} is negative; expected frames on each side, 0 or "
                "more; pass None for the window's half width"
            )

    def to_dict(self) -> dict[str, Any]:
        """As JSON keeps it."""
        return dataclasses.asdict(self) | {
            "strides": list(self.strides),
            "limits": list(self.limits),
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "FrameRateRule":
        """The inverse of :meth:`to_dict`."""
        names = {field.name for field in dataclasses.fields(cls)}
        if stored.keys() != names:
            raise ValueError(
                f"a rule with the keys {sorted(stored)}; expected {sorted(names)}; "
                "choose the rule anew"
            )
        listed = {name: tuple(stored[name]) for name in ("strides", "limits")}
        return cls(**{**stored, **listed})
