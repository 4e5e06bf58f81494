"""The benchmark of scale on small sizes: every part of it runs and adds up."""

import argparse
import datetime
import json
import pathlib
import sys

import pytest

from avemo_jax.heads import HeadSpec

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "scripts"))
import accelerator_rates
import benchmark_scale
import measuring

pytestmark = pytest.mark.release

DIMS = (1408, 768)


def test_products_are_counted_in_the_program():
    """4 D H + 6 H C a frame: the first layer has no gradient of its input."""
    flops = accelerator_rates.step_flops(HeadSpec("EXPR", "mlp", DIMS), 10)
    assert flops == 10 * (4 * 2176 * 128 + 6 * 128 * 8)
    low = HeadSpec("EXPR", "mlp", DIMS, dtype="bfloat16")
    assert accelerator_rates.step_flops(low, 10) == flops


def test_products_of_attention_are_counted():
    spec = HeadSpec("AU", "transformer", (40,), num_layers=1)
    two = HeadSpec("AU", "transformer", (40,), num_layers=2)
    frames, dim, window = 256, 128, 128
    per_layer = 3 * dim * dim + dim * dim + 2 * dim * dim + 2 * window * dim
    got = accelerator_rates.step_flops(two, frames)
    assert got - accelerator_rates.step_flops(spec, frames) == 6 * frames * per_layer


def test_step_times_and_their_table(tmp_path):
    small = accelerator_rates.SMALL._replace(
        heads=("EXPR-mlp", "EXPR-transformer"), batch_sizes=(32,), frames=64
    )
    found = accelerator_rates.measure(small)
    # A batch below one window is no step of a Transformer.
    assert [(row["head"], row["seeds"]) for row in found["rows"]] == [
        ("EXPR-mlp", 1),
        ("EXPR-mlp", 2),
    ]
    for row in found["rows"]:
        assert row["frames_per_s"] == pytest.approx(
            32 * row["seeds"] * 1e3 / row["step_ms"]
        )
        assert row["share_of_peak"] is None
        assert row["share_of_product"] > 0
    text = accelerator_rates.markdown(found)
    assert datetime.date.today().isoformat() in text.splitlines()[0]
    assert text.count("| unknown |") == 2
    assert "not in our table" in text


def test_share_of_a_known_card():
    row = {"step_ms": 2.0, "frames": 1000, "seeds": 3, "type": "bfloat16"}
    spec = HeadSpec("EXPR", "mlp", DIMS)
    card = accelerator_rates.CARDS["NVIDIA H200"]
    accelerator_rates._add_shares(row, spec, card, 1e12)
    flops = accelerator_rates.step_flops(spec, 1000)
    assert row["share_of_peak"] == pytest.approx(3 * flops / 2e-3 / 989e12)
    full = {**row, "step_ms": None}
    accelerator_rates._add_shares(full, spec, card, 1e12)
    assert full["frames_per_s"] is full["share_of_peak"] is None
    line = accelerator_rates._line({**full, "head": "EXPR-mlp", "batch": 1000})
    assert "no memory" in line


def test_devices_take_turns():
    sizes = benchmark_scale.SMALL._replace(frames=512, rounds=1)
    found = benchmark_scale.sharding(sizes, 128)
    assert set(found["sharding, seconds"]) == {"1", "2"}
    one, two = (found[f"sharding, {n} devices: frames/s"] for n in (1, 2))
    assert one > 0
    ratio = found["sharding, 2 devices: frames/s, times 1 device's"]
    assert ratio == pytest.approx(two / one)


def test_second_process_finds_what_the_first_compiled():
    found = benchmark_scale.compiling("expr_mlp.py")
    assert found["compile, programs that the first process kept"] > 5
    assert found["compile, not found by the second process"] == 0
    assert found["compile, expr_mlp: empty cache, s"] > 0
    assert found["compile, expr_mlp: tracing, s"] > 0


def test_host_memory_of_loading(tmp_path, capsys):
    """Through the command line: what it prints, keeps, and checks."""
    path = tmp_path / "found.json"
    benchmark_scale.main(
        ["--small", "--parts", "memory", "--check", "--json", str(path)]
    )
    found = json.loads(path.read_text())
    ((name, ratio),) = [one for one in found.items() if one[0].startswith("memory")]
    assert "20,000 rows, 87 MB" in name
    assert 0.5 < ratio <= 1.4
    assert "<= 1.4" in capsys.readouterr().out


def test_missed_bar_is_an_exit_status(tmp_path, capsys):
    options = argparse.Namespace(check=True, json=tmp_path / "found.json")
    with pytest.raises(SystemExit):
        measuring.report({"rate": 0.7}, {"rate": (">=", 0.8)}, options)
    assert "MISSED" in capsys.readouterr().out
    assert json.loads(options.json.read_text()) == {"rate": 0.7}


def test_dead_child_is_an_error():
    with (
        benchmark_scale._child("load", "/nowhere", "made@made") as child,
        pytest.raises(RuntimeError, match="a child ended with status 1"),
    ):
        benchmark_scale._heard(child)
