"""Docstrings that a reader who meets the function first understands alone."""

import ast
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[1]
FOLDERS = ("avemo_jax", "data_builders", "configs", "scripts")
FILES = [p for folder in FOLDERS for p in sorted((ROOT / folder).rglob("*.py"))]
# Words that lean on a sentence which stands elsewhere.
LEANING = re.compile(r"(Of|As|Likewise|It|See)\b")
SECTION = re.compile(
    r"^(Args|Attributes|Raises|Returns|Yields):\n((?:    .*\n|\n)+)", re.M
)
ENTRY = re.compile(r"^    \*{0,2}[\w., `]+(?: \([^)]*\))?: +(.*)", re.M)
WITH_DOCSTRINGS = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def beginnings(docstring: str) -> list[str]:
    """Where each part begins: the summary, and the entries of every section."""
    found = [docstring.split("\n")[0]]
    for kind, body in SECTION.findall(docstring + "\n"):
        if kind in ("Returns", "Yields"):
            found.append(body.strip().split("\n")[0])
        else:
            found += ENTRY.findall(body)
    return found


def leaning(source: str) -> list[str]:
    """The parts of all docstrings that begin with one of the words, with their line."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, WITH_DOCSTRINGS) and (text := ast.get_docstring(node)):
            line = getattr(node, "lineno", 1)
            found += [f"{line}: {t}" for t in beginnings(text) if LEANING.match(t)]
    return found


def test_the_check_finds_them():
    source = '''
def f(a, b):
    """As before.

    Args:
        a: Of the table.
        b: The rest; of the table too.

    Returns:
        It.
    """
'''
    assert leaning(source) == ["2: As before.", "2: Of the table.", "2: It."]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_part_of_a_docstring_stands_alone(path):
    assert not leaning(path.read_text())
