"""The notebooks as they are stored: without output, ready for a clean kernel.

They run where the documentation is built.
"""

import ast
import json
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "scripts"))
import clean_notebooks

ROOT = pathlib.Path(__file__).parents[1]
NOTEBOOKS = sorted(ROOT.glob("notebooks/*.ipynb"))
NAMES = ["audiovisual_emo_reg", "testing", "your_own_video"]
SETUP = "[metadata]\nname = avemo_jax\n"
ON_THE_WEB = f"{SETUP}project_urls =\n    Source = https://github.com/some/where\n"


def cells(path: pathlib.Path) -> list[dict]:
    return json.loads(path.read_text("utf-8"))["cells"]


def source(cell: dict) -> str:
    return "".join(cell["source"])


def test_they_are_called_as_the_original_s():
    assert [path.stem for path in NOTEBOOKS] == NAMES


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_nothing_of_a_run_is_stored(path):
    for cell in cells(path):
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
    ran = json.loads(path.read_text("utf-8"))
    ran["metadata"]["kernelspec"]["name"] = "my_environment"
    ran["cells"][-1]["metadata"] = {"collapsed": True}
    for number, cell in enumerate(ran["cells"]):
        cell["id"] = f"{number * 7919:08x}"
        if cell["cell_type"] == "code":
            cell["execution_count"] = 3
            cell["outputs"] = [{"name": "stdout", "output_type": "stream", "text": []}]
    here = clean_notebooks.repository_of((ROOT / "setup.cfg").read_text("utf-8"))
    clean = clean_notebooks.cleaned(ran, path.name, here)
    assert clean_notebooks.written(clean) == path.read_text("utf-8")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_code_compiles(path):
    code = [source(cell) for cell in cells(path) if cell["cell_type"] == "code"]
    for text in code:
        if not text.startswith("%%bash\n"):
            ast.parse(text.replace("    %pip", "    pass  # %pip"))
    assert len(code) > 5


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_first_code_installs_what_is_missing(path, monkeypatch):
    title, install, *_ = cells(path)
    assert source(title).startswith("# ")
    code = source(install).replace("%pip", "ran.append('pip')  # %pip")
    ran: list[str] = []
    exec(code, {"ran": ran})
    assert not ran  # all is here
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    exec(code, {"ran": ran})
    assert ran == ["pip"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_badge_and_source_are_of_the_repository_that_setup_names(path):
    stored = json.loads(path.read_text("utf-8"))
    setup = (ROOT / "setup.cfg").read_text("utf-8")
    here = clean_notebooks.repository_of(setup)
    assert clean_notebooks.cleaned(stored, path.name, here) == stored

    told = clean_notebooks.cleaned(stored, path.name, "some/where")
    first = source(told["cells"][0])
    place = (
        f"colab.research.google.com/github/some/where/blob/main/notebooks/{path.name}"
    )
    assert first.startswith("[![Open in Colab](")
    assert place in first.splitlines()[0]
    assert '"git+https://github.com/some/where"' in source(told["cells"][1])
    assert clean_notebooks.cleaned(told, path.name, here) == stored


@pytest.mark.parametrize(
    ("setup", "repository"),
    [
        (SETUP, None),
        (f"{SETUP}url = https://example.org/avemo\n", None),
        (f"{SETUP}url = https://github.com/some/where.git\n", "some/where"),
        (ON_THE_WEB, "some/where"),
    ],
)
def test_the_repository_is_read_from_setup(setup, repository):
    assert clean_notebooks.repository_of(setup) == repository
