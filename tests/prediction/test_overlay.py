"""Boxes, labels and panels over frames of any size."""

import dataclasses

import numpy as np
import pytest
from made.predicted import made_face, made_predicted

from avemo_jax.prediction.face_marks import FaceMark, FaceMarks
from avemo_jax.prediction.overlay import Overlay
from avemo_jax.prediction.overlay_patches import COLOURS, colour_of, label_patch
from avemo_jax.prediction.overlay_text import fitted, mask_of, width_of

GREY = 90


def made_mark(box, face_id: int = 1, **changes) -> tuple[FaceMark, tuple]:
    marks = FaceMarks(made_predicted(3, [made_face(face_id, 1, 3)]))
    mark = dataclasses.replace(marks.of(0)[0], box=box, **changes)
    return mark, marks.bar_names


def drawn(size, boxes, note: str = "", **changes) -> np.ndarray:
    """A grey picture with these faces drawn over it."""
    width, height = size
    marks, names = [], ()
    for number, box in enumerate(boxes, start=1):
        mark, names = made_mark(box, number, **changes)
        marks.append(mark)
    picture = np.full((height, width, 3), GREY, np.uint8)
    Overlay(width, height, names).draw(picture, marks, note)
    return picture


def share_of(picture: np.ndarray, colour: tuple) -> float:
    return float((picture == colour).all(axis=-1).mean())


def test_a_box_is_solid_where_the_face_was_found():
    box = (250.0, 120.0, 100.0, 100.0)
    solid, dashed = (
        drawn((640, 360), [box], is_found=found) for found in (True, False)
    )
    sides = []
    for picture in (solid, dashed):
        ours = (picture == COLOURS[0]).all(axis=-1)
        left, bottom = ours[120:220, 248:250], ours[220:222, 250:350]
        sides.append((left.mean(), bottom.mean()))
        assert (picture[130:210, 262:338] == GREY).all()
    assert sides[0] == (1.0, 1.0)
    assert all(0.4 < part < 0.7 for part in sides[1])


@pytest.mark.parametrize("size", [(640, 360), (1920, 1080), (1080, 1920), (3840, 2160)])
def test_text_goes_with_the_size_of_the_picture(size):
    width, height = size
    box = (0.4 * width, 0.3 * height, 0.15 * width, 0.25 * height)
    picture = drawn(size, [box])
    changed = (picture != GREY).any(axis=-1)
    assert 0.02 < changed.mean() < 0.2
    mark, names = made_mark(box)
    overlay = Overlay(width, height, names)
    assert overlay.em == max(11, round(0.026 * min(size)))
    assert label_patch(mark, overlay.em).height == round(1.5 * overlay.em)


@pytest.mark.parametrize(
    "box",
    [(-20, -10, 100, 80), (600, 330, 90, 90), (0, 0, 640, 360), (700, 400, 50, 50)],
)
def test_faces_at_the_edges_and_outside(box):
    picture = drawn((640, 360), [tuple(map(float, box))], "frame 1")
    # The label is within the picture wherever the face is.
    assert share_of(picture, colour_of(1)) > 0.0005


def test_panels_leave_faces_and_each_other_free():
    boxes = [
        (60.0, 100.0, 90.0, 110.0),
        (300.0, 60.0, 100.0, 120.0),
        (420.0, 200.0, 24.0, 24.0),
    ]
    picture = drawn((960, 540), boxes)
    for left, top, width, height in boxes:
        inside = picture[int(top) + 4 : int(top + height) - 4]
        inside = inside[:, int(left) + 4 : int(left + width) - 4]
        assert (inside == GREY).mean() > 0.9
    for number in (1, 2):  # its box, its badge, its bars and its dot
        assert share_of(picture, colour_of(number)) > 0.001


def test_no_panel_where_there_is_no_room():
    full = drawn((176, 144), [(50.0, 40.0, 40.0, 40.0)])
    changed = (full != GREY).any(axis=-1)
    assert not changed[100:].any()  # the box and its label above it
    many = [(80.0 * i, 90.0 * j, 70.0, 60.0) for j in range(4) for i in range(8)]
    picture = drawn((640, 360), many)
    for left, top, width, height in many:
        inside = picture[int(top) + 20 : int(top + height) - 3]
        assert (inside[:, int(left) + 3 : int(left + width) - 3] == GREY).mean() > 0.5


def test_a_panel_stays_on_its_side():
    mark, names = made_mark((400.0, 200.0, 120.0, 140.0))
    overlay = Overlay(1280, 720, names)
    sides = set()
    for shift in range(0, 40, 2):
        picture = np.full((720, 1280, 3), GREY, np.uint8)
        left = 400.0 + shift
        moved = dataclasses.replace(mark, box=(left, 200.0, 120.0, 140.0))
        overlay.draw(picture, [moved], "")
        changed = (picture[260] != GREY).any(axis=-1)
        sides.add((changed[: int(left) - 10].any(), changed[int(left) + 130 :].any()))
    assert sides == {(False, True)}


def test_a_face_without_scores_has_its_box_and_number():
    changes = {"title": "", "bars": (), "point": None, "lines": ()}
    picture = drawn((640, 360), [(250.0, 120.0, 100.0, 100.0)], **changes)
    assert 0 < (picture != GREY).any(axis=-1).mean() < 0.01


@pytest.mark.parametrize("text", ["Ärger", "σοβαρός", "a&<b>", "笑顔", "\U0001f600"])
def test_text_of_any_letters_is_drawn(text):
    mask, _ = mask_of(text, 20)
    assert np.asarray(mask).any()
    assert 0 < width_of(text, 20) < 200


def test_long_text_ends_in_dots():
    text = fitted("a very long name of a unit that nobody reads", 12, 100)
    assert text.endswith("…")
    assert width_of(text, 12) <= 100
    assert fitted("short", 12, 100) == "short"
