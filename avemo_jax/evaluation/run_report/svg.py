"""Charts as SVG that stands in a page and needs no script; styles are the page's."""

import dataclasses
import math
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float, Shaped

from avemo_jax.evaluation.run_report.elements import Html, joined, shown

Number = float | int
Range = tuple[Number, Number]
_WIDTH = 360  # pixels, as on a narrow telephone: letters keep their size there


@dataclasses.dataclass(frozen=True)
class Axes:
    """Where the values of a chart are on it.

    Attributes:
        x: Least and greatest value from left to right.
        y: Least and greatest value from below upwards.
        width: Pixels of the whole chart.
        height: Pixels of the whole chart.
        left: Pixels left of the values, for the numbers of the axis.
    """

    x: Range
    y: Range
    width: int = _WIDTH
    height: int = 240
    left: int = 44

    top, right, below = 8, 10, 38

    def at_x(self, value: Number) -> float:
        """Pixels from the left."""
        low, high = self.x
        inner = self.width - self.left - self.right
        return self.left + inner * (value - low) / ((high - low) or 1)

    def at_y(self, value: Number) -> float:
        """Pixels from above."""
        low, high = self.y
        inner = self.height - self.top - self.below
        return self.top + inner * (1 - (value - low) / ((high - low) or 1))


def chart(
    axes: Axes,
    marks: Iterable[str],
    *,
    name: str,
    x: str,
    y: str,
    x_ticks: Sequence[Number] | None = None,
    y_ticks: Sequence[Number] | None = None,
) -> Html:
    """A chart with its axes and what they are called.

    Args:
        axes: The ranges and the size.
        marks: SVG of what is shown, as the functions below make it.
        name: What the chart shows, for readers who hear it.
        x: Title of the axis below; "" for none.
        y: Title of the axis at the left; "" for none.
        x_ticks: Values with a number below; None: round ones.
        y_ticks: Values with a line and a number at the left; None: round ones.
    """
    low, high = axes.at_y(axes.y[0]), axes.at_y(axes.y[1])
    left, right = axes.at_x(axes.x[0]), axes.at_x(axes.x[1])
    parts = []
    for value in ticks(axes.y) if y_ticks is None else y_ticks:
        at = _pixels(axes.at_y(value))
        parts.append(f'<path class="grid" d="M{_pixels(left)} {at}H{_pixels(right)}"/>')
        parts.append(_text(left - 5, axes.at_y(value) + 4, _plain(value), "end"))
    for value in ticks(axes.x) if x_ticks is None else x_ticks:
        parts.append(_text(axes.at_x(value), low + 15, _plain(value), "middle"))
    parts.append(
        f'<path class="axis" d="M{_pixels(left)} {_pixels(low)}H{_pixels(right)}"/>'
    )
    parts += marks
    if x:
        parts.append(_text((left + right) / 2, axes.height - 5, x, "middle", "title"))
    if y:
        middle = (low + high) / 2
        turned = f'transform="rotate(-90 11 {_pixels(middle)})"'
        parts.append(_text(11, middle, y, "middle", "title", turned))
    return Html(
        f'<svg class="chart" viewBox="0 0 {axes.width} {axes.height}" role="img" '
        f'aria-label="{shown(name)}">{joined(parts)}</svg>'
    )


def line(
    axes: Axes,
    xs: Sequence[Number] | Shaped[np.ndarray, " points"],
    ys: Sequence[Number] | Float[np.ndarray, " points"],
    kind: str,
    words: str = "",
) -> Html:
    """A line through points; those that are NaN break it.

    Args:
        axes: Where the values are.
        xs: Values from left to right.
        ys: Their heights.
        kind: Classes of the line.
        words: What a pointer over the line is told; "" for nothing.
    """
    path, pen = [], "M"
    for x, y in zip(xs, ys, strict=True):
        if not math.isfinite(y):
            pen = "M"
            continue
        path.append(f"{pen}{_pixels(axes.at_x(x))} {_pixels(axes.at_y(y))}")
        pen = "L"
    return Html(f'<path class="{kind}" d="{"".join(path)}">{_told(words)}</path>')


def dot(
    axes: Axes, x: Number, y: Number, kind: str, words: str, size: float = 3.5
) -> Html:
    """A point.

    Args:
        axes: Where the values are.
        x: Value from left to right.
        y: Its height.
        kind: Classes of the point.
        words: What a pointer over it is told.
        size: Radius in pixels.
    """
    place = f'cx="{_pixels(axes.at_x(x))}" cy="{_pixels(axes.at_y(y))}"'
    return Html(f'<circle class="{kind}" {place} r="{size:g}">{_told(words)}</circle>')


def box(
    axes: Axes, x: Range, y: Range, kind: str, words: str = "", opacity: float = 1.0
) -> Html:
    """A filled rectangle.

    Args:
        axes: Where the values are.
        x: Its values from left to right.
        y: Its lower and upper height.
        kind: Classes of the rectangle.
        words: What a pointer over it is told; "" for nothing.
        opacity: How much of what is behind is covered, from 0 to 1.
    """
    left, right = axes.at_x(x[0]), axes.at_x(x[1])
    upper, lower = axes.at_y(y[1]), axes.at_y(y[0])
    faint = "" if opacity >= 1 else f' opacity="{opacity:.2f}"'
    return Html(
        f'<rect class="{kind}" x="{_pixels(left)}" y="{_pixels(upper)}" '
        f'width="{_pixels(max(right - left, 0))}" '
        f'height="{_pixels(max(lower - upper, 0))}"{faint}>{_told(words)}</rect>'
    )


def ticks(values: Range, most: int = 6) -> list[float]:
    """Round numbers within a range, at most about so many.

    Args:
        values: The range.
        most: How many there may be.
    """
    low, high = values
    span = (high - low) or 1.0
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(power * one for one in (1, 2, 5, 10) if span / (power * one) <= most)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


def whole_ticks(last: int, most: int = 8) -> list[float]:
    """Whole numbers from 1 to ``last``, at most about so many."""
    step = max(1, math.ceil(last / most))
    return [float(i) for i in range(step if step > 1 else 1, last + 1, step)]


def _text(
    x: Number, y: Number, words: str, anchor: str, kind: str = "tick", more: str = ""
) -> str:
    place = f'x="{_pixels(x)}" y="{_pixels(y)}" text-anchor="{anchor}"'
    return f'<text class="{kind}" {place} {more}>{shown(words)}</text>'


def _told(words: str) -> str:
    return f"<title>{shown(words)}</title>" if words else ""


def _plain(value: Number) -> str:
    return f"{value:g}"


def _pixels(value: Number) -> str:
    return f"{value:.1f}".removesuffix(".0")
