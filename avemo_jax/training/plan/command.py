"""``avemo plan``: what a training will take, before anyone rents a machine."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from avemo_jax.config.flags import parse, read_config
from avemo_jax.runtime.errors import guarded
from avemo_jax.training.plan.flags import parser


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the plan.

    Returns:
        Exit status: 0, or 1 after an error, which stderr gets; also 1 where training
        would refuse to begin.
    """
    args = parse(parser(), sys.argv[1:] if argv is None else argv)
    return guarded(lambda: _run(args))


def _run(options: argparse.Namespace) -> int:
    if options.config is None:
        raise ValueError(
            "no configuration; expected one; name it: --config configs/expr_mlp.py"
        )
    config = read_config(options.config, options.fields)
    if options.tpu:
        # Compiling needs no device, and libtpu would look for one.
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
    # After the devices are settled:
    from avemo_jax.batches.tables import open_data
    from avemo_jax.runtime import logs
    from avemo_jax.training.plan import outlines, report, sizes, tpu

    logs.speak_plainly()
    mesh = tpu.topology_mesh(options.tpu) if options.tpu else None
    memory, devices, hosts = options.device_memory_gb, options.devices, options.hosts
    if mesh is not None:
        if devices not in (None, mesh.size):
            raise ValueError(
                f"--devices is {devices} and --tpu {options.tpu} has {mesh.size}; "
                "expected the same; leave --devices out"
            )
        memory = tpu.chip_memory_gb(options.tpu) if memory is None else memory
        hosts = tpu.num_hosts(mesh) if hosts is None else hosts
        devices = mesh.size
    data = open_data(options.data_dir or config.data.dir, config.data.cache_dir)
    outline = outlines.outline_run(config, data)
    run = sizes.plan_run(
        outline,
        data.title if data.name == "demo" else f"{data.title} ({data.name})",
        devices=1 if devices is None else devices,
        hosts=1 if hosts is None else hosts,
        device_memory_gb=memory,
    )
    print(report.run_text(run))
    found: dict[str, Any] = run.to_dict()
    if mesh is not None and run.problem is None:
        resident = {(t.phase, t.split): t.resident for t in run.tables}
        programs = [
            tpu.compile_training(
                outline, mesh, resident=resident["train", outline.train_split]
            ),
            tpu.compile_prediction(
                outline, mesh, resident=resident["evaluate", config.evaluate.split]
            ),
        ]
        print(f"\n{report.compiled_text(options.tpu, programs)}")
        found["tpu"] = {
            "topology": options.tpu,
            "programs": [program.to_dict() for program in programs],
        }
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    if run.problem:
        raise ValueError(run.problem)
    return 0
