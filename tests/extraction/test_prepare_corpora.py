"""``avemo prepare --corpus``: from a download to a store by speakers."""

import contextlib
import csv
import functools
import io
import json
import pathlib
import shutil

import pytest
from made.coloured_faces import ByColour
from made.corpora import NUM_FRAMES, write_clip, write_names, write_ravdess
from made.sounds import write_wav

from avemo_jax.convert import command as convert
from avemo_jax.data.corpus.protocols import read_protocols
from avemo_jax.data.store.store import open_store
from avemo_jax.extraction import extractor_choice, video_faces
from avemo_jax.extraction.prepare import command
from avemo_jax.tasks import EXPR, registry

ACTORS = (1, 5, 9, 13, 17, 21)
FACES, SOUND = "face_hog@cropped_aligned-32", "acoustic@1.5s"
BOTH = ("--visual", "face_hog", "--size-px", "32", "--audio", "acoustic")


@pytest.fixture(autouse=True)
def no_tasks_of_others(monkeypatch):
    """Own tasks that other tests have registered are forgotten."""
    monkeypatch.setattr(registry, "_OWN", {})


@pytest.fixture(scope="module")
def by_colour():
    """Red squares are found as faces, without weights."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(video_faces, "detector", lambda weights: ByColour())
        facts = {"fingerprint": "by colour"}
        patch.setattr(video_faces, "detector_facts", lambda *_, **__: facts)
        cached = functools.cache(extractor_choice.load_extractor)
        patch.setattr(extractor_choice, "load_extractor", cached)
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two emotions of six actors, and of one song."""
    root = tmp_path_factory.mktemp("download") / "RAVDESS"
    write_ravdess(root, ACTORS, (2, 3))
    return write_ravdess(root, ACTORS[:1], (2,), channel="02")


@pytest.fixture(scope="module")
def prepared(by_colour, root, tmp_path_factory):
    """A store of RAVDESS that tests only read, and what was printed."""
    out = tmp_path_factory.mktemp("out") / "store"
    flags = [*BOTH, "--protocol=ravdess_6"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_OWN", {})
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            assert run(root, out, *flags) == 0
    return out, printed.getvalue()


def run(root, out, *flags, corpus="ravdess") -> int:
    places = ["--corpus", str(corpus), "--root", str(root), "--out", str(out)]
    return command.main([*places, "--quiet", "--compilation-cache=off", *flags])


@pytest.fixture
def said(capsys):
    """Runs the command: its status, what it printed, and its error."""

    def of(*args, **corpus):
        status = run(*args, **corpus)
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return of


def test_what_it_prints(prepared):
    lines = [line.strip() for line in prepared[1].splitlines()]
    assert "RAVDESS, CC BY-NC-SA 4.0: https://zenodo.org/records/1188976" in lines
    assert "speech: 12 of 1,440 trials" in lines
    assert (
        "song: 1 of 1,012 trials; not used: --part song or --part all takes them"
        in lines
    )
    assert "clips of each class: calm 6, happy 6" in lines
    assert "validation of the store: speakers 01 (fold 0 of ravdess_6)" in lines
    assert "protocol ravdess_5 is left out: nobody is there of its fold 2" in lines
    assert any(x.startswith(f"{FACES}: 12 videos to extract, 0 stand") for x in lines)
    assert f"{FACES}: 12 videos, {12 * NUM_FRAMES} frames" in lines


def test_the_label_of_a_clip_is_that_of_its_frames(prepared):
    store = open_store(prepared[0])
    assert store.has_own_tasks
    table = store.load_table("ravdess", "validation", [FACES, SOUND])
    assert table.videos == ("01-01-02-01-01-01-01", "01-01-03-01-01-01-01")
    assert table.num_frames.tolist() == [NUM_FRAMES] * 2
    columns = store.task("ravdess").columns
    assert columns[:3] == ("neutral", "calm", "happy")
    assert table.dense_labels.tolist() == [1] * NUM_FRAMES + [2] * NUM_FRAMES
    assert table.has_audio.all()
    sources = store.sources_of()
    assert len({sources[v] for v in store.split_videos("ravdess", "dev")}) == 1
    assert len(store.split_videos("ravdess", "train")) == 8


def test_classes_of_aff_wild2_where_they_correspond(prepared):
    """For models of Aff-Wild2 all of the corpus is new; calm has no class there."""
    store = open_store(prepared[0])
    table = store.load_table("EXPR", "validation", [FACES])
    assert len(table.videos) == 12
    happy = EXPR.columns.index("Happiness")
    assert set(table.dense_labels.tolist()) == {-1, happy}
    assert (table.dense_labels == happy).sum() == 6 * NUM_FRAMES


def test_what_stands_beside_the_store(prepared):
    out, _ = prepared
    assert [*read_protocols(out)] == ["ravdess_6"]
    assert json.loads((out / "prepare.json").read_text())["complete"] is True
    with (out / "clips.csv").open(newline="") as file:
        rows = {row["video"]: row for row in csv.DictReader(file)}
    assert len(rows) == 12
    row = rows["01-01-03-01-01-01-05"]
    told = (row["speaker"], row["ravdess"], row["expression"], row["ravdess_6"])
    assert told == ("05", "happy", "Happiness", "1")
    assert (row["emotion"], row["intensity"]) == ("03", "01")
    assert pathlib.Path(row["video_file"]).is_file()


def test_the_same_command_goes_on_and_changes_nothing(prepared, root, said):
    out, _ = prepared
    before = open_store(out).fingerprint
    status, printed, _ = said(root, out, *BOTH, "--protocol=ravdess_6")
    assert status == 0
    assert f"{FACES}: 0 videos extracted, 12 stood already" in printed
    assert open_store(out).fingerprint == before


def test_sound_alone_needs_a_rate_or_has_the_rows_of_its_steps(tmp_path, said):
    root = write_ravdess(tmp_path / "r", (1, 2, 3), (2, 3), modalities=("03",))
    status, printed, _ = said(root, tmp_path / "s", "--audio=acoustic")
    assert status == 0
    assert "used of each trial: 6 sound files" in printed
    store = open_store(tmp_path / "s")
    assert len(store.split_videos("ravdess", "dev")) == 2
    table = store.load_table("ravdess", "dev", [SOUND])
    assert set(table.dense_labels.tolist()) == {1, 2}
    status, _, error = said(root, tmp_path / "t", "--visual=face_hog")
    assert status == 1
    assert "has 6 clips of RAVDESS, all of them sound alone; expected videos" in error


@pytest.mark.slow
def test_another_corpus_by_a_file(by_colour, tmp_path, said):
    """Videos and sound files of one name are a pair."""
    text = """
name = "studio"
title = "Studio"
licence = "CC0"
link = "https://example.org"
[names]
pattern = '(?P<who>[a-z]+)_(?P<mood>[a-z]+)'
[speaker]
group = "who"
[labels.acted]
group = "mood"
[labels.acted.classes]
bored = "bored"
keen = "keen"
"""
    (tmp_path / "studio.toml").write_text(text)
    root = tmp_path / "r"
    for who in ("anna", "bob", "cem", "dora"):
        for number, mood in enumerate(("bored", "keen")):
            write_clip(root / f"{who}_{mood}.mkv", number, sound=False)
            write_wav(root / "wav" / f"{who}_{mood}.wav", 0.4)
    status, printed, error = said(
        root, tmp_path / "s", *BOTH, corpus=tmp_path / "studio.toml"
    )
    assert status == 0, error
    assert "used of each trial: 8 videos with the sound files of them" in printed
    store = open_store(tmp_path / "s")
    assert list(store.tasks) == ["studio"]
    table = store.load_table("studio", "validation", [FACES, SOUND])
    assert table.has_audio.all()
    assert len(set(table.source_videos)) == 1
    assert "(drawn)" in printed


# --- careless users


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--annotations=a", "--mtl"], "--annotations --mtl with --corpus; expected"),
        (["--split-dir=a"], "--split-dir with --corpus; expected them for Aff-Wild2"),
        (["--protocol=six"], "--protocol six: not among those of RAVDESS that"),
        (["--protocol=ravdess_5"], "expected ravdess_6: correct the flag"),
        (["--part=sung"], "--part sung: RAVDESS has no such part"),
        (["--labels=felt"], "--labels felt: RAVDESS has no such labels"),
        (["--crop=tight"], "--crop without --visual; expected them with extractors"),
    ],
)
def test_mistakes_in_flags(flags, message, root, tmp_path, said):
    status, _, error = said(root, tmp_path / "s", "--audio=acoustic", *flags)
    assert status == 1
    assert message in error
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("flag", ["--part=song", "--labels=intended", "--crop=tight"])
def test_flags_of_corpora_without_a_corpus(flag, root, tmp_path, capsys):
    places = ["--root", str(root), "--out", str(tmp_path / "s"), "--audio=acoustic"]
    assert command.main([*places, flag]) == 1
    error = capsys.readouterr().err
    assert f"{flag.split('=')[0]} without --corpus; expected" in error


def test_a_download_without_sound(tmp_path, said):
    root = write_ravdess(tmp_path / "r", (1, 2, 3), (2,), modalities=("02",))
    status, _, error = said(root, tmp_path / "s", "--audio=acoustic")
    assert status == 1
    assert "--audio acoustic and no sound in" in error


def test_too_few_speakers(root, tmp_path, said):
    for actor in ("01", "05"):
        name = f"Video_Speech_Actor_{actor}"
        shutil.copytree(root / name, tmp_path / "r" / name)
    status, _, error = said(tmp_path / "r", tmp_path / "s", "--audio=acoustic")
    assert status == 1
    assert "clips of 2 speakers (01, 05); expected three or more" in error


@pytest.mark.slow
def test_an_empty_video_fails_and_the_others_are_kept(root, tmp_path, said):
    """As half a download leaves it: listed, and status 3."""
    shutil.copytree(root, tmp_path / "r")
    write_names(tmp_path / "r", ["half/01-01-04-01-01-01-01.mp4"])
    status, printed, error = said(tmp_path / "r", tmp_path / "s", "--audio=acoustic")
    assert status == 3, error
    assert "cannot be read: " in printed
    failures = (tmp_path / "s" / "failures.jsonl").read_text()
    assert "01-01-04-01-01-01-01" in failures
    store = open_store(tmp_path / "s")
    table = store.load_table("ravdess", "validation", [SOUND])
    assert set(table.labels[table.valid].tolist()) == {1, 2}


@pytest.mark.release
def test_real_faces_under_the_names_of_a_corpus(shared_data, tmp_path, said):
    """With the real detector."""
    videos = sorted((shared_data / "affwild2_mini" / "videos").rglob("*.mp4"))[:3]
    for actor, video in enumerate(videos, start=1):
        name = f"01-01-0{actor + 1}-01-01-01-0{actor}.mp4"
        place = tmp_path / "r" / f"Video_Speech_Actor_0{actor}" / name
        place.parent.mkdir(parents=True)
        shutil.copy(video, place)
    weights = tmp_path / "weights"
    detector = weights / "yunet_n.safetensors"
    source = shared_data / "weights" / "yunet_n.pth"
    assert convert.main(["yunet_n", str(source), "--out", str(detector)]) == 0
    flags = (*BOTH, f"--weights={weights}")
    status, printed, error = said(tmp_path / "r", tmp_path / "s", *flags)
    assert status == 0, error
    assert f"{FACES}: 3 videos extracted, 0 stood already" in printed
    store = open_store(tmp_path / "s")
    table = store.load_table("ravdess", "validation", [FACES, SOUND])
    assert len(table.videos) == 1
    assert table.num_rows > 0.5 * table.num_frames.sum()
    assert set(table.labels.tolist()) == {int(table.videos[0][7]) - 1}
