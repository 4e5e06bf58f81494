import dataclasses
import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
from made.stores import annotated, source, vectors

from avemo_jax.data.corpus.splits import fold_splits, grouped_folds
from avemo_jax.data.store import layout, memmap
from avemo_jax.data.store.store import Store, open_store
from avemo_jax.data.store.table import FrameTable
from avemo_jax.packing.build import build_store
from avemo_jax.tasks import TASKS

# Frames of a visual set, of a second one, and of sound; by subject-video.
FACES = {
    "video1": [1, 2, 3, 5, 6, 9],
    "video2": [2, 3, 4],
    "video3_left": [1, 2, 3, 4],
    "video3_right": [3, 4, 8],
    "video4": [1, 2],
    "video6": [1, 2, 3],
}
FACES_2 = {**FACES, "video1": [2, 3, 5, 9, 10]}
SOUND = {
    "video1": [1, 2, 3, 4, 5, 6, 7],
    "video3": [1, 2, 3, 4, 5, 6, 7, 8],
    "video4": [1, 2, 3],
    "video6": [1, 2, 3],
}
SPLITS = {
    "video1": "train",
    "video2": "train",
    "video3_left": "validation",
    "video3_right": "validation",
    "video4": "dev",
    "video5": "train",
}


@pytest.fixture(scope="module")
def content():
    return {
        "face@a": vectors("face@a", FACES, 5, output_dim=2),
        "face2@a": vectors("face2@a", FACES_2, 3),
        "sound@a": vectors("sound@a", SOUND, 4),
        "sound@b": vectors("sound@b", SOUND, 2),
    }


@pytest.fixture(scope="module")
def records():
    return [
        annotated(v, 8, split, seed=i) for i, (v, split) in enumerate(SPLITS.items())
    ]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory, content, records) -> pathlib.Path:
    path = tmp_path_factory.mktemp("store")
    kinds = {"face@a": "visual", "face2@a": "visual"}
    sources = [
        source(name, kinds.get(name, "audio"), rows) for name, rows in content.items()
    ]
    build_store(path, records, sources, show_progress=False)
    return path


@pytest.fixture
def store(data_dir) -> Store:
    return open_store(data_dir)


def naive(content, visual: list[str], audio: list[str], videos: list[str]):
    """Rows (video, frame, vector, has_audio), joined by loops."""
    for video in videos:
        sets = [content[name].get(video) for name in visual]
        frames = [set() if s is None else set(s.frame.tolist()) for s in sets]
        for frame in sorted(set.intersection(*frames)):
            parts = [s.features[s.frame.tolist().index(frame)] for s in sets]
            has_audio = True
            for name in audio:
                by_video = content[name]
                base = video.removesuffix("_left").removesuffix("_right")
                sound = by_video.get(video, by_video.get(base))
                dim = next(iter(by_video.values())).features.shape[1]
                if sound is not None and frame in sound.frame:
                    parts.append(sound.features[sound.frame.tolist().index(frame)])
                else:
                    parts.append(np.zeros(dim))
                    has_audio = False
            yield video, frame, np.concatenate(parts).astype(np.float16), has_audio


def check(table: FrameTable, expected: list) -> None:
    """The table has exactly these rows."""
    assert table.num_rows == len(expected)
    videos = [table.videos[i] for i in table.video_of_row]
    assert videos == [row[0] for row in expected]
    assert table.frame.tolist() == [row[1] for row in expected]
    np.testing.assert_array_equal(table.features, np.stack([r[2] for r in expected]))
    assert table.has_audio.tolist() == [row[3] for row in expected]


TRAIN = ["video1", "video2"]


@pytest.mark.parametrize(
    ("visual", "audio"),
    [
        (["face@a"], []),
        (["face2@a", "face@a"], []),
        (["face@a"], ["sound@b"]),
        (["face@a", "face2@a"], ["sound@b", "sound@a"]),
    ],
)
@pytest.mark.parametrize("mapped", [False, True])
def test_join(store, content, visual, audio, mapped, tmp_path):
    path = tmp_path / "features" if mapped else None
    # Audio is named first: visual sets come first all the same.
    table = store.load_table("EXPR", "train", audio + visual, memmap_path=path)
    check(table, list(naive(content, visual, audio, TRAIN)))
    assert [s.name for s in table.feature_sets] == visual + audio
    assert isinstance(table.features, np.memmap) == mapped
    assert table.features.dtype == np.float16
    if "face@a" in visual:
        rows = content["face@a"]["video2"]
        assert table.outputs is not None
        assert table.outputs.dtype == np.float32
        np.testing.assert_array_equal(table.outputs[-3:], rows.outputs)
    # Loaded again: the mapped file is reused.
    again = store.load_table("EXPR", "train", audio + visual, memmap_path=path)
    np.testing.assert_array_equal(again.features, table.features)
    assert again.fingerprint == table.fingerprint


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("split", ["train", "dev", "train+dev", "validation", "test"])
def test_labels_and_lengths(store, records, task, split):
    table = store.load_table(task, split, ["face@a"])
    by_video = {record.video: record for record in records}
    wanted = split.split("+")
    expected = {v for v, s in (SPLITS | {"video6": "test"}).items() if s in wanted}
    assert list(table.videos) == sorted(expected)  # also those without features
    assert table.report["videos_without_features"] == sorted(expected & {"video5"})
    for i, video in enumerate(table.videos):
        last = FACES[video][-1] if video in FACES else 0
        assert table.num_frames[i] == (max(8, last) if video in by_video else last)
        dense = slice(table.dense_offsets[i], table.dense_offsets[i + 1])
        labels = TASKS[task].empty_labels(int(table.num_frames[i]))
        if video in by_video:
            labels[:8] = by_video[video].labels[task]
        np.testing.assert_array_equal(table.dense_labels[dense], labels)
        assert table.source_videos[i] == video.partition("_")[0]
    np.testing.assert_array_equal(table.labels, table.dense_labels[table.dense_index])
    np.testing.assert_array_equal(table.valid, TASKS[task].valid(table.labels))
    labelled = TASKS[task].valid(table.dense_labels).sum()
    assert table.report["rows_with_label"] == table.valid.sum()
    assert table.report["labelled_frames_without_row"] == labelled - table.valid.sum()


def test_missing_audio(store, content):
    table = store.load_table("VA", "train", ["face@a", "sound@a"])
    assert table.report["videos_without_audio"] == ["video2"]
    assert table.report["videos_with_partial_audio"] == ["video1: 1 rows"]
    assert table.report["rows_without_audio"] == 4
    dropped = store.load_table(
        "VA", "train", ["face@a", "sound@a"], missing_audio="drop"
    )
    rows = naive(content, ["face@a"], ["sound@a"], TRAIN)
    check(dropped, [row for row in rows if row[3]])
    assert dropped.report["rows_dropped_without_audio"] == 4
    assert dropped.videos == ("video1", "video2", "video5")
    assert list(np.diff(dropped.row_offsets)) == [5, 0, 0]


def test_faces_share_the_sound_of_their_video(store, content):
    table = store.load_table("AU", "validation", ["face@a", "sound@a"])
    assert table.videos == ("video3_left", "video3_right")
    assert table.has_audio.all()
    check(table, list(naive(content, ["face@a"], ["sound@a"], list(table.videos))))


def test_audio_alone(store, content):
    table = store.load_table("AU", "train", ["sound@b", "sound@a"])
    check(table, list(naive(content, ["sound@b", "sound@a"], [], ["video1"])))
    assert table.outputs is None
    assert table.report["videos_without_features"] == ["video2", "video5"]
    test = store.load_table("AU", "test", ["sound@a"])
    # The sound of video3 belongs to its two faces.
    assert test.videos == ("video6",)


def test_plan_tells_before_loading(store):
    for names in (["face@a"], ["face@a", "face2@a", "sound@a"], ["sound@b"]):
        for split in ("train", "validation", "train+dev"):
            joined = store.join("VA", split, names)
            table = store.load_table("VA", split, names)
            assert joined.rows == table.num_rows
            assert joined.dim == table.features.shape[1]
            assert joined.feature_bytes == table.features.nbytes
            arrays = [table.features, table.outputs, table.labels, table.valid]
            arrays += [table.has_audio, table.frame, table.dense_labels]
            assert joined.bytes == sum(a.nbytes for a in arrays if a is not None)
    joined = store.join("VA", "train", ["face@a", "face2@a"])
    # 1 and 6 in the first set alone, 10 in the second.
    assert joined.report["rows_not_in_all_visual_sets"] == 3


def test_what_a_table_lacks_is_said_once(data_dir, caplog):
    """Dev is loaded to train by, and again to choose by."""
    store = open_store(data_dir)
    with caplog.at_level("INFO"):
        for _ in range(2):
            store.load_table("EXPR", "dev", ["face@a"])
    told = [record.getMessage() for record in caplog.records]
    assert len([line for line in told if line.startswith("EXPR dev, face@a")]) == 1
    assert len([line for line in told if line.startswith("dev, ")]) == 1
    with caplog.at_level("INFO"):
        store.load_table("EXPR", "validation", ["face@a"])
    assert caplog.records[-1].getMessage().startswith("validation, ")


def test_own_splits(store):
    train_videos = store.split_videos("EXPR", "train+dev")
    folds = grouped_folds(train_videos, 2)
    splits = fold_splits(folds, 0)
    table = store.load_table("EXPR", "dev", ["face@a"], splits=splits)
    assert set(table.videos) == set(folds[0])
    assert store.split_videos("EXPR", "train", splits) == tuple(sorted(folds[1]))
    # Videos that are not named keep their split.
    before = store.split_videos("EXPR", "validation")
    assert store.split_videos("EXPR", "validation", splits) == before
    assert store.split_videos("EXPR", "train", {"video1": "none"}) == (
        "video2",
        "video5",
    )
    with pytest.raises(ValueError, match="'video9'"):
        store.split_videos("EXPR", "train", {"video9": "train"})
    with pytest.raises(ValueError, match="'valid'"):
        store.split_videos("EXPR", "train", {"video1": "valid"})


def test_errors(store, tmp_path):
    with pytest.raises(ValueError, match="no store in"):
        open_store(tmp_path)
    with pytest.raises(ValueError, match="folder above it"):
        open_store(store.path / "affwild2")
    with pytest.raises(ValueError, match="unknown feature set 'faces'; the store has"):
        store.join("EXPR", "train", ["faces"])
    with pytest.raises(ValueError, match="sound@a, sound@b: write"):
        store.join("EXPR", "train", ["sound"])
    with pytest.raises(ValueError, match="each once"):
        store.join("EXPR", "train", ["face@a", "face"])
    with pytest.raises(ValueError, match="none; expected at least one"):
        store.join("EXPR", "train", [])
    with pytest.raises(ValueError, match="unknown split 'val'"):
        store.join("EXPR", "val", ["face"])
    with pytest.raises(ValueError, match="unknown task 'expr'"):
        store.join("expr", "train", ["face"])
    with pytest.raises(ValueError, match="no rows for EXPR dev"):
        store.join("EXPR", "dev", ["face"], splits={"video4": "train"})


def test_other_fingerprints_are_refused(store):
    same = list(store.feature_sets.values())
    store.check_same(same)
    other = dataclasses.replace(same[0], fingerprint="g")
    with pytest.raises(ValueError, match=r"has fingerprint f .* expected g"):
        store.check_same([other])
    with pytest.raises(ValueError, match="no feature set 'x@y'"):
        store.check_same([dataclasses.replace(same[0], name="x@y")])


def test_mapped_file_follows_the_content(store, tmp_path):
    path = tmp_path / "features"
    one = store.load_table("EXPR", "train", ["face@a"], memmap_path=path)
    values = np.array(one.features)
    stamp = path.stat().st_mtime_ns
    store.load_table("AU", "train", ["face@a"], memmap_path=path)
    assert path.stat().st_mtime_ns == stamp
    # Other rows: written anew. What was mapped before stays as it was.
    two = store.load_table("EXPR", "validation", ["face@a"], memmap_path=path)
    assert two.num_rows != one.num_rows
    np.testing.assert_array_equal(one.features, values)
    # Half a file is not the file.
    path.write_bytes(path.read_bytes()[:-1])
    again = store.load_table("EXPR", "validation", ["face@a"], memmap_path=path)
    np.testing.assert_array_equal(again.features, two.features)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "features",
        "features.outputs",
    ]


def test_failed_mapped_file_leaves_nothing(tmp_path):
    def fail(matrix: np.ndarray) -> None:
        matrix[0] = 1
        raise RuntimeError("stop")

    file = memmap.FlatFile(tmp_path / "f", (4, 2), np.float16)
    with pytest.raises(RuntimeError, match="stop"):
        memmap.open_or_write([file], "a" * 64, fail)
    assert list(tmp_path.iterdir()) == []


def test_damaged_store(data_dir, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(data_dir, copy)
    metadata = layout.config_folder(copy, "face@a") / "metadata.json"
    content = json.loads(metadata.read_text())
    content["runs"]["video1"] = [1, 6]
    metadata.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="damaged"):
        open_store(copy).load_table("EXPR", "train", ["face@a"])
    content["format"] = 99
    metadata.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="format is 99; expected 1"):
        open_store(copy)
    metadata.unlink()
    with pytest.raises(ValueError, match=r"no metadata\.json"):
        open_store(copy)


def test_no_banner_and_no_tensorflow(data_dir):
    code = (
        "import sys, avemo_jax.data.store.store as s;"
        f"s.open_store({str(data_dir)!r}).load_table('VA', 'train', ['face@a']);"
        "assert not {'tensorflow', 'torch'} & set(sys.modules)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert ran.stdout == ""
    assert ran.stderr == ""


def test_import_is_quick():
    code = (
        "import sys, avemo_jax, avemo_jax.data.store.store;"
        "assert 'tensorflow_datasets' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
