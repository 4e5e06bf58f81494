"""The files of a results table: rows, Markdown, JSON, CSV, plots."""

import csv
import dataclasses
import io
import json
import math

import pytest

from avemo_jax.results_table.contents import Cell, Effect, ResultsTable
from avemo_jax.results_table.markdown import number, score_text
from avemo_jax.results_table.rows import rows
from avemo_jax.results_table.table_plots import write_plots
from avemo_jax.results_table.writing import FILES, csv_text, write_table
from avemo_jax.runtime.plain_text import in_markdown
from avemo_jax.tasks import TASKS

# The original's table: visual, sound, way; then F1 and seconds of EXPR and of AU, CCC
# and seconds of VA. Source: bichuyen99/Audiovisual_emotion_recognition.
ORIGINAL = [
    ("B2", "none", "Transformer", 0.31, 29.5, 0.509, 88, 0.324, 55.2),
    ("B2", "vggish", "Transformer", 0.316, 33, 0.502, 81, 0.376, 57.4),
    ("B2", "wav2vec2", "Transformer", 0.33, 34.4, 0.497, 89, 0.394, 58.9),
    ("B2", "none", "MLP", 0.327, 8.93, 0.521, 52.5, 0.415, 26.9),
    ("B2", "vggish", "MLP", 0.379, 11.4, 0.52, 48.6, 0.444, 29.4),
    ("B2", "wav2vec2", "MLP", 0.394, 12, 0.513, 50.3, 0.459, 30.3),
    ("B2", "wav2vec2", "smooth", 0.457, 31.65, 0.525, 15.73, 0.493, 30.3),
    ("B2", "wav2vec2", "adaptive", 0.455, 13.91, None, None, None, None),
    ("B2", "wav2vec2+vggish", "blend", None, None, 0.534, 17.3, 0.510, 13.6),
    ("B2+B0", "vggish", "blend", None, None, 0.54, 22.2, None, None),
]
HEADS = {"batch_transformer": "Transformer", "mlp": "MLP"}
WAYS = {"smooth": "smooth", "fixed_stride": "adaptive"}
DEMO = "demo corpus (synthetic)"
REPORTED_HERE = "s reported by the original"


def made_cell(task, row, at, **changes):
    score = 0.3 + 0.01 * at
    few = row.post in ("fixed_stride", "sequential", "grid")
    cell = Cell(
        task=task,
        row=row.id,
        metric=TASKS[task].headline,
        score=score,
        std=0.004,
        ci95=(score - 0.026, score + 0.023),
        per_seed=(score - 0.004, score + 0.004),
        tuned_on_reported=score + 0.01,
        smoothing="no window" if row.post == "none" else "median ±100",
        chosen_on=None if row.post == "none" else "dev",
        share_embedded=0.045 if few else None,
        share_entries=0.155 if few else None,
    )
    return dataclasses.replace(cell, **changes)


def made_table(**changes):
    cells = {
        task: tuple(made_cell(task, row, at) for at, row in enumerate(rows()))
        for task in TASKS
    }
    table = ResultsTable(
        title=DEMO,
        synthetic=True,
        is_affwild2=False,
        split="validation",
        protocol="ours",
        num_seeds=2,
        environment={"packages": {"jax": "0.10.2"}, "git": None, "cpus": [1, 2]},
        rows=rows(),
        cells=cells,
        effects=(
            Effect("EXPR", "sound helps", 0.031, (0.01, 0.05)),
            Effect("AU", "wide | narrow", -0.0001, (-0.01, 0.01)),
        ),
    )
    return dataclasses.replace(table, **changes)


def of_affwild2(**changes):
    own = {"title": "/data/store (0123abcd)", "synthetic": False, "is_affwild2": True}
    return made_table(**(own | changes))


def written(tmp_path, table):
    write_table(tmp_path, table)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(FILES)
    return [(tmp_path / name).read_text(encoding="utf-8") for name in FILES]


def grid_under(page, heading):
    """Header and lines of the first Markdown table after a heading, as a reader."""
    lines = page.split(heading, 1)[1].splitlines()
    start = next(at for at, line in enumerate(lines) if line.startswith("|"))
    grid = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        parts = line.replace("\\|", "\0").strip("|").split("|")
        grid.append([part.strip().replace("\0", "|") for part in parts])
    return grid[0], grid[2:]


def test_reported_figures_are_the_originals():
    """Whatever has figures is in the original's table, in its order, and no more."""
    found = []
    for row in rows():
        if not row.reported:
            continue
        sounds = "+".join(name.removesuffix("_base") for name in row.sound) or "none"
        visual = "+".join(name.split("_")[1].upper() for name in row.visual)
        way = WAYS.get(row.post, HEADS[row.kind])
        way = "blend" if len(row.heads) > 1 else way
        figures = [
            getattr(row.reported.get(task), name, None)
            for task in ("EXPR", "AU", "VA")
            for name in ("score", "time_s")
        ]
        found.append((visual, sounds, way, *figures))
    assert found == ORIGINAL


def test_rows_in_order():
    got = [(row.kind, row.sound, row.post, len(row.heads)) for row in rows()]
    sounds = ((), ("vggish",), ("wav2vec2_base",))
    kinds = ("batch_transformer", "transformer", "mlp")
    both = ("wav2vec2_base",)
    assert got == [
        *((kind, sound, "none", 1) for kind in kinds for sound in sounds),
        ("mlp", both, "smooth", 1),
        ("transformer", both, "smooth", 1),
        *(("mlp", both, post, 1) for post in ("fixed_stride", "sequential", "grid")),
        ("mlp", ("wav2vec2_base", "vggish"), "smooth", 2),
        ("mlp", ("vggish",), "smooth", 2),
    ]
    assert len({row.id for row in rows()}) == 16
    other = rows("enet_b0_8_best_vgaf")
    assert other[:-1] == rows()[:-1]
    b0 = "enet_b0_8_best_vgaf"
    assert other[-1].heads == ("enet_b2_8_best+vggish", f"{b0}+vggish")
    assert other[-1].visual == ("enet_b2_8_best", b0)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.457, ".457"), (-0.0123, "-.012"), (1.0, "1.000"), (-0.0001, ".000")],
)
def test_numbers_of_scores(value, text):
    assert number(value) == text


def test_scores_in_words():
    assert score_text(0.457, 0.004, (0.431, 0.48)) == ".457 ± .004 [.431, .480]"
    assert score_text(0.457) == ".457"
    assert score_text(None, 0.1) == "-"


def test_page_of_made_data_has_no_figure_of_the_original(tmp_path):
    page, stored, table = written(tmp_path, made_table())
    title = page.splitlines()[0]
    for part in (DEMO, "validation", "protocol ours", "2 seeds"):
        assert part in title
    assert "synthetic: its scores say nothing" in page
    assert "that the original reported are not shown" in page
    for text in (page, stored, table):
        assert "31.65" not in text
        assert "13.91" not in text
        assert ".454 to .457" not in text
    header, lines = grid_under(page, "(EXPR)")
    assert header[3] == "ours (chosen on dev)"
    assert not [name for name in header if "reported by the original" in name]
    assert len(lines) == 16
    assert {len(line) for line in lines} == {len(header)}
    assert "reported_score" not in table.splitlines()[0]


def test_page_of_affwild2_has_them(tmp_path):
    page, stored, table = written(tmp_path, of_affwild2())
    assert "synthetic" not in page
    for task in TASKS:
        header, lines = grid_under(page, f"({task})")
        scores = [line[header.index("reported by the original")] for line in lines]
        times = [line[header.index(REPORTED_HERE)] for line in lines]
        for row, score, time_s in zip(rows(), scores, times, strict=True):
            figures = row.reported.get(task)
            expected = (figures.score, figures.time_s) if figures else ("-", "-")
            got = (score, time_s) if score == "-" else (float(score), float(time_s))
            assert got == expected
            assert not score.startswith("0")
    line = grid_under(page, "(EXPR)")[1][11]
    assert line == [
        *("B2", "wav2vec2", "MLP, fixed stride 10 (the original's row)"),
        *(".410 ± .004 [.384, .433]", ".420", ".455"),
        *("13.91",),
        "median ±100; 4.5% of frames embedded; 15.5% of window entries",
    ]
    row = json.loads(stored)["rows"][11]
    assert row["reported_by_the_original"] == {
        "EXPR": {"score": 0.455, "time_s": 13.91}
    }
    got = list(csv.DictReader(io.StringIO(table)))[11]
    assert (got["reported_score"], got["reported_time_s"]) == ("0.455", "13.91")


def test_sections_and_escapes(tmp_path):
    page, *_ = written(tmp_path, made_table(title="a|b \\ <i>"))
    assert page.startswith("# Results: a\\|b &#92; &lt;i>, validation")
    header, lines = grid_under(page, "## Effects")
    assert header[3] == "difference [95 % interval]"
    assert lines[0][:5] == ["EXPR", "sound helps", "> 0", ".031 [.010, .050]", "yes"]
    assert lines[1][1:] == [
        "wide | narrow",
        "> 0",
        ".000 [-.010, .010]",
        "**no**",
        "the interval has 0 in it",
    ]
    versions = [["packages", "jax 0.10.2"], ["git", "-"], ["cpus", "1; 2"]]
    assert grid_under(page, "## Versions")[1] == versions
    assert in_markdown("one\ntwo | three") == "one two \\| three"


def test_csv_has_every_cell_in_plain_numbers(tmp_path):
    table = made_table()
    *_, text = written(tmp_path, table)
    lines = list(csv.DictReader(io.StringIO(text)))
    assert len(lines) == 48
    by_place = {(cell.task, cell.row): cell for cell in table.all_cells}
    for line in lines:
        cell = by_place.pop((line["task"], line["row"]))
        assert (line["data"], line["synthetic"]) == (DEMO, "True")
        assert float(line["score"]) == cell.score
        assert (float(line["ci95_low"]), float(line["ci95_high"])) == cell.ci95
        assert tuple(map(float, line["per_seed"].split())) == cell.per_seed
        assert line["smoothing"] == cell.smoothing
        shares = cell.share_embedded, cell.share_entries
        got = line["share_embedded"], line["share_entries"]
        assert got == tuple("" if share is None else str(share) for share in shares)
    assert not by_place


def test_json_has_everything(tmp_path):
    table = of_affwild2()
    _, text, _ = written(tmp_path, table)

    def refused(constant):
        raise AssertionError(constant)

    stored = json.loads(text, parse_constant=refused)
    assert stored["schema_version"] == 2
    cells = [json.loads(json.dumps(vars(cell))) for cell in table.all_cells]
    assert stored["cells"] == cells
    assert stored["tasks"] == list(TASKS)
    assert stored["environment"] == table.environment
    assert stored["effects"][0] == {
        **{"task": "EXPR", "name": "sound helps", "difference": 0.031},
        **{"ci95": [0.01, 0.05], "bca95": None, "holds": True, "comment": ""},
    }
    assert [effect["holds"] for effect in stored["effects"]] == [True, False]
    names = {field.name for field in dataclasses.fields(ResultsTable)} - {"title"}
    assert names <= set(stored)
    assert stored["data"] == table.title


def test_cells_without_a_value_stay_with_their_reason(tmp_path):
    first, second = rows()[0], rows()[13]
    reason = "no frame | left"
    cells = [made_cell("EXPR", row, 1) for row in rows()]
    for at, note in ((0, "not computed"), (13, reason)):
        none = {"score": None, "std": None, "ci95": None, "note": note}
        cells[at] = made_cell("EXPR", rows()[at], 0, **none)
    table = made_table(cells={"EXPR": tuple(cells)})
    page, stored, text = written(tmp_path, table)
    assert 'Without a value ("-"): 2 of 16 cells' in page
    assert "(AU)" not in page
    _, lines = grid_under(page, "(EXPR)")
    assert [line[3] for line in lines].count("-") == 2
    assert f"- B2, {first.model}: no value: not computed" in page
    assert "MLP, grid refinement: no value: no frame \\| left" in page
    found = {c["row"]: c for c in json.loads(stored)["cells"]}
    assert (found[second.id]["score"], found[second.id]["note"]) == (None, reason)
    line = list(csv.DictReader(io.StringIO(text)))[13]
    assert (line["row"], line["score"], line["note"]) == (second.id, "", reason)


def test_one_seed_has_no_deviation(tmp_path):
    one = {"std": None, "ci95": None, "per_seed": (0.3,)}
    cells = tuple(made_cell("VA", row, 0, **one) for row in rows())
    page, *_ = written(tmp_path, made_table(num_seeds=1, cells={"VA": cells}))
    assert page.splitlines()[0].endswith(", 1 seed")
    assert "±" not in page.replace("median ±100", "")
    assert grid_under(page, "(VA)")[1][0][3] == ".300"


def test_a_number_that_is_none_leaves_what_stands(tmp_path):
    write_table(tmp_path, made_table())
    before = [(tmp_path / name).read_bytes() for name in FILES]
    cells = tuple(made_cell("VA", row, 0, score=math.nan) for row in rows())
    with pytest.raises(ValueError, match="nan"):
        write_table(tmp_path, made_table(cells={"VA": cells}))
    assert [(tmp_path / name).read_bytes() for name in FILES] == before
    assert len(list(tmp_path.iterdir())) == 3


def test_files_are_written_together(tmp_path):
    """A file that cannot get its name leaves the others and nothing of its own."""
    write_table(tmp_path, made_table())
    before = (tmp_path / "results.md").read_bytes()
    (tmp_path / "results.csv").unlink()
    (tmp_path / "results.csv").mkdir()
    with pytest.raises(IsADirectoryError):
        write_table(tmp_path, made_table(title="other"))
    assert (tmp_path / "results.md").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(FILES)


def test_equal_tables_are_equal_bytes(tmp_path):
    for name in ("one", "two"):
        write_table(tmp_path / name, made_table())
    for name in FILES:
        one, two = ((tmp_path / place / name).read_bytes() for place in ("one", "two"))
        assert one == two
    assert csv_text(made_table()).endswith("\n")


@pytest.mark.slow
def test_plots_differ_by_what_they_show(tmp_path):
    """The original's crosses, and nothing else, tell the two apart."""
    cells = {task: made_table().cells[task] for task in ("EXPR", "AU")}
    made = {"title": "same", "cells": cells, "synthetic": False}
    found = {
        name: write_plots(tmp_path / name, made_table(is_affwild2=shown, **made))
        for name, shown in (("ours", False), ("again", False), ("theirs", True))
    }
    names = ["scores_EXPR.png", "scores_AU.png"]
    assert [path.name for path in found["ours"]] == names
    sizes = []
    for ours, again, theirs in zip(*found.values(), strict=True):
        assert ours.read_bytes().startswith(b"\x89PNG")
        assert ours.read_bytes() == again.read_bytes()
        sizes.append(ours.read_bytes() == theirs.read_bytes())
    assert sizes == [False, False]
    assert sorted(p.name for p in (tmp_path / "ours").iterdir()) == sorted(names)
