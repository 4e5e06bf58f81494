"""Parts of all benchmarks: alternating rounds, the machine's rate, bars, the report."""

import argparse
import json
import pathlib
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

Bars = Mapping[str, tuple[str, float]]


class Matmul:
    """A fixed number of products of 2048 x 2048 float32 matrices.

    Attributes:
        size: Rows and columns of a matrix.
        repeats: Products in one call.
        flops: Operations in one call.
    """

    size, repeats = 2048, 8
    flops = 2 * size**3 * repeats

    def __init__(self):
        self._matrix = jnp.ones((self.size, self.size)) / self.size
        self._product = jax.jit(lambda a, b: a @ b)
        self()

    def __call__(self) -> None:
        """Runs the products one after another."""
        product = self._matrix
        for _ in range(self.repeats):
            product = self._product(product, self._matrix)
        product.block_until_ready()


def seconds(function: Callable[[], Any]) -> float:
    """Wall time of one call."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def alternating(
    entries: Mapping[str, Callable[[], Any]], rounds: int
) -> dict[str, float]:
    """Median seconds of each entry; in every round each runs once, in turn."""
    times: dict[str, list[float]] = {name: [] for name in entries}
    for number in range(rounds):
        for name, entry in entries.items():
            times[name].append(seconds(entry))
        line = ", ".join(f"{name} {t[-1]:.3g}" for name, t in times.items())
        print(f"  round {number + 1}, seconds: {line}", flush=True)
    return {name: statistics.median(values) for name, values in times.items()}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that every benchmark has: ``--check`` and ``--json``."""
    parser.add_argument("--check", action="store_true", help="status 1 below a bar")
    parser.add_argument("--json", type=pathlib.Path, help="also write the figures here")


def report(found: Mapping[str, Any], bars: Bars, options: argparse.Namespace) -> None:
    """Prints the figures beside their bars; ``--check`` exits with 1 if one is missed.

    Args:
        found: Figures by name; those that are no numbers are not printed.
        bars: Sign (">=" or "<=") and bar of a figure, by name. A bar without its figure
            is printed with "-" and counts as missed.
        options: Parsed options of :func:`add_options`.
    """
    missed = 0
    width = max(map(len, [*found, *bars]), default=0) + 2
    print(f"{'figure':<{width}}{'measured':>10}   bar")
    for name, value in {**dict.fromkeys(bars), **found}.items():
        if isinstance(value, dict | list | str):
            continue
        sign, bar = bars.get(name, ("", None))
        if value is None:
            good, shown = False, "-"
        else:
            good = bar is None or (value >= bar if sign == ">=" else value <= bar)
            shown = f"{value:.4g}"
        missed += not good
        mark = "" if good else "   MISSED"
        print(f"{name:<{width}}{shown:>10}   {sign} {'' if bar is None else bar}{mark}")
    if options.json:
        options.json.write_text(json.dumps(dict(found), indent=2) + "\n", "utf-8")
    if options.check and missed:
        sys.exit(1)
