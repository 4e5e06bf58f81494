"""README, docs/, notebooks/: commands are understood, Python runs, links lead on.

The Python of notebooks runs where the documentation is built.
"""

import dataclasses
import json
import pathlib
import re
import shlex
from collections.abc import Iterator

import numpy as np
import pytest
from made.predicted import made_face, made_predicted
from made.sounds import write_wav
from made.trees import make_weights_dir, write_crops, write_video

import avemo_jax
from avemo_jax import cli
from avemo_jax.config.flags import read_config
from avemo_jax.embed.weights import default_weights_path, write_weights
from avemo_jax.extraction import command as extract
from avemo_jax.faces.published import DETECTOR
from avemo_jax.faces.yunet import state_shapes
from avemo_jax.prediction.writing import write_predicted
from avemo_jax.tasks import registry

ROOT = pathlib.Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
PAGES += sorted([*ROOT.glob("docs/*.md"), *ROOT.glob("docs/ways_in/*.md")])
NOTEBOOKS = sorted(ROOT.glob("notebooks/*.ipynb"))
BLOCK = re.compile(r"(<!-- needs: weights -->\n)?^```(\w+)\n(.*?)^```", re.M | re.S)
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")


@dataclasses.dataclass(frozen=True)
class Block:
    """An example on a page."""

    language: str
    text: str
    needs_weights: bool


def blocks(page: str) -> list[Block]:
    return [Block(name, text, bool(needs)) for needs, name, text in BLOCK.findall(page)]


def text_of(path: pathlib.Path) -> str:
    """A page; a notebook as a page that has its cells as blocks."""
    text = path.read_text("utf-8")
    if path.suffix != ".ipynb":
        return text
    parts = []
    for cell in json.loads(text)["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code":
            shell = source.startswith("%%bash\n")
            body = source.removeprefix("%%bash\n")
            source = f"```{'bash' if shell else 'python'}\n{body}\n```"
        parts.append(source)
    return "\n".join([*parts, ""])


def commands(page: str) -> Iterator[list[str]]:
    """The words of each ``avemo`` command in shell blocks, from its name on.

    In blocks that show output, commands follow a dollar sign.
    """
    for block in blocks(page):
        text = block.text.replace("\\\n", " ")
        if block.language == "console":
            lines = [line[2:] for line in text.splitlines() if line.startswith("$ ")]
        elif block.language == "bash":
            lines = text.splitlines()
        else:
            continue
        for line in lines:
            for part in re.split(r" (?:&&|;|\|) | -- ", line):
                words = shlex.split(part, comments=True)
                if words and words[0].split("/")[-1] == "avemo":
                    yield words[1:]
                elif "avemo_jax.main" in words:
                    yield of_main(words[words.index("avemo_jax.main") + 1 :])


def of_main(words: list[str]) -> list[str]:
    """The same command by the name of its mode."""
    modes = [word for word in words if word.startswith("--mode=")]
    mode = modes[0].removeprefix("--mode=") if modes else "train"
    return [mode, *(word for word in words if word not in modes)]


def test_reader_of_commands():
    page = """
```bash
cd a && .venv/bin/python -m avemo_jax.main --config c.py  # a comment
.venv/bin/python -m avemo_jax.main --mode=blend \\
    --checkpoint=a,b
pip install avemo
```
```console
$ avemo score "my file.csv"
avemo says
```
```python
avemo
```
"""
    assert list(commands(page)) == [
        ["train", "--config", "c.py"],
        ["blend", "--checkpoint=a,b"],
        ["score", "my file.csv"],
    ]


def test_every_command_is_understood(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    parsers = cli.parsers()
    found = [(p, words) for p in [*PAGES, *NOTEBOOKS] for words in commands(text_of(p))]
    assert {words[0] for _, words in found} > {"train", "score", "prepare", "submit"}
    assert {page for page, _ in found} >= set(NOTEBOOKS)
    wrong = []
    for page, (name, *words) in found:
        try:
            args = parsers[name].parse_args(words)
            if getattr(args, "config", None) and "$" not in args.config:
                read_config(args.config, args.fields)
        except (SystemExit, KeyError, ValueError) as error:
            said = capsys.readouterr().err.splitlines()[-1:] or error
            wrong.append(f"{page.name}: avemo {name} {shlex.join(words)}: {said}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "page", [*PAGES, *NOTEBOOKS], ids=lambda page: str(page.relative_to(ROOT))
)
def test_links_and_scripts_are_there(page):
    text = text_of(page)
    shell = "".join(b.text for b in blocks(text) if b.language == "bash")
    named = [page.parent / link for link in LINK.findall(text)]
    named += [
        ROOT / path for path in re.findall(r"\b(?:scripts|configs)/[\w/]+\.\w+", shell)
    ]
    written = ROOT / "docs" / "generated"
    missing = [str(p) for p in named if not p.exists() and p.parent != written]
    assert not missing


def run_python(text: str, capsys) -> None:
    """Runs an example, whose ``print(...)  # TEXT`` are to print that."""
    capsys.readouterr()
    exec(compile(text, "example", "exec"), {"__name__": "__main__"})
    printed = capsys.readouterr().out.splitlines()
    for expected in re.findall(r"^print\(.*\)  # ([^a-z\n]+)$", text, re.M):
        assert expected in printed


DEAR = {
    ".train(": pytest.mark.slow,
    "open_data": pytest.mark.slow,
    "features/acoustic": pytest.mark.release,
}


def examples(*, needs_weights: bool) -> list:
    """The Python examples of all pages; those that are files are run elsewhere."""
    return [
        pytest.param(
            block.text,
            id=f"{page.stem}-{i}",
            # evaluating compiles for 20 s; a store or features are written first
            marks=[mark for word, mark in DEAR.items() if word in block.text][:1],
        )
        for page in PAGES
        for i, block in enumerate(blocks(page.read_text("utf-8")))
        if block.language == "python"
        and block.needs_weights == needs_weights
        and not re.match(r"# \S+\.py\n", block.text)
    ]


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """An empty folder to run in; tasks that an example registers are forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_OWN", {})
    return tmp_path


@pytest.mark.parametrize("text", examples(needs_weights=False))
def test_python_examples_run(text, elsewhere, request, capsys):
    if "open_data" in text:
        request.getfixturevalue("demo_store_dir")
    if "features/acoustic" in text:
        write_wav(elsewhere / "wavs" / "speech.wav", 2)
        flags = ["--audio", "acoustic", "--audio-dir", "wavs", "--out", "features"]
        assert extract.main(flags) == 0
    if '"predicted' in text:
        write_predicted(
            made_predicted(9, [made_face(1, 2, 9), made_face(2, 1, 5)]),
            elsewhere / "predicted" / "interview",
        )
    run_python(text, capsys)


@pytest.mark.release
@pytest.mark.parametrize("text", examples(needs_weights=True))
def test_python_examples_with_weights_run(text, elsewhere, monkeypatch, capsys):
    monkeypatch.setenv("AVEMO_CACHE", str(elsewhere / "cache"))
    names = re.findall(r'load_extractor\("(\w+)"\)', text)
    if ".predict(" in text:
        names.append("enet_b0_8_va_mtl")
    folder = default_weights_path(names[0]).parent
    folder.mkdir(parents=True)
    make_weights_dir(folder, names)
    # A detector that is in doubt everywhere, and finds no face.
    blind = {name: np.zeros(of, np.float32) for name, of in state_shapes().items()}
    path = default_weights_path(DETECTOR.name)
    write_weights(path, blind, {"extractor": DETECTOR.name})
    write_crops(elsewhere, [1], np.random.default_rng(0))
    write_video(elsewhere / "video.mp4", 50)
    write_video(elsewhere / "interview.mp4", 5)
    run_python(text, capsys)


def test_the_citation_is_of_this_version():
    said = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.M)
    assert said[1] == avemo_jax.__version__
