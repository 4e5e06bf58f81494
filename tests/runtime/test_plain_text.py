"""Names from outside in logs, errors, CSV, Markdown and plots: shown, never obeyed."""

import csv
import logging

import pytest

from avemo_jax.challenge.score import report
from avemo_jax.data.listing import first_of
from avemo_jax.evaluation.plot_style import new_figure, save_figure
from avemo_jax.packing.card_tables import markdown_table
from avemo_jax.runtime import plain_text
from avemo_jax.runtime.errors import guarded
from avemo_jax.runtime.logs import _OneLine
from avemo_jax.tasks import own_task

ODD = "a\nb\x1b[2J\u202e"
SHOWN = "a\\nb\\x1b[2J\\u202e"


def test_logs_and_errors(capsys):
    record = logging.LogRecord("x", 20, "f.py", 1, "video %s", (ODD,), None)
    assert _OneLine("%(levelname).1s %(message)s").format(record) == f"I video {SHOWN}"
    assert first_of([ODD, "c"], 1) == f"{SHOWN}, ..."

    def fail():
        raise ValueError("x\x1b]0;y\x07: wrong")

    assert guarded(fail, prog="avemo x", kept="nothing") == 1
    assert capsys.readouterr().err == "avemo x: error: x\\x1b]0;y\\x07: wrong\n"


def test_ordinary_text_stays():
    text = "Größe, 表情 -aBc_1 (2) 'x' = y"
    assert plain_text.one_line(text) == plain_text.in_csv(text) == text
    assert plain_text.lines("a\nb\x07") == "a\nb\\x07"


@pytest.mark.parametrize("name", ["=cmd|'/C calc'!A0", "@SUM(1+9)", "-1+cmd|' /C'!A"])
def test_formulas_in_csv(tmp_path, name):
    assert plain_text.in_csv(name) == f"'{name}"
    scores = {"num_frames": 3, "f1_macro": 0.5}
    block = dict.fromkeys(report.SCORED_FRAMES, scores)
    found = {
        "files": [
            {
                "predictions": name,
                "scores": block,
                "per_video": [{"video": name, **block}],
            }
        ]
    }
    report.write_csv(tmp_path / "scores.csv", found)
    with (tmp_path / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["video"] for row in rows} == {"", f"'{name}"}
    assert {row["predictions"] for row in rows} == {f"'{name}"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("=1+1", "as a formula, .*: rename it"),
        ("+cmd|' /C calc'!A0", "as a formula, .*: rename it"),
        ("@home", "as a formula, .*: rename it"),
        ("-x", "as a formula, .*: rename it"),
        ("a\tb", "without comma, quote and control characters"),
        ("a\x1b[31m", "without comma, quote and control characters"),
        ("a\u202eb", "without comma, quote and control characters"),
    ],
)
def test_classes_that_are_refused(name, message):
    with pytest.raises(ValueError, match=message):
        own_task("mood", "multiclass", ("calm", name))
    own_task("mood", "multiclass", ("-1", "+1", "0.5", "so-so", "$a_b$", "<i>|"))


def test_markdown_and_plots(tmp_path):
    rows = markdown_table(["class", "n"], [["<b>a|b\n", "1"]]).splitlines()
    assert len(rows) == 3
    assert rows[2].startswith("| &lt;b>a\\|b |")
    figure = new_figure(2.0, 2.0)
    axes = figure.subplots()
    axes.set_xticks([0], [r"$\frac$"])  # would end the drawing as a formula
    axes.legend(axes.plot([0], [0]), ["$x_"])
    save_figure(figure, tmp_path / "a.png", "cost in $ and $_")
    assert (tmp_path / "a.png").stat().st_size > 1000
