"""How the program is divided: who imports whom, what is loaded, how large parts are."""

import ast
import json
import pathlib
import re
import subprocess
import sys

import pytest

import avemo_jax

ROOT = pathlib.Path(__file__).parents[1]
FOLDERS = ("avemo_jax", "data_builders", "scripts")
FILES = [p for folder in FOLDERS for p in sorted((ROOT / folder).rglob("*.py"))]
# A room imports only rooms that stand before it, at the top of a file or in a function.
# A room within a room ("data.store") is named where it has a place of its own.
ROOMS = (
    *("tasks", "runtime", "media", "extractors", "heads", "metrics"),
    *("postprocess", "postprocess.frame_rate", "config", "embed", "faces"),
    *("data.listing", "data.records", "data.face_tables", "data.corpus"),
    *("data.features", "data.store"),
    *("data.importing", "data.predictions"),
    *("data_builders", "packing", "packing.demo", "batches", "models", "convert"),
    *("extraction", "extraction.prepare", "training", "training.plan", "evaluation"),
    *("prediction", "experiment", "results_table", "agreement", "challenge"),
    *("challenge.score", "challenge.submit", "main", "cli"),
)
# Rooms that know no files.
PURE = ("tasks", "heads", "metrics", "postprocess", "extractors", "faces")
PURE += ("runtime.safe_pickle", "postprocess.frame_rate", "batches.sharding")
PURE += ("training.losses", "training.optimiser")
OF_FILES = {"os", "pathlib", "io", "json", "csv", "shutil", "tempfile", "pickle"}
OF_FILES |= {"pyarrow", "safetensors", "orbax", "tensorflow_datasets", "array_record"}
COMPARES_WITH_TORCH = (
    "benchmark_training",
    "benchmark_extractors",
    "benchmark_predict",
    "opencv_pipeline",
)
HEAVY = ("tensorflow", "torch", "timm", "transformers", "tensorboard", "apache_beam")
HEAVY += ("librosa", "numba")


def module_of(path: pathlib.Path) -> str:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix(".__init__")


OURS = {module_of(path) for path in FILES}


def inside(module: str) -> str:
    """The module's name below the package."""
    return module.removeprefix("avemo_jax.")


def room_of(module: str) -> str | None:
    """The innermost room that the module is in."""
    parts = inside(module).split(".")
    for length in range(len(parts), 0, -1):
        if ".".join(parts[:length]) in ROOMS:
            return ".".join(parts[:length])
    return None


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
    return {module_of(path): ast.parse(path.read_text("utf-8")) for path in FILES}


@pytest.fixture(scope="module")
def called(trees) -> dict[str, set[str]]:
    """By module what is called anywhere in it, as it is written."""
    return {
        module: {
            f"{ast.unparse(node.func)}("
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
        }
        for module, tree in trees.items()
    }


@pytest.fixture(scope="module")
def imported(trees) -> dict[str, set[str]]:
    return {module: imports(tree) for module, tree in trees.items()}


def test_reader_of_imports():
    source = (
        "import os.path\ndef f():\n    from avemo_jax.data.store import join, table"
    )
    expected = {"os.path", "avemo_jax.data.store.join", "avemo_jax.data.store.table"}
    assert imports(ast.parse(source)) == expected
    assert room_of("avemo_jax.extraction.prepare.estimate") == "extraction.prepare"
    assert room_of("avemo_jax.main") == "main"


def test_rooms_import_rooms_that_stand_before_them(imported):
    wrong = []
    for module, names in imported.items():
        if (own := room_of(module)) is None:
            continue
        for name in sorted(names & (OURS - {"avemo_jax"})):
            other = room_of(name)
            if other is not None and ROOMS.index(other) > ROOMS.index(own):
                wrong.append(f"{inside(module)} -> {inside(name)}")
    assert not wrong, f"upwards: {'; '.join(wrong)}"


@pytest.mark.parametrize("room", PURE)
def test_pure_rooms_know_no_files(room, imported, trees):
    below = [m for m in imported if room in (inside(m), room_of(m))]
    assert below, f"there is no {room}: correct this test"
    for module in below:
        wrong = {name.split(".")[0] for name in imported[module]} & OF_FILES
        assert not wrong, f"{module} is not to import {', '.join(sorted(wrong))}"
        calls = [n.func for n in ast.walk(trees[module]) if isinstance(n, ast.Call)]
        assert "open" not in {c.id for c in calls if isinstance(c, ast.Name)}, module


def test_no_module_imports_itself_by_others(imported):
    """Imports in functions count."""
    above = {
        module: names & (OURS - {"avemo_jax", module})
        for module, names in imported.items()
        if module != "avemo_jax"
    }
    while free := [module for module, names in above.items() if not names]:
        for module in free:
            del above[module]
        above = {module: names - set(free) for module, names in above.items()}
    assert not above, f"in a circle, or after one: {', '.join(sorted(above))}"


def test_orbax_is_behind_one_module(imported):
    users = {m for m, names in imported.items() if any("orbax" in n for n in names)}
    assert users == {"avemo_jax.models.checkpoints"}


def test_tfds_is_behind_one_module(imported):
    users = {
        m for m, names in imported.items() if any("tensorflow_data" in n for n in names)
    }
    assert users == {"avemo_jax.data.store.tfds"}


# Files from anywhere are opened where sizes and types are checked, and nowhere else.
READ_IN = {
    r"json\.loads?\(": {"runtime.json_files", "config.fields"},  # and copies in memory
    r"np\.(load|fromfile)\(": set(),
    r"np\.memmap\(": {"runtime.array_files", "data.store.memmap", "convert.torch_file"},
    r"h5py\.File\(": {"data.importing.hdf5"},
    r"zipfile\.ZipFile\(": {
        "runtime.array_files",
        "data.features.writer",
        "convert.torch_file",
    },
    r"safetensors\.safe_open\(": {"embed.weights", "convert.source_file"},
    r"(pickle|marshal|shelve)\.\w+\(": set(),
}


@pytest.mark.parametrize("call", READ_IN)
def test_files_of_a_kind_are_read_in_one_place(call, called):
    users = {
        inside(module)
        for module, calls in called.items()
        if not module.startswith("scripts.")
        and any(re.fullmatch(call, one) for one in calls)
    }
    assert users == READ_IN[call]


def test_names_say_what_is_inside():
    assert not [p for p in FILES if p.stem.strip("_") in ("utils", "util", "helpers")]


_IMPORT_ALL = """
import importlib, importlib.util, json, sys
modules, scripts, heavy = json.loads(sys.argv[1])
sys.path.insert(0, "scripts")
for name in modules:
    importlib.import_module(name)
for path in scripts:
    spec = importlib.util.spec_from_file_location("script_" + str(len(path)), path)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
from avemo_jax.data.store.tfds import import_tfds
import_tfds()
wrong = sorted(name for name in heavy if name in sys.modules)
if wrong:
    sys.exit("loaded: " + ", ".join(wrong))
"""


@pytest.mark.slow
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
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), done.stderr


def test_the_package_itself_is_light():
    code = (
        "import sys, avemo_jax\n"
        "heavy = {'jax', 'numpy', 'flax', 'tensorflow_datasets'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), done.stderr


def test_few_modules_lie_flat():
    flat = {path.stem for path in (ROOT / "avemo_jax").glob("*.py")}
    assert flat == {"__init__", "experiment", "main", "cli"}


def test_what_users_call_is_handed_on_lazily():
    """Each name is the very object of its module, whose name tells its home."""
    for name in avemo_jax.__all__:
        assert name in dir(avemo_jax)
        if name != "__version__":
            found = getattr(avemo_jax, name)
            assert found.__name__ == name
            assert getattr(sys.modules[found.__module__], name) is found
    with pytest.raises(AttributeError, match="no attribute 'predikt'"):
        _ = avemo_jax.predikt


def test_the_page_on_the_rooms_has_them_all_in_their_order():
    page = (ROOT / "docs" / "how_it_works.md").read_text("utf-8")
    table = page.split("| room |")[1].split("## Three stories")[0]
    told = re.findall(r"`([\w/.]+?)(?:\.py|/)`(?=[^|]*\|)", table.replace("\n", "\n\n"))
    told = [name for name in told if name in {room.split(".")[0] for room in ROOMS}]
    assert told == list(dict.fromkeys(room.split(".")[0] for room in ROOMS))


def test_the_page_on_the_rooms_names_files_and_functions_that_exist():
    page = (ROOT / "docs" / "how_it_works.md").read_text("utf-8")
    for name in set(re.findall(r"`([\w/]+\.py)`", page)):
        assert (ROOT / "avemo_jax" / name).is_file() or (ROOT / name).is_file(), name
    for name, function in re.findall(r"`([\w/]+\.py)`, `(\w+)(?:\(\))?`", page):
        text = (ROOT / "avemo_jax" / name).read_text("utf-8")
        assert re.search(rf"^(def|class) {function}\b", text, re.M), (name, function)
