import json
import os
import pathlib
import pickle
import struct
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from avemo_jax.data import feature_sets
from avemo_jax.data.feature_files import (
    clean_rows,
    read_feature_file,
    read_original_file,
    write_feature_file,
)
from avemo_jax.data.feature_folders import find_feature_sources
from avemo_jax.data.frame_runs import from_runs, to_runs
from avemo_jax.data.legacy_npy import RefusedPickleError, read_original_npy
from avemo_jax.data.sources import VideoFeatures, as_float16

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


# --- the original's .npy


def save_original(path: pathlib.Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, content, allow_pickle=True)  # type: ignore[arg-type]


def npy_with(pickled: bytes) -> bytes:
    """A .npy file of an object array with this pickle in it."""
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (), }"
    header += b" " * (63 - (len(header) + 10) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + pickled


@IN_FOLDER
@given(
    st.sampled_from([3, 4, 5]),
    st.sampled_from(["<f4", ">f4", "f8", "f2"]),
    st.booleans(),
    st.integers(0, 40),
)
def test_original_reads_as_numpy_does(tmp_path, protocol, dtype, fortran, count):
    rng = np.random.default_rng(0)
    content: dict[str, object] = {
        f"video1/{i + 1:05d}.jpg": rng.standard_normal(4).astype(dtype)
        for i in range(count)
    }
    content["matrix"] = np.asarray(
        rng.standard_normal((2, 3)), order="F" if fortran else "C"
    )
    content["scalar"] = np.array(2.5)
    array = np.empty((), object)
    array[()] = content
    path = tmp_path / "video1.npy"
    path.write_bytes(npy_with(pickle.dumps(array, protocol=protocol)))

    read = read_original_npy(path)

    assert list(read) == list(content)
    for key, value in content.items():
        assert read[key].dtype == value.dtype  # type: ignore[attr-defined]
        np.testing.assert_array_equal(read[key], value)


def test_original_reads_names_of_both_numpy_versions(tmp_path):
    save_original(tmp_path / "v.npy", {"v/00001.jpg": np.float32([1, 2])})
    data = (tmp_path / "v.npy").read_bytes()
    header, new = data[:128], data[128:]
    assert b"numpy._core.multiarray" in new
    old = new.replace(
        b"\x8c\x16numpy._core.multiarray", b"\x8c\x15numpy.core.multiarray"
    )
    assert old != new
    (tmp_path / "v.npy").write_bytes(header + old)
    assert read_original_npy(tmp_path / "v.npy")["v/00001.jpg"].tolist() == [1, 2]


class RunsCode:
    def __init__(self, marker: pathlib.Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return (os.system, (f"touch {self.marker}",))


@pytest.mark.parametrize("where", ["value", "key holder", "array", "top"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_malicious_pickle_does_not_run(tmp_path, where, protocol):
    marker = tmp_path / "it ran"
    bad = RunsCode(tmp_path / "it\\ ran")
    content: object = {"v/00001.jpg": np.zeros(3, np.float32), "v/00002.jpg": bad}
    if where == "key holder":
        content = {"v/00001.jpg": [1, (2, bad)]}
    elif where == "array":
        content = {"v/00001.jpg": np.array([1, bad], object)}
    elif where == "top":
        content = bad
    array = np.empty((), object)
    array[()] = content
    path = tmp_path / "v.npy"
    path.write_bytes(npy_with(pickle.dumps(array, protocol=protocol)))

    with pytest.raises(RefusedPickleError, match=r"v\.npy.*which may run code"):
        read_original_npy(path)
    assert not marker.exists()

    # The file does run when it is read in the ordinary way.
    code = "import numpy, sys; numpy.load(sys.argv[1], allow_pickle=True)"
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    assert marker.exists()


OPCODES = {
    "inst": b"(S'echo'\nios\nsystem\n.",
    "obj": b"(cos\nsystem\nS'echo'\no.",
    "newobj": b"cos\nsystem\n)\x81.",
    "persistent": b"P1\n.",
    "extension": b"\x82\x01.",
    "builtin": b"cbuiltins\neval\n(S'1'\ntR.",
    "numpy function": b"cnumpy\nload\n.",
    "nested name": b"\x80\x04\x8c\x05numpy\x8c\x0dndarray.dumps\x93.",
    "attribute of class": b"cnumpy\nndarray\n}X\x01\x00\x00\x00aK\x01sb.",
    "call of a dict": b"}(tR.",
    "set on a list": b"]K\x01K\x02s.",
    "other class": (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\ndtype\n(K\x00tC\x01btR."
    ),
}


@pytest.mark.parametrize("pickled", OPCODES.values(), ids=OPCODES.keys())
def test_other_instructions_are_refused(tmp_path, pickled):
    (tmp_path / "v.npy").write_bytes(npy_with(pickled))
    with pytest.raises(RefusedPickleError, match="do not trust"):
        read_original_npy(tmp_path / "v.npy")


def huge_array(dtype: bytes) -> bytes:
    """An array that says it has 2**40 values, with 8 bytes of content."""
    return (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tC\x01btR"
        b"(K\x01(\x8a\x06" + (2**40).to_bytes(6, "little") + b"tcnumpy\ndtype\n"
        b"(X\x02\x00\x00\x00" + dtype + b"\x89\x88tR\x89C\x0812345678tb."
    )


DAMAGED = {
    "empty": b"",
    "no stop": b"}",
    "huge bytes": b"\x8e" + struct.pack("<Q", 2**62) + b".",
    "huge text": b"\x8d" + struct.pack("<Q", 2**40) + b".",
    "huge memo": b"}r\xff\xff\xff\xffj\xff\xff\xff\xfe.",
    "unknown memo": b"h\x07.",
    "huge array": huge_array(b"f4"),
    "objects from bytes": huge_array(b"O8"),
    "odd dtype": huge_array(b"V9"),
    "structured dtype": huge_array(b"M8"),
    "bad text": b"X\x02\x00\x00\x00\xff\xff.",
}


@pytest.mark.parametrize("pickled", DAMAGED.values(), ids=DAMAGED.keys())
def test_damaged_or_lying_files(tmp_path, pickled):
    (tmp_path / "v.npy").write_bytes(npy_with(pickled))
    with pytest.raises(ValueError, match=r"v\.npy"):
        read_original_npy(tmp_path / "v.npy")


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_changed_bytes_never_do_more_than_fail(tmp_path_factory, data):
    """Any file reads as a dict of arrays, or is a ValueError."""
    content = {f"v/{i:05d}.jpg": np.arange(3, dtype=np.float32) for i in range(1, 4)}
    array = np.empty((), object)
    array[()] = content
    pickled = bytearray(pickle.dumps(array, protocol=4))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(pickled) - 1))
        pickled[at] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "changed.npy"
    path.write_bytes(npy_with(bytes(pickled)))
    read: dict[str, np.ndarray] = {}
    message = "changed.npy"
    try:
        read = read_original_npy(path)
    except ValueError as error:
        message = str(error)
    assert "changed.npy" in message
    assert all(isinstance(value, np.ndarray) for value in read.values())


def test_repeated_vectors_are_bounded(tmp_path):
    shared = np.zeros(1000, np.float32)
    save_original(tmp_path / "v.npy", {f"v/{i:05d}.jpg": shared for i in range(1, 20)})
    assert len(read_original_npy(tmp_path / "v.npy")) == 19
    shared = np.zeros(100_000, np.float32)
    save_original(tmp_path / "v.npy", {f"v/{i:05d}.jpg": shared for i in range(1, 999)})
    with pytest.raises(RefusedPickleError, match="share one"):
        read_original_npy(tmp_path / "v.npy")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ([1, 2], "holds an array of int64"),
        ({}, "none"),
        ({"v/00001.jpg": 3}, "holds a int"),
        ({"w/00001.jpg": np.zeros(3, np.float32)}, "key 'w/00001.jpg'"),
        ({"v/00000.jpg": np.zeros(3, np.float32)}, "counted from 1"),
        ({"v/00001.jpg": np.zeros((3, 1), np.float32)}, r"\(3, 1\)"),
        ({"v/00001.jpg": np.zeros(3, np.int32)}, "float vector"),
        (
            {"v/00001.jpg": np.zeros(3, "f4"), "v/00002.jpg": np.zeros(4, "f4")},
            r"\(4,\) \(v/00002.jpg\)",
        ),
    ],
)
def test_original_with_wrong_content(tmp_path, content, what):
    save_original(tmp_path / "v.npy", content)
    with pytest.raises(ValueError, match=what):
        read_original_file(tmp_path / "v.npy")


def test_other_npy_files(tmp_path):
    np.save(tmp_path / "v.npy", np.zeros(3))
    with pytest.raises(ValueError, match="holds an array of float64"):
        read_original_npy(tmp_path / "v.npy")
    (tmp_path / "v.npy").write_bytes(b"text")
    with pytest.raises(ValueError, match=r"no \.npy file"):
        read_original_npy(tmp_path / "v.npy")


def test_real_original_files(shared_data):
    files = sorted((shared_data / "affwild2_mini_features").glob("*/*.npy"))
    assert len(files) == 19
    for path in files:
        trusted = np.load(path, allow_pickle=True).item()
        read = read_original_file(path)
        assert read.frame.tolist() == [int(key[-9:-4]) for key in trusted]
        np.testing.assert_array_equal(read.features, np.stack(list(trusted.values())))


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
    assert feature_sets.folder_to_set(folder) == (name, kind)


def test_name_errors():
    for name in ("a b@c", "a@b@c", "", "@x", "a/b", "../x"):
        with pytest.raises(ValueError, match="feature set name"):
            feature_sets.split_name(name)
    with pytest.raises(ValueError, match="mine@INPUT"):
        feature_sets.full_name("mine")
    with pytest.raises(ValueError, match="another extractor's"):
        feature_sets.check_known("vggish@0.96s", "audio", 768)


def test_resolve_name():
    present = ["vggish@0.96s", "vggish@1s", "mine@a", "other@a", "other@b"]
    assert feature_sets.resolve_name("vggish", present) == "vggish@0.96s"
    assert feature_sets.resolve_name("vggish@1s", present) == "vggish@1s"
    assert feature_sets.resolve_name("mine", present) == "mine@a"
    with pytest.raises(ValueError, match="has other@a, other@b"):
        feature_sets.resolve_name("other", present)
    with pytest.raises(ValueError, match="has vggish@1s: write"):
        feature_sets.resolve_name("vggish", ["vggish@1s"])
    with pytest.raises(ValueError, match="unknown feature set 'wav2vec'"):
        feature_sets.resolve_name("wav2vec", present)


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
    assert source.report == {}

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
    assert source.read("v").frame.tolist() == [1, 2]
    assert source.report == {
        "nonfinite_rows": 1,
        "nonfinite_videos": ["v: 1"],
        "unsorted_rows": 1,
        "unsorted_videos": ["v: 1"],
        "duplicate_rows": 1,
        "duplicate_videos": ["v: 1"],
    }


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
    with pytest.raises(ValueError, match="'a' is also in"):
        find_feature_sources([tmp_path], kinds={"mine@x": "audio"})
