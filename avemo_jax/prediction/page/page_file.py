"""The page of an input as one file."""

import datetime
import functools
import pathlib
import string
from collections.abc import Callable, Iterable
from typing import TypeVar

from avemo_jax.data.predictions.threshold_file import RUN
from avemo_jax.prediction.page.moments import Moment, moments_of
from avemo_jax.prediction.page.page_body import header, meaning, summary, tables_note
from avemo_jax.prediction.page.page_data import page_account, page_columns
from avemo_jax.prediction.page.source_link import source_link
from avemo_jax.prediction.page.stills import Still, stills_of_moments, strip_of
from avemo_jax.prediction.predicted import Predicted
from avemo_jax.runtime.html_pages import bundled, data_element, html_page

HERE = pathlib.Path(__file__).parent
_MANY = 3  # faces whose summary stands beside the text on the numbers
UPLOT_VERSION = "1.6.32"
_T = TypeVar("_T")


def write_page(predicted: Predicted, path: pathlib.Path) -> Iterable[str]:
    """Write the page of an input.

    Args:
        predicted: What is predicted of the input.
        path: The file, in the folder of the input's tables, from which its video is
            found.

    Returns:
        What a user should know of it.

    Raises:
        OSError: If it cannot be written.
    """
    problems: list[str] = []
    moments = _by_strength(
        one for face in predicted.faces for one in moments_of(predicted, face)
    )
    stills: dict[Moment, str] = _or(
        lambda: stills_of_moments(predicted, moments), {}, problems
    )
    strip: list[Still] = _or(lambda: strip_of(predicted), [], problems)
    columns = page_columns(predicted)
    account = page_account(
        predicted,
        columns,
        source_link(predicted, path.parent),
        moments,
        stills,
        strip,
        list(dict.fromkeys(problems)),
    )
    data = data_element("account", account) + (
        f'<script type="text/plain" id="columns">{columns.packed}</script>'
    )
    body = string.Template(_text("page.html")).substitute(
        header=header(predicted, _made(path.parent)),
        summary=summary(predicted),
        tables=tables_note(),
        meaning=meaning(predicted),
        data=data,
        width="below is-many" if len(predicted.faces) > _MANY else "below",
    )
    text = html_page(
        title=f"{predicted.name} - avemo",
        body=body,
        styles=[_text("uplot/uPlot.min.css"), _text("page.css")],
        scripts=[_uplot()],
        module=_module(),
    )
    path.write_text(text, encoding="utf-8")
    return [f"the page has no pictures: {one}" for one in dict.fromkeys(problems)]


def _or(make: Callable[[], _T], otherwise: _T, problems: list[str]) -> _T:
    """What ``make`` gives; where pictures cannot be read, the other, and why."""
    try:
        return make()
    except (ValueError, OSError) as error:
        problems.append(str(error))
        return otherwise


def _by_strength(moments: Iterable[Moment]) -> list[Moment]:
    """Moments in the order in which they get stills: by face, the strongest first."""
    return sorted(moments, key=lambda one: (one.face_id, -one.score, one.frame))


def _made(folder: pathlib.Path) -> datetime.datetime | None:
    """When the tables of a folder were written; None: they are not there."""
    run = folder / RUN
    if not run.is_file():
        return None
    return datetime.datetime.fromtimestamp(run.stat().st_mtime, datetime.UTC)


@functools.cache
def _text(name: str) -> str:
    return (HERE / name).read_text("utf-8")


@functools.cache
def _module() -> str:
    return bundled(HERE / "main.js")


def _uplot() -> str:
    """The curves' library as its package has it, with its licence."""
    licence = _text("uplot/LICENSE").replace("*/", "")
    return f"/* uPlot {UPLOT_VERSION}\n{licence}*/\n{_text('uplot/uPlot.iife.min.js')}"
