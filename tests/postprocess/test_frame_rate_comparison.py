"""Rules that look at few frames: against plain loops, and what is chosen of them."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avemo_jax.metrics.scores import task_metrics
from avemo_jax.postprocess.frame_rate import (
    comparison,
    refinement,
    sequential,
    sequential_limits,
)
from avemo_jax.postprocess.frame_rate.comparison import (
    DenseSplit,
    RateChoice,
    RatePoint,
)
from avemo_jax.postprocess.frame_rate.fitting import (
    FIXED_STRIDES,
    fit_sequential,
    run_rules,
)
from avemo_jax.postprocess.frame_rate.rules import (
    FIXED,
    REFINED,
    SEQUENTIAL,
    SLIDING,
    FrameRateRule,
)
from avemo_jax.postprocess.smoothing import smooth
from avemo_jax.tasks import AU, EXPR, VA

pytestmark = pytest.mark.release

LENGTHS, HALF = (70, 33, 1), 6
SMOOTHING, MEAN = ("median", HALF), ("mean", HALF)  # means are compiled faster
THRESHOLDS = np.linspace(0.3, 0.7, 12).astype(np.float32)


def made(task, lengths=LENGTHS, seed=0):
    """Slow signals with noise, and labels that go with them."""
    rng = np.random.default_rng(seed)
    ends, total = np.cumsum(lengths), sum(lengths)
    lo = np.repeat(ends - lengths, lengths).astype(np.int32)
    hi = np.repeat(ends, lengths).astype(np.int32)
    slow = np.repeat(rng.normal(size=(total // 9 + 1, task.num_outputs)), 9, axis=0)
    noisy = slow[:total] + rng.normal(size=(total, task.num_outputs))
    scores = np.asarray(task.activate(jnp.asarray(noisy, jnp.float32)))
    if task is EXPR:
        labels = slow[:total].argmax(axis=1).astype(np.int8)
    elif task is AU:
        labels = (slow[:total] > 0).astype(np.int8)
    else:
        labels = np.tanh(slow[:total]).astype(np.float32)
    return DenseSplit(scores, lo, hi, labels, rng.random(total) < 0.9)


def windows(split, half=HALF):
    pairs = zip(split.lo, split.hi, strict=True)
    return [
        np.arange(max(i - half, lo), min(i + half + 1, hi))
        for i, (lo, hi) in enumerate(pairs)
    ]


@pytest.fixture(scope="module")
def fitted():
    """The rules and points of each task, fitted and evaluated on the same split."""
    found = {}
    for task, limits in ((EXPR, None), (AU, THRESHOLDS), (VA, None)):
        split = made(task)
        how = dict(smoothing=SMOOTHING if task is EXPR else MEAN, thresholds=limits)
        rules = comparison.rules_of_dev(task, split, **how)
        points = comparison.evaluate_rules(task, split, rules, **how)
        assert [point.rule for point in points] == list(rules)
        found[task.name] = split, how, points
    return found


@pytest.mark.parametrize("task", [EXPR, AU, VA], ids=lambda task: task.name)
def test_points_are_those_of_the_rules(task, fitted):
    split, how, points = fitted[task.name]
    scores, lo, hi, labels, mask = split
    families = comparison.by_family(points)
    assert (SEQUENTIAL in families) == (task is EXPR)
    assert [p.rule.strides[0] for p in families[FIXED]] == list(FIXED_STRIDES)
    confidence = {"EXPR": "top", "AU": "margin", "VA": "variation"}[task.name]
    for point in (families[FIXED][2], families[REFINED][-3]):
        rule = point.rule
        if rule.family == FIXED:
            expected = refinement.fixed_grid(
                scores, lo, hi, stride=rule.strides[0], smoothing=how["smoothing"]
            )
        else:
            expected = refinement.refined_grid(
                *(scores, lo, hi, np.float32(rule.limits)),
                0.5 if how["thresholds"] is None else how["thresholds"],
                strides=rule.strides,
                smoothing=how["smoothing"],
                confidence=confidence,
            )
        got = comparison.apply_rule(task, rule, scores, lo, hi, **how).refined
        np.testing.assert_allclose(got.scores, expected.scores, atol=1e-6)
        np.testing.assert_array_equal(got.embedded, expected.embedded)
        assert len(rule.strides) == 1 or 0 < np.mean(expected.embedded) < 1
        embedded = np.asarray(expected.embedded)
        assert point.share == pytest.approx(embedded.mean(), abs=1e-6)
        entries = [embedded[each].sum() for each in windows(split)]
        whole = sum(map(len, windows(split)))
        assert point.window_share == sum(entries) / whole
        metrics = task_metrics(task.name, got.scores, labels, mask, how["thresholds"])
        assert point.score == float(metrics[task.headline])
    full = families[FIXED][0]
    assert (full.share, full.window_share) == (1, 1)
    smoothed = smooth(scores, lo, hi, half_width=HALF, mode=how["smoothing"][0])
    metrics = task_metrics(task.name, smoothed, labels, mask, how["thresholds"])
    assert full.score == pytest.approx(float(metrics[task.headline]), abs=1e-6)


def test_more_doubt_embeds_more_frames(fitted):
    _, _, points = fitted["EXPR"]
    refined = comparison.by_family(points)[REFINED]
    by_strides = {}
    for point in refined:
        by_strides.setdefault(point.rule.strides, []).append(point.share)
    for strides, shares in by_strides.items():
        if len(strides) == 2:
            assert shares == sorted(shares)
    assert max(max(shares) for shares in by_strides.values()) > 0.5


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), limit=st.sampled_from((0.0, 0.2, 0.3, 0.5, 2.0)))
def test_rules_that_slide_are_the_plain_loop(seed, limit):
    split = made(EXPR, seed=seed)
    rules = [
        FrameRateRule(SEQUENTIAL, (7, 3, 1), (limit, limit * 0.9)),
        FrameRateRule(SLIDING, (3,)),
    ]
    rules.append(FrameRateRule(SLIDING, (1,)))
    outcomes = dict(run_rules(EXPR, *split[:3], rules, smoothing=SMOOTHING))
    for rule, outcome in outcomes.items():
        embedded, entries = np.zeros(len(split.lo), bool), 0
        for i, window in enumerate(windows(split)):
            for stride, least in zip(rule.strides, (*rule.limits, -1), strict=True):
                seen = window[::stride]
                embedded[seen] = True
                entries += len(seen)
                median = np.median(split.scores[seen], axis=0)
                if median.max() >= np.float32(least):
                    break
            np.testing.assert_array_equal(outcome.refined.scores[i], median)
        np.testing.assert_array_equal(outcome.refined.embedded, embedded)
        assert outcome.window_share == entries / sum(map(len, windows(split)))
    assert outcomes[rules[-1]].window_share == 1


def test_sequential_rules_are_those_of_the_compiled_one():
    split = made(EXPR)
    rules = fit_sequential(*split, HALF)
    lists = tuple(rule.strides for rule in rules[: len(rules) // 2])
    assert all(len(each) > 1 for each in lists)
    assert [r.strides for r in rules[len(lists) :]] == list(lists)
    strides = sequential.all_strides(lists)
    by_stride = sequential.stride_entries(split.lo, split.hi, strides, HALF)
    medians = sequential.all_medians(
        split.scores, by_stride, strides=strides, half_width=HALF
    )
    levels = sequential_limits.benjamini_hochberg_levels(lists)
    rows = sequential_limits.fit_thresholds(
        medians, split.labels, split.mask, levels, strides
    )
    expected = sequential.sequential(
        split.scores, by_stride, rows, lists=lists, half_width=HALF
    )
    ours = rules[len(lists) :]
    assert {rule.fitted_by for rule in ours} == {"Benjamini-Hochberg"}
    found = dict(run_rules(EXPR, *split[:3], ours, smoothing=SMOOTHING))
    whole = sum(map(len, windows(split)))
    for number, rule in enumerate(ours):
        outcome = found[rule]
        classes = np.asarray(outcome.refined.scores).argmax(axis=1)
        np.testing.assert_array_equal(classes, expected.classes[number])
        np.testing.assert_array_equal(
            outcome.refined.embedded, expected.embedded[number]
        )
        assert outcome.window_share == int(expected.entries[number].sum()) / whole


def point(share, score, family=FIXED, strides=(1,), limits=()):
    share = float(share)
    return RatePoint(FrameRateRule(family, strides, limits), share, share, score)


def test_choice_takes_the_fewest_frames_within_the_tolerance():
    full = point(1.0, 0.5)
    fixed = point(0.1, 0.4985, FIXED, (10,))
    ours = point(0.05, 0.4981, REFINED, (50, 10), (0.3,))
    poor = point(0.01, 0.4979, REFINED, (100, 10), (0.3,))
    assert comparison.choose_rule([full, fixed, ours, poor]).rule == ours.rule
    assert comparison.choose_rule([full, fixed, poor]).rule == fixed.rule
    assert comparison.choose_rule([poor, full]).rule == full.rule
    assert comparison.choose_rule([poor, full], tolerance=0.01).rule == poor.rule
    # a fixed stride of the same share is the choice, though ours is better
    equal = point(0.1, 0.6, REFINED, (50, 10), (0.3,))
    choice = comparison.choose_rule([full, equal, fixed])
    assert choice == RateChoice(fixed.rule, 0.1, 0.4985, 0.5)
    with pytest.raises(ValueError, match="without the fixed stride 1"):
        comparison.choose_rule([fixed, ours])


def test_choices_survive_json_and_do_the_same_again(fitted):
    split, how, points = fitted["EXPR"]
    families = comparison.by_family(points)
    picked = [families[name][-1] for name in (FIXED, REFINED, SLIDING, SEQUENTIAL)]
    for one in picked:
        choice = RateChoice(one.rule, one.share, one.score, 0.5)
        again = RateChoice.from_dict(
            json.loads(json.dumps(choice.to_dict(), allow_nan=False))
        )
        assert again == choice
        got = comparison.apply_rule(EXPR, again.rule, *split[:3], **how).refined
        metrics = task_metrics("EXPR", got.scores, split.labels, split.mask)
        assert float(metrics["f1_macro"]) == one.score
        assert float(np.asarray(got.embedded).mean()) == one.share
    reach = FrameRateRule(REFINED, (8, 2), (0.4,), reach=3)
    assert FrameRateRule.from_dict(reach.to_dict()) == reach
    with pytest.raises(ValueError, match="choose the rule anew"):
        FrameRateRule.from_dict({"family": FIXED, "strides": [1]})


def test_thresholds_that_are_never_reached_are_json():
    split = made(EXPR)._replace(mask=np.zeros(sum(LENGTHS), bool))
    rules = fit_sequential(*split, HALF)
    assert {limit for rule in rules for limit in rule.limits} == {2.0}


def test_reach_is_used():
    split = made(EXPR)
    rules = [
        FrameRateRule(REFINED, (20, 1), (0.35,), reach=reach) for reach in (0, 3, None)
    ]
    points = comparison.evaluate_rules(EXPR, split, rules, smoothing=SMOOTHING)
    assert points[0].share < points[1].share < points[2].share


def test_upper_envelope():
    points = [point(*pair) for pair in ((1, 0.5), (0.1, 0.3), (0.2, 0.2), (0.1, 0.4))]
    points += [point(0.05, 0.1), point(0.6, 0.5)]
    got = [(p.share, p.score) for p in comparison.upper_envelope(points)]
    assert got == [(0.05, 0.1), (0.1, 0.4), (0.6, 0.5)]


def test_points_of_rules_that_are_best_on_dev():
    ours = [(REFINED, (50, 10), (limit,)) for limit in (0.2, 0.3, 0.4)]
    dev = [point(0.1, 0.4, *ours[0]), point(0.2, 0.3, *ours[1])]
    dev += [point(0.3, 0.5, *ours[2]), point(1, 0.1)]
    other = [point(0.1, 0.1, *ours[0]), point(0.2, 0.9, *ours[1])]
    other += [point(0.3, 0.0, *ours[2]), point(1, 0.8)]
    got = comparison.best_of_dev(dev, other)
    assert got == [other[0], other[2], other[3]]


def test_area_is_signed():
    below = [point(0.01, 0.4), point(1.0, 0.4)]
    above = [point(0.1, 0.4), point(1.0, 0.6)]
    got = comparison.area_between(above, below)
    assert got.area == pytest.approx(0.1 * np.log(10))
    assert (got.mean, got.low, got.high) == (pytest.approx(0.1), 0.1, 1.0)
    other = comparison.area_between(below, above)
    assert (other.area, other.mean) == pytest.approx((-got.area, -got.mean))
    assert comparison.area_between(above, above).area == 0
    # level after the best point; a worse one with more frames changes nothing
    level = [point(0.1, 0.4), point(0.5, 0.6), point(1.0, 0.1)]
    expected = 0.1 * np.log(5) + 0.2 * np.log(2)
    assert comparison.area_between(level, below).area == pytest.approx(expected)
    assert not np.isclose(got.area, expected)


def test_seconds_saved():
    assert comparison.seconds_saved(0.25, 1000, 50.0) == 15
    assert comparison.seconds_saved(1.0, 1000, 50.0) == 0
    for wrong in ((1.5, 10, 5.0), (0.5, -1, 5.0), (0.5, 10, 0.0)):
        with pytest.raises(ValueError, match="measure the rate"):
            comparison.seconds_saved(*wrong)


@pytest.mark.parametrize(
    ("family", "strides", "limits"),
    [
        (FIXED, (2, 1), ()),
        (FIXED, (2, 1), (0.5,)),
        (SLIDING, (2,), (0.5,)),
        (REFINED, (4, 2), ()),
        (REFINED, (2, 4), (0.5,)),
        (SEQUENTIAL, (4, 0), (0.5,)),
    ],
)
def test_wrong_rules_are_refused(family, strides, limits):
    with pytest.raises(ValueError, match="expected"):
        FrameRateRule(family, strides, limits)


def test_wrong_arguments_are_refused():
    split = made(AU)
    sequential = [FrameRateRule(SEQUENTIAL, (4, 1), (0.5,))]
    how = dict(smoothing=SMOOTHING)
    with pytest.raises(ValueError, match="for EXPR only"):
        comparison.evaluate_rules(AU, split, sequential, **how)
    nothing = split._replace(mask=np.zeros(len(split.lo), bool))
    with pytest.raises(ValueError, match="none of 104 frames counts"):
        comparison.evaluate_rules(AU, nothing, [FrameRateRule(FIXED, (1,))], **how)
    scores = split.scores.copy()
    scores[3, 1] = np.nan
    for family in (FIXED, SLIDING):
        with pytest.raises(ValueError, match="NaN or infinite"):
            comparison.apply_rule(
                AU, FrameRateRule(family, (2,)), scores, *split[1:3], **how
            )
    with pytest.raises(ValueError, match="negative"):
        FrameRateRule(REFINED, (4, 2), (0.5,), reach=-1)
    one = [point(0.5, 0.1)]
    for pair in ((one, []), (one, one)):
        with pytest.raises(ValueError, match="evaluate both"):
            comparison.area_between(*pair)
