"""The folder of an input: whole or not at all."""

import errno
import hashlib
import json
import os
import pathlib

import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest
from made.predicted import made_face, made_predicted

from avemo_jax.prediction import writing
from avemo_jax.prediction.summaries import summary_rows
from avemo_jax.prediction.tables import table_of
from avemo_jax.prediction.writing import RUN, write_predicted, written_run
from avemo_jax.runtime.versions import VERSION
from avemo_jax.tasks import AU

FILES = {
    "predictions.csv",
    "predictions.parquet",
    "predictions_raw.csv",
    "segments.csv",
    "run.json",
}


def made(name="interview", seed=0, **changes):
    faces = [made_face(1, 2, 30, lost=[9], seed=seed), made_face(2, 8, 35)]
    return made_predicted(40, faces, name=name, **changes)


def in_folder(folder: pathlib.Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("name", ["interview", 'a,"b"', "007"])
def test_files_hold_the_table(tmp_path, name):
    folder = tmp_path / "out" / "interview"
    predicted = made(name)
    write_predicted(predicted, folder)
    assert set(in_folder(folder)) == FILES
    table = table_of(predicted)
    assert pyarrow.parquet.read_table(folder / "predictions.parquet").equals(table)
    for file, expected in (
        ("predictions.csv", table),
        ("predictions_raw.csv", table_of(predicted, raw=True)),
    ):
        convert = pyarrow.csv.ConvertOptions(
            column_types=expected.schema, strings_can_be_null=True
        )
        found = pyarrow.csv.read_csv(folder / file, convert_options=convert)
        assert found.equals(expected)
        assert b"\r" not in (folder / file).read_bytes()


def test_run_tells_of_the_run(tmp_path):
    predicted = made(
        settings={"model": "hsemotion", "faces": "all"},
        stages_s={"decode": 1.23456},
        notes=("no sound",),
        losses=("2 frames",),
    )
    write_predicted(predicted, tmp_path)
    run = json.loads((tmp_path / RUN).read_text())
    assert run["version"] == VERSION
    assert run["input"] == "interview"
    assert (run["width"], run["height"], run["fps"]) == (640, 360, 25.0)
    assert (run["n_frames"], run["duration_s"]) == (40, 1.6)
    assert [task["name"] for task in run["tasks"]] == ["EXPR", "AU", "VA"]
    assert run["thresholds"] == {"AU": dict.fromkeys(AU.columns, 0.5)}
    assert run["faces"][0] == {
        "face_id": 1,
        "first_frame": 2,
        "last_frame": 30,
        "frames_found": 28,
        "frames_embedded": 28,
        "is_merged": False,
    }
    assert run["stages_s"]["decode"] == 1.235
    assert run["stages_s"]["write"] >= 0
    assert (run["notes"], run["losses"]) == (["no sound"], ["2 frames"])
    for name in FILES - {RUN}:
        data = (tmp_path / name).read_bytes()
        told = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        assert run["files"][name] == told
    found = written_run(tmp_path)
    assert found["settings"] == {"model": "hsemotion", "faces": "all"}
    assert list(found["summary"]) == summary_rows(predicted)
    assert found["losses"] == ("2 frames",)


def test_a_folder_is_complete_only_with_a_run_that_fits(tmp_path):
    assert written_run(tmp_path / "none") is None
    write_predicted(made(), tmp_path)
    assert written_run(tmp_path) is not None
    csv = tmp_path / "predictions.csv"
    csv.write_bytes(csv.read_bytes()[:-1])
    assert written_run(tmp_path) is None
    write_predicted(made(), tmp_path)
    csv.unlink()
    assert written_run(tmp_path) is None
    (tmp_path / RUN).write_text('{"schema_version": 1}')
    with pytest.raises(ValueError, match=r"run\.json: missing settings.*done again"):
        written_run(tmp_path)
    write_predicted(made(), tmp_path)
    run = json.loads((tmp_path / RUN).read_text()) | {"schema_version": 9}
    (tmp_path / RUN).write_text(json.dumps(run))
    with pytest.raises(ValueError, match="schema_version 9; expected 1"):
        written_run(tmp_path)


def test_tables_are_the_same_each_time(tmp_path):
    for folder in ("a", "b"):
        write_predicted(made(), tmp_path / folder)
    first, second = in_folder(tmp_path / "a"), in_folder(tmp_path / "b")
    assert all(first[name] == second[name] for name in FILES - {RUN})


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    "place", ["write_segments", "_on_disk", "_written", "_content"]
)
@pytest.mark.parametrize("error", [FULL, KeyboardInterrupt()])
def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch, place, error):
    def fail(*args):
        raise error

    new, old = tmp_path / "new", tmp_path / "old"
    write_predicted(made(), old)
    (old / "mine.txt").write_text("a user's own")
    before = in_folder(old)
    with monkeypatch.context() as patch:
        patch.setattr(writing, place, fail)
        for folder in (new, old):
            with pytest.raises(type(error)):
                write_predicted(made(seed=1), folder)
    assert in_folder(old) == before
    assert not new.exists()
    write_predicted(made(seed=1), old)
    assert in_folder(old)["predictions.csv"] != before["predictions.csv"]
    assert in_folder(old)["mine.txt"] == b"a user's own"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device without room")
def test_a_device_without_room_is_an_error():
    with pytest.raises(OSError, match="No space left"):
        writing.write_segments(pathlib.Path("/dev/full"), made())


def test_a_rename_that_fails_leaves_no_run(tmp_path, monkeypatch):
    """Tables of two runs never stand beside a run.json."""
    write_predicted(made(), tmp_path)
    replace, done = os.replace, []

    def sometimes(old, new):
        if len(done) == 2:
            raise OSError(errno.EIO, "Input/output error")
        done.append(new)
        replace(old, new)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", sometimes)
        with pytest.raises(OSError, match="Input/output"):
            write_predicted(made(seed=1), tmp_path)
    assert RUN not in in_folder(tmp_path)
    assert written_run(tmp_path) is None
    assert not [name for name in in_folder(tmp_path) if name.startswith(".")]


def test_what_killed_runs_left_is_removed(tmp_path):
    (tmp_path / ".predictions.csv.0a1b2c3d.tmp").write_text("half")
    (tmp_path / ".other.csv.0a1b2c3d.tmp").write_text("another program's")
    write_predicted(made(), tmp_path)
    assert set(in_folder(tmp_path)) == FILES | {".other.csv.0a1b2c3d.tmp"}


def test_settings_that_json_lacks_are_an_error(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_predicted(made(settings={"seconds": np.inf}), tmp_path / "new")
    assert not (tmp_path / "new").exists()
