"""The function that programs call, on a film and a tiny network."""

import sys

import pytest
from made.colour_network import colour_network
from made.coloured_faces import write_film

import avemo_jax


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    with colour_network(tmp_path_factory.mktemp("network")) as name:
        yield name


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return write_film(tmp_path_factory.mktemp("films") / "film.mp4")


def test_a_table_a_summary_and_files(model, film, tmp_path):
    found = avemo_jax.predict(film, model=model, faces="largest", smooth="none")
    table = found.table
    assert len(table) == 60
    assert list(table["expression"][:50]) == ["Anger"] * 50
    (row,) = found.summary
    assert (row["input"], row["face_id"], row["pct_time_Anger"]) == ("film", 1, 100)
    assert "face 1: seen 83.33 % of the time" in str(found)
    found.write(tmp_path / "out")
    files = {path.name for path in (tmp_path / "out" / "film").iterdir()}
    assert {"predictions.csv", "predictions.parquet", "run.json"} <= files
    assert (tmp_path / "out" / "summary.csv").is_file()


def test_without_pandas_there_is_arrow(model, film, monkeypatch):
    found = avemo_jax.predict(film, model=model, end_s=0.2)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"no pandas is installed; .*take \.arrow"):
        _ = found.table
    assert found.arrow.num_rows == 5


def test_what_cannot_be_read_is_an_error_or_one_of_several(model, film, tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    with pytest.raises(ValueError, match=r"bad\.mp4: cannot be opened as video"):
        avemo_jax.predict(bad, model=model)
    found = avemo_jax.predict([bad, film], model=model, every=10)
    assert list(found.unread) == ["bad"]
    assert [one.name for one in found.inputs] == ["film"]
    with pytest.raises(ValueError, match="for 2 inputs; expected one input"):
        avemo_jax.predict([bad, film], model=model, audio="sound.wav")
