"""The fields of the configuration and the recipes, in words: for ``--help``, as a page.

``python -m avemo_jax.config.reference > docs/configuration.md`` writes the page.
"""

import ast
import textwrap

from avemo_jax.config.field import Field
from avemo_jax.config.field_table import FIELDS, GROUPS
from avemo_jax.config.recipe_files import recipe_file, recipe_names
from avemo_jax.config.recipes import OURS

_PAGE = """# Configuration

<!-- Written by: python -m avemo_jax.config.reference > docs/configuration.md -->

An experiment is a recipe, found by its name wherever the package is installed, or a
file of your own that calls `avemo_jax.base_config(task, head, features)` and changes
what differs. Every field can be changed on the command line:

```bash
avemo train --config expr_mlp --config.learning_rate=3e-4 --config.num_seeds=5
avemo train --config original/va_mlp:enet_b2_8_best+vggish --config.data.dir=store
avemo train --config configs/expr_mlp.py --config.sweep.learning_rate="(1e-4, 1e-3)"
```

What stands behind the colon is the recipe's argument: its feature sets. A word that is
no choice, a number out of its range and fields that contradict each other are refused
before anything is loaded. Two runs whose configurations compute the same have the same
identity, 8 hex digits, which also names their default folder; where something runs and
how it is shown (marked †) does not count.

## Recipes

Scores on the demo corpus say that the program works, and nothing about emotion: the
corpus is synthetic.
"""


def fields_text(width: int = 88) -> str:
    """All fields for a terminal: default, range and meaning of each.

    Args:
        width: Columns of the terminal.
    """
    lines = ['Fields of the configuration, --config.NAME=VALUE; a list is "(1, 2)"']
    for group, title in GROUPS.items():
        lines += ["", *textwrap.wrap(title, width)]
        for field in _fields_of(group):
            may_be = f" ({field.range})" if field.range else ""
            lines.append(f"  {field.name}={_default(field)}{may_be}")
            lines += textwrap.wrap(
                field.text, width, initial_indent=" " * 6, subsequent_indent=" " * 6
            )
    return "\n".join(lines)


def recipes_text(width: int = 88) -> str:
    """All recipes for a terminal: name and first line of each.

    Args:
        width: Columns of the terminal.
    """
    lines = ["Recipes, --config NAME or --config NAME:FEATURES"]
    for name in recipe_names():
        title = _docstring(name).partition("\n")[0]
        lines += textwrap.wrap(
            f"{name:24} {title}",
            width,
            initial_indent=" " * 2,
            subsequent_indent=" " * 27,
        )
    return "\n".join(lines)


def page() -> str:
    """The documentation's page, in Markdown."""
    parts = [_PAGE]
    for name in recipe_names():
        parts.append(f"- `{name}`: {' '.join(_docstring(name).split())}")
    parts.append("\n## Fields")
    for group, title in GROUPS.items():
        parts.append(f"\n### {title}\n")
        parts.append("| field | default | may be | what |\n|---|---|---|---|")
        for field in _fields_of(group):
            mark = "" if field.counts else " †"
            cells = [f"`{field.name}`{mark}", _default(field)]
            cells += [field.range or _any(field), field.text]
            parts.append(f"| {' | '.join(cells)} |")
    return "\n".join(parts) + "\n"


def _fields_of(group: str) -> list[Field]:
    if not group:
        return [field for field in FIELDS if "." not in field.name]
    return [field for field in FIELDS if field.name.startswith(f"{group}.")]


def _default(field: Field) -> str:
    """The default in words, with those that our recipes have in its place."""
    value = "none" if field.default is None else str(field.default)
    for (task, head), values in OURS.items():
        if field.name in values:
            where = " ".join(one for one in (task, head) if one)
            value += f", {where}: {values[field.name]}"
    return value


def _any(field: Field) -> str:
    """What a field without a range may be."""
    words = {bool: "True, False", str: "text", int: "a whole number"}
    return words[field.value_type]


def _docstring(name: str) -> str:
    """What a recipe's file says of itself, without how its argument is written."""
    text = ast.get_docstring(ast.parse(recipe_file(name).read_text("utf-8"))) or ""
    parts = text.split("\n\n")
    return "\n\n".join(one for one in parts if not one.startswith("Feature sets"))


if __name__ == "__main__":
    print(page(), end="")
