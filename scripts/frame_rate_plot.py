"""The plot of a score against the share of frames that are embedded."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from avemo_jax.evaluation.plot_style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    new_figure,
    save_figure,
)
from avemo_jax.postprocess.frame_rate.comparison import (
    TOLERANCE,
    RateChoice,
    RatePoint,
    upper_envelope,
)
from avemo_jax.postprocess.frame_rate.rules import (
    FIXED,
    REFINED,
    SEQUENTIAL,
    SLIDING,
    Family,
)

# Colour and marker of the rules whose windows slide.
_STYLES = {SEQUENTIAL: (GREEN, "^"), SLIDING: ("black", "s")}
_TICKS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


def plot_frame_rates(
    path: str | pathlib.Path,
    points_by_family: Mapping[Family, Sequence[RatePoint]],
    title: str,
    *,
    metric: str,
    full_score: float,
    chosen: RateChoice | None = None,
) -> None:
    """A score against the share of frames embedded, on a logarithmic axis.

    Fixed strides and the upper envelope of the grid refinement are lines. Rules with
    sliding windows are drawn twice: filled at their share of distinct frames, hollow at
    their share of window entries.

    Args:
        path: The PNG file to write.
        points_by_family: One split's points, from ``comparison.by_family``.
        title: Names the model, its features, the data and the split.
        metric: What the axis calls the score.
        full_score: Score with all frames.
        chosen: The rule chosen on dev, marked where the points have it; None marks
            none.

    Raises:
        ValueError: If there is no point.
    """
    points = [p for family in points_by_family.values() for p in family]
    if not points:
        raise ValueError(
            "no point to plot; expected one or more; evaluate some rules first"
        )
    figure = new_figure(8.0, 5.2)
    panel = figure.subplots()
    panel.axhspan(
        full_score - TOLERANCE,
        full_score,
        color=GREY,
        alpha=0.45,
        lw=0,
        label=f"up to {TOLERANCE} under the score of all frames",
    )
    for family, (colour, marker) in _STYLES.items():
        _draw_sliding(panel, family, points_by_family.get(family, ()), colour, marker)
    _draw_grids(panel, points_by_family)
    _mark(panel, points, chosen)
    _logarithmic(panel, min(min(p.share, p.window_share) for p in points))
    panel.set(xlabel="share of frames embedded", ylabel=metric)
    figure.legend(loc="outside lower center", ncols=2, fontsize=8)
    save_figure(figure, path, title)


def _logarithmic(panel: Any, lowest: float) -> None:
    """A logarithmic axis of shares from about ``lowest`` to 1."""
    panel.set_xscale("log")
    ticks = [tick for tick in _TICKS if tick >= lowest / 2]
    panel.set_xticks(ticks, [f"{tick:.3g}" for tick in ticks])
    panel.minorticks_off()


def _draw_grids(
    panel: Any, points_by_family: Mapping[Family, Sequence[RatePoint]]
) -> None:
    """Lines of the families that embed fewer frames."""
    fixed = sorted(points_by_family.get(FIXED, ()), key=lambda p: p.share)
    _draw(
        panel,
        fixed,
        "o-",
        color=BLUE,
        ms=5,
        label=f"{FIXED}, with its number of frames",
    )
    for point in fixed:
        panel.annotate(
            str(point.rule.strides[0]),
            (point.share, point.score),
            xytext=(4, -11),
            textcoords="offset points",
            color=BLUE,
            fontsize=8,
        )
    refined = points_by_family.get(REFINED, ())
    _draw(panel, refined, ".", color=ORANGE, alpha=0.3, ms=5, label="")
    envelope = upper_envelope(refined)
    _draw(
        panel, envelope, "D--", color=ORANGE, ms=4, label="best of the grid refinements"
    )


def _draw(panel: Any, points: Sequence[RatePoint], style: str, **how: Any) -> None:
    """Scores against shares; nothing, and no legend, where there is no point."""
    if points:
        panel.plot([p.share for p in points], [p.score for p in points], style, **how)


def _draw_sliding(
    panel: Any, family: str, points: Sequence[RatePoint], colour: str, marker: str
) -> None:
    """Scores against both costs of rules whose windows slide."""
    if not points:
        return
    scores = [p.score for p in points]
    costs = (
        ([p.share for p in points], colour, "share of distinct frames"),
        ([p.window_share for p in points], "none", "share of window entries"),
    )
    for shares, face, label in costs:
        panel.plot(
            shares,
            scores,
            marker,
            color=colour,
            markerfacecolor=face,
            alpha=0.7,
            ms=5,
            label=f"{family}: {label}",
        )


def _mark(panel: Any, points: Sequence[RatePoint], chosen: RateChoice | None) -> None:
    """A star on the point of the chosen rule."""
    if chosen is None:
        return
    for point in points:
        if point.rule == chosen.rule:
            strides = ", then ".join(map(str, chosen.rule.strides))
            label = f"chosen on dev: {chosen.rule.family}, every {strides} frames"
            if chosen.rule.strides == (1,):
                label = "chosen on dev: all frames"
            panel.plot(point.share, point.score, "k*", ms=13, label=label)
