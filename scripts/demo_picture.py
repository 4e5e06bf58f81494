"""Draws the front page's picture: labels and predictions of one video over time.

python -m avemo_jax.main --config configs/expr_mlp.py --workdir runs/expr
python -m avemo_jax.main --config configs/va_mlp.py --workdir runs/va
python scripts/demo_picture.py runs/expr runs/va docs/images/demo_run.png
"""

import argparse
import pathlib

import numpy as np
import pyarrow.compute
import pyarrow.csv

from avemo_jax.evaluation.plot_style import BLUE, GREY, new_figure, save_figure
from avemo_jax.tasks import EXPRESSIONS

VIDEO = "video102"  # validation in both tasks, with three expressions
# Okabe and Ito's colours, in the order of the expressions; neutral is grey.
COLOURS = ("#CCCCCC", "#D55E00", "#009E73", "#CC79A7")
COLOURS += ("#F0E442", "#0072B2", "#56B4E9", "#333333")


def main() -> None:
    """Writes the picture."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("expressions", type=pathlib.Path, help="folder of an EXPR run")
    parser.add_argument("values", type=pathlib.Path, help="folder of a VA run")
    parser.add_argument("out", type=pathlib.Path, help="the PNG file")
    parser.add_argument("--video", default=VIDEO, help="name of a video of both runs")
    args = parser.parse_args()
    expressions = columns_of(args.expressions / "predictions.csv", args.video)
    values = columns_of(args.values / "predictions.csv", args.video)
    draw(expressions, values, args.out)


def columns_of(path: pathlib.Path, video: str) -> dict[str, np.ndarray]:
    """The columns of one video in a predictions file, by name.

    Raises:
        ValueError: If the file does not have the video.
    """
    convert = pyarrow.csv.ConvertOptions(strings_can_be_null=True)
    table = pyarrow.csv.read_csv(path, convert_options=convert)
    rows = table.filter(pyarrow.compute.equal(table["video"], video))
    if not rows.num_rows:
        known = ", ".join(table["video"].unique().to_pylist())
        raise ValueError(
            f"{path} has no video {video!r}; expected one of {known}: correct --video"
        )
    return {name: np.array(rows[name].to_pylist()) for name in rows.column_names}


def draw(
    expressions: dict[str, np.ndarray],
    values: dict[str, np.ndarray],
    out: pathlib.Path,
) -> None:
    """Writes the picture of one video.

    Args:
        expressions: Columns of an EXPR run's predictions.
        values: Columns of a VA run's predictions.
        out: The PNG file.
    """
    figure = new_figure(7.6, 4.2)
    strip, *curves = figure.subplots(3, 1, sharex=True, height_ratios=(1, 1.2, 1.2))
    for index, name in enumerate(EXPRESSIONS):
        for bottom, column in ((1.1, "label_expression"), (0.1, "expression")):
            frames = expressions["frame"][expressions[column] == name]
            strip.bar(frames, 0.8, width=1, bottom=bottom, color=COLOURS[index])
        if name in expressions["expression"] or name in expressions["label_expression"]:
            strip.bar(0, 0, color=COLOURS[index], label=name)
    strip.set_yticks([1.5, 0.5], ["labelled", "predicted"])
    strip.set_ylim(0, 2)
    strip.legend(ncols=8, loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False)
    for panel, name in zip(curves, ("valence", "arousal"), strict=True):
        panel.plot(
            values["frame"],
            values[f"label_{name}"].astype(float),
            color=GREY,
            lw=1,
            ls="--",
            label="labelled",
        )
        panel.plot(
            values["frame"],
            values[name].astype(float),
            color=BLUE,
            lw=1.6,
            label="predicted",
        )
        panel.set_ylabel(name)
        panel.set_ylim(-1, 1)
    curves[1].legend(loc="lower left", frameon=False, ncols=2)
    curves[-1].set_xlabel("frame")
    save_figure(figure, out, "One video of the demo corpus (synthetic)")


if __name__ == "__main__":
    main()
