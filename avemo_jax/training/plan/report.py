"""A plan as text."""

from collections.abc import Iterator, Sequence

from avemo_jax.training.plan.amounts import RunPlan, TablePlan
from avemo_jax.training.plan.tpu import Compiled


def run_text(run: RunPlan) -> str:
    """The plan as lines for people to read."""
    return "\n".join(_run_lines(run))


def compiled_text(name: str, programs: Sequence[Compiled]) -> str:
    """XLA's figures of ``programs`` as lines for people to read.

    Args:
        name: TPU topology that they are compiled for, such as "v5e:4x4".
        programs: Figures of each program.
    """
    lines = [f"Compiled for {name} by libtpu; bytes per device:"]
    for program in programs:
        lines.append(f"  {program.name}: compiled in {program.seconds:.1f} s")
        lines += [
            f"    arguments {program.argument_bytes:,}, outputs "
            f"{program.output_bytes:,} ({program.alias_bytes:,} of them in place of "
            "arguments),",
            f"    temporary {program.temporary_bytes:,}, code {program.code_bytes:,}",
        ]
        for collective in program.collectives:
            lines.append(
                f"    {collective.kind} of {collective.elements:,} values, "
                f"{collective.num_bytes:,} bytes"
            )
        if not program.collectives:
            lines.append("    no collectives")
    return "\n".join(lines)


def _run_lines(run: RunPlan) -> Iterator[str]:
    yield f"Data: {run.data}"
    yield f"Devices: {run.devices} on {_count(run.hosts, 'host')}"
    yield f"Budget of tables per device: {_size(run.budget)}, {run.budget_from}"
    yield ""
    for table in run.tables:
        yield from _table_lines(table)
    state, steps = run.state, run.steps
    yield ""
    yield "Steps:"
    yield (
        f"  batch {steps.batch_size:,} frames, {steps.batch_per_device:,} per device"
    )
    yield (
        f"  {steps.steps_per_epoch:,} steps per epoch, {_count(steps.epochs, 'epoch')}:"
        f" {steps.steps:,} steps; {steps.steps_per_scan:,} steps per compiled scan"
    )
    yield ""
    yield "Per device, while training:"
    tables = sum(t.device_bytes for t in run.tables if t.phase == "train")
    yield from _sizes(
        {
            "tables": tables,
            "parameters": state.parameters,
            "statistics": state.statistics,
            "optimiser state": state.optimiser,
            "best parameters": state.best,
            "scores, keys, rates": state.other,
            "a batch": steps.batch_bytes,
            "what a scan is sent": steps.chunk_bytes,
            "together": run.device_bytes,
        }
    )
    candidates = f"{_count(state.seeds, 'seed')} x "
    candidates += _count(state.candidates // state.seeds, "setting")
    yield f"  ({_count(state.candidates, 'candidate')}: {candidates})"
    yield "Per host:"
    yield from _sizes(
        {
            "tables, in every process": run.host_bytes - steps.host_chunk_bytes,
            "read ahead": steps.host_chunk_bytes,
            "files of streamed tables": run.file_bytes,
        }
    )
    for note in run.notes:
        yield f"Note: {note}"


def _table_lines(table: TablePlan) -> Iterator[str]:
    path = "resident" if table.resident else "streamed"
    yield (
        f"Table {table.split} ({table.phase}): {table.rows:,} rows of "
        f"{_count(table.videos, 'video')}, {_size(table.table_bytes)}"
    )
    yield f"  {path}: {table.why}"


def _sizes(sizes: dict[str, int]) -> Iterator[str]:
    width = max(map(len, sizes))
    for name, number in sizes.items():
        yield f"  {name:{width}} {number:>16,} bytes"


def _size(number: int) -> str:
    return f"{number / 1e9:.3f} GB"


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"
