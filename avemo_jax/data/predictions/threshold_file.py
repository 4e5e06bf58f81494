"""Thresholds of action units, in a ``.json`` file beside their predictions.

A table has no place for them, and they are needed to decide frames that are filled
later.
"""

import pathlib

import numpy as np
from jaxtyping import Float

from avemo_jax.runtime.atomic_files import write_json
from avemo_jax.runtime.json_files import parsed
from avemo_jax.tasks import Task

RUN = "run.json"  # of a folder of avemo predict


def shortest_digits(
    values: Float[np.ndarray, "*axes"],
) -> Float[np.ndarray, "*axes"]:
    """The shortest decimal numbers that give the same float32 again, as float64.

    A rounded threshold might be over the very score that it was taken from.
    """
    single = np.asarray(values, np.float32)
    return np.reshape([float(str(value)) for value in single.ravel()], single.shape)


def thresholds_file(path: pathlib.Path) -> pathlib.Path:
    """The file of the thresholds that belong to a predictions file."""
    return path.with_suffix(".json")


def write_thresholds(
    path: pathlib.Path, task: Task, thresholds: Float[np.ndarray, " outputs"]
) -> None:
    """Write the threshold of each unit beside the predictions in ``path``."""
    content = {"task": task.name, "thresholds": by_unit(task, thresholds)}
    write_json(thresholds_file(path), content)


def by_unit(task: Task, thresholds: Float[np.ndarray, " outputs"]) -> dict[str, float]:
    """The threshold of each unit by its name, in the shortest digits."""
    digits = shortest_digits(thresholds).tolist()
    return dict(zip(task.columns, digits, strict=True))


def read_thresholds(
    path: str | pathlib.Path, task: Task
) -> Float[np.ndarray, " outputs"] | None:
    """The thresholds that lie beside a file of predictions.

    They are in the file that ``write_thresholds`` wrote, or in the run.json of the
    folder that ``avemo predict`` made.

    Args:
        path: The predictions, a ``.csv`` or ``.parquet`` file.
        task: The task of the predictions.

    Returns:
        The threshold of each unit; None for tasks without, and where there is no file
        of thresholds.

    Raises:
        ValueError: If that file is damaged, or of another task.
    """
    path = pathlib.Path(path)
    own, run = thresholds_file(path), path.with_name(RUN)
    beside = own if own.is_file() else run
    if task.kind != "multilabel" or not beside.is_file():
        return None
    try:
        stored = parsed(beside.read_bytes())
        if not isinstance(stored, dict) or "thresholds" not in stored:
            return None  # a file of another program
        limits_of = stored["thresholds"]
        if beside == run:
            limits_of = limits_of[task.name]
        limits = np.array([limits_of[name] for name in task.columns], np.float64)
        if set(limits_of) != set(task.columns) or not np.isfinite(limits).all():
            raise ValueError(f"thresholds of {', '.join(limits_of)}")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{beside}: {type(error).__name__}: {error!s:.300}; expected a threshold "
            f"for each of {', '.join(task.columns)}, as it is written beside {path}: "
            "write both anew, or remove it"
        ) from error
    return limits
