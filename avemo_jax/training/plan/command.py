"""``avemo plan``: what a training will take, before anyone rents a machine."""

import argparse
import json
import os
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from avemo_jax.runtime.errors import guarded

_DESCRIPTION = """Bytes per device and host, steps, and the path that each table will
take, told from the store's counts and labels: no features are read, nothing is trained.
Fields of the configuration follow as for training: --config.num_seeds=10."""


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the plan.

    Returns:
        Exit status: 0, or 1 after an error, which stderr gets; also 1 where training
        would refuse to begin.
    """
    return guarded(lambda: _run(list(sys.argv[1:] if argv is None else argv)))


def _run(argv: list[str]) -> int:
    options, rest = _parser().parse_known_args(argv)
    config = read_config(rest)
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
    data = open_data(options.data or config.data.dir, config.data.cache_dir)
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


def read_config(arguments: list[str]) -> ConfigDict:
    """The configuration that ``--config FILE --config.FIELD=VALUE ...`` name.

    Raises:
        ValueError: If no file is named or found, a field is unknown, or there is
            another argument.
    """
    for i, argument in enumerate(arguments):
        name, given, path = argument.partition("=")
        if name == "--config":
            path = (path if given else " ".join(arguments[i + 1 : i + 2])).split(":")[0]
            if not pathlib.Path(path).is_file():
                raise ValueError(
                    f"no configuration {path!r}; expected a file; name one: "
                    "configs/expr_mlp.py"
                )
    values = flags.FlagValues()
    line = ["plan.py", *arguments]
    config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=line)
    try:
        left = values(line)[1:]
    except (AttributeError, KeyError) as error:
        raise ValueError(
            f"no such field in the configuration: {error.args[0]}; expected one of "
            "avemo_jax/config/fields.py; correct it"
        ) from error
    except flags.Error as error:
        raise ValueError(f"{error}; expected options that --help names") from error
    if left or values["config"].value is None:
        said = f"unexpected {' '.join(left)!r}" if left else "no configuration"
        raise ValueError(
            f"{said}; expected options such as --config configs/expr_mlp.py; --help "
            "names all"
        )
    config: ConfigDict = values["config"].value
    return config


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="plan.py",
        description=_DESCRIPTION,
        epilog="--config FILE, --config.FIELD=VALUE: the experiment, as for training",
        allow_abbrev=False,
    )
    parser.add_argument("--data", help="a store; the demo corpus by default")
    parser.add_argument("--devices", type=int, help="of all hosts; 1 by default")
    parser.add_argument("--hosts", type=int, help="1 by default")
    parser.add_argument(
        "--device-memory-gb",
        type=float,
        help="of one device, in 10^9 bytes; by default this host's, with --tpu a "
        "chip's",
    )
    parser.add_argument("--json", type=pathlib.Path, help="file for the plan as JSON")
    parser.add_argument(
        "--tpu",
        metavar="NAME",
        help="also compile for this topology, such as v5e:4x4, and print the "
        "compiler's figures; needs the extra tpu-compile, no TPU",
    )
    return parser
