"""Views of an input: files made of its tables, to look at or for other programs.

They come after the tables, so that one can be asked for later without any network, of
a folder that is there. A view in a complete folder belongs to its tables: whoever
writes these anew removes the views.
"""

import importlib
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
            default. Views of different inputs may share one.
        told: What the flag does, for the help of the command.
        write: Writes it.
        is_default: Whether it is made unless it is asked not to be.
        applies: Whether there is one of an input.
        left_out: What is said of an input that there is none of; "" for nothing.
    """

    file: str
    flag: str
    told: str
    write: WriteView
    is_default: bool = False
    applies: Callable[[Predicted], bool] = lambda predicted: True
    left_out: str = ""


def _lasts(predicted: Predicted) -> bool:
    """Whether an input lasts any time, as all but images do."""
    return predicted.fps > 0


def _is_image(predicted: Predicted) -> bool:
    return not _lasts(predicted)


def _in(module: str, function: str, *, takes_long: bool = False) -> WriteView:
    """A function of another module of this room, which is loaded when it is called.

    So the command knows all views before it loads what draws them.

    Args:
        module: Name of the module.
        function: Writes the view.
        takes_long: Whether it is told to show its progress; others are done at once.
    """

    def write(
        predicted: Predicted, path: pathlib.Path, show_progress: bool
    ) -> Iterable[str]:
        found = importlib.import_module(f"avemo_jax.prediction.{module}")
        bar = (show_progress,) if takes_long else ()
        notes: Iterable[str] = getattr(found, function)(predicted, path, *bar)
        return notes

    return write


# By the name that ``Prediction.write`` takes.
_DRAWN = "make a copy of the video, or image, with faces and scores drawn into it"
VIEWS: dict[str, View] = {
    "page": View(
        "page.html",
        "--no-page",
        "write no page.html, on which the tables are seen over the video",
        _in("page.page_file", "write_page"),
        is_default=True,
    ),
    "video": View(
        "annotated.mp4",
        "--save-video",
        _DRAWN,
        _in("annotated_video", "write_annotated_video", takes_long=True),
        applies=_lasts,
    ),
    "picture": View(
        "annotated.png",
        "--save-video",
        _DRAWN,
        _in("annotated_video", "write_annotated_picture"),
        applies=_is_image,
    ),
    "elan": View(
        "annotations.eaf",
        "--eaf",
        "write the segments as a file of ELAN, with the video linked",
        _in("elan_file", "write_elan"),
        applies=_lasts,
        left_out="no annotations.eaf of an image, which lasts no time",
    ),
    "praat": View(
        "annotations.TextGrid",
        "--textgrid",
        "write the segments as a TextGrid of Praat",
        _in("praat_file", "write_praat"),
        applies=_lasts,
        left_out="no annotations.TextGrid of an image, which lasts no time",
    ),
    "subtitles": View(
        "annotations.vtt",
        "--vtt",
        "write the segments as subtitles (WebVTT), which players show over the video",
        _in("subtitles", "write_subtitles"),
        applies=_lasts,
        left_out="no annotations.vtt of an image, which lasts no time",
    ),
}


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

    Of views that share a flag an input has one, and lacks none if that is there.

    Args:
        folder: The folder of an input.
        names: Names of views.
    """
    there = {view.flag for view in VIEWS.values() if (folder / view.file).is_file()}
    return tuple(name for name in views_named(names) if VIEWS[name].flag not in there)


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
        elif view.left_out:
            notes.append(view.left_out)
    return tuple(notes)


def remove_views(folder: pathlib.Path) -> None:
    """Remove all views from the folder of an input."""
    for view in VIEWS.values():
        (folder / view.file).unlink(missing_ok=True)
