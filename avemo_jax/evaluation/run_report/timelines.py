"""Labels and predictions over the time of one video, a lane for each output.

Drawings are stretched to the page's width, so that letters keep their size: these are
HTML beside them.
"""

from collections.abc import Callable, Iterable

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from avemo_jax.evaluation.run_report.elements import Html, joined, legend, shown
from avemo_jax.evaluation.run_report.frames import ReportFrames
from avemo_jax.evaluation.run_report.svg import ticks

_UNITS = 1000  # of a lane's width
_BINS = 400  # of a curve, each with its least and greatest value
_MOST_LANES = 16


def timeline(frames: ReportFrames, video: int) -> Html:
    """Labels and predictions of one video.

    Args:
        frames: A split with labels.
        video: Index of the video.
    """
    part = frames.frames_of(video)
    count = part.stop - part.start
    lanes, marks, note = _LANES[frames.task.kind](frames, part)
    if frames.filled[part].any():
        lanes = [*lanes, _lane("no features", _runs(frames.filled[part], "gap"), "low")]
        marks = {**marks, "gap": "no features of its own: scores are filled in"}
    name = f"Time line of {frames.videos[video]}: labels and predictions by frame"
    return joined(
        (
            f'<div class="lanes" role="img" aria-label="{shown(name)}">',
            *lanes,
            _axis(count),
            "</div>",
            legend(marks),
            f'<p class="muted small">{shown(note)}</p>' if note else "",
        )
    )


_Lanes = tuple[list[Html], dict[str, str], str]


def _of_classes(frames: ReportFrames, part: slice) -> _Lanes:
    assert frames.labels is not None
    labels, decided = frames.labels[part], frames.decided[part]
    times = np.bincount(labels[labels >= 0], minlength=frames.task.num_outputs)
    times = times + np.bincount(decided, minlength=frames.task.num_outputs)
    lanes, used, note = [], np.flatnonzero(times), ""
    if len(used) > _MOST_LANES:
        used = np.sort(np.argsort(-times, kind="stable")[:_MOST_LANES])
        note = f"The {_MOST_LANES} most frequent classes of this video. "
    for c in used:
        drawn = _runs(labels == c, "label") + _runs(decided == c, "decided", 6.5)
        lanes.append(_lane(frames.task.columns[c], drawn, "mid"))
    lacking = [n for n, t in zip(frames.task.columns, times, strict=True) if not t]
    if lacking and len(lacking) <= _MOST_LANES:
        note += f"Neither labelled nor predicted: {', '.join(lacking)}."
    marks = {"label": "label", "decided": "prediction"}
    return lanes, marks, note


def _of_units(frames: ReportFrames, part: slice) -> _Lanes:
    assert frames.labels is not None
    assert frames.thresholds is not None
    labels, scores = frames.labels[part], frames.scores[part]
    lanes = []
    for u, name in list(enumerate(frames.task.columns))[:_MOST_LANES]:
        limit = 20 * (1 - float(frames.thresholds[u]))
        drawn = (
            _runs(labels[:, u] == 1, "label")
            + f'<path class="limit" d="M0 {limit:.1f}H{_UNITS}"/>'
            + _curve(scores[:, u], (0.0, 1.0), "decided")
        )
        lanes.append(_lane(name, drawn, "mid"))
    marks = {
        "label": "labelled as active",
        "decided": "probability, from 0 below to 1 above",
        "limit": "threshold",
    }
    return lanes, marks, _first_of(frames)


def _of_values(frames: ReportFrames, part: slice) -> _Lanes:
    assert frames.labels is not None
    task = frames.task
    labels, scores = frames.labels[part], frames.decided[part]
    low, high = task.value_range
    lanes = []
    for v, name in list(enumerate(task.columns))[:_MOST_LANES]:
        middle = f'<path class="limit" d="M0 10H{_UNITS}"/>'
        drawn = (
            middle
            + _curve(labels[:, v], (-1.0, 1.0), "truth")
            + _curve(scores[:, v], (-1.0, 1.0), "decided")
        )
        lanes.append(_lane(name, drawn, "high", f"{low:g} to {high:g}"))
    marks = {"truth": "label", "decided": "prediction"}
    return lanes, marks, _first_of(frames)


_LANES: dict[str, Callable[[ReportFrames, slice], _Lanes]] = {
    "multiclass": _of_classes,
    "multilabel": _of_units,
    "regression": _of_values,
}


def _first_of(frames: ReportFrames) -> str:
    count = frames.task.num_outputs
    if count <= _MOST_LANES:
        return ""
    return f"The first {_MOST_LANES} of {count} outputs."


def _lane(name: str, drawn: str, height: str, beside: str = "") -> Html:
    more = f'<span class="muted"> {shown(beside)}</span>' if beside else ""
    return Html(
        f'<span class="lane-name">{shown(name)}{more}</span>'
        f'<svg class="lane {height}" viewBox="0 0 {_UNITS} 20" '
        f'preserveAspectRatio="none">{drawn}</svg>'
    )


def _axis(count: int) -> Html:
    """Numbers of frames below the lanes."""
    at = [1.0, *(t for t in ticks((1, count), 5) if t > 0.06 * count)]
    marks = (
        f'<span style="left:{100 * (t - 1) / max(count - 1, 1):.2f}%">{t:,.0f}</span>'
        for t in at
        if t < 0.85 * count
    )
    last = '<span style="left:100%">frame</span>'
    return Html(f'<span></span><span class="time-axis">{"".join(marks)}{last}</span>')


def _runs(where: Bool[np.ndarray, " frames"], kind: str, inset: float = 1.0) -> str:
    """Rectangles over the frames in which something holds, as one path.

    Args:
        where: True in these frames.
        kind: Class of the path.
        inset: Distance from the lane's upper and lower edge, of 20.
    """
    scale = _UNITS / len(where)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], where.astype(np.int8), [0]])))
    pairs: list[list[float]] = []
    for start, stop in edges.reshape(-1, 2) * scale:
        if pairs and start - pairs[-1][1] < 0.5 and stop - pairs[-1][0] < 1:
            pairs[-1][1] = stop  # too near to be seen apart
        else:
            pairs.append([start, stop])
    tall = 20 - 2 * inset
    path = "".join(
        f"M{start:.1f} {inset:g}h{max(stop - start, 0.8):.1f}v{tall:g}H{start:.1f}z"
        for start, stop in pairs
    )
    return f'<path class="{kind}" d="{path}"/>' if path else ""


def _curve(
    values: Shaped[np.ndarray, " frames"], bounds: tuple[float, float], kind: str
) -> str:
    """A line through the values, of long videos through the ends of each bin."""
    low, high = bounds
    known, apart = np.flatnonzero(np.isfinite(values)), 1.0
    if len(known) > 2 * _BINS:
        known = np.unique(np.concatenate(list(_extremes(values, known))))
        apart = 2 * len(values) / _BINS  # within two bins
    gaps = np.flatnonzero(np.diff(known) > apart)
    xs = (known + 0.5) * _UNITS / len(values)
    ys = 19 - 18 * (values[known].clip(low, high) - low) / (high - low)
    pieces = []
    for piece in np.split(np.arange(len(known)), gaps + 1):
        points = [f"{xs[i]:.1f} {ys[i]:.1f}" for i in piece]
        if points:
            pieces.append(f"M{'L'.join(points)}")
    return f'<path class="curve {kind}" d="{"".join(pieces)}"/>' if pieces else ""


def _extremes(
    values: Float[np.ndarray, " frames"], known: Int[np.ndarray, " some"]
) -> Iterable[Int[np.ndarray, " ends"]]:
    """Frames with the least and the greatest value of each bin."""
    for bin_of in np.array_split(known, _BINS):
        own = values[bin_of]
        yield bin_of[[int(own.argmin()), int(own.argmax())]]
