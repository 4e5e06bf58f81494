"""What is chosen on dev, and what the choice makes of another split."""

import dataclasses
import json

import numpy as np
import pytest
from made.tables import made_table

from avemo_jax.data.store.table import FrameTable
from avemo_jax.evaluation.dev_selection import select_on_dev
from avemo_jax.models.frame_scores import (
    SplitScores,
    blended,
    corrected_rows,
    dense_scores,
    table_fill_map,
    trusted_of,
    warn_of_lost,
)
from avemo_jax.models.options import Options
from avemo_jax.models.selection import NO_SMOOTHING, Selection
from avemo_jax.postprocess.smoothed_frames import Trusted
from avemo_jax.postprocess.smoothing_sweep import score_smoothings

FEW = Options(smoothings=(NO_SMOOTHING, ("mean", 5)))


def scores_like(table: FrameTable, noise: float, seed: int) -> np.ndarray:
    """Scores of the rows that say the labels, the louder the noise the less."""
    rng = np.random.default_rng(seed)
    outputs = table.task.num_outputs
    random = rng.normal(size=(table.num_rows, outputs))
    if table.task.name == "EXPR":
        logits = 2 * np.eye(8)[np.maximum(table.labels, 0)] + noise * random
        scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    elif table.task.name == "AU":
        scores = 1 / (1 + np.exp(1 - 2 * (table.labels == 1) - noise * random))
    else:
        scores = np.tanh(np.nan_to_num(table.labels) + noise * random)
    return scores.astype(np.float32)


def predicted(task="EXPR", *noises, split="dev", causal=False, extractor=None):
    """One head for each of the noises; as many seeds as a noise has numbers."""
    table = made_table(task, split=split, frames=60)
    scores = [
        [scores_like(table, one, 10 * m + s) for s, one in enumerate(head)]
        for m, head in enumerate(noises or [(1.0, 1.0)])
    ]
    fill_map = table_fill_map(table, faithful=False, causal=causal)
    return SplitScores(table, fill_map, np.stack(scores), extractor)


def dev_score(one: SplitScores, rows: np.ndarray, smoothing, **how) -> np.ndarray:
    """The headline of each seed, as the sweep has it."""
    labels = one.table.dense_labels
    found = score_smoothings(
        one.task, rows, one.fill_map, labels, smoothings=[smoothing], **how
    )
    given = "_given" if "thresholds" in how else ""
    return found[smoothing][f"with_crop{given}"][one.task.headline]


# --- Filling --------------------------------------------------------------------------


@pytest.mark.parametrize("faithful", [False, True])
@pytest.mark.parametrize("split", ["train", "test"])
def test_frames_are_filled_from_labelled_rows_or_all(split, faithful):
    """The original's way takes labelled rows; where there are no labels, all."""
    table = made_table(split=split)
    fill_map = table_fill_map(table, faithful=faithful)
    assert fill_map.has_rows.all()
    only_valid = faithful and split == "train"
    used = table.valid if only_valid else np.ones(len(table.frame), bool)
    if split == "train":
        assert 0 < table.valid.sum() < len(table.frame)
    starts = np.repeat(table.dense_offsets[:-1], np.diff(table.row_offsets))
    expected = np.zeros(fill_map.num_frames, bool)
    expected[(starts + table.frame - 1)[used]] = True
    np.testing.assert_array_equal(~fill_map.filled, expected)


def by_hand(frames: list[list[int]], lengths: list[int]) -> FrameTable:
    """EXPR videos with rows at these frames, and labels everywhere."""
    table = made_table(split="dev", videos=len(frames))
    counts = [len(rows) for rows in frames]
    total = sum(counts)
    return dataclasses.replace(
        table,
        frame=np.concatenate(frames).astype(np.int32),
        row_offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        num_frames=np.array(lengths, np.int32),
        **{n: getattr(table, n)[:total] for n in ("features", "has_audio")},
        labels=np.zeros(total, np.int8),
        valid=np.ones(total, bool),
        dense_labels=np.zeros(sum(lengths), np.int8),
    )


def test_causal_frames_hold_the_last_row_before_them(caplog):
    """Neutral before a video's first row, and no window mixes that with scores."""
    table = by_hand([[3, 6], [], [1]], [7, 2, 3])
    fill_map = table_fill_map(table, faithful=False, causal=True)
    rows = np.zeros((1, 3, 8), np.float32)
    rows[0, :, 0] = [1.0, 3.0, 5.0]
    one = SplitScores(table, fill_map, rows[None])
    (dense,) = np.asarray(dense_scores(one, rows, [NO_SMOOTHING], causal=True))
    n = 1 / 8
    np.testing.assert_array_equal(dense[:, 0], [n, n, 1, 1, 1, 3, 3, n, n, 5, 5, 5])
    (dense,) = np.asarray(dense_scores(one, rows, [("mean", 2)], causal=True))
    expected = [n, n, 1, 1, 1, 5 / 3, 7 / 3, n, n, 5, 5, 5]
    np.testing.assert_allclose(dense[:, 0], expected, rtol=1e-6)
    # The frames before the first row are no lost video.
    warn_of_lost(table, fill_map)
    (record,) = [r for r in caplog.records if "no features" in r.getMessage()]
    assert "1 videos" in record.getMessage()
    assert record.getMessage().endswith(": dev01")


@pytest.mark.parametrize(
    ("task", "mode"),
    [
        ("EXPR", "none"),
        ("AU", "mean"),
        pytest.param("VA", "median", marks=pytest.mark.slow),
        pytest.param("EXPR", "gaussian", marks=pytest.mark.slow),
    ],
)
def test_causal_scores_do_not_see_what_comes_later(task, mode):
    """Neither other scores of later rows, nor later rows that are not there."""
    one = predicted(task, (1.0, 2.0), causal=True)
    table, rows = one.table, one.scores[0]
    smoothings = [(mode, 0 if mode == "none" else 6)] * 2
    before = np.asarray(dense_scores(one, rows, smoothings, causal=True))
    start, end = table.dense_offsets[2:4]  # of the third video
    filled = np.flatnonzero(one.fill_map.filled[start:end])
    cut = int(filled[len(filled) // 2]) + 1  # frames up to a gap are the past
    later = (table.dense_index >= start + cut) & (table.dense_index < end)
    assert later.any()

    def same(other, changed):
        after = np.asarray(dense_scores(other, changed, smoothings, causal=True))
        past = np.r_[0 : start + cut, end : len(table.dense_labels)]
        # Means of windows are sums whose last digit hangs on all that is summed.
        atol = 1e-6 if mode in ("mean", "gaussian") else 0
        np.testing.assert_allclose(after[:, past], before[:, past], rtol=0, atol=atol)
        apart = np.abs(after[:, start + cut : end] - before[:, start + cut : end])
        assert apart.max() > 1e-3

    changed = rows.copy()
    changed[:, later] = changed[:, later][:, ::-1] ** 2
    same(one, changed)
    kept = dataclasses.replace(
        table,
        **{n: getattr(table, n)[~later] for n in ("frame", "labels", "valid")},
        **{n: getattr(table, n)[~later] for n in ("features", "has_audio")},
        row_offsets=np.searchsorted(np.flatnonzero(~later), table.row_offsets),
    )
    fill_map = table_fill_map(kept, faithful=False, causal=True)
    same(SplitScores(kept, fill_map, rows[None, :, ~later]), rows[:, ~later])


def test_causal_scores_with_the_extractor_do_not_see_what_comes_later():
    one = predicted("EXPR", (1.0,), causal=True)
    extractor = scores_like(one.table, 0.5, 5)
    rows, level = one.scores[0], np.array([0.5], np.float32)

    def dense(probs):
        trusted = Trusted(probs, level)
        found = dense_scores(one, rows, [("mean", 4)], causal=True, trusted=trusted)
        return np.asarray(found[0])

    changed = extractor.copy()
    changed[one.table.num_rows // 2 :] = 1 / 8
    cut = one.table.dense_index[one.table.num_rows // 2]
    before, after = dense(extractor), dense(changed)
    np.testing.assert_allclose(before[:cut], after[:cut], rtol=0, atol=1e-6)
    assert np.abs(before[cut:] - after[cut:]).max() > 1e-3


@pytest.mark.slow
def test_causal_windows_are_chosen_as_such():
    smoothing = ("mean", 3)
    dev = predicted("EXPR", (2.0,), causal=True)
    found = select_on_dev(dev, Options(smoothings=(smoothing,), causal=True))
    causal, centred = (
        dev_score(dev, dev.scores[0], smoothing, causal=way)[0] for way in (True, False)
    )
    assert np.float32(found.dev_scores[0]) == causal != centred


# --- Blends ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "task",
    [
        "EXPR",
        pytest.param("AU", marks=pytest.mark.slow),
        pytest.param("VA", marks=pytest.mark.slow),
    ],
)
def test_weights_favour_the_better_member_of_each_seed(task):
    """Of seed 0 the first head is the better one, of seed 1 the second."""
    dev = predicted(task, (0.5, 6.0), (6.0, 0.5))
    # The fixed window of EXPR is wider than these videos.
    options = Options(smoothings=(NO_SMOOTHING,)) if task == "EXPR" else FEW
    found = select_on_dev(dev, options)
    assert found.weights.shape == (2, 2)
    assert found.weights[0, 0] > 0.5 > found.weights[0, 1]
    assert found.weights[1, 1] > 0.5 > found.weights[1, 0]
    np.testing.assert_allclose(found.weights.sum(axis=1), 1)
    rows = corrected_rows(dev, found)
    for seed, weights in enumerate(found.weights):
        expected = weights[0] * dev.scores[0, seed] + weights[1] * dev.scores[1, seed]
        np.testing.assert_allclose(rows[seed], expected, rtol=1e-6)
    for seed in (0, 1):
        worse = dev.scores[1 - seed, seed][None]
        assert found.dev_scores[seed] > dev_score(dev, worse, found.smoothings[seed])[0]


def test_a_member_alone_has_no_weights_and_weights_of_one_are_that_head():
    dev = predicted("EXPR", (0.5, 6.0), (6.0, 0.5))
    assert select_on_dev(predicted(), FEW).weights is None
    first = blended(dev.scores, np.array([[1, 0], [1, 0]], np.float32))
    np.testing.assert_array_equal(first, dev.scores[0])
    mixed = blended(dev.scores, np.array([[1, 0], [0, 1]], np.float32))
    np.testing.assert_array_equal(mixed, [dev.scores[0, 0], dev.scores[1, 1]])
    with pytest.raises(ValueError, match="2 heads without weights; expected one"):
        blended(dev.scores, None)


@pytest.mark.slow
def test_the_same_is_chosen_again():
    dev = predicted("AU", (1.0, 2.0), (2.0, 1.0))
    first, second = (select_on_dev(dev, FEW).to_dict() for _ in range(2))
    assert json.dumps(first) == json.dumps(second)


# --- Corrections ----------------------------------------------------------------------


@pytest.mark.slow
def test_a_correction_is_never_worse_on_dev_and_is_applied_elsewhere():
    """Elsewhere by hand: softmax of log p / temperature + offsets."""
    priors = np.array([0.5, 0.2, 0.1, 0.1, 0.04, 0.03, 0.02, 0.01])
    noisy = [(1.5, 2.5)]
    dev = predicted("EXPR", *noisy)
    tilted = dev.scores * priors.astype(np.float32)
    dev = dataclasses.replace(dev, scores=tilted / tilted.sum(axis=-1, keepdims=True))
    none = select_on_dev(dev, FEW)
    wanted = dataclasses.replace(FEW, correction="prior")
    found = select_on_dev(dev, wanted, priors)
    assert none.offsets is None
    assert all(np.array(found.dev_scores) > none.dev_scores)
    logs = np.log(priors)
    for offsets in found.offsets:
        strength = -offsets / (logs - logs.mean())
        np.testing.assert_allclose(strength, strength[0], rtol=1e-4)
        assert strength[0].round(4) in (0.25, 0.5, 0.75, 1)
    other = predicted("EXPR", *noisy, split="validation")
    again = Selection.from_dict(json.loads(json.dumps(found.to_dict())))
    rows = corrected_rows(other, again)
    for seed, (t, offsets) in enumerate(
        zip(found.temperatures, found.offsets, strict=True)
    ):
        logits = np.log(other.scores[0, seed].astype(np.float64)) / t + offsets
        by_hand = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
        np.testing.assert_allclose(rows[seed], by_hand, rtol=1e-4)
        score = dev_score(
            dev, corrected_rows(dev, found)[seed][None], found.smoothings[seed]
        )
        np.testing.assert_allclose(score[0], found.dev_scores[seed], atol=1e-6)


@pytest.mark.slow
def test_a_correction_that_helps_nothing_is_none():
    """Perfect scores: the first candidate leaves them bit for bit."""
    dev = predicted("EXPR", (0.0,))
    wanted = Options(smoothings=(NO_SMOOTHING,), correction="prior")
    found = select_on_dev(dev, wanted, np.full(8, 1 / 8))
    assert found.temperatures.tolist() == [1]
    assert not found.offsets.any()
    assert found.dev_scores == select_on_dev(dev, FEW).dev_scores
    np.testing.assert_array_equal(corrected_rows(dev, found), dev.scores[0])


def test_a_correction_without_known_shares_is_refused():
    wanted = dataclasses.replace(FEW, correction="prior")
    message = "classes' shares in training are unknown; .* train it anew, or set 'none'"
    with pytest.raises(ValueError, match=message):
        select_on_dev(predicted(), wanted)


# --- The extractor's own probabilities ------------------------------------------------


def test_the_extractor_is_trusted_where_it_is_right():
    """It knows better than the seeds; and its confidence is what dev says."""
    dev = predicted("EXPR", (4.0, 4.0))
    sure = scores_like(dev.table, 0.0, 0) ** 4
    sure /= sure.sum(axis=1, keepdims=True)
    dev = dataclasses.replace(dev, extractor=sure)
    wanted = dataclasses.replace(FEW, trust_extractor=True)
    found = select_on_dev(dev, wanted)
    never = select_on_dev(dev, FEW)
    assert never.confidences is None
    assert trusted_of(dev, never) is None
    assert (found.confidences < 1).all()
    assert all(np.array(found.dev_scores) > never.dev_scores)
    for seed, smoothing in enumerate(found.smoothings):
        trusted = Trusted(sure, found.confidences[seed : seed + 1])
        rows = corrected_rows(dev, found)[seed : seed + 1]
        score = dev_score(dev, rows, smoothing, trusted=trusted)
        np.testing.assert_allclose(score[0], found.dev_scores[seed], atol=1e-6)


def test_an_extractor_that_is_wrong_is_never_trusted():
    """Then all is bit for bit as without it."""
    dev = predicted("EXPR", (0.5, 0.5))
    wrong = np.roll(scores_like(dev.table, 0.0, 0), 1, axis=1) ** 8
    wrong /= wrong.sum(axis=1, keepdims=True)
    dev = dataclasses.replace(dev, extractor=wrong)
    found = select_on_dev(dev, dataclasses.replace(FEW, trust_extractor=True))
    assert found.confidences.tolist() == [1, 1]
    without = select_on_dev(dev, FEW)
    assert found.smoothings == without.smoothings
    np.testing.assert_allclose(found.dev_scores, without.dev_scores, atol=1e-6)
    certain = np.zeros_like(wrong)
    certain[:, 0] = 1
    for probs in (wrong, certain):
        trusted = Trusted(probs, found.confidences)
        rows = corrected_rows(dev, found)
        np.testing.assert_array_equal(
            dense_scores(dev, rows, found.smoothings, trusted=trusted),
            dense_scores(dev, rows, found.smoothings),
        )


# --- Thresholds -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fps", "half"),
    [(30.0, 7), pytest.param(60.0, 14, marks=pytest.mark.slow), (np.nan, 7)],
)
def test_thresholds_for_half_a_second(fps, half):
    """They are those that would be chosen if this were the only smoothing."""
    dev = predicted("AU", (1.5, 3.0))
    rates = np.full(len(dev.table.videos), fps, np.float32)
    table = dataclasses.replace(dev.table, fps=rates)
    dev = dataclasses.replace(dev, table=table)
    found = select_on_dev(dev, FEW)
    alone = select_on_dev(dev, Options(smoothings=(("mean", half),)))
    np.testing.assert_array_equal(found.short_thresholds, alone.thresholds)
    assert (found.short_thresholds != found.raw_thresholds).any()
    assert select_on_dev(predicted("VA"), FEW).short_thresholds is None


def test_rules_of_thresholds():
    """Exact ones are at least as good on dev as those of the grid; fixed ones .5."""
    dev = predicted("AU", (1.5, 3.0))
    found = {
        rule: select_on_dev(dev, dataclasses.replace(FEW, threshold_rule=rule))
        for rule in ("grid", "exact", "fixed")
    }
    for limits in (found["fixed"].thresholds, found["fixed"].raw_thresholds):
        np.testing.assert_array_equal(limits, np.full((2, 12), 0.5, np.float32))
    scores = {rule: np.array(one.dev_scores) for rule, one in found.items()}
    assert (scores["exact"] > scores["grid"]).all()
    assert (scores["grid"] > scores["fixed"]).all()
    tenths = found["grid"].thresholds * 10
    np.testing.assert_allclose(tenths, np.round(tenths), atol=1e-5)


def test_exact_thresholds_decide_the_same_from_a_card():
    """Each is the score of some frame, which counts as active."""
    dev = predicted("AU", (1.5, 3.0))
    options = Options(smoothings=(NO_SMOOTHING,), threshold_rule="exact")
    found = select_on_dev(dev, options)
    again = Selection.from_dict(json.loads(json.dumps(found.to_dict())))
    for limits in (found.thresholds, again.thresholds):
        for seed, units in enumerate(limits):
            assert (dev.scores[0, seed] == units).any(axis=0).all()
    score = dev_score(
        *(dev, dev.scores[0], NO_SMOOTHING), thresholds={NO_SMOOTHING: again.thresholds}
    )
    np.testing.assert_array_equal(score, np.float32(found.dev_scores))


@pytest.mark.slow
@pytest.mark.parametrize("gaussian", [False, True])
def test_only_windows_of_the_options_are_chosen(gaussian):
    """Noisy scores of slow labels want the widest window there is."""
    modes = ("gaussian",) if gaussian else ("mean", "median")
    smoothings = tuple((mode, half) for mode in modes for half in (1, 2))
    found = select_on_dev(predicted("EXPR", (4.0,)), Options(smoothings=smoothings))
    assert found.smoothings[0] in smoothings
    narrow = select_on_dev(
        predicted("EXPR", (4.0,)), Options(smoothings=smoothings[:1])
    )
    assert narrow.smoothings == smoothings[:1]
    assert narrow.dev_scores[0] <= found.dev_scores[0]
