"""The cache of compiled programs, in processes of their own, as users start them."""

import json
import os
import pathlib
import subprocess
import sys

import jax
import pytest

from avemo_jax.runtime.compilation import keep_compiled

# Some programs for each folder that is named, and what JAX says it did. After "damage"
# the entries of the first folder are half entries.
_PROGRAM = """
import collections, json, pathlib, sys, warnings
import jax
from avemo_jax.runtime.compilation import keep_compiled

def loss(weight, x):
    return jax.numpy.tanh(x @ weight).sum()

events = collections.Counter()
jax.monitoring.register_event_listener(lambda name, **_: events.update([name]))
found = []
for where in sys.argv[1:]:
    if where == "damage":
        for entry in pathlib.Path(found[0]["folder"]).glob("*-cache"):
            entry.write_bytes(entry.read_bytes()[:-20])
        where = sys.argv[1]
    folder = keep_compiled(where)
    jax.clear_caches()
    events.clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        weight = jax.random.normal(jax.random.key(0), (6, 4))
        x = jax.random.normal(jax.random.key(1), (8, 6))
        gradient = jax.jit(jax.grad(loss))(weight, x)
        total = float(abs(gradient).sum())
    counts = {name.rsplit("/", 1)[1]: count for name, count in events.items()}
    texts = [str(one.message) for one in caught]
    found.append({"folder": folder, "total": total, "warned": texts, **counts})
print(json.dumps(found))
"""


def start(*where: str | os.PathLike, **environment: str) -> subprocess.Popen:
    """A process that compiles once for each of ``where``."""
    return subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, *map(str, where)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "JAX_PLATFORMS": "cpu", **environment},
    )


def answer(process: subprocess.Popen) -> list[dict]:
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return json.loads(out)


@pytest.fixture(scope="module")
def starts(tmp_path_factory):
    """By name what a process did: two at once on an empty folder, one after them."""
    folder = tmp_path_factory.mktemp("compiled")
    cache = tmp_path_factory.mktemp("cache")
    both = [start(folder), start(folder)]
    found = dict(
        zip(("first", "beside"), [answer(one)[0] for one in both], strict=True)
    )
    after = ("second", "off", "default", "damaged")
    process = start(folder, "off", "on", "damage", AVEMO_CACHE=str(cache))
    found |= zip(after, answer(process), strict=True)
    found["cache"] = str(cache)
    return found


@pytest.mark.slow
def test_second_start_compiles_nothing(starts):
    first, beside, second = (starts[name] for name in ("first", "beside", "second"))
    # Of the two that start together, one may find what the other has compiled.
    misses = [one.get("cache_misses", 0) for one in (first, beside)]
    assert sum(misses) >= first["compile_requests_use_cache"] > 2
    assert second["compile_requests_use_cache"] == second["cache_hits"] > 2
    assert "cache_misses" not in second
    assert second["total"] == first["total"] > 0


@pytest.mark.slow
def test_two_processes_may_begin_with_the_same_empty_folder(starts):
    first, beside = starts["first"], starts["beside"]
    assert beside["total"] == first["total"]
    assert beside["folder"] == first["folder"]


@pytest.mark.slow
def test_switched_off_it_is_not_asked(starts):
    off = starts["off"]
    assert off["folder"] is None
    names = {"cache_hits", "cache_misses", "compile_requests_use_cache"}
    assert not names & set(off)
    assert off["task_disabled_cache"] == 1
    assert off["total"] == starts["first"]["total"]


@pytest.mark.slow
def test_on_is_the_cache_directory(starts):
    default = starts["default"]
    assert default["folder"].startswith(starts["cache"] + "/xla/")
    assert default["cache_misses"] > 2  # nothing of the other folder is found
    assert len(list(pathlib.Path(default["folder"]).iterdir())) > 2


@pytest.mark.slow
def test_half_an_entry_costs_a_warning_and_no_run(starts):
    damaged = starts["damaged"]
    assert damaged["total"] == starts["first"]["total"]
    assert any("persistent compilation cache" in text for text in damaged["warned"])


@pytest.fixture
def jax_settings():
    """JAX's settings as they were."""
    yield
    keep_compiled()


@pytest.mark.usefixtures("jax_settings")
def test_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    before = jax.config.jax_compilation_cache_dir
    with pytest.raises(ValueError, match=r"cannot be written; expected on, off or a"):
        keep_compiled(tmp_path / "file")
    assert jax.config.jax_compilation_cache_dir == before


@pytest.mark.usefixtures("jax_settings")
def test_default_that_cannot_be_written_is_said_and_done_without(
    tmp_path, monkeypatch, caplog
):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AVEMO_CACHE", str(tmp_path / "file"))
    with caplog.at_level("WARNING"):
        assert keep_compiled() is None
    assert "compiled programs are not kept" in caplog.text
    assert not jax.config.jax_enable_compilation_cache


@pytest.mark.usefixtures("jax_settings")
def test_bucket_gets_a_folder_for_each_kind_of_machine(tmp_path):
    local = keep_compiled(tmp_path)
    there = keep_compiled("gs://bucket/compiled/")
    assert there == f"gs://bucket/compiled/{pathlib.Path(local).name}"
    assert jax.config.jax_compilation_cache_dir == there
