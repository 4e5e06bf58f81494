"""The page on heads of one's own: its code and its line are all that it takes."""

import importlib.util
import pathlib
import re
import sys

import jax
import numpy as np
import pytest
from made.compiled_heads import apply, init
from made.several_sets import build_several_sets

from avemo_jax.batches.tables import Data
from avemo_jax.config.checks import check_config
from avemo_jax.config.fields import base_config
from avemo_jax.data.store.store import open_store
from avemo_jax.heads import HeadSpec, Variables, build_head
from avemo_jax.heads.joint import part_spec, part_variables
from avemo_jax.heads.registry import HEAD_KINDS
from avemo_jax.models.head import load_trained_head, row_scores
from avemo_jax.tasks import get_task
from avemo_jax.training.train import train

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "extending_heads.md"
SETS = {"enet_b2_8_best": ("visual", 7, 0), "wav2vec2_base": ("audio", 5, 0)}


@pytest.fixture
def kind(tmp_path, monkeypatch) -> str:
    """The page's kind, as if its file and its line stood in the package."""
    page = PAGE.read_text("utf-8")
    (module,) = re.findall(r"```python\n(.*?)```", page, re.S)
    (line,) = re.findall(r"```text\n(.*?)```", page, re.S)
    name, place = re.fullmatch(r' +"(\w+)": "([\w.:]+)",\n', line).groups()
    full_name = place.split(":")[0]
    path = tmp_path / module.split("\n")[0].removeprefix("# avemo_jax/heads/")
    assert full_name == f"avemo_jax.heads.{path.stem}"
    path.write_text(module)
    spec = importlib.util.spec_from_file_location(full_name, path)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    monkeypatch.setitem(sys.modules, full_name, loaded)
    monkeypatch.setitem(HEAD_KINDS, name, place)
    return name


@pytest.mark.slow
def test_it_trains_and_scores(kind, tmp_path):
    """Two steps; the checkpoint says what head it is of."""
    store = open_store(build_several_sets(tmp_path / "store", SETS))
    config = base_config("EXPR", kind, "+".join(SETS))
    config.batch_size, config.num_epochs = 128, 1
    config.log.tensorboard = config.log.progress = False
    config.postprocess.frame_rate.rule = "stride"  # for heads that see one frame
    check_config(config)
    (tmp_path / "run").mkdir()
    data = Data(store, "made", "made data", cache_dir=tmp_path / "cache")
    own = load_trained_head(train(config, data, tmp_path / "run"))
    assert own.card.head["kind"] == kind
    samples = own.card.counts["train"]["samples"]
    assert samples // config.batch_size == 2
    start, _ = jax.jit(own.head.init)(jax.random.fold_in(jax.random.key(0), 0))
    trained = own.variables.params["factors"]["0"]["weight"][0]
    assert np.abs(trained - start["factors"]["0"]["weight"]).max() > 1e-4
    table, scores = row_scores(own, data, "validation", 10**9)
    assert scores.shape == (1, table.num_rows, 8)
    np.testing.assert_allclose(scores.sum(axis=-1), 1, rtol=1e-5)


def test_it_serves_several_tasks(kind):
    """Each task's own head gives the joint head's columns, but for rounding."""
    task = get_task("EXPR+VA")
    spec = HeadSpec(task.name, kind, (4, 3), mlp_dim=5, audio_flag=True)
    head = build_head(spec)
    params, stats = init(head)
    x = np.random.default_rng(1).normal(size=(6, 8)).astype(np.float32)
    logits = np.asarray(apply(head, params, stats, x)[0])
    variables = Variables(params=params, stats=stats)
    seeds = jax.tree.map(lambda leaf: np.asarray(leaf)[None], variables)
    for part in task.parts:
        own = part_variables(spec, part, seeds, task)
        own = jax.tree.map(lambda leaf: leaf[0], own)
        plain = build_head(part_spec(spec, part))
        found, _ = apply(plain, own.params, own.stats, x)
        np.testing.assert_allclose(found, logits[:, part.outputs], rtol=1e-6, atol=1e-7)


def test_a_kind_without_parts_is_for_one_task(kind, monkeypatch):
    module = sys.modules[HEAD_KINDS[kind].split(":")[0]]
    plain = type(module.LOW_RANK)(module.LowRank)
    monkeypatch.setattr(module, "LOW_RANK", plain)
    HeadSpec("EXPR", kind, (4,))
    with pytest.raises(ValueError, match=r"'low_rank' for EXPR\+VA; expected one task"):
        HeadSpec("EXPR+VA", kind, (4,))
