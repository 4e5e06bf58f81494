"""Rules that look at few frames, and their parameters.

Four families, which all end in scores of every frame:

* "fixed stride": every n-th frame of a video is embedded, those between are
  interpolated, windows see all (``fixed_grid``).
* "grid refinement": a coarse grid, refined where in doubt (``refined_grid``).
* "fixed stride, sliding windows": the original's row. The median of every n-th entry of
  each frame's window, from its left edge. Windows slide, so every frame is embedded.
* "sequential": the original's rule of several strides, EXPR only. Windows slide too.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from avemo_jax.postprocess.frame_rate.sequential import (
    REPORTED_LISTS,
    Strides,
    all_strides,
)
from avemo_jax.postprocess.names import RuleName

Family = Literal[
    "fixed stride", "grid refinement", "fixed stride, sliding windows", "sequential"
]
FIXED: Family = "fixed stride"
REFINED: Family = "grid refinement"
SLIDING: Family = "fixed stride, sliding windows"
SEQUENTIAL: Family = "sequential"

# What a configuration asks for, and the family that it is chosen from.
FAMILIES: dict[RuleName, Family] = {
    "stride": FIXED,
    "sliding": SLIDING,
    "sequential": SEQUENTIAL,
    "refine": REFINED,
}
_OF_ONE_STRIDE = ("stride", "sliding")
FIXED_STRIDES = (1, 2, 5, 10, 25, 50, 100, 200)
REFINED_STRIDES: tuple[Strides, ...] = (
    (200, 50),
    (100, 25),
    (50, 10),
    (25, 5),
    (10, 2),
    (5, 1),
    (200, 50, 10),
    (100, 25, 5),
    (50, 10, 2),
    (25, 5, 1),
)
SEQUENTIAL_STRIDES = tuple(each for each in REPORTED_LISTS if len(each) > 1)


class FrameRate(NamedTuple):
    """What a configuration says of the frames to embed.

    Attributes:
        rule: "all" embeds every frame, "stride" every n-th one; "sliding" takes every
            n-th entry of each window, as the original; "sequential" (EXPR only) and
            "refine" look at few frames first and at more where in doubt.
        stride: Frames from one embedded frame, or entry, to the next. With "stride" and
            "sliding" 0 leaves the choice to dev; with "sequential" and "refine" it is
            the coarsest stride that may be chosen, 0 allows any. Always 0 with "all".
    """

    rule: RuleName = "all"
    stride: int = 0

    @property
    def is_chosen(self) -> bool:
        """Whether there is anything to choose on dev: not with one fixed stride."""
        if self.rule in _OF_ONE_STRIDE:
            return not self.stride
        return self.rule != "all"

    @property
    def takes_medians(self) -> bool:
        """Whether the rule itself takes medians of windows that slide."""
        return self.rule in ("sliding", "sequential")

    @property
    def lists(self) -> tuple[Strides, ...]:
        """The lists of strides to choose from, each from coarse to fine."""
        if self.rule == "all":
            return ((1,),)
        if self.rule in _OF_ONE_STRIDE:
            return tuple(
                (s,) for s in ([self.stride] if self.stride else FIXED_STRIDES)
            )
        lists = REFINED_STRIDES if self.rule == "refine" else SEQUENTIAL_STRIDES
        return tuple(
            each for each in lists if not self.stride or each[0] <= self.stride
        )


ALL = FrameRate()


@dataclasses.dataclass(frozen=True)
class FrameRateRule:
    """One rule with its parameters.

    Attributes:
        family: One of the four families of the module.
        strides: Numbers of frames, coarse to fine; fixed rules have one.
        limits: One for each stride but the last. "grid refinement": confidence from
            which a frame is sure; "sequential": winning score from which a stride's
            decision is taken. Other families have none.
        reach: "grid refinement": frames around one in doubt that get the finer grid;
            None is the half width of the smoothing.
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
        """The rule in the form that JSON keeps."""
        return dataclasses.asdict(self) | {
            "strides": list(self.strides),
            "limits": list(self.limits),
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "FrameRateRule":
        """The inverse of :meth:`to_dict`.

        Raises:
            ValueError: If names are missing or unknown, or the rule cannot be.
        """
        names = {field.name for field in dataclasses.fields(cls)}
        if stored.keys() != names:
            raise ValueError(
                f"a rule with the names {sorted(stored)}; expected {sorted(names)}; "
                "choose the rule anew"
            )
        listed = {name: tuple(stored[name]) for name in ("strides", "limits")}
        return cls(**{**stored, **listed})
