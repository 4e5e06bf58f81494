"""Files of a template: where aligned crops have the five points."""

import dataclasses
import os
import pathlib

import numpy as np
from jaxtyping import Float

from avemo_jax.faces.crops import ALIGNED_PX, ARCFACE_TEMPLATE
from avemo_jax.runtime.atomic_files import write_json
from avemo_jax.runtime.json_files import read_json

SCHEMA = 1
_REMEDY = "write one with 'avemo check-crops --write-template FILE'"
_Point = tuple[float, float]
# x and y of the five points in aligned crops; None: ArcFace's.
Template = tuple[tuple[float, ...], ...] | None


@dataclasses.dataclass(frozen=True)
class _Stored:
    """What the file holds.

    Attributes:
        schema: :data:`SCHEMA`.
        size_px: Side of the crops.
        points: x and y of the five points in a crop.
        detector: Fingerprint of the detector whose points these are.
        crops: Number of crops that it was measured from.
    """

    schema: int
    size_px: int
    points: tuple[_Point, _Point, _Point, _Point, _Point]
    detector: str = ""
    crops: int = 0


def read_template(path: str | os.PathLike[str]) -> Float[np.ndarray, "5 2"]:
    """Where the five points come in crops of 112 pixels, from a file.

    Args:
        path: A file that :func:`write_template` wrote.

    Raises:
        ValueError: If it is no such file, or the points are not all inside of a crop,
            or are less than a pixel apart.
        OSError: If it cannot be read.
    """
    stored: _Stored = read_json(path, _Stored, remedy=_REMEDY)
    points = np.array(stored.points)
    wrong = None
    if (stored.schema, stored.size_px) != (SCHEMA, ALIGNED_PX):
        wrong = f"schema {stored.schema} and size_px {stored.size_px}"
        expected = f"{SCHEMA} and {ALIGNED_PX}"
    elif not ((points >= 0) & (points < ALIGNED_PX)).all():
        wrong, expected = f"points {points.tolist()}", f"0 to {ALIGNED_PX}"
    elif np.ptp(points, axis=0).min() < 1:
        wrong, expected = f"points {points.tolist()}", "five places of a face"
    if wrong is not None:
        raise ValueError(f"{path}: {wrong}; expected {expected}: {_REMEDY}")
    return points


def template_of(path: str | os.PathLike[str] | None) -> Template:
    """The template in a file; None where there is none.

    Raises:
        ValueError: If the file is no template.
        OSError: If it cannot be read.
    """
    return None if path is None else tuple(map(tuple, read_template(path).tolist()))


def points_of(template: Template) -> Float[np.ndarray, "5 2"]:
    """Where the five points come in aligned crops."""
    return ARCFACE_TEMPLATE if template is None else np.array(template)


def write_template(
    path: str | os.PathLike[str],
    points: Float[np.ndarray, "5 2"],
    *,
    detector: str,
    crops: int,
) -> None:
    """Write a template; what is there is replaced.

    Args:
        path: The file.
        points: x and y of the five points in crops of 112 pixels.
        detector: Fingerprint of the detector whose points these are.
        crops: Number of crops that it was measured from.

    Raises:
        OSError: If the file cannot be written.
    """
    content = {
        "schema": SCHEMA,
        "size_px": ALIGNED_PX,
        "points": points.round(3).tolist(),
        "detector": detector,
        "crops": crops,
    }
    write_json(pathlib.Path(path), content)
