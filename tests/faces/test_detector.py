"""Pictures of many sizes through the detector, on real faces."""

import numpy as np
import pytest
from PIL import Image

from avemo_jax.convert.torch_file import read_torch
from avemo_jax.faces import yunet
from avemo_jax.faces.boxes import overlaps
from avemo_jax.faces.detector import FaceDetector, canvas, reduced
from avemo_jax.media.video import open_video


@pytest.fixture(scope="module")
def detector(shared_data) -> FaceDetector:
    stored = read_torch(shared_data / "weights" / "yunet_n.pth")["state_dict"]
    return FaceDetector({name: stored[name] for name in yunet.state_shapes()})


@pytest.fixture(scope="module")
def picture(shared_data) -> np.ndarray:
    """The first frame of a film of one person, 640 x 360."""
    (path,) = shared_data.glob("affwild2_mini/videos/*/1-30-1280x720.mp4")
    return next(open_video(path).pictures())


@pytest.mark.release
def test_a_face_is_found_at_any_size(detector, picture):
    """The same face in pictures of other sizes and shapes, in their own pixels."""
    (face,) = detector([picture])[0].boxes
    image = Image.fromarray(picture)
    twice = np.asarray(image.resize((1280, 720), Image.Resampling.BICUBIC))
    half = np.asarray(image.resize((320, 180), reducing_gap=2.0))
    # Upright: the left part alone, and with black below.
    upright = np.zeros((600, 330, 3), np.uint8)
    left = int(face[0] + face[2] / 2) - 165
    upright[:360] = picture[:, left : left + 330]
    found = detector([twice, half, upright])
    expected = [face * 2, face / 2, face - [left, 0, 0, 0]]
    for frame, box in zip(found, expected, strict=True):
        assert len(frame.boxes) == 1
        assert overlaps(frame.boxes, box[None])[0, 0] > 0.85
        inside = (frame.points[0] - frame.boxes[0, :2]) / frame.boxes[0, 2:]
        assert ((inside > 0) & (inside < 1)).all()
    assert detector([]) == []
    assert not len(detector([np.zeros((40, 50, 3), np.uint8)])[0].boxes)


@pytest.mark.slow
def test_a_small_face_of_a_large_picture_has_the_points_of_the_whole_one(
    detector, picture, monkeypatch
):
    """A face of 70 pixels in a picture of 1920 x 1088, which is reduced to a third."""
    (points,) = detector([picture])[0].points
    image = Image.fromarray(picture).resize((213, 120), reducing_gap=2.0)
    large = np.zeros((1088, 1920, 3), np.uint8)
    large[608:728, 992:1205] = np.asarray(image)
    third = (points + 0.5) / 3 - 0.5 + [992, 608]
    (near,) = detector([large])[0].points
    monkeypatch.setattr("avemo_jax.faces.detector.LONG_SIDE_PX", 1920)
    monkeypatch.setattr("avemo_jax.faces.detector.CANVASES", ((1088, 1920),))
    (whole,) = detector([large])[0].points
    monkeypatch.undo()
    assert np.abs(near - whole).max() < 0.4, "what lies around tells a bit"
    assert np.abs(near - third).max() < 3


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((1080, 1920), (360, 640)),
        ((1920, 1080), (640, 360)),
        ((360, 640), (360, 640)),
        ((144, 176), (144, 176)),
        ((1, 5000), (1, 640)),
    ],
)
def test_reduced_pictures(size, expected):
    assert reduced(np.zeros((*size, 3), np.uint8)).shape == (*expected, 3)


def test_canvases():
    assert canvas([(144, 176)]) == (256, 256)
    assert canvas([(360, 640)]) == (384, 640)
    assert canvas([(144, 176), (200, 300)]) == (384, 640)
    assert canvas([(640, 360)]) == (640, 384)
    assert canvas([(480, 640)]) == (640, 640)
    assert canvas([(640, 360), (360, 640)]) == (640, 640)
