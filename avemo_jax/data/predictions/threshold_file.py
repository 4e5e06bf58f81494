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
    digits = shortest_digits(thresholds).tolist()
    by_unit = dict(zip(task.columns, digits, strict=True))
    write_json(thresholds_file(path), {"task": task.name, "thresholds": by_unit})


def read_thresholds(
    path: str | pathlib.Path, task: Task
) -> Float[np.ndarray, " outputs"] | None:
    """The thresholds that ``write_thresholds`` wrote beside a file.

    Args:
        path: The predictions, a ``.csv`` or ``.parquet`` file.
        task: The task of the predictions.

    Returns:
        The threshold of each unit; None for tasks without, and where there is no file
        of thresholds.

    Raises:
        ValueError: If that file is damaged, or of another task.
    """
    beside = thresholds_file(pathlib.Path(path))
    if task.kind != "multilabel" or not beside.is_file():
        return None
    try:
        stored = parsed(beside.read_bytes())
        if not isinstance(stored, dict) or "thresholds" not in stored:
            return None  # a file of another program
        by_unit = stored["thresholds"]
        limits = np.array([by_unit[name] for name in task.columns], np.float64)
        if set(by_unit) != set(task.columns) or not np.isfinite(limits).all():
            raise ValueError(f"thresholds of {', '.join(by_unit)}")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{beside}: {type(error).__name__}: {error!s:.300}; expected a threshold "
            f"for each of {', '.join(task.columns)}, as avemo evaluate writes it "
            f"beside {path}: write both anew, or remove it"
        ) from error
    return limits
