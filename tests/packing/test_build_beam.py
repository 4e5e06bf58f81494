"""Packing on Apache Beam: the same store, byte for byte, and killed without harm."""

import importlib.util
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from made.stores import annotated, source, vectors

from avemo_jax.data.features.files import write_feature_file
from avemo_jax.data.records import VideoFeatures
from avemo_jax.data.store.layout import config_folder, read_metadata
from avemo_jax.data.store.store import open_store
from avemo_jax.data.store.tfds import open_examples
from avemo_jax.packing.build import build_store
from avemo_jax.packing.command import main

TESTS = pathlib.Path(__file__).parents[1]
needs_beam = pytest.mark.skipif(
    importlib.util.find_spec("apache_beam") is None, reason="no apache-beam"
)
TWO_WORKERS = ("--direct_running_mode=multi_processing", "--direct_num_workers=2")
MANY = 353  # 12 shards: as text, their numbers have another order
FILES = 40

BUILD = """
import json, os, pathlib, sys
sys.path[:0] = [sys.argv[2], sys.argv[2] + "/packing"]
os.chdir(sys.argv[1])
from made.stores import annotated, source, vectors
from test_build_beam import MANY, TWO_WORKERS
from avemo_jax.packing.build import build_store
from avemo_jax.data.features.folders import find_feature_sources

names = [f"v{i:03}" for i in range(MANY)]
records = [annotated(name, 3, "train") for name in names]
rows = vectors("many@a", {name: [1, 3] for name in names}, 2, output_dim=2)

def build(out, **how):
    many = source("many@a", "visual", rows)
    sources = [many, *find_feature_sources([pathlib.Path("features")])]
    return build_store(out, records, sources, show_progress=False, **how)

engine = {"beam_runner": "DirectRunner", "beam_options": TWO_WORKERS}
same = build("plain") == build("beam", **engine)

broken = {**rows, "v200": vectors("x", {"v200": [2, 1]}, 2, output_dim=2)["v200"]}
broken["v010"] = broken["v300"] = broken["v200"]
errors = []
for how in ({}, {"beam_runner": "DirectRunner"}):
    try:
        one = source("bad@a", "visual", broken)
        build_store("bad", records, [one], show_progress=False, **how)
    except ValueError as error:
        errors.append(str(error))
print(json.dumps([same, errors]))
"""


def write_files(folder: pathlib.Path) -> None:
    """A set of files with faults of all kinds, in two shards."""
    folder.mkdir(parents=True)
    meta = {"fingerprint": "f" * 64, "kind": "visual", "extractor": "mine"}
    for i in range(FILES):
        rows = VideoFeatures(np.int32([1, 2, 4]), np.full((3, 4), i, np.float32))
        faults = {}
        if i % 13 == 0:
            faults = {"failed": [[3, "no picture"], [5, "cut"]], "notes": ["no sound"]}
        write_feature_file(folder / f"v{i:03}.npz", rows, {**meta, **faults})


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[pathlib.Path, bool, list[str]]:
    """Plain and on two workers; whether the reports are the same; errors of both."""
    if importlib.util.find_spec("apache_beam") is None:
        pytest.skip("no apache-beam")
    root = tmp_path_factory.mktemp("beam")
    write_files(root / "features" / "mine@x")
    command = [sys.executable, "-c", BUILD, str(root), str(TESTS)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    same, errors = json.loads(ran.stdout.splitlines()[-1])
    return root, same, errors


def files_below(folder: pathlib.Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "README.md"
    }


@pytest.mark.slow
def test_two_workers_write_the_same_bytes(built):
    root, same_reports, _ = built
    plain, beam = files_below(root / "plain"), files_below(root / "beam")
    assert plain == beam
    assert same_reports
    records = [name for name in plain if ".array_record-" in name]
    assert len(records) == 12 + 12 + 2  # annotations, many@a, mine@x
    for name in ("dataset_info.json", "features.json", "metadata.json"):
        assert f"affwild2/many@a/1.0.0/{name}" in plain


@pytest.mark.slow
def test_all_examples_are_read_in_order(built):
    examples = open_examples(config_folder(built[0] / "beam", "many@a"))
    names = [f"v{i:03}" for i in range(MANY)]
    assert [example["video"].decode() for example in examples] == names
    table = open_store(built[0] / "beam").load_table("EXPR", "train+dev", ["many@a"])
    assert table.num_rows == 2 * MANY


@pytest.mark.slow
def test_counts_of_other_processes_arrive(built):
    metadata = read_metadata(built[0] / "beam", "mine@x")
    assert metadata["runs"]["v039"] == (1, 2, 4, 4)
    assert metadata["provenance"] == {"extractor": "mine"}
    videos = ["v000", "v013", "v026", "v039"]
    assert metadata["report"] == {
        "failed_frames": 8,
        "failed_videos": [f"{video}: 2" for video in videos],
        "first_failed": [
            f"{video}, frame {frame}: {why}"
            for video in videos
            for frame, why in ((3, "no picture"), (5, "cut"))
        ],
        "noted_videos": videos,
        "first_notes": [f"no sound: {', '.join(videos)}"],
    }


@pytest.mark.slow
def test_a_wrong_video_is_the_same_error(built):
    plain, beam = built[2]
    assert plain == beam
    assert "bad@a, video 'v010'" in beam
    names = {path.name for path in (built[0] / "bad" / "affwild2").glob("[a-z]*/*")}
    assert names == {"1.0.0"}  # of the annotations


KILLED = """
import sys, time
from dataclasses import replace
sys.path[:0] = [sys.argv[2], sys.argv[2] + "/packing"]
from made.stores import annotated, source, vectors
from test_build_beam import SLOW, TWO_WORKERS
from avemo_jax.packing.build import build_store

slow = source("slow@a", "visual", vectors("slow@a", {n: [1] for n in SLOW}, 3))
def read(video, content=slow.read):
    import time
    time.sleep(0.1)
    return content(video)
build_store(
    sys.argv[1],
    [annotated(name, 2, "train") for name in SLOW],
    [replace(slow, read=read)],
    show_progress=False,
    beam_runner="DirectRunner",
    beam_options=TWO_WORKERS,
)
"""
SLOW = [f"v{i:02}" for i in range(70)]


@pytest.mark.release
@needs_beam
def test_killed_while_workers_write(tmp_path):
    root = tmp_path / "store"
    command = [sys.executable, "-c", KILLED, str(root), str(TESTS)]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        end = time.monotonic() + 120
        parts = "affwild2/slow@a/incomplete*/.shard-*"
        while not list(root.glob(parts)) and time.monotonic() < end:
            assert process.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert len(list(root.glob("affwild2/*/incomplete*"))) == 1

    rows = vectors("slow@a", {n: [1] for n in SLOW}, 3)
    records = [annotated(name, 2, "train") for name in SLOW]
    again = [source("slow@a", "visual", rows)]
    build_store(root, records, again, show_progress=False)
    build_store(tmp_path / "whole", records, again, show_progress=False)
    time.sleep(2)  # for what lost workers may still do
    assert files_below(root) == files_below(tmp_path / "whole")
    assert not list(root.glob("affwild2/*/incomplete*"))


@pytest.mark.release
@needs_beam
@pytest.mark.usefixtures("hears_ctrl_c")
def test_a_ctrl_c_while_workers_write_is_one_line(tmp_path):
    """As a terminal sends it, to the group of the command."""
    root = tmp_path / "store"
    body = KILLED.partition("build_store(\n")
    inside = "".join(f"    {line}\n" for line in "".join(body[1:]).splitlines())
    program = (
        f"{body[0]}from avemo_jax.runtime.errors import guarded, run_program\n"
        f"def work():\n{inside}"
        "kept = 'sets packed whole are kept'\n"
        "run_program(lambda: guarded(work, prog='build', kept=kept))\n"
    )
    command = [sys.executable, "-c", program, str(root), str(TESTS)]
    log = tmp_path / "log"
    with log.open("w") as said:
        process = subprocess.Popen(
            command, stdout=said, stderr=said, start_new_session=True
        )
        end = time.monotonic() + 120
        parts = "affwild2/slow@a/incomplete*/.shard-*"
        while not list(root.glob(parts)) and time.monotonic() < end:
            assert process.poll() is None, log.read_text()
            time.sleep(0.05)
        before = len(log.read_text())
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(60) == 130
    time.sleep(3)  # for what lost workers would tell
    line = "stopped: sets packed whole are kept; the same command goes on\n"
    assert log.read_text()[before:] == line


def test_without_beam(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(ImportError, match=r"pip install 'avemo_jax\[beam\]'"):
        build_store(tmp_path / "store", [], [], beam_runner="DirectRunner")
    (tmp_path / "labels").mkdir()
    flags = ["--annotations", str(tmp_path / "labels"), "--out", str(tmp_path / "out")]
    with pytest.raises(ValueError, match="without a runner"):
        build_store(tmp_path / "store", [], [], beam_options=["--x=1"])
    assert not (tmp_path / "store").exists()
    assert main([*flags, "--beam-runner=DirectRunner"]) == 1
    assert "error: " in capsys.readouterr().err


WRONG = """
import sys
from avemo_jax.packing.build import build_store
for runner, options in (("Nobody", []), ("DirectRunner", ["--direct_num_workers=x"])):
    try:
        build_store(sys.argv[1], [], beam_runner=runner, beam_options=options)
    except ValueError as error:
        print(error)
"""


@pytest.mark.slow
@needs_beam
def test_wrong_runner_and_options(tmp_path):
    command = [sys.executable, "-c", WRONG, str(tmp_path / "store")]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    one, two = ran.stdout.splitlines()
    assert "Beam runner 'Nobody'" in one
    assert "correct --beam-runner" in one
    assert "invalid int value: 'x'" in two
    assert "usage" not in ran.stderr
    assert not os.path.lexists(tmp_path / "store")
