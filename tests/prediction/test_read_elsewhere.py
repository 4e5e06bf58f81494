"""The tables as other programs read them: pandas, R, py-feat."""

import csv
import pathlib
import re
import shutil
import subprocess

import pandas as pd
import pytest
from made.predicted import made_face, made_predicted

from avemo_jax.prediction.summaries import summary_rows, write_summary
from avemo_jax.prediction.writing import write_predicted
from avemo_jax.tasks import ACTION_UNITS, EXPRESSIONS

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "predictions.md"
FLAGS = ["success", "filled", "embedded", "audio_used"]
UNITS = [f"AU{unit:02d}" for unit in ACTION_UNITS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    """The folder of all results, with an input of two faces, and one of none."""
    out = tmp_path_factory.mktemp("cwd") / "predicted"
    faces = [made_face(1, 2, 30, lost=[9], filled=[12]), made_face(2, 8, 35)]
    made = [made_predicted(40, faces), made_predicted(5, name="nobody")]
    for one in made:
        write_predicted(one, out / one.name)
    rows = [row for one in made for row in summary_rows(one)]
    write_summary(rows, out / "summary.csv")
    return out


def test_pandas_gives_columns_their_types(folder):
    path = folder / "interview" / "predictions.csv"
    frames = pd.read_csv(path, dtype={"face_id": "Int64"})
    whole = ["frame", *FLAGS]
    assert all(frames.dtypes[whole] == "int64")
    assert frames.dtypes["face_id"] == "Int64"
    others = frames.columns.difference([*whole, "input", "face_id", "expression"])
    assert all(frames.dtypes[others] == "float64")
    alone = frames.loc[frames.face_id.isna(), "frame"]
    assert alone.tolist() == [1, *range(36, 41)]
    assert set(frames.expression.dropna()) <= set(EXPRESSIONS)
    scored = frames.dropna(subset="valence")
    assert scored[list(EXPRESSIONS)].sum(axis=1).sub(1).abs().max() < 1e-5
    assert (scored.expression == scored[list(EXPRESSIONS)].idxmax(axis=1)).all()
    typed = pd.read_parquet(path.with_suffix(".parquet"))
    plain = pd.read_csv(path)
    pd.testing.assert_frame_equal(typed, plain, check_dtype=False)
    assert typed.dtypes[FLAGS].eq("int8").all()


@pytest.mark.parametrize(
    "name",
    [
        "interview/predictions.csv",
        "interview/predictions_raw.csv",
        "nobody/predictions.csv",
        "interview/segments.csv",
        "summary.csv",
    ],
)
def test_what_r_and_spreadsheets_need(folder, name):
    """R's names and numbers, as many cells in every line, no quotes, no words."""
    text = (folder / name).read_text("utf-8")
    assert text.endswith("\n")
    assert '"' not in text
    header, *lines = csv.reader(text.splitlines())
    assert len(set(header)) == len(header)
    assert all(re.fullmatch(r"[A-Za-z][A-Za-z0-9._]*", one) for one in header)
    texts = {"input", "expression", "tier", "label", "warnings"}
    for line in lines:
        assert len(line) == len(header)
        for column, cell in zip(header, line, strict=True):
            number = re.fullmatch(r"(-?\d+(\.\d+)?)?", cell)
            assert number or column in texts, (column, cell)


if shutil.which("Rscript"):  # R is no package of Python, and most have none

    def test_the_pages_example_runs_in_r(folder):
        (code,) = re.findall(r"^```r\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.S)
        code += "columns <- c('face_id', 'AU12_c', 'valence', 'expression')\n"
        code += "print(unname(sapply(frames[columns], class)))"
        done = subprocess.run(
            ["Rscript", "--vanilla", "-e", code],
            capture_output=True,
            text=True,
            cwd=folder.parent,
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        kinds = done.stdout.splitlines()[-1].split()[1:]
        assert kinds == ['"integer"', '"integer"', '"numeric"', '"character"']


def test_the_columns_by_which_feat_knows_a_file(folder):
    """py-feat 2.1.5: what ``read_feat`` takes, and what the page renames for it."""
    path = folder / "interview" / "predictions.csv"
    frames = pd.read_csv(path)
    assert [name for name in frames if "AU" in name] == [
        *UNITS,
        *(f"{unit}_c" for unit in UNITS),
    ]
    assert {"input", "frame", "valence", "arousal"} <= set(frames)
    emotions = {"Neutral", "Surprise", "Fear", "Disgust", "Anger"}
    assert emotions <= set(frames)
    box = ["FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight"]
    assert set(box) <= set(frames)
    _, code = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.S)
    named = dict(re.findall(r'"(\w+)": "(\w+)"', code))
    assert set(named) <= set(frames)
    assert set(named.values()) == {"Happy", "Sad", "FaceScore", "Identity"}
