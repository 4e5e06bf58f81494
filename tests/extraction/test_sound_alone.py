"""Sound without pictures: from a folder of wavs to rows, labels and a score."""

import json
import shutil

import av
import numpy as np
import pytest
from made.sounds import write_wav
from made.trees import write_crops, write_video

from avemo_jax import experiment
from avemo_jax.config.fields import base_config
from avemo_jax.data.features.files import read_feature_file, write_feature_file
from avemo_jax.data.records import VideoFeatures
from avemo_jax.data.store.store import open_store
from avemo_jax.extraction import command
from avemo_jax.extraction.extractor_choice import ExtractorChoice
from avemo_jax.media.audio import open_sound
from avemo_jax.packing import command as build_command

SOUND = "vggish"
SOUND_SET, HOP_S = f"{SOUND}@0.96s", 0.96


@pytest.fixture(scope="module")
def loaded(weights):
    """The extractor, compiled once for all tests here, for few sizes of batches."""
    path, options = str(weights / f"{SOUND}.safetensors"), (("batch_size", 4),)
    choice = ExtractorChoice(SOUND, path, "0.96s", options=options, alignment="time")
    return choice.load()


@pytest.fixture
def extracted(weights, loaded, tmp_path, capsys, monkeypatch):
    """Runs the command; its status, all that it said, and the failures."""
    out = tmp_path / "features"
    monkeypatch.setattr(ExtractorChoice, "load", lambda choice: loaded)

    def run(*flags):
        same = ["--out", str(out), "--weights", str(weights), "--quiet"]
        status = command.main([*map(str, flags), "--audio", SOUND, *same])
        said = capsys.readouterr()
        listed = out / "failures.jsonl"
        lines = listed.read_text("utf-8").splitlines() if listed.exists() else []
        failures = [json.loads(line) for line in lines]
        return status, said.out + said.err, failures

    return run


def rows_of(tmp_path, name):
    return read_feature_file(tmp_path / "features" / SOUND_SET / f"{name}.npz")


@pytest.mark.parametrize(
    "seconds",
    [
        *(0.3, 4.85),
        *(pytest.param(some, marks=pytest.mark.slow) for some in (0.96, 3.0)),
    ],
)
def test_rows_are_hops_and_go_on_to_the_end(tmp_path, extracted, loaded, seconds):
    path = write_wav(tmp_path / "wavs/a.wav", seconds)
    status, said, failures = extracted("--audio-dir", path.parent)
    assert (status, failures) == (0, [])
    assert "1 files taken for sound alone: a.wav" in said
    found, meta = rows_of(tmp_path, "a")
    hops = loaded.extract(open_sound(path)).features.astype(np.float16)
    rows = int(np.ceil(seconds / HOP_S))
    assert len(hops) <= rows <= len(hops) + 1
    np.testing.assert_array_equal(found.frame, np.arange(1, rows + 1))
    # What is left after the last whole hop has the row of that.
    expected = np.concatenate([hops, hops[-1:]])[:rows]
    np.testing.assert_array_equal(found.features, expected)
    assert (meta["fps"], meta["num_frames"]) == (1 / HOP_S, rows)
    assert meta["rows_at"] == "hops"


@pytest.mark.parametrize(
    ("name", "flags", "fps"),
    [
        ("a", ["--fps", "12.5"], 12.5),
        ("7-30-64x48", [], 30),
        ("7-30-64x48", ["--fps", "5"], 5),
    ],
)
def test_rows_at_a_rate(tmp_path, extracted, loaded, name, flags, fps):
    path = write_wav(tmp_path / f"wavs/{name}.wav", 3.0)
    assert extracted("--audio-dir", path.parent, *flags)[0] == 0
    found, meta = rows_of(tmp_path, name)
    assert len(found.frame) == np.ceil(3.0 * fps) == meta["num_frames"]
    assert (meta["fps"], meta["rows_at"]) == (fps, "fps")
    hops = loaded.extract(open_sound(path))
    for frame, vector in zip(found.frame, found.features, strict=True):
        nearest = np.argmin(np.abs(hops.times_s - (frame - 1) / fps))
        expected = hops.features[nearest].astype(np.float16)
        np.testing.assert_array_equal(vector, expected)


def test_another_rate_makes_the_file_again(tmp_path, extracted):
    path = write_wav(tmp_path / "wavs/a.wav", 2.0)
    for flags, made, rows in (([], 1, 3), ([], 0, 3), (["--fps", "4"], 1, 8)):
        said = extracted("--audio-dir", path.parent, *flags)[1]
        assert f"{SOUND_SET}: {made} videos extracted" in said
        assert len(rows_of(tmp_path, "a")[0].frame) == rows


def test_a_file_has_the_same_rows_alone_and_among_others(tmp_path, extracted):
    lengths = {"a": 0.5, "b": 1.94, "c": 3.9, "d": 6.8}  # 1, 2, 4 and 4 + 3 hops
    for name, seconds in lengths.items():
        write_wav(tmp_path / f"wavs/{name}.wav", seconds, hz=200 + 50 * seconds)
    extracted("--audio-dir", tmp_path / "wavs")
    among = {name: rows_of(tmp_path, name)[0].features for name in lengths}
    for name in lengths:
        (tmp_path / f"features/{SOUND_SET}/{name}.npz").unlink()
        place = tmp_path / f"only/{name}"
        place.mkdir(parents=True)
        (tmp_path / f"wavs/{name}.wav").rename(place / f"{name}.wav")
        extracted("--audio-dir", place)
        alone = rows_of(tmp_path, name)[0].features
        np.testing.assert_array_equal(alone, among[name])


def test_a_folder_of_videos_and_sound(tmp_path, extracted, loaded):
    """A wav beside a video is its sound; a container without pictures is sound, too."""
    videos = tmp_path / "videos"
    write_video(videos / "both.mp4", 50)
    write_video(videos / "one.mp4", 50)
    beside = write_wav(videos / "both.wav", 2.0)
    write_wav(videos / "deep/alone.wav", 3.0)
    with av.open(str(videos / "call.mp4"), "w") as container:
        track = container.add_stream("aac", rate=16_000, layout="mono")
        tone = 0.3 * np.sin(np.arange(48_000, dtype=np.float32) / 9)[None]
        block = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
        block.sample_rate = 16_000
        container.mux(track.encode(block))
        container.mux(track.encode())
    status, said, failures = extracted("--videos", videos)
    assert (status, failures) == (0, [])
    assert "1 files taken for sound of the videos of their names: both.wav" in said
    assert "1 files taken for sound alone: alone.wav" in said
    assert "no pictures: taken for sound alone: call" in said
    counts = {name: len(rows_of(tmp_path, name)[0].frame) for name in ("both", "one")}
    assert counts == {"both": 51, "one": 51}
    vector = loaded.extract(open_sound(beside)).features[0].astype(np.float16)
    np.testing.assert_array_equal(rows_of(tmp_path, "both")[0].features[0], vector)
    assert rows_of(tmp_path, "call")[1]["num_frames"] == 4


@pytest.mark.parametrize(
    ("files", "flag", "said"),
    [
        (
            ["a.txt", "b.docx"],
            "--audio-dir",
            "no sound files, only 2 files of other endings (a.txt, b.docx); expected "
            "VIDEO.wav, .flac, ",
        ),
        (
            ["a.mp4", "deep/b.MTS", "c.zip"],
            "--audio-dir",
            "no sound files, only 2 videos (a.mp4, b.MTS; give them with --videos), "
            "1 archives (c.zip; unpack them); expected",
        ),
        (
            [],
            "--videos",
            "no videos and no sound, only an empty folder; expected VIDEO.mp4",
        ),
        (
            ["00001.jpg", "x.csv"],
            "--videos",
            "no videos and no sound, only 1 folders of face crops (given; give them "
            "with --crops), 1 files of other endings (x.csv); expected",
        ),
        (
            ["face_1.jpg", "face_2.png", "a.wma"],
            "--crops",
            "no face crops, only 1 sound files (a.wma; give them with --audio-dir), 2 "
            "pictures (face_1.jpg, face_2.png; names must be the frame's number); "
            "expected a folder for each video with its pictures by frame: VIDEO/00001.",
        ),
    ],
)
def test_a_folder_without_what_is_wanted(tmp_path, extracted, files, flag, said):
    (tmp_path / "given").mkdir()
    for name in files:
        (tmp_path / "given" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "given" / name).write_text("x")
    status, printed, _ = extracted(flag, tmp_path / "given")
    assert status == 1
    assert f"{flag} {tmp_path / 'given'} has {said}" in printed


def test_a_name_that_keeps_the_ending_of_its_video(tmp_path, extracted):
    """As programs that extract sound call it; the name tells the rate all the same."""
    write_wav(tmp_path / "wavs/7-30-64x48.mp4.wav", 1)
    write_crops(tmp_path / "crops/7-30-64x48", [1, 2], np.random.default_rng(0))
    flags = ["--crops", tmp_path / "crops", "--audio-dir", tmp_path / "wavs"]
    status, said, _ = extracted(*flags)
    assert status == 0
    assert "sound of the videos of their names: 7-30-64x48.mp4.wav" in said
    assert len(rows_of(tmp_path, "7-30-64x48")[0].frame) == 3


def test_what_cannot_be_taken_is_a_failure(tmp_path, extracted):
    write_wav(tmp_path / "wavs/empty.wav", 0)
    (tmp_path / "wavs/text.wav").write_text("no sound")
    write_wav(tmp_path / "wavs/good.wav", 1)
    status, _, failures = extracted("--audio-dir", tmp_path / "wavs")
    assert status == 3
    reasons = {one["video"]: one["reason"] for one in failures}
    assert reasons["empty"].startswith("empty.wav: has no sound in it; expected some")
    assert reasons["text"].startswith("text.wav: cannot be opened as sound or video")
    write_crops(tmp_path / "crops/good", [1, 2], np.random.default_rng(0))
    flags = ["--crops", tmp_path / "crops", "--audio-dir", tmp_path / "wavs"]
    again = {one["video"]: one["reason"] for one in extracted(*flags)[2]}
    assert "with 2 known frames at a rate that its name does not" in again.pop("good")
    assert again == reasons
    assert extracted(*flags, "--fps", "25")[2:] == (failures,)


def test_flags_that_do_not_go_together(tmp_path, extracted, capsys):
    write_wav(tmp_path / "wavs/a.wav", 1)
    flags = ["--audio-dir", tmp_path / "wavs"]
    status, said, _ = extracted(*flags, "--fps", "0")
    assert (status, "--fps 0; expected rows per second, over 0" in said) == (1, True)
    both = ["--audio", f"{SOUND},wav2vec2_base"]
    args = [*map(str, flags), *both, "--out", str(tmp_path / "features")]
    assert command.main(args) == 1
    said = capsys.readouterr().err
    assert "rows every 0.96 s (vggish), 0.02 s (wav2vec2_base); expected rows" in said
    assert "give --fps, as --fps 10" in said


# --- to a score


EMOTIONS = {"calm": 200.0, "keen": 1500.0}


@pytest.fixture(scope="module")
def spoken(weights, loaded, tmp_path_factory):
    """Sixteen wavs of four speakers, of two tones, with their features; made once."""
    folder = tmp_path_factory.mktemp("spoken")
    for i in range(16):
        hz = list(EMOTIONS.values())[i % 2] * (1 + 0.05 * (i // 4))
        write_wav(folder / f"wavs/clip{i:02d}.wav", 1.5 + 0.3 * i, hz=hz)
    lines = [
        f"clip{i:02d},{'validation' if i >= 12 else 'train'},speaker{i // 4}"
        for i in range(16)
    ]
    text = "\n".join(["video,split,group", *lines]) + "\n"
    (folder / "manifest.csv").write_text(text)
    places = {"audio-dir": "wavs", "out": "features"}
    flags = [f"--{flag}={folder / name}" for flag, name in places.items()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ExtractorChoice, "load", lambda choice: loaded)
        same = [f"--audio={SOUND}", f"--weights={weights}", "--quiet"]
        assert command.main([*flags, *same]) == 0
    return folder


@pytest.fixture
def corpus(spoken, tmp_path):
    """A copy of ``spoken``."""
    return shutil.copytree(spoken, tmp_path, dirs_exist_ok=True)


def build(folder, columns, lines):
    (folder / "labels.csv").write_text("\n".join([columns, *lines]) + "\n")
    files = [f"--{name}={folder / name}.csv" for name in ("manifest", "labels")]
    places = [f"--features={folder / 'features'}", f"--out={folder / 'store'}"]
    return build_command.main([*files, *places, "--quiet"])


@pytest.fixture
def labelled(corpus):
    """The corpus and its store, with a label for each clip."""
    names = list(EMOTIONS)
    lines = [f"clip{i:02d},{names[i % 2]}" for i in range(16)]
    assert build(corpus, "video,emotion", lines) == 0
    return corpus


def test_every_row_of_a_clip_has_its_label(labelled):
    store = open_store(labelled / "store")
    table = store.load_table("emotion", "validation", [SOUND], show_progress=False)
    assert table.valid.all()
    assert table.num_frames.tolist() == [6, 6, 6, 7]
    assert table.labels.tolist() == [*[0] * 6, *[1] * 6, *[0] * 6, *[1] * 7]
    np.testing.assert_allclose(table.fps, 1 / HOP_S)


@pytest.mark.slow
def test_from_wavs_to_a_score(labelled):
    corpus = labelled
    config = base_config("own", "mlp", SOUND)
    config.data.dir, config.workdir = str(corpus / "store"), str(corpus / "run")
    config.num_epochs, config.learning_rate, config.batch_size = 20, 0.02, 16
    config.evaluate.num_resamples, config.postprocess.half_widths = 20, (2,)
    config.log.progress = config.log.tensorboard = False
    found = experiment.run_experiment(config)
    assert found["metrics"]["raw"]["with_crop"]["f1_macro"] > 0.9
    text = (corpus / "run/predictions.csv").read_text().splitlines()
    assert len(text) == 1 + 6 + 6 + 6 + 7
    assert text[0].startswith("video,frame,has_crop,filled,emotion,calm,keen")


def test_labels_by_time_and_by_row(corpus):
    times = ["clip00,0,0.96,calm", "clip00,0.96,2,keen", "clip01,1.92,2.3,calm"]
    assert build(corpus, "video,start_s,end_s,emotion", times) == 0
    annotated = open_store(corpus / "store")
    table = annotated.load_table("emotion", "train+dev", [SOUND], show_progress=False)
    of = dict(
        zip(table.videos, np.split(table.labels, table.row_offsets[1:-1]), strict=True)
    )
    assert of["clip00"].tolist() == [0, 1]
    assert of["clip01"].tolist() == [-1, -1]


@pytest.mark.parametrize(
    ("columns", "lines", "said"),
    [
        (
            "video,frame,e",
            ["clip00,1,x", "clip00,90,y"],
            "labels up to frame 90 and so",
        ),
        (
            "video,start_s,end_s,e",
            ["clip00,0,9,x", "clip01,0,1,y"],
            "expected labels wit",
        ),
        (
            "video,e",
            ["clip00,x", "clip00,y"],
            "line 3: 'clip00' again; expected each wh",
        ),
    ],
)
def test_labels_that_are_not_of_the_sound(corpus, capsys, columns, lines, said):
    assert build(corpus, columns, lines) == 1
    assert said in capsys.readouterr().err


def test_rows_of_two_rates_are_not_joined(corpus, extracted, capsys):
    lines = ["clip00,x", "clip01,y"]
    place = corpus / "features" / "look@cropped-112"
    place.mkdir()
    rows = VideoFeatures(np.arange(1, 9, dtype=np.int32), np.ones((8, 3), np.float32))
    meta = {"fingerprint": "a", "kind": "visual"}
    write_feature_file(place / "clip00.npz", rows, meta)
    assert build(corpus, "video,e", lines) == 1
    said = capsys.readouterr().err
    assert (
        "'clip00' has a row for each frame in look@cropped-112 and for each 0.96 s"
        in said
    )
    (place / "clip00.npz").unlink()
    more = {"kind": "audio", "rows_at": "fps", "fps": 25.0, "num_frames": 8}
    write_feature_file(place / "clip00.npz", rows, meta | more)
    assert build(corpus, "video,e", lines) == 1
    assert "'clip00' has a row every 0.04 s in look" in capsys.readouterr().err
    (place / "clip00.npz").unlink()
    place.rmdir()
    (corpus / "manifest.csv").write_text("video,split,fps\nclip00,train,25\n")
    assert build(corpus, "video,e", lines) == 1
    assert (
        "'clip00' has 25 frames per second, by the manifest" in capsys.readouterr().err
    )
