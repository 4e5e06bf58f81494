import dataclasses
import json
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from made.stores import annotated, source, vectors

from avemo_jax.data.corpus.annotations import read_annotations
from avemo_jax.data.corpus.splits import read_splits
from avemo_jax.data.features.folders import find_feature_sources
from avemo_jax.data.records import VideoAnnotations, VideoFeatures
from avemo_jax.data.store import folder as store_folder
from avemo_jax.data.store.layout import config_folder
from avemo_jax.data.store.store import open_store
from avemo_jax.data.store.tfds import import_tfds, open_examples
from avemo_jax.packing.build import build_store
from avemo_jax.tasks import AU, EXPR, TASKS, VA

REPOSITORY = pathlib.Path(__file__).parents[2]
NAMES = [f"video{i}" for i in range(1, 8)]


def made_source(name: str = "face@a", kind: str = "visual", *, digest: str = "1"):
    frames = {video: list(range(1, 5)) for video in NAMES}
    return source(name, kind, vectors(name, frames, 3), digest=digest)


@pytest.fixture
def records():
    splits = ["train"] * 6 + ["validation"]
    return [annotated(v, 5, s) for v, s in zip(NAMES, splits, strict=True)]


def stamps(root: pathlib.Path) -> dict[str, int]:
    """When each config was written."""
    return {
        p.parent.parent.name: p.stat().st_mtime_ns
        for p in root.glob("affwild2/*/*/dataset_info.json")
    }


def test_builds_skips_and_completes(tmp_path, records, capfd):
    report = build_store(tmp_path, records, [made_source()], show_progress=False)
    assert report["annotations"] == {"videos": 7, "frames": 35}
    assert report["face@a"]["frames"] == 28
    first = stamps(tmp_path)
    assert set(first) == {"annotations", "face@a"}

    # Again, with one set more: what stands is left alone.
    sources = [made_source(), made_source("sound@a", "audio")]
    again = build_store(tmp_path, records, sources, show_progress=False)
    assert again["face@a"] == report["face@a"]
    second = stamps(tmp_path)
    assert {name: second[name] for name in first} == first
    assert set(second) == {"annotations", "face@a", "sound@a"}
    out, err = capfd.readouterr()
    assert out == ""
    assert "TensorFlow" not in err


def test_a_standing_set_is_not_read_again(tmp_path, records):
    build_store(tmp_path, records, [made_source()], show_progress=False)

    def fail(video: str) -> VideoFeatures:
        raise AssertionError(video)

    unread = dataclasses.replace(made_source(), read=fail)
    build_store(tmp_path, records, [unread], show_progress=False)


def test_other_content_is_an_error(tmp_path, records):
    build_store(tmp_path, records, [made_source()], show_progress=False)
    before = stamps(tmp_path)
    other = [made_source(digest="2"), made_source("new@a")]
    with pytest.raises(ValueError, match=r"face@a.* stands with other content"):
        build_store(tmp_path, records, other, show_progress=False)
    with pytest.raises(ValueError, match=r"annotations.* stands with other content"):
        build_store(tmp_path, records, split_seed=1, show_progress=False)
    # Nothing was written before the error.
    assert stamps(tmp_path) == before
    fingerprint = open_store(tmp_path).fingerprint
    build_store(tmp_path, records, other, overwrite=True, show_progress=False)
    after = stamps(tmp_path)
    assert after["annotations"] == before["annotations"]
    assert after["face@a"] != before["face@a"]
    assert open_store(tmp_path).fingerprint != fingerprint
    assert not list(tmp_path.glob("affwild2/*/incomplete*"))


def test_examples(tmp_path, records):
    frames = {"video1": [2, 4], "video9": []}
    faces = vectors("face@a", frames, 3, output_dim=2)
    build_store(
        tmp_path, records, [source("face@a", "visual", faces)], show_progress=False
    )
    first, empty = open_examples(config_folder(tmp_path, "face@a"))
    assert first["video"] == b"video1"
    assert first["frame"].dtype == np.int32
    assert first["frame"].tolist() == [2, 4]
    assert first["features"].dtype == np.float16
    np.testing.assert_array_equal(
        first["features"], faces["video1"].features.astype(np.float16)
    )
    np.testing.assert_array_equal(first["outputs"], faces["video1"].outputs)
    assert empty["features"].shape == (0, 3)

    example = open_examples(config_folder(tmp_path, "annotations"))[0]
    assert example["source_video"] == b"video1"
    assert example["num_frames"] == 5
    assert np.isnan(example["fps"])
    for name, task in TASKS.items():
        labels = example[name.lower()]
        assert labels.dtype == task.label_dtype
        np.testing.assert_array_equal(labels, records[0].labels[name])
        assert example[f"{name.lower()}_split"] in (b"train", b"dev")


def test_lengths_and_missing_tasks(tmp_path):
    expr = EXPR.empty_labels(3)
    expr[:] = 1
    one = VideoAnnotations(
        "video1", {"EXPR": expr, "VA": VA.empty_labels(4)}, {"EXPR": "validation"}
    )
    two = VideoAnnotations("video2", {}, {}, num_frames=9, fps=25.0)
    build_store(tmp_path, [one, two], show_progress=False)
    first, second = open_examples(config_folder(tmp_path, "annotations"))
    assert first["num_frames"] == 4
    assert first["expr"].tolist() == [1, 1, 1, -1]
    assert (first["au"] == AU.empty_labels(4)).all()
    assert first["au_split"] == b""
    assert second["num_frames"] == 9
    assert second["fps"] == 25


def test_splits_file(tmp_path, records):
    sources = [made_source(), source("x@y", "audio", vectors("x", {"new": [1]}, 2))]
    build_store(tmp_path, records, sources, split_seed=3, show_progress=False)
    splits = read_splits(tmp_path / "splits.json")
    store = open_store(tmp_path)
    for task in TASKS:
        assert splits[task] == store.split_of(task)
        counts = [list(splits[task].values()).count(s) for s in ("train", "dev")]
        assert counts == [5, 1]
        assert splits[task]["video7"] == "validation"
        assert splits[task]["new"] == "test"
    how = json.loads((tmp_path / "splits.json").read_text())["how"]
    assert how == {"origin": "drawn", "seed": 3, "grouped": True}


def test_given_splits(tmp_path, records):
    given = {"EXPR": {"video1": "dev", "video7": "train", "elsewhere": "train"}}
    build_store(tmp_path, records, splits=given, show_progress=False)
    store = open_store(tmp_path)
    assert store.split_of("EXPR") == {"video1": "dev", "video7": "train"}
    assert store.split_of("AU") == {}


def test_synthetic_is_kept(tmp_path, records):
    build_store(tmp_path / "a", records, synthetic=True, show_progress=False)
    build_store(tmp_path / "b", records, show_progress=False)
    assert open_store(tmp_path / "a").synthetic
    assert not open_store(tmp_path / "b").synthetic


def wrong(**changes) -> VideoFeatures:
    rows = vectors("face@a", {"video1": [1, 2, 3, 4]}, 3)["video1"]
    return dataclasses.replace(rows, **changes)


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        (wrong(frame=np.int32([1, 2, 2, 3])), "ascending"),
        (wrong(frame=np.int32([0, 1, 2, 3])), "ascending"),
        (wrong(features=np.zeros((4, 5), np.float32)), r"expected \(4, 3\)"),
        (wrong(outputs=np.zeros((4, 8), np.float32)), "expected None"),
        (wrong(features=np.full((4, 3), 7e4, np.float32)), "float16"),
        (wrong(features=np.full((4, 3), np.nan, np.float32)), "float16"),
    ],
)
def test_wrong_features_leave_no_set(tmp_path, records, rows, what):
    good = made_source().read
    bad = dataclasses.replace(
        made_source(), read=lambda v: rows if v == "video3" else good(v)
    )
    with pytest.raises(ValueError, match=what) as error:
        build_store(tmp_path, records, [bad], show_progress=False)
    assert "face@a, video 'video3'" in str(error.value)
    assert set(stamps(tmp_path)) == {"annotations"}


def test_wrong_records(tmp_path, records):
    with pytest.raises(ValueError, match="two annotation records"):
        build_store(tmp_path, [*records, records[0]])
    with pytest.raises(ValueError, match="annotated for"):
        build_store(tmp_path, [VideoAnnotations("v", {}, {"FOO": "train"})])
    labels = {"EXPR": np.int8([0, 8])}
    with pytest.raises(ValueError, match="EXPR labels of video 'v'"):
        build_store(tmp_path, [VideoAnnotations("v", labels, {"EXPR": "test"})])
    labels = {"VA": np.zeros((2, 2), np.float64)}
    with pytest.raises(ValueError, match="expected float32"):
        build_store(tmp_path, [VideoAnnotations("v", labels, {"VA": "test"})])
    with pytest.raises(ValueError, match="two feature sets"):
        build_store(tmp_path, records, [made_source(), made_source()])
    assert not list(tmp_path.glob("affwild2"))


def test_two_builds_at_once(tmp_path, records):
    with store_folder.locked(tmp_path):
        with pytest.raises(RuntimeError, match=f"{tmp_path} is in use by process"):
            build_store(tmp_path, records, show_progress=False)
    build_store(tmp_path, records, show_progress=False)


KILLED = """
import sys, time
sys.path[:0] = [sys.argv[2], sys.argv[2] + "/packing"]
from dataclasses import replace
from made.stores import annotated
from test_build_store import NAMES, made_source
from avemo_jax.packing.build import build_store

slow = made_source("slow@a")
def read(video):
    print("reading", video, flush=True)
    time.sleep(0.2)
    return slow.read(video)

records = [annotated(video, 5, "train") for video in NAMES]
sources = [made_source(), replace(slow, read=read)]
build_store(sys.argv[1], records, sources, show_progress=False)
"""


@pytest.mark.parametrize(
    "video",
    [
        pytest.param("video1", marks=pytest.mark.release),
        pytest.param("video4", marks=pytest.mark.slow),
        pytest.param("video7", marks=pytest.mark.release),
    ],
)
def test_killed_build(tmp_path, video):
    """SIGKILL while a set is written: the set is not there, and is built afterwards."""
    root = tmp_path / "store"
    command = [sys.executable, "-c", KILLED, str(root), str(REPOSITORY / "tests")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.split() == ["reading", video]:
                time.sleep(0.05)
                process.send_signal(signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL
    assert len(list(root.glob("affwild2/*/incomplete*"))) == 1
    assert set(open_store(root).feature_sets) == {"face@a"}
    before = stamps(root)

    records = [annotated(name, 5, "train") for name in NAMES]
    sources = [made_source(), made_source("slow@a")]
    build_store(root, records, sources, show_progress=False)
    assert not list(root.glob("affwild2/*/incomplete*"))
    assert set(open_store(root).feature_sets) == {"face@a", "slow@a"}
    after = stamps(root)
    assert {name: after[name] for name in before} == before
    table = open_store(root).load_table("EXPR", "train+dev", ["slow@a"])
    assert table.num_rows == 28


@pytest.mark.slow
def test_regular_tfds_folder(tmp_path, shared_data):
    """What ``tfds build --manual_dir`` does, as far as it goes without TensorFlow."""
    from data_builders.affwild2.affwild2_dataset_builder import Builder

    manual = tmp_path / "manual"
    manual.mkdir()
    mini = shared_data / "affwild2_mini"
    (manual / "annotations").symlink_to(mini / "Annotations")
    (manual / "features").symlink_to(shared_data / "affwild2_mini_features")
    tfds = import_tfds()
    config = tfds.download.DownloadConfig(manual_dir=str(manual))
    for name in ("annotations", "vggish@0.96s", "enet_b2_8_best@cropped_aligned-224"):
        builder = Builder(config=name, data_dir=str(tmp_path / "tfds"))
        builder.download_and_prepare(
            download_config=config, download_dir=str(tmp_path / "downloads")
        )
    by_tfds = open_store(tmp_path / "tfds")
    build_store(
        tmp_path / "ours",
        read_annotations(mini / "Annotations"),
        find_feature_sources([shared_data / "affwild2_mini_features"]),
        show_progress=False,
    )
    ours = open_store(tmp_path / "ours")
    for task in TASKS:
        names = ["enet_b2_8_best", "vggish"]
        one = by_tfds.load_table(task, "train", names)
        two = ours.load_table(task, "train", names)
        assert one.videos == two.videos
        np.testing.assert_array_equal(one.features, two.features)
        np.testing.assert_array_equal(one.labels, two.labels)


def test_features_alone(tmp_path):
    """Nothing is annotated: everything is to be predicted."""
    faces = vectors("face@a", {"b": [1], "a": [1, 2]}, 3)
    build_store(tmp_path, [], [source("face@a", "visual", faces)], show_progress=False)
    table = open_store(tmp_path).load_table("VA", "test", ["face@a"])
    assert table.videos == ("a", "b")
    assert table.num_frames.tolist() == [2, 1]
    assert np.isnan(table.labels).all()
    assert not table.valid.any()
