"""What a careless user, or a damaged disk, may bring about in an extraction."""

import json
import os
import resource
import shutil

import numpy as np
import pytest
from made.sounds import write_wav
from made.trees import write_crops, write_video

from avemo_jax.data.features.files import read_feature_file
from avemo_jax.extraction import command

FACES, SOUND = "enet_b0_8_va_mtl", "vggish"
FACE_SET, SOUND_SET = f"{FACES}@cropped_aligned-32", f"{SOUND}@0.96s"
VIDEO = "1-25-64x48"


@pytest.fixture
def extracted(weights, tmp_path, capsys):
    """Runs the command; its status, what it printed, and the failures."""
    out = tmp_path / "out"

    def run(*flags):
        same = ["--out", str(out), "--weights", str(weights), "--quiet"]
        same += ["--size-px", "32", "--batch-size", "16"]
        status = command.main([*map(str, flags), *same])
        said = capsys.readouterr()
        listed = out / "failures.jsonl"
        lines = listed.read_text("utf-8").splitlines() if listed.exists() else []
        return status, said.out + said.err, [json.loads(line) for line in lines]

    return run


def test_cameras_that_count_anew_on_each_card(extracted, tmp_path):
    """The same names in several folders are told apart by the folders, if asked."""
    rng = np.random.default_rng(0)
    for person in ("P01", "P02"):
        write_crops(tmp_path / "tree" / person / "IMG_0001", [1, 2], rng)
    flags = ["--crops", tmp_path / "tree", "--visual", FACES]
    status, said, _ = extracted(*flags)
    assert (status, "or pass --names path" in said) == (1, True)
    assert extracted(*flags, "--names", "path")[0] == 0
    files = sorted((tmp_path / "out" / FACE_SET).glob("*.npz"))
    assert [path.stem for path in files] == ["P01--IMG_0001", "P02--IMG_0001"]


def test_no_file_stands_for_a_video_that_became_unreadable(tree, extracted, tmp_path):
    videos = shutil.copytree(tree / "videos", tmp_path / "videos")
    assert extracted("--videos", videos, "--audio", SOUND)[0] == 0
    path = tmp_path / "out" / SOUND_SET / f"{VIDEO}.npz"
    assert path.exists()
    (videos / "batch1" / f"{VIDEO}.mp4").write_bytes(b"")
    status, said, [failure] = extracted("--videos", videos, "--audio", SOUND)
    assert (status, failure["video"]) == (3, VIDEO)
    assert f"{SOUND_SET}: 0 videos extracted, 4 stood already" in said
    assert not path.exists()


def test_files_of_other_videos_are_told(tree, extracted, tmp_path):
    videos = shutil.copytree(tree / "videos", tmp_path / "videos")
    assert "from other runs" not in extracted("--videos", videos, "--audio", SOUND)[1]
    (videos / "batch1" / f"{VIDEO}.mp4").unlink()
    status, said, _ = extracted("--videos", videos, "--audio", SOUND)
    assert status == 0
    assert f"1 more lie there from other runs: {VIDEO}" in said


def test_a_mistake_leaves_the_list_of_failures(tree, extracted, tmp_path):
    videos = shutil.copytree(tree / "videos", tmp_path / "videos")
    (videos / "batch1" / f"{VIDEO}.mp4").write_bytes(b"")
    _, _, failures = extracted("--videos", videos, "--audio", SOUND)
    assert failures
    nowhere = ["--weights", tmp_path / "nowhere"]
    same = ["--videos", videos, "--audio", SOUND, "--out", tmp_path / "out"]
    assert command.main([*map(str, [*same, *nowhere])]) == 1
    listed = (tmp_path / "out/failures.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line) for line in listed] == failures


@pytest.mark.slow
def test_a_lost_part_is_tried_again_when_asked(extracted, tmp_path):
    """The mended file has the name and the size of the damaged one."""
    path = tmp_path / "videos/a.avi"
    write_video(path, 100, sound=True)
    whole = path.read_bytes()
    half = len(whole) // 2
    path.write_bytes(whole[:half] + bytes(3_000) + whole[half + 3_000 :])
    flags = ["--videos", path.parent, "--audio", SOUND]
    _, _, failures = extracted(*flags)
    assert failures
    path.write_bytes(whole)
    assert extracted(*flags)[2] == failures
    status, _, failures = extracted(*flags, "--retry-failed")
    assert (status, failures) == (0, [])
    found, _ = read_feature_file(tmp_path / "out" / SOUND_SET / "a.npz")
    assert len(found.frame) == 101


def test_what_killed_runs_and_parts_left_is_removed(tree, extracted, tmp_path):
    flags = ["--videos", tree / "videos", "--audio", SOUND]
    for index in (0, 1):
        assert extracted(*flags, "--num-shards", 2, "--shard-index", index)[0] == 0
    out = tmp_path / "out"
    assert (out / "failures-00001-of-00002.jsonl").exists()
    (out / ".beam-abc").mkdir()
    for path in (
        ".beam-abc/outcomes",
        ".failures.jsonl.7.tmp",
        f"{SOUND_SET}/.a.npz.7.tmp",
    ):
        (out / path).write_text("half")
    assert extracted(*flags)[0] == 0
    left = {path.name for path in out.iterdir()}
    assert left == {".frame_times", "failures.jsonl", SOUND_SET}
    assert not list((out / SOUND_SET).glob(".*"))


def test_a_set_of_which_nothing_can_be_read_leaves_no_folder(extracted, tmp_path):
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos/a.mp4").write_bytes(b"no video")
    status, said, [failure] = extracted(
        "--videos", tmp_path / "videos", "--audio", SOUND
    )
    assert (status, failure["video"]) == (3, "a")
    assert "failed: 1 videos" in said
    assert not (tmp_path / "out" / SOUND_SET).exists()


@pytest.mark.parametrize("ending", ["avi", "mkv"])
def test_whole_pictures_of_a_cut_video_lack_its_tail(extracted, tmp_path, ending):
    path = tmp_path / "videos" / f"b.{ending}"
    write_video(path, 100)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    status, _, failures = extracted("--videos", path.parent, "--visual", FACES)
    assert status == 3
    [reason] = [one["reason"] for one in failures if "cut short" in one["reason"]]
    assert "where the file declares" in reason
    found, meta = read_feature_file(tmp_path / "out" / f"{FACES}@full_frame-32/b.npz")
    assert 30 < len(found.frame) < 80
    assert reason in meta["losses"]


def test_sound_that_is_lost_is_a_failure(extracted, tmp_path):
    write_video(tmp_path / "videos/a.mp4", 100, sound=False)
    path = tmp_path / "sounds/a.wav"
    write_wav(path, 4)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    flags = ["--videos", tmp_path / "videos", "--audio-dir", path.parent]
    status, said, [failure] = extracted(*flags, "--audio", SOUND)
    assert status == 3
    assert failure["frame"] is None
    assert "sound of 2.00 s where the file declares 4.00 s" in failure["reason"]
    assert "2.00 s of sound to 4.00 s of pictures: a" in said
    assert extracted(*flags, "--audio", SOUND)[2] == [failure]


@pytest.mark.slow
def test_many_short_videos_are_under_way_at_once(extracted, tmp_path):
    """A process may often have 1,024 files open; here, 40 more than it has."""
    rng = np.random.default_rng(0)
    for number in range(60):
        write_crops(tmp_path / f"crops/{number:03d}", [1], rng)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    have = len(os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (have + 40, before[1]))
    try:
        flags = ["--crops", tmp_path / "crops", "--visual", FACES]
        status, said, _ = extracted(*flags)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert status == 0, said
    assert f"{FACE_SET}: 60 videos extracted" in said
