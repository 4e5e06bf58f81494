"""The models that need no training, and the command that lists them."""

import json
import math
import subprocess
import sys

import pytest
from made.weights import made_detector, network_shapes

from avemo_jax.convert.published_networks import (
    HEAD_MB,
    NETWORKS,
    SIZES_MB,
    TOGETHER,
)
from avemo_jax.embed.weights import default_weights_path
from avemo_jax.extractors import EXTRACTORS
from avemo_jax.extractors.published import THESIS_HEADS
from avemo_jax.faces import yunet
from avemo_jax.prediction import models_command
from avemo_jax.prediction.model_table import DEFAULT, PUBLISHED
from avemo_jax.prediction.own_outputs import output_tasks
from avemo_jax.prediction.weights_at_hand import download_mb
from avemo_jax.tasks import TASKS

HEADS = {head.name: head for head in THESIS_HEADS}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("AVEMO_CACHE", str(tmp_path))


def test_models_have_what_they_name():
    assert DEFAULT == "hsemotion"
    for name, model in PUBLISHED.items():
        assert model.name == name
        assert set(model.extractors) <= set(EXTRACTORS)
        assert set(model.head_names) <= set(HEADS)
        assert bool(model.heads) != bool(model.outputs_of)
        order = [task for task in TASKS if task in model.tasks]
        assert [*model.tasks] == order
        assert all(one.by or one.score == "not reported" for one in model.scores)


def test_tasks_are_those_of_the_outputs_and_heads():
    hsemotion, thesis = PUBLISHED["hsemotion"], PUBLISHED["thesis"]
    tasks = output_tasks(EXTRACTORS["enet_b0_8_va_mtl"])
    assert hsemotion.tasks == tuple(one.task.name for one in tasks) == ("EXPR", "VA")
    assert not hsemotion.hears
    assert hsemotion.weights() == hsemotion.extractors == ("enet_b0_8_va_mtl",)
    assert TOGETHER["hsemotion"] == ("yunet_n", *hsemotion.weights())
    assert thesis.tasks == tuple(one.task for one in thesis.heads)
    assert thesis.hears
    assert thesis.extractors == ("enet_b2_8_best", "wav2vec2_base")
    for one in thesis.heads:
        with_sound = HEADS[one.name]
        assert with_sound.task == one.task
        hears = any(EXTRACTORS[n].kind == "audio" for n in with_sound.features)
        assert hears == (one.silent is not None)
        if one.silent is not None:
            assert HEADS[one.silent].task == one.task
            assert HEADS[one.silent].features == ("enet_b2_8_best",)


def test_downloads_are_about_their_parameters():
    needs_weights = {name for name, one in NETWORKS.items() if one.needs_weights}
    assert set(SIZES_MB) == needs_weights
    for name, size in SIZES_MB.items():
        shapes = (
            network_shapes(EXTRACTORS[name])
            if name in EXTRACTORS
            else yunet.state_shapes()
        )
        megabytes = 4 * sum(map(math.prod, shapes.values())) / 1e6
        assert megabytes <= size <= 1.1 * megabytes + 1, name
    assert download_mb(["yunet_n", "best_AU_mlp_visual"]) == 1 + HEAD_MB


def test_the_table_loads_no_network():
    code = (
        "import sys, avemo_jax.prediction.model_table\n"
        "sys.exit(', '.join({'jax', 'flax', 'requests'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], check=False)
    assert done.returncode == 0


def test_list_says_what_is_there(cache, tmp_path, capsys):
    assert models_command.main([]) == 0
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert lines[1].split() == "hsemotion EXPR, VA no 18 MB 0 of 2".split()
    assert lines[2].split() == "thesis EXPR, AU, VA yes 421 MB 0 of 8".split()
    assert "hsemotion (default)\n" in text
    assert "avemo fetch yunet_n enet_b0_8_va_mtl\n" in text
    assert "named by its folder" in text
    assert all(len(line) <= 88 for line in lines)

    for name in ("yunet_n", "enet_b0_8_va_mtl"):
        path = default_weights_path(name)
        path.parent.mkdir(exist_ok=True)
        made_detector(tmp_path).rename(path)
    assert models_command.main([]) == 0
    text = capsys.readouterr().out
    assert text.splitlines()[1].split()[-1] == "yes"
    assert "avemo fetch yunet_n" not in text


def test_list_for_programs(cache, capsys):
    assert models_command.main(["--json"]) == 0
    found = {one["name"]: one for one in json.loads(capsys.readouterr().out)}
    assert list(found) == list(PUBLISHED)
    assert found["hsemotion"]["default"] is True
    assert found["hsemotion"]["missing"] == ["yunet_n", "enet_b0_8_va_mtl"]
    assert found["thesis"]["licence"].startswith("none stated")
    assert {one["task"] for one in found["thesis"]["reported"]} == set(TASKS)
