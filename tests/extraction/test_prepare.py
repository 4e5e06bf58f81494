"""``avemo prepare``: from the official tree to a store that training reads."""

import contextlib
import io
import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
from made.store_contents import records_of
from made.trees import SILENT, TRAIN, UNLABELLED, VALIDATION

from avemo_jax.config.fields import base_config
from avemo_jax.data.store.store import open_store
from avemo_jax.experiment import run_experiment
from avemo_jax.extraction.prepare import command

FACES, SOUND = "enet_b0_8_va_mtl", "vggish"
SETS = [f"{FACES}@cropped_aligned-32", f"{SOUND}@0.96s"]


@pytest.fixture(scope="module")
def flags(weights):
    """Of all runs here."""
    named = ["--visual", FACES, "--audio", SOUND, "--weights", str(weights)]
    return [*named, "--size-px", "32", "--batch-size", "16", "--quiet"]


@pytest.fixture(scope="module")
def prepared(tree, flags, tmp_path_factory):
    """A store, and what was printed while it was made."""
    out = tmp_path_factory.mktemp("out") / "store"
    return out, run(tree, out, *flags)


def run(tree, out, *flags, status=0) -> str:
    """What the command prints."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        arguments = ["--root", str(tree), "--out", str(out), *flags]
        assert command.main(arguments) == status, printed.getvalue()
    return printed.getvalue()


def test_what_it_prints(prepared):
    out, said = prepared
    lines = [line.strip() for line in said.splitlines()]
    frames = sum({**TRAIN, **VALIDATION, **UNLABELLED}.values()) - 24  # one pair
    assert any(line.startswith(f"videos: 5 files (5 .mp4), {frames}") for line in lines)
    assert f"without sound: {SILENT}" in lines
    pictures = frames + 24 - 6
    assert any(f"6 subject-videos, {pictures} pictures" in line for line in lines)
    assert any(line.startswith("EXPR train: 3 subject-videos") for line in lines)
    assert any(line.startswith("VA validation: 2 subject-videos") for line in lines)
    assert any("test videos: test 5" in line for line in lines)
    assert any(line.startswith(f"{SETS[0]}: 6 videos to extract") for line in lines)
    assert any(line.startswith("disk: ") for line in lines)
    assert any(line.startswith(f"{SETS[0]}: 6 videos extracted") for line in lines)
    assert f"{SETS[0]}: 6 videos, {pictures} frames" in lines
    assert json.loads((out / "prepare.json").read_text())["complete"] is True
    assert (out / "failures.jsonl").read_text() == ""
    assert "avemo prepare --root" in (out / "README.md").read_text()


@pytest.mark.parametrize("task", ["EXPR", "AU", "VA"])
def test_the_store(prepared, task):
    store = open_store(prepared[0])
    splits = store.split_of(task)
    assert {v for v, split in splits.items() if split == "validation"} == set(
        VALIDATION
    )
    assert {v for v, s in splits.items() if s in ("train", "dev")} == set(TRAIN)
    assert {v for v, split in splits.items() if split == "test"} == set(UNLABELLED)
    table = store.load_table(task, "validation", SETS)
    assert table.videos == tuple(sorted(VALIDATION))
    lengths = dict(zip(table.videos, table.num_frames.tolist(), strict=True))
    assert lengths == VALIDATION
    assert table.fps.tolist() == [25, 25]
    rows = dict(zip(table.videos, np.diff(table.row_offsets).tolist(), strict=True))
    assert rows == {video: frames - 1 for video, frames in VALIDATION.items()}
    # The sound of `_right` is that of the video.
    by_video = np.split(table.has_audio, table.row_offsets[1:-1])
    heard = dict(zip(table.videos, by_video, strict=True))
    assert heard["3-25-64x48_right"].all()
    assert not heard[SILENT].any()
    test = store.load_table(task, "test", SETS)
    assert test.videos == tuple(UNLABELLED)
    assert test.num_frames.tolist() == list(UNLABELLED.values())


@pytest.mark.slow
def test_without_weights(tree, tmp_path, monkeypatch):
    """No file of weights is there, and none is missed."""
    monkeypatch.setenv("AVEMO_CACHE", str(tmp_path / "empty"))
    out = tmp_path / "out"
    said = run(tree, out, "--visual", "face_hog", "--audio", "acoustic", "--quiet")
    faces = "face_hog@cropped_aligned-112"
    assert f"{faces}: 6 videos to extract, 0 stand; 114 images at" in said
    assert f"{faces}: 6 videos extracted, 0 stood already; 114 images" in said
    table = open_store(out).load_table("EXPR", "validation", ["face_hog", "acoustic"])
    rows = np.asarray(table.features)
    assert rows.shape[0] == sum(VALIDATION.values()) - len(VALIDATION)
    assert np.isfinite(rows).all()
    assert rows[:, :1984].any(axis=1).all()
    assert "sha256 of the weights" not in (out / "README.md").read_text()


def test_again_nothing_is_done(tree, prepared, flags):
    out, _ = prepared
    before = {p: p.stat().st_mtime_ns for p in out.glob("**/*.npz")}
    before |= {p: p.stat().st_mtime_ns for p in out.glob("**/*.array_record*")}
    said = run(tree, out, *flags)
    assert f"{SETS[0]}: 0 videos extracted, 6 stood already" in said
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_dry_run_extracts_nothing(tree, flags, tmp_path):
    out = tmp_path / "out"
    said = run(tree, out, *flags, "--dry-run")
    assert f"{SETS[0]}: 6 videos to extract, 0 stand; 114 images at" in said
    assert said.rstrip().endswith("dry run: nothing was extracted")
    assert not out.exists()


@pytest.mark.slow
def test_parts_and_then_the_store(tree, prepared, flags, tmp_path):
    out = tmp_path / "out"
    for index in ("0", "1"):
        said = run(tree, out, *flags, "--num-shards", "2", "--shard-index", index)
        assert f"part {index} of 2 is done" in said
        assert not (out / "affwild2").exists()
    said = run(tree, out, *flags)
    assert f"{SETS[0]}: 0 videos extracted, 6 stood already" in said
    assert records_of(out) == records_of(prepared[0])


@pytest.mark.release
def test_on_beam_the_store_is_the_same(tree, prepared, flags, tmp_path):
    """Its workers are processes of their own, whose networks are narrow too."""
    pytest.importorskip("apache_beam", reason="needs the extra 'beam'")
    (tmp_path / "sitecustomize.py").write_text(
        "from made.weights import small_networks\n"
        "narrow = small_networks()\n"
        "narrow.__enter__()\n"
    )
    tests = pathlib.Path(__file__).parents[1]
    places = os.pathsep.join(map(str, (tmp_path, tests, tests.parent)))
    workers = "--direct_running_mode=multi_processing --direct_num_workers=2"
    beam = ["--beam-runner=DirectRunner", f"--beam-options={workers}"]
    beam += ["--decode-workers=1"]
    program = [sys.executable, "-m", "avemo_jax.cli", "prepare", "--root", str(tree)]
    done = subprocess.run(
        [*program, *flags, "--out", str(tmp_path / "out"), *beam],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": places},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert records_of(tmp_path / "out") == records_of(prepared[0])


@pytest.mark.slow
def test_a_mended_fault_is_packed_without_asking(tree, prepared, flags, tmp_path):
    """What a run with failures packed is replaced; what a whole one did is not."""
    own, out = shutil.copytree(tree, tmp_path / "tree"), tmp_path / "out"
    path = own / "videos/batch1/1-25-64x48.mp4"
    whole = path.read_bytes()
    path.write_bytes(b"")
    said = run(own, out, *flags, status=3)
    assert "cannot be read: " in said
    assert "failed: 1 videos, 0 frames; see" in said
    assert (
        '"video": "1-25-64x48", "frame": null' in (out / "failures.jsonl").read_text()
    )
    path.write_bytes(whole)
    run(own, out, *flags)
    assert records_of(out) == records_of(prepared[0])

    labels = own / "Annotations/VA_Estimation_Challenge/Train_Set/1-25-64x48.txt"
    labels.write_text(labels.read_text() + "0.5,0.5\n")
    run(own, out, *flags, status=1)
    assert records_of(out) == records_of(prepared[0])
    run(own, out, *flags, "--overwrite")
    assert records_of(out) != records_of(prepared[0])


def test_a_wrong_annotation_stops_it_before_the_work(tree, flags, tmp_path, capsys):
    own, out = shutil.copytree(tree, tmp_path / "tree"), tmp_path / "out"
    labels = own / "Annotations/VA_Estimation_Challenge/Train_Set/1-25-64x48.txt"
    lines = labels.read_text().splitlines()
    labels.write_text("\n".join([*lines[:7], "0.5;0.5", *lines[8:]]))
    assert command.main(["--root", str(own), "--out", str(out), *flags]) == 1
    error = capsys.readouterr().err
    assert f"{labels}, line 8: " in error
    assert not out.exists()


def test_more_videos_are_given_one_by_one(tree, flags, tmp_path):
    own = shutil.copytree(tree, tmp_path / "tree")
    video = (own / "videos/new_vids/test 5.mp4").rename(tmp_path / "test 5.mp4")
    crops = own / "cropped_aligned_new_50_vids/test 5"
    crops = crops.rename(tmp_path / "test 5")
    more = ["--video", str(video), "--crop-folder", str(crops)]
    said = run(own, tmp_path / "out", *flags, *more, "--dry-run")
    assert "6 subject-videos" in said
    assert "videos: 5 files" in said


@pytest.mark.release
def test_training_reads_it(prepared, tmp_path):
    out, _ = prepared
    config = base_config("AU", "mlp", f"{FACES}@cropped_aligned-32+{SOUND}")
    config.data.dir, config.workdir = str(out), str(tmp_path)
    config.num_epochs, config.evaluate.num_resamples = 1, 20
    config.postprocess.half_widths = (2,)
    results = run_experiment(config)
    assert results["synthetic"] is False
    assert results["counts"]["validation"]["videos"] == 2
