"""What a user should know of calibrated probabilities and of sets of classes."""

from collections.abc import Iterator

from avemo_jax.postprocess.class_sets import least_videos
from avemo_jax.postprocess.seconds import SHORT_S
from avemo_jax.prediction.models import PredictionModel
from avemo_jax.prediction.smoothing_choice import Smooth
from avemo_jax.prediction.task_heads import TaskHeads


def check_calibrated(model: PredictionModel, smooth: Smooth) -> None:
    """Refuses calibrated probabilities of models that have none.

    Args:
        model: The model.
        smooth: How scores are smoothed.

    Raises:
        ValueError: If no task has any.
    """
    if any(heads.certainty(smooth) is not None for heads in model.heads):
        return
    raise ValueError(
        f"--calibrated with {'+'.join(model.names)}, of which no card says how; "
        "expected a model of classes or units that this version has evaluated with dev "
        "videos: leave --calibrated out, or train the model anew"
    )


def certainty_notes(
    model: PredictionModel, smooth: Smooth, *, calibrated: bool
) -> tuple[str, ...]:
    """Notes on the tasks' calibration and sets, in words.

    Args:
        model: The model.
        smooth: How scores are smoothed, which both are fitted for.
        calibrated: Whether calibrated probabilities are asked for.
    """
    notes = []
    if calibrated:
        notes += [
            f"{own.name}, {part.task.name}: probabilities are as they are, no "
            "calibration is known"
            for own in model.own
            for part in own.tasks
            if part.task.kind != "regression"
        ]
    for heads in model.heads:
        found = [*_calibration(heads, smooth)] if calibrated else []
        found += _sets(heads, smooth)
        if found:
            found += _fitted_otherwise(heads, smooth)
        notes += [f"{heads.name}, {heads.task.name}: {words}" for words in found]
    return tuple(notes)


def _calibration(heads: TaskHeads, smooth: Smooth) -> Iterator[str]:
    if heads.task.kind == "regression":
        return
    if heads.certainty(smooth) is None:
        yield "probabilities are as they are, no calibration is known"
        return
    yield "probabilities are calibrated, by dev"


def _sets(heads: TaskHeads, smooth: Smooth) -> Iterator[str]:
    level, fitted = heads.set_level, heads.certainty(smooth)
    if not level or fitted is None:
        return
    column = f"{heads.task.decided}_set"
    if fitted.set_limits is not None and fitted.set_limits[0] <= 0:
        yield (
            f"{column} has all classes: level {level:g} needs {least_videos(level)} "
            f"labelled dev videos, and there were {fitted.num_videos}"
        )
        return
    yield (
        f"{column} is to hold the right class in {level:.0%} of the frames of videos "
        f"like those of dev, of which there were {fitted.num_videos}"
    )


def _fitted_otherwise(heads: TaskHeads, smooth: Smooth) -> Iterator[str]:
    """How what was fitted differs from what it is used for."""
    if smooth not in (SHORT_S, "as-trained"):
        yield f"calibration and sets were fitted for a window of {SHORT_S:g} s"
    if len(heads.models) > 1:
        yield (
            f"calibration and sets are means of those of {len(heads.models)} folds, "
            "not fitted to the mean of their scores"
        )
