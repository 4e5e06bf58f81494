"""What one field of the configuration is: its default, its range and its words."""

import dataclasses
import math
from collections.abc import Collection
from typing import Any


@dataclasses.dataclass(frozen=True)
class Field:
    """One field of the configuration.

    Attributes:
        name: Dotted name, as in ``--config.NAME=VALUE``.
        default: Value where no recipe says another. None: none, until one is given.
        text: What the field does, with its unit; without a full stop.
        choices: Words that the value may be one of. (): any.
        least: Least number. None: any.
        most: Largest number. None: any.
        below: Number that the value stays below. None: none.
        kind: Type of the value, or of each of several where the default is a tuple.
            None: the default's.
        counts: Whether the field changes what is computed, and not only where it runs
            and how it is shown.
        later: Whether the field came after the first release: at its default it leaves
            the identities of runs, which name folders, as they were without it.
    """

    name: str
    default: Any
    text: str
    choices: Collection[str] = ()
    least: int | float | None = None
    most: int | float | None = None
    below: int | float | None = None
    kind: type | None = None
    counts: bool = True
    later: bool = False

    @property
    def value_type(self) -> type:
        """Type of the value, or of each of several."""
        return self.kind or type(self.default)

    @property
    def several(self) -> bool:
        """Whether the value is a tuple of any length."""
        return isinstance(self.default, tuple)

    @property
    def range(self) -> str:
        """What the value, or each of several, may be, in words; "" for anything."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.value_type not in (int, float):
            return ""
        noun = "a whole number" if self.value_type is int else "a number"
        if self.below is not None:
            return f"{noun} from {self.least} to below {self.below}"
        if self.most is not None:
            return f"{noun} from {self.least} to {self.most}"
        return noun if self.least is None else f"{noun}, {self.least} or more"

    def takes(self, value: Any) -> bool:
        """Whether ``value``, or one of several, is in the field's range."""
        if self.choices:
            return value in self.choices
        if self.value_type not in (int, float):
            return isinstance(value, self.value_type)
        wanted = int if self.value_type is int else int | float
        if isinstance(value, bool) or not isinstance(value, wanted):
            return False
        return (
            math.isfinite(value)
            and (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.below is None or value < self.below)
        )
