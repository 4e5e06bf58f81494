import json
import pathlib
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avemo_jax.data.features.files import read_feature_file
from avemo_jax.data.features.writer import (
    FeatureFileWriter,
    RowSpool,
    checked_meta,
    read_meta,
)

META = {"fingerprint": "f", "kind": "visual"}


def made(rows: int, dim: int = 3, seed: int = 0):
    rng = np.random.default_rng(seed)
    frame = np.cumsum(rng.integers(1, 4, rows)).astype(np.int32)
    return frame, rng.standard_normal((rows, dim), np.float32)


def write(path, frame, features, cuts=(), outputs=None, dtype="float16"):
    width = 0 if outputs is None else outputs.shape[1]
    with FeatureFileWriter(
        path, dim=features.shape[1], output_dim=width, dtype=dtype
    ) as writer:
        for part in np.split(np.arange(len(frame)), sorted(cuts)):
            own = None if outputs is None else outputs[part]
            writer.append(frame[part], features[part], own)
        assert len(writer) == len(frame)
        writer.finish(META)


@pytest.mark.slow
@given(st.lists(st.integers(0, 40), max_size=5), st.integers(0, 40), st.booleans())
def test_bytes_do_not_depend_on_the_pieces(tmp_path_factory, cuts, rows, with_outputs):
    folder = tmp_path_factory.mktemp("writer")
    frame, features = made(rows)
    outputs = features[:, :2] * 3 if with_outputs else None
    write(folder / "a.npz", frame, features, outputs=outputs)
    write(folder / "b.npz", frame, features, [min(c, rows) for c in cuts], outputs)
    assert (folder / "a.npz").read_bytes() == (folder / "b.npz").read_bytes()
    found, meta = read_feature_file(folder / "b.npz")
    np.testing.assert_array_equal(found.frame, frame)
    np.testing.assert_array_equal(found.features, features.astype(np.float16))
    if outputs is None:
        assert found.outputs is None
    else:
        np.testing.assert_array_equal(found.outputs, outputs)
    assert checked_meta(folder / "b.npz") == read_meta(folder / "b.npz") == meta
    assert sorted(p.name for p in folder.iterdir()) == ["a.npz", "b.npz"]


def test_numpy_reads_it(tmp_path):
    frame, features = made(10)
    write(tmp_path / "a.npz", frame, features, dtype="float32")
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        np.testing.assert_array_equal(file["features"], features)
        assert json.loads(str(file["meta"]))["kind"] == "visual"


def test_rows_that_cannot_be_stored_are_told(tmp_path):
    features = np.array([[1, 2], [np.nan, 0], [70000, 0], [3, np.inf]], np.float32)
    with FeatureFileWriter(tmp_path / "a.npz", dim=2) as writer:
        assert writer.storable(features).tolist() == [True, False, False, False]
    with FeatureFileWriter(tmp_path / "a.npz", dim=2, dtype="float32") as writer:
        assert writer.storable(features).tolist() == [True, False, True, False]
        outputs = np.array([[0], [0], [np.nan], [0]], np.float32)
        assert writer.storable(features, outputs).tolist() == [
            True,
            False,
            False,
            False,
        ]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("frame", "width", "message"),
    [
        ([0], 3, "expected ascending"),
        ([3, 3], 3, "expected ascending"),
        ([4, 2], 3, "expected ascending"),
        ([7], 2, "rows of"),
    ],
)
def test_wrong_rows_are_refused(tmp_path, frame, width, message):
    rows = np.zeros((len(frame), width), np.float32)
    with FeatureFileWriter(tmp_path / "a.npz", dim=3) as writer:
        with pytest.raises(ValueError, match=message):
            writer.append(np.array(frame, np.int32), rows)
        writer.append(np.array([2], np.int32), np.ones((1, 3), np.float32))
        with pytest.raises(ValueError, match="after 2"):
            writer.append(np.array([2], np.int32), np.ones((1, 3), np.float32))


def test_what_was_not_finished_leaves_nothing(tmp_path):
    frame, features = made(50)

    def fail():
        with FeatureFileWriter(tmp_path / "a.npz", dim=3) as writer:
            writer.append(frame, features)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert not list(tmp_path.iterdir())


_KILLED = """
import os, signal, sys, numpy as np
from avemo_jax.data.features.writer import FeatureFileWriter
writer = FeatureFileWriter(sys.argv[1] + "/a.npz", dim=1000)
for i in range(5):
    rows = np.arange(100, dtype=np.int32) + 1 + 100 * i
    writer.append(rows, np.ones((100, 1000), np.float32))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_leaves_nothing(tmp_path):
    done = subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path)])
    assert done.returncode == -9
    assert not list(tmp_path.iterdir())


@given(st.data())
def test_damage_is_found(tmp_path_factory, data):
    """Any flipped bit of an array, and any cut."""
    folder = tmp_path_factory.mktemp("damage")
    path: pathlib.Path = folder / "a.npz"
    frame, features = made(20, dim=4)
    write(path, frame, features, outputs=features)
    whole = path.read_bytes()
    if data.draw(st.booleans()):
        damaged = whole[: data.draw(st.integers(0, len(whole) - 1))]
    else:
        with zipfile.ZipFile(path) as archive:
            entry = archive.getinfo("features.npy")
            size = entry.file_size
            start = whole.index(archive.read(entry))
        place = start + data.draw(st.integers(0, size - 1))
        bit = 1 << data.draw(st.integers(0, 7))
        changed = bytes([whole[place] ^ bit])
        damaged = whole[:place] + changed + whole[place + 1 :]
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"a\.npz cannot be read"):
        checked_meta(path)


def test_a_file_of_other_arrays_is_found(tmp_path):
    frame, features = made(5)
    write(tmp_path / "a.npz", frame, features)
    with np.load(tmp_path / "a.npz") as file:
        arrays = dict(file)
    np.savez(tmp_path / "a.npz", **{**arrays, "features": arrays["features"] + 1})
    with pytest.raises(ValueError, match="checksums"):
        checked_meta(tmp_path / "a.npz")
    with pytest.raises(ValueError, match="cannot be read"):
        read_meta(tmp_path / "none.npz")


@given(st.lists(st.integers(0, 9), max_size=8), st.integers(1, 5))
def test_spool_gives_back_what_was_put_in(tmp_path_factory, counts, columns):
    rng = np.random.default_rng(0)
    parts = [rng.standard_normal((n, columns), np.float32) for n in counts]
    whole = np.concatenate([np.zeros((0, columns), np.float32), *parts])
    spool = RowSpool(tmp_path_factory.getbasetemp(), columns, np.float32)
    for i, part in enumerate(parts):
        spool.append(part)
        half = sum(counts[: i + 1]) // 2
        np.testing.assert_array_equal(spool.read(0, half), whole[:half])
    assert len(spool) == len(whole)
    np.testing.assert_array_equal(
        np.concatenate([np.zeros((0, columns), np.float32), *spool.pieces()]), whole
    )
    spool.close()
