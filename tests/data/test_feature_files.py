import json
import os
import pathlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made.stores import save_original

from avemo_jax.data.features import names
from avemo_jax.data.features.files import (
    clean_rows,
    read_feature_file,
    write_feature_file,
)
from avemo_jax.data.features.folders import find_feature_sources
from avemo_jax.data.features.frame_runs import from_runs, to_runs
from avemo_jax.data.records import Remarks, VideoFeatures, as_float16

IN_FOLDER = settings(
    deadline=None,
    max_examples=50,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
META = {"fingerprint": "f" * 64, "kind": "visual"}


def rows(*frames: int, dim: int = 3, seed: int = 0) -> VideoFeatures:
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((len(frames), dim)).astype(np.float32)
    return VideoFeatures(np.array(frames, np.int32), values)


# --- .npz


@IN_FOLDER
@given(st.sets(st.integers(1, 10**6), max_size=30), st.booleans(), st.booleans())
def test_npz_round_trip(tmp_path: pathlib.Path, frames, with_outputs, half):
    written = rows(*sorted(frames), dim=5)
    if with_outputs:
        outputs = written.features[:, :2] * 1e6
        written = VideoFeatures(written.frame, written.features, outputs)
    path = tmp_path / "video1.npz"
    dtype = "float16" if half else "float32"
    write_feature_file(path, written, META | {"source": "x.mp4"}, dtype=dtype)
    read, meta = read_feature_file(path)
    assert set(meta.pop("checksums")) == {"frame", "features"} | (
        {"outputs"} if with_outputs else set()
    )
    assert meta == META | {"source": "x.mp4"}
    assert read.frame.dtype == np.int32
    np.testing.assert_array_equal(read.frame, written.frame)
    assert read.features.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(read.features, written.features.astype(dtype))
    if written.outputs is None:
        assert read.outputs is None
    else:
        np.testing.assert_array_equal(read.outputs, written.outputs)
    assert [p.name for p in tmp_path.iterdir()] == ["video1.npz"]


def test_npz_overflow_is_seen_after_the_cast(tmp_path):
    big = VideoFeatures(np.int32([1]), np.float32([[65519.0, 1.0]]))
    write_feature_file(tmp_path / "v.npz", big, META)
    assert read_feature_file(tmp_path / "v.npz")[0].features[0, 0] == 65504
    big = VideoFeatures(np.int32([1]), np.float32([[1.0, 65520.0]]))
    with pytest.raises(ValueError, match=r"row 0, column 1 is .*65520"):
        write_feature_file(tmp_path / "w.npz", big, META)
    assert not (tmp_path / "w.npz").exists()
    write_feature_file(tmp_path / "w.npz", big, META, dtype="float32")
    with pytest.raises(ValueError, match="float16"):
        as_float16(np.float32([[np.nan]]), where="here")


def test_npz_write_errors(tmp_path):
    with pytest.raises(ValueError, match="fingerprint"):
        write_feature_file(tmp_path / "v.npz", rows(1), {})
    with pytest.raises(ValueError, match="ascending"):
        write_feature_file(tmp_path / "v.npz", rows(2, 1), META)
    nan = VideoFeatures(np.int32([1]), np.float32([[np.nan]]))
    with pytest.raises(ValueError, match="not finite"):
        write_feature_file(tmp_path / "v.npz", nan, META, dtype="float32")
    assert list(tmp_path.iterdir()) == []


def test_npz_killed_while_writing_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "v.npz"
    write_feature_file(path, rows(1, 2), META)
    before = path.read_bytes()

    def fail(file: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_feature_file(path, rows(1, 2, 3), META)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["v.npz"]


@pytest.mark.parametrize(
    "change",
    [
        {"frame": np.int64([1, 2])},
        {"frame": np.int32([1])},
        {"features": np.zeros((2, 3), np.float64)},
        {"features": np.zeros(2, np.float32)},
        {"outputs": np.zeros((3, 8), np.float32)},
        {"meta": np.array("no json")},
        {"meta": np.array("{}")},
        {"extra": np.zeros(1)},
        {"features": np.array([{}, {}])},
    ],
)
def test_npz_wrong_content(tmp_path, change):
    good = {
        "frame": np.int32([1, 2]),
        "features": np.zeros((2, 3), np.float16),
        "meta": np.array(json.dumps(META)),
    }
    path = tmp_path / "v.npz"
    np.savez(path, **good)
    read_feature_file(path)
    np.savez(path, **(good | change))
    with pytest.raises(ValueError, match=r"v\.npz"):
        read_feature_file(path)


def test_npz_damaged(tmp_path):
    path = tmp_path / "v.npz"
    write_feature_file(path, rows(1, 2, 3), META)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match="cannot be read"):
        read_feature_file(path)


# --- rows


def test_clean_rows():
    raw = rows(3, 1, 2, 3, 5)
    raw.features[3] = raw.features[0]
    raw.features[2, 1] = np.inf
    clean, counts = clean_rows(raw, where="v")
    assert clean.frame.tolist() == [1, 3, 5]
    np.testing.assert_array_equal(clean.features, raw.features[[1, 0, 4]])
    assert counts == {"nonfinite_rows": 1, "unsorted_rows": 1, "duplicate_rows": 1}
    again, counts = clean_rows(clean, where="v")
    assert again is clean
    assert counts == {}


def test_clean_rows_errors():
    with pytest.raises(ValueError, match="v: frame 3 is there twice with different"):
        clean_rows(rows(3, 3), where="v")
    with pytest.raises(ValueError, match="v: frame number 0"):
        clean_rows(rows(0, 1), where="v")


@given(st.sets(st.integers(1, 10**6), max_size=50))
def test_runs(frames):
    numbers = np.array(sorted(frames), np.int32)
    read = from_runs(to_runs(numbers))
    assert read.dtype == np.int32
    np.testing.assert_array_equal(read, numbers)


# --- names and folders


@pytest.mark.parametrize(
    ("folder", "name", "kind"),
    [
        (
            "visualfeat_enet_b2_8_best_cropped_aligned",
            "enet_b2_8_best@cropped_aligned-224",
            "visual",
        ),
        ("audiofeat_wav2vec2", "wav2vec2_base@16k", "audio"),
        ("audiofeat_vggish", "vggish@0.96s", "audio"),
        ("visualfeat_mine_cropped_aligned", "mine@cropped_aligned", "visual"),
        ("audiofeat_mine", "mine@original", "audio"),
        ("enet_b2_8_best", "enet_b2_8_best@cropped_aligned-224", "visual"),
        ("enet_b2_8_best@cropped-260", "enet_b2_8_best@cropped-260", "visual"),
        ("mine@16k", "mine@16k", None),
    ],
)
def test_folder_names(folder, name, kind):
    assert names.folder_to_set(folder) == (name, kind)


def test_name_errors():
    for name in ("a b@c", "a@b@c", "", "@x", "a/b", "../x"):
        with pytest.raises(ValueError, match="feature set name"):
            names.split_name(name)
    with pytest.raises(ValueError, match="mine@INPUT"):
        names.full_name("mine")
    with pytest.raises(ValueError, match="another extractor's"):
        names.check_known("vggish@0.96s", "audio", 768)


def test_resolve_name():
    present = ["vggish@0.96s", "vggish@1s", "mine@a", "other@a", "other@b"]
    assert names.resolve_name("vggish", present) == "vggish@0.96s"
    assert names.resolve_name("vggish@1s", present) == "vggish@1s"
    assert names.resolve_name("mine", present) == "mine@a"
    with pytest.raises(ValueError, match="has other@a, other@b"):
        names.resolve_name("other", present)
    with pytest.raises(ValueError, match="has vggish@1s: write"):
        names.resolve_name("vggish", ["vggish@1s"])
    with pytest.raises(ValueError, match="unknown feature set 'wav2vec'"):
        names.resolve_name("wav2vec", present)


def test_sources_of_folders(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    for folder, video in ((one, "a"), (two, "b")):
        (folder / "mine@x").mkdir(parents=True)
        write_feature_file(folder / "mine@x" / f"{video}.npz", rows(1, 2), META)
    (source,) = find_feature_sources([one, two])
    assert (source.name, source.kind, source.dim) == ("mine@x", "visual", 3)
    assert source.videos == ("a", "b")
    assert source.fingerprint == META["fingerprint"]
    assert source.read("b").frame.tolist() == [1, 2]
    assert source.read("b").remarks == Remarks()
    assert source.provenance == {}

    same = find_feature_sources([two, one])[0]
    assert same.content == source.content
    write_feature_file(two / "mine@x" / "b.npz", rows(1, 2, seed=1), META)
    assert find_feature_sources([one, two])[0].content != source.content


def test_sources_count_what_they_mend(tmp_path):
    content = {f"v/{i:05d}.jpg": np.full(3, i, np.float32) for i in (1, 3, 2)}
    content["v/00003.jpg"][0] = np.nan
    content["v/2.jpg"] = content["v/00002.jpg"]
    save_original(tmp_path / "audiofeat_mine" / "v.npy", content)
    (source,) = find_feature_sources([tmp_path])
    rows_of = source.read("v")
    assert rows_of.frame.tolist() == [1, 2]
    assert rows_of.remarks.mended == {
        "nonfinite_rows": 1,
        "unsorted_rows": 1,
        "duplicate_rows": 1,
    }


def test_sources_tell_what_their_files_tell(tmp_path):
    told = {
        "extractor": "mine",
        "weights_sha256": "ab",
        "settings": {"size_px": 4},
        "input": "x",
        "alignment": "time",
    }
    failed = {"failed": [[3, "no picture"]], "notes": ["dark"], "source": {"crops": 2}}
    (tmp_path / "mine@x").mkdir()
    for video, meta in (("a", {}), ("b", failed)):
        path = tmp_path / "mine@x" / f"{video}.npz"
        write_feature_file(path, rows(1, 2), {**META, **told, **meta})
    (source,) = find_feature_sources([tmp_path])
    assert source.provenance == told
    assert source.read("a").remarks == Remarks()
    assert source.read("b").remarks == Remarks({}, ((3, "no picture"),), ("dark",))


@pytest.mark.parametrize("meta", [{"failed": 3}, {"failed": [["x"]]}, {"notes": "a"}])
def test_malformed_remarks(tmp_path, meta):
    (tmp_path / "mine@x").mkdir()
    path = tmp_path / "mine@x" / "a.npz"
    write_feature_file(path, rows(1), {**META, **meta})
    (source,) = find_feature_sources([tmp_path])
    with pytest.raises(ValueError, match=r"a\.npz: meta has failed .* expected"):
        source.read("a")


def test_source_errors(tmp_path):
    with pytest.raises(ValueError, match="has no folders of features"):
        find_feature_sources([tmp_path])
    folder = tmp_path / "mine@x"
    folder.mkdir()
    with pytest.raises(ValueError, match=r"no \.npz or \.npy files"):
        find_feature_sources([tmp_path])
    write_feature_file(folder / "a.npz", rows(1), {"fingerprint": "f"})
    with pytest.raises(ValueError, match="visual or audio"):
        find_feature_sources([tmp_path])
    assert (
        find_feature_sources([tmp_path], kinds={"mine@x": "audio"})[0].kind == "audio"
    )

    write_feature_file(folder / "b.npz", rows(1), {"fingerprint": "g"})
    (source,) = find_feature_sources([tmp_path], kinds={"mine@x": "audio"})
    with pytest.raises(ValueError, match=r"b\.npz .* fingerprint g; expected .* f"):
        source.read("b")

    save_original(folder / "a.npy", {"a/00001.jpg": np.zeros(3, np.float32)})
    with pytest.raises(ValueError, match="both video 'a'"):
        find_feature_sources([tmp_path], kinds={"mine@x": "audio"})
