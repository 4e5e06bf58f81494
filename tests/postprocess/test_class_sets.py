"""Sets of classes: the rule by hand, and coverage of videos that were never seen."""

import numpy as np
import pytest
from scipy import special, stats

from avemo_jax.postprocess.class_sets import (
    class_sets,
    least_videos,
    set_limit,
    set_scores,
)

LEVEL = 0.75


def test_a_new_video_is_counted_with_the_others():
    """Three videos, level 0.6: shares have to add up to 0.6 x 4 = 2.4 videos."""
    right = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2])
    video = np.array([0, 0, 1, 1, 1, 1, 2, 2])
    # 0.9, 0.8: one whole video; 0.7 to 0.4: another; 0.3: half of the third, 2.5.
    assert set_limit(right, video, 0.6) == 0.3
    # Without the new video 0.6 x 3 = 1.8 would do, which 0.4 reaches.
    assert set_limit(right, video, 0.45) == 0.4
    assert set_limit(right[::-1], video[::-1], 0.6) == 0.3


def test_a_frame_of_a_long_video_weighs_less():
    right = np.array([0.9, *[0.1] * 99, 0.8, 0.7])
    video = np.array([0] * 100 + [1, 2])
    # 0.9 is a hundredth of its video: 0.01 + 1 + 1 is under 0.51 x 4.
    assert set_limit(right, video, 0.5025) == 0.7
    assert set_limit(right, video, 0.51) == 0.1


@pytest.mark.parametrize(
    ("level", "needed"), [(0.5, 1), (0.8, 4), (0.9, 9), (0.95, 19)]
)
def test_too_few_videos_for_a_level_make_every_set_all_classes(level, needed):
    assert least_videos(level) == needed
    right = np.linspace(0.9, 0.1, needed)
    assert set_limit(right, np.arange(needed), level) == right[-1]
    assert set_limit(right[1:], np.arange(needed - 1), level) == 0.0
    assert class_sets(np.eye(8, dtype=np.float32), 0.0).all()


def test_the_decided_class_is_always_in():
    probs = np.array([[0.4, 0.35, 0.25], [0.6, 0.3, 0.1]], np.float32)
    found = class_sets(probs, 0.5)
    assert found.tolist() == [[True, False, False], [True, False, False]]
    video = np.array([0, 0])
    scores = set_scores(probs, 0.5, np.array([0, 1], np.int8), video, 2)
    assert scores.coverage[0] == 0.5
    assert scores.size[0] == 1.0
    assert scores.added[0] == 0.5  # 0.4 alone would not have been in
    assert np.isnan(scores.coverage[1])
    assert scores.coverage_per_class[0, :2].tolist() == [1.0, 0.0]
    assert np.isnan(scores.coverage_per_class[0, 2])


def test_sets_of_new_videos_hold_the_right_class_as_often_as_asked_for():
    """And no rule of frames does: nine videos are far fewer than their frames."""
    rng = np.random.default_rng(0)
    draws, videos, deviation = 2_000, 9, 2.0
    # Videos differ much, the frames of one hardly.
    of_videos = deviation * rng.normal(size=(draws, videos, 1))
    logits = of_videos + 0.01 * rng.normal(size=(draws, videos, 8))
    video = np.repeat(np.arange(videos), 8)

    def coverage(limits: list[float]) -> np.ndarray:
        """Probability that the right class of a new video's frame is over a limit."""
        return stats.norm.sf(special.logit(limits), scale=deviation)

    known = special.expit(logits).reshape(draws, -1)
    frame = np.arange(known.shape[1])
    by_videos = coverage([set_limit(one, video, LEVEL) for one in known])
    by_frames = coverage([set_limit(one, frame, LEVEL) for one in known])
    plain = coverage(np.quantile(known, 1 - LEVEL, axis=1))
    error = 4 * np.std(by_videos) / np.sqrt(draws)
    assert LEVEL - error < by_videos.mean() < LEVEL + 1 / (videos + 1) + error
    # The margin tells the rules apart.
    assert by_frames.mean() < LEVEL - error
    assert plain.mean() < LEVEL - error
