"""Which frames are embedded: asked for, chosen on dev, and applied in whole runs."""

import contextlib
import csv
import dataclasses
import io
import json
import pathlib
import re
import shutil

import numpy as np
import pytest
from made.cards import made_card
from made.tables import MadeStore, made_table
from sklearn.metrics import f1_score

from avemo_jax import experiment, main
from avemo_jax.batches.tables import Data
from avemo_jax.config.checks import check_config
from avemo_jax.config.fields import base_config, original_config, to_plain
from avemo_jax.evaluation.dev_selection import select_on_dev
from avemo_jax.evaluation.evaluate import select
from avemo_jax.evaluation.joint import evaluate_joint, load_joint
from avemo_jax.metrics.scores import task_metrics
from avemo_jax.models.blend import load_heads, scores_by_head
from avemo_jax.models.card import Card, write_card
from avemo_jax.models.embedded_frames import dense_split, fixed_rates, ruled_scores
from avemo_jax.models.frame_scores import SplitScores, corrected_rows, table_fill_map
from avemo_jax.models.options import Options
from avemo_jax.models.selection import Selection, fixed_selection
from avemo_jax.postprocess.frame_rate import comparison
from avemo_jax.postprocess.frame_rate.comparison import (
    ALL_FRAMES,
    RateChoice,
    RatePoint,
)
from avemo_jax.postprocess.frame_rate.fitting import fit_sequential
from avemo_jax.postprocess.frame_rate.rules import (
    ALL,
    FAMILIES,
    FIXED,
    FIXED_STRIDES,
    REFINED,
    SEQUENTIAL,
    FrameRate,
    FrameRateRule,
)
from avemo_jax.tasks import EXPR, get_task

SLOW, RELEASE = pytest.mark.slow, pytest.mark.release
RULE, STRIDE = "postprocess.frame_rate.rule", "postprocess.frame_rate.stride"


def config_with(task="EXPR", head="mlp", **fields):
    config = base_config(task, head)
    config.update_from_flattened_dict(
        {name.replace("__", "."): value for name, value in fields.items()}
    )
    return config


# --- The configuration ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "rule", "stride"),
    [
        *(("EXPR", "all", 0), ("VA", "stride", 7), ("AU", "stride", 0)),
        *(("AU", "refine", 0), ("VA", "refine", 5), ("EXPR", "refine", 1000)),
        *(("EXPR", "sequential", 0), ("EXPR", "sequential", 50)),
        *(("EXPR+AU+VA", "refine", 0), ("own", "sequential", 0)),
    ],
)
def test_rules_that_may_be_asked_for(task, rule, stride):
    check_config(config_with(task, **{RULE: rule, STRIDE: stride}))


@pytest.mark.parametrize(
    ("task", "fields", "message"),
    [
        ("EXPR", {RULE: "few"}, r"rule is 'few'; expected one of all, .*; correct"),
        (
            "EXPR",
            {RULE: "stride", STRIDE: -1},
            r"stride is -1; expected .*; correct",
        ),
        ("EXPR", {STRIDE: 10}, r"stride is 10 with rule 'all'; .* set rule 'stride'"),
        ("EXPR", {RULE: "refine", STRIDE: 4}, r"is 4 .*; expected .* at least 5, or 0"),
        ("EXPR", {RULE: "sequential", STRIDE: 49}, r"is 49 with .* at least 50, or 0"),
        ("AU", {RULE: "sequential"}, r"'sequential' for AU; expected .*\(EXPR\)"),
        ("EXPR+VA", {RULE: "sequential"}, r"'sequential' for VA; expected .*; set"),
        (
            "EXPR",
            {RULE: "refine", "postprocess.causal": True},
            r"'refine' with config\.postprocess\.causal=True; expected False, .*; set",
        ),
        (
            "EXPR",
            {RULE: "stride", "blend.trust_extractor": True},
            r"'stride' with config\.blend\.trust_extractor=True; expected False",
        ),
        (
            "VA",
            {RULE: "stride", "data.train_on": "train+dev"},
            r"'stride' and config\.data\.train_on 'train\+dev'.*; expected .*; set",
        ),
    ],
)
def test_rules_that_are_refused(task, fields, message):
    with pytest.raises(ValueError, match=message):
        check_config(config_with(task, **fields))


def test_heads_that_see_other_frames_are_refused():
    config = config_with(head="transformer", **{RULE: "refine"})
    with pytest.raises(ValueError, match=r"with transformer among the heads; expected"):
        check_config(config)
    check_config(config_with(head="linear", **{RULE: "refine"}))


def test_fixed_stride_needs_no_dev():
    more = {"data.train_on": "train+dev"}
    check_config(config_with("VA", **{RULE: "stride", STRIDE: 5}, **more))
    assert fixed_rates(FrameRate("stride", 5), 2, "no dev") == (
        (RateChoice(FrameRateRule(FIXED, (5,))),) * 2
    )
    assert fixed_rates(ALL, 2, "no dev") is None
    with pytest.raises(
        ValueError, match=r"may be chosen on dev: no dev; expected .*'a"
    ):
        fixed_rates(FrameRate("refine"), 2, "no dev")


def test_lists_of_strides():
    assert FrameRate("stride", 7).lists == ((7,),)
    assert FrameRate("stride").lists == tuple((s,) for s in FIXED_STRIDES)
    assert FrameRate("refine", 10).lists == ((10, 2), (5, 1))
    assert FrameRate("sequential", 50).lists == ((50, 25, 1), (50, 10, 1), (50, 1))
    assert len(FrameRate("refine").lists) == 10
    chosen = [FrameRate(rule).is_chosen for rule in ("all", *FAMILIES)]
    assert chosen == [False, True, True, True, True]
    assert FrameRate("sliding", 10).lists == ((10,),)
    assert not FrameRate("sliding", 10).is_chosen
    assert not FrameRate("stride", 7).is_chosen


def test_options_say_the_rule_and_sequential_takes_medians():
    stored = json.loads(json.dumps(to_plain(config_with())))
    plain = Options.of_config(stored)
    assert plain.frame_rate == ALL
    sequential = Options.of_config(stored, FrameRate("sequential", 100))
    assert sequential.frame_rate == ("sequential", 100)
    assert {mode for mode, _ in sequential.smoothings} == {"median"}
    asked = json.loads(json.dumps(to_plain(config_with(**{RULE: "refine"}))))
    assert Options.of_config(asked).frame_rate == ("refine", 0)
    assert Options.of_config(asked, ALL) == plain
    original = original_config("EXPR", "mlp")
    assert original.postprocess.frame_rate.rule == "all"


# --- Chosen on dev --------------------------------------------------------------------


def predicted(task="EXPR", split="dev", noises=(1.0, 2.0)) -> SplitScores:
    """Scores of seeds that say the labels, the louder the noise the less."""
    table = made_table(task, split=split, frames=60)
    kind, rng = get_task(task), np.random.default_rng(1)
    shape = (table.num_rows, kind.num_outputs)
    if task == "EXPR":
        told = 2 * np.eye(8)[np.maximum(table.labels, 0)]
    else:
        told = 2 * np.nan_to_num(table.labels.astype(np.float64))
    logits = [told + noise * rng.normal(size=shape) for noise in noises]
    scores = np.asarray(kind.activate(np.array(logits, np.float32)))
    return SplitScores(table, table_fill_map(table, faithful=False), scores[None])


@pytest.mark.parametrize(
    ("task", "wanted", "smoothing"),
    [
        ("VA", FrameRate("stride"), ("mean", 5)),
        pytest.param("EXPR", FrameRate("sequential", 50), ("median", 5), marks=SLOW),
        pytest.param("EXPR", FrameRate("sliding", 3), ("median", 5), marks=SLOW),
        pytest.param("AU", FrameRate("refine", 10), ("mean", 5), marks=RELEASE),
    ],
)
def test_choice_is_that_of_the_library(task, wanted, smoothing):
    noises = (1.0,) if wanted.rule == "sequential" else (1.0, 2.0)
    dev, kind = predicted(task, noises=noises), get_task(task)
    options = Options(smoothings=(smoothing,), frame_rate=wanted)
    found = select_on_dev(dev, options)
    plain = select_on_dev(dev, dataclasses.replace(options, frame_rate=ALL))
    assert plain.frame_rates is None
    assert found.smoothings == plain.smoothings == (smoothing,) * len(noises)
    shares = []
    for seed, choice in enumerate(found.frame_rates):
        limits = None if plain.thresholds is None else plain.thresholds[seed]
        how = {"smoothing": smoothing, "thresholds": limits}
        split = dense_split(dev, dev.scores[0][seed])
        assert choice.full_score == pytest.approx(plain.dev_scores[seed], abs=1e-5)
        assert choice.score == found.dev_scores[seed]
        family = FAMILIES[wanted.rule]
        assert choice.rule.family == family
        if wanted.rule == "sequential":
            rules = fit_sequential(*split, smoothing[1], wanted.lists)
        elif wanted.rule == "refine":  # those of the results table that may be chosen
            fitted = comparison.rules_of_dev(kind, split, **how)
            rules = [rule for rule in fitted if rule.strides in wanted.lists]
        else:
            rules = [FrameRateRule(family, strides) for strides in wanted.lists]
        tried = tuple(dict.fromkeys((ALL_FRAMES, *rules)))
        points = comparison.evaluate_rules(kind, split, tried, **how)
        expected = rules[0]
        if wanted.is_chosen:
            expected = comparison.choose_in_family(points, family).rule
        point = next(p for p in points if p.rule == expected)
        shares.append(point.window_share)
        assert (point.share, point.score) == (choice.share, choice.score)
        own = dataclasses.replace(point.rule, reach=choice.rule.reach)
        assert own == choice.rule
        assert choice.rule.reach == (5 if family == REFINED else None)
    again = Selection.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.frame_rates == found.frame_rates
    rules = [choice.rule for choice in again.frame_rates]
    dense, embedded, window_shares = ruled_scores(
        dev, dev.scores[0], rules, again.smoothings, again.thresholds
    )
    labels = dev.table.dense_labels
    for seed, choice in enumerate(found.frame_rates):
        limits = None if found.thresholds is None else found.thresholds[seed]
        scored = task_metrics(task, dense[seed], labels, dev.with_crop, limits)
        assert float(scored[kind.headline]) == pytest.approx(choice.score, abs=1e-6)
        assert embedded[seed].mean() == pytest.approx(choice.share, abs=1e-6)
        assert window_shares[seed] == shares[seed]


@pytest.mark.slow
def test_rules_of_a_blend_look_at_the_blended_scores():
    dev, other = predicted(noises=(1.0,)), predicted(noises=(2.0,))
    both = dataclasses.replace(dev, scores=np.concatenate([dev.scores, other.scores]))
    smoothing = ("mean", 5)
    options = Options(smoothings=(smoothing,), frame_rate=FrameRate("stride", 3))
    found = select_on_dev(both, options)
    assert found.weights.shape == (1, 2)
    (choice,), (rows,) = found.frame_rates, corrected_rows(both, found)
    (point,) = comparison.evaluate_rules(
        EXPR, dense_split(both, rows), [FrameRateRule(FIXED, (3,))], smoothing=smoothing
    )
    assert (choice.share, choice.score) == (point.share, point.score)


def test_a_family_without_a_near_rule_gives_its_best():
    def point(family, strides, share, score):
        limits = (0.5,) * (len(strides) - 1)
        return RatePoint(FrameRateRule(family, strides, limits), share, share, score)

    full = point(FIXED, (1,), 1.0, 0.6)
    poor = point(SEQUENTIAL, (50, 1), 0.2, 0.4)
    better = point(SEQUENTIAL, (100, 1), 0.3, 0.5)
    found = comparison.choose_in_family([full, poor, better], SEQUENTIAL)
    assert found == RateChoice(better.rule, 0.3, 0.5, 0.6)
    with pytest.raises(ValueError, match="1 points and none of 'sequential'; expected"):
        comparison.choose_in_family([full], SEQUENTIAL)


def test_selections_without_rules():
    none = fixed_selection(EXPR, 2, "why")
    assert none.to_dict()["frame_rates"] is None
    assert Selection.from_dict(none.to_dict()).frame_rates is None
    fixed = dataclasses.replace(
        none, frame_rates=fixed_rates(FrameRate("stride", 4), 2, "")
    )
    again = Selection.from_dict(json.loads(json.dumps(fixed.to_dict())))
    assert again.frame_rates == fixed.frame_rates


# --- Whole runs -----------------------------------------------------------------------


def opened(directory: str, cache_dir: str | None = None) -> Data:
    store = MadeStore(directory, videos=5, frames=80, slow=0.95, noise=0.8)
    return Data(store, directory, "made data")


@pytest.fixture(scope="module", autouse=True)
def made_stores():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "open_data", opened)
        yield


def read_json(path: pathlib.Path) -> dict:
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> pathlib.Path:
    """A finished EXPR run with two seeds whose configuration asks for a stride of 3."""
    config = config_with(
        data__dir="EXPR",
        workdir=str(tmp_path_factory.mktemp("runs") / "expr"),
        num_seeds=2,
        batch_size=32,
        num_epochs=2,
        learning_rate=1e-2,
        evaluate__batch_size=64,
        evaluate__num_resamples=0,
        log__tensorboard=False,
        postprocess__half_widths=(5,),
        postprocess__gaussian=False,
        **{RULE: "stride", STRIDE: 3},
    )
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        experiment.run_experiment(config)
    words = r"smoothed: \d+\.\d% of the frames embedded \(rule 'stride', strides 3\)"
    assert re.search(words, printed.getvalue())
    return pathlib.Path(config.workdir)


def evaluated(checkpoint: pathlib.Path, workdir: pathlib.Path | None, **how) -> dict:
    how = {"data_dir": "EXPR", "split": "validation", **how}
    with contextlib.redirect_stdout(io.StringIO()):
        return experiment.evaluate_checkpoint(checkpoint, workdir=workdir, **how)


def f1_of_predictions(path: pathlib.Path) -> float:
    """Macro F1 of the frames with a crop and a label."""
    with path.open() as file:
        rows = list(csv.DictReader(file))
    kept = [r for r in rows if r["has_crop"] == "1" and r["label_expression"]]
    labels = [row["label_expression"] for row in kept]
    decided = [row["expression"] for row in kept]
    return f1_score(
        labels, decided, labels=EXPR.columns, average="macro", zero_division=0
    )


def check_predictions(workdir: pathlib.Path) -> None:
    """The file's scores are those of the seed that is best on dev."""
    found = read_json(workdir / "results.json")
    on_dev = [one["dev"]["smoothed_f1_macro"] for one in found["per_seed"]]
    own = found["per_seed"][int(np.argmax(on_dev))]["smoothed"]
    expected = own["with_crop"]["f1_macro"]
    assert f1_of_predictions(workdir / "predictions.csv") == pytest.approx(expected)


@pytest.mark.slow
def test_run_reports_the_frames_embedded(run):
    found, card = (
        read_json(run / "results.json"),
        read_json(run / "best_model/head.json"),
    )
    rate, smoothed = found["frame_rate"], found["metrics"]["smoothed"]
    lengths = opened("EXPR").store.load_table("EXPR", "validation", []).num_frames
    share = np.ceil(lengths / 3).sum() / lengths.sum()
    assert rate["rule"] == "stride"
    assert rate["share_embedded"] == smoothed["share_embedded"] == pytest.approx(share)
    assert rate["share_embedded_std"] == smoothed["share_embedded_std"] == 0
    assert 0 < rate["score_of_all_frames"] < 1
    assert rate["score_of_all_frames_std"] >= 0
    for one, kept, each in zip(
        rate["per_seed"],
        card["selection"]["frame_rates"],
        found["per_seed"],
        strict=True,
    ):
        rule = FrameRateRule.from_dict(kept["rule"])
        assert rule == FrameRateRule(FIXED, (3,))
        assert (one["strides"], one["limits"], one["reach"]) == ([3], [], None)
        assert one["dev"]["score"] == kept["score"] == each["dev"]["smoothed_f1_macro"]
        assert one["dev"]["share_embedded"] == kept["share"]
        assert one["share_embedded"] == each["smoothed"]["share_embedded"]
    assert "share_embedded" not in found["metrics"]["tuned_on_reported"]
    assert card["scores"] == found["metrics"]
    check_predictions(run)


@pytest.mark.slow
def test_score_is_that_of_a_direct_call(run, tmp_path):
    """The rule of the card, applied to the library's own scores of the split."""
    model = load_heads(run / "best_model")
    scores = scores_by_head(model, opened("EXPR"), "validation", 10**9)
    chosen = model.card.selection
    found = read_json(run / "results.json")
    for seed, choice in enumerate(chosen.frame_rates):
        split = dense_split(scores, scores.scores[0][seed])
        (point,) = comparison.evaluate_rules(
            EXPR, split, [choice.rule], smoothing=chosen.smoothings[seed]
        )
        own = found["per_seed"][seed]["smoothed"]
        assert own["with_crop"]["f1_macro"] == pytest.approx(point.score, abs=1e-6)
        assert own["share_embedded"] == point.share


@pytest.mark.slow
@pytest.mark.usefixtures("no_plots")
def test_checkpoint_is_evaluated_by_its_own_rule(run, tmp_path):
    evaluated(run / "best_model", tmp_path)
    for name in ("results.json", "predictions.csv"):
        assert (tmp_path / name).read_bytes() == (run / name).read_bytes()


@pytest.mark.slow
@pytest.mark.usefixtures("no_plots")
@pytest.mark.parametrize(
    "rule",
    [
        *("all", "stride", "sequential"),
        *(pytest.param(rule, marks=RELEASE) for rule in ("refine", "sliding")),
    ],
)
def test_flag_stands_in_the_place_of_the_configuration(run, tmp_path, rule):
    before = (run / "best_model" / "head.json").read_bytes()
    found = evaluated(run / "best_model", tmp_path, frame_rate=FrameRate(rule))
    assert (run / "best_model" / "head.json").read_bytes() == before
    check_predictions(tmp_path)
    own, smoothed = read_json(run / "results.json"), found["metrics"]["smoothed"]
    assert found["chosen_on"] == "dev"
    assert found["metrics"]["raw"] == own["metrics"]["raw"]
    if rule == "all":
        assert found.keys() == own.keys() - {"frame_rate"}
        assert "share_embedded" not in smoothed
        full = own["frame_rate"]["score_of_all_frames"]
        assert smoothed["with_crop"]["f1_macro"] == full
        return
    rate = found["frame_rate"]
    assert rate["rule"] == rule
    for one in rate["per_seed"]:
        assert tuple(one["strides"]) in FrameRate(rule).lists
        assert len(one["limits"]) == len(one["strides"]) - 1
        assert 0 < one["share_embedded"] <= 1
        assert one["share_of_window_entries"] > 0
        if rule not in (
            "sliding",
            "sequential",
        ):  # which may have no rule that is near enough
            assert one["dev"]["score"] >= one["dev"]["score_of_all_frames"] - 0.002
    if rule in ("sliding", "sequential"):
        assert (smoothed["mode"], smoothed["half_width_frames"]) == ("median", 5)


@pytest.mark.slow
@pytest.mark.usefixtures("no_plots")
def test_ensemble_of_seeds_has_one_rule(run, tmp_path):
    found = evaluated(
        *(run / "best_model", tmp_path),
        ensemble="seeds",
        frame_rate=FrameRate("refine", 10),
    )
    (one,) = found["frame_rate"]["per_seed"]
    assert one["strides"] in ([10, 2], [5, 1])


@pytest.mark.slow
def test_split_without_labels_has_a_share(run, tmp_path):
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        found = experiment.evaluate_checkpoint(
            run / "best_model", data_dir="EXPR", split="test", workdir=tmp_path
        )
    assert "metrics" not in found
    assert found["frame_rate"].keys() == {
        *("rule", "per_seed", "share_embedded", "share_embedded_std"),
        *("share_of_window_entries", "share_of_window_entries_std"),
    }
    words = r"nothing to score: predictions only; \d+\.\d% of the frames embedded"
    assert re.search(words, printed.getvalue())
    assert (tmp_path / "predictions.csv").exists()


@pytest.mark.slow
def test_without_dev_only_a_fixed_stride_is_used(run):
    """A model whose training videos are unknown: nothing may be chosen."""
    model, data = load_heads(run / "best_model"), opened("EXPR")
    kept = model.card.selection
    unknown = dataclasses.replace(model.card, training_videos="unknown")

    def selected(card: Card, wanted: FrameRate | None = None) -> Selection:
        options = Options.of_config(card.config, wanted)
        heads = (dataclasses.replace(model.heads[0], card=card),)
        other = dataclasses.replace(model, heads=heads, card=card, options=options)
        return select(other, data, 10**9, anew=wanted is not None)

    found = selected(dataclasses.replace(unknown, selection=None))
    assert found.on is None
    assert "unknown" in found.reason
    assert found.frame_rates == (RateChoice(FrameRateRule(FIXED, (3,))),) * 2
    for wanted in (FrameRate("refine"), FrameRate("stride")):
        with pytest.raises(ValueError, match=r"chosen on dev: the videos that it was"):
            selected(unknown, wanted)
    # what was chosen earlier holds, but for the stride
    found = selected(unknown, FrameRate("stride", 5))
    assert (found.on, found.smoothings) == ("dev", kept.smoothings)
    assert found.frame_rates == (RateChoice(FrameRateRule(FIXED, (5,))),) * 2
    assert selected(unknown, ALL).frame_rates is None
    assert selected(unknown).frame_rates == kept.frame_rates


@pytest.mark.slow
def test_flags_that_do_not_fit_the_model_are_refused(run, tmp_path):
    with pytest.raises(ValueError, match=r"stride is 2 with rule 'refine'; expected"):
        evaluated(run / "best_model", tmp_path, frame_rate=FrameRate("refine", 2))
    joint = tmp_path / "joint"
    for task in ("EXPR", "AU"):
        shutil.copytree(run / "best_model", joint / task)
    write_card(joint / "joint.json", made_card(task="EXPR+AU"))
    with pytest.raises(ValueError, match=r"'sequential' for AU; expected a task"):
        evaluate_joint(
            load_joint(joint),
            opened("EXPR"),
            tmp_path,
            frame_rate=FrameRate("sequential"),
        )


def test_command_line_flags(monkeypatch):
    calls = []
    monkeypatch.setattr(
        experiment, "evaluate_checkpoint", lambda *a, **how: calls.append(how)
    )
    for more in (["--frame-rate=stride", "--frame-rate-stride=10"], []):
        assert main.evaluate(["--checkpoint=RUN/best_model", *more]) == 0
    assert [how["frame_rate"] for how in calls] == [FrameRate("stride", 10), None]


@pytest.mark.slow
def test_default_folder_is_named_by_the_rule(run, monkeypatch):
    def named(directory, data, workdir, **how):
        calls.append((workdir.name, how["frame_rate"]))
        return {}

    calls: list = []
    monkeypatch.setattr(experiment, "evaluate", named)
    monkeypatch.setattr(experiment, "_say", lambda *_: None)
    monkeypatch.setattr(experiment, "write_report", lambda *_, **__: None)
    for wanted in (FrameRate("stride", 4), FrameRate("refine"), None):
        evaluated(run / "best_model", None, split="dev", frame_rate=wanted)
    names = [name for name, _ in calls]
    assert names == [f"evaluation-dev{end}" for end in ("-stride4", "-refine", "")]
    assert [wanted for _, wanted in calls] == [("stride", 4), ("refine", 0), None]
