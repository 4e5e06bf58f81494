"""Stores from elsewhere: whatever their files declare, no code of theirs runs."""

import json
import re
import shutil

import pytest
from made.stores import annotated, source, vectors

from avemo_jax.data.store import layout
from avemo_jax.data.store.fields import check_declared
from avemo_jax.data.store.store import open_store
from avemo_jax.packing.build import build_store

TENSOR = "tensorflow_datasets.core.features.tensor_feature.Tensor"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    root = tmp_path_factory.mktemp("built")
    rows = vectors("face@a", {"video1": [1, 2, 3]}, 4, output_dim=2)
    records = [annotated("video1", 3, "train"), annotated("video2", 3, "dev")]
    build_store(root, records, [source("face@a", "visual", rows)], show_progress=False)
    return root


@pytest.fixture
def store(built, tmp_path):
    shutil.copytree(built, tmp_path / "store")
    return tmp_path / "store"


def changed(store, name, file, change):
    """Changes a file of a config by a function of its text."""
    path = layout.config_folder(store, name) / file
    path.write_text(change(path.read_text()))


def set_key(*keys, value):
    """A change of one value of a file of JSON."""

    def change(text):
        content = part = json.loads(text)
        for key in keys[:-1]:
            part = part[key]
        part[keys[-1]] = value
        return json.dumps(content)

    return change


def test_a_store_that_the_builder_wrote_is_as_declared(built):
    for name in ("face@a", layout.ANNOTATIONS):
        check_declared(layout.config_folder(built, name))


def test_a_class_that_a_store_names_is_never_imported(store, monkeypatch):
    ran = store.parent / "ran"
    (store / "evil.py").write_text(f"open({str(ran)!r}, 'w')\nclass X: pass\n")
    monkeypatch.syspath_prepend(store)
    monkeypatch.chdir(store)
    changed(
        store, "face@a", "features.json", lambda text: text.replace(TENSOR, "evil.X")
    )
    with pytest.raises(ValueError, match=r"features.json declares other fields than"):
        open_store(store).load_table("EXPR", "train", ["face@a"])
    assert not ran.exists()


FEATURES = ("featuresDict", "features", "features", "tensor")


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("features.json", set_key(*FEATURES, "dtype", value="object")),
        ("features.json", set_key(*FEATURES, "encoding", value="zlib")),
        ("features.json", set_key(*FEATURES, "shape", value={"dimensions": ["9"] * 9})),
        ("features.json", set_key("pythonClassName", value="evil.X")),
        ("features.json", lambda text: "[1]"),
        ("features.json", lambda text: "[" * 10**6),
        ("dataset_info.json", lambda text: "[]"),
        ("dataset_info.json", set_key("name", value="../../other")),
        ("dataset_info.json", set_key("fileFormat", value="tfrecord")),
        ("dataset_info.json", set_key("moduleName", value="evil")),
        ("dataset_info.json", set_key("splits", value=[])),
        (
            "dataset_info.json",
            set_key("splits", 0, "filepathTemplate", value="/etc/{SHARD_X_OF_Y}"),
        ),
        ("metadata.json", lambda text: "[]"),
        ("metadata.json", set_key("dim", value="4")),
        ("metadata.json", set_key("dim", value=5)),
        ("metadata.json", set_key("runs", value={"video1": [1, 10**10]})),
        ("metadata.json", set_key("runs", value={"video1": [3, 1]})),
        ("metadata.json", set_key("runs", value={"video1": [1]})),
        ("metadata.json", set_key("runs", value={"video1": [0, 2]})),
        ("metadata.json", set_key("runs", value={"video1": [1, True]})),
        ("metadata.json", set_key("format", value=99)),
    ],
)
def test_files_that_the_builder_does_not_write_are_refused(store, file, change):
    changed(store, "face@a", file, change)
    folder = layout.config_folder(store, "face@a")
    with pytest.raises(ValueError, match=re.escape(str(folder))) as caught:
        open_store(store).load_table("EXPR", "train", ["face@a"])
    assert file in str(caught.value) or "metadata" in file
    assert "build" in str(caught.value)


def test_annotations_are_checked_as_well(store):
    changed(
        store,
        layout.ANNOTATIONS,
        "features.json",
        lambda text: text.replace(TENSOR, "evil.X", 1),
    )
    with pytest.raises(ValueError, match=r"features.json declares other fields"):
        open_store(store).load_table("EXPR", "train", ["face@a"])


def test_more_frames_than_a_store_can_hold_are_refused(store):
    many = {f"v{i}": [1, 10**7] for i in range(60)}
    changed(store, "face@a", "metadata.json", set_key("runs", value=many))
    with pytest.raises(ValueError, match=r"600,000,000 frames; expected at most"):
        open_store(store).frames("face@a")
