"""Whether bfloat16 costs anything: validation scores of both types, over seeds.

Trains the MLP and the Transformer of each task with ``config.head.dtype`` float32 and
bfloat16, the same seeds and order of examples, on the demo corpus or a store of yours,
and compares the means of the scores on validation. A difference is given in standard
deviations of the float32 scores over the seeds. bfloat16 is slower than float32 on a
CPU.

With ``--out``, the same command goes on where it was stopped.
"""

import argparse
import pathlib
import statistics
import tempfile
from collections.abc import Sequence
from typing import Any

from absl import logging
from measuring import add_options, report

from avemo_jax import experiment
from avemo_jax.config.fields import base_config
from avemo_jax.runtime import compilation
from avemo_jax.tasks import TASKS

TYPES = ("float32", "bfloat16")
CASES = tuple(f"{task}-{head}" for head in ("mlp", "transformer") for task in TASKS)
# Without smoothing, and with the one chosen on dev.
STAGES = ("raw", "smoothed")


def main(argv: Sequence[str] | None = None) -> None:
    """Trains, prints the table, and with ``--check`` fails where a bar is missed."""
    options = _options(argv)
    logging.set_verbosity(logging.WARNING)
    compilation.keep_compiled()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        out = options.out or pathlib.Path(folder)
        for case in options.cases:
            rows += _rows(case, options, out)
            print(f"\n{table(rows)}\n", flush=True)
    found: dict[str, Any] = {"seeds": options.seeds, "rows": rows}
    for row in rows:
        found[name_of(row)] = row["deviations"]
    report(found, {name_of(row): ("<=", 1.0) for row in rows}, options)


def name_of(row: dict[str, Any]) -> str:
    """Name of a row's figure in the report."""
    return f"{row['case']}, {row['stage']}: difference in deviations"


def _rows(
    case: str, options: argparse.Namespace, out: pathlib.Path
) -> list[dict[str, Any]]:
    """Trains one case in both types, or finds it in ``out``; a row for each stage."""
    task, head = case.split("-")
    by_type = {}
    for dtype in TYPES:
        print(f"{case}, {dtype}", flush=True)
        config = base_config(task, head)
        config.head.dtype = dtype
        config.num_seeds = options.seeds
        config.num_epochs = options.epochs or config.num_epochs
        config.data.dir = options.data
        config.workdir = str(out / f"{case}-{dtype}")
        config.evaluate.num_resamples = 0
        config.log.tensorboard = False
        by_type[dtype] = experiment.run_experiment(config)["per_seed"]
    rows = []
    for stage in STAGES:
        scores = [
            [seed[stage]["with_crop"][TASKS[task].headline] for seed in by_type[dtype]]
            for dtype in TYPES
        ]
        rows.append({"case": case, "stage": stage, **compared(*scores)})
    return rows


def compared(float32: Sequence[float], bfloat16: Sequence[float]) -> dict[str, Any]:
    """Means, deviations over seeds, and the difference of means in deviations.

    Args:
        float32: Score of each seed in float32, two or more.
        bfloat16: Score of the same seeds in bfloat16.
    """
    means = statistics.mean(float32), statistics.mean(bfloat16)
    deviation = statistics.stdev(float32)
    difference = abs(means[1] - means[0])
    return {
        "float32": list(float32),
        "bfloat16": list(bfloat16),
        "float32_mean": means[0],
        "float32_std": deviation,
        "bfloat16_mean": means[1],
        "bfloat16_std": statistics.stdev(bfloat16),
        "deviations": difference / deviation if difference else 0.0,
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows in Markdown."""
    lines = [
        "| case | stage | float32 | bfloat16 | difference | in deviations |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        both = (
            f"{row[f'{dtype}_mean']:.4f} ± {row[f'{dtype}_std']:.4f}" for dtype in TYPES
        )
        difference = row["bfloat16_mean"] - row["float32_mean"]
        lines.append(
            f"| {row['case']} | {row['stage']} | {' | '.join(both)} | "
            f"{difference:+.4f} | {row['deviations']:.2f} |"
        )
    return "\n".join(lines)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=CASES)
    parser.add_argument("--seeds", type=int, default=5, help="two or more")
    parser.add_argument("--epochs", type=int, help="the configurations' by default")
    parser.add_argument("--data-dir", help="a store; the demo corpus by default")
    parser.add_argument(
        "--out", type=pathlib.Path, help="keeps the runs, and takes those it has"
    )
    add_options(parser)
    options = parser.parse_args(argv)
    if options.seeds < 2:
        parser.error(f"--seeds is {options.seeds}; a deviation needs 2 or more")
    return options


if __name__ == "__main__":
    main()
