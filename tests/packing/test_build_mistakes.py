"""What users do wrong when they build a store: each is told, and nothing is lost."""

import configparser
import errno
import fcntl
import pathlib
import re
import zipfile

import numpy as np
import pytest
from made.stores import annotated, save_original, source, vectors

from avemo_jax.data.corpus.annotations import read_annotations
from avemo_jax.data.corpus.label_files import read_mtl_file
from avemo_jax.data.features.files import read_feature_file, write_feature_file
from avemo_jax.data.listing import entries, read_names
from avemo_jax.data.store.layout import config_folder
from avemo_jax.data.store.store import open_store
from avemo_jax.packing.build import build_store
from avemo_jax.packing.command import main
from avemo_jax.tasks import EXPR, VA

REPOSITORY = pathlib.Path(__file__).parents[2]


@pytest.fixture
def tree(tmp_path) -> pathlib.Path:
    """``given/labels`` and ``given/features``, of three videos."""
    root = tmp_path / "given"
    for name, header, row in (("EXPR", EXPR, "1"), ("VA", VA, "0,0")):
        folder = root / "labels" / header.folders[0]
        for video in ("video1", "video2"):
            write(folder / "Train_Set" / f"{video}.txt", [header.header, row, row])
        if name == "EXPR":
            write(folder / "Validation_Set" / "video3.txt", [header.header, row])
    for video in ("video1", "video2", "video3"):
        vector = np.ones(128, np.float32)
        save_original(
            root / "features" / "audiofeat_vggish" / f"{video}.npy",
            {f"{video}/{frame:05d}.jpg": vector * frame for frame in (1, 2)},
        )
    return root


def write(path: pathlib.Path, lines: list[str], end: str = "\n") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((end.join(lines) + end).encode())


def flags(tree: pathlib.Path, **changed: object) -> list[str]:
    """The right flags, with some of them changed."""
    values = {
        "annotations": tree / "labels",
        "features": tree / "features",
        "out": tree / "store",
        **changed,
    }
    pairs = [(f"--{key.replace('_', '-')}", str(v)) for key, v in values.items()]
    return ["--quiet", *(text for pair in pairs for text in pair)]


def said(capsys, *args: str) -> str:
    """The error of a command that fails."""
    assert main(list(args)) == 1
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("flag", "path", "advice"),
    [
        ("annotations", ".", "give {tree}/labels"),
        ("annotations", "nowhere", "does not exist"),
        ("features", ".", "give {tree}/features itself"),
        ("features", "features/audiofeat_vggish", "folder, give {tree}/features"),
        ("features", "nowhere", "no such folder"),
        ("out", "features/audiofeat_vggish/video1.npy", "what is read"),
        ("test_list", "nowhere", "unknown task|expected NAME=VALUE"),
        ("kind", "vgish=audio", "a kind is given for vgish"),
    ],
)
def test_wrong_paths(tree, tmp_path_factory, capsys, flag, path, advice):
    if flag == "features" and path == ".":
        write(tree / "features" / "notes.txt", ["a note beside the sets"])
    value = path if flag in ("kind", "test_list") else tree / path
    out = tmp_path_factory.mktemp("out") / "store"
    error = said(capsys, *flags(tree, **{"out": out, flag: value}))
    assert any(a in error for a in advice.format(tree=tree).split("|"))
    assert not out.exists()


def test_an_error_is_one_line(tree, capsys):
    for changed in (
        {"out": tree / "labels" / EXPR.folders[0] / "Train_Set" / "video1.txt" / "x"},
        {"test_list": f"EXPR={tree / 'nowhere'}"},
    ):
        assert main(flags(tree, **changed)) == 1
        lines = capsys.readouterr().err.splitlines()
        errors = [line for line in lines if not re.match(r"[\d:]+ I ", line)]
        assert len(errors) == 1
        assert errors[0].startswith("avemo build-store: error: ")


def test_the_inside_of_a_store_is_no_place_for_one(tree, capsys):
    assert main(flags(tree)) == 0
    error = said(capsys, *flags(tree, out=tree / "store" / "affwild2"))
    assert f"give {tree / 'store'}" in error


def test_what_archives_and_systems_leave_is_ignored(tree):
    assert main(flags(tree)) == 0
    before = open_store(tree / "store").fingerprint
    task = tree / "labels" / EXPR.folders[0]
    for folder in (tree / "labels", task, task / "Train_Set", tree / "features"):
        write(folder / "__MACOSX" / "._video9.txt", ["x"])
        write(folder / ".DS_Store", ["x"])
        write(folder / "._video9.txt", ["x"])
    write(tree / "features" / "audiofeat_vggish" / "._video1.npy", ["x"])
    assert main(flags(tree)) == 0
    assert open_store(tree / "store").fingerprint == before
    assert entries(tree / "features") == [tree / "features" / "audiofeat_vggish"]
    assert entries(tree / "nowhere") == []


def test_frame_numbers_that_would_take_all_memory(tree, capsys, tmp_path):
    row = "v/99999999999999999999.jpg," + ",".join(["0"] * 15)
    write(tmp_path / "train.txt", ["image,valence,arousal,expression,aus", row])
    with pytest.raises(ValueError, match=r"train\.txt, line 2: image name"):
        read_mtl_file(tmp_path / "train.txt")
    path = tree / "features" / "audiofeat_vggish" / "video2.npy"
    vector = np.ones(128, np.float32)
    save_original(path, {"video2/99999999999999999999.jpg": vector})
    assert f"{path}: key 'video2/999" in said(capsys, *flags(tree))
    path.unlink()
    rows = vectors("x", {"v": [1, 2_000_000_000]}, 4)["v"]
    npz = tree / "features" / "mine@x" / "video2.npz"
    npz.parent.mkdir()
    write_feature_file(npz, rows, {"fingerprint": "f", "kind": "visual"})
    assert f"{npz}: frame number 2000000000" in said(capsys, *flags(tree))


@pytest.mark.parametrize(
    ("vector", "what"),
    [
        (np.ones(100, np.float32), "vectors of 100 values; expected 128"),
        (np.full(128, 7e4, np.float32), "the range of float16"),
    ],
)
def test_vectors_that_fit_in_no_set_name_their_file(tree, capsys, vector, what):
    path = tree / "features" / "audiofeat_vggish" / "video2.npy"
    save_original(path, {"video2/00001.jpg": vector})
    error = said(capsys, *flags(tree))
    assert str(path) in error
    assert what in error


def test_replacing_what_stands_by_damaged_files_loses_nothing(tree, capsys):
    folder = tree / "features" / "enet_b2_8_best"
    folder.mkdir()
    for number, video in enumerate(("video1", "video2")):
        rows = vectors("x", {video: [1, 2 + number]}, 1408)[video]
        write_feature_file(folder / f"{video}.npz", rows, {"fingerprint": "f"})
    assert main(flags(tree)) == 0
    before = open_store(tree / "store").fingerprint
    whole = (folder / "video2.npz").read_bytes()
    (folder / "video2.npz").write_bytes(whole[: len(whole) // 2])
    error = said(capsys, *flags(tree), "--overwrite")
    assert f"{folder / 'video2.npz'} cannot be read" in error
    assert open_store(tree / "store").fingerprint == before
    table = open_store(tree / "store").load_table("EXPR", "train+dev", ["vggish"])
    assert table.num_rows == 4
    (folder / "video2.npz").write_bytes(whole)
    assert main(flags(tree)) == 0
    assert not list((tree / "store").rglob("incomplete*"))


def test_replaced_config_is_gone_after_success(tmp_path):
    records = [annotated("a1", 4, "train"), annotated("a2", 4, "train")]
    rows = vectors("mine@x", {"a1": [1]}, 3)
    for digest in "12":
        one = source("mine@x", "visual", rows, digest=digest)
        build_store(tmp_path, records, [one], overwrite=True, show_progress=False)
    names = [path.name for path in config_folder(tmp_path, "mine@x").parent.iterdir()]
    assert names == ["1.0.0"]


def test_file_systems_without_locks(tree, monkeypatch, caplog):
    def no_locks(file, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with caplog.at_level("WARNING"):
        assert main(flags(tree)) == 0
    assert "without locks (No locks available)" in caplog.text
    assert open_store(tree / "store").feature_sets

    def broken(file, operation):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", broken)
    assert main(flags(tree)) == 1


def test_lists(tree, capsys, caplog):
    lists = tree / "lists"
    (lists / "mine").mkdir(parents=True)
    (lists / "mine" / "Train.txt").write_bytes(b"\xef\xbb\xbfvideo1.txt\r\n\r\n")
    write(lists / "mine" / "Val.txt", ["video2"], end="\r\n")
    write(lists / "hidden", ["video4.txt"], end="\r\n")
    assert read_names(lists / "mine" / "Train.txt") == [(1, "video1")]
    own = {"split_dir": lists / "mine", "test_list": f"EXPR={lists / 'hidden'}"}
    assert main(flags(tree, **own)) == 0
    splits = open_store(tree / "store").split_of("EXPR")
    # Labelled, but in none of the lists: in no split.
    assert splits == {"video1": "train", "video2": "dev", "video4": "test"}

    write(lists / "mine" / "Val.txt", ["EXPR/Train_Set/video2.txt"])
    error = said(capsys, *flags(tree, **own))
    assert "Val.txt, line 1: unknown video 'EXPR/Train_Set/video2'" in error
    (lists / "mine" / "Val.txt").write_bytes(b"\xef\xbb\xbfvideo2\n\nvideo\xff\n")
    error = said(capsys, *flags(tree, **own))
    assert "Val.txt, line 3: not UTF-8 (byte 0xff)" in error


def test_lists_without_dev_and_with_unlabelled_videos_are_said(tree, caplog):
    write(tree / "lists" / "train.txt", ["video1", "video2"])
    write(tree / "lists" / "validation.txt", ["video3"])
    with caplog.at_level("WARNING"):
        assert main(flags(tree, split_dir=tree / "lists")) == 0
    assert "have no dev video" in caplog.text
    assert "VA: 1 listed videos have no VA labels" in caplog.text
    assert "AU: 3 listed videos have no AU labels" in caplog.text
    assert "EXPR: " in caplog.text
    assert "no EXPR labels" not in caplog.text


def test_sound_of_two_faces_has_annotations(tmp_path):
    records = [annotated("a_left", 4, "train"), annotated("b", 4, "train")]
    rows = vectors("sound@x", {"a": [1, 2], "c": [1]}, 3)
    one = source("sound@x", "audio", rows)
    report = build_store(tmp_path, records, [one], show_progress=False)
    assert report["sound@x"]["videos_without_annotations"] == ["c"]
    assert report["sound@x"]["annotated_videos_without_features"] == ["b"]


def test_multi_task_files_are_pointed_at(tmp_path):
    header = "image,valence,arousal,expression,aus"
    row = "v/00001.jpg,0.5,-0.5,3," + ",".join("010000000001")
    write(tmp_path / "MTL_Challenge" / "training_set_annotations.txt", [header, row])
    with pytest.raises(ValueError, match="pass --mtl"):
        read_annotations(tmp_path)
    (record,) = read_annotations(tmp_path, mtl=True)
    assert record.splits == dict.fromkeys(("EXPR", "AU", "VA"), "train")
    assert record.labels["AU"].tolist() == [[0, 1, *[0] * 9, 1]]
    (tmp_path / "MTL_Challenge" / "training_set_annotations.txt").unlink()
    with pytest.raises(ValueError, match=r"no train\*\.txt and no val\*\.txt"):
        read_annotations(tmp_path, mtl=True)


def test_packages_have_what_tfds_reads_beside_a_builder():
    settings = configparser.ConfigParser()
    settings.read(REPOSITORY / "setup.cfg")
    packed = settings["options.package_data"]["data_builders.affwild2"].split()
    folder = REPOSITORY / "data_builders" / "affwild2"
    others = [path.name for path in entries(folder) if path.suffix != ".py"]
    assert set(packed) == set(others) - {"__pycache__"}


@pytest.mark.parametrize("compressed", [False, True])
def test_damaged_npz_is_always_told(tmp_path, compressed):
    path = tmp_path / "v.npz"
    rows = vectors("x", {"v": [1, 2, 3]}, 40)["v"]
    write_feature_file(path, rows, {"fingerprint": "f"})
    if compressed:
        with np.load(path) as file:
            np.savez_compressed(path, **dict(file))
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    told = whole_ones = 0
    for _ in range(300):
        damaged = bytearray(whole)
        for position in rng.integers(0, len(whole), rng.integers(1, 9)):
            damaged[position] = rng.integers(256)
        path.write_bytes(damaged[: rng.integers(1, 2 * len(whole))])
        try:
            read_feature_file(path)
            whole_ones += 1
        except ValueError as error:
            told += str(path) in str(error)
    assert told + whole_ones == 300
    assert told > 250


def test_npz_that_claims_a_huge_shape(tmp_path):
    path = tmp_path / "v.npz"
    rows = vectors("x", {"v": [1, 2, 3]}, 40)["v"]
    write_feature_file(path, rows, {"fingerprint": "f"})
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    members["features.npy"] = members["features.npy"].replace(
        b"'shape': (3, 40), }" + b" " * 16, b"'shape': (3" + b"0" * 16 + b", 40), }"
    )
    assert b"3" + b"0" * 16 in members["features.npy"]
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    with pytest.raises(ValueError, match=r"v\.npz cannot be read"):
        read_feature_file(path)
