"""Brings the notebooks into the form in which they are stored.

Outputs, counts and whatever an editor or a kernel left are removed. Where setup.cfg
names a repository on GitHub (``url`` or ``project_urls``), each notebook has an "Open
in Colab" badge and its first cell of code installs from there; else there is no badge,
and it installs from the checkout. Run it after each change of a notebook:

python scripts/clean_notebooks.py
"""

import configparser
import json
import pathlib
import re
from typing import Any

ROOT = pathlib.Path(__file__).parents[1]
NOTEBOOKS = ROOT / "notebooks"
CHECKOUT = ".."
_GITHUB = re.compile(r"https://github\.com/([\w.-]+/[\w.-]+?)(?:\.git)?/?$", re.M)
METADATA = {
    "kernelspec": {
        "display_name": "Python 3",
        "language": "python",
        "name": "python3",
    },
    "language_info": {"name": "python"},
}
_BADGE = re.compile(r"^\[!\[Open in Colab\].*\n\n")
_INSTALL = re.compile(r'(%pip install .*)"[^"]*"( pandas)')


def main() -> None:
    """Writes the notebooks."""
    repository = repository_of((ROOT / "setup.cfg").read_text("utf-8"))
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        notebook = json.loads(path.read_text("utf-8"))
        clean = cleaned(notebook, path.name, repository)
        path.write_text(written(clean), "utf-8")


def repository_of(setup_cfg: str) -> str | None:
    """``OWNER/NAME`` of the first repository on GitHub that the metadata name.

    Args:
        setup_cfg: The text of setup.cfg.
    """
    parser = configparser.ConfigParser()
    parser.read_string(setup_cfg)
    metadata = parser["metadata"]
    named = f"{metadata.get('url', '')}\n{metadata.get('project_urls', '')}"
    found = _GITHUB.search(named)
    return found[1] if found else None


def cleaned(
    notebook: dict[str, Any], name: str, repository: str | None
) -> dict[str, Any]:
    """The notebook as it is stored.

    Args:
        notebook: The content of the file.
        name: Name of the file.
        repository: ``OWNER/NAME`` on GitHub; None: there is none.

    Raises:
        ValueError: If the second cell, the first of code, installs nothing.
    """
    cells = []
    for number, cell in enumerate(notebook["cells"]):
        kind, source = cell["cell_type"], "".join(cell["source"])
        if number == 0:
            source = _badge(name, repository) + _BADGE.sub("", source)
        if number == 1:
            source = _installing(source, name, repository)
        clean = {"cell_type": kind, "id": f"cell-{number:02d}", "metadata": {}}
        if kind == "code":
            clean |= {"execution_count": None, "outputs": []}
        cells.append({**clean, "source": source.splitlines(keepends=True)})
    return {"cells": cells, "metadata": METADATA, "nbformat": 4, "nbformat_minor": 5}


def _badge(name: str, repository: str | None) -> str:
    """The paragraph that opens a notebook in Colab; empty without a repository."""
    if repository is None:
        return ""
    colab = "https://colab.research.google.com"
    place = f"{colab}/github/{repository}/blob/main/notebooks/{name}"
    return f"[![Open in Colab]({colab}/assets/colab-badge.svg)]({place})\n\n"


def _installing(source: str, name: str, repository: str | None) -> str:
    """The code of a cell that installs the package, from where it is to be had."""
    where = f"git+https://github.com/{repository}" if repository else CHECKOUT
    code, count = _INSTALL.subn(rf'\1"{where}"\2', source)
    if count != 1:
        raise ValueError(
            f"{name}: the second cell installs nothing; expected %pip install of the "
            "package and pandas: write it there"
        )
    return code


def written(notebook: dict[str, Any]) -> str:
    """The text of a notebook's file."""
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    main()
