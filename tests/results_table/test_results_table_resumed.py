"""The results table, stopped in the middle and gone on with."""

import json
import pathlib
import subprocess
import sys
import time

import pytest
from made.several_sets import build_several_sets

from avemo_jax.batches.tables import open_data
from avemo_jax.results_table import command
from avemo_jax.results_table.effects import rows_lacking
from avemo_jax.results_table.maker import TableMaker
from avemo_jax.results_table.models import TableRun, read_kept, trained_model

BLEND = "blend-wav2vec2-vggish"


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> pathlib.Path:
    return build_several_sets(tmp_path_factory.mktemp("store") / "store")


def read(path: pathlib.Path) -> dict:
    return json.loads(path.read_text())


@pytest.mark.slow
def test_a_killed_call_goes_on_to_the_same_table(store, tmp_path):
    """Killed in the middle of a task: cells, effects, frame rates and plots are whole.

    Effects and frame rates are of several rows, and made when the task is done.
    """
    names = ("", "-smooth", "-stride10")
    wanted = ["mlp-b2", *(f"mlp-b2-wav2vec2{n}" for n in names), BLEND]
    script = pathlib.Path(__file__).parents[2] / "scripts" / "results_table.py"
    common = ["--data-dir", str(store), "--tasks", "expr", "--rows", ",".join(wanted)]
    made = [*common, "--seeds", "1", "--epochs", "1"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert command.main([*made, "--out", str(whole)]) == 0
    last = killed / "cells" / "expr" / f"{wanted[-2]}.json"
    arguments = [sys.executable, str(script), *made, "--out", str(killed)]
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL) as process:
        while not last.exists():
            assert process.poll() is None
            time.sleep(0.02)
        process.kill()
        assert process.wait() == -9
    assert not (killed / "results.json").exists()
    assert command.main([*made, "--out", str(killed)]) == 0
    first, second = (read(out / "results.json") for out in (whole, killed))
    assert len(first["effects"]) == 4
    assert second["effects"] == first["effects"]
    assert second["frame_rates"] == first["frame_rates"]
    for one, other in zip(first["cells"], second["cells"], strict=True):
        for name in ("score", "ci95", "per_seed", "tuned_on_reported", "smoothing"):
            assert other[name] == one[name]
    plots = [
        {path.name for path in (out / "plots").iterdir()} for out in (whole, killed)
    ]
    assert plots[0] == plots[1] >= {"frame_rates_EXPR.png"}


@pytest.mark.slow
def test_the_time_of_an_interrupted_training_is_not_known(store, tmp_path):
    """What is left of it would be shown as the whole."""
    table_run = TableRun(
        data=open_data(str(store)), out=tmp_path, num_seeds=1, num_epochs=1
    )
    path, seconds = trained_model(table_run, "EXPR", "mlp", "enet_b2_8_best")
    assert seconds is not None
    assert seconds > 0
    (path.parent / "times.json").unlink()  # as where it was killed before
    assert trained_model(table_run, "EXPR", "mlp", "enet_b2_8_best")[1] is None
    maker = TableMaker(table_run, images_per_s=100.0)
    maker.run("EXPR", ["mlp-b2"])
    (cell,) = maker.table(0.0).cells
    assert cell.train_s is None
    assert "interrupted" in cell.note


def test_damaged_cells_are_named(tmp_path):
    file = tmp_path / "cell.json"
    for text in ("", "[]", '{"key": "a"}'):
        file.write_text(text)
        with pytest.raises(ValueError, match=r"cell\.json is damaged"):
            read_kept(file, "key", "cell")
    file.write_text('{"key": "a", "cell": {}}')
    assert read_kept(file, "key", "cell") == {"key": "a", "cell": {}}


def test_rows_whose_effects_are_not_known():
    pair = {"mlp-b2", "mlp-b2-wav2vec2"}
    assert rows_lacking([], pair) == pair
    assert not rows_lacking(["sound helps (wav2vec 2.0)"], pair)
    assert not rows_lacking([], {"mlp-b2"})  # nothing to compare it with
