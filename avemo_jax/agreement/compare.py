"""The agreement of two codings, variable by variable, ready for JSON."""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from avemo_jax.agreement.codings import Coding, missing_notes, plain, read_codings
from avemo_jax.agreement.frames import SAMPLE_RATE_HZ, Scene, on_frames, scenes
from avemo_jax.agreement.variables import with_variables
from avemo_jax.data.listing import first_of
from avemo_jax.metrics.agreement import agreement_of
from avemo_jax.metrics.bca import FEW, bca_ends
from avemo_jax.metrics.intervals import NUM_RESAMPLES, SAID, interval_of, said_of
from avemo_jax.metrics.numpy_states import VideoStates, video_states
from avemo_jax.metrics.states import merged
from avemo_jax.runtime.plain_text import is_number
from avemo_jax.tasks import MAX_CLASSES, own_task

Kind = Literal["classes", "unit", "values"]
SCORES = {
    "classes": ("agreement", "kappa"),
    "unit": ("agreement", "kappa", "agreement_present"),
    "values": ("icc", "ccc", "difference"),
}
_STRONGEST = 5.0  # of FACS's intensities, A to E as 1 to 5
_FEWEST_DRAWS = 0.5  # share of draws that must have a score for its interval


@dataclasses.dataclass(frozen=True)
class Options:
    """How codings are compared.

    Attributes:
        mapped: Other names for columns, tiers and labels; empty ones are left out.
        face: The face to compare; None: each by its number.
        fps: Frames per second, where frames have no times, or intervals are compared
            with intervals; None: 25 for these.
        gaps: The label of frames between the intervals of classes; None: they are not
            coded.
        span_s: The seconds that were coded, from the first on and before the second;
            None: all.
        num_resamples: Draws of videos for 95 % intervals; 0 gives none.
        seed: Seed of the draws.
    """

    mapped: Mapping[str, str] = dataclasses.field(default_factory=dict)
    face: int | None = None
    fps: float | None = None
    gaps: str | None = None
    span_s: tuple[float, float] | None = None
    num_resamples: int = NUM_RESAMPLES
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class _Variable:
    """A variable that both codings have.

    Attributes:
        name: Its name, as the first coding has it.
        kind: "classes": one of several; "unit": present or not; "values": numbers.
        labels: Names of the classes; empty for the other kinds.
        value_of: Gives the number that stands for a label of the first and of the
            second coding.
        notes: Remarks for people.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...]
    value_of: tuple[Callable[[str], float], Callable[[str], float]]
    notes: tuple[str, ...] = ()


def compare(
    first: str | os.PathLike[str],
    second: str | os.PathLike[str],
    options: Options = Options(),
) -> dict[str, Any]:
    """How far two codings of the same videos agree.

    Args:
        first: Predictions, or a coding, in any form that ``read_codings`` reads.
        second: A coding to compare it with.
        options: How they are compared.

    Returns:
        ``variables``, for each one ``name``, ``kind``, the numbers of frames and videos
        that both coded, and its scores, with intervals over videos under ``NAME_ci95``,
        of few videos ``NAME_bca95`` too, where there are two or more; videos and
        variables that only one coding has; and ``notes``.

    Raises:
        ValueError: If a file is wrong, or both have no video or no variable in common;
            names file and place.
    """
    mapped = {plain(name): meant for name, meant in options.mapped.items()}
    paths = (pathlib.Path(first), pathlib.Path(second))
    raw = [read_codings(path, mapped) for path in paths]
    codings = [
        with_variables(own, other, mapped)
        for own, other in zip(raw, reversed(raw), strict=True)
    ]
    common, alone = _common(codings, paths)
    found, videos_alone = scenes(
        *codings, face=options.face, fps=options.fps, span_s=options.span_s
    )
    blocks = [_block(name, codings, found, options) for name in common]
    notes = dict.fromkeys(n for own in codings for one in own for n in one.notes)
    for block in blocks:
        notes |= dict.fromkeys(block.pop("notes"))
    if all(one.end_s is not None for own in codings for one in own):
        rate = options.fps or SAMPLE_RATE_HZ
        notes[f"intervals are compared at {rate:g} moments a second"] = None
    return {
        "first": str(first),
        "second": str(second),
        "videos": sorted({scene.video for scene in found}),
        "num_frames": sum(scene.num_frames for scene in found),
        "variables": blocks,
        **alone,
        **videos_alone,
        "notes": list(notes),
    }


def _names(codings: Sequence[Coding]) -> dict[str, str]:
    """Variables of a coding's tables, by the form of ``plain``."""
    return {plain(name): name for one in codings for name in one.columns}


def _common(
    codings: Sequence[Sequence[Coding]], paths: Sequence[pathlib.Path]
) -> tuple[list[str], dict[str, list[str]]]:
    """Variables that both codings have, and those that people alone coded.

    Raises:
        ValueError: If there is none that both have.
    """
    names = [_names(own) for own in codings]
    common = [name for name in names[0] if name in names[1]]
    if not common:
        told = [first_of(list(one.values()), 12) or "nothing" for one in names]
        raise ValueError(
            f"{paths[0]} has {told[0]}; {paths[1]} has {told[1]}; expected a variable "
            "that both have: name one as the other, as --map smiling=AU12"
        )
    alone = {}
    for which, own, one in zip(("first", "second"), codings, names, strict=True):
        people = not any(coding.machine for coding in own)
        only = [one[name] for name in one if name not in common and people]
        alone[f"variables_only_in_{which}"] = only
    return common, alone


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where a label stands first.

    Attributes:
        coding: The table's coding.
        column: Name of the column.
        row: The row of the table.
    """

    coding: Coding
    column: str
    row: int

    def __str__(self) -> str:
        return self.coding.table.where(self.row, self.column)


def _texts(codings: Sequence[Coding], name: str) -> dict[str, _Place]:
    """The different labels of a variable, and the first place of each."""
    found: dict[str, _Place] = {}
    for coding in codings:
        for own, labels in coding.columns.items():
            if plain(own) != name:
                continue
            column = labels()
            index = column.index[coding.row]
            there, first = np.unique(index, return_index=True)
            for i, row in zip(there.tolist(), coding.row[first].tolist(), strict=True):
                if i >= 0:
                    place = _Place(coding, column.name, row)
                    found.setdefault(column.texts[i], place)
    return found


def _variable(
    name: str, codings: Sequence[Sequence[Coding]], gaps: str | None
) -> _Variable:
    """What a variable of both codings is of.

    Raises:
        ValueError: If one has words and the other numbers, or a label is unknown.
    """
    titles = [_names(own)[name] for own in codings]
    texts = [_texts(own, name) for own in codings]
    events = any(name in one.events for own in codings for one in own)
    numbers = [all(map(is_number, one)) for one in texts]
    binary = [set(one) <= {"0", "1"} for one in texts]
    if all(numbers) and (events or any(binary)):
        parts = [_present(*pair) for pair in zip(texts, titles, strict=True)]
        value_of = (parts[0][0], parts[1][0])
        notes = tuple(note for _, note in parts if note)
        return _Variable(titles[0], "unit", (), value_of, notes)
    if all(numbers):
        whole = all(float(t) == round(float(t)) for one in texts for t in one)
        note = (
            f"{titles[0]}: whole numbers are compared as values; if they are codes of "
            "classes, name them: --map 1=NAME"
        )
        notes = (note,) if whole else ()
        return _Variable(titles[0], "values", (), (float, float), notes)
    if any(numbers) and all(texts):
        place = next(iter(texts[numbers.index(True)].items()))
        other = next(iter(texts[numbers.index(False)]))
        raise ValueError(
            f"{place[1]}: {place[0]!r}, a number, where the other coding has words, "
            f"such as {other!r}; expected one kind of labels for {titles[0]}: name the "
            f"classes, as --map {place[0]}=NAME"
        )
    labels = _classes(codings, texts, gaps)
    place_of = {plain(text): float(i) for i, text in enumerate(labels)}

    def number(text: str) -> float:
        return place_of.get(plain(text), np.nan)  # what never occurs has no place

    return _Variable(titles[0], "classes", labels, (number, number))


def _present(
    texts: Mapping[str, _Place], title: str
) -> tuple[Callable[[str], float], str]:
    """Gives 1 for a unit's label that says that it is present; and a remark.

    Args:
        texts: The labels, all numbers.
        title: The variable's name.
    """
    values = [float(text) for text in texts]
    if set(values) <= {0.0, 1.0}:
        return float, ""
    limit = 0.5 if max(values) <= 1 else 1.0
    if max(values) > _STRONGEST or min(values) < 0:
        place = texts[next(t for t in texts if not 0 <= float(t) <= _STRONGEST)]
        raise ValueError(
            f"{place}: {max(values):g} or less than 0 for {title}, which the other "
            "coding has as present or not; expected 0 and 1, a probability, or an "
            "intensity up to 5: correct it"
        )
    note = f"{title}: numbers from {limit:g} on count as present"
    return lambda text: float(float(text) >= limit), note


def _classes(
    codings: Sequence[Sequence[Coding]],
    texts: Sequence[Mapping[str, _Place]],
    gaps: str | None,
) -> tuple[str, ...]:
    """Names of the classes, each once, in the order in which they occur.

    Raises:
        ValueError: If a person's label is none of a program's, or there are too many.
    """
    names: dict[str, str] = {}
    for there in texts:
        for text in there:
            names.setdefault(plain(text), text)
    if gaps is not None:
        names.setdefault(plain(gaps), gaps)
    for own, other in ((0, 1), (1, 0)):
        seen = texts[own]
        known = {name for one in codings[other] for name in one.known}
        machine = any(one.machine for one in codings[other])
        if not machine or any(one.machine for one in codings[own]):
            continue
        expected = list(texts[other])
        known |= set(map(plain, expected))
        for text, place in seen.items():
            if plain(text) not in known:
                raise ValueError(
                    f"{place}: {text!r}; expected one of the labels of "
                    f"{codings[other][0].table.path} ({first_of(expected, 12)}, ...): "
                    f"correct it, or name what it is, --map '{text}=LABEL', or leave "
                    f"such frames out, --map '{text}='"
                )
    if len(names) > MAX_CLASSES:
        raise ValueError(
            f"{codings[0][0].table.path}: {len(names)} different labels of one "
            f"variable; expected at most {MAX_CLASSES}: name them with fewer words"
        )
    return tuple(names.values())


def _block(
    name: str,
    codings: Sequence[Sequence[Coding]],
    found: Sequence[Scene],
    options: Options,
) -> dict[str, Any]:
    """The agreement on one variable."""
    variable = _variable(name, codings, options.gaps)
    gaps = np.nan
    if options.gaps is not None and variable.kind == "classes":
        gaps = variable.value_of[0](options.gaps)
    videos = sorted({scene.video for scene in found})
    values: list[list[np.ndarray]] = [[], []]
    for scene in found:
        for own, parts, value_of in zip(
            values, (scene.first, scene.second), variable.value_of, strict=True
        ):
            own.append(
                on_frames(scene, parts, name, value_of, fps=options.fps, gaps=gaps)
            )
    number = [videos.index(scene.video) for scene in found]
    video = np.repeat(number, [len(one) for one in values[0]]).astype(np.int64)
    one, other = (np.concatenate([*own, np.empty(0)]) for own in values)
    both = ~np.isnan(one) & ~np.isnan(other)
    states = _states(variable, one, other, both, video, len(videos))
    counts = states.num_frames
    block: dict[str, Any] = {
        "name": variable.name,
        "kind": variable.kind,
        "num_frames": int(both.sum()),
        "num_videos": int((counts > 0).sum()),
        "frames_only_first": int((~np.isnan(one) & np.isnan(other)).sum()),
        "frames_only_second": int((np.isnan(one) & ~np.isnan(other)).sum()),
    }
    block |= _scores(variable, states, options)
    block |= _amounts(variable, one[both], other[both])
    by_video = _parts(variable, agreement_of(states.state))
    block["per_video"] = [
        {"video": v, "num_frames": int(counts[i]), **_each(by_video, _of_video(i))}
        for i, v in enumerate(videos)
        if counts[i]
    ]
    block["notes"] = (*variable.notes, *_missing(name, codings))
    return block


def _missing(name: str, codings: Sequence[Sequence[Coding]]) -> list[str]:
    """Remarks on the words that are taken as no label of a variable."""
    return [
        note
        for own in codings
        for coding in own
        for title, labels in coding.columns.items()
        if plain(title) == name
        for note in missing_notes(coding.table, labels())
    ]


def _states(
    variable: _Variable,
    one: Float[np.ndarray, " frames"],
    other: Float[np.ndarray, " frames"],
    both: np.ndarray,
    video: np.ndarray,
    num_videos: int,
) -> VideoStates:
    """The state of each video: the first coding's classes are rows, as labels are."""
    if variable.kind == "values":
        task = own_task("coding", "regression", ("value",))
        first, second = (np.nan_to_num(each)[:, None] for each in (one, other))
        # The first of a pair is what states take for the prediction.
        return video_states(task, first, second, both, video, num_videos)
    count = max(2, len(variable.labels))
    task = own_task("coding", "multiclass", tuple(map(str, range(count))))
    first, second = (np.nan_to_num(each).astype(np.int64) for each in (one, other))
    return video_states(task, second, first, both, video, num_videos)


_Parts = dict[str, Any]  # scores by name, of classes by label too; arrays or numbers


def _parts(variable: _Variable, scores: Mapping[str, Any]) -> _Parts:
    """The scores that are told of a variable, each an array over sets of frames.

    Args:
        variable: The variable.
        scores: What ``agreement_of`` found.
    """
    if variable.kind == "values":
        return {name: each[..., 0] for name, each in scores.items()}
    found: _Parts = {name: scores[name] for name in ("agreement", "kappa")}
    if variable.kind == "unit":
        return found | {"agreement_present": scores["agreement_per_class"][..., 1]}
    for name in ("kappa_per_class", "agreement_per_class"):
        found[name] = {
            label: scores[name][..., i] for i, label in enumerate(variable.labels)
        }
    return found


def _each(parts: _Parts, change: Callable[..., Any], *others: _Parts) -> _Parts:
    """The scores as ``change`` makes them, of each one and its like in ``others``."""
    return {
        name: _each(value, change, *(one[name] for one in others))
        if isinstance(value, dict)
        else change(value, *(one[name] for one in others))
        for name, value in parts.items()
    }


def _of_video(index: int) -> Callable[[np.ndarray], float | None]:
    """Gives the score of one video."""
    return lambda values: _number(values[index])


def _number(value: Any) -> float | None:
    """A score in the form for JSON, in which what is undefined is null."""
    return float(value) if np.isfinite(value) else None


def _scores(variable: _Variable, states: VideoStates, options: Options) -> _Parts:
    """The scores of all videos together, with intervals from drawing videos again.

    Draws of videos in which a score is undefined are left out of its interval.
    """
    together = _parts(variable, agreement_of(merged(states.state)))
    found = _each(together, _number)
    num = int((states.num_frames > 0).sum())
    if not options.num_resamples or num < 2:
        return found
    drawn = agreement_of(states.drawn(options.seed, options.num_resamples))
    samples = _parts(variable, drawn)
    ends = _each(together, _percentiles, samples)
    found |= {f"{name}_ci95": each for name, each in ends.items()}
    if num < FEW:
        left_out = _parts(variable, agreement_of(states.without_each()))
        ends = _each(together, _bca, samples, left_out)
        found |= {f"{name}_bca95": each for name, each in ends.items()}
    return found | {SAID: said_of(num)}


def _defined(value: Any, *drawn: np.ndarray) -> list[np.ndarray] | None:
    """The draws that have a score; None where few have, or all together has none."""
    known = [samples[np.isfinite(samples)] for samples in drawn]
    few = any(
        len(k) < _FEWEST_DRAWS * len(s) for k, s in zip(known, drawn, strict=True)
    )
    return None if few or not np.isfinite(value) else known


def _percentiles(value: Any, samples: np.ndarray) -> list[float] | None:
    """Ends of a score's interval; None where too few draws have the score."""
    known = _defined(value, samples)
    if known is None:
        return None
    found = interval_of({"score": value}, {"score": known[0]}, {})
    return [float(found.low["score"]), float(found.high["score"])]


def _bca(value: Any, samples: np.ndarray, left_out: np.ndarray) -> list[float] | None:
    """Ends of a score's BCa interval; None where there is none."""
    known = _defined(value, samples, left_out)
    return None if known is None else bca_ends(float(value), known[0], known[1])


def _amounts(
    variable: _Variable,
    one: Float[np.ndarray, " frames"],
    other: Float[np.ndarray, " frames"],
) -> dict[str, Any]:
    """How much of each label both codings have, or the means of values."""
    found: dict[str, Any] = {}
    for which, values in (("first", one), ("second", other)):
        if variable.kind == "classes":
            counts = [int((values == i).sum()) for i in range(len(variable.labels))]
            by_label = dict(zip(variable.labels, counts, strict=True))
            found[f"frames_{which}"] = by_label
        else:
            name = "share" if variable.kind == "unit" else "mean"
            mean = float(values.mean()) if len(values) else None
            found[f"{name}_{which}"] = mean
    return found
