"""Settings of the documentation: ``python -m sphinx -W docs OUT``.

Nothing comes from the network: the theme's wheel brings its fonts and scripts. The
pages on the Python interface and on the commands are written from the code before each
build, into ``docs/generated/``; the notebooks are copied there, and what they show is
what they print while the documentation is built.
"""

import os
import pathlib
import pkgutil
import re
import sys
from typing import Any

from myst_nb.core import render
from sphinx.application import Sphinx

import avemo_jax
from avemo_jax import cli

project = "avemo_jax"
version = release = avemo_jax.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]

# Notebooks are stored without output: each runs in a clean kernel and an empty folder.
# "off" shows them without: python -m sphinx -W -D nb_execution_mode=off docs OUT
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_timeout = 600  # seconds of a cell
nb_execution_raise_on_error = True
nb_merge_streams = True
nb_output_stderr = "remove"  # the logs of commands
myst_heading_anchors = 3
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
napoleon_use_ivar = True  # else a field of a dataclass is described twice
napoleon_attr_annotations = False  # shapes such as "*batch" are no markup

html_theme = "sphinx_book_theme"
html_title = "avemo_jax"
html_theme_options = {
    "show_toc_level": 2,
    "use_download_button": False,
    "navbar_persistent": [],  # the search is in the sidebar
}
html_show_sourcelink = False
html_copy_source = False

_GENERATED = pathlib.Path(__file__).parent / "generated"
_NOTEBOOKS = pathlib.Path(__file__).parents[1] / "notebooks"
# Rooms that are pure, so that what is in them can be called on its own.
_PURE_ROOMS = ("tasks", "extractors", "heads", "metrics", "postprocess")


def _library_page() -> str:
    """The page on what ``import avemo_jax`` gives."""
    lines = ["# The library", "", "```{eval-rst}"]
    for name in avemo_jax.__all__:
        if name != "__version__":
            lines += [f".. autofunction:: avemo_jax.{name}", ""]
    return "\n".join([*lines, "```", ""])


def _room_page(room: str) -> str:
    """The page on all modules of one room."""
    path = str(pathlib.Path(avemo_jax.__file__).parent / room)
    prefix = f"avemo_jax.{room}."
    modules = [one.name for one in pkgutil.walk_packages([path], prefix)]
    lines = [f"# avemo_jax.{room}", ""]
    for module in [f"avemo_jax.{room}", *modules]:
        if module != f"avemo_jax.{room}":
            lines += [f"## {module.removeprefix(prefix)}", ""]
        lines += ["```{eval-rst}", f".. automodule:: {module}"]
        lines += ["   :members:", "   :ignore-module-all:", "```", ""]
    return "\n".join(lines)


def _commands_page() -> str:
    """The page on the commands: what ``avemo COMMAND --help`` prints."""
    os.environ["COLUMNS"] = "88"  # argparse's width
    parsers = cli.parsers()
    lines = ["# Commands", "", "What `avemo COMMAND --help` prints."]
    for title, commands in cli.GROUPS.items():
        lines += ["", f"## {title}"]
        for one in commands:
            told = parsers[one.name].format_help().rstrip()
            lines += ["", f"### avemo {one.name}", "", "```text", told, "```"]
    return "\n".join([*lines, ""])


def _notebook_page(path: pathlib.Path) -> str:
    """A notebook whose links lead to pages, and whose badge, a picture, is words."""
    text = path.read_text("utf-8").replace("](../docs/", "](../")
    return re.sub(r"!\[(Open in Colab)\]\([^)]*\)", r"\1", text)


def _write_pages(app: Sphinx) -> None:
    """Writes the generated pages, those that changed."""
    del app
    # Notebooks run the command of this environment, whatever shell builds the pages.
    scripts = str(pathlib.Path(sys.executable).parent)
    os.environ["PATH"] = os.pathsep.join([scripts, os.environ.get("PATH", "")])
    pages = {f"room_{room}.md": _room_page(room) for room in _PURE_ROOMS}
    pages |= {"library.md": _library_page(), "commands.md": _commands_page()}
    pages |= {path.name: _notebook_page(path) for path in _NOTEBOOKS.glob("*.ipynb")}
    _GENERATED.mkdir(exist_ok=True)
    for name, text in pages.items():
        path = _GENERATED / name
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")


def _short_types(*event: Any) -> tuple[str | None, str | None]:
    """The signature of autodoc's event with short names of JAX's types."""
    *_, signature, returns = event
    return tuple(
        one and one.replace("jaxlib._jax.", "") for one in (signature, returns)
    )


def _joined_streams(outputs: list[Any]) -> list[Any]:
    """The outputs of a cell with the pieces of what a command prints as one.

    myst_nb's own way ends a line after each piece, wherever a pipe happened to cut.
    """
    joined: list[Any] = []
    streams: dict[str, Any] = {}
    for output in outputs:
        if output["output_type"] == "stream" and output["name"] in streams:
            streams[output["name"]]["text"] += output["text"]
            continue
        if output["output_type"] == "stream":
            streams[output["name"]] = output
        joined.append(output)
    return joined


def setup(app: Sphinx) -> None:
    """Sphinx calls this before it looks for pages."""
    app.connect("builder-inited", _write_pages)
    render.coalesce_streams = _joined_streams
    app.connect("autodoc-process-signature", _short_types)
