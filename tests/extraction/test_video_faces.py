"""Features of the faces of people's own videos, found by colour."""

import dataclasses
import functools
import json
import re
import shutil

import numpy as np
import pytest
from made.coloured_faces import COLOURS, INSIDE, ByColour, script, write_film
from made.trees import write_crops

from avemo_jax.data.features.files import read_feature_file
from avemo_jax.embed import load_extractor
from avemo_jax.extraction import command, extractor_choice, video_faces
from avemo_jax.extraction.crop_template import read_template, write_template
from avemo_jax.extraction.face_crops import face_crops
from avemo_jax.extraction.face_detector import detector_facts
from avemo_jax.extraction.face_tracks import find_faces
from avemo_jax.extraction.flags import parser as extract_parser
from avemo_jax.extraction.frame_times import KeptFrameTimes
from avemo_jax.extraction.jobs import Material
from avemo_jax.extraction.on_beam import _lines_of, _outcome
from avemo_jax.extraction.settings import Settings
from avemo_jax.extraction.video_faces import FaceRule, faces_of
from avemo_jax.faces.crops import ARCFACE_TEMPLATE
from avemo_jax.media.video import open_video
from avemo_jax.prediction.flags import parser as predict_parser

compiled_once = functools.cache(load_extractor)
SET = "face_hog@cropped_aligned-32"


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Two films of a red and, for a while, a blue face."""
    folder = tmp_path_factory.mktemp("films")
    write_film(folder / "talk.mp4")
    shutil.copyfile(folder / "talk.mp4", folder / "more.mp4")
    return folder


@pytest.fixture(autouse=True)
def by_colour(monkeypatch):
    """The stand-in for the detector, which counts its pictures."""
    detect = ByColour()
    monkeypatch.setattr(video_faces, "detector", lambda weights: detect)
    monkeypatch.setattr(extractor_choice, "load_extractor", compiled_once)

    def facts(weights, *, interval_s):
        return {"fingerprint": f"by colour, {weights}, {interval_s}"}

    monkeypatch.setattr(video_faces, "detector_facts", facts)
    return detect


def extract(films, out, *flags, visual="face_hog"):
    """The command's code, by its flags."""
    return command.main(
        [
            *("--videos", str(films), "--out", str(out), "--visual", visual),
            *("--size-px=32", "--quiet", "--compilation-cache=off", *flags),
        ]
    )


def embedded(pictures):
    """By the extractor that the command has."""
    options = {"weights_dir": None, "source": "cropped_aligned", "size_px": 32}
    (choice,) = extractor_choice.choose_visual(["face_hog"], **options)
    return choice.load().extract(pictures)


def rows_of(out, name, of_set=SET):
    return read_feature_file(out / of_set / f"{name}.npz")


def failures(out):
    return [json.loads(x) for x in (out / "failures.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def crops(films):
    """The crops of the red and the blue face, by kind."""
    video = open_video(films / "talk.mp4")
    tracks = find_faces(video, ByColour(), video.frame_times().times_s)
    found = {(kind, i): [] for kind in ("aligned", "tight") for i in range(2)}
    for crop in face_crops(video, tracks, None, ["aligned", "tight"]):
        found[crop.kind, crop.track].append(crop.picture)
    return found


def test_the_face_of_most_frames_has_the_videos_name(films, crops, tmp_path, capsys):
    assert extract(films, tmp_path, "--faces=largest") == 0
    told = capsys.readouterr().out
    assert "2 videos extracted, 0 stood already" in told
    assert "the face of most frames, 50, is taken; 1 more were found" in told
    assert {p.stem for p in (tmp_path / SET).iterdir()} == {"talk", "more"}
    found, meta = rows_of(tmp_path, "talk")
    np.testing.assert_array_equal(found.frame, range(1, 51))
    expected = embedded(crops["aligned", 0])
    np.testing.assert_allclose(found.features, expected.features, atol=2e-3)
    assert meta["source"]["video"] == "talk.mp4"
    assert (meta["source"]["face"], meta["source"]["faces"]) == (1, 2)
    assert meta["faces"]["crop"] == "aligned"
    assert len(meta["faces"]["template"]) == 5
    assert meta["decoding"] == 2
    assert not failures(tmp_path)


@pytest.mark.slow
def test_several_faces_are_numbered_and_found_once_for_all_sets(
    films, by_colour, tmp_path
):
    assert extract(films, tmp_path, "--faces=all", "--size-px=48") == 0
    small = "face_hog@cropped_aligned-48"
    names = {f"{video}--face{i}" for video in ("talk", "more") for i in (1, 2)}
    assert {p.stem for p in (tmp_path / small).iterdir()} == names
    for number, frames in ((1, range(1, 51)), (2, range(20, 45))):
        found, meta = rows_of(tmp_path, f"talk--face{number}", small)
        np.testing.assert_array_equal(found.frame, frames)
        assert meta["source"]["face"] == number
    seen = by_colour.pictures
    assert extract(films, tmp_path, "--faces=2") == 0
    assert {p.stem for p in (tmp_path / SET).iterdir()} == names
    assert by_colour.pictures == seen


@pytest.mark.slow
def test_only_what_is_missing_is_made_again(films, tmp_path, capsys):
    assert extract(films, tmp_path, "--faces=all") == 0
    stood = {p.name: p.stat().st_mtime_ns for p in (tmp_path / SET).iterdir()}
    (tmp_path / SET / "talk--face2.npz").unlink()
    capsys.readouterr()
    assert extract(films, tmp_path, "--faces=all") == 0
    assert "1 videos extracted, 3 stood already" in capsys.readouterr().out
    now = {p.name: p.stat().st_mtime_ns for p in (tmp_path / SET).iterdir()}
    assert {name for name in now if now[name] != stood[name]} == {"talk--face2.npz"}
    shutil.rmtree(tmp_path / ".face_tracks")
    capsys.readouterr()
    assert extract(films, tmp_path, "--faces=1") == 0  # other names: videos' own
    assert extract(films, tmp_path, "--faces=all") == 0
    assert "0 videos extracted, 4 stood already" in capsys.readouterr().out
    (tmp_path / ".face_tracks" / "talk.npz").write_bytes(b"PK\x03\x04 damaged")
    (tmp_path / SET / "talk--face1.npz").unlink()
    assert extract(films, tmp_path, "--faces=all") == 0
    assert rows_of(tmp_path, "talk--face1")[0].frame[-1] == 50


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--faces=largest", "--detect=every"], "faces' detector .* there, .* now"),
        (["--faces=largest", "--detect=0.5"], "faces' found 'every 0.2 s' there"),
    ],
)
def test_sets_of_other_crops_do_not_mix(flags, told, films, tmp_path, capsys):
    assert extract(films, tmp_path, "--faces=largest") == 0
    assert extract(films, tmp_path, *flags) == 1
    assert_told(capsys, told)


def assert_told(capsys, pattern):
    err = " ".join(capsys.readouterr().err.split())
    assert re.search(pattern, err), err


def test_sets_of_official_crops_and_of_ours_do_not_mix(films, tmp_path, capsys):
    crops = tmp_path / "crops"
    write_crops(crops / "talk", [1, 2, 3], np.random.default_rng(0))
    out = tmp_path / "out"
    arguments = ["--crops", str(crops), "--out", str(out), "--visual", "face_hog"]
    assert command.main([*arguments, "--quiet", "--size-px=32"]) == 0
    assert extract(films, out, "--faces=largest") == 1
    assert_told(capsys, "faces' crop None there, 'aligned' now")


@pytest.mark.slow
def test_tight_crops_are_a_set_of_their_own(films, crops, tmp_path):
    assert extract(films, tmp_path, "--crop=tight") == 0
    found, meta = rows_of(tmp_path, "talk", "face_hog@cropped-32")
    expected = embedded(crops["tight", 0])
    np.testing.assert_allclose(found.features, expected.features, atol=2e-3)
    assert meta["faces"]["crop"] == "tight"
    assert "template" not in meta["faces"]


@pytest.mark.slow
def test_without_faces_it_is_told_and_the_others_are_done(films, tmp_path, capsys):
    folder = shutil.copytree(films, tmp_path / "films")
    film = write_film(folder / "nobody.mp4", shows=lambda number: {})
    (folder / "broken.mp4").write_bytes(film.read_bytes()[:500])
    out = tmp_path / "out"
    for _ in range(2):
        assert extract(folder, out, "--faces=all") == 3
        lines = {line["video"]: line for line in failures(out)}
        assert set(lines) == {"nobody", "broken"}
        assert lines["nobody"]["reason"].startswith("no face in 60 frames")
        assert "broken.mp4: cannot be opened" in lines["broken"]["reason"]
        assert str(folder) not in lines["broken"]["reason"]
        assert len(list((out / SET).iterdir())) == 4
    assert "failed: 2 videos, 0 frames" in capsys.readouterr().out


@pytest.mark.slow
def test_small_faces_are_noted(films, tmp_path, capsys):
    assert extract(films, tmp_path, "--min-face=60") == 0
    text = capsys.readouterr().out
    assert "a small face, 48 pixels in the median, where 60 or more are wanted" in text


@pytest.mark.slow
def test_a_template_of_the_users_own_decides_the_crops(films, tmp_path, capsys):
    file, out = tmp_path / "template.json", tmp_path / "out"
    write_template(file, ARCFACE_TEMPLATE * 0.9 + 5, detector="d", crops=3)
    assert extract(films, out, "--faces=largest", f"--template={file}") == 0
    theirs = FaceRule(template=tuple(map(tuple, read_template(file).tolist())))
    assert theirs.facts()["template"] != FaceRule().facts()["template"]
    # Those that stand are not taken for crops by ArcFace's.
    capsys.readouterr()
    assert extract(films, out, "--faces=largest") == 1
    assert "to extract it all again" in capsys.readouterr().err
    assert extract(films, out, "--crop=tight", f"--template={file}") == 1
    assert "--template with --crop tight; expected" in capsys.readouterr().err


def table_of(name, folder):
    """A table of both faces, as avemo predict writes it; the blue one in no frame."""
    lines = ["input,frame,timestamp,face_id,success,confidence,FaceRectX,FaceRectY,"]
    lines[0] += "FaceRectWidth,FaceRectHeight"
    for number in range(1, 61):
        left, top = script(number).get("red", (None, None))
        if left is None:
            lines.append(f"{name},{number},{(number - 1) / 25},,0,,,,,")
        else:
            place = f"{name},{number},{(number - 1) / 25},1,1,0.9"
            lines.append(f"{place},{left},{top},48,48")
    path = folder / f"{name}.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_boxes_found_elsewhere(films, by_colour, tmp_path):
    """Points are looked for around the boxes; tight crops need none."""
    tables = tmp_path / "tables"
    tables.mkdir()
    table_of("talk", tables)
    table_of("more", tables)
    for crop, of_set in (("tight", "face_hog@cropped-32"), ("aligned", SET)):
        out = tmp_path / crop
        assert extract(films, out, f"--boxes={tables}", f"--crop={crop}") == 0
        found, meta = rows_of(out, "talk", of_set)
        np.testing.assert_array_equal(found.frame, range(1, 51))
        assert meta["faces"]["found"] == "elsewhere"
        assert ("detector" in meta["faces"]) is (crop == "aligned")
        assert bool(by_colour.pictures) is (crop == "aligned")
    rule, path = FaceRule(are_given=True), films / "talk.mp4"
    (red,) = faces_of("talk", path, rule, out, boxes=tables / "talk.csv").tracks
    assert np.abs(red.points - red.boxes[:, None, :2] - INSIDE).max() < 2


def test_boxes_that_are_missing_or_of_another_video(films, tmp_path, capsys):
    tables = tmp_path / "tables"
    tables.mkdir()
    one = table_of("talk", tables)
    out = tmp_path / "out"
    assert extract(films, out, f"--boxes={tables}", "--crop=tight") == 3
    (line,) = failures(out)
    assert line["video"] == "more"
    assert "no table of the faces of 'more'; expected more.csv" in line["reason"]
    assert extract(films, tmp_path / "b", f"--boxes={one}", "--crop=tight") == 3
    (line,) = failures(tmp_path / "b")
    assert "talk.csv, column 'input': talk; expected rows of" in line["reason"]
    empty = tmp_path / "empty"
    empty.mkdir()
    assert extract(films, out, f"--boxes={empty}") == 1
    assert_told(capsys, "no table of any of more, talk; expected VIDEO.csv")


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--detect=1", "--boxes=x.csv"], "--detect with --boxes; expected one of"),
        (["--boxes=x.csv"], "x.csv: no such file; expected a table"),
    ],
)
def test_flags_that_are_wrong(flags, told, films, tmp_path, capsys):
    assert extract(films, tmp_path / "out", *flags) == 1
    assert_told(capsys, told)


@pytest.mark.parametrize(
    ("flag", "told"),
    [
        ("--faces=some", "'some'; expected all, largest or a whole number from 1 to"),
        ("--faces=0", "'0'; expected all, largest or a whole number from 1 to 10000"),
        ("--detect=never", "'never'; expected every, or seconds over 0 and at most 60"),
        ("--detect=0", "'0'; expected every, or seconds over 0 and at most 60"),
        ("--shard-index=1", "--shard-index 1 with --num-shards 1; expected 0 to 0"),
    ],
)
@pytest.mark.parametrize("parser", [extract_parser, predict_parser])
def test_values_are_refused_alike_by_extract_and_predict(parser, flag, told, capsys):
    first = "film.mp4" if parser is predict_parser else "--videos=films"
    with pytest.raises(SystemExit) as end:
        parser().parse_args([first, "--out=out", flag])
    assert end.value.code == 2
    assert told in capsys.readouterr().err


def test_faces_are_those_of_videos(tmp_path, capsys):
    flags = ["--faces=all", "--crops=x", "--visual=face_hog", f"--out={tmp_path}/o"]
    assert command.main(flags) == 1
    assert_told(capsys, "--faces with --crops; expected them with --videos")


def test_a_video_called_as_anothers_face(films, tmp_path, capsys):
    folder = shutil.copytree(films, tmp_path / "films")
    shutil.copyfile(folder / "talk.mp4", folder / "talk--face2.mp4")
    assert extract(folder, tmp_path / "out", "--faces=2") == 1
    assert_told(capsys, "'talk' and 'talk--face2', which is what a face of the first")


def test_weights_of_the_detector_are_missing(films, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(video_faces, "detector_facts", detector_facts)
    monkeypatch.setenv("AVEMO_CACHE", str(tmp_path / "cache"))
    assert extract(films, tmp_path / "out", "--faces=largest") == 1
    assert_told(capsys, "avemo fetch yunet_n")


@pytest.mark.slow
def test_shards_share_the_videos(films, tmp_path):
    for index in range(2):
        parts = ("--num-shards=2", f"--shard-index={index}")
        assert extract(films, tmp_path, "--faces=all", *parts) == 0
    assert len(list((tmp_path / SET).glob("*.npz"))) == 4


def test_a_worker_of_beam_tells_each_face(films, tmp_path):
    rule = FaceRule("all")
    material = Material({}, {"talk": films / "talk.mp4"}, faces=rule)
    [(job, _)] = material.face_jobs().values()
    (choice,) = extractor_choice.choose_visual(
        ["face_hog"],
        weights_dir=None,
        source="cropped_aligned",
        size_px=32,
        faces=rule,
    )
    lines = _lines_of(job, choice, str(tmp_path), Settings(show_progress=False))
    assert [_outcome(line).video for line in lines] == ["talk--face2", "talk--face1"]


def test_faces_of_a_damaged_video_are_not_kept(films, tmp_path, monkeypatch):
    path = films / "talk.mp4"
    whole = KeptFrameTimes.of

    def lossy(self, video, file):
        times = whole(self, video, file)
        return dataclasses.replace(times, losses=("a packet is lost",))

    monkeypatch.setattr(KeptFrameTimes, "of", lossy)
    found = faces_of("talk", path, FaceRule(), tmp_path, quiet=True)
    assert found.losses == found.notes == ("a packet is lost",)
    assert not (tmp_path / ".face_tracks").exists()
    monkeypatch.undo()


@pytest.mark.slow
def test_kept_faces_are_read_as_they_were(films, by_colour, tmp_path, monkeypatch):
    path = films / "talk.mp4"
    first = faces_of("talk", path, FaceRule(), tmp_path, quiet=True)
    seen = by_colour.pictures
    again = faces_of("talk", path, FaceRule("all", "tight"), tmp_path, quiet=True)
    assert by_colour.pictures == seen
    assert len(again.tracks) == len(COLOURS)
    for one, other in zip(first.tracks, again.tracks, strict=True):
        for field in dataclasses.fields(one):
            expected = getattr(one, field.name)
            np.testing.assert_array_equal(getattr(other, field.name), expected)
    other = FaceRule(interval_s=0.0)
    faces_of("talk", path, other, tmp_path, quiet=True)
    assert by_colour.pictures == seen + 60
