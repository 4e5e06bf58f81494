"""Files that claim or inflate to more than they have, in every reader of features."""

import contextlib
import functools
import io
import os
import pickle
import struct
import tracemalloc
import zipfile
import zlib

import h5py
import numpy as np
import pytest

from avemo_jax.data.features.files import read_feature_file
from avemo_jax.data.features.original_npy import read_original_npy, read_pickled_dict
from avemo_jax.data.features.writer import checked_meta, read_meta
from avemo_jax.data.importing.folders import import_folder
from avemo_jax.data.importing.hdf5 import import_hdf5
from avemo_jax.data.importing.pickled import import_pickle
from avemo_jax.data.importing.spooled import SpooledRows
from avemo_jax.data.predictions.reading import read_frame_predictions
from avemo_jax.tasks import TASKS

MIB = 2**20


@pytest.fixture(autouse=True)
def bounded_memory():
    """No more than 64 MiB is taken from the first reading on."""
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 * MIB


def claim(shape: tuple[int, ...], descr: str = "<f4") -> bytes:
    """A .npy of 128 bytes that says it has this shape."""
    stream = io.BytesIO()
    about = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, about)
    return stream.getvalue()


def npz(path, **entries: bytes):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(f"{name}.npy", content)
    return path


def zeros(path, shape: tuple[int, ...], descr: str):
    """A .npz of zeros, which are never all in memory."""
    path.write_bytes(packed_zeros(shape, descr))
    return path


@functools.cache
def packed_zeros(shape: tuple[int, ...], descr: str) -> bytes:
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("features.npy", "w", force_zip64=True) as stream,
    ):
        stream.write(claim(shape, descr))
        for _ in range(shape[0] * shape[1] * np.dtype(descr).itemsize // MIB):
            stream.write(bytes(MIB))
    return buffer.getvalue()


SHAPES = ((10**12, 8), (10**9, 0), (2**27, 1))


def read_expr(path):
    return read_frame_predictions(path, TASKS["EXPR"])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "read",
    [read_feature_file, read_meta, checked_meta, read_expr],
    ids=lambda f: f.__name__,
)
def test_npz_that_claim_much(tmp_path, read, shape):
    path = npz(tmp_path / "v.npz", features=claim(shape), meta=claim(shape))
    with pytest.raises(ValueError, match=r"v\.npz.*expected"):
        read(path)


@pytest.mark.parametrize("descr", ["<f4", "|u1"])
@pytest.mark.parametrize(
    "read",
    [read_feature_file, read_meta, checked_meta, read_expr],
    ids=lambda f: f.__name__,
)
def test_npz_that_inflate(tmp_path, read, descr):
    shape = (2**27 + 2**17, 2) if descr == "|u1" else (2**27, 1)
    path = zeros(tmp_path / "v.npz", shape, descr)
    tracemalloc.reset_peak()
    with pytest.raises(ValueError, match=r"v\.npz.*expected"):
        read(path)


@pytest.mark.parametrize("shape", SHAPES)
def test_npy_that_claim_much(tmp_path, shape):
    folder = tmp_path / "given"
    folder.mkdir()
    path = folder / "v.npy"
    path.write_bytes(claim(shape))
    for read in (read_original_npy, read_expr):
        with pytest.raises(ValueError, match=r"v\.npy.*expected"):
            read(path)
    for read in (import_folder, read_expr):
        with pytest.raises(ValueError, match=r"v\.npy.*expected"):
            read(folder)
    path.rename(folder / "v.frames.npy")
    np.save(path, np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"v\.frames\.npy.*expected"):
        import_folder(folder)


def test_more_frames_than_a_video_has(tmp_path):
    """10 MB of bytes, which would be 250 MB of rows and more."""
    np.save(tmp_path / "v.npy", np.zeros((10_000_001, 1), np.uint8))
    with pytest.raises(ValueError, match="at most 10000000 frames"):
        import_folder(tmp_path)


def test_bytes_that_would_be_many_times_as_many_scores(tmp_path):
    path = zeros(tmp_path / "v.npz", (2**25, 1), "|u1")
    tracemalloc.reset_peak()
    with pytest.raises(ValueError, match=r"v\.npz.*declared in"):
        read_expr(path)


def hdf5(path, **datasets):
    with h5py.File(path, "w") as file:
        for name, options in datasets.items():
            file.create_dataset(name, **options)
    return path


NEVER = {"shape": (10**7, 10**5), "dtype": "f4"}


def test_hdf5_that_claim_much(tmp_path):
    path = tmp_path / "given.h5"
    for options in (
        {**NEVER, "chunks": (1000, 1000)},
        NEVER,
        {
            "shape": (10, 3),
            "dtype": "f4",
            "chunks": (10**5, 10**4),
            "maxshape": (None,) * 2,
        },
        {"shape": (10**9, 0), "dtype": "f4", "maxshape": (None, None)},
    ):
        hdf5(path, a=options)
        with pytest.raises(ValueError, match=r"given\.h5.*expected"):
            import_hdf5(path)
    with h5py.File(path, "w") as file:
        file.create_dataset("a/features", (3, 2), "f4")
        file.create_dataset("a/frame", (10**10,), "i8", chunks=(1000,))
    with pytest.raises(ValueError, match=r"given\.h5.*a/frame|10\^10|declared"):
        import_hdf5(path)


@pytest.mark.parametrize("size", [2**20, pytest.param(2**29, marks=pytest.mark.slow)])
def test_hdf5_chunks_that_inflate(tmp_path, size):
    """A chunk of 12 KB whose bytes inflate to 512 MiB; HDF5 inflates to the end."""
    path = tmp_path / "given.h5"
    deflate = zlib.compressobj()
    pieces = [deflate.compress(bytes(2**20)) for _ in range(size // 2**20)]
    bomb = b"".join([*pieces, deflate.flush()])
    options = {"dtype": "f4", "chunks": (1000, 3), "compression": "gzip"}
    with h5py.File(path, "w") as file:
        data = file.create_dataset("a", (1000, 3), **options)
        data.id.write_direct_chunk((0, 0), bomb)
    tracemalloc.reset_peak()
    if size == 2**29:
        with pytest.raises(ValueError, match=r"given\.h5.*inflates beyond"):
            import_hdf5(path)
        return
    source = import_hdf5(path)  # small: HDF5 itself tells or takes the beginning
    assert source.dim == 3
    source.close()


def test_hdf5_as_h5py_writes_it(tmp_path):
    values = np.random.default_rng(0).normal(size=(3000, 70)).astype(np.float32)
    for options in (
        {},
        {"chunks": (500, 70)},
        {"compression": "gzip", "shuffle": True, "fletcher32": True},
        {"compression": "gzip", "chunks": (3000, 70)},
        {"compression": "lzf"},
    ):
        path = tmp_path / "given.h5"
        hdf5(path, a={"data": values, **options})
        source = import_hdf5(path)
        np.testing.assert_array_equal(source.read("a").features, values)
        source.close()


def test_hdf5_links_and_what_is_no_dataset(tmp_path):
    path = tmp_path / "given.h5"
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["a"] = np.zeros((3, 2))
    with h5py.File(path, "w") as file:
        file["x"] = h5py.SoftLink("/y")
        file["y"] = h5py.SoftLink("/x")
    with pytest.raises(ValueError, match=r"given\.h5.*/x is a link to '/y'.*expected"):
        import_hdf5(path)
    with h5py.File(path, "w") as file:
        file["through"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/")
        file["a"] = h5py.SoftLink("/through/a")
    with pytest.raises(ValueError, match=r"given\.h5.*/a is a link to '/through/a'"):
        import_hdf5(path)
    with h5py.File(path, "w") as file:
        group = file.create_group("a")
        group["features"] = group
    with pytest.raises(ValueError, match=r"given\.h5.*is Group; expected"):
        import_hdf5(path)
    with h5py.File(path, "w") as file:
        file["a"] = np.dtype("f4")
    with pytest.raises(ValueError, match=r"given\.h5.*a has no values; expected"):
        import_hdf5(path)
    with h5py.File(path, "w") as file:
        file.create_dataset("a", (3, 2), "f4", external=[(tmp_path / "raw", 0, 24)])
    with pytest.raises(ValueError, match=r"given\.h5.*lies in other files"):
        import_hdf5(path)
    with h5py.File(path, "w") as file:
        file["a"] = h5py.Empty("f4")
    with pytest.raises(ValueError, match=r"given\.h5.*expected"):
        import_hdf5(path)


@pytest.mark.slow
def test_hdf5_with_many_attributes(tmp_path):
    with h5py.File(tmp_path / "given.h5", "w", libver="latest") as file:
        data = file.create_dataset("a", data=np.ones((2, 3), "f4"))
        for i in range(3000):
            data.attrs[f"x{i}"] = "y" * 100
    source = import_hdf5(tmp_path / "given.h5")
    assert source.read("a").features.tolist() == [[1.0] * 3] * 2
    source.close()


def test_changed_bytes_of_hdf5(tmp_path):
    hdf5(tmp_path / "good.h5", a={"data": np.ones((20, 3)), "compression": "gzip"})
    good = (tmp_path / "good.h5").read_bytes()
    chance = np.random.default_rng(0)
    path = tmp_path / "changed.h5"
    outcomes = set()
    for _ in range(100):
        content = bytearray(good)
        for at in chance.integers(0, len(good), 20):
            content[at] = chance.integers(256)
        path.write_bytes(content)
        message = ""
        try:
            with contextlib.closing(import_hdf5(path)) as source:
                source.read("a")
        except ValueError as error:
            message = str(error)
        assert not message or "changed.h5" in message
        outcomes.add(bool(message))
    assert outcomes == {True, False}


# --- pickles


PICKLE_READERS = {
    "original": read_pickled_dict,
    "score": read_expr,
    "import": lambda path: import_pickle(path, SpooledRows(path, path.parent)),
}


@pytest.mark.parametrize("read", PICKLE_READERS.values(), ids=PICKLE_READERS.keys())
@pytest.mark.parametrize("times", [1, 100])
def test_a_vector_named_again_and_again(tmp_path, read, times):
    """Of 1 MiB, for many frames, or many times in a list for each."""
    vector = np.zeros(2**18, np.float32)
    content = {
        f"v/{i:05d}.jpg": vector if times == 1 else [vector] * times
        for i in range(1, 1000 // times + 10)
    }
    path = tmp_path / "v.pkl"
    path.write_bytes(pickle.dumps(content, protocol=4))
    tracemalloc.reset_peak()
    with pytest.raises(ValueError, match=r"v\.pkl.*share one"):
        read(path)


KEYS = {
    "deep": b"N" + b"\x85" * 5000,
    "long": b"X" + struct.pack("<I", 10**6) + b"a" * 10**6,
    "large number": b"\x8a\xff" + b"\x7f" * 255,
}


@pytest.mark.parametrize("read", PICKLE_READERS.values(), ids=PICKLE_READERS.keys())
@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS.keys())
def test_keys_that_are_no_names(tmp_path, read, key):
    path = tmp_path / "v.pkl"
    path.write_bytes(b"\x80\x02}" + key + b"Ns.")
    with pytest.raises(ValueError, match=r"v\.pkl.*as a key; expected") as error:
        read(path)
    assert len(str(error.value)) < 500


def test_pipes_are_not_waited_for(tmp_path):
    for name in ("v.npy", "v.npz", "v.pkl", "v.h5"):
        os.mkfifo(tmp_path / name)
    for name, read in (
        ("v.npy", read_expr),
        ("v.npy", read_original_npy),
        ("v.npz", read_feature_file),
        ("v.npz", read_expr),
        ("v.pkl", read_expr),
        ("v.h5", import_hdf5),
    ):
        with pytest.raises(ValueError, match=rf"{name}.*expected"):
            read(tmp_path / name)
