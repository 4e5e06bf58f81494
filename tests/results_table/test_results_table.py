"""The results table, really trained and evaluated on a tiny store."""

import csv
import json
import pathlib

import numpy as np
import pytest
from made.several_sets import SETS, build_several_sets

from avemo_jax import experiment
from avemo_jax.batches.tables import Data, open_data
from avemo_jax.config.checks import check_config
from avemo_jax.config.fields import base_config
from avemo_jax.data.store.store import Store
from avemo_jax.metrics.bca import bca_ends
from avemo_jax.results_table import command, runs
from avemo_jax.results_table.cells import cell_of, effects_of
from avemo_jax.results_table.contents import Cell
from avemo_jax.results_table.rows import rows
from avemo_jax.results_table.runs import (
    TableRun,
    head_config,
    read_results,
    row_folder,
)
from avemo_jax.results_table.table import is_affwild2, rows_for

ROWS = {row.id: row for row in rows()}
BOTH = "mlp-b2-wav2vec2"
# All kinds of rows; heads that are not MLPs differ in their configuration alone.
OF_EXPR = ["mlp-b2", BOTH, f"{BOTH}-smooth", f"{BOTH}-stride10", f"{BOTH}-sequential"]
OF_EXPR += [f"{BOTH}-grid", "blend-wav2vec2-vggish"]
OF_AU = ["mlp-b2", f"{BOTH}-sequential"]
SMALL = ["--seeds", "2", "--epochs", "1"]


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> pathlib.Path:
    return build_several_sets(tmp_path_factory.mktemp("store") / "store")


@pytest.fixture(scope="module", autouse=True)
def few_smoothings():
    """Two to choose from: each of the standard ones is a program to compile."""

    def small(*arguments):
        config = base_config(*arguments)
        config.postprocess.half_widths, config.postprocess.gaussian = (5,), False
        return config

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "base_config", small)
        yield


def made(store, out, tasks, wanted) -> list[str]:
    line = ["--data-dir", str(store), "--out", str(out), *SMALL, "--tasks", tasks]
    return [*line, "--rows", ",".join(wanted)]


@pytest.fixture(scope="module")
def stopped(store, tmp_path_factory) -> pathlib.Path:
    """What a call leaves that is stopped before the blend, the last row of EXPR."""
    out = tmp_path_factory.mktemp("table")

    def stop(*_, **__):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "blend_checkpoints", stop)
        assert command.main(made(store, out, "EXPR", OF_EXPR)) == 130
    assert not (out / "results.json").exists()
    return out


@pytest.fixture(scope="module")
def table(store, stopped) -> pathlib.Path:
    """The rows of EXPR, by a second call; runs that were finished are left alone."""
    before = {p: p.stat().st_mtime_ns for p in stopped.rglob("results.json")}
    assert len(before) == 3 + 3  # heads, and rules
    # Once is enough for a task:
    assert command.main(made(store, stopped, "expr,EXPR", OF_EXPR)) == 0
    assert {p: p.stat().st_mtime_ns for p in before} == before
    return stopped


def read(path: pathlib.Path) -> dict:
    return json.loads(path.read_text())


def cells(out: pathlib.Path) -> dict[str, dict]:
    return {cell["row"]: cell for cell in read(out / "results.json")["cells"]}


def folder_of(store, out, row) -> pathlib.Path:
    table_run = TableRun(out, str(store), num_seeds=2, num_epochs=1)
    return row_folder(table_run, open_data(str(store)), "EXPR", ROWS[row])


@pytest.mark.release
def test_every_row_shows_what_its_run_says(table, store):
    found = cells(table)
    assert list(found) == list(ROWS)
    assert [name for name in ROWS if found[name]["score"] is not None] == [
        name for name in ROWS if name in OF_EXPR
    ]
    for name in OF_EXPR:
        cell, results = found[name], read_results(folder_of(store, table, name))
        block = "raw" if ROWS[name].post == "none" else "smoothed"
        scores = results["metrics"][block]["with_crop"]
        assert cell["task"] == "EXPR"
        assert cell["score"] == scores["f1_macro"] == np.mean(cell["per_seed"])
        assert cell["std"] == scores["f1_macro_std"]
        assert cell["ci95"] == scores["f1_macro_ci95"]
        assert cell["chosen_on"] == "dev"
        rate = results.get("frame_rate")
        assert (cell["share_embedded"] is None) is (rate is None)
        if rate is None:
            assert cell["tuned_on_reported"] >= cell["score"] - 1e-6
            continue
        assert cell["share_embedded"] == rate["share_embedded"]
        assert cell["share_entries"] == rate["share_of_window_entries"]
        assert cell["tuned_on_reported"] is None
        assert "strides" in cell["smoothing"]
    assert "strides 10" in found[f"{BOTH}-stride10"]["smoothing"]
    assert found[f"{BOTH}-stride10"]["share_embedded"] > 0.5  # windows slide
    assert found[BOTH]["smoothing"] == "no window"
    assert "mean weights" in found["blend-wav2vec2-vggish"]["note"]


@pytest.mark.release
def test_files_and_plots_are_there(table):
    names = {path.name for path in table.iterdir()}
    assert names == {"results.md", "results.json", "results.csv", "plots", "models"}
    assert [path.name for path in (table / "plots").iterdir()] == ["scores_EXPR.png"]
    lines = list(csv.DictReader((table / "results.csv").read_text().splitlines()))
    assert [line["row"] for line in lines] == list(ROWS)
    text = (table / "results.md").read_text()
    assert "synthetic" in text
    assert ".457" not in text  # the original's figures are of other data


@pytest.mark.release
def test_a_second_call_computes_nothing(table, store, monkeypatch):
    for name in ("run_experiment", "evaluate_checkpoint", "blend_checkpoints"):
        monkeypatch.delattr(experiment, name)
    files = [path for path in table.rglob("results.*")]
    before = {path: path.read_bytes() for path in files}
    assert command.main(made(store, table, "EXPR", OF_EXPR)) == 0
    assert {path: path.read_bytes() for path in files} == before


@pytest.mark.release
def test_other_seeds_and_other_data_do_not_mix(table, store, tmp_path):
    arguments = ("EXPR", "mlp", "enet_b2_8_best+wav2vec2_base")
    one, two, again, other = (
        head_config(table_run, *arguments).workdir
        for table_run in (
            TableRun(table, str(store), num_seeds=1, num_epochs=1),
            TableRun(table, str(store), num_seeds=2, num_epochs=1),
            TableRun(table, str(store), 2, num_epochs=1, device_budget_gb=1.0),
            TableRun(table, None, num_seeds=2, num_epochs=1),
        )
    )
    assert two == again  # the budget changes no number
    assert len({one, two, other}) == 3
    assert pathlib.Path(two) == folder_of(store, table, BOTH)
    # A store that was built anew in the place of the old one:
    environment = pathlib.Path(two) / "environment.json"
    was = environment.read_text()
    environment.write_text(json.dumps({"data_fingerprint": "other"}))
    with pytest.raises(ValueError, match="began with data of fingerprint other"):
        folder_of(store, table, BOTH)
    environment.write_text(was)


@pytest.mark.release
def test_effects_are_differences_of_cells(table, store):
    shown, found = read(table / "results.json"), cells(table)
    effects = {effect["name"]: effect for effect in shown["effects"]}
    pairs = {
        "sound helps (wav2vec 2.0)": (BOTH, "mlp-b2"),
        "windows help": (f"{BOTH}-smooth", BOTH),
        "the blend of two sounds beats wav2vec 2.0 alone": (
            "blend-wav2vec2-vggish",
            f"{BOTH}-smooth",
        ),
    }
    assert effects.keys() == pairs.keys()
    for name, (first, second) in pairs.items():
        effect = effects[name]
        assert effect["difference"] == found[first]["score"] - found[second]["score"]
        assert effect["holds"] is (effect["difference"] > 0)
        low, high = effect["ci95"]
        assert low <= high
        known = [ends for ends in (effect["ci95"], effect["bca95"]) if ends]
        sure = all(low > 0 or high < 0 for low, high in known)
        assert (effect["comment"] == "") is sure
    own = np.load(folder_of(store, table, BOTH) / "resamples.npz")
    ends = np.quantile(own["smoothed"] - own["raw"], (0.025, 0.975))
    np.testing.assert_allclose(effects["windows help"]["ci95"], ends, atol=1e-6)


def test_effects_need_scores_and_equal_videos(tmp_path):
    names = ("mlp-b2", BOTH)
    both = {name: Cell("EXPR", name, "f1_macro", 0.4) for name in names}
    folders = {name: tmp_path / name for name in names}
    for name, folder in folders.items():
        folder.mkdir()
        drawn = {"raw": np.zeros(9), "videos": np.array(["a", name])}
        np.savez(folder / "resamples.npz", **drawn)
    (effect,) = effects_of(ROWS, both, folders)
    assert effect.ci95 is None  # of other videos
    assert effect.comment == "no interval"
    rng = np.random.default_rng(0)
    for at, name in enumerate(names):
        drawn = {"raw": rng.normal(0.02 * at, 0.01, 99), "videos": np.array(["a"])}
        drawn["raw_left_out"] = rng.normal(size=7)
        np.savez(folders[name] / "resamples.npz", **drawn)
    stored = [np.load(folders[name] / "resamples.npz") for name in (BOTH, "mlp-b2")]
    both["mlp-b2"] = Cell("EXPR", "mlp-b2", "f1_macro", 0.385)
    (effect,) = effects_of(ROWS, both, folders)
    ends = [stored[0][part] - stored[1][part] for part in ("raw", "raw_left_out")]
    assert effect.bca95 == tuple(bca_ends(effect.difference, *ends))
    (folders[BOTH] / "resamples.npz").unlink()
    assert effects_of(ROWS, both, folders)[0].ci95 is None
    none = Cell("EXPR", BOTH, "f1_macro", None)
    assert not effects_of(ROWS, {**both, BOTH: none}, folders)


@pytest.mark.release
def test_units_and_a_rule_that_is_not_for_them(store, tmp_path):
    """Thresholds tuned on the reported frames are no worse."""
    assert command.main(made(store, tmp_path, "au", OF_AU)) == 0
    found = cells(tmp_path)
    plain = found["mlp-b2"]
    assert plain["metric"] == "f1_mean"
    assert plain["tuned_on_reported"] > plain["score"]
    rule = found[f"{BOTH}-sequential"]
    assert rule["score"] is None
    assert "EXPR only" in rule["note"]


def test_a_split_without_labels_has_no_score():
    found = {"task": "VA", "split": "validation"}
    cell = cell_of(ROWS["mlp-b2"], found)
    assert (cell.metric, cell.score) == ("ccc_mean", None)
    assert "no labels" in cell.note


def test_classes_without_frames_are_noted():
    """The cell's score is of frames with a crop, and so is the note."""
    scores = {"with_crop": {"f1_macro": 0.5}}
    found = {
        "task": "EXPR",
        "metrics": dict.fromkeys(("raw", "smoothed", "tuned_on_reported"), scores),
        "chosen_on": "dev",
        "chosen_on_reason": "",
        "per_seed": [{"raw": scores}],
        "ceiling": {"with_crop": {"f1_macro": 0.875, "without_frames": ["Fear"]}},
    }
    note = cell_of(ROWS[BOTH], found).note
    assert note == "no frame of Fear: macro F1 cannot exceed 0.875"


def test_damaged_results_are_named(tmp_path):
    for text in ("", "[]", '{"data": "demo"}'):
        (tmp_path / "results.json").write_text(text)
        with pytest.raises(ValueError, match=r"results\.json: .*the file is damaged"):
            read_results(tmp_path)


@pytest.mark.parametrize("protocol", ["ours", "original"])
def test_every_head_has_a_configuration(protocol, store, tmp_path):
    table_run = TableRun(tmp_path, str(store), protocol=protocol, num_epochs=1)
    found = rows_for(table_run, open_data(str(store)))
    assert all(row.reported for row in found) is (protocol == "original")
    for task in ("EXPR", "AU", "VA"):
        for row in found:
            for features in row.heads:
                config = head_config(table_run, task, row.kind, features)
                check_config(config)
                assert config.data.features == features
                assert config.protocol == protocol
                across = row.kind == "batch_transformer"
                assert (config.head.attention == "batch") is across or (
                    protocol == "original" and row.kind == "mlp"
                )
                if across:
                    assert config.batch_size == 32
                assert config.postprocess.faithful_gaps is (protocol == "original")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--tasks", "expr,smile"], "SMILE"),
        (["--rows", "mlp-b3"], "mlp-b3"),
        (["--seeds", "0"], "--seeds is 0"),
        (["--data-dir", "no/such/store"], "no/such/store"),
    ],
)
def test_careless_input(arguments, words, store, tmp_path, capsys):
    out = tmp_path / "out"
    flag, value = arguments
    given = {"--data-dir": str(store), "--seeds": "2", "--out": str(out), flag: value}
    assert command.main([word for pair in given.items() for word in pair]) == 1
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
    kept = {name: SETS[name] for name in ("enet_b2_8_best", "wav2vec2_base")}
    few, out = build_several_sets(tmp_path / "few", kept), tmp_path / "out"
    assert command.main(["--data-dir", str(few), "--out", str(out), *SMALL]) == 1
    said = capsys.readouterr().err
    assert "vggish" in said
    assert "--rows" in said
    assert not out.exists()


class Sized(Store):
    """A store of which only the sizes of its validation sets are told."""

    def __init__(self, counts: dict[str, int], synthetic: bool):
        self.counts, self.synthetic = counts, synthetic

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
def test_the_originals_figures_stand_beside_its_data_only(counts, synthetic, expected):
    by_task = dict(zip(("EXPR", "AU", "VA"), counts, strict=True))
    assert is_affwild2(Data(Sized(by_task, synthetic), "made", "made")) is expected


def test_the_command_says_what_it_takes(capsys):
    with pytest.raises(SystemExit):
        command.main(["--help"])
    assert "--protocol" in capsys.readouterr().out
