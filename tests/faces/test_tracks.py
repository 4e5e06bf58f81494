"""Tracks of made boxes, and of two real faces in one video."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from avemo_jax.convert.torch_file import read_torch
from avemo_jax.faces import detection, yunet
from avemo_jax.faces.tracks import LONGEST_GAP_S, Tracker, is_cut, matches, outline
from avemo_jax.media.video import open_video

BOX = [100.0, 100.0, 40.0, 40.0]


def tracked(*frames, fps: float = 10, cuts: tuple[int, ...] = ()) -> list:
    """(frames, picks) of the tracks of lists of (left edge, score)."""
    tracker = Tracker()
    for number, faces in enumerate(frames, start=1):
        if number in cuts:
            tracker.cut()
        boxes = np.array([[x, *BOX[1:]] for x, _ in faces]).reshape(-1, 4)
        scores = np.array([score for _, score in faces])
        tracker.add(number, number / fps, boxes, scores)
    return [(track.frames, track.picks) for track in tracker.tracks]


def test_faces_that_pass_keep_their_tracks():
    """Two move past a third that stands; the boxes come in any order."""
    frames = [[(5 * i, 0.9), (300, 0.9)][:: (-1) ** i] for i in range(10)]
    assert tracked(*frames) == [
        (list(range(1, 11)), [i % 2 for i in range(10)]),
        (list(range(1, 11)), [1 - i % 2 for i in range(10)]),
    ]


def test_a_low_score_goes_on_but_begins_nothing():
    assert tracked([(0, 0.4)], [(0, 0.9)], [(2, 0.4)], [(200, 0.4)]) == [
        ([2, 3], [0, 0])
    ]
    # The better box is taken, though the other is nearer.
    assert tracked([(0, 0.9)], [(0, 0.4), (4, 0.9)]) == [([1, 2], [0, 1])]


def test_a_face_that_comes_back_soon_is_the_same():
    away = int(LONGEST_GAP_S * 10)
    near = [[(0, 0.9)], *[[]] * (away - 1), [(0, 0.9)]]
    assert tracked(*near) == [([1, away + 1], [0, 0])]
    late = [[(0, 0.9)], *[[]] * (away + 1), [(0, 0.9)]]
    assert tracked(*late) == [([1], [0]), ([away + 3], [0])]


def test_a_cut_ends_all_tracks():
    assert tracked([(0, 0.9)], [(0, 0.9)], cuts=(2,)) == [([1], [0]), ([2], [0])]


@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 200), st.sampled_from([0.4, 0.7, 0.9]))),
        max_size=8,
    )
)
@settings(deadline=None)
def test_a_box_is_in_one_track_at_most(frames):
    pairs = [
        list(zip(numbers, picks, strict=True)) for numbers, picks in tracked(*frames)
    ]
    for track in pairs:
        numbers = [number for number, _ in track]
        assert numbers == sorted(set(numbers)), "one box of a frame"
    every = list(itertools.chain(*pairs))
    assert len(every) == len(set(every))
    high = {
        (number, pick)
        for number, faces in enumerate(frames, start=1)
        for pick, (_, score) in enumerate(faces)
        if score > 0.6
    }
    for number, pick in high - set(every):
        box = frames[number - 1][pick][0]
        near = [x for x, _ in frames[number - 2] if abs(x - box) <= 26]
        assert number > 1, "each high score is in a track, or may show two faces"
        assert len(near) > 1, "each high score is in a track, or may show two faces"


def test_a_box_in_the_place_of_two_faces_is_nobodys():
    apart, one = [(0, 0.9), (40, 0.9)], [(20, 0.9)]
    assert tracked(apart, one, apart) == [([1, 3], [0, 0]), ([1, 3], [1, 1])]
    # Whom it fits much better has it.
    assert tracked(apart, [(4, 0.9)], apart)[0] == ([1, 2, 3], [0, 0, 0])
    # So has the one where the other has a box too, even of a low score.
    near, low = [(0, 0.9), (20, 0.9)], [(8, 0.9), (22, 0.4)]
    assert tracked(near, low) == [([1, 2], [0, 0]), ([1, 2], [1, 1])]
    assert tracked(near, low[:1]) == [([1], [0]), ([1], [1])]


def test_who_comes_out_in_front_of_a_face_does_not_take_over_its_track():
    """First with a low score, then in a box with the other, then alone."""
    behind, both, front = (0, 0.9), (17, 0.9), (30, 0.9)
    frames = [[behind], [behind, (30, 0.4)], [behind, (30, 0.4)], [both], [front]]
    assert tracked(*frames) == [([1, 2, 3], [0, 0, 0]), ([5], [0])]
    # The one behind comes back.
    assert tracked(*frames, [front, behind]) == [
        ([1, 2, 3, 6], [0, 0, 0, 1]),
        ([5, 6], [0, 0]),
    ]
    # One that moves as far, with nobody there, is followed.
    assert tracked([behind], [behind], [both], [front]) == [([1, 2, 3, 4], [0] * 4)]


def test_pairs_have_the_largest_sum():
    """The nearest pair alone would leave the other two apart."""
    old = [np.array([0.0, 0, 10, 10]), np.array([6.0, 0, 10, 10])]
    new = np.array([[3.5, 0, 10, 10], [11.0, 0, 10, 10]])
    assert matches(old, new) == [(0, 0), (1, 1)]
    assert matches(old, new[:0]) == []
    assert matches([], new) == []


def test_cuts():
    y, x = np.mgrid[:90, :160]
    scene = np.stack([x, y, x], axis=-1).astype(np.uint8)
    brighter = np.minimum(scene.astype(int) + 8, 255).astype(np.uint8)
    shifted = np.roll(scene, 4, axis=1)
    assert not is_cut(outline(scene), outline(brighter))
    assert not is_cut(outline(scene), outline(shifted))
    assert is_cut(outline(scene), outline(255 - scene))


@pytest.mark.release
def test_two_real_people_are_two_tracks(shared_data):
    """Frames in which both have crops, at four fifths of the video's size."""
    root = shared_data / "affwild2_mini"
    stored = read_torch(shared_data / "weights" / "yunet_n.pth")["state_dict"]
    params = jax.device_put(yunet.prepare({n: stored[n] for n in yunet.state_shapes()}))
    detect = jax.jit(detection.detect)
    tracker, before, cuts = Tracker(), None, 0
    (path,) = root.glob("videos/*/5-60-1920x1080-4.*")
    for number, picture in enumerate(open_video(path).pictures(), start=1):
        cuts += before is not None and is_cut(before, outline(picture))
        before = outline(picture)
        image = np.zeros((1, 544, 960, 3), np.uint8)
        image[0, :540] = np.asarray(Image.fromarray(picture))
        found = jax.device_get(detect(params, jnp.asarray(image)))
        kept = found.scores[0] > 0
        tracker.add(number, number / 25, found.boxes[0, kept], found.scores[0, kept])
    assert not cuts
    longest = sorted(tracker.tracks, key=lambda track: -len(track.frames))[:2]
    lengths = [len(track.frames) for track in longest]
    spans = [track.frames[-1] - track.frames[0] + 1 for track in longest]
    crops = len(list(root.glob("cropped_aligned_new_50_vids/5-60*_left/*.jpg")))
    assert spans == [crops, crops], "both stay for as long as they have crops"
    # In frame 98 boxes of two faces behind take the place of one of them.
    assert lengths == [crops, crops - 1]
