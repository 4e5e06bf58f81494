"""Tables of OpenFace and py-feat become feature files, and a store."""

import csv

import numpy as np
import pytest
from made.face_tables import write_openface, write_pyfeat

from avemo_jax.data.features.files import read_feature_file
from avemo_jax.data.importing.command import main
from avemo_jax.data.store.store import open_store
from avemo_jax.packing import command as build_store

LENGTHS = {"talka": 30, "talkb": 20, "talkc": 25, "talkd": 15}


def imported(source, out, *more, name="openface"):
    """Runs the command; its exit status."""
    arguments = [source, "--as", name, "--kind", "visual", "--out", out, *more]
    return main([*map(str, arguments), "--quiet"])


@pytest.fixture
def tables(tmp_path):
    """OpenFace's tables of videos, with two frames without a face."""
    rng = np.random.default_rng(0)
    for video, length in LENGTHS.items():
        active = {"AU12": rng.integers(0, 2, length)}
        write_openface(tmp_path / "openface" / f"{video}.csv", active, lost=(5, 6))
    return tmp_path / "openface"


def test_from_tables_to_a_store(tables, tmp_path, capsys):
    """The numbers are the table's, by its own columns and frames; units are kept."""
    assert imported(tables, tmp_path / "features") == 0
    printed = capsys.readouterr().out
    assert "4 tables of OpenFace, 49 values a frame" in printed
    assert "4 videos, 82 rows" in printed
    assert "rows without a face, taken as frames without features: 8" in printed
    folder = tmp_path / "features" / "openface@imported"
    rows, meta = read_feature_file(folder / "talkb.npz")
    assert rows.frame.tolist() == [n for n in range(1, 21) if n not in (5, 6)]
    with (tables / "talkb.csv").open(newline="") as file:
        given = list(csv.DictReader(file, skipinitialspace=True))
    names = [column["name"] for column in meta["columns"]]
    assert names == [
        n
        for n in given[0]
        if n[:3] in ("AU0", "AU1", "AU2", "AU4") or n.startswith(("pose", "gaze"))
    ]
    units = {column["name"]: column["unit"] for column in meta["columns"]}
    assert units["AU12_r"] == "intensity, 0 to 5"
    assert (units["pose_Tz"], units["pose_Rx"], units["gaze_angle_x"]) == (
        "mm",
        "rad",
        "rad",
    )
    expected = [[float(given[n - 1][name]) for name in names] for n in rows.frame]
    np.testing.assert_array_equal(rows.features, np.float16(expected))
    manifest, labels = tmp_path / "manifest.csv", tmp_path / "labels.csv"
    split = dict(zip(LENGTHS, ("train", "train", "dev", "validation"), strict=True))
    lines = [f"{video},{split[video]}" for video in LENGTHS]
    manifest.write_text("\n".join(["video,split", *lines]) + "\n")
    lines = [
        f"{video},{n},{'smile' if n % 3 else 'rest'}"
        for video, length in LENGTHS.items()
        for n in range(1, length + 1)
    ]
    labels.write_text("\n".join(["video,frame,mood", *lines]) + "\n")
    arguments = ["--manifest", manifest, "--labels", labels, "--quiet"]
    arguments += ["--features", tmp_path / "features", "--out", tmp_path / "store"]
    assert build_store.main([str(one) for one in arguments]) == 0
    table = open_store(tmp_path / "store").load_table("mood", "train", ["openface"])
    assert (table.num_rows, table.feature_sets[0].dim) == (46, 49)
    own = table.frame.tolist().index(1, 1)  # the second video begins
    np.testing.assert_array_equal(table.features[own:], rows.features)


def test_columns_are_chosen_and_part_of_the_identity(tables, tmp_path, capsys):
    prints = []
    for columns in ("AU*_r", "AU*_r,pose_R*", "AU12_c"):
        out = tmp_path / columns.replace("*", "")
        assert imported(tables, out, f"--columns={columns}", "--made-by=x") == 0
        _, meta = read_feature_file(out / "openface@imported" / "talka.npz")
        prints.append((len(meta["columns"]), meta["fingerprint"]))
    assert [count for count, _ in prints] == [17, 20, 1]
    assert len({text for _, text in prints}) == 3
    assert imported(tables, tmp_path / "none", "--columns=AU99_r") == 1
    assert "no column 'AU99_r' of --columns; expected one" in capsys.readouterr().err


def test_py_feat_by_its_faces(tmp_path):
    """Frames count from 0; who a person is, and where points are, is left out."""
    values = {
        name: np.arange(4) / 8
        for name in ("x_0", "AU01", "AU12", "happiness", "Identity_2", "gaze_yaw")
    }
    path = write_pyfeat(
        tmp_path / "feat.csv",
        values,
        frame=np.array([0, 0, 1, 2]),
        identity=["Person_0", "Person_1", "Person_1", "Person_1"],
        lost=(2,),
    )
    assert imported(path, tmp_path / "one") == 1
    assert imported(path, tmp_path / "one", "--face=1") == 0
    rows, meta = read_feature_file(tmp_path / "one" / "openface@imported" / "talk.npz")
    names = [column["name"] for column in meta["columns"]]
    assert names == ["AU01", "AU12", "happiness", "gaze_yaw", "Pitch", "Roll", "Yaw"]
    assert rows.frame.tolist() == [1, 2]
    assert rows.features[:, 0].tolist() == [0.125, 0.25]
    assert imported(path, tmp_path / "all", "--face=all", "--first-frame=0") == 0
    folder = tmp_path / "all" / "openface@imported"
    assert sorted(one.stem for one in folder.iterdir()) == [
        "talk--face1",
        "talk--face2",
    ]
    rows, _ = read_feature_file(folder / "talk--face2.npz")
    assert rows.frame.tolist() == [1]


def test_flags_and_tables_that_do_not_fit(tables, tmp_path, capsys):
    def error(source, *more, kind="visual"):
        arguments = [source, "--as=x", f"--kind={kind}", "--out", tmp_path / "o", *more]
        assert main([*map(str, arguments), "--quiet"]) == 1
        return capsys.readouterr().err

    assert "expected visual" in error(tables, kind="audio")
    assert "which counts from 1; expected no flag" in error(tables, "--first-frame=0")
    np.save(tmp_path / "a.npy", np.zeros((3, 2)))
    assert "--face with" in error(tmp_path / "a.npy", "--face=1")
    plain = tmp_path / "plain.csv"
    plain.write_text("video,frame,f0\na,1,2\n")
    assert "or a table of OpenFace or py-feat" in error(plain)
    text = (tables / "talkb.csv").read_text()
    (tables / "talkb.csv").write_text(text.replace("AU45_r", "AU46_r"))
    assert "no column AU45_r, which" in error(tables)
