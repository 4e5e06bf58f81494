"""``avemo plan``: what a training will take, before anyone rents a machine."""

import argparse
import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from avemo_jax.config.flags import read_config
from avemo_jax.runtime.errors import guarded
from avemo_jax.training.plan.flags import parser

if TYPE_CHECKING:
    from avemo_jax.training.plan.sizes import RunPlan


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the plan.

    Returns:
        Exit status: 0, or 1 after an error, which stderr gets; also 1 where training
        would refuse to begin.
    """
    flags = parser()
    args = flags.parse_args(argv)
    return guarded(lambda: _run(args), prog=flags.prog, kept="a plan writes nothing")


def _run(options: argparse.Namespace) -> int:
    config = read_config(options.config, options.fields)
    # After the flags, which need no JAX:
    from avemo_jax.batches.tables import open_data
    from avemo_jax.runtime import logs
    from avemo_jax.runtime.atomic_files import write_json
    from avemo_jax.training.plan.sizes import plan_run

    logs.speak_plainly()
    data = open_data(options.data_dir or config.data.dir, config.data.cache_dir)
    run = plan_run(
        config,
        data,
        devices=options.devices,
        device_memory_gb=options.device_memory_gb,
    )
    title = data.title if data.name == "demo" else f"{data.title} ({data.name})"
    print("\n".join([f"Data: {title}", *_lines(run)]))
    if options.json:
        write_json(options.json, {"data": title, **dataclasses.asdict(run)})
    if run.problem:
        raise ValueError(run.problem)
    return 0


def _lines(run: "RunPlan") -> Iterator[str]:
    """The plan for people to read."""
    yield f"Budget of tables per device: {run.budget / 1e9:.3f} GB"
    for one in run.tables:
        path = "resident on every device" if one.resident else "streamed from disk"
        yield (
            f"Table {one.split} ({one.phase}): {one.rows:,} rows of {one.videos:,} "
            f"videos, {one.table_bytes:,} bytes: {path}"
        )
    yield (
        f"Steps: {run.steps:,}, {run.steps_per_epoch:,} per epoch, "
        f"{run.steps_per_scan:,} per compiled scan; batch {run.batch_size:,} frames, "
        f"{run.batch_per_device:,} per device; {run.candidates:,} candidates"
    )
    for title, sizes in (
        ("Per device, while training", run.device_bytes),
        ("Per process, while training", run.host_bytes),
    ):
        yield f"{title}: {sum(sizes.values()):,} bytes"
        width = max(map(len, sizes))
        for name, size in sizes.items():
            yield f"  {name:{width}} {size:>16,}"
    files = sum({one.split: one.file_bytes for one in run.tables}.values())
    yield f"Files of streamed tables, on every host: {files:,} bytes"
    for note in run.notes:
        yield f"Note: {note}"
