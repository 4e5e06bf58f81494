"""The results table, really trained and evaluated on a tiny store."""

import csv
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from made.several_sets import SETS, build_several_sets

from avemo_jax import experiment
from avemo_jax.batches.tables import Data, open_data
from avemo_jax.data.store.store import Store
from avemo_jax.postprocess.frame_rate import rules
from avemo_jax.postprocess.frame_rate.rules import FrameRateRule
from avemo_jax.results_table import command, evaluation, rates
from avemo_jax.results_table.maker import TableMaker
from avemo_jax.results_table.models import (
    TableRun,
    model_config,
    trained_model,
)
from avemo_jax.results_table.rows import rows

ROWS = {row.id: row for row in rows()}
OF_OTHERS = "mlp-b2,mlp-b2-wav2vec2-smooth,mlp-b2-wav2vec2-grid"
SMALL = ["--seeds", "2", "--epochs", "1"]


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> pathlib.Path:
    return build_several_sets(tmp_path_factory.mktemp("store") / "store")


@pytest.fixture(scope="module")
def table(store, tmp_path_factory) -> pathlib.Path:
    """All rows of EXPR, few of AU and VA, made by two calls."""
    out = tmp_path_factory.mktemp("table")
    made = ["--data-dir", str(store), "--out", str(out), *SMALL]
    few = ["--tasks", "au,va", "--rows", OF_OTHERS]
    assert command.main([*made, *few]) == 0
    assert command.main([*made, "--tasks", "EXPR,expr"]) == 0  # once is enough
    return out


def read(path: pathlib.Path) -> dict:
    return json.loads(path.read_text())


def cells(out: pathlib.Path) -> dict[str, dict]:
    return {cell["row"]: cell for cell in read(out / "results.json")["cells"]}


@pytest.mark.slow
def test_every_row_has_a_score(table):
    found = cells(table)
    assert list(found) == list(ROWS)
    for name, cell in found.items():
        assert cell["task"] == "EXPR"
        assert 0 <= cell["score"] <= 1, name
        assert cell["ci95"][0] <= cell["ci95"][1]
        assert len(cell["per_seed"]) == 2
        assert cell["score"] == pytest.approx(np.mean(cell["per_seed"]), abs=1e-6)
        assert cell["std"] == pytest.approx(np.std(cell["per_seed"], ddof=1), abs=1e-6)
        assert cell["chosen_on"] == "dev"
        for part in ("train_s", "inference_s", "postprocess_s", "original_s"):
            assert cell[part] > 0
        assert cell == read(table / "cells" / "expr" / f"{name}.json")["cell"]


@pytest.mark.slow
def test_files_and_plots_are_there(table):
    names = {path.name for path in table.iterdir()}
    assert names >= {"results.md", "results.json", "results.csv", "plots"}
    plots = {path.name for path in (table / "plots").iterdir()}
    assert plots >= {"scores_EXPR.png", "times.png", "frame_rates_EXPR.png"}
    assert plots >= {"frame_rates_AU.png", "frame_rates_VA.png"}
    lines = list(csv.DictReader((table / "results.csv").read_text().splitlines()))
    assert [line["row"] for line in lines] == list(ROWS)
    text = (table / "results.md").read_text()
    assert "synthetic" in text
    assert ".457" not in text  # the original's figures are of other data


@pytest.mark.slow
def test_scores_are_those_of_a_run(table, store, tmp_path):
    """The table has no numbers of its own."""
    table_run = TableRun(
        data=open_data(str(store)), out=table, num_seeds=2, num_epochs=1
    )
    config = model_config(table_run, "EXPR", "mlp", "enet_b2_8_best+wav2vec2_base")
    config.workdir, config.data.dir = str(tmp_path / "run"), str(store)
    metrics = experiment.run_experiment(config)["metrics"]
    found = cells(table)
    for block, row in (("raw", ""), ("smoothed", "-smooth")):
        expected = metrics[block]["with_crop"]
        cell = found[f"mlp-b2-wav2vec2{row}"]
        assert cell["score"] == pytest.approx(expected["f1_macro"], abs=1e-6)
        np.testing.assert_allclose(cell["ci95"], expected["f1_macro_ci95"], atol=1e-6)


@pytest.mark.slow
def test_a_second_call_computes_nothing(table, store):
    files = [p for p in table.rglob("*") if p.is_file() and "cells" in p.parts]
    files += list(table.glob("models/*/*/best_model/head.json"))
    before = {p: p.stat().st_mtime_ns for p in files if "effects" not in p.name}
    shown = read(table / "results.json")
    arguments = [
        "--data-dir",
        str(store),
        "--out",
        str(table),
        *SMALL,
        "--tasks",
        "EXPR",
    ]
    assert command.main(arguments) == 0
    again = read(table / "results.json")
    for part in ("cells", "effects", "frame_rates"):
        assert again[part] == shown[part]
    assert {p: p.stat().st_mtime_ns for p in before} == before
    # One cell that is lost is computed again, and is the same but for its times.
    (table / "cells" / "expr" / "mlp-b2.json").unlink()
    assert command.main(arguments) == 0
    lost = read(table / "results.json")["cells"]
    for old, new in zip(shown["cells"], lost, strict=True):
        assert old["score"] == new["score"]
        assert old["ci95"] == new["ci95"]


@pytest.mark.slow
def test_other_seeds_do_not_mix(table, store, tmp_path):
    """Effects and frame rates of other models are not shown."""
    shown = read(table / "results.json")
    assert shown["effects"]
    assert shown["frame_rates"]
    table_run = TableRun(
        data=open_data(str(store)), out=table, num_seeds=1, num_epochs=1
    )
    maker = TableMaker(table_run, images_per_s=100.0)
    maker.run("EXPR", ["mlp-b2"])
    found = maker.table(1.0)
    assert [cell.row for cell in found.cells] == ["mlp-b2"]
    assert len(found.cells[0].per_seed) == 1
    assert not found.effects
    assert not found.frame_rates


@pytest.mark.slow
def test_effects_are_differences_of_cells(table):
    shown, found = read(table / "results.json"), cells(table)
    effects = {effect["name"]: effect for effect in shown["effects"]}
    pairs = {
        "sound helps (wav2vec 2.0)": ("mlp-b2-wav2vec2", "mlp-b2"),
        "windows help": ("mlp-b2-wav2vec2-smooth", "mlp-b2-wav2vec2"),
    }
    for name, (first, second) in pairs.items():
        effect = effects[name]
        expected = found[first]["score"] - found[second]["score"]
        assert effect["difference"] == pytest.approx(expected, abs=1e-5)
        assert effect["holds"] is (effect["difference"] > 0)
        low, high = effect["ci95"]
        assert low <= high
        assert (effect["comment"] == "") is (low > 0 or high < 0)


@pytest.mark.slow
def test_effects_of_units_use_each_rows_thresholds_and_want_narrow_windows(
    store, tmp_path
):
    pair = "mlp-b2-wav2vec2,mlp-b2-wav2vec2-smooth"
    made = ["--data-dir", str(store), "--out", str(tmp_path), *SMALL]
    assert command.main([*made, "--tasks", "au", "--rows", pair]) == 0
    effects = {e["name"]: e for e in read(tmp_path / "results.json")["effects"]}
    scores = {
        cell["row"]: cell["score"]
        for cell in read(tmp_path / "results.json")["cells"]
        if cell["score"] is not None
    }
    expected = scores["mlp-b2-wav2vec2-smooth"] - scores["mlp-b2-wav2vec2"]
    assert effects["windows help"]["difference"] == pytest.approx(expected, abs=1e-5)
    widths = effects["median ±60 beats median ±5"]
    assert widths["expectation"] == "< 0"
    assert widths["holds"] is (widths["difference"] < 0)


@pytest.mark.slow
def test_rules_that_leave_frames_out(table, store):
    table_run = TableRun(
        data=open_data(str(store)), out=table, num_seeds=2, num_epochs=1
    )
    path, _ = trained_model(table_run, "AU", "mlp", "enet_b2_8_best+wav2vec2_base")
    judged = evaluation.evaluate_model(table_run, path)
    outcome = evaluation.post_processed(judged, smooth=True)
    found = rates.measure_rates(outcome)
    dense, embedded = rates.with_rule(found, FrameRateRule(rules.FIXED, (1,)))
    assert embedded.all()
    if outcome.selection.smoothings[found.seed] == found.smoothing:
        np.testing.assert_allclose(
            dense[found.seed], outcome.finished.dense[found.seed], atol=1e-6
        )
    json.dumps(rates.summary(found, 100.0), allow_nan=False)
    chosen = rates.chosen_rule(found, rules.REFINED)
    assert chosen.rule.family == rules.REFINED
    expr = cells(table)["mlp-b2-wav2vec2-stride10"]
    assert "strides 10" in expr["smoothing"]
    assert expr["share_embedded"] > 0.5  # windows slide


@pytest.mark.slow
def test_thresholds_tuned_on_the_reported_frames_are_no_worse(table):
    cell = read(table / "cells" / "au" / "mlp-b2.json")["cell"]
    assert cell["metric"] == "f1_mean"
    assert cell["tuned_on_reported"] >= cell["score"]


def test_original_protocol(store, tmp_path):
    table_run = TableRun(
        data=open_data(str(store)), out=tmp_path, protocol="original", num_epochs=1
    )
    maker = TableMaker(table_run, images_per_s=100.0)
    assert all(row.reported for row in maker.rows)
    config = model_config(table_run, "EXPR", "batch_transformer", "enet_b2_8_best")
    assert config.head.attention == "batch"
    assert config.postprocess.faithful_gaps
    assert config.batch_size == 32
    assert not maker.table(0.0).is_affwild2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--tasks", "expr,smile"], "SMILE"),
        (["--rows", "mlp-b3"], "mlp-b3"),
        (["--seeds", "0"], "--seeds is 0"),
        (["--data-dir", "no/such/store"], "no/such/store"),
        (["--images-per-s", "0"], "--images-per-s is 0"),
        (["--images-per-s", "nan"], "--images-per-s is nan"),
    ],
)
def test_careless_input(arguments, words, store, tmp_path, capsys):
    out = tmp_path / "out"
    made = ["--data-dir", str(store), "--out", str(out), *SMALL]
    assert command.main([*made, *arguments]) == 1
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert not out.exists()


def test_a_file_is_no_place_for_a_table(store, tmp_path, capsys):
    out = tmp_path / "file"
    out.write_text("mine")
    assert command.main(["--data-dir", str(store), "--out", str(out), *SMALL]) == 1
    assert str(out) in capsys.readouterr().err
    assert out.read_text() == "mine"


def test_a_store_that_lacks_sets_ends_it_before_training(tmp_path, capsys):
    made = {name: SETS[name] for name in ("enet_b2_8_best", "wav2vec2_base")}
    few, out = build_several_sets(tmp_path / "few", made), tmp_path / "out"
    assert command.main(["--data-dir", str(few), "--out", str(out), *SMALL]) == 1
    said = capsys.readouterr().err
    assert "vggish" in said
    assert "--rows" in said
    assert not out.exists()


class Sized(Store):
    """A store of which only the sizes of its validation sets are told."""

    def __init__(self, counts: dict[str, int], synthetic: bool):
        self.counts, self.synthetic = counts, synthetic
        self.feature_sets, self.fingerprint = {}, "made"

    def split_videos(self, task, split, splits=None):
        assert split == "validation"
        return tuple(f"{i}" for i in range(self.counts[task]))


@pytest.mark.parametrize(
    ("counts", "synthetic", "expected"),
    [
        ((70, 105, 76), False, True),
        ((70, 105, 76), True, False),
        ((70, 105, 75), False, False),
        ((3, 3, 3), False, False),
    ],
)
def test_the_originals_figures_stand_beside_its_data_only(
    counts, synthetic, expected, tmp_path
):
    by_task = dict(zip(("EXPR", "AU", "VA"), counts, strict=True))
    data = Data(Sized(by_task, synthetic), "made", "made")
    table_run = TableRun(data=data, out=tmp_path)
    maker = TableMaker(table_run, images_per_s=100.0)
    assert maker.table(0.0).is_affwild2 is expected


def test_the_script_says_what_it_takes():
    script = pathlib.Path(__file__).parents[2] / "scripts" / "results_table.py"
    done = subprocess.run(
        [sys.executable, script, "--help"], capture_output=True, text=True, check=True
    )
    assert "--protocol" in done.stdout
