"""What careless and hostile sources of features are answered with."""

import os
import pathlib
import pickle
import resource
import struct
import tracemalloc

import h5py
import numpy as np
import pytest
from made.features import by_image, vectors
from test_importing import fails

from avemo_jax.data.features.folders import find_feature_sources
from avemo_jax.data.importing import stream
from avemo_jax.data.importing.command import main


@pytest.fixture
def error(capsys, tmp_path):
    """The error that importing something ends with."""

    def run(source, *more, **how):
        return fails(capsys, source, tmp_path / "out", *more, **how)

    return run


def written(path: pathlib.Path, content) -> pathlib.Path:
    path.write_bytes(pickle.dumps(content))
    return path


def test_no_source(error, tmp_path):
    assert "there is no" in error(tmp_path / "none")


def test_an_ending_that_is_unknown(error, tmp_path):
    path = tmp_path / "given.mat"
    path.write_bytes(b"")
    assert "the ending '.mat'; expected a folder" in error(path)


def test_a_name_that_is_none(error, tmp_path):
    path = written(tmp_path / "given.pkl", by_image(vectors()))
    assert "expected EXTRACTOR or EXTRACTOR@INPUT" in error(path, name="a/b@c")


def test_a_known_extractor_of_another_length(error, tmp_path):
    path = written(tmp_path / "given.pkl", by_image(vectors()))
    message = error(path, name="enet_b2_8_best")
    assert "is visual with 6 values a frame; expected visual with 1408" in message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1], "holds a list; expected a dict"),
        ({}, "has no rows; expected features"),
        ({"360": np.zeros((3, 3))}, "key '360'; expected 'VIDEO/00001.jpg'"),
        ({"360/00001.jpg": "text"}, "holds a str"),
        ({"360/00001.jpg": np.zeros((2, 3))}, "of shape (2, 3); expected a vector"),
        (
            {"a/00001.jpg": np.zeros(3), "a/00002.jpg": np.zeros(4)},
            "a vector of 4 values; expected 3, as before",
        ),
        (
            {"a/00001.jpg": (np.zeros(3), np.zeros(5))},
            "of 5 values; expected 8 logits",
        ),
        (
            {"a/00001.jpg": (np.zeros(3), np.zeros(8)), "a/00002.jpg": np.zeros(3)},
            "1 of 2 entries with scores",
        ),
        ({"a/00001.jpg": np.full(3, 1e6)}, "pass --dtype float32"),
        (
            {"x/a/00001.jpg": np.zeros(3), "y/a/00002.jpg": np.zeros(3)},
            "both video 'a'; expected one",
        ),
        ({"a/1.jpg": np.zeros(3), "a/00001.jpg": np.ones(3)}, "is there twice"),
    ],
)
def test_pickles_of_something_else(capsys, tmp_path, content, message):
    path = written(tmp_path / "given.pkl", content)
    arguments = ["--as", "x@y", "--kind", "visual", "--out", str(tmp_path / "out")]
    assert main([str(path), *arguments]) == 1
    assert message in capsys.readouterr().err
    assert not list((tmp_path / "out").rglob("*.npz"))


class Calls:
    """Pickles to a call of ``os.system``."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("place", ["value", "key", "late", "inside"])
def test_a_hostile_pickle_is_not_run(error, tmp_path, place):
    marker = tmp_path / "was_run"
    call = Calls(f"touch {marker}")
    good = {f"a/{i:05d}.jpg": np.zeros(3) for i in range(1, 1100)}
    content = {
        "value": {"a/00001.jpg": call},
        "key": {("a", call): np.zeros(3)},
        "late": good | {"b/00001.jpg": call},
        "inside": {"a/00001.jpg": (np.zeros(3), [call])},
    }[place]
    message = error(written(tmp_path / "given.pkl", content))
    assert "system, which may run code" in message
    assert not marker.exists()


def test_a_hostile_array_folder_and_sidecar(error, tmp_path):
    folder = tmp_path / "given"
    folder.mkdir()
    marker = tmp_path / "was_run"
    objects = np.array([Calls(f"touch {marker}")], object)
    np.save(folder / "a.npy", objects, allow_pickle=True)
    assert "without objects" in error(folder)
    np.save(folder / "a.npy", np.zeros((1, 3)))
    np.save(folder / "a.frames.npy", objects, allow_pickle=True)
    assert "without objects" in error(folder)
    assert not marker.exists()


def memory_kb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def test_announced_sizes_are_not_believed(error, tmp_path):
    """A short file that says that terabytes follow, and a bomb of names."""
    path = tmp_path / "given.pkl"
    before = memory_kb()
    path.write_bytes(b"\x80\x04}\x8e" + struct.pack("<Q", 1 << 42) + b"x")
    assert "announced, the file ends before" in error(path)
    # A list of itself twice, 40 times over.
    bomb = b"\x80\x04}]\x94" + b"(h\x00h\x00e" * 5
    path.write_bytes(bomb + b".")
    assert "given.pkl" in error(path)
    shape = pickle.dumps({"a/00001.jpg": np.zeros(3)}).replace(
        b"K\x03\x85", b"J\xff\xff\xff\x7f\x85"
    )
    path.write_bytes(shape)
    assert "given.pkl" in error(path)
    assert memory_kb() - before < 200_000


@pytest.mark.parametrize("cut", [1, 10, 100, 1000])
def test_a_truncated_pickle_is_damaged(error, tmp_path, cut):
    path = written(tmp_path / "given.pkl", by_image(vectors()))
    path.write_bytes(path.read_bytes()[:-cut])
    assert "damaged or no pickle" in error(path)


def test_an_empty_and_a_foreign_file(error, tmp_path):
    path = tmp_path / "given.pkl"
    path.write_bytes(b"")
    assert "is empty" in error(path)
    path.write_bytes(b"video,frame\n")
    assert "given.pkl" in error(path)


class InHundreds(pickle._Pickler):
    """Sets a hundred entries of a dict at a time, in place of a thousand."""

    _BATCHSIZE = 100


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tmp_path, monkeypatch):
    """Entries go as they come: nothing of them is remembered beyond the budget."""
    monkeypatch.setattr(stream, "_BUDGET", 1 << 18)
    path = tmp_path / "given.pkl"
    rows = np.random.default_rng(0).normal(size=(400, 4096)).astype(np.float32)
    content = {f"a/{i:05d}.jpg": row for i, row in enumerate(rows, start=1)}
    with path.open("wb") as file:
        InHundreds(file).dump(content)
    del content, rows
    seen = 0

    def sink(entries):
        nonlocal seen
        seen += len(entries)

    tracemalloc.start()
    stream.stream_entries(path, 0, sink)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seen == 400
    # Of 6.5 MB: the budget, and a hundred entries.
    assert peak < 4 << 20


def test_a_vector_named_again_too_late_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(stream, "_BUDGET", 1 << 14)
    shared = np.zeros(100)
    content = {f"a/{i}.jpg": np.full(100, i) for i in range(1, 100)}
    path = tmp_path / "given.pkl"
    path.write_bytes(pickle.dumps({"a/0.jpg": shared, **content, "b/1.jpg": shared}))
    with pytest.raises(ValueError, match="save the dict with a copy for each frame"):
        stream.stream_entries(path, 0, lambda entries: None)


def test_shared_vectors_are_read_while_they_are_near(tmp_path):
    shared = np.arange(5.0)
    path = tmp_path / "given.pkl"
    path.write_bytes(pickle.dumps({f"a/{i}.jpg": shared for i in range(1, 2000)}))
    found = []
    stream.stream_entries(path, 0, found.extend)
    assert all((value == shared).all() for _, value in found)
    assert len(found) == 1999


def test_folders_of_something_else(error, tmp_path):
    folder = tmp_path / "given"
    folder.mkdir()
    assert "has nothing; expected VIDEO.npy or VIDEO/00001.npy" in error(folder)
    np.save(folder / "a.npy", np.zeros((3, 4)))
    np.save(folder / "b.npy", np.zeros((3, 5)))
    assert "of shape (frames, 4), as the others" in error(folder)
    (folder / "b.npy").unlink()
    (folder / "a.frames.txt").write_text("1\n2\n")
    assert "expected 3 integers, one for each row of a.npy" in error(folder)
    (folder / "a.frames.txt").write_text("1\ntwo\n3\n")
    assert "a.frames.txt, line 2: 'two'" in error(folder)
    (folder / "a.frames.txt").write_text("0\n1\n2\n")
    assert "--first-frame 0" in error(folder)


NFC, NFD = "Jos\u00e9", "Jose\u0301"


def npy_by_video(folder):
    for name in (NFC, NFD):
        np.save(folder / f"{name}.npy", np.zeros((3, 4)))
    return folder


def npy_by_frame(folder):
    for name in (NFC, NFD):
        (folder / name).mkdir()
        np.save(folder / name / "00001.npy", np.zeros(4))
    return folder


def dicts_by_image(folder):
    for name in (NFC, NFD):
        made = {f"{name}/00001.jpg": np.zeros(4, np.float32)}
        np.save(folder / f"{name}.npy", made, allow_pickle=True)
    return folder


def hdf5(folder):
    with h5py.File(folder / "given.h5", "w") as file:
        file[NFC] = file[NFD] = np.zeros((3, 4))
    return folder / "given.h5"


def one_pickle(folder):
    return written(
        folder / "given.pkl", {f"{name}/00001.jpg": np.zeros(4) for name in (NFC, NFD)}
    )


@pytest.mark.parametrize(
    "form", [npy_by_video, npy_by_frame, dicts_by_image, hdf5, one_pickle]
)
def test_two_unicode_forms_of_one_name(error, tmp_path, form):
    (tmp_path / "given").mkdir()
    said = error(form(tmp_path / "given"))
    assert f"both video {NFC!r}" in said


def test_two_unicode_forms_among_feature_files(tmp_path):
    folder = tmp_path / "look@cropped-224"
    folder.mkdir()
    for name in (NFC, NFD):
        (folder / f"{name}.npz").touch()
    with pytest.raises(ValueError, match=rf"both video '{NFC}', as .*Unicode form"):
        find_feature_sources([tmp_path], kinds={"look@cropped-224": "visual"})


def test_hdf5_of_something_else(error, tmp_path):
    path = tmp_path / "given.h5"
    path.write_bytes(b"no")
    assert "expected an HDF5 file" in error(path)
    with h5py.File(tmp_path / "elsewhere.h5", "w") as file:
        file["a"] = np.zeros((3, 4))
    with h5py.File(path, "w") as file:
        file["a"] = h5py.ExternalLink("elsewhere.h5", "a")
    assert "/a is a link to 'a' in 'elsewhere.h5'" in error(path)
    with h5py.File(path, "w") as file:
        layout = h5py.VirtualLayout((3, 4), "f4")
        layout[:] = h5py.VirtualSource(str(tmp_path / "elsewhere.h5"), "a", (3, 4))
        file.create_virtual_dataset("a", layout)
    assert "lies in other files" in error(path)
    with h5py.File(path, "w") as file:
        file.create_group("a")["x"] = np.zeros(3)
    assert "a has x; expected features" in error(path)


def test_flags_that_do_not_fit(error, tmp_path):
    path = written(tmp_path / "given.pkl", by_image(vectors()))
    assert "--rate-hz 50.0 with --kind visual" in error(path, "--rate-hz", 50)
    assert "without --rate-hz" in error(path, "--fps", 30, kind="audio")
    rates = tmp_path / "fps.csv"
    rates.write_text("name,fps\n")
    more = ["--rate-hz", 50, "--fps-file", rates]
    assert "fps.csv, line 1" in error(path, *more, kind="audio")
    rates.write_text("video,fps\n360,fast\n")
    assert "fps.csv, line 2, column 'fps': 'fast'" in error(path, *more, kind="audio")
