"""Files of weights: written whole, refused where damaged or foreign."""

import errno
import json
import pathlib

import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy

from avemo_jax.embed.weights import WeightsError, read_weights, write_weights

X = {"x": np.ones(3, np.float32)}


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_what_is_written_is_read(dtype, tmp_path):
    tensors = {"b": np.arange(6, dtype=dtype).reshape(2, 3), "a": np.zeros(0, dtype)}
    write_weights(tmp_path / "new" / "w.safetensors", tensors, {"extractor": "é"})
    found, metadata = read_weights(tmp_path / "new" / "w.safetensors")
    assert metadata["extractor"] == "é"
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == dtype
        np.testing.assert_array_equal(found[name], tensor)


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "w.safetensors"
    write_weights(path, {"x": np.ones(3, np.float32)}, {"extractor": "vggish"})

    def fails(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fails)
    with pytest.raises(OSError, match="disk full"):
        write_weights(path, {"x": np.zeros(3, np.float32)}, {"extractor": "vggish"})
    monkeypatch.undo()
    assert read_weights(path)[0]["x"].tolist() == [1, 1, 1]
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


def test_what_cannot_be_kept_is_not_written(tmp_path):
    with pytest.raises(ValueError, match=r"ends in \.safetensors"):
        write_weights(tmp_path / "w.pt", X, {})
    for dtype in (ml_dtypes.bfloat16, np.int32):
        with pytest.raises(ValueError, match=r"x of dtype .* expected one of float16"):
            write_weights(tmp_path / "w.safetensors", {"x": np.ones(3, dtype)}, {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "schema",
    ["[" * 100_000, "1" * 5_000, "{", "NaN", "2"],
    ids=["deep", "long", "open", "nan", "other"],
)
def test_damaged_metadata(schema, tmp_path):
    path = tmp_path / "w.safetensors"
    safetensors.numpy.save_file(X, path, {"schema": schema})
    with pytest.raises(WeightsError, match=r"w\.safetensors.*expected.*convert the or"):
        read_weights(path)


@pytest.mark.parametrize(
    ("dtype", "size"), [("BF16", 2), ("F8_E4M3", 1), ("C64", 8), ("I64", 8)]
)
def test_tensors_of_other_dtypes(dtype, size, tmp_path):
    path = tmp_path / "w.safetensors"
    write_file(path, {"dtype": dtype, "shape": [3], "data_offsets": [0, 3 * size]})
    with pytest.raises(WeightsError, match=f"x has dtype {dtype}; expected one of F16"):
        read_weights(path)


def test_a_foreign_file_is_not_read_whole(tmp_path, monkeypatch):
    """Its metadata decide before its tensors are in memory."""
    path = tmp_path / "w.safetensors"
    safetensors.numpy.save_file(X, path, {"format": "pt"})
    monkeypatch.setattr("avemo_jax.embed.weights.tensors_digest", None)
    with pytest.raises(WeightsError, match="schema None; expected 1"):
        read_weights(path)


@pytest.mark.parametrize("length", [0, 7, 8, 40, -1])
def test_a_file_that_ends_too_soon(length, tmp_path):
    path = tmp_path / "w.safetensors"
    write_weights(path, X, {"extractor": "vggish"})
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(WeightsError, match=r"cannot be read .*\.safetensors"):
        read_weights(path)


def write_file(path: pathlib.Path, x: dict[str, object]) -> None:
    """A file of one tensor, of zeros, whatever NumPy thinks of its dtype."""
    whole = {"__metadata__": {"schema": "1"}, "x": x}
    header = json.dumps(whole).encode()
    size = x["data_offsets"][1]
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(size))


def test_a_full_disk_is_an_error_of_the_system(tmp_path, monkeypatch):
    def full(*_):
        raise safetensors.SafetensorError(
            "Error while serializing: I/O error: No space left on device (os error 28)"
        )

    monkeypatch.setattr(safetensors.numpy, "save_file", full)
    with pytest.raises(OSError, match=r"w\.safetensors") as error:
        write_weights(tmp_path / "w.safetensors", X, {"extractor": "vggish"})
    assert error.value.errno == errno.ENOSPC
    assert not list(tmp_path.iterdir())
