"""``scripts/results_table.py``: the original's results table, from any store."""

import argparse
import pathlib
from collections.abc import Sequence

from avemo_jax.results_table.runs import TableRun
from avemo_jax.results_table.table import make_table
from avemo_jax.results_table.table_plots import write_plots
from avemo_jax.results_table.writing import write_table
from avemo_jax.runtime import compilation, logs
from avemo_jax.runtime.command_line import CommandParser
from avemo_jax.runtime.errors import guarded
from avemo_jax.runtime.flags import add_compilation_cache, add_data_dir, add_out
from avemo_jax.runtime.output_places import check_out
from avemo_jax.tasks import TASKS


def main(argv: Sequence[str] | None = None) -> int:
    """Runs what is missing, reads every row, writes tables and plots.

    Returns:
        0; 1 after an error, which stderr tells; 130: stopped.
    """
    parser = _parser()
    args = parser.parse_args(argv)
    return guarded(
        lambda: _run(args),
        prog=parser.prog,
        kept="runs that were trained and scored are kept",
    )


def _run(flags: argparse.Namespace) -> int:
    logs.speak_plainly()
    compilation.keep_compiled(flags.compilation_cache)
    if unknown := sorted(set(flags.tasks) - set(TASKS)):
        raise ValueError(
            f"--tasks has {', '.join(unknown)}; expected some of {', '.join(TASKS)}"
        )
    if flags.seeds < 1 or (flags.epochs is not None and flags.epochs < 1):
        raise ValueError(
            f"--seeds is {flags.seeds}, --epochs {flags.epochs}; expected 1 or more"
        )
    out = pathlib.Path(flags.out)
    check_out("--out", out, flags.data_dir)
    table_run = TableRun(
        out=out,
        data_dir=flags.data_dir,
        num_seeds=flags.seeds,
        protocol=flags.protocol,
        num_epochs=flags.epochs,
        device_budget_gb=flags.device_budget_gb,
    )
    table = make_table(table_run, flags.tasks, flags.rows)
    write_table(out, table)
    write_plots(out / "plots", table)
    print((out / "results.md").read_text(encoding="utf-8"))
    print(f"Written to {out}/")
    return 0


def _parser() -> CommandParser:
    parser = CommandParser(
        description="The original's results table: each row is a run, as avemo train "
        "makes it, or one evaluated otherwise. The same command goes on where it ended."
    )
    add_data_dir(parser)
    add_out(parser, "folder of runs, tables, plots")
    parser.add_argument(
        "--tasks",
        type=lambda text: tuple(dict.fromkeys(text.upper().split(","))),
        default=tuple(TASKS),
        help="some of EXPR,AU,VA; all by default",
    )
    parser.add_argument(
        "--rows",
        type=lambda text: text.split(","),
        default=(),
        help="ids of rows; all by default",
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
        "--device-budget-gb", type=float, help="memory for tables; asks the device"
    )
    add_compilation_cache(parser)
    return parser
