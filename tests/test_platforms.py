"""What holds on every system: Windows, which has no store, and macOS."""

import ast
import configparser
import json
import os
import pathlib
import subprocess
import sys

import pytest

from avemo_jax.runtime import machine

ROOT = pathlib.Path(__file__).parents[1]
SOURCES = [
    path
    for folder in ("avemo_jax", "data_builders")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
OPEN = {"open", "read_text", "write_text"}
# What has one of these of its own.
OPEN_BY_THEMSELVES = {"os", "av", "Image", "archive", "context", "file", "folder"}
# Modules that need TFDS, which itself needs array-record.
BUILDER = {
    f"data_builders.affwild2.{name}"
    for name in ("affwild2_dataset_builder", "on_beam", "records")
}
NEEDS = (
    "a store needs array-record, which is not installed and has no build for "
    "Windows; expected Linux or macOS: on Windows use WSL, elsewhere install it (pip "
    "install array-record)"
)
# What Linux has and Windows or macOS lacks, as far as it could be of use here.
NOT_EVERYWHERE = {"fork", "geteuid", "getuid", "sched_getaffinity", "sysconf"}
NOT_EVERYWHERE |= {
    "statvfs",
    "fstatvfs",
    "O_NOFOLLOW",
    "O_DIRECTORY",
    "mkfifo",
    "madvise",
}
POSIX_MODULES = {"fcntl", "grp", "pwd", "resource", "termios"}


@pytest.fixture(scope="module")
def on_windows(tmp_path_factory) -> tuple[pathlib.Path, dict]:
    """A process that lacks what Windows lacks: its folder, and what it found."""
    folder = tmp_path_factory.mktemp("windows")
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests/made/as_on_windows.py"), str(folder)],
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


@pytest.mark.slow
def test_everything_but_the_builder_is_imported(on_windows):
    _, found = on_windows
    assert found["errors"].keys() == BUILDER
    assert set(found["errors"].values()) == {NEEDS}


@pytest.mark.slow
def test_what_needs_no_store_works(on_windows):
    folder, found = on_windows
    assert found["help"].startswith("usage: avemo COMMAND")
    assert (found["extract"], found["score"]) == (0, 0)
    assert len(list((folder / "features").rglob("a.npz"))) == 1
    seeds, rows, outputs, expected = found["head_scores"]
    assert (seeds, rows, outputs) == (1, expected, 8)


@pytest.mark.slow
def test_what_needs_a_store_says_so(on_windows):
    _, found = on_windows
    assert len(found["needs_a_store"]) == 4
    for line, (status, said) in found["needs_a_store"].items():
        last = said.splitlines()[-1].removeprefix(f"avemo {line.split()[0]}: error: ")
        assert (line, status, last) == (line, 1, NEEDS)


@pytest.mark.slow
def test_names_of_files_are_allowed_on_windows(on_windows):
    folder, _ = on_windows
    names = {path.name for path in folder.rglob("*")}
    assert not {name for name in names if set(name) & set('<>:"|?*\\')}


@pytest.fixture(scope="module")
def nodes() -> list[tuple[str, ast.AST]]:
    """What is imported, named and called in the sources, and in which file."""
    return [
        (path.relative_to(ROOT).as_posix(), node)
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, (ast.Import, ast.Attribute, ast.Call))
    ]


def test_text_files_are_read_and_written_in_a_named_encoding(nodes):
    """Windows takes another one by default."""
    wrong = []
    for file, node in nodes:
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        owner = node.func.value
        owner = getattr(owner, "attr", getattr(owner, "id", ""))
        if node.func.attr not in OPEN or owner in OPEN_BY_THEMSELVES:
            continue
        said = [one.value for one in node.args if isinstance(one, ast.Constant)]
        binary = node.func.attr == "open" and any("b" in str(mode) for mode in said)
        encoded = "utf-8" in said or "encoding" in {one.arg for one in node.keywords}
        if not (binary or encoded):
            wrong.append(f"{file}:{node.lineno}: {ast.unparse(node)}")
    assert not wrong


def test_nothing_is_called_that_some_systems_lack(nodes):
    found = set()
    for file, node in nodes:
        names = set()
        if isinstance(node, ast.Import):
            names = {alias.name for alias in node.names} & POSIX_MODULES
        elif isinstance(node, ast.Attribute):
            names = {node.attr} & NOT_EVERYWHERE
        found |= {f"{file}: {name}" for name in names}
    # There behind the question whether the system has it.
    assert found == {
        "avemo_jax/runtime/machine.py: sched_getaffinity",
        "avemo_jax/data/importing/stream.py: madvise",
    }


def test_what_the_machine_has(monkeypatch):
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert machine.memory_bytes() == pytest.approx(pages, rel=0.01)
    assert machine.num_cpus() == len(os.sched_getaffinity(0))
    monkeypatch.delattr("os.sched_getaffinity")
    assert machine.num_cpus() == os.cpu_count()


def test_what_the_store_needs_is_not_installed_on_windows():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = setup["options"]["install_requires"].splitlines()
    marked = {line.partition(">")[0] for line in lines if "win32" in line}
    store = {"tensorflow-datasets", "array-record", "importlib_resources", "protobuf"}
    assert marked == store
