"""The parameters of head checkpoints: whole, and no more than their files may hold."""

import errno
import stat

import jax
import numpy as np
import pytest
from made.cards import made_card

from avemo_jax.batches import sharding
from avemo_jax.heads import Variables
from avemo_jax.models.card import HEAD_FILE, CheckpointError, read_card
from avemo_jax.models.checkpoints import (
    RunCheckpoints,
    load_head,
    remove_leftovers,
    save_head,
)

MADE = Variables({"w": np.arange(12, dtype=np.float32).reshape(1, 3, 4)}, {})


@pytest.fixture
def head(tmp_path):
    save_head(tmp_path / "best_model", made_card(), MADE)
    return tmp_path / "best_model"


def load(head, like):
    return load_head(head, read_card(head), like, sharding.make_mesh())


def test_a_head_comes_back_and_can_be_replaced(head):
    np.testing.assert_array_equal(load(head, MADE).params["w"], MADE.params["w"])
    other = Variables({"w": MADE.params["w"] + 1}, {})
    save_head(head, made_card(), other)
    np.testing.assert_array_equal(load(head, other).params["w"], other.params["w"])
    assert [path.name for path in head.parent.iterdir()] == ["best_model"]
    assert stat.S_IMODE((head / HEAD_FILE).stat().st_mode) & 0o444


@pytest.mark.parametrize("shape", [(1, 10**6, 10**6), (1, 10**4, 10**4)])
def test_a_card_that_promises_more_than_there_is(head, shape):
    like = Variables({"w": jax.ShapeDtypeStruct(shape, np.float32)}, {})
    with pytest.raises(CheckpointError, match=r"params cannot be read .*declared in"):
        load(head, like)


def test_parameters_that_are_damaged_or_gone(head, tmp_path):
    for file in (head / "params").rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(CheckpointError, match="params cannot be read"):
        load(head, MADE)


def test_what_a_killed_run_left_is_removed(tmp_path):
    (tmp_path / ".best_model.0a1b2c3d.tmp" / "params").mkdir(parents=True)
    (tmp_path / ".best_model.17.old").mkdir()
    (tmp_path / ".results.json.00c0ffee.tmp").touch()
    (tmp_path / ".run.lock").touch()
    remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".run.lock"]


def test_a_full_disk_ends_a_save_as_an_error_of_the_system(tmp_path, monkeypatch):
    mesh = sharding.make_mesh()
    checkpoints = RunCheckpoints(tmp_path / "checkpoints", mesh)

    def full(*_, **__):
        raise ValueError("RESOURCE_EXHAUSTED: Failed [os_error_code='28']")

    monkeypatch.setattr(checkpoints._checkpointer, "save", full)
    with pytest.raises(OSError, match="checkpoints") as error:
        checkpoints.save(1, {"w": np.zeros(3)}, {"epoch": 1})
    checkpoints.close()
    assert error.value.errno == errno.ENOSPC
