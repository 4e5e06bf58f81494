"""Pages of HTML in one file: styles and scripts in it, nothing loaded from elsewhere.

Styles and scripts lie in files beside Python's modules, as an editor understands them.
Scripts are ES modules, which browsers load from no disk: they are put into one here.
What is told by files, such as a name, is text on the page and never HTML; and a policy
in the page lets no other script run and nothing be fetched, whatever such a text holds.
"""

import base64
import hashlib
import html
import json
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from avemo_jax.runtime.plain_text import one_line

BASE_STYLE = pathlib.Path(__file__).parent / "web" / "base.css"
_IMPORT = re.compile(r'^import\s+\{[^}]*\}\s+from\s+"(\./[\w./-]+\.js)";\n', re.M)
_EXPORT = re.compile(r"^export (?=(?:async )?function|const|let|class)", re.M)
_TOP = re.compile(r"^(?:async )?(?:function\*?|const|let|class)\s+(\w+)", re.M)


def escaped(text: str) -> str:
    """``text`` as it is shown on a page, in elements and in quoted attributes."""
    shown = one_line(text).encode("utf-8", "backslashreplace").decode()
    return html.escape(shown)


def data_element(element_id: str, value: Any) -> str:
    """An element with a value as JSON, which scripts read and browsers do not run.

    Args:
        element_id: The element's id.
        value: Plain values of JSON; NaN is refused.
    """
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for letter in "<>&":  # no end of the element, no comment
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return f'<script type="application/json" id="{element_id}">{text}</script>'


def bundled(entry: pathlib.Path) -> str:
    """An ES module and all that it imports, as one script.

    Modules come after those that they import. They share one space of names then, so
    no two may have one name at the top.

    Args:
        entry: The module that the page starts.

    Raises:
        ValueError: If two modules have one name at the top, import each other, or one
            imports or exports in a form that is not understood here.
    """
    order: dict[pathlib.Path, str] = {}
    owners: dict[str, pathlib.Path] = {}
    _add_module(entry.resolve(), order, owners, ())
    return "\n".join(order.values())


def _add_module(
    path: pathlib.Path,
    order: dict[pathlib.Path, str],
    owners: dict[str, pathlib.Path],
    above: tuple[pathlib.Path, ...],
) -> None:
    """Add a module's text after those that it imports."""
    if path in order:
        return
    if path in above:
        raise ValueError(f"{path.name} imports itself by others: take one of them out")
    text = path.read_text("utf-8")
    for found in _IMPORT.finditer(text):
        _add_module((path.parent / found[1]).resolve(), order, owners, (*above, path))
    text = _EXPORT.sub("", _IMPORT.sub("", text))
    if left := re.search(r"^(?:import|export)\b.*", text, re.M):
        raise ValueError(
            f"{path.name}: {left[0]!r} is not understood; expected import {{ a }} from "
            '"./b.js"; and export before a function, class, const or let: write it so'
        )
    for name in _TOP.findall(text):
        if owners.setdefault(name, path) != path:
            raise ValueError(
                f"{path.name} and {owners[name].name} both have {name} at the top; "
                "expected names of their own: call one otherwise"
            )
    order[path] = text


def html_page(
    *,
    title: str,
    body: str,
    styles: Sequence[str] = (),
    scripts: Sequence[str] = (),
    module: str = "",
    root: Mapping[str, str] | None = None,
) -> str:
    """A whole page in the style that all pages share.

    Args:
        title: The page's title, as plain text.
        body: HTML of the body; what it has of files went through :func:`escaped`.
        styles: Texts of more style sheets.
        scripts: Texts of scripts that run before the module, in order.
        module: Text of the module that runs once the page is there; "" for none.
        root: Attributes of the root element.

    Raises:
        ValueError: If a style or script would end its own element.
    """
    sheets = [BASE_STYLE.read_text("utf-8"), *styles]
    runs = [*scripts, *([module] if module else [])]
    for text in (*sheets, *runs):
        if re.search(r"</(?:script|style)|<!--", text, re.IGNORECASE):
            raise ValueError(
                "a style or script holds </script, </style or <!--, which ends it; "
                "expected none: write it in parts"
            )
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src {' '.join(map(_allowed, runs)) or chr(39) + 'none' + chr(39)}",
            "style-src 'unsafe-inline'",
            "img-src data: blob:",
            "media-src 'self' file: blob:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    attributes = "".join(
        f' {name}="{escaped(value)}"' for name, value in (root or {}).items()
    )
    parts = [
        "<!doctype html>",
        f'<html lang="en"{attributes}>',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="referrer" content="no-referrer">',
        f"<title>{escaped(title)}</title>",
        *(f"<style>{text}</style>" for text in sheets),
        "</head>",
        "<body>",
        body,
        *(f"<script>{text}</script>" for text in scripts),
        *([f'<script type="module">{module}</script>'] if module else []),
        "</body>",
        "</html>",
    ]
    return "\n".join(parts) + "\n"


def _allowed(script: str) -> str:
    """The script's own place in the policy."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
