import pathlib

import numpy as np
import pytest
from made.stores import vectors

from avemo_jax.data.corpus.annotations import read_annotations
from avemo_jax.data.corpus.splits import draw_dev, source_video
from avemo_jax.data.features.files import read_original_file, write_feature_file
from avemo_jax.data.store.store import open_store
from avemo_jax.packing.command import main
from avemo_jax.tasks import EXPR, TASKS


@pytest.fixture
def annotations(shared_data) -> list[str]:
    return ["--annotations", str(shared_data / "affwild2_mini" / "Annotations")]


@pytest.fixture
def mini(shared_data, annotations, tmp_path) -> list[str]:
    """Flags for the real annotations and the smallest of the real feature sets."""
    name = "audiofeat_vggish"
    (tmp_path / "features").mkdir()
    (tmp_path / "features" / name).symlink_to(
        shared_data / "affwild2_mini_features" / name
    )
    return [*annotations, "--features", str(tmp_path / "features")]


@pytest.mark.release
def test_command_on_real_material(tmp_path, shared_data, annotations, capsys):
    flags = [*annotations, "--out", str(tmp_path)]
    flags += ["--features", str(shared_data / "affwild2_mini_features")]
    assert main(flags) == 0
    said, errors = capsys.readouterr()
    assert "vggish@0.96s: 6 videos, 1027 frames" in said
    assert "annotated videos without features: 1 (7-30-176x144)" in said
    assert "7/7" not in errors  # a bar is for terminals
    assert "TensorFlow" not in said + errors

    store = open_store(tmp_path)
    records = {record.video: record for record in read_annotations(annotations[1])}
    names = ["enet_b2_8_best", "wav2vec2_base", "vggish"]
    seen = set()
    for task in TASKS:
        assert "dev" in store.split_of(task).values()
        for split in ("train", "dev", "validation"):
            table = store.load_table(task, split, names)
            seen |= set(table.videos)
            for i, video in enumerate(table.videos):
                rows = slice(table.row_offsets[i], table.row_offsets[i + 1])
                expected = real_vectors(shared_data, video)
                np.testing.assert_array_equal(table.frame[rows], expected[0])
                np.testing.assert_array_equal(table.features[rows], expected[1])
                labels = records[video].labels[task]
                known = table.frame[rows] <= len(labels)
                np.testing.assert_array_equal(
                    table.labels[rows][known], labels[table.frame[rows][known] - 1]
                )
    assert seen == set(records)
    assert main(flags) == 0
    again, errors = capsys.readouterr()
    assert again == said
    assert "7/7" not in errors


def test_a_test_set_gives_test_videos_of_its_task_and_their_frames(tmp_path):
    """Sound runs a frame further, and the official count of frames is longer still."""
    folder = tmp_path / "features" / "vggish@0.96s"
    folder.mkdir(parents=True)
    for video in ("new", "other", "seen"):
        rows = vectors("x", {video: list(range(1, 10))}, 128)[video]
        write_feature_file(folder / f"{video}.npz", rows, {"fingerprint": "f"})
    folder = tmp_path / "made" / EXPR.folders[1]
    for name, video in (("Validation_Set", "seen"), ("Test_Set", "new")):
        (folder / name).mkdir(parents=True)
        (folder / name / f"{video}.txt").write_text(f"{EXPR.header}\n" + "1\n" * 12)
    (tmp_path / "list.txt").write_text("new\n")
    flags = ["--annotations", folder, "--test-list", f"EXPR={tmp_path / 'list.txt'}"]
    flags += ["--features", tmp_path / "features", "--out", tmp_path / "store"]
    assert main([*map(str, flags), "--quiet"]) == 0
    table = open_store(tmp_path / "store").load_table("EXPR", "test", ["vggish"])
    assert table.videos == ("new", "other")
    assert table.num_frames.tolist() == [12, 9]
    assert not table.valid.any()


def real_vectors(shared_data: pathlib.Path, video: str):
    """Frames and concatenated vectors of one video, straight from its files."""
    folder = shared_data / "affwild2_mini_features"
    visual = read_original_file(
        folder / "visualfeat_enet_b2_8_best_cropped_aligned" / f"{video}.npy"
    )
    parts = [visual.features]
    for kind, dim in (("wav2vec2", 768), ("vggish", 128)):
        path = folder / f"audiofeat_{kind}" / f"{video}.npy"
        vectors_of = np.zeros((10_000, dim), np.float32)
        if path.exists():
            sound = read_original_file(path)
            vectors_of[sound.frame] = sound.features
        parts.append(vectors_of[visual.frame])
    return visual.frame, np.concatenate(parts, axis=1).astype(np.float16)


def test_command_with_own_lists(tmp_path, mini):
    lists = tmp_path / "lists"
    for task in ("EXPR", "VA"):
        (lists / task).mkdir(parents=True)
        (lists / task / "Train.txt").write_text("video3\nvideo45_5\n")
        (lists / task / "Val.txt").write_text("1-30-1280x720\n")
        (lists / task / "Test.txt").write_text("2-24-640x360\n")
    out = str(tmp_path / "store")
    assert main([*mini, "--out", out, "--split-dir", str(lists), "--quiet"]) == 0
    store = open_store(out)
    assert store.split_videos("EXPR", "train") == ("video3", "video45_5")
    assert store.split_videos("VA", "validation") == ("2-24-640x360",)
    assert store.split_of("AU") == {}


def test_command_seed_and_grouping(tmp_path, mini, capsys):
    assert main([*mini, "--out", str(tmp_path / "s"), "--quiet"]) == 0
    grouped = open_store(tmp_path / "s").split_videos("EXPR", "dev")
    flags = ["--out", str(tmp_path / "s"), "--quiet", "--ungrouped-dev", "--split-seed"]
    train = open_store(tmp_path / "s").split_videos("EXPR", "train+dev")
    seed = next(
        s for s in range(9) if draw_dev(train, seed=s, grouped=False) != {*grouped}
    )
    assert main([*mini, *flags, str(seed)]) == 1
    assert "stands with other content" in capsys.readouterr().err
    assert main([*mini, *flags, str(seed), "--overwrite"]) == 0
    dev = open_store(tmp_path / "s").split_videos("EXPR", "dev")
    assert set(dev) == draw_dev(train, seed=seed, grouped=False)


def test_command_test_list(tmp_path, mini, capsys):
    names = tmp_path / "names.txt"
    names.write_text("elsewhere\n")
    flags = ["--test-list", f"EXPR={names}", "--quiet", "--out", str(tmp_path / "s")]
    assert main([*mini, *flags]) == 0
    store = open_store(tmp_path / "s")
    assert store.split_videos("EXPR", "test") == ("elsewhere",)
    assert store.split_videos("VA", "test") == ()
    names.write_text("elsewhere\nvideo3\n")
    assert main([*mini, *flags]) == 1
    assert "names.txt, line 2: video 'video3' is in EXPR" in capsys.readouterr().err


def test_command_errors(tmp_path, mini, capsys):
    out = ["--out", str(tmp_path / "s"), "--quiet"]
    (tmp_path / "empty").mkdir()
    assert main(["--annotations", str(tmp_path / "empty"), *out]) == 1
    assert "no annotations in" in capsys.readouterr().err
    assert main([*mini, *out, "--kind", "mine=video"]) == 1
    assert "--kind 'mine=video'; expected" in capsys.readouterr().err
    assert main([*mini, *out, "--test-list", "FOO=x"]) == 1
    assert "unknown task 'FOO'" in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


def test_command_with_npz_of_an_unknown_extractor(tmp_path, mini):
    rows = vectors("mine", {"video3": [1, 2, 3]}, 4, output_dim=8)["video3"]
    folder = tmp_path / "more" / "mine@cropped-64"
    folder.mkdir(parents=True)
    write_feature_file(folder / "video3.npz", rows, {"fingerprint": "abc"})
    flags = ["--features", str(tmp_path / "more"), "--out", str(tmp_path / "s")]
    assert main([*mini, *flags, "--quiet"]) == 1
    assert main([*mini, *flags, "--quiet", "--kind", "mine@cropped-64=visual"]) == 0
    store = open_store(tmp_path / "s")
    assert store.feature_sets["mine@cropped-64"].fingerprint == "abc"
    table = store.load_table("AU", "validation", ["mine", "vggish"])
    # Annotated videos without features of a set stay, without rows.
    assert set(table.videos) == {"video3", "5-60-1920x1080-4_right", "7-30-176x144"}
    rows_of = dict(zip(table.videos, np.diff(table.row_offsets), strict=True))
    assert rows_of["video3"] == table.num_rows
    assert table.features.shape == (3, 132)
    np.testing.assert_array_equal(table.outputs, rows.outputs)
    assert source_video("video3") in table.source_videos
