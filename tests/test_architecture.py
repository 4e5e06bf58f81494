"""How the program is divided: who imports whom, what is loaded, how large parts are."""

import ast
import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
FOLDERS = ("avemo_jax", "data_builders", "scripts")
FILES = [p for folder in FOLDERS for p in sorted((ROOT / folder).rglob("*.py"))]
# What each of the lower rooms may import of ours; the others put things together.
MAY_IMPORT = {
    "tasks": {"joint_task"},
    "losses": {"tasks"},
    "metric_states": set(),
    "metrics": {"joint_task", "metric_states", "tasks"},
    "optim": set(),
    "whole_files": set(),
    "beam": set(),
    "exit_status": set(),
    "versions": set(),
    "sharding": set(),
    "bucket": set(),
    "mirror": {"bucket", "data", "whole_files"},
    "workdirs": {"bucket", "mirror", "whole_files"},
    "heads": {"heads", "joint_task", "tasks"},
    "postprocess": {"postprocess", "metric_states", "metrics", "tasks"},
    "extractors": {"extractors"},
    "media": {"media"},
    "weights": {"data", "whole_files"},
    "pickles": set(),
    "data": {
        *("beam", "data", "data_builders", "exit_status", "extractors", "joint_task"),
        *("media", "pickles", "tasks", "versions", "whole_files"),
    },
    "data_builders": {"beam", "data_builders", "data", "tasks"},
    "config": {"tasks"},
    "config_checks": {"config", "tasks"},
    "joint_task": {"tasks"},
    "checkpoint": {"distributed", "sharding", "tasks", "whole_files", "workdirs"},
    "claims": {"checkpoint", "config"},
    "distributed": set(),
    "preemption": {"distributed"},
    "submission": {
        *("data", "exit_status", "experiment", "postprocess", "predictions"),
        *("scoring", "submission", "tasks", "whole_files"),
    },
    "scoring": {
        *("data", "exit_status", "postprocess", "scoring", "submission", "tasks"),
        "whole_files",
    },
    "importing": {
        *("data", "exit_status", "extractors", "importing", "media", "pickles"),
        "tasks",
    },
    "report": {"tasks"},
    "canvas": set(),
    "plots": {"canvas", "postprocess"},
    "rate_plots": {"canvas", "postprocess"},
    "selection": {"postprocess", "tasks"},
    "finishing": {"data", "postprocess", "selection", "tasks"},
    "choice": {"finishing", "postprocess", "selection"},
    "intervals": {"data", "postprocess", "results", "tasks"},
    "logs": {"versions"},
}
# Those that put things together, and who may use them.
USERS = {
    "train": {"experiment", "results_table", "scripts"},
    "evaluate": {"experiment", "joint_run", "results_table", "scripts"},
    "joint_model": {"experiment", "joint_run", "train"},
    "joint_run": {"experiment"},
    "experiment": {"main", "results_table", "scripts", "submission"},
    "main": {"cli"},
    "cli": set(),
    "checkpoint": {
        *("train", "trained", "blended", "claims", "evaluate", "experiment"),
        *("convert", "ensembles", "joint_model", "joint_run", "results_table"),
        "scripts",
    },
    "loading": {
        *("train", "trained", "blended", "evaluate", "experiment", "results_table"),
        *("ensembles", "foreign", "joint_run", "provenance", "planning", "scripts"),
    },
    "trained": {"blended", "ensembles", "evaluate", "results_table", "scripts"},
    "blended": {"ensembles", "evaluate", "experiment", "results_table", "scripts"},
    "ensembles": {"evaluate", "experiment", "joint_run"},
    "foreign": {"blended"},
    "importing": {"importing", "cli", "scripts"},
    "scoring": {"scoring", "foreign", "submission", "cli", "scripts"},
    "results_table": {"results_table", "cli", "scripts"},
    "embed": {"embed", "extraction", "preparation", "scripts"},
    "extraction": {"extraction", "preparation", "cli", "scripts"},
    "preparation": {"preparation", "cli", "scripts"},
    "planning": {"planning", "cli", "scripts"},
    "submission": {"submission", "cli", "scripts"},
    "convert": {"convert", "cli", "scripts"},
}
# Rooms that know no files.
PURE = (
    "tasks",
    "joint_task",
    "losses",
    "metric_states",
    "metrics",
    "optim",
    "sharding",
    "heads",
    "postprocess",
)
PURE += ("extractors", "pickles")
OF_FILES = {"os", "pathlib", "io", "json", "csv", "shutil", "tempfile", "pickle"}
OF_FILES |= {"pyarrow", "safetensors", "orbax", "tensorflow_datasets", "array_record"}
COMPARES_WITH_TORCH = ("benchmark_training", "benchmark_extractors")
HEAVY = ("tensorflow", "torch", "timm", "transformers", "tensorboard", "apache_beam")


def module_of(path: pathlib.Path) -> str:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix(".__init__")


OURS = {module_of(path) for path in FILES}


def room_of(module: str) -> str:
    """The file or folder directly beneath the package, or the folder of its own."""
    parts = module.split(".")
    if parts[0] != "avemo_jax":
        return parts[0]
    return parts[1] if len(parts) > 1 else "avemo_jax"


def imports(tree: ast.AST) -> set[str]:
    """Full names of the modules that are imported anywhere in ``tree``."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are written in full"
            below = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (below & OURS) or {node.module}
    return found


@pytest.fixture(scope="module")
def trees() -> dict[str, ast.Module]:
    return {module_of(path): ast.parse(path.read_text()) for path in FILES}


@pytest.fixture(scope="module")
def imported(trees) -> dict[str, set[str]]:
    return {module: imports(tree) for module, tree in trees.items()}


def test_reader_of_imports():
    source = "import os.path\ndef f():\n    from avemo_jax.data import store, splits"
    expected = {"os.path", "avemo_jax.data.store", "avemo_jax.data.splits"}
    assert imports(ast.parse(source)) == expected
    assert room_of("avemo_jax.data.store") == "data"
    assert {"avemo_jax.tasks", "avemo_jax.heads", "scripts.build_store"} <= OURS


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_lower_rooms_import_downwards(room, imported):
    seen = False
    for module, names in imported.items():
        if room_of(module) == room:
            seen = True
            rooms = {room_of(n) for n in names if n in OURS and n != "avemo_jax"}
            wrong = rooms - MAY_IMPORT[room]
            assert not wrong, f"{module} is not to import {', '.join(sorted(wrong))}"
    assert seen, f"there is no {room}: correct this test"


@pytest.mark.parametrize("room", USERS)
def test_upper_rooms_are_used_from_above_only(room, imported):
    assert f"avemo_jax.{room}" in OURS
    users = {
        room_of(module)
        for module, names in imported.items()
        if f"avemo_jax.{room}" in names
    }
    assert users <= USERS[room]


@pytest.mark.parametrize("room", PURE)
def test_pure_rooms_know_no_files(room, imported, trees):
    for module, names in imported.items():
        if room_of(module) != room:
            continue
        wrong = {name.split(".")[0] for name in names} & OF_FILES
        assert not wrong, f"{module} is not to import {', '.join(sorted(wrong))}"
        calls = [n.func for n in ast.walk(trees[module]) if isinstance(n, ast.Call)]
        assert "open" not in {c.id for c in calls if isinstance(c, ast.Name)}, module


def test_no_module_imports_itself_by_others(trees):
    """What is imported at the top of modules; a function may import back."""
    above = {
        module: {
            name
            for node in tree.body
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in imports(node) & (OURS - {"avemo_jax"})
        }
        for module, tree in trees.items()
    }
    while free := [module for module, names in above.items() if not names]:
        for module in free:
            del above[module]
        above = {module: names - set(free) for module, names in above.items()}
    assert not above, f"in a circle, or after one: {', '.join(sorted(above))}"


def test_orbax_is_behind_one_module(imported):
    users = {m for m, names in imported.items() if any("orbax" in n for n in names)}
    assert users == {"avemo_jax.checkpoint"}


def test_tfds_is_behind_one_module(imported):
    users = {
        m for m, names in imported.items() if any("tensorflow_data" in n for n in names)
    }
    assert users == {"avemo_jax.data.tfds"}


def test_names_say_what_is_inside():
    assert not [p for p in FILES if p.stem.strip("_") in ("utils", "util", "helpers")]


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_files_and_functions_are_short(path, trees):
    assert len(path.read_text().splitlines()) <= 350
    for node in ast.walk(trees[module_of(path)]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            whole = (module_of(path), node.name) == ("avemo_jax.train", "train")
            assert lines < (120 if whole else 61), f"{node.name}: {lines} lines"


_IMPORT_ALL = """
import importlib, importlib.util, json, sys
modules, scripts, heavy = json.loads(sys.argv[1])
sys.path.insert(0, "scripts")
for name in modules:
    importlib.import_module(name)
for path in scripts:
    spec = importlib.util.spec_from_file_location("script_" + str(len(path)), path)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
from avemo_jax.data.tfds import import_tfds
import_tfds()
wrong = sorted(name for name in heavy if name in sys.modules)
if wrong:
    sys.exit("loaded: " + ", ".join(wrong))
"""


def test_everything_imports_without_heavy_libraries_and_in_silence():
    modules = sorted(name for name in OURS if not name.startswith("scripts"))
    scripts = [
        str(path)
        for path in FILES
        if path.parent.name == "scripts" and path.stem not in COMPARES_WITH_TORCH
    ]
    work = json.dumps([modules, scripts, HEAVY])
    command = [sys.executable, "-W", "error", "-c", _IMPORT_ALL, work]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_package_itself_is_light():
    code = (
        "import sys, avemo_jax\n"
        "heavy = {'jax', 'numpy', 'flax', 'tensorflow_datasets'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
