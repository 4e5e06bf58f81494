"""What a careless user of ``avemo prepare`` is told, and when."""

import json
import pathlib
import re
import shutil

import pytest
from made.store_contents import records_of
from made.trees import TRAIN, contents_of

from avemo_jax.extraction import command as extraction
from avemo_jax.extraction.feature_set import ExtractedSet
from avemo_jax.extraction.flags import parser as extract_parser
from avemo_jax.extraction.jobs import Work
from avemo_jax.extraction.outcomes import VideoOutcome
from avemo_jax.extraction.prepare import command
from avemo_jax.extraction.prepare.estimate import packed_bytes
from avemo_jax.extraction.prepare.flags import parser as prepare_parser

FACES, SOUND = "enet_b0_8_va_mtl", "vggish"
FACE_SET, SOUND_SET = f"{FACES}@cropped_aligned-32", f"{SOUND}@0.96s"
VIDEO = "1-25-64x48"


@pytest.fixture(scope="module")
def named(weights):
    """Both extractors, small."""
    flags = ["--visual", FACES, "--audio", SOUND, "--weights", str(weights)]
    return [*flags, "--size-px", "32", "--batch-size", "16", "--quiet"]


@pytest.fixture(scope="module")
def prepared(tree, named, tmp_path_factory):
    """A store that tests copy."""
    out = tmp_path_factory.mktemp("out") / "store"
    assert command.main(["--root", str(tree), "--out", str(out), *named]) == 0
    return out


@pytest.fixture
def said(capsys):
    """Runs the command: its status, what it printed, and its error."""

    def run(*flags):
        status = command.main(list(map(str, flags)))
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


# --- before anything is done


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--visual", ","], "no extractor; expected --visual, --audio or both"),
        (["--visual", SOUND], "vggish is audio; expected visual extractors there"),
        (["--audio", FACES], f"{FACES} is visual; expected audio extractors there"),
        (["--audio", "wav2vec"], "unknown extractor 'wav2vec'; did you mean wav"),
        (["--audio", "vggish,vggish"], "vggish given twice; expected each"),
        (
            ["--audio", SOUND, "--beam-options=--direct_num_workers=2"],
            "--beam-options '--direct_num_workers=2' without a runner; expected both",
        ),
        (
            ["--audio", SOUND, "--beam-options='"],
            "no closing quotation; expected options as in a shell",
        ),
        (
            ["--audio", SOUND, "--beam-runner", "DirectRunner", "--num-shards", "2"],
            "--beam-runner with --num-shards 2; expected one of the two",
        ),
        (["--audio", SOUND, "--audio-dir", "nowhere"], "--audio-dir nowhere is not"),
    ],
)
@pytest.mark.parametrize("main", [command.main, extraction.main])
def test_wrong_flags(tree, tmp_path, capsys, main, flags, message):
    material = "--root" if main is command.main else "--videos"
    out = tmp_path / "out"
    assert main([material, str(tree), "--out", str(out), *flags]) == 1
    error = capsys.readouterr().err.splitlines()[-1]  # behind what is not used
    name = "prepare" if main is command.main else "extract"
    assert error.startswith(f"avemo {name}: error: ")
    assert message in error
    assert not out.exists()


def test_a_job_has_no_part_after_its_last(capsys):
    with pytest.raises(SystemExit):
        prepare_parser().parse_args(
            ["--root=r", "--out=o", "--num-shards=2", "--shard-index=2"]
        )
    told = "--shard-index 2 with --num-shards 2; expected 0 to 1: correct one of them"
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flag", "least", "most"),
    [
        ("--size-px", 1, 4096),
        ("--batch-size", 1, 1_000_000),
        ("--decode-workers", 1, 1024),
        ("--max-failures", 0, 1_000_000_000),
        ("--num-shards", 1, 100_000),
    ],
)
@pytest.mark.parametrize("parser", [prepare_parser, extract_parser])
def test_numbers_have_bounds(parser, flag, least, most, capsys):
    flags = ["--out", "out", "--root", "root"][: 4 if parser is prepare_parser else 2]
    for wrong in (least - 1, most + 1, "x", "1e3"):
        with pytest.raises(SystemExit):
            parser().parse_args([*flags, f"{flag}={wrong}"])
        said = capsys.readouterr().err
        assert f"argument {flag}: '{wrong}'; expected a whole number from " in said
        assert f" from {least} to {most}: correct it" in said
    for right in (least, most):
        args = parser().parse_args([*flags, flag, str(right)])
        assert getattr(args, flag.strip("-").replace("-", "_")) == right


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("--video", "nowhere", "--video nowhere does not exist; expected a video file"),
        ("--crop-folder", ".", "--crop-folder . has no pictures; expected 00001.jpg"),
        ("--test-list", "EXPR=nowhere", "no file 'nowhere'; expected a list with one"),
        ("--annotations", "nowhere", "nowhere has no annotations; expected a folder"),
    ],
)
def test_wrong_material(tree, tmp_path, said, flag, value, message):
    flags = ["--root", tree, "--out", tmp_path / "out", "--audio", SOUND]
    status, printed, error = said(*flags, flag, value)
    assert (status, printed) == (1, "")
    assert message in error


@pytest.mark.parametrize("main", [command.main, extraction.main])
def test_an_unknown_beam_runner_is_told_at_once(tree, tmp_path, capsys, main):
    pytest.importorskip("apache_beam", reason="needs the extra 'beam'")
    material = "--root" if main is command.main else "--videos"
    flags = [material, str(tree), "--out", str(tmp_path / "out"), "--audio", SOUND]
    assert main([*flags, "--beam-runner", "NoRunner"]) == 1
    assert "Beam runner 'NoRunner'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("root", "message"),
    [
        ("nowhere", "--root {} is not there; expected a folder"),
        (f"videos/batch1/{VIDEO}.mp4", "--root {} is a file; expected a folder"),
        ("Annotations", "{} has no face crops and no videos, only "),
        ("videos", f"--visual {FACES} and no face crops in {{}}, only "),
        ("cropped_aligned", f"--audio {SOUND} and no sound in {{}}; expected videos"),
        (f"cropped_aligned/{VIDEO}", "{} has no cropped_aligned face crops, but 1"),
    ],
)
def test_wrong_roots(tree, named, tmp_path, said, root, message):
    path = tree / root
    status, _, error = said("--root", path, "--out", tmp_path / "out", *named)
    assert status == 1
    assert error.startswith(f"avemo prepare: error: {message.format(path)}")
    assert not (tmp_path / "out").exists()


def test_wrong_outputs(tree, named, prepared, tmp_path, said):
    (tmp_path / "file").write_text("")
    for out, message in (
        (tmp_path / "file", "is a file; expected the folder of a store"),
        (prepared / "affwild2", "is the inside of a store; expected the folder"),
    ):
        status, printed, error = said("--root", tree, "--out", out, *named)
        assert (status, printed) == (1, "")
        assert f"{out} {message}" in error


def test_wrong_weights(tree, weights, tmp_path, said):
    same = ["--root", tree, "--out", tmp_path / "out", "--visual", FACES]
    status, _, error = said(*same, "--weights", tmp_path / "nowhere")
    assert status == 1
    assert "--weights" in error
    assert "nowhere is not there; expected a folder: correct the path" in error
    other = tmp_path / "other"
    other.mkdir()
    status, out, error = said(*same, "--audio", SOUND, "--weights", other)
    assert status == 1
    assert "to be done" not in out
    assert f"no weights of {FACES}, {SOUND}: there is no {other / FACES}" in error
    assert f"avemo fetch {FACES} {SOUND}, or convert files" in error
    assert error.endswith("and name their folder, --weights DIR\n")
    shutil.copy(weights / f"{SOUND}.safetensors", other / f"{FACES}.safetensors")
    status, _, error = said(*same, "--weights", other)
    assert status == 1
    assert f"holds weights of {SOUND!r}; expected {FACES}" in error
    assert not (tmp_path / "out").exists()


def test_a_dry_run_without_weights_says_what_it_can(tree, weights, tmp_path, said):
    """The inventory, what there is to do, its room on the disk, and what is missing."""
    some = tmp_path / "some"
    some.mkdir()
    shutil.copy(weights / f"{SOUND}.safetensors", some)
    flags = ["--root", tree, "--out", tmp_path / "out", "--size-px", "32", "--dry-run"]
    flags += ["--visual", FACES, "--audio", SOUND, "--weights", some]
    status, out, error = said(*flags)
    assert status == 1
    assert f"no weights of {FACES}: there is no {some / FACES}.safetensors;" in error
    lines = [line.strip() for line in out.splitlines()]
    (faces,) = [line for line in lines if line.startswith(f"{FACES}: 6 videos to")]
    assert re.search(r"; [\d,]+ images; no trial: its weights are missing$", faces)
    assert any(re.match(rf"{SOUND_SET}: \d+ videos to", line) for line in lines)
    assert any(line.endswith(f" s, and what {FACES} will take") for line in lines)
    assert any(line.startswith("disk: ") for line in lines)
    assert lines[-1] == "dry run: nothing was extracted"
    assert not (tmp_path / "out").exists()


def test_sound_files_where_there_are_none(tree, named, tmp_path, said):
    folder = tree / "Annotations"
    flags = ["--root", tree, "--out", tmp_path / "out", *named]
    status, _, error = said(*flags, "--audio-dir", folder)
    assert status == 1
    assert f"--audio-dir {folder} has no sound files, only 1" in error
    assert "); expected VIDEO.wav, .flac, " in error


def test_wrong_lists_of_splits_are_told_before_the_work(tree, named, tmp_path, said):
    lists = tmp_path / "lists"
    flags = ["--root", tree, "--out", tmp_path / "out", "--split-dir", lists, *named]
    status, _, error = said(*flags)
    assert status == 1
    assert f"{lists} has no files; expected train.txt" in error
    lists.mkdir()
    (lists / "train.txt").write_text(f"{VIDEO}\nunheard of\n")
    (lists / "dev.txt").write_text("")
    status, _, error = said(*flags)
    assert status == 1
    assert f"{lists / 'train.txt'}, line 2: unknown video 'unheard of'" in error
    assert not (tmp_path / "out").exists()
    # Videos without labels may be listed; the good lists pass.
    (lists / "train.txt").write_text(f"{VIDEO}\n")
    (lists / "test.txt").write_text("test 5\n")
    assert said(*flags, "--dry-run")[0] == 0


def test_too_few_videos_to_draw_from_are_told_before_the_work(
    tree, named, tmp_path, said
):
    own = shutil.copytree(tree, tmp_path / "tree")
    for video in set(TRAIN) - {VIDEO}:
        for path in own.glob(f"Annotations/*/*/{video}.txt"):
            path.unlink()
    status, _, error = said("--root", own, "--out", tmp_path / "out", *named)
    assert status == 1
    assert f"the only train source is {VIDEO!r}" in error
    assert not (tmp_path / "out").exists()


# --- what it prints


def test_a_sound_file_that_cannot_be_read_hides_nothing_of_its_video(
    tree, named, tmp_path, said
):
    sounds = tmp_path / "sounds"
    sounds.mkdir()
    (sounds / f"{VIDEO}.wav").write_bytes(b"no sound")
    flags = ["--root", tree, "--out", tmp_path / "out", *named, "--dry-run"]
    _, printed, _ = said(*flags, "--audio-dir", sounds)
    assert "videos: 5 files (5 .mp4), 96 frames" in printed
    assert f"cannot be read: {sounds / VIDEO}.wav: " in printed
    assert "frame times: 5 videos to extract, 0 stand; 96 frames" in printed
    expected = "VA video files, and their sound: 3 of train (0.000 h), 2 of validation"
    assert expected in printed


def test_an_unreadable_video_does_not_stand(tree, named, tmp_path, said):
    own = shutil.copytree(tree, tmp_path / "tree")
    (own / f"videos/batch1/{VIDEO}.mp4").write_bytes(b"")
    flags = ["--root", own, "--out", tmp_path / "out", *named, "--dry-run"]
    assert "frame times: 4 videos to extract, 0 stand; 66 frames" in said(*flags)[1]


def test_parts_are_estimated_by_their_own_share(tree, named, tmp_path, said):
    videos, frames = 0, 0
    for index in (0, 1):
        part = ["--num-shards", "2", "--shard-index", index, "--dry-run"]
        _, printed, _ = said("--root", tree, "--out", tmp_path / "out", *named, *part)
        [line] = [one for one in printed.splitlines() if "frame times: " in one]
        videos += int(line.split()[2])
        frames += int(line.split(";")[1].split()[0])
    assert (videos, frames) == (5, 96)


def test_room_for_packing_is_needed_unless_what_is_packed_stands(prepared, tmp_path):
    out = shutil.copytree(prepared, tmp_path / "out")
    folder = out / "features" / SOUND_SET
    feature_set = ExtractedSet(SOUND_SET, folder, 128, 0, {}, "sound")
    files = sorted(folder.glob("*.npz"))
    standing = tuple(VideoOutcome(SOUND_SET, path.stem, stood=True) for path in files)
    work = Work((), standing, {})
    assert packed_bytes(feature_set, work, 0) == 0
    shutil.rmtree(out / "affwild2" / SOUND_SET)
    size = sum(path.stat().st_size for path in files)
    assert packed_bytes(feature_set, work, 0) == size > 0


# --- a store that stands


@pytest.mark.slow
def test_a_refusal_stays_one_however_often_it_is_asked(
    tree, named, prepared, tmp_path, said
):
    own = shutil.copytree(tree, tmp_path / "tree")
    out = shutil.copytree(prepared, tmp_path / "out")
    labels = own / f"Annotations/VA_Estimation_Challenge/Train_Set/{VIDEO}.txt"
    labels.write_text(labels.read_text() + "0.5,0.5\n")
    before = records_of(out)
    for _ in range(2):
        status, _, error = said("--root", own, "--out", out, *named)
        assert status == 1
        assert "stands with other content" in error
        assert records_of(out) == before
    assert json.loads((out / "prepare.json").read_text())["complete"] is True


def test_a_damaged_state_is_told(tree, named, prepared, tmp_path, said):
    out = shutil.copytree(prepared, tmp_path / "out")
    (out / "prepare.json").write_text("{")
    status, _, error = said("--root", tree, "--out", out, *named)
    assert status == 1
    assert f"{out / 'prepare.json'}: line 1: " in error
    assert "remove it, and the store is kept" in error
    (out / "prepare.json").unlink()
    assert said("--root", tree, "--out", out, *named)[0] == 0


def test_the_output_does_not_lie_in_the_tree(tree, named, tmp_path, said):
    own = shutil.copytree(tree, tmp_path / "tree")
    for out in (own, own / "store", own / "videos" / "new"):
        status, _, error = said("--root", own, "--out", out, *named)
        assert status == 1
        assert "what is read; expected a place outside of it" in error
    assert contents_of(own) == contents_of(tree)


def test_one_fault_in_two_sets_is_one(tree, weights, tmp_path, capsys):
    videos = shutil.copytree(tree / "videos", tmp_path / "videos")
    (videos / "batch1" / f"{VIDEO}.mp4").write_bytes(b"")
    flags = ["--videos", videos, "--out", tmp_path / "out", "--weights", weights]
    named = ["--visual", FACES, "--audio", SOUND, "--size-px", "32", "--quiet"]
    named += ["--batch-size", "16"]
    assert extraction.main([*map(str, flags), *named]) == 3
    assert "failed: 1 videos, 0 frames" in capsys.readouterr().out
    lines = pathlib.Path(tmp_path / "out/failures.jsonl").read_text().splitlines()
    assert len(lines) == 2
