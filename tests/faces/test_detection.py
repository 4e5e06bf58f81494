"""Detections against plain loops, and on real faces."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from avemo_jax.convert.torch_file import read_torch
from avemo_jax.faces import detection, yunet
from avemo_jax.faces.boxes import overlaps
from avemo_jax.media.images import read_image

suppressed = jax.jit(detection._without_doubles, static_argnums=1)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union, in plain words."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    union = a[2] * a[3] + b[2] * b[3] - shared
    return shared / union if union > 0 else 0.0


boxes_of = st.lists(
    st.tuples(*[st.integers(0, 20)] * 2, *[st.integers(0, 10)] * 2),
    min_size=1,
    max_size=8,
)


@given(boxes_of, boxes_of)
@settings(deadline=None)
def test_overlaps(first, second):
    a, b = (np.asarray(boxes, np.float64) for boxes in (first, second))
    expected = [[overlap(x, y) for y in b] for x in a]
    np.testing.assert_allclose(overlaps(a, b), expected, atol=1e-12)


def kept_by_loop(boxes: np.ndarray, scores: np.ndarray, least: float) -> list[int]:
    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable"):
        clear = all(overlap(boxes[i], boxes[j]) <= detection.MAX_OVERLAP for j in kept)
        if scores[i] >= least and clear:
            kept.append(int(i))
    return kept


@given(arrays.arrays(np.int64, (12, 5), elements=st.integers(0, 30)))
@settings(deadline=None)
def test_of_doubles_the_best_is_kept(numbers):
    boxes = numbers[:, :4].astype(np.float32) + np.float32([0, 0, 4.1, 4.3])
    # No two scores are one, so that the order is certain.
    scores = (numbers[:, 4] / 32 + np.arange(12) / 1000).astype(np.float32)
    points = np.repeat(np.arange(12, dtype=np.float32), 10).reshape(12, 5, 2)
    found = jax.device_get(suppressed(detection.Detections(boxes, points, scores), 0.3))
    kept = kept_by_loop(boxes, scores, 0.3)
    count = len(kept)
    np.testing.assert_array_equal(found.boxes[:count], boxes[kept])
    np.testing.assert_array_equal(found.points[:count, 0, 0], kept)
    np.testing.assert_array_equal(found.scores[:count], scores[kept])
    assert not np.asarray(found.scores[count:]).any()


def test_a_crowd_has_as_many_faces_as_are_told():
    """A hundred faces of three places each, which lie nearly where the first is."""
    left, top = (axis.ravel() for axis in np.meshgrid(np.arange(10), np.arange(10)))
    one = np.stack([left * 30, top * 30, np.full(100, 20), np.full(100, 20)], axis=1)
    boxes = np.repeat(one.astype(np.float32), 3, axis=0)
    boxes[:, 0] += np.tile(np.arange(3, dtype=np.float32), 100)
    scores = np.linspace(0.95, 0.5, 300, dtype=np.float32)
    points = np.zeros((300, 5, 2), np.float32)
    found = suppressed(detection.Detections(boxes, points, scores), 0.3)
    np.testing.assert_array_equal(found.boxes, one[: detection.MAX_FACES])
    assert (np.asarray(found.scores) > 0.3).all()


def test_places_become_pixels():
    """A 64 x 32 picture has 8 x 4, 4 x 2 and 2 x 1 places."""
    count = 32 + 8 + 2
    box, points = np.zeros((1, count, 4)), np.zeros((1, count, 10))
    half = np.full((1, count), 0.25)
    box[0, 9] = [0.5, 0.25, 0, np.log(2)]  # second row, second place of 8 pixels
    points[0, 41] = np.arange(10)  # the last, at 32 pixels
    decoded = jax.jit(detection.decoded, static_argnums=1)
    found = decoded(yunet.Raw(half, half * 4, box, points), (32, 64))
    found = jax.device_get(found)
    np.testing.assert_allclose(found.boxes[0, 9], [8, 2, 8, 16], rtol=1e-6)
    expected = np.arange(10).reshape(5, 2) * 32 + [32, 0]
    np.testing.assert_allclose(found.points[0, 41], expected)
    np.testing.assert_allclose(found.scores, 0.5)


@pytest.mark.slow
def test_no_face_scores_nothing():
    """A network of zeros scores .5 everywhere."""
    zeros = {n: np.zeros(s, np.float32) for n, s in yunet.state_shapes().items()}
    params = yunet.prepare(zeros)
    images = np.zeros((2, 32, 64, 3), np.uint8)
    detect = jax.jit(detection.detect, static_argnames="min_score")
    some = np.asarray(detect(params, images, min_score=0.4).scores)
    assert some.shape == (2, 42)
    assert some.any()
    assert not np.asarray(detect(params, images, min_score=0.6).scores).any()


def test_faces_of_real_crops_are_found_where_they_are(shared_data):
    """The points of crops that were aligned by another detector."""
    from avemo_jax.faces.crops import ARCFACE_TEMPLATE

    stored = read_torch(shared_data / "weights" / "yunet_n.pth")["state_dict"]
    params = yunet.prepare({n: stored[n] for n in yunet.state_shapes()})
    folder = shared_data / "affwild2_mini" / "cropped_aligned" / "1-30-1280x720"
    files = sorted(folder.glob("*.jpg"))[::10]
    images = np.zeros((len(files), 160, 160, 3), np.uint8)
    for image, file in zip(images, files, strict=True):
        image[24:136, 24:136] = np.asarray(Image.fromarray(read_image(file)))
    detect = jax.jit(detection.detect)
    found = jax.device_get(detect(params, images))
    assert (np.asarray(found.scores[:, 0]) > 0.85).all()
    assert not np.asarray(found.scores[:, 1:]).any()
    away = np.asarray(found.points[:, 0]) - 24 - ARCFACE_TEMPLATE
    assert np.abs(np.median(away, axis=0)).max() < 5.5, "pixels of 112"
