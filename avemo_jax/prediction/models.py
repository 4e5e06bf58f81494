"""What predicts: trained heads and extractors' own outputs, as one table of tasks."""

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from avemo_jax.embed.weights import weights_dir
from avemo_jax.extractors import EXTRACTORS, get_extractor, plugins
from avemo_jax.extractors.published import THESIS_LICENCE
from avemo_jax.models.blend import Model, load_heads
from avemo_jax.models.card import (
    BLEND_FILE,
    HEAD_FILE,
    JOINT_FILE,
    UNKNOWN,
    Card,
    CheckpointError,
    combined,
    read_as,
)
from avemo_jax.models.ensembles import fold_models
from avemo_jax.models.head import TrainedHead
from avemo_jax.models.selection import Selection, fixed_selection
from avemo_jax.postprocess.seconds import SHORT_S
from avemo_jax.prediction.model_table import (
    HSEMOTION,
    PUBLISHED,
    THESIS,
    PublishedModel,
)
from avemo_jax.prediction.own_outputs import OutputTask, output_tasks
from avemo_jax.prediction.smoothing_choice import Smooth
from avemo_jax.prediction.task_heads import TaskHeads
from avemo_jax.prediction.wanted_sets import WantedSet, outputs_set, wanted_set
from avemo_jax.runtime.command_line import did_you_mean
from avemo_jax.tasks import TASKS, Task


@dataclasses.dataclass(frozen=True, eq=False)
class OwnOutputs:
    """An extractor whose own outputs are scores.

    Attributes:
        name: What the user called it.
        set_name: Full name of the feature set that has the outputs.
        tasks: Its tasks.
    """

    name: str
    set_name: str
    tasks: tuple[OutputTask, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class PredictionModel:
    """All that predicts, as one: its tasks are disjoint.

    Attributes:
        names: What the user called the models.
        own: Extractors whose own outputs are scores.
        heads: Trained models, one entry a task.
        tasks: The tasks, in the order of the table's columns.
        wanted: The feature sets that all of them take, each once.
        notes: What a user should know of the models, in words.
        programs: Compiled passes of the heads, for all inputs.
    """

    names: tuple[str, ...]
    own: tuple[OwnOutputs, ...]
    heads: tuple[TaskHeads, ...]
    tasks: tuple[Task, ...]
    wanted: tuple[WantedSet, ...]
    notes: tuple[str, ...]
    programs: dict[Any, Any] = dataclasses.field(default_factory=dict)

    @property
    def hears(self) -> bool:
        """Whether any model takes sound, or would where some is used."""
        takes = any(one.kind == "audio" for one in self.wanted)
        return takes or any(one.is_silenced for one in self.heads)

    @property
    def needs_weights(self) -> tuple[str, ...]:
        """Names of the extractors that run only with a file of weights."""
        names = [one.extractor for one in self.wanted if one.needs_weights]
        return tuple(dict.fromkeys(names))

    @property
    def with_spread(self) -> tuple[str, ...]:
        """Names of the tasks whose model has several seeds."""
        return tuple(one.task.name for one in self.heads if one.num_seeds > 1)

    @property
    def with_sets(self) -> tuple[str, ...]:
        """Names of the tasks whose model gives sets of classes."""
        return tuple(one.task.name for one in self.heads if one.set_level)

    @property
    def with_disagreement(self) -> tuple[str, ...]:
        """Names of the tasks of classes whose model has several seeds."""
        return tuple(
            one.task.name
            for one in self.heads
            if one.num_seeds > 1 and one.task.kind == "multiclass"
        )

    @property
    def fingerprint(self) -> str:
        """Digest of the heads, what was chosen for them, and the columns."""
        own = [
            f"{one.set_name}: {[t.task.columns for t in one.tasks]}" for one in self.own
        ]
        return combined([*own, *(one.fingerprint for one in self.heads)])

    def thresholds(
        self, smooth: Smooth, *, calibrated: bool = False
    ) -> dict[str, Float[np.ndarray, " units"]]:
        """Threshold of each unit, by task of kind "multilabel".

        Those of several seeds are averaged, as their scores are.

        Args:
            smooth: How the scores are smoothed, which thresholds are chosen for.
            calibrated: Whether they are for calibrated scores, where there are some.
        """
        found = {}
        for one in self.own:
            for part in one.tasks:
                if part.task.kind == "multilabel":
                    half = np.full(part.task.num_outputs, 0.5, np.float32)
                    found[part.task.name] = half
        for heads in self.heads:
            if heads.task.kind == "multilabel":
                limits = [_thresholds(one, smooth) for one in heads.selections]
                mean = np.concatenate(limits).mean(axis=0)
                if calibrated and (fitted := heads.certainty(smooth)) is not None:
                    _, mean = fitted.scaled(mean, 0, mean)
                found[heads.task.name] = mean
        return found

    def smoothing_notes(self, smooth: Smooth) -> tuple[str, ...]:
        """What a user should know of the thresholds at this smoothing, in words."""
        notes = []
        for one in self.own:
            for part in one.tasks:
                if part.task.kind == "multilabel":
                    notes.append(f"{one.name}: units are active from 0.5 on")
        for heads in self.heads:
            if heads.task.kind == "multilabel":
                found = (_threshold_note(one, smooth) for one in heads.selections)
                notes += [
                    f"{heads.name}, {heads.task.name}: {words}"
                    for words in found
                    if words
                ]
        return tuple(dict.fromkeys(notes))


def _threshold_note(selection: Selection, smooth: Smooth) -> str:
    """How thresholds were chosen, where not for this smoothing; else empty."""
    if selection.on is None:
        return "units are active from 0.5 on, as no thresholds were chosen"
    if smooth in ("none", "as-trained"):
        return ""
    if selection.short_thresholds is None:
        return (
            "its thresholds were chosen for scores that are not smoothed, as its card "
            "has no others: evaluate it anew for thresholds of smoothed ones"
        )
    if smooth != SHORT_S:
        return f"its thresholds were chosen for a window of {SHORT_S:g} s"
    return ""


def _thresholds(
    selection: Selection, smooth: Smooth
) -> Float[np.ndarray, "seeds units"]:
    """Thresholds of each seed for this smoothing, or for the nearest one known."""
    limits = selection.raw_thresholds
    if smooth == "as-trained":
        limits = selection.thresholds
    elif smooth != "none" and selection.short_thresholds is not None:
        limits = selection.short_thresholds
    assert limits is not None
    return limits


def load_models(
    names: Sequence[str],
    *,
    tasks: Sequence[str] | None = None,
    sound: bool = True,
    weights: pathlib.Path | None = None,
) -> PredictionModel:
    """The models with these names as one.

    Args:
        names: "hsemotion", "thesis", the name of an extractor of pictures that has
            outputs of its own (of a plug-in too), or a folder: a head checkpoint or a
            blend, joint tasks, a run, or a run with folds. The scores of several seeds
            or folds are averaged.
        tasks: Names of the tasks that are wanted; None: all that the models have.
        sound: Whether sound is used; else published heads that hear are not needed,
            where others stand in their place.
        weights: Folder that the original's heads are in, below ``thesis/``; None: the
            cache directory.

    Raises:
        ValueError: If a name is unknown, two models have the same task, or none has a
            task that is wanted.
        CheckpointError: If a folder has no model, or a damaged one.
    """
    own: list[OwnOutputs] = []
    heads: list[TaskHeads] = []
    for name in names:
        found = _load(name, weights or weights_dir(), sound=sound)
        own += [one for one in found if isinstance(one, OwnOutputs)]
        heads += [one for one in found if isinstance(one, TaskHeads)]
    have = [*_named_tasks(own, heads)]
    if tasks is not None:
        own, heads = _only(tasks, own, heads, have)
        have = [*_named_tasks(own, heads)]
    _check_apart(have)
    by_name = {task.name: task for _, task in have}
    order = [*TASKS, *(name for name in by_name if name not in TASKS)]
    return PredictionModel(
        tuple(names),
        tuple(own),
        tuple(heads),
        tuple(by_name[name] for name in order if name in by_name),
        _wanted(own, heads),
        tuple(dict.fromkeys((*_terms(names), *_notes(heads)))),
    )


def _load(
    name: str, weights: pathlib.Path, *, sound: bool
) -> list[OwnOutputs | TaskHeads]:
    """What a name means: the extractor or the heads of all its tasks."""
    if (published := PUBLISHED.get(name)) is not None:
        if published.outputs_of is not None:
            return [_own_outputs(name, published.outputs_of)]
        return list(_published_heads(published, weights, sound=sound))
    folder = pathlib.Path(name)
    if folder.is_dir():
        return list(_of_folder(name, folder))
    others = plugins.plugin_names()
    if name in EXTRACTORS or name in others:
        if get_extractor(name).kind != "visual":
            raise ValueError(
                f"--model {name} is an extractor of sound; expected one of pictures "
                "with outputs of its own, or a trained head: name another model"
            )
        return [_own_outputs(name, name)]
    known = (HSEMOTION, THESIS, *EXTRACTORS, *others)
    raise ValueError(
        f"unknown model {name!r}; {did_you_mean(name, known)}expected {HSEMOTION}, "
        f"{THESIS}, the folder of a trained model, or an extractor with outputs of "
        "its own: avemo models lists them"
    )


def _own_outputs(name: str, extractor: str) -> OwnOutputs:
    known = get_extractor(extractor)
    return OwnOutputs(name, outputs_set(extractor).name, output_tasks(known))


def _published_heads(
    published: PublishedModel, weights: pathlib.Path, *, sound: bool
) -> Iterator[TaskHeads]:
    """The original's heads, each with the one in its place where there is no sound."""
    for one in published.heads:
        found = []
        for name in one.names(sound=sound):
            folder = weights / THESIS / name
            if not folder.is_dir():
                raise CheckpointError(
                    f"there is no {folder}; expected the original's head: get it, "
                    f"avemo fetch {name}"
                )
            found.append(_heads(published.name, [load_heads(folder)]))
        yield dataclasses.replace(
            found[0],
            silent=found[1] if found[1:] else None,
            is_silenced=not sound and one.silent is not None,
        )


def _of_folder(name: str, folder: pathlib.Path) -> Iterator[TaskHeads]:
    """The heads of each task of the model in a folder."""
    if (folder / JOINT_FILE).is_file():
        card = read_as(Card, folder / JOINT_FILE)
        for task in card.task.split("+"):
            yield _heads(name, [load_heads(folder / task)])
    elif (folder / HEAD_FILE).is_file() or (folder / BLEND_FILE).is_file():
        yield _heads(name, [load_heads(folder)])
    elif (folder / "best_model").is_dir():
        yield from _of_folder(name, folder / "best_model")
    elif (folder / "fold_0").is_dir():
        yield _heads(name, list(fold_models(folder).values()))
    else:
        raise CheckpointError(
            f"{folder} has no model; expected {HEAD_FILE}, {BLEND_FILE} or "
            f"{JOINT_FILE}, or best_model/ or fold_0/ of a run: name a folder that "
            "training wrote"
        )


def _heads(name: str, models: list[Model]) -> TaskHeads:
    """These models of one task, with what was chosen for each."""
    selections = []
    for model in models:
        for head in model.heads:
            if not isinstance(head, TrainedHead):
                raise CheckpointError(
                    f"{model.directory} is a blend with predictions made elsewhere, "
                    f"{head.kind}; expected trained heads alone, since there are no "
                    "such predictions of other videos: name a head of the blend"
                )
        count = len(model.card.seeds)
        why = "it was never evaluated"
        if model.training_videos == UNKNOWN:
            why = "the videos that it was trained on are unknown"
        selections.append(
            model.card.selection
            or fixed_selection(model.task, count, why, len(model.heads))
        )
    return TaskHeads(name, models[0].task, tuple(models), tuple(selections))


def _named_tasks(
    own: Sequence[OwnOutputs], heads: Sequence[TaskHeads]
) -> Iterator[tuple[str, Task]]:
    """Each task with the name of its model."""
    for one in own:
        yield from ((one.name, part.task) for part in one.tasks)
    yield from ((one.name, one.task) for one in heads)


def _only(
    tasks: Sequence[str],
    own: list[OwnOutputs],
    heads: list[TaskHeads],
    have: Sequence[tuple[str, Task]],
) -> tuple[list[OwnOutputs], list[TaskHeads]]:
    """The models with the wanted tasks alone.

    Raises:
        ValueError: If a task is wanted that none has.
    """
    there = dict.fromkeys(task.name for _, task in have)
    if unknown := [name for name in tasks if name not in there]:
        raise ValueError(
            f"--tasks {','.join(unknown)}: no model has it; expected some of "
            f"{', '.join(there)}: correct the flag, or name a model that has the task"
        )
    left = [
        dataclasses.replace(
            one, tasks=tuple(part for part in one.tasks if part.task.name in tasks)
        )
        for one in own
    ]
    return (
        [one for one in left if one.tasks],
        [one for one in heads if one.task.name in tasks],
    )


def _check_apart(have: Sequence[tuple[str, Task]]) -> None:
    """Refuses tasks that two models have; columns of one name are told apart in tables.

    Raises:
        ValueError: If there are some.
    """
    by_task: dict[str, str] = {}
    for model, task in have:
        if task.name in by_task:
            raise ValueError(
                f"{by_task[task.name]} and {model} both predict {task.name}; expected "
                "each task once in a table: choose tasks, as --tasks "
                f"{','.join(one for one in by_task if one != task.name) or 'NAME'}, "
                "or run them apart, each with an --out of its own"
            )
        by_task[task.name] = model


def _wanted(
    own: Sequence[OwnOutputs], heads: Sequence[TaskHeads]
) -> tuple[WantedSet, ...]:
    """The feature sets of all models, each once, visual ones first."""
    found: dict[str, WantedSet] = {}

    def add(one: WantedSet) -> None:
        there = found.get(one.name)
        if there is not None and there.has_outputs:
            one = dataclasses.replace(one, has_outputs=True)
        found[one.name] = one

    for one in own:
        known = wanted_set(one.set_name)
        add(dataclasses.replace(known, has_outputs=True))
    for entry in heads:
        for part in (entry, entry.silent):
            for model in () if part is None else part.models:
                for head in model.heads:
                    assert isinstance(head, TrainedHead)
                    takes = head.card.inputs == "outputs"
                    takes |= model.options.trust_extractor
                    for feature in head.card.features:
                        known = wanted_set(feature.name, where=head.directory)
                        with_outputs = takes and known.kind == "visual"
                        add(dataclasses.replace(known, has_outputs=with_outputs))
    return tuple(sorted(found.values(), key=lambda one: one.kind != "visual"))


def _terms(names: Sequence[str]) -> Iterator[str]:
    """The licence of each published model that states none."""
    for name in names:
        if name in PUBLISHED and PUBLISHED[name].licence == THESIS_LICENCE:
            yield f"{name}: licence {THESIS_LICENCE}; for use here, not to be passed on"


def _notes(entries: Sequence[TaskHeads]) -> Iterator[str]:
    """What a user should know of the tasks' models."""
    for heads in entries:
        yield from _notes_of(heads)


def _notes_of(heads: TaskHeads) -> Iterator[str]:
    """What a user should know of a task's models."""
    for model, selection in zip(heads.models, heads.selections, strict=True):
        if model.card.data.synthetic:
            yield (
                f"{heads.name} was trained on made data ({model.card.data.name}): what "
                "it says of people means nothing"
            )
        if selection.on is None:
            yield (
                f"{heads.name}, {heads.task.name}: nothing was chosen on dev, "
                f"{selection.reason}"
            )
    if heads.num_seeds > 1:
        yield (
            f"{heads.name}, {heads.task.name}: scores are means over "
            f"{heads.num_seeds} trained heads, with their deviation in *_sd"
        )
