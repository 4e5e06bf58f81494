"""What may be tried, and what was chosen, as a checkpoint's card keeps them."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from avemo_jax.config.fields import base_config, original_config, to_plain
from avemo_jax.models.certainty import Certainty
from avemo_jax.models.options import Options
from avemo_jax.models.selection import Selection, best_seed, fixed_selection
from avemo_jax.postprocess.smoothing_sweep import HALF_WIDTHS, SMOOTHINGS, smoothings_of
from avemo_jax.tasks import AU, EXPR, VA

ARRAYS = ("thresholds", "raw_thresholds", "weights", "temperatures", "offsets")
ARRAYS += ("confidences", "short_thresholds")
MODES = ("none", "mean", "mean", "median", "median")


def reread(selection: Selection) -> Selection:
    """Through a card."""
    return Selection.from_dict(json.loads(json.dumps(selection.to_dict())))


def options_of(config, **fields) -> Options:
    config.update_from_flattened_dict(fields)
    return Options.of_config(json.loads(json.dumps(to_plain(config))))


# --- Options --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["postprocess.gaussian", "blend.trust_extractor", "evaluate.num_resamples"],
)
def test_a_card_that_lacks_a_field_is_refused(name):
    stored = to_plain(base_config("EXPR", "mlp"))
    group, field = name.split(".")
    del stored[group][field]
    with pytest.raises(ValueError, match=f"lacks a field: .*{field}.*; expected those"):
        Options.of_config(stored)
    with pytest.raises(ValueError, match="lacks a field"):
        Options.of_config({})


def test_options_are_those_of_the_configuration():
    fields = {
        "postprocess.half_widths": (1, 7),
        "postprocess.gaussian": False,
        "postprocess.thresholds": "exact",
        "postprocess.correction": "prior",
        "postprocess.causal": True,
        "blend.trust_extractor": True,
        "evaluate.num_resamples": 50,
    }
    found = options_of(base_config("EXPR", "mlp"), **fields)
    assert found == Options(
        smoothings=tuple(zip(MODES, (0, 1, 7, 1, 7), strict=True)),
        threshold_rule="exact",
        correction="prior",
        causal=True,
        trust_extractor=True,
        num_resamples=50,
    )


def test_the_original_tries_thirteen_windows_and_ours_gaussians_too():
    original = options_of(original_config("EXPR", "mlp"))
    assert original.faithful
    assert original.smoothings == SMOOTHINGS == smoothings_of()
    assert len(original.smoothings) == 13
    ours = options_of(base_config("EXPR", "mlp"))
    more = tuple(("gaussian", half) for half in HALF_WIDTHS)
    assert ours.smoothings == SMOOTHINGS + more
    assert not ours.faithful


def test_windows_of_half_widths():
    expected = [("none", 0), ("mean", 2), ("median", 2), ("gaussian", 2)]
    assert list(smoothings_of((2,), gaussian=True)) == expected


# --- Selection ------------------------------------------------------------------------

SINGLE = st.floats(-1e6, 1e6, width=32)


@given(
    thresholds=arrays(np.float32, (2, 12), elements=SINGLE),
    offsets=arrays(np.float32, (2, 8), elements=SINGLE),
)
def test_a_selection_comes_back_bit_for_bit(thresholds, offsets):
    """A threshold that is a score stays that score, and no digit more or less."""
    one = Selection(
        on="dev",
        reason="",
        smoothings=(("median", 100), ("gaussian", 5)),
        thresholds=thresholds,
        raw_thresholds=thresholds[::-1],
        dev_scores=(0.1, 1 / 3),
        weights=np.array([[1 / 3, 2 / 3], [0.1, 0.9]], np.float32),
        temperatures=np.array([0.5, 1], np.float32),
        offsets=offsets,
        confidences=np.array([1, 0.95], np.float32),
        short_thresholds=thresholds / 2,
        certainty={
            "frames": Certainty(thresholds, -thresholds, 7),
            "mean": Certainty(thresholds[:1, :1], None, 7, thresholds[0, :1]),
        },
        set_level=0.9,
    )
    back = reread(one)
    assert (back.on, back.reason, back.smoothings) == (
        one.on,
        one.reason,
        one.smoothings,
    )
    assert back.dev_scores == one.dev_scores
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(back, name), getattr(one, name))
        assert getattr(back, name).dtype == np.float32
    assert back.set_level == 0.9
    assert back.certainty.keys() == one.certainty.keys()
    for name, fitted in one.certainty.items():
        assert back.certainty[name].num_videos == 7
        for part in ("slopes", "intercepts", "set_limits"):
            before, after = (getattr(c, part) for c in (fitted, back.certainty[name]))
            np.testing.assert_array_equal(after, before)
            assert before is None or after.dtype == np.float32


def test_numbers_of_a_card_are_short():
    one = fixed_selection(AU, 1, "why", num_heads=3)
    assert one.to_dict()["weights"] == [[0.33333334] * 3]
    grid = Selection("dev", "", (("none", 0),), np.full((1, 12), 0.3), None)
    assert grid.to_dict()["thresholds"] == [[0.3] * 12]


def test_a_selection_that_lacks_something_is_refused():
    stored = fixed_selection(EXPR, 2, "no dev").to_dict()
    del stored["offsets"], stored["smoothing"]
    with pytest.raises(ValueError, match="lacks smoothing, offsets; expected"):
        Selection.from_dict(stored)


def test_a_card_from_before_thresholds_for_half_a_second():
    stored = fixed_selection(AU, 2, "no dev").to_dict()
    assert "short_thresholds" not in stored
    assert Selection.from_dict(stored).short_thresholds is None


def test_a_card_from_before_calibration():
    stored = fixed_selection(EXPR, 2, "no dev").to_dict()
    assert not {"certainty", "set_level"} & set(stored)
    back = Selection.from_dict(stored)
    assert (back.certainty, back.set_level) == ({}, 0.0)
    config = to_plain(base_config("EXPR", "mlp"))
    del config["postprocess"]["calibration"], config["postprocess"]["set_level"]
    options = Options.of_config(config)
    assert (options.calibration, options.set_level) == ("none", 0.0)


def test_certainty_that_lacks_something_is_refused():
    stored = fixed_selection(EXPR, 2, "no dev").to_dict()
    with pytest.raises(ValueError, match=r"certainty .* lacks slopes; expected"):
        Selection.from_dict(stored | {"certainty": {"frames": {"num_videos": 3}}})


@pytest.mark.parametrize("task", [EXPR, AU, VA], ids=lambda task: task.name)
@pytest.mark.parametrize("heads", [1, 2])
def test_fixed_values(task, heads):
    found = fixed_selection(task, 3, "no dev", heads)
    assert (found.on, found.reason, found.dev_scores) == (None, "no dev", ())
    assert found.smoothings == (task.fixed_smoothing,) * 3
    if task is AU:
        np.testing.assert_array_equal(found.thresholds, np.full((3, 12), 0.5))
        np.testing.assert_array_equal(found.raw_thresholds, found.thresholds)
    else:
        assert found.thresholds is found.raw_thresholds is None
    if heads == 1:
        assert found.weights is None
    else:
        np.testing.assert_array_equal(found.weights, np.full((3, 2), 0.5))
    assert reread(found).to_dict() == found.to_dict()


def test_best_seed():
    chosen = Selection("dev", "", (("none", 0),) * 3, None, None, (0.2, 0.4, 0.4))
    assert best_seed(chosen, [9.0, 0.0, 0.0]) == 1  # the first of equal ones
    fixed = fixed_selection(EXPR, 3, "why")
    assert best_seed(fixed, [0.1, 0.2, 0.9]) == 2
    assert best_seed(fixed, None) == 0
