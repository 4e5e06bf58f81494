"""The page of an input: what it holds, and that it holds nothing it should not."""

import base64
import dataclasses
import gzip
import hashlib
import html.parser
import json
import os
import pathlib
import re

import numpy as np
import pytest
from made.drawn_faces import acted, write_acted_video
from made.predicted import made_face, made_predicted
from PIL import Image

from avemo_jax.prediction.page import page_data, page_file
from avemo_jax.prediction.page.blocks import Blocks
from avemo_jax.prediction.page.moments import moments_of
from avemo_jax.prediction.page.page_data import page_columns
from avemo_jax.prediction.page.page_file import write_page
from avemo_jax.prediction.page.source_link import source_link
from avemo_jax.prediction.writing import write_predicted
from avemo_jax.tasks import AU, EXPR, VA, own_task

HOSTILE = '"><img src=x onerror=alert(1)></script><script>alert(2)</script>'
UPLOT = {
    "uPlot.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566df"
    "d0ba3d15cc495e974f787eb78f1f",
    "uPlot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
}


class Parts(html.parser.HTMLParser):
    """Elements of a page with their attributes, and the texts in them."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.texts = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append((self.elements[-1] if self.elements else None, data))

    def text_of(self, element_id):
        return next(t for e, t in self.texts if e and e[1].get("id") == element_id)


def page_of(predicted, folder) -> tuple[Parts, str]:
    folder.mkdir(exist_ok=True)
    write_page(predicted, folder / "page.html")
    text = (folder / "page.html").read_text("utf-8")
    return Parts(text), text


def account_of(parts: Parts) -> dict:
    return json.loads(parts.text_of("account"))


def columns_of(parts: Parts) -> list[np.ndarray]:
    """The packed columns, read back as the page's script does."""
    data = gzip.decompress(base64.b64decode(parts.text_of("columns")))
    found, at = [], 0
    for width, count in account_of(parts)["blocks"]:
        planes = np.frombuffer(data, np.uint8, width * count, at).reshape(width, count)
        at += width * count
        steps = np.ascontiguousarray(planes.T).view(f"<u{width}")[:, 0]
        found.append(np.cumsum(steps, dtype=steps.dtype))
    assert at == len(data)
    return found


def test_the_library_of_curves_is_as_its_package_has_it():
    folder = page_file.HERE / "uplot"
    for name, expected in UPLOT.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == expected
    script = (folder / "uPlot.iife.min.js").read_text()
    assert f"(v{page_file.UPLOT_VERSION})" in script
    assert "MIT License" in (folder / "LICENSE").read_text()


def test_the_page_holds_the_scores(tmp_path):
    predicted = acted(120, 2)
    parts, text = page_of(predicted, tmp_path)
    account, columns = account_of(parts), columns_of(parts)
    assert "Permission is hereby granted" in text  # the notice of the curves' library
    times = account["times"]
    found = times["first"] + columns[times["block"]] * times["unit"]
    np.testing.assert_allclose(found, predicted.times_s, atol=1e-5)
    for face, told in zip(predicted.faces, account["faces"], strict=True):
        assert (told["id"], told["rows"]) == (face.face_id, len(face.frame))
        for task, width, high in ((EXPR, 1, 1.0), (AU, 1, 1.0), (VA, 2, 1.0)):
            low = -1.0 if task is VA else 0.0
            most = 256**width - 2
            for i, block in enumerate(told["tasks"][task.name]["scores"]):
                whole = columns[block].astype(float)
                values = np.where(
                    whole > most, np.nan, low + whole * (high - low) / most
                )
                expected = face.scores[task.name][:, i]
                np.testing.assert_allclose(
                    values, expected, atol=0.6 * (high - low) / most
                )
        decided = columns[told["tasks"]["EXPR"]["decided"]]
        known = np.isfinite(face.scores["EXPR"][:, 0])
        expected = face.scores["EXPR"][known].argmax(axis=1)
        np.testing.assert_array_equal(decided[known], expected)
        assert (decided[~known] == 255).all()
        np.testing.assert_array_equal(columns[told["found"]], face.success)


def test_names_from_files_are_texts_only(tmp_path):
    predicted = acted(30, name=HOSTILE, notes=(HOSTILE,), losses=(HOSTILE,))
    predicted = dataclasses.replace(predicted, path=pathlib.Path(f"{HOSTILE}.mp4"))
    predicted = dataclasses.replace(
        predicted, settings={"models": [HOSTILE], "smooth": HOSTILE, "every": HOSTILE}
    )
    parts, text = page_of(predicted, tmp_path)
    assert not [e for e in parts.elements if e[0] == "img" or "onerror" in e[1]]
    assert account_of(parts)["name"] == HOSTILE
    count = text.count("<script")
    plain, without = page_of(acted(30), tmp_path / "plain")
    assert count == without.count("<script")
    assert "'unsafe-inline'" not in re.search(r"script-src [^;]*", text)[0]
    assert len(plain.elements) < len(parts.elements)  # its notes


def test_a_video_is_found_from_the_page(tmp_path):
    folder = tmp_path / "out" / "a"
    predicted = acted(10, path=tmp_path / "my videos" / "100 % #1?.mp4")
    link = source_link(predicted, folder)
    assert link.href == "../../my%20videos/100%20%25%20%231%3F.mp4"
    images = acted(10, files=(tmp_path / "1.png",))
    assert source_link(images, folder) is None


@pytest.mark.parametrize(
    ("ending", "codec", "why"),
    [
        ("mp4", "libx264", ""),
        ("mp4", "libx265", "in HEVC, which browsers do not play"),
        ("avi", "mpeg4", "in MPEG4, which"),
        ("mkv", "libx264", "do not play files of the kind .mkv"),
        ("webm", "libvpx-vp9", ""),
    ],
)
def test_what_browsers_do_not_play_is_told(tmp_path, ending, codec, why):
    path = tmp_path / f"a b.{ending}"
    predicted = write_acted_video(path, acted(8), codec)
    link = source_link(predicted, tmp_path)
    assert why in link.why_not if why else link.why_not == ""
    assert bool(link.command) == bool(why)
    if why:
        assert link.command.startswith(f"ffmpeg -i '{path}' -c:v libx264")


def test_stills_are_of_the_strongest_moments(tmp_path):
    predicted = write_acted_video(
        tmp_path / "a.mp4", acted(250, 2, size=(320, 180)), every=5
    )
    parts, _ = page_of(predicted, tmp_path / "a")
    account = account_of(parts)
    assert account["problems"] == []
    assert len(account["strip"]) > 5
    assert account["strip"][0]["jpeg"].startswith("data:image/jpeg;base64,/9j/")
    by_class = {}
    for one in account["moments"]:
        face = predicted.faces[one["face_id"] - 1]
        scores = face.scores["EXPR"][:, one["column"]]
        row = one["frame"] - face.frame[0]
        assert scores[row] == pytest.approx(one["score"], abs=1e-4)
        assert one["still"].startswith("data:image/jpeg")
        by_class.setdefault((one["face_id"], one["column"]), []).append(one)
    for (face_id, column), found in by_class.items():
        face = predicted.faces[face_id - 1]
        seen = face.scores["EXPR"][face.success & face.embedded, column]
        assert found[0]["score"] == pytest.approx(np.nanmax(seen), abs=1e-4)
        times = sorted(one["frame"] / 25 for one in found)
        assert len(found) <= 3
        assert (np.diff(times) > 0.99).all()
    assert len(moments_of(predicted, predicted.faces[0])) == sum(
        one["face_id"] == 1 for one in account["moments"]
    )


def test_without_the_video_there_is_a_page_that_says_so(tmp_path):
    predicted = acted(30, path=tmp_path / "gone.mp4")
    notes = list(write_page(predicted, tmp_path / "page.html"))
    parts = Parts((tmp_path / "page.html").read_text("utf-8"))
    assert len(notes) == 1
    assert "the page has no pictures" in notes[0]
    assert account_of(parts)["strip"] == []
    assert "cannot be opened" in account_of(parts)["problems"][0]


def test_pictures_of_a_sequence_and_of_an_image(tmp_path):
    files = []
    for number in range(12):
        files.append(tmp_path / f"{number:03d}.png")
        Image.new("RGB", (64, 36), (20 * number, 0, 0)).save(files[-1])
    face = made_face(1, 1, 12)
    predicted = made_predicted(12, [face], files=tuple(files), path=tmp_path)
    account = account_of(page_of(predicted, tmp_path)[0])
    assert (account["kind"], account["video"]) == ("pictures", None)
    assert len(account["strip"]) == 12
    image = made_predicted(
        1, [made_face(1, 1, 1)], files=(files[3],), path=files[3], fps=0.0
    )
    account = account_of(page_of(image, tmp_path)[0])
    assert account["kind"] == "image"
    assert len(account["strip"]) == 1


def test_tasks_of_any_kind_have_their_place(tmp_path):
    mood = own_task("mood", "multiclass", ("calm", "tense"))
    pose = own_task("pose", "multilabel", ("turned", "AU45"))
    pain = own_task("pain", "regression", ("pain",), (0.0, 10.0))
    affect = EXPR.with_columns([*EXPR.columns[:-1], "Contempt"])
    tasks = (mood, pose, pain, affect)
    face = made_face(1, 1, 40, tasks, spread=("pain",))
    predicted = made_predicted(40, [face], tasks, with_spread=("pain",))
    parts, text = page_of(predicted, tmp_path)
    account = account_of(parts)
    told = {task["name"]: task for task in account["tasks"]}
    assert told["EXPR"]["colours"] == [0, 1, 2, 3, 4, 5, 6, 8]
    assert told["pose"]["words"] == ["", "blink"]
    assert (told["pain"]["low"], told["pain"]["high"]) == (0.0, 10.0)
    block = account["faces"][0]["tasks"]["pain"]["scores"][0]
    values = columns_of(parts)[block] / 65534 * 10
    expected = pain.in_units(face.scores["pain"][:, 0].astype(float))
    np.testing.assert_allclose(values, expected, atol=1e-3)
    for words in ("mood: share of the time", "AU45 blink", "pain, mean"):
        assert words in text
    assert "trained FACS coder" in text
    plain = page_of(made_predicted(5, [made_face(1, 1, 5, (EXPR,))], (EXPR,)), tmp_path)
    assert "FACS" not in plain[1]
    assert "over the model's seeds" not in plain[1]


def test_an_input_without_faces_or_scores_has_a_page(tmp_path):
    parts, text = page_of(made_predicted(10), tmp_path)
    assert account_of(parts)["faces"] == []
    assert "No face was found" in text
    lost = made_face(1, 1, 10, lost=range(1, 11))
    account = account_of(page_of(made_predicted(10, [lost]), tmp_path)[0])
    assert account["moments"] == []


def test_long_inputs_are_means_of_frames(tmp_path, monkeypatch):
    predicted = acted(2000)
    whole = page_columns(predicted)
    assert whole.step == 1
    monkeypatch.setattr(page_data, "MAX_PACKED", len(whole.packed) // 3)
    made = page_columns(predicted)
    assert made.step > 1
    assert len(made.packed) <= len(whole.packed) // 3
    rows = made.about["blocks"][made.about["faces"][0]["flags"]][1]
    assert rows == -(-2000 // made.step)


def test_equal_tables_give_equal_pages(tmp_path):
    for folder in ("a", "b"):
        write_predicted(acted(40), tmp_path / folder)
    texts = []
    for folder in ("a", "b"):
        os.utime(tmp_path / folder / "run.json", (1_700_000_000, 1_700_000_000))
        texts.append(page_of(acted(40), tmp_path / folder)[1])
    assert texts[0] == texts[1]
    assert "14 November 2023, 22:13 UTC" in texts[0]


def test_columns_come_back_whatever_they_hold():
    blocks = Blocks()
    rng = np.random.default_rng(0)
    made = [rng.integers(0, 256**width, 50) for width in (1, 2, 4)]
    for values, width in zip(made, (1, 2, 4), strict=True):
        blocks.add(values, width)
    data = gzip.decompress(base64.b64decode(blocks.packed()))
    at = 0
    for values, width in zip(made, (1, 2, 4), strict=True):
        planes = np.frombuffer(data, np.uint8, width * 50, at).reshape(width, 50)
        at += width * 50
        steps = np.ascontiguousarray(planes.T).view(f"<u{width}")[:, 0]
        np.testing.assert_array_equal(np.cumsum(steps, dtype=steps.dtype), values)
