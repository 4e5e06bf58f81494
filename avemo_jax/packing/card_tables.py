"""The tables of a store's card."""

from collections.abc import Iterable, Mapping, Sequence

from avemo_jax.packing.counts import SplitCounts
from avemo_jax.runtime.plain_text import in_markdown
from avemo_jax.tasks import VA, Task, get_task

CountsByTask = Mapping[str, Mapping[str, SplitCounts]]
_QUADRANTS = ("V+ A+", "V- A+", "V- A-", "V+ A-")


def markdown_table(
    header: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1
) -> str:
    """A Markdown table that also reads as plain text: cells padded, numbers right.

    Args:
        header: The title of each column.
        rows: The cells of each row, one for each column.
        left: How many of the first columns are texts, which are aligned left.
    """
    lines = [list(map(in_markdown, row)) for row in (header, *rows)]
    widths = [
        max(3, *(len(cell) for cell in column)) for column in zip(*lines, strict=True)
    ]
    rule = [
        "-" * width if i < left else "-" * (width - 1) + ":"
        for i, width in enumerate(widths)
    ]
    texts = []
    for line in (lines[0], rule, *lines[1:]):
        cells = [
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        texts.append(f"| {' | '.join(cells)} |")
    return "\n".join(texts)


def split_table(counts: CountsByTask) -> str:
    """Videos, frames and labelled frames of each task and split."""
    rows = [
        [task, split, f"{one.videos:,}", f"{one.frames:,}", f"{one.labelled:,}"]
        for task, splits in counts.items()
        for split, one in splits.items()
    ]
    header = ["task", "split", "videos", "frames", "labelled frames"]
    return markdown_table(header, rows, left=2)


def missing_table(counts: CountsByTask, visual: Sequence[str]) -> str:
    """Labelled frames without a vector, by task and split, for each visual set."""
    rows = [
        [
            task,
            split,
            *(count_and_share(one.without_row[name], one.labelled) for name in visual),
        ]
        for task, splits in counts.items()
        for split, one in splits.items()
        if one.labelled
    ]
    return markdown_table(["task", "split", *(f"`{n}`" for n in visual)], rows, left=2)


def task_tables(counts: CountsByTask) -> list[str]:
    """A heading and a table of labels, in turn, for each task that has labels."""
    parts = []
    for name, splits in counts.items():
        known = {split: one for split, one in splits.items() if one.labelled}
        if not known:
            continue
        task = get_task(name)
        if task.kind == "regression":
            parts += [f"### {task.title}", _values(known, task)]
            continue
        rows = [
            [label, *(_active(one, i, task) for one in known.values())]
            for i, label in enumerate(task.columns)
        ]
        what = "unit, active / not active" if task.kind == "multilabel" else "class"
        parts += [f"### {task.title}", markdown_table([what, *known], rows)]
    return parts


def _active(counts: SplitCounts, output: int, task: Task) -> str:
    active = int(counts.active[output])
    if task.kind == "multilabel":
        return f"{active:,} / {counts.labelled - active:,}"
    return count_and_share(active, counts.labelled)


def _values(known: Mapping[str, SplitCounts], task: Task) -> str:
    """Means and deviations of values by split; for VA also counts of the quadrants."""
    quadrants = _QUADRANTS if task is VA else ()
    header = ["split", *task.columns, *quadrants]
    rows = [
        [
            split,
            *(
                _spread(task, mean, deviation)
                for mean, deviation in zip(one.means, one.deviations, strict=True)
            ),
            *(
                count_and_share(int(count), one.labelled)
                for count in one.quadrants
                if quadrants
            ),
        ]
        for split, one in known.items()
    ]
    if not quadrants:
        note = "Mean ± standard deviation over the labelled frames."
        return f"{markdown_table(header, rows)}\n\n{note}"
    note = (
        "Mean ± standard deviation over the labelled frames; quadrants by the signs\n"
        "of valence and arousal, 0 counted as +."
    )
    return f"{markdown_table(header, rows)}\n\n{note}"


def _spread(task: Task, mean: float, deviation: float) -> str:
    """Mean and standard deviation of a value, in the user's unit."""
    low, high = task.value_range
    if (low, high) == (-1.0, 1.0):
        return f"{mean:+.3f} ± {deviation:.3f}"
    return f"{task.in_units(mean):g} ± {deviation * (high - low) / 2:g}"


def count_and_share(count: int, whole: int) -> str:
    """A count with its share of the whole, such as ``1,234 (5.6 %)``; 0 alone."""
    return f"{count:,} ({100 * count / whole:.1f} %)" if count else "0"
