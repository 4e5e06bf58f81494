"""The cards of checkpoints: what comes back, what older code wrote, and mistakes."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest
from made.cards import made_card

from avemo_jax.models.card import (
    BlendCard,
    BlendFiles,
    Card,
    CheckpointError,
    Evaluated,
    Provenance,
    read_as,
    read_card,
    write_card,
)
from avemo_jax.models.selection import Selection, fixed_selection
from avemo_jax.tasks import AU

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "cards"
CHOSEN = Evaluated(
    selection=fixed_selection(AU, 1, "why", num_heads=2), best_seed=0, scores={"raw": 1}
)
SOURCE = Provenance("a.pth", "0" * 64, "1" * 40, False, None, "none stated")
CARDS = {
    "bare": made_card(),
    "converted": made_card(
        training_videos="unknown",
        class_counts=None,
        best_epochs=(None,),
        dev_scores=None,
        provenance=SOURCE,
        sha256={"params": "ff"},
    ),
    "part of joint tasks": made_card(trained_with="EXPR+AU", dev_scores=None),
    "evaluated": made_card(**vars(CHOSEN)),
    "evaluated without labels": made_card(**vars(CHOSEN) | {"scores": None}),
    "blend": BlendCard(head_paths=("../head_0", "/elsewhere")),
    "blend with files": BlendCard(
        head_paths=("a", "b.csv"),
        predictions=BlendFiles(("a", "b"), {"b.csv": "ff"}),
        config={"blend": {"trust_extractor": False}},
        **vars(CHOSEN),
    ),
}


@pytest.mark.parametrize("name", CARDS)
def test_a_card_comes_back(tmp_path, name):
    card, path = CARDS[name], tmp_path / "card.json"
    write_card(path, card)
    back = read_as(type(card), path)
    assert dataclasses.replace(back, selection=None) == dataclasses.replace(
        card, selection=None
    )
    assert back.to_dict() == card.to_dict()
    stored = json.loads(path.read_text())
    assert ("scores" in stored) == (card.selection is not None)
    assert "own_task" not in stored


@pytest.mark.parametrize(
    ("name", "kind"), [("head.json", Card), ("blend.json", BlendCard)]
)
def test_cards_of_the_first_version_are_read_and_written_alike(tmp_path, name, kind):
    """They were written before cards had a type, by runs on a tiny store."""
    card = read_as(kind, GOLDEN / name)
    assert isinstance(card.selection, Selection)
    write_card(tmp_path / name, card)
    assert (tmp_path / name).read_bytes() == (GOLDEN / name).read_bytes()


def test_folder_file_and_neither(tmp_path):
    write_card(tmp_path / "head.json", made_card())
    assert read_card(tmp_path) == read_card(tmp_path / "head.json") == made_card()
    (tmp_path / "run").mkdir()
    with pytest.raises(CheckpointError, match="is no head checkpoint: it has no head"):
        read_card(tmp_path / "run")
    (tmp_path / "run" / "best_model").mkdir()
    write_card(tmp_path / "run" / "best_model" / "head.json", made_card())
    with pytest.raises(CheckpointError, match=r"wrote, here \S+run/best_model"):
        read_card(tmp_path / "run")


def lacking(*names: str):
    return lambda stored: {k: v for k, v in stored.items() if k not in names}


def with_values(**values: object):
    return lambda stored: stored | values


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lacking("seeds", "task"), "missing task, seeds, unknown nothing"),
        (with_values(mine=1), "missing nothing, unknown mine"),
        (with_values(task=3), "task is 3; expected a text"),
        (with_values(seeds=0), "seeds is 0; expected a list"),
        (with_values(seeds=[0, "1"]), r"seeds\[1\] is '1'; expected an integer"),
        (with_values(evaluation_batch_size=True), "size is True; expected an integer"),
        (with_values(candidates=[0]), r"candidates is \[0\]; expected a list of 2"),
        (with_values(training_videos="none"), "videos is 'none'; expected a list"),
        (with_values(dev_scores=["a"]), r"dev_scores\[0\] is 'a'; expected a number"),
        (with_values(data={"name": "x"}), "missing data.synthetic, data.fingerprint"),
        (with_values(data=[]), r"data is \[\]; expected an object"),
        (with_values(features=[{}]), r"missing features\[0\].name"),
        (with_values(counts={"dev": {"n": "1"}}), "counts.dev.n is '1'; expected an"),
        (with_values(selection={"reason": ""}), "the card's selection lacks chosen_on"),
        (with_values(sha256={"a": None}), "sha256.a is None; expected a text"),
    ],
)
def test_faults_are_told_with_file_and_key(tmp_path, change, message):
    path = tmp_path / "head.json"
    path.write_text(json.dumps(change(made_card().to_dict())))
    with pytest.raises(CheckpointError, match=message) as caught:
        read_card(tmp_path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "train or convert the head anew" in str(caught.value)


def test_thresholds_keep_their_bits(tmp_path):
    limits = np.random.default_rng(0).random((1, 12), np.float32)
    chosen = dataclasses.replace(fixed_selection(AU, 1, ""), thresholds=limits)
    write_card(tmp_path / "head.json", made_card(selection=chosen))
    found = read_card(tmp_path).selection
    np.testing.assert_array_equal(found.thresholds, limits)
