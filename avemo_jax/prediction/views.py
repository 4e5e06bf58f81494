"""Views of an input: files made of its tables, to look at or for other programs.

They come after the tables, so that one can be asked for later without any network, of
a folder that is there. A view in a complete folder belongs to its tables: whoever
writes these anew removes the views.
"""

import pathlib
from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

from avemo_jax.prediction.predicted import Predicted
from avemo_jax.runtime.atomic_files import whole_file

# Writes the view of an input to a path, with a bar on stderr where the flag says so,
# and gives what a user should know of it.
WriteView = Callable[[Predicted, pathlib.Path, bool], Iterable[str]]


class View(NamedTuple):
    """A kind of view.

    Attributes:
        file: Its name in the folder of an input.
        flag: The command's flag that asks for it; or for none, of one that is made by
            default.
        told: What the flag does, for the help of the command.
        write: Writes it.
        is_default: Whether it is made unless it is asked not to be.
        applies: Whether there is one of an input.
    """

    file: str
    flag: str
    told: str
    write: WriteView
    is_default: bool = False
    applies: Callable[[Predicted], bool] = lambda predicted: True


# By the name that ``Prediction.write`` takes.
VIEWS: dict[str, View] = {}


def default_views() -> tuple[str, ...]:
    """Names of the views that are made unless one asks otherwise."""
    return tuple(name for name, view in VIEWS.items() if view.is_default)


def views_named(names: Collection[str]) -> tuple[str, ...]:
    """The names of views, in the order of the table.

    Raises:
        ValueError: If there is no view of that name.
    """
    for name in names:
        if name not in VIEWS:
            raise ValueError(
                f"unknown view {name!r}; expected {', '.join(VIEWS)}: correct it"
            )
    return tuple(name for name in VIEWS if name in names)


def missing_views(folder: pathlib.Path, names: Collection[str]) -> tuple[str, ...]:
    """Which of these views a complete folder lacks.

    Args:
        folder: The folder of an input.
        names: Names of views.
    """
    return tuple(
        name for name in views_named(names) if not (folder / VIEWS[name].file).is_file()
    )


def write_views(
    predicted: Predicted,
    folder: pathlib.Path,
    names: Collection[str],
    *,
    show_progress: bool = False,
) -> tuple[str, ...]:
    """Write views of an input into its folder, each whole or not at all.

    Args:
        predicted: What is predicted of the input.
        folder: Its folder, with the tables.
        names: Names of the views; those that an input has none of are left out.
        show_progress: Draw a bar on stderr where one takes long.

    Returns:
        What a user should know of them.

    Raises:
        ValueError: If there is no view of a name, or one cannot be made, as when the
            video is gone.
        OSError: If one cannot be written.
    """
    notes: list[str] = []
    for name in views_named(names):
        view = VIEWS[name]
        if view.applies(predicted):
            with whole_file(folder / view.file) as path:
                notes += view.write(predicted, path, show_progress)
    return tuple(notes)


def remove_views(folder: pathlib.Path) -> None:
    """Remove all views from the folder of an input."""
    for view in VIEWS.values():
        (folder / view.file).unlink(missing_ok=True)
