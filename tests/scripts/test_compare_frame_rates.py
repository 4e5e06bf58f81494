"""The comparison of rules that leave frames out: its plot, and its numbers."""

import json
import pathlib
import sys

import pytest
from made.tiny_store import build_tiny_store

from avemo_jax.config.fields import base_config
from avemo_jax.experiment import run_experiment
from avemo_jax.postprocess.frame_rate import comparison
from avemo_jax.postprocess.frame_rate.comparison import ALL_FRAMES, RatePoint
from avemo_jax.postprocess.frame_rate.rules import (
    FIXED,
    REFINED,
    SEQUENTIAL,
    SLIDING,
    FrameRateRule,
)
from avemo_jax.tasks import EXPR

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "scripts"))
import compare_frame_rates
from frame_rate_plot import plot_frame_rates

POINTS = [
    RatePoint(ALL_FRAMES, 1.0, 1.0, 0.5),
    RatePoint(FrameRateRule(FIXED, (10,)), 0.1, 0.1, 0.48),
    RatePoint(FrameRateRule(REFINED, (10, 2), (0.4,)), 0.2, 0.2, 0.499),
    RatePoint(FrameRateRule(REFINED, (5, 1), (0.4,)), 0.3, 0.3, 0.497),
    RatePoint(FrameRateRule(SLIDING, (10,)), 0.99, 0.1, 0.49),
    RatePoint(FrameRateRule(SEQUENTIAL, (10, 1), (0.4,)), 0.99, 0.4, 0.495),
]


def test_plot(tmp_path):
    families = comparison.by_family(POINTS)
    path = tmp_path / "deep" / "rates.png"
    how = {"metric": "f1_macro", "full_score": 0.5}
    choice = comparison.choose_rule(POINTS)
    plot_frame_rates(path, families, "made, dev", **how, chosen=choice)
    whole = path.read_bytes()
    assert whole.startswith(b"\x89PNG")
    plot_frame_rates(path, {FIXED: families[FIXED]}, "made, dev", **how)
    assert path.read_bytes() != whole
    with pytest.raises(ValueError, match="no point to plot"):
        plot_frame_rates(path, {}, "made", **how)


@pytest.mark.release
def test_every_rule_of_a_head_is_measured(tmp_path, monkeypatch, capsys):
    store, out = build_tiny_store(tmp_path / "store"), tmp_path / "out"
    config = base_config("EXPR", "mlp")
    config.data.dir, config.workdir = str(store), str(tmp_path / "run")
    config.num_epochs = 1
    config.postprocess.half_widths, config.postprocess.gaussian = (5,), False
    found = run_experiment(config)
    line = [str(tmp_path / "run" / "best_model"), "--data-dir", str(store)]
    line += ["--out", str(out), "--images-per-s", "100"]
    monkeypatch.setattr(sys, "argv", ["compare_frame_rates.py", *line])
    compare_frame_rates.main()
    assert (out / "frame_rates.png").read_bytes().startswith(b"\x89PNG")
    summary = json.loads((out / "frame_rates.json").read_text())
    assert summary["seconds_of_all_frames"] == 3 * 40 / 100
    smoothed = found["metrics"]["smoothed"]
    chosen = smoothed["mode"], smoothed["half_width_frames"]
    if chosen[0] == "none":  # then rules are compared by what the original smooths by
        chosen = EXPR.fixed_smoothing
    else:
        full = summary["score_of_all_frames"]
        assert full == pytest.approx(smoothed["with_crop"]["f1_macro"], abs=1e-6)
    assert summary["smoothing"] == "{} ±{}".format(*chosen)
    assert summary["chosen_on_dev"]["rule"]["family"] in (FIXED, REFINED)
    assert "goal_met" in capsys.readouterr().out
