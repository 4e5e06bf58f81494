"""A page of HTML as a tree that is checked: well formed, and nothing loaded."""

import html.parser
import itertools
import re

VOID = {"meta", "link", "img", "br", "hr", "input", "source", "col"}
# SVG shapes are written with an end of their own.
SHAPES = {"path", "rect", "circle"}


class Page(html.parser.HTMLParser):
    """What stands in a page.

    Attributes:
        tags: Names of all elements, in their order.
        attributes: Pairs (element, attributes), in their order.
        tables: Caption, and rows of cells' texts, of each table.
        headings: Pairs (level, text).
        text: All text that is shown.
    """

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.attributes, self.headings = [], [], []
        self.tables, self._rows, self._caption = [], [], ""
        self.text, self._open, self._cell = "", [], None
        self.feed(text)
        self.close()
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag, attrs):
        assert len({name for name, _ in attrs}) == len(attrs), f"twice in <{tag}>"
        self.tags.append(tag)
        self.attributes.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "table":
            self._rows, self._caption = [], ""
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._cell = ""
        elif re.fullmatch(r"h\d", tag):
            self.headings.append((int(tag[1]), ""))

    def handle_startendtag(self, tag, attrs):
        assert tag in SHAPES, f"<{tag}/> is no HTML"
        self.handle_starttag(tag, attrs)
        self._open.pop()

    def handle_endtag(self, tag):
        assert self._open, f"</{tag}> closes nothing"
        assert self._open.pop() == tag, f"</{tag}> closes another element"
        if tag in ("td", "th"):
            self._rows[-1].append(self._cell)
            self._cell = None
        elif tag == "table":
            self.tables.append((self._caption, self._rows))

    def handle_data(self, data):
        if "style" in self._open:
            return
        self.text += data
        if self._cell is not None:
            self._cell += data
        if "caption" in self._open:
            self._caption += data
        if self._open and re.fullmatch(r"h\d", self._open[-1]):
            level, text = self.headings[-1]
            self.headings[-1] = (level, text + data)

    def table(self, beginning: str) -> list[list[str]]:
        """The rows of the only table whose caption begins so."""
        (found,) = (t for c, t in self.tables if c.startswith(beginning))
        return found


def check_page(text: str) -> Page:
    """The page, if it is well formed, reads nothing from elsewhere and is accessible.

    Every table has a caption and rows of one width, every heading is at most one level
    below the one before, every reference has its target.
    """
    page = Page(text)
    ids = [a["id"] for _, a in page.attributes if "id" in a]
    assert len(set(ids)) == len(ids)
    for tag, attributes in page.attributes:
        assert not {"src", "srcset", "data", "poster"} & attributes.keys(), tag
        assert not any(name.startswith("on") for name in attributes), tag
        href = attributes.get("href", "#")
        if tag == "a" and not href.startswith("#"):
            assert not re.match(r"[a-z]+:|//", href, re.IGNORECASE), href
        elif "href" in attributes:
            assert tag == "a"
            assert href[1:] in ids
        if "aria-labelledby" in attributes:
            assert attributes["aria-labelledby"] in ids
        if tag == "th":
            assert attributes["scope"] in ("row", "col", "rowgroup")
        if attributes.get("role") == "img":
            assert attributes["aria-label"]
    assert not {"script", "link", "iframe", "img", "object", "embed"} & set(page.tags)
    assert not re.search(r"url\(|@import", text)
    levels = [level for level, _ in page.headings]
    assert levels[0] == 1
    assert levels.count(1) == 1
    for before, after in itertools.pairwise(levels):
        assert after <= before + 1
    assert page.tags.count("caption") == page.tags.count("table") == len(page.tables)
    for caption, rows in page.tables:
        assert caption
        assert {len(row) for row in rows} <= {1, len(rows[0])}, caption
    return page
