"""``scripts/results_table.py``: the original's results table, from any store."""

import argparse
import pathlib
import time
from collections.abc import Sequence

from avemo_jax.batches.tables import open_data
from avemo_jax.results_table.maker import TableMaker
from avemo_jax.results_table.models import TableRun
from avemo_jax.results_table.table_plots import write_plots
from avemo_jax.results_table.writing import write_table
from avemo_jax.runtime import compilation, logs
from avemo_jax.runtime.errors import guarded
from avemo_jax.runtime.flags import add_compilation_cache, add_data_dir, add_out
from avemo_jax.tasks import TASKS

# EfficientNet-B2 on 2 CPU cores, by scripts/benchmark_extractors.py.
_IMAGES_PER_S = 135.0


def main(argv: Sequence[str] | None = None) -> int:
    """Trains what is missing, evaluates every row, writes tables and plots.

    Returns:
        0; 1 after an error, which stderr tells; 130: stopped.
    """
    return guarded(lambda: _run(_parser().parse_args(argv)))


def _run(flags: argparse.Namespace) -> int:
    logs.speak_plainly()
    compilation.keep_compiled(flags.compilation_cache)
    began = time.perf_counter()
    if unknown := sorted(set(flags.tasks) - set(TASKS)):
        raise ValueError(
            f"--tasks has {', '.join(unknown)}; expected some of {', '.join(TASKS)}"
        )
    if flags.seeds < 1 or (flags.epochs is not None and flags.epochs < 1):
        raise ValueError(
            f"--seeds is {flags.seeds}, --epochs {flags.epochs}; expected 1 or more"
        )
    if not 0 < flags.images_per_s < float("inf"):
        raise ValueError(
            f"--images-per-s is {flags.images_per_s}; expected a finite number above "
            "0; give what benchmark_extractors.py prints"
        )
    out = pathlib.Path(flags.out)
    table_run = TableRun(
        data=open_data(flags.data_dir),
        out=out,
        num_seeds=flags.seeds,
        protocol=flags.protocol,
        num_epochs=flags.epochs,
        device_budget_gb=flags.device_budget_gb,
    )
    maker = TableMaker(table_run, images_per_s=flags.images_per_s)
    for task in flags.tasks:
        maker.run(task, flags.rows)
    table = maker.table(time.perf_counter() - began)
    write_table(out, table)
    write_plots(out / "plots", table)
    print((out / "results.md").read_text(encoding="utf-8"))
    print(f"Written to {out}/")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="The original's results table: trains or finds every model, "
        "evaluates every row. The same command goes on where it ended."
    )
    add_data_dir(parser)
    add_out(parser, "folder of models, cells, tables, plots")
    parser.add_argument(
        "--tasks",
        type=lambda text: tuple(dict.fromkeys(text.upper().split(","))),
        default=tuple(TASKS),
        help="some of EXPR,AU,VA; all by default",
    )
    parser.add_argument(
        "--rows", type=lambda text: text.split(","), help="ids of rows; all by default"
    )
    parser.add_argument("--seeds", type=int, default=5, help="of every model")
    parser.add_argument(
        "--epochs", type=int, help="of every model; the configurations' by default"
    )
    parser.add_argument(
        "--protocol",
        choices=("ours", "original"),
        default="ours",
        help="original: its recipe, and those of its faults that have a switch",
    )
    parser.add_argument(
        "--images-per-s",
        type=float,
        default=_IMAGES_PER_S,
        help="of the visual extractor, for the time that rules save; %(default)s",
    )
    parser.add_argument(
        "--device-budget-gb", type=float, help="memory for tables; asks the device"
    )
    add_compilation_cache(parser)
    return parser
