import collections
import contextlib
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
from made.stores import save_original

from avemo_jax.data.features.files import read_original_file
from avemo_jax.data.features.original_npy import read_original_npy, read_pickled_dict
from avemo_jax.data.importing.pickled import import_pickle
from avemo_jax.data.importing.spooled import SpooledRows
from avemo_jax.runtime.safe_pickle import RefusedPickleError

IN_FOLDER = settings(
    deadline=None,
    max_examples=50,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def npy_with(pickled: bytes) -> bytes:
    """A .npy file of an object array with this pickle in it."""
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (), }"
    header += b" " * (63 - (len(header) + 10) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + pickled


@IN_FOLDER
@given(
    st.integers(0, 5),
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


def imported(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The rows that ``avemo import-features`` finds in a pickle, by key."""
    rows = SpooledRows(path, path.parent, dtype="float32")
    with contextlib.closing(rows):
        source = import_pickle(path, rows)
        return {
            f"{video}/{frame:05d}.jpg": row
            for video in source.frames
            for frame, row in zip(
                source.frames[video], source.read(video).features, strict=True
            )
        }


def check_read(path: pathlib.Path, expected: dict[str, np.ndarray]) -> None:
    for found in (read_pickled_dict(path), imported(path)):
        assert found.keys() == expected.keys()
        for key, vector in expected.items():
            np.testing.assert_array_equal(found[key], vector)


VECTORS = {f"ä/{i:05d}.jpg": np.float32([i, -0.5, 1e-3 * i]) for i in range(1, 4)}
DICTS = {
    "dict": VECTORS,
    "OrderedDict": collections.OrderedDict(VECTORS),
    "defaultdict": collections.defaultdict(list, VECTORS),
    "defaultdict of nothing": collections.defaultdict(None, VECTORS),
}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("content", DICTS.values(), ids=DICTS.keys())
def test_dicts_of_any_protocol(tmp_path, content, protocol):
    path = tmp_path / "v.pkl"
    path.write_bytes(pickle.dumps(content, protocol))
    check_read(path, VECTORS)
    lists = {key: [float(v) for v in row] for key, row in content.items()}
    path.write_bytes(pickle.dumps(lists | {"b/1.jpg": [1, True, 2**40]}, protocol))
    more = {"b/00001.jpg": np.float32([1, 1, 2**40])}
    assert imported(path).keys() == (VECTORS | more).keys()
    np.testing.assert_array_equal(imported(path)["b/00001.jpg"], more["b/00001.jpg"])


# As Python 2 writes them: texts and bytes are of one type.
OF_PYTHON_2 = {
    "protocol 2": (
        b"\x80\x02}q\x01U\x0bv/00001.jpgq\x02cnumpy.core.multiarray\n_reconstruct\n"
        b"q\x03(cnumpy\nndarray\nK\x00\x85U\x01bt\x52(K\x01K\x02\x85cnumpy\ndtype\n"
        b"(U\x02f4K\x00K\x01tR(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89U\x08@tbs."
    ),
    "protocol 0": (
        b"(dp0\nS'v/00001.jpg'\np1\ncnumpy.core.multiarray\n_reconstruct\np2\n(cnumpy\n"
        b"ndarray\np3\n(I0\ntp4\nS'b'\np5\ntp6\nRp7\n(I1\n(I2\ntp8\ncnumpy\ndtype\np9\n"
        b"(S'f4'\np10\nI0\nI1\ntp11\nRp12\n(I3\nS'<'\np13\nNNNI-1\nI-1\nI0\ntp14\nb"
        b"I00\nS'@'\np15\ntp16\nbs."
    ),
}


@pytest.mark.parametrize("values", [[0, 0], [1, -2.5]])
@pytest.mark.parametrize("form", OF_PYTHON_2)
def test_dicts_of_python_2(tmp_path, form, values):
    vector = np.float32(values)
    raw = vector.tobytes()
    if form == "protocol 0":
        raw = b"".join(b"\\x%02x" % byte for byte in raw)
    (tmp_path / "v.pkl").write_bytes(OF_PYTHON_2[form].replace(b"@", raw))
    check_read(tmp_path / "v.pkl", {"v/00001.jpg": vector})


def test_plain_values_that_no_table_needs_are_no_reason_for_distrust(tmp_path):
    path = tmp_path / "v.pkl"
    path.write_bytes(pickle.dumps({"v/00001.jpg": {1, 2}}, 4))
    for read in (read_pickled_dict, imported):
        with pytest.raises(ValueError, match=r"v\.pkl.*a set, or another") as error:
            read(path)
        assert "trust" not in str(error.value)


class RunsCode:
    def __init__(self, marker: pathlib.Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return (os.system, (f"touch {self.marker}",))


@pytest.mark.parametrize("where", ["value", "key holder", "array", "top"])
@pytest.mark.parametrize(
    "protocol",
    [0, *(pytest.param(p, marks=pytest.mark.slow) for p in (1, 2, 3)), 4, 5],
)
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
    "name of lists": b"]q\x00" + b"h\x00h\x00\x86q\x00" * 60 + b"h\x00\x93.",
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


def objects_of_shape(shape: bytes) -> bytes:
    """An array of objects that says it has this shape."""
    return (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tC\x01btR"
        b"(K\x01(" + shape + b"tcnumpy\ndtype\n(X\x02\x00\x00\x00O8\x89\x88tR\x89]tb."
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
    "shape of texts": objects_of_shape(b"J\xff\xff\xff\x7fX\x01\x00\x00\x00a"),
    "shape of tuples": objects_of_shape(b")" + b"q\x00h\x00h\x00\x86" * 60),
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
    with pytest.raises(ValueError, match="share one"):
        read_original_npy(tmp_path / "v.npy")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ([1, 2], "begins with .*<i8"),
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
    with pytest.raises(ValueError, match=r"begins with .*<f8"):
        read_original_npy(tmp_path / "v.npy")
    (tmp_path / "v.npy").write_bytes(b"text")
    with pytest.raises(ValueError, match="begins with b'text'"):
        read_original_npy(tmp_path / "v.npy")


def test_real_original_files(shared_data):
    files = sorted((shared_data / "affwild2_mini_features").glob("*/*.npy"))
    assert len(files) == 19
    for path in files[::3]:
        trusted = np.load(path, allow_pickle=True).item()
        read = read_original_file(path)
        assert read.frame.tolist() == [int(key[-9:-4]) for key in trusted]
        np.testing.assert_array_equal(read.features, np.stack(list(trusted.values())))
