"""Text from outside in logs, errors, CSV and Markdown: shown, and never obeyed.

Names of folders, videos and classes may hold what a terminal, a spreadsheet or a page
takes as an order: escape sequences, line ends that forge a line, formulas, tags.
"""

import re

# What a spreadsheet takes as a formula that could call something. Names such as those
# of YouTube, -aBc, are none. An apostrophe in front makes a text of it.
_CALL = r"(?:=|[+@-].*[(|!])"
FORMULA = rf"(?s)^'*{_CALL}"
NEUTRAL_FORMULA = rf"(?s)^'('*{_CALL}.*)$"
# Control characters, and those that turn the direction of writing.
_CONTROL = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]"
)

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def is_number(text: str) -> bool:
    """Whether a text is a plain finite number, with a point for the decimals."""
    return _NUMBER.fullmatch(text) is not None


def one_line(text: str) -> str:
    r"""``text`` with every control character, a line end too, as ``\n`` or ``\x1b``."""
    return _CONTROL.sub(_escaped, text)


def lines(text: str) -> str:
    """``text`` with every control character but line ends escaped."""
    return "\n".join(map(one_line, text.split("\n")))


def in_csv(text: str) -> str:
    """``text`` for a cell of a CSV file, of which a spreadsheet calls nothing.

    Our reader of tables takes the apostrophe away again that this puts before formulas.
    """
    return f"'{text}" if re.match(FORMULA, text) else text


def in_markdown(text: str) -> str:
    """``text`` that stays in one cell of a Markdown table and shows as it is."""
    text = text.replace("\\", "&#92;").replace("<", "&lt;").replace("|", "\\|")
    return one_line(" ".join(text.split()))


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()
