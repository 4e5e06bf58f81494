"""Whole runs on small made stores: what is written, and that the numbers are right."""

import contextlib
import csv
import dataclasses
import functools
import io
import json
import os
import pathlib
import re
import shutil
from typing import Any

import jax
import numpy as np
import pytest
from made.report_html import check_page
from made.tables import MadeStore
from sklearn.metrics import accuracy_score, f1_score

from avemo_jax import experiment
from avemo_jax.batches.tables import Data
from avemo_jax.config.fields import base_config
from avemo_jax.config.workdir_config import WorkdirError
from avemo_jax.models import checkpoints, head
from avemo_jax.models.card import CheckpointError, read_card
from avemo_jax.postprocess.smoothing_sweep import smoothings_of
from avemo_jax.runtime import locks
from avemo_jax.tasks import ACTION_UNITS, EXPRESSIONS, TASKS
from avemo_jax.training.objective import TrainingError
from avemo_jax.training.plan import memory
from avemo_jax.training.train import train

HEADLINES = {"EXPR": "f1_macro", "AU": "f1_mean", "VA": "ccc_mean"}
SCORES = {
    "EXPR": {"f1_macro", "accuracy", "f1_per_class"},
    "AU": {"f1_mean", "f1_mean_at_0.5", "f1_per_unit", "thresholds"},
    "VA": {"ccc_mean", "ccc_valence", "ccc_arousal"},
}
PLOTS = {"EXPR": "confusion.png", "AU": "au_f1.png", "VA": "timeline.png"}
UNITS = [f"AU{unit:02d}" for unit in ACTION_UNITS]
BOTH = ("with_crop", "all_labelled")
WIDTHS = (5, 30)  # few, so that little is compiled


def opened(directory: str, cache_dir: str | None = None) -> Data:
    """In the place of a store's folder stand the words that a made store is made by."""
    task, *words = directory.split()
    store = MadeStore(task, videos=5, frames=80, slow=0.95, noise=0.8)
    if "other" in words:
        store.feature_sets = {
            name: dataclasses.replace(fs, fingerprint="other")
            for name, fs in store.feature_sets.items()
        }
    return Data(store, directory, "made data")


@pytest.fixture(scope="module", autouse=True)
def made_stores():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "open_data", opened)
        yield


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run, and what it printed."""

    config: object
    workdir: pathlib.Path
    returned: dict
    printed: str

    @property
    def results(self) -> dict:
        return read_json(self.workdir / "results.json")

    @property
    def card(self) -> dict:
        return read_json(self.workdir / "best_model" / "head.json")


def read_json(path: pathlib.Path) -> dict:
    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


def small_config(task: str, workdir: pathlib.Path, **fields):
    config = base_config(task, "mlp")
    config.data.dir = task
    config.workdir = str(workdir)
    config.batch_size = 32
    config.num_epochs = 2
    config.learning_rate = 1e-2
    config.evaluate.batch_size = 64
    config.postprocess.half_widths = WIDTHS
    config.log.tensorboard = False
    config.update_from_flattened_dict(
        {name.replace("__", "."): value for name, value in fields.items()}
    )
    return config


def ran(task: str, workdir: pathlib.Path, **fields) -> Run:
    config = small_config(task, workdir, **fields)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        returned = experiment.run_experiment(config)
    return Run(config, workdir, returned, printed.getvalue())


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Finished runs by (task, number of seeds), each made once."""
    made = {}

    def run(task: str, seeds: int) -> Run:
        if (task, seeds) not in made:
            workdir = tmp_path_factory.mktemp("runs") / f"{task}{seeds}"
            made[task, seeds] = ran(task, workdir, num_seeds=seeds)
        return made[task, seeds]

    return run


# Each is compiled for itself: one task with several seeds is enough.
ALL_RUNS = pytest.mark.parametrize(
    ("task", "seeds"),
    [
        ("EXPR", 1),
        pytest.param("VA", 1, marks=pytest.mark.release),
        pytest.param("AU", 2, marks=pytest.mark.slow),
    ],
)


# --- Files ---------------------------------------------------------------------------


@ALL_RUNS
def test_a_run_writes_these_files(runs, task, seeds):
    workdir = runs(task, seeds).workdir
    thresholds = {"predictions.json"} if task == "AU" else set()
    assert {path.name for path in workdir.iterdir()} == thresholds | {
        "config.json",
        "environment.json",
        "metrics.jsonl",
        "checkpoints",
        "best_model",
        "results.json",
        "resamples.npz",
        "predictions.csv",
        "report.html",
        "plots",
    }
    plots = {path.name for path in (workdir / "plots").iterdir()}
    assert plots == {"learning_curves.png", "smoothing.png", PLOTS[task]}
    for name in plots:
        assert (workdir / "plots" / name).read_bytes().startswith(b"\x89PNG")
    assert {p.name for p in (workdir / "best_model").iterdir()} == {
        "head.json",
        "params",
    }
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    steps = {str(json.loads(line)["step"]) for line in lines}
    assert {p.name for p in (workdir / "checkpoints").iterdir()} == steps


@pytest.mark.slow
def test_what_describes_the_run(runs):
    run = runs("AU", 2)
    assert read_json(run.workdir / "config.json")["num_seeds"] == 2
    environment = read_json(run.workdir / "environment.json")
    assert environment["packages"].keys() >= {"jax", "jaxlib", "flax", "optax", "numpy"}
    assert environment["devices"]
    assert "git_revision" in environment
    store = opened("AU").store
    for split in ("train", "dev", "validation", "test"):
        expected = list(store.split_videos("AU", split))
        assert environment["videos"][split] == expected
    lines = (run.workdir / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2]
    for line in map(json.loads, lines):
        assert line.keys() >= {"step", "loss", "dev_f1_mean_at_0.5", "frames_per_s"}


@pytest.mark.slow
def test_card_says_what_the_head_is(runs):
    run = runs("AU", 2)
    card = run.card
    assert card["schema"] == 1
    assert card["task"] == "AU"
    store = opened("AU").store
    assert card["training_videos"] == list(store.split_videos("AU", "train"))
    assert [f["name"] for f in card["features"]] == list(store.feature_sets)
    assert [f["fingerprint"] for f in card["features"]] == ["made0", "made1"]
    assert card["seeds"] == [0, 1]
    assert np.shape(card["selection"]["thresholds"]) == (2, 12)
    assert card["scores"] == run.results["metrics"]
    assert card["data"]["fingerprint"] == "made"


# --- results.json --------------------------------------------------------------------


@ALL_RUNS
def test_results_have_these_keys(runs, task, seeds):
    run = runs(task, seeds)
    found = run.results
    assert found == json.loads(json.dumps(run.returned))
    assert found.keys() == {
        *("schema_version", "task", "data", "synthetic", "features", "head", "split"),
        *("num_seeds", "seed", "chosen_on", "chosen_by", "protocol", "counts"),
        *("per_seed", "metrics", "chosen_on_reason", "trained_on_this_split", "joined"),
        *("training", "checkpoint", "faces"),
    } | ({"calibration"} if task != "VA" else set())
    training = {"batch_size": 32, "num_epochs": 2, "passes_per_epoch": 1}
    assert found["training"].items() >= training.items()
    assert found["schema_version"] == 1
    assert found["task"] == task
    assert found["data"].keys() == {"path", "fingerprint"}
    assert found["synthetic"] is True
    assert found["features"] == list(opened(task).store.feature_sets)
    assert (found["head"], found["split"]) == ("mlp", "validation")
    assert (found["num_seeds"], found["seed"]) == (seeds, 0)
    assert (found["chosen_on"], found["protocol"]) == ("dev", "ours")
    assert found["chosen_on_reason"] == ""
    assert found["trained_on_this_split"] is False
    assert found["counts"].keys() == {"train", "dev", "validation"}
    for counts in found["counts"].values():
        assert counts.keys() >= {"videos", "frames", "samples"}


@ALL_RUNS
def test_blocks_of_metrics(runs, task, seeds):
    metrics = runs(task, seeds).results["metrics"]
    window = {"mode", "half_width_frames", "window_s"}
    assert metrics.keys() == {"raw", "smoothed", "tuned_on_reported"}
    tuned = {"tuned_on_reported"} if task == "AU" else set()
    assert metrics["raw"].keys() == {"with_crop"} | tuned
    if tuned:
        best = metrics["raw"]["tuned_on_reported"]["f1_mean"]
        assert best >= metrics["raw"]["with_crop"]["f1_mean"]
    assert metrics["smoothed"].keys() == {*BOTH, *window}
    assert metrics["tuned_on_reported"].keys() == {*BOTH, *window}
    for block in metrics.values():
        for frames in BOTH:
            if frames in block:
                check_scores(block[frames], task, seeds)
    resamples = np.load(runs(task, seeds).workdir / "resamples.npz")
    few = {f"{name}_left_out" for name in metrics}
    assert set(resamples) == {*metrics, *few, "videos"}
    for name, block in metrics.items():
        ends = np.quantile(resamples[name], (0.025, 0.975))
        expected = block["with_crop"][f"{TASKS[task].headline}_ci95"]
        np.testing.assert_allclose(ends, expected, atol=1e-6)
    expected = (opened(task).store).load_table(task, "validation", [])
    valid = expected.task.valid(expected.dense_labels)
    for block in metrics.values():
        assert block["with_crop"]["num_frames"] == expected.valid.sum()
    assert metrics["smoothed"]["all_labelled"]["num_frames"] == valid.sum()
    assert valid.sum() > expected.valid.sum()


def check_scores(scores: dict, task: str, seeds: int) -> None:
    beside = ("_std", "_ci95", "_bca95")
    plain = {name for name in scores if not name.endswith(beside)}
    plain -= {"num_frames", "intervals"}
    # The thresholds of several seeds have no mean that anyone could use.
    assert plain == SCORES[task] - ({"thresholds"} if seeds > 1 else set())
    low = -1 if task == "VA" else 0
    for name in plain:
        if isinstance(scores[name], dict):
            assert list(scores[name]) == list(TASKS[task].columns)
            assert all(low <= value <= 1 for value in scores[name].values())
            assert f"{name}_std" not in scores
        else:
            assert low <= scores[name] <= 1
            assert (f"{name}_std" in scores) is (seeds > 1)
        if name != "thresholds":
            check_interval(scores[f"{name}_ci95"], scores[name])
            assert f"{name}_bca95" in scores


def check_interval(ends: Any, value: Any) -> None:
    """Two numbers, or two for each output; a score of few videos may lie outside."""
    pairs = ends if isinstance(value, dict) else {"": ends}
    assert not isinstance(value, dict) or list(ends) == list(value)
    for low, high in pairs.values():
        assert -1 <= low <= high <= 1


@ALL_RUNS
def test_metrics_are_the_means_of_the_seeds(runs, task, seeds):
    found = runs(task, seeds).results
    per_seed = found["per_seed"]
    assert [one["seed"] for one in per_seed] == list(range(seeds))
    for name, block in found["metrics"].items():
        for frames in BOTH:
            for score, value in block.get(frames, {}).items():
                if score in ("num_frames", "intervals"):
                    continue
                if score.endswith(("_std", "_ci95", "_bca95")):
                    continue
                values = [one[name][frames][score] for one in per_seed]
                if isinstance(value, dict):
                    for part in value:
                        parts = [each[part] for each in values]
                        assert value[part] == pytest.approx(np.mean(parts), abs=1e-9)
                    continue
                assert value == pytest.approx(np.mean(values), abs=1e-9)
                if seeds > 1:
                    std = np.std(values, ddof=1)
                    assert block[frames][f"{score}_std"] == pytest.approx(std, abs=1e-9)


@ALL_RUNS
def test_seeds_say_what_was_chosen_for_each(runs, task, seeds):
    run = runs(task, seeds)
    found, selection = run.results, run.card["selection"]
    modes, widths = [], []
    for i, one in enumerate(found["per_seed"]):
        assert 1 <= one["best_epoch"] <= 2
        assert one["dev"].keys() == {
            TASKS[task].criterion,
            f"smoothed_{HEADLINES[task]}",
        }
        own = one["smoothed"]
        chosen = {name: own[name] for name in ("mode", "half_width_frames")}
        assert chosen == selection["smoothing"][i]
        assert (own["mode"], own["half_width_frames"]) in smoothings_of(
            WIDTHS, gaussian=True
        )
        modes.append(own["mode"])
        widths.append(own["half_width_frames"])
        if task == "AU":
            limits = list(own["all_labelled"]["thresholds"].values())
            np.testing.assert_allclose(limits, selection["thresholds"][i], atol=1e-6)
    block = found["metrics"]["smoothed"]
    same = len(set(zip(modes, widths, strict=True))) == 1
    assert block["mode"] == (modes[0] if same else modes)
    assert block["half_width_frames"] == (widths[0] if same else widths)
    seconds = np.atleast_1d(block["window_s"])
    expected = (2 * np.unique(widths) + 1) / 30
    np.testing.assert_allclose(np.unique(seconds), expected, atol=1e-3)


@pytest.mark.release
def test_windows_matter_on_these_data(runs):
    """Else nothing here would tell smoothed scores from raw ones."""
    modes = [
        one["smoothed"]["mode"]
        for task, seeds in (("EXPR", 1), ("VA", 1), ("AU", 2))
        for one in runs(task, seeds).results["per_seed"]
    ]
    assert set(modes) & {"mean", "median"}


# --- The numbers, from the predictions -----------------------------------------------


def columns_of(path: pathlib.Path) -> dict[str, np.ndarray]:
    with path.open() as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def ccc(x: np.ndarray, y: np.ndarray) -> float:
    covariance = ((x - x.mean()) * (y - y.mean())).mean()
    return 2 * covariance / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)


def recomputed(task: str, table: dict[str, np.ndarray], rows: np.ndarray) -> dict:
    """The scores of ``rows`` by the definitions, from the file's columns alone."""
    if task == "EXPR":
        labels, found = table["label_expression"][rows], table["expression"][rows]
        scores = np.stack([table[name].astype(float) for name in EXPRESSIONS], axis=1)
        assert (np.array(EXPRESSIONS)[scores.argmax(axis=1)][rows] == found).all()
        names = list(EXPRESSIONS)
        each = f1_score(labels, found, labels=names, average=None, zero_division=0)
        return {
            "f1_macro": each.mean(),
            "accuracy": accuracy_score(labels, found),
            "f1_per_class": dict(zip(names, each, strict=True)),
        }
    if task == "AU":
        labels = np.stack([table[f"label_{u}"][rows] for u in UNITS], axis=1) == "1"
        found = np.stack([table[f"{u}_c"][rows] for u in UNITS], axis=1) == "1"
        scores = np.stack([table[u][rows].astype(float) for u in UNITS], axis=1)
        each = f1_score(labels, found, average=None, zero_division=0)
        half = f1_score(labels, scores >= 0.5, average=None, zero_division=0)
        return {
            "f1_mean": each.mean(),
            "f1_mean_at_0.5": half.mean(),
            "f1_per_unit": dict(zip(UNITS, each, strict=True)),
        }
    valence, arousal = (
        ccc(table[name][rows].astype(float), table[f"label_{name}"][rows].astype(float))
        for name in ("valence", "arousal")
    )
    return {
        "ccc_mean": (valence + arousal) / 2,
        "ccc_valence": valence,
        "ccc_arousal": arousal,
    }


def check_against_predictions(workdir: pathlib.Path) -> None:
    """The seed that is best on dev, over both sets of frames."""
    found = read_json(workdir / "results.json")
    task = found["task"]
    table = columns_of(workdir / "predictions.csv")
    labels = [name for name in table if name.startswith("label_")]
    labelled = np.all([table[name] != "" for name in labels], axis=0)
    headline = f"smoothed_{HEADLINES[task]}"
    on_dev = [one.get("dev", {}).get(headline, 0.0) for one in found["per_seed"]]
    own = found["per_seed"][int(np.argmax(on_dev))]["smoothed"]
    cropped = labelled & (table["has_crop"] == "1")
    for frames, rows in zip(BOTH, (cropped, labelled), strict=True):
        assert found["metrics"]["smoothed"][frames]["num_frames"] == rows.sum()
        for name, value in recomputed(task, table, rows).items():
            assert own[frames][name] == pytest.approx(value, abs=1e-5), (frames, name)


@ALL_RUNS
def test_scores_are_those_of_the_predictions(runs, task, seeds):
    check_against_predictions(runs(task, seeds).workdir)


@ALL_RUNS
def test_the_report_has_the_numbers_of_the_results(runs, task, seeds):
    run = runs(task, seeds)
    page = check_page((run.workdir / "report.html").read_text("utf-8"))
    headline = HEADLINES[task]
    for block in ("raw", "smoothed"):
        scores = run.results["metrics"][block]["with_crop"]
        low, high = scores[f"{headline}_ci95"]
        words = f"{scores[headline]:.3f} {block}, 95 % {low:.3f} to {high:.3f}"
        assert words in page.text
    assert "Training of mlp on " in page.text
    kinds = [a.get("class", "").split() for tag, a in page.attributes if tag == "path"]
    lines = [kind for kind in kinds if {"curve", "c0"} <= set(kind)]
    assert len(lines) >= seeds + (seeds > 1)
    keeps = re.findall(r"seed (\d+) keeps epoch (\d+)", page.text)
    best = [(str(o["seed"]), str(o["best_epoch"])) for o in run.results["per_seed"]]
    assert keeps == best
    versions = {row[0]: row[1:] for row in page.table("Versions")}
    assert versions["jax"] == [jax.__version__] * 2
    chosen = page.table("Smoothing over time")[1:]
    for one, row in zip(run.results["per_seed"], chosen, strict=True):
        assert row[2] == f"{one['dev'][f'smoothed_{headline}']:.3f}"


@pytest.mark.parametrize(
    ("task", "seeds"), [("EXPR", 1), pytest.param("AU", 2, marks=pytest.mark.slow)]
)
def test_errors_of_calibration_are_those_of_the_predictions(runs, task, seeds):
    """By the seed that is best on dev, whose predictions are written."""
    run = runs(task, seeds)
    found, per_seed = run.results["calibration"], run.results["per_seed"]
    table = columns_of(run.workdir / "predictions.csv")
    best = np.argmax([one["dev"][f"smoothed_{HEADLINES[task]}"] for one in per_seed])
    own = found["per_seed"][int(best)]["smoothed"]["all_labelled"]
    names = EXPRESSIONS if task == "EXPR" else UNITS
    columns = ["label_expression"] if task == "EXPR" else [f"label_{u}" for u in UNITS]
    labelled = table[columns[0]] != ""
    each = own["ece_per_class" if task == "EXPR" else "ece_per_unit"]
    for i, name in enumerate(names):
        sure = table[name][labelled].astype(float)
        label = table[columns[i % len(columns)]][labelled]
        true = label == (name if task == "EXPR" else "1")
        bins = np.minimum((sure * 15).astype(int), 14)
        gaps = [abs((true - sure)[bins == b].sum()) for b in range(15)]
        # Digits that the file cuts off may move a frame to the next bin.
        assert each[name] == pytest.approx(sum(gaps) / len(sure), abs=2e-3)
    assert found["num_bins"] == 15
    mean = "ece_classwise" if task == "EXPR" else "ece_mean"
    assert own[mean] == pytest.approx(np.mean(list(each.values())))
    whole = [one["smoothed"]["all_labelled"][mean] for one in found["per_seed"]]
    assert found["smoothed"]["all_labelled"][mean] == pytest.approx(np.mean(whole))


def test_predictions_have_every_frame_of_every_video(runs):
    table = columns_of(runs("EXPR", 1).workdir / "predictions.csv")
    expected = opened("EXPR").store.load_table("EXPR", "validation", [])
    names = np.repeat(expected.videos, expected.num_frames)
    assert (table["video"] == names).all()
    frames = np.concatenate([np.arange(1, n + 1) for n in expected.num_frames])
    assert (table["frame"].astype(int) == frames).all()
    crops = np.zeros(len(frames), int)
    crops[expected.dense_index] = 1
    assert (table["has_crop"].astype(int) == crops).all()


@pytest.mark.slow
def test_the_choice_is_the_best_on_dev(runs, tmp_path):
    """Scored on dev itself, what was chosen and what is best there are the same."""
    run = runs("AU", 2)
    with contextlib.redirect_stdout(io.StringIO()):
        on_dev = experiment.evaluate_checkpoint(
            run.workdir / "best_model", data_dir="AU", split="dev", workdir=tmp_path
        )
    assert on_dev["split"] == "dev"
    for one in on_dev["per_seed"]:
        chosen, best = one["smoothed"], one["tuned_on_reported"]
        assert chosen["mode"] == best["mode"]
        assert chosen["half_width_frames"] == best["half_width_frames"]
        assert chosen["with_crop"]["f1_mean"] == pytest.approx(
            best["with_crop"]["f1_mean"]
        )
        smoothed = one["dev"]["smoothed_f1_mean"]
        assert chosen["with_crop"]["f1_mean"] == pytest.approx(smoothed)
        own = one["dev"]["f1_mean_at_0.5"]
        assert one["raw"]["with_crop"]["f1_mean_at_0.5"] == pytest.approx(own, abs=1e-6)


def test_evaluation_reads_card_weights_and_join_once(runs, tmp_path, monkeypatch):
    run = runs("EXPR", 1)  # its selection stands in its card: no look at dev
    calls: list[str] = []

    def counted(owner, name):
        function = getattr(owner, name)

        @functools.wraps(function)
        def call(*arguments, **options):
            calls.append(name)
            return function(*arguments, **options)

        monkeypatch.setattr(owner, name, call)

    for owner, name in (
        (head, "read_card"),
        (checkpoints, "load_head"),
        (MadeStore, "join"),
        (MadeStore, "load"),
    ):
        counted(owner, name)
    with contextlib.redirect_stdout(io.StringIO()):
        experiment.evaluate_checkpoint(
            run.workdir / "best_model",
            data_dir="EXPR",
            split="validation",
            workdir=tmp_path,
        )
    assert calls == ["read_card", "load_head", "join", "load"]


# --- Again, and elsewhere ------------------------------------------------------------


def stamps(folder: pathlib.Path) -> dict[str, tuple[int, int]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(p): (p.stat().st_mtime_ns, p.stat().st_ino) for p in files}


def test_finished_workdir_is_evaluated_not_trained_again(runs, monkeypatch):
    run = runs("EXPR", 1)
    before = stamps(run.workdir / "checkpoints") | stamps(run.workdir / "best_model")
    results = (run.workdir / "results.json").read_bytes()
    predictions = (run.workdir / "predictions.csv").read_bytes()
    history = (run.workdir / "metrics.jsonl").read_bytes()

    def fail(*_):
        raise AssertionError("trained again")

    monkeypatch.setattr(experiment, "train", fail)
    (run.workdir / "predictions.csv").unlink()
    again = ran("EXPR", run.workdir)
    after = stamps(run.workdir / "checkpoints") | stamps(run.workdir / "best_model")
    card = str(run.workdir / "best_model" / "head.json")
    assert {k: v for k, v in after.items() if k != card} == {
        k: v for k, v in before.items() if k != card
    }
    assert (run.workdir / "results.json").read_bytes() == results
    assert (run.workdir / "predictions.csv").read_bytes() == predictions
    assert (run.workdir / "metrics.jsonl").read_bytes() == history
    assert again.printed == run.printed


def test_other_configuration_is_refused_and_the_difference_shown(runs):
    run = runs("EXPR", 1)
    before = stamps(run.workdir)
    with pytest.raises(WorkdirError) as error:
        ran("EXPR", run.workdir, learning_rate=0.5, head__kind="transformer")
    assert "learning_rate: 0.01 -> 0.5" in str(error.value)
    assert "head.kind: 'mlp' -> 'transformer'" in str(error.value)
    assert "batch_size" not in str(error.value)
    assert "--workdir" in str(error.value)
    assert stamps(run.workdir) == before


@pytest.mark.slow
def test_where_and_how_shown_is_no_other_configuration(runs):
    run = runs("EXPR", 1)
    again = ran("EXPR", run.workdir, data__device_budget_gb=1.0, log__progress=False)
    assert again.results == run.results


def test_a_workdir_in_use_is_refused_with_who_holds_it(tmp_path):
    workdir = tmp_path / "run"
    workdir.mkdir()
    message = rf"{workdir} is in use by process {os.getpid()} on .* since"
    with locks.held(workdir / ".run.lock", what="it"):
        with pytest.raises(locks.HeldError, match=message):
            ran("EXPR", workdir)
        with pytest.raises(locks.HeldError, match=message):
            experiment.evaluate_checkpoint(
                workdir, data_dir="EXPR", split="dev", workdir=workdir
            )
        with pytest.raises(locks.HeldError, match=message):
            train(small_config("EXPR", workdir), opened("EXPR"), workdir)
    assert not list(workdir.iterdir())


def test_nothing_is_left_where_there_is_no_checkpoint(tmp_path):
    with pytest.raises(CheckpointError):
        experiment.evaluate_checkpoint(
            tmp_path / "no" / "best_model", data_dir="EXPR", split="dev", workdir=None
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("field", "there", "message"),
    [
        ("num_seeds", 10**9, r"training takes [\d,]+ bytes .*lower config.num_seeds"),
        ("evaluate__num_resamples", 10**6, r"is 100,000, which takes [\d,]+ bytes of"),
    ],
)
def test_what_memory_cannot_hold_does_not_claim_the_workdir(
    tmp_path, monkeypatch, field, there, message
):
    monkeypatch.setattr(experiment, "memory_bytes", lambda: there)
    monkeypatch.setattr(memory, "memory_bytes", lambda: 10**9)
    with pytest.raises(TrainingError, match=message):
        ran("EXPR", tmp_path / "run", **{field: 100_000})
    assert not list(tmp_path.iterdir())


def test_unknown_features_do_not_claim_the_workdir(tmp_path):
    with pytest.raises(ValueError, match="nonesuch"):
        ran("EXPR", tmp_path / "run", data__features="nonesuch")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "task", ["EXPR", pytest.param("VA", marks=pytest.mark.release)]
)
def test_two_fresh_runs_give_the_same_bytes(runs, task, tmp_path):
    first = runs(task, 1).workdir
    second = ran(task, tmp_path / "second").workdir
    for name in ("results.json", "predictions.csv"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    digests = [read_card(w / "best_model").sha256 for w in (first, second)]
    assert digests[0] == digests[1]


def test_split_without_labels_gives_predictions_only(runs, tmp_path):
    run = runs("EXPR", 1)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        found = experiment.evaluate_checkpoint(
            run.workdir / "best_model", data_dir="EXPR", split="test", workdir=tmp_path
        )
    assert "metrics" not in found
    assert "per_seed" not in found
    assert found["counts"]["test"]["samples"] == 0
    assert "no labels" in printed.getvalue()
    files = {"results.json", "predictions.csv", "report.html"}
    assert {p.name for p in tmp_path.iterdir()} == files
    page = check_page((tmp_path / "report.html").read_text("utf-8"))
    assert "nothing is scored" in page.text
    table = columns_of(tmp_path / "predictions.csv")
    assert not [name for name in table if name.startswith("label_")]
    assert len(table["video"]) == found["counts"]["test"]["frames"]
    scores = np.stack([table[name].astype(float) for name in EXPRESSIONS])
    assert ((scores >= 0) & (scores <= 1)).all()


def test_the_demo_corpus_never_stands_in_for_a_store(runs):
    best = runs("EXPR", 1).workdir / "best_model"
    with pytest.raises(ValueError, match="--data-dir"):
        experiment.evaluate_checkpoint(
            best, data_dir=None, split="validation", workdir=None
        )


def test_evaluation_lies_beside_the_checkpoint(runs):
    run = runs("EXPR", 1)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        found = experiment.evaluate_checkpoint(
            run.workdir / "best_model",
            data_dir="EXPR",
            split="validation",
            workdir=None,
            report=False,
        )
    folder = run.workdir / "evaluation-validation"
    assert str(folder) in printed.getvalue()
    assert found == run.results
    assert not (folder / "report.html").exists()
    shutil.rmtree(folder)


# --- Checkpoints that do not fit, or are damaged -------------------------------------


def test_features_of_another_fingerprint_are_refused(runs, tmp_path):
    with pytest.raises(ValueError, match=r"enet_b2_8_best.* fingerprint other"):
        experiment.evaluate_checkpoint(
            runs("EXPR", 1).workdir / "best_model",
            data_dir="EXPR other",
            split="validation",
            workdir=tmp_path,
        )
    assert not (tmp_path / "results.json").exists()


def evaluate_copy(source: pathlib.Path, copy: pathlib.Path, change) -> None:
    shutil.copytree(source, copy)
    change(copy)
    experiment.evaluate_checkpoint(
        copy, data_dir="EXPR", split="validation", workdir=copy.parent / "out"
    )


def flip_a_bit(directory: pathlib.Path) -> None:
    files = [p for p in (directory / "params").rglob("*") if p.is_file()]
    largest = max(files, key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(bytes(content))


def cut_the_card(directory: pathlib.Path) -> None:
    text = (directory / "head.json").read_text()
    (directory / "head.json").write_text(text[: len(text) // 2])


def newer_schema(directory: pathlib.Path) -> None:
    card = read_json(directory / "head.json") | {"schema": 99}
    (directory / "head.json").write_text(json.dumps(card))


def no_params(directory: pathlib.Path) -> None:
    shutil.rmtree(directory / "params")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (flip_a_bit, "params"),
        (cut_the_card, r"head\.json: line \d+"),
        (newer_schema, "schema 99; expected 1, which this version reads"),
        (no_params, "params"),
    ],
)
def test_damaged_head_checkpoint_is_refused(runs, tmp_path, change, message):
    source = runs("EXPR", 1).workdir / "best_model"
    with pytest.raises(CheckpointError, match=message):
        evaluate_copy(source, tmp_path / "copy", change)


def test_workdir_in_place_of_a_checkpoint_gives_a_hint(runs, tmp_path):
    workdir = runs("EXPR", 1).workdir
    with pytest.raises(CheckpointError, match=rf"{workdir}/best_model"):
        experiment.evaluate_checkpoint(
            workdir, data_dir="EXPR", split="validation", workdir=tmp_path
        )


# --- Other ways to train -------------------------------------------------------------


@pytest.fixture(scope="module")
def without_dev(tmp_path_factory) -> Run:
    workdir = tmp_path_factory.mktemp("runs") / "without_dev"
    return ran("AU", workdir, data__train_on="train+dev")


@pytest.mark.release
def test_without_dev_nothing_is_chosen_and_the_output_says_why(without_dev):
    found = without_dev.results
    assert found["chosen_on"] is None
    assert found["chosen_on_reason"] == "5 of 5 dev videos were trained on"
    block = found["metrics"]["smoothed"]
    fixed = (block["mode"], block["half_width_frames"])
    assert fixed == TASKS["AU"].fixed_smoothing
    assert set(block["all_labelled"]["thresholds"].values()) == {0.5}
    assert block["with_crop"]["f1_mean"] == block["with_crop"]["f1_mean_at_0.5"]
    assert "dev" not in found["per_seed"][0]
    assert found["per_seed"][0]["best_epoch"] == 2
    assert "nothing was chosen: 5 of 5 dev videos" in without_dev.printed
    assert "chosen on dev" not in without_dev.printed
    assert not (without_dev.workdir / "plots" / "learning_curves.png").exists()
    assert found["counts"].keys() == {"train+dev", "validation"}
    check_against_predictions(without_dev.workdir)


@pytest.mark.release
def test_split_that_was_trained_on_is_marked(without_dev, tmp_path):
    with contextlib.redirect_stdout(io.StringIO()):
        found = experiment.evaluate_checkpoint(
            without_dev.workdir / "best_model",
            data_dir="AU",
            split="dev",
            workdir=tmp_path,
        )
    assert found["trained_on_this_split"] is True
    assert without_dev.results["trained_on_this_split"] is False


@pytest.mark.slow
def test_sweep_keeps_the_best_and_shows_all(tmp_path):
    run = ran("EXPR", tmp_path / "run", sweep__learning_rate=(1e-5, 1e-2))
    rows = run.card["sweep"]
    assert [row["learning_rate"] for row in rows] == [1e-5, 1e-2]
    best = max(rows, key=lambda row: row["dev_mean"])
    assert run.card["setting"]["learning_rate"] == best["learning_rate"] == 1e-2
    (marked,) = [line for line in run.printed.splitlines() if "<- best" in line]
    assert f"{best['dev_mean']:.4f}" in marked
    assert "0.01" in marked
    assert run.results["num_seeds"] == 1
    check_against_predictions(run.workdir)


@pytest.fixture(scope="module")
def folds(tmp_path_factory) -> Run:
    workdir = tmp_path_factory.mktemp("runs") / "folds"
    return ran("VA", workdir, data__folds=2)


@pytest.mark.release
def test_folds_divide_the_official_train_videos(folds):
    store = opened("VA").store
    cards = [
        read_json(folds.workdir / f"fold_{i}" / "best_model" / "head.json")
        for i in range(2)
    ]
    official = store.split_videos("VA", "train+dev")
    for card in cards:
        own = [*card["training_videos"], *card["dev_videos"]]
        assert sorted(own) == sorted(official)
    held_out = [video for card in cards for video in card["dev_videos"]]
    assert sorted(held_out) == sorted(official)


@pytest.mark.release
def test_folds_have_mean_and_deviation(folds):
    found = folds.results
    parts = [read_json(folds.workdir / f"fold_{i}" / "results.json") for i in range(2)]
    assert found["num_folds"] == 2
    assert found["folds"] == [part["metrics"] for part in parts]
    for name in ("raw", "smoothed"):
        values = [part["metrics"][name]["with_crop"]["ccc_mean"] for part in parts]
        block = found["metrics"][name]["with_crop"]
        assert block["ccc_mean"] == pytest.approx(np.mean(values))
        assert block["ccc_mean_std"] == pytest.approx(np.std(values, ddof=1))
        assert f"{np.mean(values):.3f}" in folds.printed
    for i in range(2):
        check_against_predictions(folds.workdir / f"fold_{i}")


@pytest.mark.release
def test_one_fold_alone_is_its_part_of_all(folds, tmp_path):
    alone = ran("VA", tmp_path / "alone", data__folds=2, data__fold=1)
    part = folds.workdir / "fold_1"
    for name in ("results.json", "predictions.csv"):
        assert (alone.workdir / name).read_bytes() == (part / name).read_bytes()
