"""The card of a store: its numbers, its words, and whose files it leaves alone."""

import json
import pathlib
import re
import shlex

import numpy as np
import pytest
from made.stores import annotated, source, vectors

from avemo_jax.data.corpus.annotations import read_annotations
from avemo_jax.data.features.files import write_feature_file
from avemo_jax.data.features.folders import find_feature_sources
from avemo_jax.data.records import VideoAnnotations, VideoFeatures
from avemo_jax.data.store.layout import config_folder, read_metadata
from avemo_jax.data.store.store import open_store
from avemo_jax.packing.build import build_store
from avemo_jax.packing.card import MARKER, write_card
from avemo_jax.packing.card_tables import count_and_share, markdown_table
from avemo_jax.packing.command import main
from avemo_jax.packing.counts import count_store
from avemo_jax.tasks import AU, EXPR, TASKS, VA

META = {
    "fingerprint": "f" * 64,
    "kind": "visual",
    "extractor": "mine",
    "weights_sha256": "ab" * 32,
    "settings": {"size_px": 4, "precision": "highest"},
    "input": "crops-4",
}


def tables_of(card: str) -> dict[str, list[list[str]]]:
    """Cells of each table, by the first cell of its header."""
    found: dict[str, list[list[str]]] = {}
    for block in re.findall(r"(?:^\|.*\n)+", card, re.MULTILINE):
        lines = [
            [cell.strip() for cell in line.strip("|\n").split("|")]
            for line in block.splitlines()
        ]
        assert len({len(line) for line in lines}) == 1
        assert {len(line) for line in block.splitlines()} == {len(block.split("\n")[0])}
        assert set("".join(lines[1])) <= set("-: ")
        found["/".join(lines[0])] = [line for i, line in enumerate(lines) if i != 1]
    return found


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
    """A set of files, with faults in two of them."""
    (tmp_path / "features" / "mine@x").mkdir(parents=True)
    for i, video in enumerate(("a", "b", "c")):
        rows = VideoFeatures(np.int32([1, 3]), np.full((2, 3), i, np.float32))
        faults = {}
        if video != "a":
            faults = {
                "failed": [[n, f"no `picture` {n}"] for n in range(5, 11)],
                "notes": [f"sound of {video}\nis short"],
            }
        path = tmp_path / "features" / "mine@x" / f"{video}.npz"
        decoders = {"av": "19.0.2" if video == "c" else "18.1.0", "libavutil": "60"}
        meta = {**META, **faults, "decoding": 1, "decoders": decoders}
        write_feature_file(path, rows, meta)
    return tmp_path / "features"


@pytest.fixture
def records() -> list[VideoAnnotations]:
    names = {"a": "train", "b": "train", "c": "validation", "d": "validation"}
    found = [annotated(v, 12, s, seed=ord(v)) for v, s in names.items()]
    for number, record in enumerate(found):
        units = record.labels["AU"]
        units[units < 0] = 1
        units[number, 5] = -1  # one frame that does not count
    return found


def build(root, records, folder, **how) -> str:
    sources = find_feature_sources([folder])
    build_store(root, records, sources, show_progress=False, **how)
    return (root / "README.md").read_text("utf-8")


def test_counts_are_those_of_the_labels(tmp_path, folder, records):
    root = tmp_path / "store"
    build(root, records, folder)
    store = open_store(root)
    counts = count_store(store)
    labels = {record.video: record.labels for record in records}
    for name, task in TASKS.items():
        assert list(counts[name]) == ["train", "dev", "validation"]
        for split, one in counts[name].items():
            videos = [v for v, s in store.split_of(name).items() if s == split]
            every = np.concatenate([labels[v][name] for v in videos])
            valid = every[task.valid(every)]
            assert (one.videos, one.frames) == (len(videos), 12 * len(videos))
            assert one.labelled == len(valid)
            # Frames 1 and 3 have a vector, but none of d has.
            seen = [labels[v][name][[0, 2]] for v in videos if v != "d"]
            with_row = sum(int(task.valid(part).sum()) for part in seen)
            assert one.without_row == {"mine@x": one.labelled - with_row}
            if task is EXPR:
                expected = [(valid == c).sum() for c in range(8)]
                assert one.active.tolist() == expected
            elif task is AU:
                assert one.active.tolist() == (valid == 1).sum(axis=0).tolist()
            else:
                values = valid.astype(np.float64)
                np.testing.assert_allclose(one.means, values.mean(0), rtol=1e-12)
                np.testing.assert_allclose(one.deviations, values.std(0), rtol=1e-9)
                v, a = values.T
                signs = [(v >= 0) & (a >= 0), (v < 0) & (a >= 0)]
                signs += [(v < 0) & (a < 0), (v >= 0) & (a < 0)]
                assert one.quadrants.tolist() == [int(s.sum()) for s in signs]


def test_videos_without_annotations_are_counted(tmp_path):
    rows = vectors("face@a", {"new": [1, 7]}, 3)
    sound = vectors("sound@a", {"new": list(range(1, 10))}, 2)
    sources = [source("face@a", "visual", rows), source("sound@a", "audio", sound)]
    build_store(tmp_path, [], sources, show_progress=False)
    counts = count_store(open_store(tmp_path))
    for by_split in counts.values():
        assert list(by_split) == ["test"]
        assert (by_split["test"].videos, by_split["test"].frames) == (1, 9)
        assert by_split["test"].labelled == 0
    card = (tmp_path / "README.md").read_text("utf-8")
    assert "### Expressions" not in card
    lines = tables_of(card)["task/split/videos/frames/labelled frames"]
    assert ["EXPR", "test", "1", "9", "0"] in lines


def test_card_tells_the_numbers(tmp_path, folder, records):
    root = tmp_path / "store"
    card = build(root, records, folder, command="python build.py --x 'a b'")
    counts = count_store(open_store(root))
    tables = tables_of(card)
    assert tables["set/kind/dim/outputs/videos/frames"][1] == [
        *("`mine@x`", "visual", "3", "-", "3", "6"),
    ]
    lines = tables["task/split/videos/frames/labelled frames"]
    missing = tables["task/split/`mine@x`"]
    for name, by_split in counts.items():
        for split, one in by_split.items():
            cells = [str(one.videos), str(one.frames), str(one.labelled)]
            assert [name, split, *cells] in lines
            told = count_and_share(one.without_row["mine@x"], one.labelled)
            assert [name, split, told] in missing
    expr = tables["class/train/dev/validation"]
    assert [line[0] for line in expr[1:]] == list(EXPR.columns)
    train = counts["EXPR"]["train"]
    assert expr[1][1] == count_and_share(int(train.active[0]), train.labelled)
    units = tables["unit, active / not active/train/dev/validation"]
    assert [line[0] for line in units[1:]] == list(AU.columns)
    one = counts["AU"]["validation"]
    active = int(one.active[-1])
    assert units[-1][3] == f"{active} / {one.labelled - active}"
    values = tables["split/valence/arousal/V+ A+/V- A+/V- A-/V+ A-"]
    mean, deviation = counts[VA.name]["dev"].means, counts[VA.name]["dev"].deviations
    assert values[2][2] == f"{mean[1]:+.3f} ± {deviation[1]:.3f}"


def test_card_tells_how_it_was_made(tmp_path, folder, records):
    root = tmp_path / "store"
    root.mkdir()
    (root / "failures.jsonl").write_text('{"video": "e"}\n{"video": "f"}\n')
    card = build(root, records, folder, command="python build.py --x 'a b'")
    assert card.startswith(MARKER)
    for text in (
        "- extractor: `mine`",
        f"- sha256 of the weights: `{'ab' * 32}`",
        f"- fingerprint: `{'f' * 64}`",
        "- version of our decoding: `1`",
        "- decoded with av 18.1.0, libavutil 60: 2 videos",
        "- decoded with av 19.0.2, libavutil 60: 1 video\n",
        '- settings: `precision` "highest", `size_px` 4',
        "- failed frames: 12\n- failed videos: 2 (`b: 6`, `c: 6`)",
        "  - `b, frame 5: no 'picture' 5`",
        "  - `sound of b is short: b`",
        "- annotated videos without features: 1 (`d`)",
        "lists all that failed: 2 lines",
        "\n    python build.py --x 'a b'\n",
        "avemo_jax 0.1.0",
        "may not be passed on",
    ):
        assert text in card, text
    assert len(re.findall(r"^  - `[bc], frame", card, re.MULTILINE)) == 10
    assert "synthetic" not in card
    metadata = read_metadata(root, "mine@x")
    assert metadata["provenance"] == {
        **{k: META[k] for k in ("extractor", "weights_sha256", "settings", "input")},
        "decoding": 1,
        "decoders": {"av 18.1.0, libavutil 60": 2, "av 19.0.2, libavutil 60": 1},
    }
    assert metadata["report"]["failed_frames"] == 12
    assert len(metadata["report"]["first_failed"]) == 10
    assert str(tmp_path) not in json.dumps(metadata)


def test_the_lines_for_reading_work(tmp_path, folder, records):
    root = tmp_path / "store"
    card = build(root, records, folder)
    [code] = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    found: dict = {}
    exec(code.replace('"DIR"', repr(str(root))), found)
    assert found["table"].num_rows > 0
    assert "--config configs/expr_mlp.py:mine@x --config.data.dir=DIR" in card


def test_made_data_are_called_so(tmp_path, folder, records):
    card = build(tmp_path / "store", records, folder, synthetic=True)
    assert card.splitlines()[1].startswith("# Made data (synthetic)")
    assert "**The data are made.**" in card
    assert "agreement" not in card


def test_a_users_readme_stays(tmp_path, folder, records, caplog):
    root = tmp_path / "store"
    root.mkdir()
    (root / "README.md").write_text("my notes")
    with caplog.at_level("INFO"):
        assert build(root, records, folder) == "my notes"
    assert "is yours and stays as it is: the card is" in caplog.text
    assert (root / "STORE.md").read_text("utf-8").startswith(MARKER)
    # With both taken there is no card; with none, no second one.
    (root / "STORE.md").write_text("mine too")
    assert write_card(root, command=None) is None
    assert "the store has no card" in caplog.text
    assert (root / "STORE.md").read_text() == "mine too"
    (root / "STORE.md").unlink()
    write_card(root, command=None)
    (root / "README.md").unlink()
    assert write_card(root, command=None) == root / "README.md"
    assert not (root / "STORE.md").exists()


@pytest.mark.parametrize("kind", ["folder", "link"])
def test_what_is_no_file_stays(tmp_path, folder, records, kind):
    root = tmp_path / "store"
    root.mkdir()
    if kind == "folder":
        (root / "README.md").mkdir()
    else:
        (root / "README.md").symlink_to(tmp_path / "elsewhere")
    build_store(root, records, find_feature_sources([folder]), show_progress=False)
    assert (root / "STORE.md").is_file()
    assert not (tmp_path / "elsewhere").exists()


def test_card_changes_with_the_store_only(tmp_path, folder, records):
    root = tmp_path / "store"
    first = build(root, records, folder, command="one")
    assert build(root, records, folder, command="two") == first
    rows = vectors("more@a", {"a": [1]}, 2)
    more = [*find_feature_sources([folder]), source("more@a", "audio", rows)]
    build_store(root, records, more, command="three", show_progress=False)
    second = (root / "README.md").read_text("utf-8")
    assert "`more@a`" in second
    assert "    three\n" in second
    # A set that this build did not name is in the store, and so in its card.
    assert build(root, records, folder, command="four") == second
    (root / "failures.jsonl").write_text("{}\n")
    assert "lists all that failed: 1 lines" in build(root, records, folder)


def test_a_store_from_before_cards_gets_one(tmp_path, folder, records):
    root = tmp_path / "store"
    build(root, records, folder)
    (root / "README.md").unlink()
    path = config_folder(root, "mine@x") / "metadata.json"
    old = json.loads(path.read_text())
    del old["provenance"]
    old["report"] = {}
    path.write_text(json.dumps(old))
    card = build(root, records, folder)
    assert "the files did not tell" in card


def test_command_quotes_itself(tmp_path, shared_data):
    annotations = shared_data / "affwild2_mini" / "Annotations"
    flags = ["--annotations", str(annotations), "--out", str(tmp_path / "my store")]
    assert main([*flags, "--quiet"]) == 0
    card = (tmp_path / "my store" / "README.md").read_text("utf-8")
    [line] = [text for text in card.splitlines() if "avemo build-store" in text]
    assert shlex.split(line) == ["avemo", "build-store", *flags, "--quiet"]
    assert "Feature sets\n\nNone yet." in card
    videos = len(list(read_annotations(annotations)))
    assert f"{videos} annotated subject-videos" in card


def test_markdown_table():
    expected = "| a   |   b |\n| --- | --: |\n| xyz |  10 |"
    assert markdown_table(["a", "b"], [["xyz", "10"]]) == expected
    assert count_and_share(0, 0) == "0"
    assert count_and_share(1500, 3000) == "1,500 (50.0 %)"
