"""What all plots share: colours, an empty figure, and how it is written.

Drawn without a display; matplotlib is imported on the first figure. Colours are Okabe
and Ito's, which colour-blind readers tell apart; lines differ in style or marker as
well.
"""

import pathlib
import textwrap
from typing import Any

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#8C8C8C"
_DPI = 120
_LETTERS_PER_INCH = 11.5  # of a title


def new_figure(width: float, height: float) -> Any:
    """An empty figure that needs no display; sizes in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Any, path: str | pathlib.Path, title: str) -> None:
    """Adds a title, a light frame and a grid, and writes the PNG file.

    Lines of the title that are wider than the figure are broken between words.
    """
    from matplotlib.text import Text

    most = int(_LETTERS_PER_INCH * figure.get_figwidth())
    lines = [
        textwrap.fill(line, most, break_on_hyphens=False, break_long_words=False)
        for line in title.split("\n")
    ]
    figure.suptitle("\n".join(lines), fontsize=11)
    for text in figure.findobj(Text):
        text.set_parse_math(False)  # a $ in a name is one
    for panel in figure.axes:
        panel.spines[["top", "right"]].set_visible(False)
        if not panel.images and panel.get_label() != "<colorbar>":
            panel.grid(visible=True, axis="y", color=GREY, alpha=0.25, lw=0.6)
            panel.set_axisbelow(True)
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # no date and no version in the file: equal plots are equal bytes
    figure.savefig(path, dpi=_DPI, format="png", metadata={"Software": None})
