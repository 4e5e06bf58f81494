"""How a store's splits come about, and persons that are in several of them."""

import json

import numpy as np
import pytest

from avemo_jax.data.records import VideoAnnotations
from avemo_jax.data.store.store import open_store
from avemo_jax.packing import command
from avemo_jax.packing.build import build_store
from avemo_jax.packing.store_splits import make_splits
from avemo_jax.tasks import own_task

TASKS = {"poise": own_task("poise", "multiclass", ("calm", "keen"))}
HOW = {"seed": 0, "grouped": True, "tasks": TASKS}


def videos(*splits_and_groups: tuple[str, str]) -> dict[str, VideoAnnotations]:
    """A video for each pair of a split and a person, called a, b, c, ..."""
    return {
        chr(ord("a") + i): VideoAnnotations(
            chr(ord("a") + i),
            {"poise": np.zeros(3, np.int8)},
            {"poise": split},
            source=group,
        )
        for i, (split, group) in enumerate(splits_and_groups)
    }


@pytest.mark.parametrize(
    "pair",
    [
        ("train", "dev"),
        ("train", "validation"),
        ("train", "test"),
        ("dev", "validation"),
        ("dev", "test"),
        ("validation", "test"),
    ],
    ids="-".join,
)
def test_a_person_in_two_splits_is_refused_or_told(pair):
    records = videos(
        ("train", "p1"), ("dev", "p2"), ("validation", "p3"), *[(s, "p9") for s in pair]
    )
    message = rf"1 group is in several splits: 'p9' in {pair[0]} and {pair[1]}; expect"
    with pytest.raises(ValueError, match=message):
        make_splits(records, None, **HOW)
    splits, how = make_splits(records, None, allow_shared_groups=True, **HOW)
    assert how == {"origin": "given", "shared_groups": {"p9": [*pair]}}
    assert splits["poise"] == {v: r.splits["poise"] for v, r in records.items()}


def test_many_persons_are_counted_and_the_first_are_named():
    both = [(s, f"p{i}") for i in range(7) for s in ("train", "validation")]
    with pytest.raises(ValueError, match=r"7 groups are in .*'p4' in [a-z ]*, \.\.\.;"):
        make_splits(videos(*both), None, **HOW)


def test_lists_of_a_users_own_part_no_person_either():
    records = videos(("train", "p1"), ("train", "p1"))
    given = {"poise": {"a": "train", "b": "dev"}}
    with pytest.raises(ValueError, match=r"'p1' in train and dev"):
        make_splits(records, given, **HOW)


def test_an_ungrouped_draw_tells_whom_it_parts():
    records = videos(*[("train", "p1")] * 5)
    _, how = make_splits(records, None, **{**HOW, "grouped": False})
    assert how["shared_groups"] == {"p1": ["train", "dev"]}


def test_given_and_drawn_dev_are_told_apart():
    given = videos(("train", "p1"), ("dev", "p2"), ("validation", "p3"))
    assert make_splits(given, None, **HOW)[1] == {"origin": "given"}
    drawn = videos(("train", "p1"), ("train", "p2"))
    how = {"origin": "drawn", "seed": 0, "grouped": True}
    assert make_splits(drawn, None, **HOW)[1] == how
    for record in drawn.values():
        record.splits["ache"] = "train"
    drawn["a"].splits["ache"] = "dev"
    found = make_splits(drawn, None, **{**HOW, "tasks": ("poise", "ache")})[1]
    assert found == {**how, "given_dev": ["ache"]}


def test_a_standing_store_learns_how_its_splits_came_about(tmp_path):
    """Stores were once written that called the user's own dev drawn."""
    records = videos(("train", "p1"), ("dev", "p2"), ("validation", "p3"))
    build_store(tmp_path, records.values(), tasks=TASKS, show_progress=False)
    before = open_store(tmp_path).fingerprint
    (path,) = tmp_path.glob("affwild2/annotations/*/metadata.json")
    metadata = json.loads(path.read_text())
    metadata["how"] = {"origin": "drawn", "seed": 0, "grouped": True}
    path.write_text(json.dumps(metadata))
    build_store(tmp_path, records.values(), tasks=TASKS, show_progress=False)
    assert json.loads(path.read_text())["how"] == {"origin": "given"}
    assert open_store(tmp_path).fingerprint == before
    assert "The splits were given by the user." in (tmp_path / "README.md").read_text()


def test_the_command_refuses_or_tells(tmp_path, capsys):
    manifest = "video,split,group\na_1,train,p1\na_2,validation,p1\nb_left,train,\n"
    (tmp_path / "manifest.csv").write_text(f"{manifest}b_right,dev,\n")
    (tmp_path / "labels.csv").write_text("video,frame,sway\na_1,1,x\nb_left,1,y\n")
    files = [f"--{name}={tmp_path / name}.csv" for name in ("manifest", "labels")]
    out = [f"--out={tmp_path / 'store'}", "--quiet"]
    assert command.main([*files, *out]) == 1
    said = capsys.readouterr().err
    assert "2 groups are in several splits: 'b' in train and dev, 'p1' in" in said
    assert not (tmp_path / "store").exists()
    assert command.main([*files, *out, "--allow-shared-groups"]) == 0
    card = (tmp_path / "store" / "README.md").read_text()
    assert "which the user allowed: 2 ('b' in train and dev" in " ".join(card.split())
    how = json.loads((tmp_path / "store" / "splits.json").read_text())["how"]
    assert how["origin"] == "given"
    assert list(how["shared_groups"]) == ["b", "p1"]
    store = open_store(tmp_path / "store")
    assert store.shared_groups("sway") == how["shared_groups"]
    assert store.shared_groups("sway", {"b_right": "train"}) == {
        "p1": ["train", "validation"]
    }
