"""Elements of the report's HTML: sections, tables, lists of facts, figures."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from avemo_jax.runtime.html_pages import escaped


class Html(str):
    """Text that is HTML already; any other text is escaped where it is put in."""


NOTHING = Html("")


def shown(value: Any) -> Html:
    """A value as HTML: numbers in digits, None as a dash, names joined by commas."""
    if isinstance(value, Html):
        return value
    if value is None:
        return Html("&ndash;")
    if isinstance(value, bool):
        return Html("yes" if value else "no")
    if isinstance(value, int):
        return Html(f"{value:,}")
    if isinstance(value, float):
        return Html(f"{value:.3f}")
    if isinstance(value, list | tuple):
        return Html(", ".join(map(shown, value)))
    return Html(escaped(str(value)))


def joined(parts: Iterable[str]) -> Html:
    """Pieces of HTML, one after the other."""
    return Html("\n".join(part for part in parts if part))


def slug(*texts: str) -> str:
    """An id of an element, made of words."""
    return "-".join(
        re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") for text in texts
    )


def section(level: int, title: str, *parts: str, within: str = "") -> Html:
    """A part of the page under a heading.

    Args:
        level: Level of the heading, from 2.
        title: The heading, as plain text.
        *parts: HTML under it; empty ones are left out.
        within: What the heading stands in, for an id of its own.
    """
    name = slug(*filter(None, (within, title)))
    kind = f' class="card" aria-labelledby="{name}"' if level == 2 else ""
    return Html(
        f"<section{kind}>\n"
        f'<h{level} id="{name}">{escaped(title)}</h{level}>\n'
        f"{joined(parts)}\n</section>"
    )


def contents_list(parts: Sequence[str]) -> Html:
    """Links to the parts of the page, in their order.

    Args:
        parts: HTML in which sections stand, as :func:`section` makes them.
    """
    found = re.findall(r'<h2 id="([^"]*)">(.*?)</h2>', joined(parts))
    items = "".join(f'<li><a href="#{name}">{title}</a></li>' for name, title in found)
    return Html(f'<nav aria-label="Parts of this report"><ul>{items}</ul></nav>')


def paragraph(text: str, kind: str = "") -> Html:
    """A paragraph of plain text.

    Args:
        text: The text.
        kind: Class of the element; "" for none.
    """
    attribute = f' class="{kind}"' if kind else ""
    return Html(f"<p{attribute}>{shown(text)}</p>")


def table(
    caption: str,
    head: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    words: Collection[int] = (),
    kind: str = "",
) -> Html:
    """A table with a caption; the first cell of each row is its heading.

    Args:
        caption: What the table shows, as plain text.
        head: Titles of the columns.
        rows: Cells as :func:`shown` takes them; a row of one cell is a heading over the
            rows below it.
        words: Columns, from 0, that hold words and no numbers.
        kind: Class of the table; "" for none.
    """
    number = [
        "" if not i else f' class="{"words" if i in words else "number"}"'
        for i in range(len(head))
    ]
    titles = "".join(map(_head_cell, head, number))
    body = []
    for row in rows:
        if len(row) == 1:
            body.append(
                f'<tr class="group"><th scope="rowgroup" colspan="{len(head)}">'
                f"{shown(row[0])}</th></tr>"
            )
            continue
        cells = [f'<th scope="row">{shown(row[0])}</th>']
        cells += [
            f"<td{n}>{shown(value)}</td>"
            for value, n in zip(row[1:], number[1:], strict=True)
        ]
        body.append(f"<tr>{''.join(cells)}</tr>")
    attribute = f' class="{kind}"' if kind else ""
    return scrolling(
        caption,
        f"<table{attribute}><caption><span>{shown(caption)}</span></caption>"
        f"<thead><tr>{titles}</tr></thead><tbody>{joined(body)}</tbody></table>",
    )


def _head_cell(title: str, attribute: str) -> str:
    if not title:
        return f"<td{attribute}></td>"
    return f'<th scope="col"{attribute}>{shown(title)}</th>'


def scrolling(name: str, content: str) -> Html:
    """Wide content that scrolls by itself, by keys too, where the window is narrow."""
    return Html(
        f'<div class="scroll-x" tabindex="0" role="group" aria-label="{shown(name)}">'
        f"{content}</div>"
    )


def facts(values: Mapping[str, Any]) -> Html:
    """Names with their values, as many in a line as fit."""
    each = (
        f"<div><dt>{shown(name)}</dt><dd>{shown(value)}</dd></div>"
        for name, value in values.items()
    )
    return Html(f'<dl class="facts">{"".join(each)}</dl>')


def notices(texts: Sequence[str]) -> Html:
    """What readers are warned of; empty where there is nothing."""
    if not texts:
        return NOTHING
    if len(texts) == 1:
        return Html(f'<div class="notice">{shown(texts[0])}</div>')
    listed = "".join(f"<li>{shown(text)}</li>" for text in texts)
    return Html(f'<div class="notice"><ul>{listed}</ul></div>')


def figure(caption: str, *charts: str, kind: str = "") -> Html:
    """Charts side by side, as many as fit, under one caption.

    Args:
        caption: What they show, as plain text.
        *charts: SVG or HTML.
        kind: More classes of the grid that the charts stand in.
    """
    inside = "".join(f"<div>{chart}</div>" for chart in charts)
    return Html(
        f'<figure><div class="charts {kind}">{inside}</div>'
        f"<figcaption>{shown(caption)}</figcaption></figure>"
    )


def details(summary: str, *parts: str) -> Html:
    """Content that opens where its summary is pressed."""
    return Html(
        f"<details><summary>{shown(summary)}</summary>\n{joined(parts)}\n</details>"
    )


def legend(entries: Mapping[str, str]) -> Html:
    """What marks in charts mean.

    Args:
        entries: Meanings in words, by the class of the mark.
    """
    items = (
        f'<li><span class="mark {kind}" aria-hidden="true"></span>{shown(words)}</li>'
        for kind, words in entries.items()
    )
    return Html(f'<ul class="legend">{"".join(items)}</ul>')
