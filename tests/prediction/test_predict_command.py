"""``avemo predict`` from a video to its tables, by a tiny network."""

import csv
import json
import pathlib
import shutil

import numpy as np
import pytest
from made.colour_network import colour_network
from made.coloured_faces import script, write_film
from made.videos import encode
from PIL import Image

from avemo_jax.extraction.crop_template import write_template
from avemo_jax.faces.crops import ARCFACE_TEMPLATE
from avemo_jax.media.video import open_video
from avemo_jax.prediction import command
from avemo_jax.prediction.views import VIEWS, View


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    with colour_network(tmp_path_factory.mktemp("network")) as name:
        yield name


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> pathlib.Path:
    return write_film(tmp_path_factory.mktemp("films") / "film.mp4")


@pytest.fixture(scope="module")
def predicted(model, film, tmp_path_factory) -> pathlib.Path:
    """The results of the film, without smoothing."""
    out = tmp_path_factory.mktemp("results") / "out"
    assert predict(model, film, out, "--smooth=none") == 0
    return out


def predict(model, *more) -> int:
    """The status of the command; the last path of ``more`` is that of the results."""
    paths = [str(one) for one in more if isinstance(one, pathlib.Path)]
    flags = [one for one in more if isinstance(one, str)]
    return command.main(
        [*paths[:-1], "--out", paths[-1], "--model", model, "--quiet", *flags]
    )


def rows_of(folder: pathlib.Path, name: str = "predictions.csv") -> list[dict]:
    with (folder / name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_film_gives_a_row_for_each_frame_and_face(predicted):
    rows = rows_of(predicted / "film")
    shown = [(int(row["frame"]), row["face_id"]) for row in rows]
    expected = [
        (number, face)
        for number in range(1, 61)
        for face in (["1", "2"] if 20 <= number < 45 else ["1" if number < 51 else ""])
    ]
    assert shown == expected
    for row in rows:
        number = int(row["frame"])
        assert float(row["timestamp"]) == pytest.approx((number - 1) / 25, abs=1e-6)
        if not row["face_id"]:
            assert (row["success"], row["expression"], row["valence"]) == ("0", "", "")
            continue
        colour, says = {"1": ("red", "Anger"), "2": ("blue", "Happiness")}[
            row["face_id"]
        ]
        left, top = script(number)[colour]
        assert abs(float(row["FaceRectX"]) - left) <= 1
        assert abs(float(row["FaceRectY"]) - top) <= 1
        assert (row["success"], row["embedded"], row["filled"]) == ("1", "1", "0")
        assert (row["expression"], row["audio_used"]) == (says, "0")
        assert float(row[says]) > 0.95
        assert (float(row["valence"]) > 0) == (colour == "blue")


def test_run_json_tells_all_that_decided_the_tables(predicted, film):
    run = json.loads((predicted / "film" / "run.json").read_text("utf-8"))
    settings = run["settings"]
    assert settings["models"] == ["colours"]
    assert settings["smooth"] == "none"
    assert settings["device"].startswith("CPU")
    assert {"fingerprint", "source", "extractors", "detector"} <= set(settings)
    assert run["path"] == str(film)
    assert set(run["stages_s"]) >= {"decode", "detect", "crop", "embed", "heads"}
    summary, _ = rows_of(predicted, "summary.csv")
    assert (summary["input"], summary["face_id"]) == ("film", "1")


def test_what_is_done_is_not_done_again(model, film, predicted, capsys):
    before = (predicted / "film" / "predictions.csv").stat().st_mtime_ns
    assert predict(model, film, predicted, "--smooth=none") == 0
    assert (predicted / "film" / "predictions.csv").stat().st_mtime_ns == before
    assert "0 predicted, 1 done before" in capsys.readouterr().out
    assert predict(model, film, predicted, "--smooth=0.5") == 1
    said = capsys.readouterr().err
    assert "predictions made otherwise (smooth none there, 0.5 now); expected" in said


def test_a_part_keeps_its_frame_numbers(model, film, predicted, tmp_path):
    flags = ("--start=0:0:0.5", "--end=1", "--faces=largest", "--smooth=none")
    assert predict(model, film, tmp_path, *flags) == 0
    rows = rows_of(tmp_path / "film")
    assert [int(row["frame"]) for row in rows] == list(range(13, 26))
    whole = {
        row["frame"]: row
        for row in rows_of(predicted / "film")
        if row["face_id"] == "1"
    }
    for row in rows:
        assert row["face_id"] == "1"
        other = whole[row["frame"]]
        assert row["expression"] == other["expression"]
        # Faces are searched on another grid, and boxes between are interpolated.
        for column, near in (("timestamp", 0), ("FaceRectX", 1), ("Anger", 0.01)):
            assert abs(float(row[column]) - float(other[column])) <= near


def test_every_fifth_frame_is_embedded_and_the_others_are_filled(
    model, film, tmp_path, capsys
):
    assert predict(model, film, tmp_path, "--every=5", "--faces=1") == 0
    rows = rows_of(tmp_path / "film")
    embedded = [int(row["frame"]) for row in rows if row["embedded"] == "1"]
    assert embedded == [*range(1, 50, 5), 50]
    assert {row["filled"] for row in rows if row["embedded"] == "0"} == {"1", "0"}
    assert "the network saw 11 of 50 faces (--every 5)" in capsys.readouterr().out


def test_images_are_inputs_of_one_frame(model, tmp_path, film, capsys):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for name, colour in (("red.png", (220, 30, 30)), ("none.jpg", (128, 128, 128))):
        picture = np.full((120, 160, 3), 128, np.uint8)
        picture[30:80, 50:100] = colour
        Image.fromarray(picture).save(pictures / name)
    (pictures / "notes.txt").write_text("text")
    out = tmp_path / "out"
    assert predict(model, pictures, out) == 0
    said = capsys.readouterr().out
    assert "colours on CPU, chosen by itself: 2 images" in said
    assert "1 other files passed over (notes.txt)" in said
    assert "no face found in pictures of 160 x 120 px" in said
    (row,) = rows_of(out / "red")
    assert (row["frame"], row["timestamp"], row["expression"]) == ("1", "0", "Anger")
    (row,) = rows_of(out / "none")
    assert (row["face_id"], row["success"]) == ("", "0")


def test_numbered_pictures_are_a_video(model, tmp_path):
    pictures = tmp_path / "shots"
    pictures.mkdir()
    for number in range(8, 12):
        picture = np.full((120, 160, 3), 128, np.uint8)
        picture[30:80, 20 + number : 70 + number] = (220, 30, 30)
        Image.fromarray(picture).save(pictures / f"img{number}.png")
    out = tmp_path / "out"
    assert predict(model, pictures, out, "--as-video", "--fps=10") == 0
    rows = rows_of(out / "shots")
    assert [float(row["timestamp"]) for row in rows] == [0, 0.1, 0.2, 0.3]
    assert [round(float(row["FaceRectX"])) for row in rows] == [28, 29, 30, 31]


def test_a_bad_file_does_not_stop_the_others(model, film, tmp_path, capsys):
    videos = tmp_path / "videos"
    videos.mkdir()
    shutil.copy(film, videos / "a.mp4")
    (videos / "b.mp4").write_bytes(b"no video at all")
    (videos / "c.mp4").write_bytes(b"")
    shutil.copy(film, videos / "d.mp4")
    out = tmp_path / "out"
    assert predict(model, videos, out) == 1
    said = capsys.readouterr()
    assert "2 predicted; 2 could not be read (b, c)" in said.out
    lines = [line for line in said.err.splitlines() if line.startswith("not read: ")]
    assert len(lines) == 2
    assert "b.mp4: cannot be opened as video" in lines[0]
    assert "c.mp4: " in lines[1]
    assert "empty" in lines[1]
    tables = [(out / name / "predictions.csv").read_text("utf-8") for name in "ad"]
    assert tables[0].replace("\na,", "\nd,") == tables[1]
    assert not (out / "b").exists()


@pytest.mark.slow
def test_tables_do_not_depend_on_what_else_is_done(model, film, tmp_path):
    """Batches hold faces of several videos, and rows do not know of each other."""
    videos = tmp_path / "videos"
    videos.mkdir()
    shutil.copy(film, videos / "one.mp4")
    encode(videos / "zero.mp4", "libx264", 30)
    shutil.copy(film, videos / "two.mp4")
    assert predict(model, videos, tmp_path / "all") == 0
    assert predict(model, videos / "two.mp4", tmp_path / "alone") == 0
    both = [
        (tmp_path / where / "two" / "predictions.csv").read_bytes()
        for where in ("all", "alone")
    ]
    assert both[0] == both[1]


@pytest.mark.slow
def test_parts_of_a_job_share_the_inputs(model, film, tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    for name in ("a", "b", "c"):
        shutil.copy(film, videos / f"{name}.mp4")
    out = tmp_path / "out"
    for index in (0, 1):
        shard = ("--num-shards=2", f"--shard-index={index}")
        assert predict(model, videos, out, *shard) == 0
    assert {path.name for path in out.iterdir() if path.is_dir()} == {"a", "b", "c"}
    found = rows_of(out, "summary.csv")
    assert {row["input"] for row in found} == {"a", "b", "c"}


def test_of_several_faces_only_those_that_were_joined_are_doubtful(model, tmp_path):
    def shows(number: int) -> dict[str, tuple[int, int]]:
        red = {"red": (10, 40)} if number <= 10 or number >= 45 else {}
        return {"blue": (200, 150), **red}

    film = write_film(tmp_path / "film.mp4", shows)
    assert predict(model, film, tmp_path / "out") == 0
    blue, red = rows_of(tmp_path / "out", "summary.csv")
    assert (blue["face_id"], blue["face_found_pct"], blue["warnings"]) == (
        "1",
        "100.0",
        "",
    )
    assert (red["face_id"], red["face_found_pct"]) == ("2", "43.33")
    assert red["warnings"] == "joined from scenes by likeness, which is uncertain"


@pytest.mark.slow
def test_faces_of_an_earlier_run_give_the_same_scores(
    model, film, predicted, tmp_path, capsys
):
    table = shutil.copy(predicted / "film" / "predictions.csv", tmp_path / "boxes.csv")
    flags = ("--smooth=none", f"--boxes={table}")
    assert predict(model, *flags, film, tmp_path / "out") == 0
    again, first = rows_of(tmp_path / "out" / "film"), rows_of(predicted / "film")
    assert len(again) == len(first)
    for row, expected in zip(again, first, strict=True):
        for name in ("frame", "face_id", "success", "expression"):
            assert row[name] == expected[name]
        if row["valence"]:
            assert float(row["valence"]) == pytest.approx(
                float(expected["valence"]), abs=0.1
            )
    capsys.readouterr()
    assert predict(model, *flags, film, tmp_path / "out") == 0
    assert "0 predicted, 1 done before" in capsys.readouterr().out
    one, *_ = lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join([one, *lines[20:]]))
    assert predict(model, *flags, film, tmp_path / "out") == 0
    assert "1 predicted" in capsys.readouterr().out
    later = rows_of(tmp_path / "out" / "film")
    assert (first[0]["face_id"], later[0]["face_id"]) == ("1", "")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--start=3"], "film.mp4: nothing is shown from 3 s on, it is 2.40 s long"),
        (["--device=tpu"], "--device tpu: no such device here"),
        (["--every=adaptive"], "which has no rule that was chosen on dev"),
        (["--smooth=as-trained"], "for which no smoothing was chosen"),
        (["--tasks=AU"], "--tasks AU: no model has it; expected some of EXPR, VA"),
        (["--audio=none.wav"], "--audio none.wav: no such file; expected one"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(flags, said, model, film, tmp_path, capsys):
    assert predict(model, film, tmp_path / "out", *flags) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not (tmp_path / "out" / "film").exists()


def test_a_template_is_refused_where_crops_are_tight(model, film, tmp_path, capsys):
    write_template(tmp_path / "t.json", ARCFACE_TEMPLATE, detector="d", crops=1)
    template = f"--template={tmp_path}/t.json"
    assert predict(model, film, tmp_path / "out", template) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"--template with {model}, whose crops are tight; expected a model" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--start=1:00", "--end=60"], "--end 60 s is not after --start 60 s"),
        (["--start=1:99"], "'1:99'; expected seconds as 90.5, or h:m:s"),
        (["--fps=10"], "--fps without --as-video; expected both or none"),
        (["--smooth=long"], "'long'; expected seconds from 0 to 600"),
    ],
)
def test_flags_that_are_wrong_end_the_command(flags, said, capsys):
    with pytest.raises(SystemExit) as end:
        command.main(["film.mp4", *flags])
    assert end.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_a_view_can_be_asked_for_later(
    model, film, predicted, tmp_path, capsys, monkeypatch
):
    def write(one, path, show_progress):
        path.write_text(f"{len(one.faces)} faces of {one.path}")
        return ["a note"]

    def fail(one, path, show_progress):
        raise ValueError("no sound; expected some: record it")

    monkeypatch.setitem(VIEWS, "good", View("good.txt", "--good", "a view", write))
    monkeypatch.setitem(VIEWS, "bad", View("bad.txt", "--bad", "a view", fail))
    out = shutil.copytree(predicted, tmp_path / "out")
    table = (out / "film" / "predictions.csv").stat()
    assert predict(model, film, out, "--smooth=none", "--good", "--bad") == 3
    told = capsys.readouterr()
    assert "film: a note" in told.out
    assert "0 predicted, 1 done before; 1 lack a view (film)" in told.out
    assert "film: bad.txt not made: no sound; expected some" in told.err
    assert (out / "film" / "good.txt").read_text() == f"2 faces of {film}"
    assert (out / "film" / "predictions.csv").stat() == table
    again = ("--smooth=none", "--good", "--overwrite")
    assert predict(model, film, out, *again) == 0
    assert (out / "film" / "good.txt").exists()


def test_the_views_of_a_film_and_of_an_image(model, film, predicted, tmp_path, capsys):
    out = shutil.copytree(predicted, tmp_path / "out")
    picture = next(iter(open_video(film).pictures()))
    Image.fromarray(picture).save(tmp_path / "still.png")
    flags = ("--smooth=none", "--save-video", "--eaf", "--textgrid", "--vtt")
    assert predict(model, film, tmp_path / "still.png", out, *flags) == 0
    told = capsys.readouterr().out
    assert "1 predicted, 1 done before" in told
    annotations = ("annotations.eaf", "annotations.TextGrid", "annotations.vtt")
    for name in annotations:
        assert (out / "film" / name).stat().st_size > 100
        assert f"still: no {name} of an image, which lasts no time" in told
        assert not (out / "still" / name).exists()
    annotated = open_video(out / "film" / "annotated.mp4").frame_times()
    assert annotated.times_s.tolist() == open_video(film).frame_times().times_s.tolist()
    with Image.open(out / "still" / "annotated.png") as image:
        assert image.size == picture.shape[1::-1]
