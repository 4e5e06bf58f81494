"""Arrays of files from anywhere: fine ones as numpy reads them, others harmless."""

import io
import os
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from avemo_jax.runtime.array_files import (
    SPARE_BYTES,
    check_growth,
    read_npy,
    read_npz,
)

EXPECTED = "expected numbers: save them again"
ARRAYS = {
    "float16": np.arange(6, dtype="<f2").reshape(2, 3),
    "big endian": np.arange(6, dtype=">f8").reshape(3, 2),
    "fortran": np.asfortranarray(np.arange(6, dtype="i4").reshape(2, 3)),
    "one": np.array(2.5),
    "empty": np.zeros((0, 7), "f4"),
    "texts": np.array(["a", "größer"]),
    "text": np.array('{"a": 1}'),
    "bool": np.array([True, False]),
}


def header(descr: str, shape: str, version: int = 1) -> bytes:
    """The header of an array that a file claims to have."""
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (63 - (len(text) + 10) % 64) + b"\n"
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + length + text


def npz_of(path, content: bytes, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a.npy", content)
    return path


@pytest.fixture
def peak():
    """The most memory that was taken since the last call, in bytes."""
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS.keys())
def test_arrays_read_as_numpy_reads_them(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    np.savez_compressed(tmp_path / "a.npz", a=array)
    np.savez(tmp_path / "b.npz", a=array)
    for read in (
        read_npy(tmp_path / "a.npy", expected=EXPECTED),
        read_npy(tmp_path / "a.npy", expected=EXPECTED, mapped=True),
        read_npz(tmp_path / "a.npz", expected=EXPECTED)["a"],
        read_npz(tmp_path / "b.npz", expected=EXPECTED)["a"],
    ):
        assert read.dtype == array.dtype
        assert read.shape == array.shape
        np.testing.assert_array_equal(read, array)
        assert read.flags.f_contiguous == array.flags.f_contiguous


CLAIMS = {
    "terabytes": ("'<f8'", "(1000000000000, 8)"),
    "rows of nothing": ("'<f4'", "(1000000000, 0)"),
    "texts of nothing": ("'<U0'", "(1000000000,)"),
    "a long text": ("'<U500000000'", "()"),
    "a negative length": ("'<f4'", "(-1, -8)"),
    "beyond integers": ("'<f4'", f"({10**30}, 2)"),
    "arrays in arrays": ("('<f4', (1000000,))", "(1000,)"),
    "objects": ("'|O'", "(3,)"),
    "fields": ("[('a', '<f4')]", "(1,)"),
    "100 axes": ("'<f4'", str((1,) * 100)),
    "deep": ("(" * 3000 + "1" + ",)" * 3000, "(1,)"),
    "no dtype": ("'wrong'", "(1,)"),
    "a set": ("'<f4'", "{1}"),
}


@pytest.mark.parametrize(("descr", "shape"), CLAIMS.values(), ids=CLAIMS.keys())
def test_what_a_header_claims_is_not_believed(tmp_path, peak, descr, shape):
    content = header(descr, shape) + bytes(8)
    (tmp_path / "a.npy").write_bytes(content)
    npz_of(tmp_path / "a.npz", content)
    for name, read in (("a.npy", read_npy), ("a.npz", read_npz)):
        with pytest.raises(ValueError, match=rf"{name} cannot be read.*again") as error:
            read(tmp_path / name, expected=EXPECTED)
        assert len(str(error.value)) < 700
        assert "\n" not in str(error.value)
    assert peak() < 2**24


def test_a_header_of_four_gigabytes_is_not_inflated(tmp_path, peak):
    content = b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + bytes(2**27)
    npz_of(tmp_path / "a.npz", content)
    del content
    tracemalloc.reset_peak()
    with pytest.raises(ValueError, match=r"a\.npz cannot be read"):
        read_npz(tmp_path / "a.npz", expected=EXPECTED)
    assert peak() < 2**24


def declaring(path, size: int):
    """Says in a zip file that its entry inflates to ``size`` bytes."""
    data = bytearray(path.read_bytes())
    local, central = data.index(b"PK\x03\x04"), data.index(b"PK\x01\x02")
    data[local + 22 : local + 26] = struct.pack("<I", size)
    data[central + 24 : central + 28] = struct.pack("<I", size)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    "declared",
    [2**31, pytest.param(None, marks=pytest.mark.slow), 128 + 8 * 2**10],
)
def test_bombs_are_not_inflated(tmp_path, peak, declared):
    """512 MB of zeros, in half a megabyte, whatever the zip file says of them."""
    many = 2**26 if declared is None else 2**24
    rows = many if declared is None else 2**10
    content = io.BytesIO()
    content.write(header("'<f8'", f"({rows},)"))
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("a.npy", "w") as stream:
            stream.write(content.getvalue())
            for _ in range(many // 2**17):
                stream.write(bytes(2**20))
    if declared is not None:
        declaring(path, declared)
    tracemalloc.reset_peak()
    with pytest.raises(ValueError, match=r"a\.npz cannot be read"):
        read_npz(path, expected=EXPECTED)
    assert peak() < 2**24


def test_odd_zip_files(tmp_path):
    good = header("'<f8'", "(1,)") + bytes(8)
    npz_of(tmp_path / "bz2.npz", good, zipfile.ZIP_BZIP2)
    with zipfile.ZipFile(tmp_path / "twice.npz", "w") as archive:
        archive.writestr("a.npy", good)
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a.npy", good)
    npz_of(tmp_path / "over.npz", good, zipfile.ZIP_STORED)
    data = (tmp_path / "over.npz").read_bytes()
    start, end = data.index(b"PK\x01\x02"), data.index(b"PK\x05\x06")
    entries = b"".join(
        data[start:end].replace(b"a.npy", b"%03da." % i) for i in range(100)
    )
    count, size = struct.pack("<HH", 100, 100), struct.pack("<I", len(entries))
    tail = data[end : end + 8] + count + size + data[end + 16 :]
    (tmp_path / "over.npz").write_bytes(data[:start] + entries + tail)
    (tmp_path / "text.npz").write_bytes(b"text")
    for name, why in (
        ("bz2", "compressed as numpy does not"),
        ("twice", "two entries of one name"),
        ("over", "entries over one another"),
        ("text", "not a zip file"),
    ):
        with pytest.raises(ValueError, match=rf"{name}\.npz cannot be read \(.*{why}"):
            read_npz(tmp_path / f"{name}.npz", expected=EXPECTED)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.npy")
    with pytest.raises(ValueError, match=r"a\.npy cannot be read \(no regular file\)"):
        read_npy(tmp_path / "a.npy", expected=EXPECTED)
    with pytest.raises(ValueError, match=r"none\.npy cannot be read \(No such file"):
        read_npy(tmp_path / "none.npy", expected=EXPECTED)


def test_growth():
    check_growth(SPARE_BYTES, 1)
    check_growth(64 * SPARE_BYTES, SPARE_BYTES)
    with pytest.raises(ValueError, match="save it without compression"):
        check_growth(SPARE_BYTES + 1, 1000)


@settings(
    deadline=None,
    max_examples=200,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.data())
def test_changed_bytes_never_do_more_than_fail(tmp_path, data):
    array = np.arange(4, dtype="<f4")
    np.savez_compressed(tmp_path / "a.npz", a=array, b=np.array("text"))
    content = bytearray((tmp_path / "a.npz").read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(
            st.integers(0, 255)
        )
    (tmp_path / "a.npz").write_bytes(content)
    message = ""
    try:
        read_npz(tmp_path / "a.npz", expected=EXPECTED)
    except ValueError as error:
        message = str(error)
    assert not message or "a.npz cannot be read" in message
