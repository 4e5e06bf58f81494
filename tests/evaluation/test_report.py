"""The table of scores, and plots that are drawn without a display."""

import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from avemo_jax.evaluation import plots
from avemo_jax.evaluation.plot_style import new_figure, save_figure
from avemo_jax.evaluation.report import data_title, scores_table
from avemo_jax.tasks import AU, EXPRESSIONS, own_task, register

TITLE = "Expressions: demo corpus (synthetic), validation"


def made_results(**changes):
    scores = {
        "f1_macro": 0.4561,
        "f1_macro_std": 0.0042,
        "accuracy": 0.5,
        "num_frames": 9,
    }
    results = {
        "task": "EXPR",
        "data": "demo",
        "synthetic": True,
        "features": ["enet_b2_8_best", "wav2vec2_base"],
        "head": "mlp",
        "split": "validation",
        "num_seeds": 3,
        "chosen_on": "dev",
        "metrics": {
            "raw": {"with_crop": scores | {"f1_macro": 0.4}},
            "smoothed": {
                "mode": "median",
                "half_width_frames": 100,
                "with_crop": scores,
                "all_labelled": scores | {"f1_macro": 0.44, "num_frames": 12345},
            },
            "tuned_on_reported": {
                "mode": ["median", "mean", "mean"],
                "half_width_frames": [200, 5, 5],
                "with_crop": scores | {"f1_macro": 0.47},
            },
        },
    }
    return results | changes


def test_table_names_data_choices_and_scores():
    lines = scores_table(made_results()).split("\n")
    assert lines[0] == "Expressions (EXPR): demo corpus (synthetic), validation"
    assert lines[1] == (
        "mlp on enet_b2_8_best + wav2vec2_base; mean ± standard deviation of 3 seeds"
    )
    f1 = lines[lines.index("macro F1") + 1 : lines.index("accuracy")]
    assert [line.split("  ")[1] for line in f1] == [
        "raw",
        "smoothed, median ±100",
        "tuned_on_reported, 2 windows by seed",
    ]
    assert f1[0].split()[-4:] == ["0.400", "±", "0.004", "-"]
    assert f1[1].split()[-6:] == ["0.456", "±", "0.004", "0.440", "±", "0.004"]
    assert any(line.split() == ["frames", "9", "12,345"] for line in lines)
    assert "smoothed: window chosen on dev." in lines
    assert lines[-1].startswith("tuned_on_reported: window chosen on validation itself")
    assert max(map(len, lines)) <= 88
    # every row ends in the same column
    assert len({len(line) for line in f1}) == 1


def test_table_of_whole_videos_and_of_classes_without_frames():
    scores = {"f1_macro": 0.6, "accuracy": 0.7, "num_frames": 9, "num_videos": 3}
    metrics = made_results()["metrics"] | {
        "per_video": {
            **{"mode": "median", "half_width_frames": 100},
            **dict.fromkeys(("with_crop", "all_labelled"), scores),
        }
    }
    one = {"f1_macro": 0.75, "without_frames": ["Fear", "Other"]}
    found = made_results(metrics=metrics, chosen_by="video", ceiling={"with_crop": one})
    lines = scores_table(found).split("\n")
    assert "  per_video, median ±100" in [line[:24] for line in lines]
    assert any(line.split() == ["videos", "3", "3"] for line in lines)
    assert "smoothed: window chosen on dev, by whole videos." in lines
    assert "per_video: mean of each video's smoothed scores, scored once." in lines
    told = "with crop: no frame of Fear, Other: macro F1 cannot exceed 0.75."
    assert lines[-1] == told


def test_table_where_nothing_was_chosen():
    table = scores_table(
        made_results(
            chosen_on=None, chosen_on_reason="training videos unknown", num_seeds=1
        )
    )
    assert "nothing was chosen: training videos unknown." in table
    assert "standard deviation" not in table


@pytest.mark.parametrize(
    ("task", "names"),
    [
        ("AU", ["mean F1", "mean F1, thresholds 0.5"]),
        ("VA", ["mean CCC", "CCC valence", "CCC arousal"]),
    ],
)
def test_table_of_the_other_tasks(task, names):
    scores = {"f1_mean": 0.5, "f1_mean_at_0.5": 0.4, "ccc_mean": 0.3}
    metrics = {"raw": {"with_crop": scores}, "smoothed": {"with_crop": scores}}
    lines = scores_table(made_results(task=task, metrics=metrics)).split("\n")
    assert [line for line in lines if line in names] == names
    assert "0.500" in "".join(lines) if task == "AU" else "0.300" in "".join(lines)
    thresholds = "raw: thresholds, smoothed: window and thresholds chosen on dev."
    assert (thresholds in lines) == (task == "AU")


def with_intervals():
    results = made_results(num_seeds=1)
    for name in ("raw", "smoothed"):
        scores = results["metrics"][name]["with_crop"]
        scores = {k: v for k, v in scores.items() if not k.endswith("_std")}
        scores |= {"f1_macro_ci95": [0.41, 0.5004], "accuracy_ci95": [0.0, 1.0]}
        results["metrics"][name]["with_crop"] = scores
    return results


def test_intervals_of_few_videos_are_told_below():
    results = with_intervals()
    said = {"num_videos": 9, "methods": {"ci95": "percentile", "bca95": "BCa"}}
    for name, ends in (("raw", [0.4, 0.6]), ("smoothed", None)):
        few = {"f1_macro_bca95": ends, "accuracy_bca95": [0.1, 0.2], "intervals": said}
        results["metrics"][name]["with_crop"] |= few
    lines = scores_table(results).split("\n")
    assert (
        "over 9 videos, fewer than 40, 95 % intervals by BCa are: macro F1, raw "
        "[0.400, 0.600], macro F1, smoothed none."
    ) in lines


def test_table_shows_intervals_and_its_legend_says_so():
    lines = scores_table(with_intervals()).split("\n")
    assert lines[1] == (
        "mlp on enet_b2_8_best + wav2vec2_base; [95 % interval over videos]"
    )
    f1 = lines[lines.index("macro F1") + 1 : lines.index("accuracy")]
    assert f1[0].split()[-4:] == ["0.400", "[0.410,", "0.500]", "-"]
    assert "0.456 [0.410, 0.500]   0.440 ± 0.004" in f1[1]
    assert "[" not in f1[2]
    assert "0.500 [0.000, 1.000]" in lines[lines.index("accuracy") + 1]
    assert len({len(line) for line in f1}) == 1
    both = with_intervals() | {"num_seeds": 3}
    assert (
        scores_table(both)
        .split("\n")[1]
        .endswith("; mean ± standard deviation of 3 seeds; [95 % interval over videos]")
    )
    assert "95 %" not in scores_table(made_results())


def test_table_of_more_that_was_chosen():
    more = {
        "weights": [[0.3, 0.7], [1.0, 0.0]],
        "confidences": [1.0, 0.85],
        "temperatures": [1.0, 0.5],
    }
    lines = scores_table(made_results(**more)).split("\n")
    at = lines.index(
        "weights of the 2 heads by each of 2 seeds, for all outputs alike:"
    )
    assert lines[at + 1 : at + 3] == ["  0.30, 1.00: head 1", "  0.70, 0.00: head 2"]
    assert "the extractor's own probabilities are taken never, from 0.85." in lines
    assert "classes corrected by their shares; temperatures 1, 0.5." in lines
    heads = [{"features": ["look", "vggish"], "head": "mlp"}]
    heads.append({"features": [], "head": "predictions (theirs.csv)"})
    more = {"weights": [[0.5, 0.5]], "heads": heads}
    lines = scores_table(made_results(chosen_on=None, **more)).split("\n")
    at = lines.index("weights of the 2 heads, for all outputs alike:")
    named = ["  0.50: mlp on look + vggish", "  0.50: predictions (theirs.csv)"]
    assert lines[at + 1 : at + 3] == named


def test_tables_of_sound_alone_speak_of_features():
    one = {"f1_macro": 0.75, "without_frames": ["Fear", "Other"]}
    found = made_results(faces=False, ceiling={"with_crop": one})
    table = scores_table(found)
    assert "crop" not in table
    assert "with features" in table.split("\n")[3]


def test_an_own_tasks_name_is_its_title():
    register(own_task("feeling", "multiclass", ("glad", "sad")))
    table = scores_table(made_results(task="feeling"))
    assert table.startswith("feeling: demo corpus (synthetic), validation\n")


def test_titles_name_the_data():
    assert data_title({"synthetic": True, "data": "demo"}) == "demo corpus (synthetic)"
    real = {"synthetic": False, "data": {"path": "/store", "fingerprint": "0123456789"}}
    assert data_title(real) == "/store (01234567)"
    assert data_title({"synthetic": False, "data": "/store"}) == "/store"
    real = {
        "synthetic": False,
        "data": {"path": "/my/store", "fingerprint": "012345678"},
    }
    assert data_title(real, whole=False) == "store (01234567)"
    assert data_title({"synthetic": False, "data": "/my/store"}, whole=False) == "store"


def drawn(monkeypatch) -> list[Figure]:
    """The figures of the plots to come, which are not written."""
    found: list[Figure] = []

    def keep(figure, path, title):
        figure.suptitle(title)
        found.append(figure)

    monkeypatch.setattr(plots, "save_figure", keep)
    return found


def test_plots_speak_in_words(monkeypatch):
    """Axes and legends have no name of a configuration or of results.json."""
    figures = drawn(monkeypatch)
    draw("", "curves")
    draw("", "smoothing")
    scores = {("none", 0): np.zeros(1)}
    plots.plot_smoothing("", scores, TITLE, metric="macro F1", chosen=("none", 0))
    video = plots.Timeline("a", 25.0, *[np.zeros((3, 2))] * 2, np.ones(3, bool))
    plots.plot_va_timeline("", [video], TITLE, filled="no sound (filled)")
    said = [{text.get_text() for text in one.findobj(Text)} for one in figures]
    assert {"training loss", "macro F1 on dev"} <= said[0]
    assert {"macro F1", "chosen on dev: median over ±200 frames"} <= said[1]
    assert {"chosen on dev: no smoothing", "no\nsmoothing"} <= said[2]
    assert "no sound (filled)" in said[3]
    assert not any("f1_macro" in text for one in said for text in one)


def test_titles_wider_than_a_figure_are_broken(tmp_path):
    figure = new_figure(4.0, 2.0)
    figure.subplots()
    save_figure(figure, tmp_path / "a.png", "one two " * 9 + "\nthree")
    *most, last = figure.get_suptitle().split("\n")
    assert last == "three"
    assert len(most) == 2
    assert " ".join(most) == "one two " * 8 + "one two"


def draw(path, kind):
    rng = np.random.default_rng(0)
    if kind == "curves":
        history = [
            {"epoch": e, "loss": [1 / e, 2 / e], "f1_macro": [0.1 * e, 0.2]}
            for e in (1, 2, 3)
        ]
        plots.plot_learning_curves(
            path,
            history,
            TITLE,
            criterion="f1_macro",
            metric="macro F1",
            best_epochs=[3, 1],
        )
    elif kind == "confusion":
        counts = rng.integers(0, 1000, (8, 8))
        counts[3] = 0  # a class without labels
        plots.plot_confusion(path, counts, EXPRESSIONS, TITLE)
    elif kind == "au":
        plots.plot_au_f1(
            path,
            AU.columns,
            rng.random(12),
            rng.random(12),
            TITLE,
            thresholds=np.full(12, 0.4),
        )
    elif kind == "va":
        scores = rng.uniform(-1, 1, (40, 2))
        filled = np.arange(40) % 7 == 0
        videos = [
            plots.Timeline("a", 30.0, scores, np.full((40, 2), np.nan), filled),
            plots.Timeline("b", float("nan"), scores, scores[::-1], ~filled),
        ]
        plots.plot_va_timeline(path, videos, TITLE)
    else:
        scores = {("none", 0): rng.random(2), ("mean", 5): rng.random(2)}
        scores |= {("median", 5): rng.random(2), ("median", 200): rng.random(2)}
        plots.plot_smoothing(
            path, scores, TITLE, metric="macro F1", chosen=("median", 200)
        )


@pytest.mark.parametrize(
    "kind",
    [
        "curves",
        pytest.param("confusion", marks=pytest.mark.slow),
        "au",
        pytest.param("va", marks=pytest.mark.slow),
        "smoothing",
    ],
)
def test_plots_are_drawn_and_repeatable(tmp_path, kind):
    draw(tmp_path / "new" / "one.png", kind)
    draw(tmp_path / "two.png", kind)
    first = (tmp_path / "new" / "one.png").read_bytes()
    assert first.startswith(b"\x89PNG")
    assert (tmp_path / "two.png").read_bytes() == first


def test_one_epoch_one_member_one_frame(tmp_path):
    history = [{"epoch": 1, "loss": 0.5, "ccc_mean": 0.1}]
    how = {"criterion": "ccc_mean", "metric": "mean CCC"}
    plots.plot_learning_curves(tmp_path / "c.png", history, "", **how)
    one = plots.Timeline(
        "a", 25.0, np.zeros((1, 2)), np.zeros((1, 2)), np.ones(1, bool)
    )
    plots.plot_va_timeline(tmp_path / "v.png", [one], "")
    plots.plot_smoothing(tmp_path / "s.png", {("none", 0): np.zeros(1)}, "", metric="x")
    assert len(list(tmp_path.iterdir())) == 3


def test_nothing_to_plot_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no epoch"):
        plots.plot_learning_curves(tmp_path / "c", [], "", criterion="x", metric="x")
    with pytest.raises(ValueError, match="no video"):
        plots.plot_va_timeline(tmp_path / "v.png", [], "")


@pytest.mark.slow
def test_importing_draws_in_no_plotting_library():
    code = "import sys, avemo_jax.evaluation.plots; print('matplotlib' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


@pytest.mark.release
def test_plots_of_a_hundred_outputs_grow(tmp_path):
    names = [f"sign_{i:03d}" for i in range(100)]
    rng = np.random.default_rng(0)
    path = tmp_path / "plot.png"

    def size() -> tuple[int, int]:
        with Image.open(path) as image:
            return image.size

    plots.plot_confusion(path, rng.integers(0, 9, (100, 100)), names, TITLE)
    assert min(size()) > 100 * 20  # pixels of each class
    plots.plot_au_f1(path, names, rng.random(100), rng.random(100), TITLE)
    assert size()[0] > 100 * 30
    scores = rng.uniform(-1, 1, (40, 100))
    video = plots.Timeline("a", 30.0, scores, scores, np.zeros(40, bool))
    plots.plot_va_timeline(path, [video], TITLE, names=names)
    assert size()[1] == 16 * 300  # the first 16 alone
