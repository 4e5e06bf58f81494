"""What scale costs: devices, compilation, host memory; step times of an accelerator.

- sharding: an epoch of the EXPR MLP, 2,176 features, batch 1024, on N fake devices of
  the CPU (``--xla_force_host_platform_device_count=N``): the same work on the same
  cores. Each N is a process of its own; they take turns. The reference is N = 1.
- compile: seconds to compile the train scan of every file in configs/, in a process
  with an empty compilation cache, and in a second one that finds what the first kept.
- memory: by how much loading a table raises the peak of a process, over its bytes.
- steps: on a GPU or TPU, the time of a step for each head, batch size and number of
  seeds, in frames/s and as a share of the card's peak; ``--table`` writes it down.
"""

import argparse
import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import measuring
import numpy as np

from avemo_jax.data.records import FeatureSource, VideoAnnotations, VideoFeatures
from avemo_jax.packing.build import build_store
from avemo_jax.runtime.machine import num_cpus

PARTS = ("sharding", "compile", "memory", "steps")
FEATURES, DIM = "made@made", 2176
_HERE = pathlib.Path(__file__).parent


class Sizes(NamedTuple):
    """How much is measured.

    Attributes:
        devices: Numbers of fake devices; the first is the reference.
        frames: Frames of an epoch.
        rounds: Turns of each number of devices.
        configs: Pattern of the files in configs/.
        tables: Numbers of rows of the tables that are loaded.
    """

    devices: tuple[int, ...]
    frames: int
    rounds: int
    configs: str
    tables: tuple[int, ...]


WHOLE = Sizes((1, 2, 4, 8), 40_960, 9, "*.py", (20_000, 40_000, 80_000))
SMALL = Sizes((1, 2), 4096, 2, "expr_mlp.py", (20_000,))


def main(argv: Sequence[str] | None = None) -> None:
    """Measures, prints, and with ``--check`` fails where a bar is missed."""
    options = _options(argv)
    sizes = SMALL if options.small else WHOLE
    if options.rounds:
        sizes = sizes._replace(rounds=options.rounds)
    found: dict[str, Any] = {"cores": num_cpus()}
    bars: dict[str, tuple[str, float]] = {}
    # The steps last: from then on this process holds the accelerator, which the
    # processes of the other parts need.
    for part in sorted(options.parts, key=PARTS.index):
        print(f"{part}", flush=True)
        if part == "sharding":
            found |= sharding(sizes, options.batch_size)
            bars["sharding, 2 devices: frames/s, times 1 device's"] = (">=", 0.8)
        elif part == "compile":
            found |= compiling(sizes.configs)
            bars["compile, not found by the second process"] = ("<=", 0)
        elif part == "memory":
            found |= memory(sizes.tables)
            bars |= {name: ("<=", 1.4) for name in found if name.startswith("memory")}
        else:
            found |= steps(options.small, options.table)
    measuring.report(found, bars, options)


# --- Devices --------------------------------------------------------------------------


def sharding(sizes: Sizes, batch_size: int) -> dict[str, Any]:
    """Frames/s by number of devices, in the best turn and in the median one.

    Other programs on the machine can only slow a turn down, so the best turn is nearest
    to what the training itself costs.
    """
    with contextlib.ExitStack() as stack:
        children = {
            count: stack.enter_context(
                _child("epochs", sizes.frames, batch_size, n=count)
            )
            for count in sizes.devices
        }
        begun = {count: _heard(child) for count, child in children.items()}
        for count, said in begun.items():
            if said["devices"] != count:
                raise RuntimeError(f"{said['devices']} devices; expected {count}")
        times: dict[int, list[float]] = {count: [] for count in children}
        for number in range(sizes.rounds):
            for count, child in children.items():
                print("go", file=child.stdin, flush=True)
                times[count].append(_heard(child))
            line = ", ".join(f"{count}: {t[-1]:.3f}" for count, t in times.items())
            print(f"  round {number + 1}, seconds by devices: {line}", flush=True)
    found: dict[str, Any] = {}
    for kind, pick in (("", min), (", median turn", statistics.median)):
        rates = {n: begun[n]["frames"] / pick(times[n]) for n in times}
        for n, rate in rates.items():
            found[f"sharding, {n} devices: frames/s{kind}"] = rate
            if n != sizes.devices[0]:
                name = f"sharding, {n} devices: frames/s, times 1 device's{kind}"
                found[name] = rate / rates[sizes.devices[0]]
    found["sharding, seconds"] = {str(n): values for n, values in times.items()}
    return found


# --- Compilation ----------------------------------------------------------------------


def compiling(pattern: str) -> dict[str, Any]:
    """Seconds to compile the train scan of each configuration, in two processes."""
    files = [str(path) for path in sorted((_HERE.parent / "configs").glob(pattern))]
    with tempfile.TemporaryDirectory() as folder:
        both = []
        for _ in range(2):
            with _child("compile", folder, files) as child:
                both.append(_heard(child))
    first, second = both
    found: dict[str, Any] = {}
    for name, one in first.items():
        again = second[name]
        found[f"compile, {name}: tracing, s"] = one["trace_and_lower"]
        found[f"compile, {name}: empty cache, s"] = one["compile"]
        found[f"compile, {name}: second process, s"] = again["compile"]
        print(f"  {name}: {one['compile']:.2f} s, then {again['compile']:.2f} s")
    missed = sum(one["misses"] for one in second.values())
    found["compile, programs that the first process kept"] = sum(
        one["misses"] for one in first.values()
    )
    found["compile, not found by the second process"] = missed
    return found


# --- Host memory ----------------------------------------------------------------------


def memory(tables: Sequence[int]) -> dict[str, Any]:
    """Growth of the peak memory by loading a table, over its bytes, by rows."""
    found: dict[str, Any] = {}
    for rows in tables:
        with tempfile.TemporaryDirectory() as folder:
            _write_store(folder, rows)
            with _child("load", folder, FEATURES) as child:
                said = _heard(child)
        name = f"memory, {rows:,} rows, {said['bytes'] / 1e6:.0f} MB: peak / table"
        found[name] = said["peak"] / said["bytes"]
        print(f"  {name} {found[name]:.3f}", flush=True)
    return found


def _write_store(folder: str, rows: int, frames: int = 1000) -> None:
    """Writes a store with ``rows`` rows in train, and one more video in dev."""
    names = [f"video{i:03d}" for i in range(rows // frames + 1)]
    rng = np.random.default_rng(0)
    made = VideoFeatures(
        np.arange(1, frames + 1, dtype=np.int32),
        rng.standard_normal((frames, DIM), np.float32),
        None,
    )
    labels = {"EXPR": rng.integers(0, 8, frames).astype(np.int8)}
    records = [
        VideoAnnotations(name, labels, {"EXPR": "train" if i else "dev"})
        for i, name in enumerate(names)
    ]
    source = FeatureSource(
        name=FEATURES,
        kind="visual",
        dim=DIM,
        output_dim=0,
        fingerprint="made",
        content="made",
        videos=tuple(names),
        read=dict.fromkeys(names, made).__getitem__,
    )
    build_store(folder, records, [source], synthetic=True, show_progress=False)


# --- An accelerator -------------------------------------------------------------------


def steps(small: bool, table: pathlib.Path | None) -> dict[str, Any]:
    """Step times, where there is an accelerator or ``small`` asks for small ones."""
    import accelerator_rates

    if jax.default_backend() == "cpu" and not small:
        print("  no GPU or TPU: nothing is measured; --small runs small sizes here")
        return {}
    found = accelerator_rates.measure(
        accelerator_rates.SMALL if small else accelerator_rates.WHOLE
    )
    if table:
        table.write_text(accelerator_rates.markdown(found), encoding="utf-8")
        print(f"  written to {table}")
    return {"steps": found}


# --- Processes ------------------------------------------------------------------------


@contextlib.contextmanager
def _child(name: str, *given: Any, n: int = 0) -> Iterator[subprocess.Popen[str]]:
    """A process of ``made_training.py`` that runs one of its parts.

    Args:
        name: Name of the part.
        given: Arguments of the part.
        n: Number of fake devices of the CPU; 0: the machine's own devices.
    """
    environment = dict(os.environ)
    if n:
        flags = environment.get("XLA_FLAGS", "")
        flags += f" --xla_force_host_platform_device_count={n}"
        environment |= {"XLA_FLAGS": flags.strip(), "JAX_PLATFORMS": "cpu"}
    with subprocess.Popen(
        [sys.executable, _HERE / "made_training.py", json.dumps([name, *given])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        try:
            yield process
            assert process.stdin is not None
            process.stdin.close()
            process.wait(timeout=60)
        finally:
            process.kill()


def _heard(child: subprocess.Popen[str]) -> Any:
    """The next line that a child prints, read as JSON.

    Raises:
        RuntimeError: If the child has ended.
    """
    assert child.stdout is not None
    line = child.stdout.readline()
    if not line:
        raise RuntimeError(f"a child ended with status {child.wait()}; see above")
    return json.loads(line)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--batch-size", type=int, default=1024, help="of sharding")
    parser.add_argument("--rounds", type=int, help="of sharding")
    parser.add_argument("--small", action="store_true", help="small sizes, for tests")
    parser.add_argument("--table", type=pathlib.Path, help="step times, in Markdown")
    measuring.add_options(parser)
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
