"""report.html of made evaluations: what it shows, and that names stay texts."""

import dataclasses
import html
import pathlib
import re

import numpy as np
import pytest
from made.browsing import opened
from made.cards import made_card
from made.report_html import check_page

from avemo_jax.data.predictions.frames import FramePredictions, decisions_of
from avemo_jax.data.predictions.predictions_file import write_predictions
from avemo_jax.evaluation.joint import JointModel
from avemo_jax.evaluation.run_report import outputs
from avemo_jax.evaluation.run_report.certainty import probabilities_of
from avemo_jax.evaluation.run_report.contents import TaskContents
from avemo_jax.evaluation.run_report.frames import read_frames
from avemo_jax.evaluation.run_report.svg import ticks, whole_ticks
from avemo_jax.evaluation.run_report.timelines import timeline
from avemo_jax.evaluation.run_report.video_scores import scores_by_video
from avemo_jax.evaluation.run_report.writing import (
    REPORT,
    write_folds_report,
    write_report,
)
from avemo_jax.metrics.calibration import NUM_BINS, calibration_scores
from avemo_jax.metrics.ceilings import metric_titles
from avemo_jax.metrics.intervals import named
from avemo_jax.metrics.numpy_states import video_states
from avemo_jax.metrics.states import decide
from avemo_jax.models.blend import Model
from avemo_jax.models.certainty import Certainty
from avemo_jax.models.options import Options
from avemo_jax.models.prediction_files import PredictionFile
from avemo_jax.tasks import EXPR, get_task, own_task, register

HOSTILE = (
    "</table><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "=1+1",
    "two\nlines, and 'quotes'",
    "\u202edrawkcab",
)
VIDEOS = ("a", "b", "c", *HOSTILE)
FRAMES = 60  # of each video
OWN = {
    "report_mood": ("multiclass", ("glad", "<b>sad</b>", "so so")),
    "report_signs": ("multilabel", ("nod", "shrug & sigh")),
    "report_effort": ("regression", ("strain",)),
}
TASKS = ("EXPR", "AU", "VA", *OWN)


def task_of(name):
    if name in OWN:
        kind, columns = OWN[name]
        limits = {"value_range": (0.0, 10.0)} if kind == "regression" else {}
        register(own_task(name, kind, columns, **limits))
    return get_task(name)


def made_predictions(folder, name, *, videos=VIDEOS, labelled=True):
    """predictions.csv of videos of which the first are predicted best."""
    task, rng = task_of(name), np.random.default_rng(len(name))
    count, outputs = len(videos) * FRAMES, task.num_outputs
    video = np.repeat(np.arange(len(videos)), FRAMES)
    noise = np.linspace(0.1, 2.0, len(videos))[video][:, None]
    blocks = rng.integers(0, 1000, (count // 20, outputs)).repeat(20, axis=0)
    limits = None
    if task.kind == "multiclass":
        labels = (blocks[:, 0] % outputs).astype(task.label_dtype)
        logits = noise * rng.normal(0, 3, (count, outputs))
        odds = np.exp(logits + 4 * np.eye(outputs)[labels])
        scores = odds / odds.sum(axis=1, keepdims=True)
        labels[::17] = -1
    elif task.kind == "multilabel":
        labels = (blocks % 2).astype(task.label_dtype)
        logits = 4 * labels - 2 + noise * rng.normal(0, 2, labels.shape)
        scores = 1 / (1 + np.exp(-logits))
        labels[::17] = -1
        limits = np.linspace(0.4, 0.6, outputs).astype(np.float32)
    else:
        labels = (blocks / 500 - 1).astype(task.label_dtype)
        scores = np.clip(labels + noise * rng.normal(0, 0.3, labels.shape), -1, 1)
        labels[::17] = np.nan
    scores = scores.astype(np.float32)
    has_crop = np.arange(count) % 13 > 0
    made = FramePredictions(
        folder / "predictions.csv",
        task,
        "made",
        tuple(videos),
        video,
        np.arange(count) % FRAMES + 1,
        ~has_crop,
        scores,
        decisions_of(task, scores, limits),
        limits,
        has_crop,
        labels if labelled else None,
        named=True,
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_predictions(made)
    return made


def made_results(made, *, seeds=1, **changes):
    """results.json of the predictions, which are those of the last seed."""
    task, mask = made.task, made.has_crop & made.task.valid(made.labels)
    wide = made.scores.astype(np.float64)
    decided = decide(task, made.scores, made.thresholds)
    state = video_states(task, decided, made.labels, mask)
    own = {name: named(task, v) for name, v in state.together().items()}
    own |= {f"{name}_ci95": ends_of(value) for name, value in own.items()}
    if made.thresholds is not None:
        own["thresholds"] = named(task, made.thresholds)
    own["num_frames"] = int(mask.sum())
    if seeds > 1:
        own |= {f"{task.headline}_std": 0.0123}
    block = {"mode": "mean", "half_width_frames": 5, "with_crop": own}
    found = {
        "task": task.name,
        "data": "demo",
        "synthetic": True,
        "features": ["made@112"],
        "head": "mlp",
        "split": "validation",
        "checkpoint": "0123456789abcdef" * 4,
        "faces": True,
        "num_seeds": seeds,
        "chosen_on": "dev",
        "chosen_by": "frame",
        "chosen_on_reason": "",
        "counts": {"train": {"videos": 9}, "validation": {"videos": 8, "frames": 480}},
        "joined": {"rows": 443, "videos_without_audio": list(made.videos)},
        "metrics": {"raw": {"with_crop": own}, "smoothed": block},
        "per_seed": [
            {
                "seed": i,
                "best_epoch": 2,
                "dev": {f"smoothed_{task.headline}": 0.1 * i},
                "raw": {"with_crop": own},
                "smoothed": block,
            }
            for i in range(seeds)
        ],
    }
    if errors := calibration_scores(task, wide[None], made.labels, mask):
        plain = {name: named(task, values[0]) for name, values in errors.items()}
        part = {"with_crop": plain}
        found["calibration"] = {"num_bins": NUM_BINS, "raw": part, "smoothed": part}
    return found | changes


def ends_of(value):
    if isinstance(value, dict):
        return {name: [v - 0.1, v + 0.05] for name, v in value.items()}
    return [value - 0.1, value + 0.05]


def made_model(folder, task, *, seeds=1, heads=(), **card):
    own = {
        "task": task.name,
        "seeds": tuple(range(seeds)),
        "dev_scores": (0.5,) * seeds,
    }
    own |= {"best_epochs": (2,) * seeds, "candidates": (0, seeds)}
    head = {"task": task.name, "kind": "mlp", "dims": [4]}
    made = made_card(**own, head=head, **card)
    return Model(folder / "best_model", tuple(heads), made, Options())


def written(folder, name, **changes):
    """The checked page of a made evaluation, its predictions and its results."""
    made = made_predictions(folder, name)
    found = made_results(made, **changes)
    seeds = found["num_seeds"]
    write_report(folder, made_model(folder, made.task, seeds=seeds), found)
    return check_page((folder / REPORT).read_text("utf-8")), made, found


@pytest.mark.parametrize("name", TASKS)
def test_a_report_has_the_numbers_of_results(tmp_path, name):
    page, made, found = written(tmp_path, name)
    task = made.task
    heading = f"{task.full_title}: demo corpus (synthetic), validation"
    assert page.headings[0] == (1, heading)
    assert "The data are synthetic" in page.text
    scores, rows = found["metrics"]["smoothed"]["with_crop"], page.table("Scores")
    for metric, title in metric_titles(task).items():
        if metric not in scores:
            continue
        at = [row[0] for row in rows].index(title)
        low, high = scores[f"{metric}_ci95"]
        for row, kind in zip(
            rows[at + 1 : at + 3], ("raw", "smoothed, mean ±5"), strict=True
        ):
            assert row == [kind, f"{scores[metric]:.3f} [{low:.3f}, {high:.3f}]", "-"]
    assert f"{scores[task.headline]:.3f} smoothed, 95 %" in page.text
    of_outputs = {
        "multiclass": ("F1 of each class", "f1_per_class"),
        "multilabel": ("F1 of each unit", "f1_per_unit"),
        "regression": ("Each value", ""),
    }
    caption, metric = of_outputs[task.kind]
    for row, column in zip(page.table(caption)[1:], task.columns, strict=True):
        value = scores[metric][column] if metric else scores[f"ccc_{column}"]
        assert row[0] == column
        assert row[1].startswith(f"{value:.3f} [{value - 0.1:.3f}, {value + 0.05:.3f}]")
    titles = [text for _, text in page.headings]
    assert ("Calibration" in titles) == (task.kind != "regression")
    assert {"Videos", "What was chosen", "Configuration", "Data", "Versions"} <= {
        *titles
    }


@pytest.mark.parametrize("name", ["EXPR", "report_signs"])
def test_calibration_is_that_of_results(tmp_path, name):
    page, _, found = written(tmp_path, name)
    errors = found["calibration"]["smoothed"]["with_crop"]
    single = [v for v in errors.values() if isinstance(v, float)]
    rows = page.table("Expected calibration error")
    assert rows[1][1:] == rows[2][1:] == [f"{value:.3f}" for value in single]
    (each,) = (v for v in errors.values() if isinstance(v, dict))
    for column, value in each.items():
        assert f"{column}: ECE {value:.3f}" in page.text


def test_sets_of_classes_are_those_of_results(tmp_path):
    scores = {"coverage": 0.91, "coverage_ci95": [0.8, 0.95], "size": 3.25}
    scores |= {"share_added": 0.125, "num_videos": 8}
    per_class = dict.fromkeys(EXPR.columns, 0.75) | {"Fear": None}
    sets = {"level": 0.9, "num_videos_chosen_on": 11, "least_videos": 9}
    sets |= {"all_classes": False, "limits": [0.1]}
    sets |= {"with_crop": scores | {"coverage_per_class": per_class}}
    sets |= {"all_labelled": {"num_videos": 0}}
    page, *_ = written(tmp_path, "EXPR", class_sets=sets)
    rows = page.table("Sets of classes, means over videos")
    assert [row[1] for row in rows[1:]] == ["0.910 [0.800, 0.950]", "3.250", "0.125"]
    rows = dict(page.table("Share of the frames of each class")[1:])
    assert (rows["Anger"], rows["Fear"]) == ("0.750", "\N{EN DASH}")
    assert "11 videos, of which the level needs 9." in page.text
    assert "sets of classes at level 0.9, from 11 videos of dev" in page.text


@pytest.mark.parametrize(("slope", "is_written"), [(2.0, False), (0.5, True)])
def test_calibration_is_shown_before_and_after(tmp_path, slope, is_written):
    """Both charts come from one file, whichever probabilities it has."""
    made = made_predictions(tmp_path, "EXPR")
    plain = np.asarray(made.scores, np.float32)
    fitted = Certainty(np.array([[slope]], np.float32), None, 5)
    after, _ = fitted.scaled(plain, 0)
    mask = made.has_crop & (made.labels >= 0)
    errors = calibration_scores(EXPR, np.stack([plain, after]), made.labels, mask)
    blocks = [
        {"with_crop": {name: named(EXPR, each[i]) for name, each in errors.items()}}
        for i in (0, 1)
    ]
    if is_written:
        write_predictions(dataclasses.replace(made, scores=after))
    found = made_results(made)
    found["calibration"] = {
        "num_bins": NUM_BINS,
        "raw": blocks[0],
        "smoothed": blocks[0],
        "smoothed_scaled": blocks[1],
        "written": "smoothed_scaled" if is_written else "smoothed",
        "fitted": {"frames": fitted.to_dict()},
    }
    write_report(tmp_path, made_model(tmp_path, made.task), found)
    page = check_page((tmp_path / REPORT).read_text("utf-8"))
    rows = {row[0]: row[1] for row in page.table("Expected calibration error")}
    for kind, i in (("smoothed", 0), ("smoothed, calibrated", 1)):
        assert rows[f"{kind}, with crop"] == f"{errors['ece'][i]:.3f}"
    words = f"one temperature of all classes: {1 / slope:.2f}, fitted on dev (5 videos)"
    assert words in page.text
    frames = read_frames(tmp_path / "predictions.csv", EXPR, None)
    contents = TaskContents(found, made_card(), frames, ())
    before_after = probabilities_of(contents)
    np.testing.assert_allclose(before_after["smoothed"], plain, atol=1e-5)
    np.testing.assert_allclose(before_after["smoothed_scaled"], after, atol=1e-5)


def test_confusion_matrix_counts_the_frames(tmp_path):
    page, made, _ = written(tmp_path, "EXPR")
    mask = made.has_crop & (made.labels >= 0)
    guess = made.scores.argmax(axis=1)
    rows = page.table("Confusion matrix")
    assert rows[0][1:-1] == list(made.task.columns)
    for i, (name, *cells, total) in enumerate(rows[1:]):
        own = mask & (made.labels == i)
        counts = np.bincount(guess[own], minlength=8)
        assert (name, int(total)) == (made.task.columns[i], own.sum())
        shares = [f"{n / own.sum():.0%}{n}" for n in counts]
        assert cells == shares


def test_many_classes_have_their_most_frequent_confusions(tmp_path, monkeypatch):
    monkeypatch.setattr(outputs, "_MATRIX", 7)
    page, made, _ = written(tmp_path, "EXPR")
    mask = made.has_crop & (made.labels >= 0)
    guess, names = made.scores.argmax(axis=1), made.task.columns
    rows = page.table("The most frequent confusions")[1:]
    counts = [int(row[2]) for row in rows]
    assert counts == sorted(counts, reverse=True)
    label, taken = names.index(rows[0][0]), names.index(rows[0][1])
    own = mask & (made.labels == label)
    assert counts[0] == (own & (guess == taken)).sum()
    assert rows[0][3] == f"{counts[0] / own.sum():.0%}"
    assert not any(caption.startswith("Confusion matrix") for caption, _ in page.tables)


@pytest.mark.parametrize("name", ["EXPR", "AU", "report_effort"])
def test_videos_are_sorted_by_their_own_scores(tmp_path, name):
    page, made, _ = written(tmp_path, name)
    mask = made.has_crop & made.task.valid(made.labels)
    guess = decide(made.task, made.scores, made.thresholds)
    expected = {}
    for v, video in enumerate(made.videos):
        x, y = (one[mask & (made.video == v)] for one in (guess, made.labels))
        if name == "EXPR":
            value = (x == y).mean()
        elif name == "AU":
            value = 2 * (x & (y == 1)).sum() / (x.sum() + (y == 1).sum())
        else:
            value = 5 * np.abs(x - y).mean()  # values are from 0 to 10
        expected[video] = value
    rows = page.table("The worst first")[1:]
    values = [float(row[1]) for row in rows]
    assert values == sorted(values, reverse=name == "report_effort")
    found = {row[0]: float(row[1]) for row in rows}
    shown = {v: expected[v] for v in ("a", "b", "c", "=1+1", HOSTILE[0], HOSTILE[1])}
    assert {v: found[v] for v in shown} == pytest.approx(shown, abs=6e-4)
    titles = [text for level, text in page.headings if level == 3]
    assert titles[0] == f"Worst video: {rows[0][0]}"
    assert titles[1] == f"Best video: {rows[-1][0]}"


@pytest.mark.parametrize("name", TASKS)
def test_hostile_names_are_texts(tmp_path, name):
    page, made, _ = written(tmp_path, name)
    names = {row[0] for row in page.table("The worst first")[1:]}
    shown = {v.replace("\n", "\\n").replace("\u202e", "\\u202e") for v in VIDEOS}
    assert names == shown
    if name == "report_mood":
        assert "<b>sad</b>" in page.text
    assert made.videos == VIDEOS


@pytest.mark.parametrize("name", TASKS)
def test_frames_are_read_as_they_were_written(tmp_path, name):
    made = made_predictions(tmp_path, name)
    frames = read_frames(tmp_path / "predictions.csv", made.task, made.thresholds)
    assert frames.videos == VIDEOS
    np.testing.assert_array_equal(np.diff(frames.offsets), FRAMES)
    np.testing.assert_allclose(frames.scores, made.scores, atol=1e-6)
    np.testing.assert_array_equal(frames.has_crop, made.has_crop)
    np.testing.assert_array_equal(frames.filled, made.filled)
    assert frames.labels.dtype == made.task.label_dtype
    np.testing.assert_allclose(frames.labels, made.labels, atol=1e-6)


def test_several_seeds_say_whose_predictions_are_shown(tmp_path):
    page, made, found = written(tmp_path, "EXPR", seeds=3)
    score = found["metrics"]["smoothed"]["with_crop"]["f1_macro"]
    assert f"{score:.3f} ± 0.012 [" in page.text
    rows = page.table("Scores of each seed")
    assert [row[0] for row in rows[1:]] == ["seed 0", "seed 1", "seed 2"]
    assert "by seed 2, the best on dev" in page.text
    assert [row[0] for row in page.table("Smoothing over time")[1:]] == [
        f"seed {i}" for i in range(3)
    ]
    assert made.task.name == "EXPR"


def test_what_was_chosen_and_what_readers_are_warned_of(tmp_path):
    made = made_predictions(tmp_path, "EXPR")
    rate = {
        "rule": "refine",
        "share_embedded": 0.25,
        "per_seed": [
            {
                "strides": [50, 10],
                "share_embedded": 0.25,
                "dev": {
                    "share_embedded": 0.3,
                    "score": 0.6,
                    "score_of_all_frames": 0.7,
                },
            }
        ],
    }
    changes = {
        "weights": [[0.3, 0.7]],
        "confidences": [0.85],
        "temperatures": [0.5],
        "frame_rate": rate,
        "trained_on_this_split": True,
        "shared_groups": {"someone": ["train", "dev"]},
        "ceiling": {"with_crop": {"f1_macro": 0.875, "without_frames": ["Fear"]}},
    }
    found = made_results(made, **changes)
    heads = [PredictionFile(made, 1, ()), PredictionFile(made, 1, ())]
    sweep = (
        {"learning_rate": 1e-3, "dev_mean": 0.5, "dev_std": 0.01},
        {"learning_rate": 3e-3, "dev_mean": 0.6, "dev_std": 0.02},
    )
    model = made_model(tmp_path, made.task, heads=heads, sweep=sweep)
    write_report(tmp_path, model, found)
    page = check_page((tmp_path / REPORT).read_text("utf-8"))
    assert [row[1] for row in page.table("Weights of the heads")] == [
        "seed 0",
        "0.30",
        "0.70",
    ]
    assert page.table("Frames that are embedded")[1] == [
        *("1", "50, 10", "25.0%", "30.0%", "0.600", "0.700")
    ]
    assert page.table("Settings that were tried")[2][0] == "kept"
    for words in (
        "no score to report",
        "1 persons or recordings are in several splits",
        "no frame of Fear: macro F1 cannot exceed 0.875.",
        "the extractor is trusted, by seed: 0.85",
        "correction, by seed: 0.5",
    ):
        assert words in page.text
    nothing = {"chosen_on": None, "chosen_on_reason": "the store has no dev videos"}
    write_report(tmp_path, model, found | nothing)
    text = (tmp_path / REPORT).read_text("utf-8")
    assert "Nothing was chosen on dev: the store has no dev videos." in text


@pytest.mark.parametrize("name", TASKS)
def test_a_split_without_labels_shows_what_is_predicted(tmp_path, name):
    made = made_predictions(tmp_path, name, labelled=False)
    whole = made_results(made_predictions(tmp_path / "labelled", name))
    found = {k: v for k, v in whole.items() if k not in ("metrics", "per_seed")}
    write_report(tmp_path, made_model(tmp_path, made.task), found | {"split": "test"})
    page = check_page((tmp_path / REPORT).read_text("utf-8"))
    rows = page.table("Predictions of all 480 frames")
    decided = decide(made.task, made.scores, made.thresholds)
    assert [row[0] for row in rows[1:]] == list(made.task.columns)
    if made.task.kind == "regression":
        mean = made.task.in_units(decided).mean(axis=0)
        assert [float(row[1]) for row in rows[1:]] == pytest.approx(mean, abs=1e-3)
    elif made.task.kind == "multilabel":
        assert [int(row[1]) for row in rows[1:]] == decided.sum(axis=0).tolist()
    else:
        counts = np.bincount(decided, minlength=made.task.num_outputs)
        assert [int(row[1]) for row in rows[1:]] == counts.tolist()
    assert "nothing is scored" in page.text


def test_tasks_that_were_trained_together_are_in_one_report(tmp_path):
    parts = {name: made_predictions(tmp_path / name, name) for name in ("EXPR", "VA")}
    tasks = {name: made_results(one) for name, one in parts.items()}
    models = {n: made_model(tmp_path, one.task) for n, one in parts.items()}
    sums = {"raw": {"with_crop": {"p": 1.25, "p_std": 0.5}}}
    sums["smoothed"] = {"with_crop": {"p": 1.5}}
    joint = made_card(task="EXPR+VA", head={"task": "EXPR+VA", "kind": "mlp"})
    found = tasks["EXPR"] | {"task": "EXPR+VA", "tasks": tasks, "metrics": sums}
    write_report(tmp_path, JointModel(joint, models), found)
    page = check_page((tmp_path / REPORT).read_text("utf-8"))
    rows = page.table("P of EXPR+VA")
    assert rows[1:] == [
        ["raw, with crop", "1.250 ± 0.500"],
        ["smoothed, with crop", "1.500"],
    ]
    titles = [text for level, text in page.headings if level == 2]
    assert titles[:3] == ["All tasks", "Expressions (EXPR)", "Valence and arousal (VA)"]
    for name, one in tasks.items():
        headline = parts[name].task.headline
        value = one["metrics"]["smoothed"]["with_crop"][headline]
        assert f"{value:.3f} smoothed" in page.text


def test_folds_lead_to_their_reports(tmp_path):
    folds = [
        {block: {"with_crop": {"f1_macro": 0.1 * i}} for block in ("raw", "smoothed")}
        for i in (1, 3)
    ]
    mean = {"with_crop": {"f1_macro": 0.2, "f1_macro_std": 0.141}}
    found = {
        **{"task": "EXPR", "synthetic": True, "data": "demo", "split": "validation"},
        **{"num_folds": 2, "folds": folds, "metrics": {"raw": mean, "smoothed": mean}},
    }
    one = {"accuracy": 0.5, "f1_macro": 0.4, "recall_macro": 0.3, "num": 7}
    said = {"num_speakers": 3, "methods": {"ci95": "percentile", "bca95": "BCa"}}
    found["speaker_folds"] = {
        "source": "as published",
        "speakers": [["<i>ann</i>", "bo"], ["cy"]],
        "per_video": {
            **{"folds": [one, one], "mean": one, "std": one},
            "pooled": one
            | {"accuracy_ci95": [0.25, 0.75], "intervals": said}
            | {"accuracy_bca95": [0.2, 0.7]},
        },
    }
    write_folds_report(tmp_path, found, ["fold_0", "fold_1"])
    text = (tmp_path / REPORT).read_text("utf-8")
    rows = check_page(text).table("f1_macro of each fold")
    assert rows[1] == ["fold_0", "0.100", "0.100"]
    assert rows[-1] == ["mean ± standard deviation", "0.200 ± 0.141", "0.200 ± 0.141"]
    speakers = check_page(text).table("Folds of speakers (as published), clips")
    assert speakers[1] == ["0", "<i>ann</i>, bo", "7", "0.500", "0.400", "0.300"]
    assert speakers[-1][2:4] == ["7", "0.500 [0.250, 0.750]"]
    told = "over 3 speakers, fewer than 40, 95 % intervals by BCa are: accuracy [0.200"
    assert told in check_page(text).text
    assert re.findall(r'href="(fold_\d/report\.html)"', text) == [
        f"fold_{i}/report.html" for i in range(2)
    ]


def widths(lane: str, kind: str) -> float:
    """Share of a lane's width under the rectangles of one kind."""
    paths = re.findall(rf'<path class="{kind}" d="([^"]*)"', lane)
    return sum(map(float, re.findall(r"h([\d.]+)v", "".join(paths)))) / 1000


def test_time_lines_cover_the_frames_that_they_mean(tmp_path):
    made = made_predictions(tmp_path, "report_mood", videos=tuple("abcdef"))
    frames = read_frames(tmp_path / "predictions.csv", made.task, None)
    of_each = [len({*made.labels[made.video == v]}) for v in range(6)]
    chosen = int(np.argmax(of_each))  # the video with the most classes
    own = made.video == chosen
    lanes = re.findall(r"lane-name.*?</svg>", timeline(frames, chosen), re.DOTALL)
    guess = made.scores.argmax(axis=1)
    *of_classes, gaps = lanes
    for lane in of_classes:
        name = html.unescape(re.findall(r'lane-name">(.*?)</span>', lane)[0])
        c = made.task.columns.index(name)
        label = (made.labels[own] == c).mean()
        decided = (guess[own] == c).mean()
        assert widths(lane, "label") == pytest.approx(label, abs=2e-3)
        assert widths(lane, "decided") == pytest.approx(decided, abs=2e-3)
        assert label + decided > 0
    used = {*made.labels[own], *guess[own]} - {-1}
    assert len(of_classes) == len(used) > 1
    assert widths(gaps, "gap") == pytest.approx(made.filled[own].mean(), abs=2e-3)


def test_curves_of_long_videos_keep_their_ends(tmp_path):
    made = made_predictions(tmp_path, "report_effort", videos=("a",))
    long = read_frames(tmp_path / "predictions.csv", made.task, None)
    count = 20_000
    scores = 0.2 * np.sin(np.arange(count) / 900)[:, None]
    scores[12_345], scores[777] = 0.95, -0.9  # single frames
    frames = dataclasses.replace(
        long,
        offsets=np.array([0, count]),
        scores=scores,
        labels=np.full((count, 1), np.nan, np.float32),
        has_crop=np.ones(count, bool),
        filled=np.zeros(count, bool),
    )
    text = timeline(frames, 0)
    (path,) = re.findall(r'<path class="curve decided" d="([^"]*)"', text)
    points = np.array([p.split() for p in re.split("[ML]", path) if p], float)
    assert path.count("M") == 1  # nothing is missing
    assert len(points) <= 802
    expected = 19 - 9 * (np.array([0.95, -0.9]) + 1)
    assert points[:, 1].min() == pytest.approx(expected[0], abs=0.06)
    assert points[:, 1].max() == pytest.approx(expected[1], abs=0.06)


def test_videos_of_few_frames_have_no_time_line_where_there_are_longer_ones(tmp_path):
    made = made_predictions(tmp_path, "EXPR")
    frames = read_frames(tmp_path / "predictions.csv", made.task, None)
    scores = scores_by_video(frames)
    order = list(scores.worst_first())
    scores.num_frames[order[0]] = 3
    assert scores.worst_and_best() == [order[1], order[-1]]
    scores.num_frames[:] = 3
    assert scores.worst_and_best() == [order[0], order[-1]]


def test_ticks_are_round_and_inside():
    assert ticks((0.0, 1.0)) == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert ticks((0.343, 0.394)) == [0.35, 0.36, 0.37, 0.38, 0.39]
    assert ticks((-1.0, 1.0), 5) == [-1.0, -0.5, 0.0, 0.5, 1.0]
    assert whole_ticks(5) == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert whole_ticks(20) == [3.0, 6.0, 9.0, 12.0, 15.0, 18.0]
    assert pathlib.Path(REPORT).suffix == ".html"


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "EXPR",
        *(pytest.param(n, marks=pytest.mark.release) for n in ("AU", "report_effort")),
    ],
)
def test_a_browser_finds_no_fault(browser, tmp_path, name):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    written(tmp_path, name)
    for width, dark in ((400, False), (1280, True)):
        with opened(browser, tmp_path / REPORT, width=width, dark=dark) as page:
            wide = page.evaluate("document.documentElement.scrollWidth")
            faults = [
                f"{one['id']}: {one['help']}"
                for one in axe.run(page).response["violations"]
                if one["impact"] in ("serious", "critical")
            ]
        assert wide <= width
        assert not faults
