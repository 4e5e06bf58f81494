"""Speed of ``face_hog``: crops a second, and against scikit-image where it is there.

Both make histograms of 8 x 8 cells from the same crops of 112 px as they are decoded.
scikit-image's have neither interpolation nor the contrast's sign, and it takes one crop
at a time: here in as many threads as there are CPUs. The package does not need it.
"""

import argparse
import concurrent.futures
import functools
import importlib
import importlib.util
import os
from collections.abc import Callable
from typing import Any

import numpy as np
from measuring import add_options, alternating, report

from avemo_jax.embed import load_extractor
from avemo_jax.extractors import hog

BARS = {"ours, crops a second": (">=", 2000.0)}
_CROPS, _SIZE_PX = 1024, 112
_CELL_PX = _SIZE_PX // hog.CELLS


def main() -> None:
    """Measures, prints, and with ``--check`` fails where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=32, help="as avemo extract")
    add_options(parser)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    crops = rng.integers(0, 256, (_CROPS, _SIZE_PX, _SIZE_PX, 3), np.uint8)
    extractor = load_extractor("face_hog", batch_size=options.batch_size)
    ways: dict[str, Callable[[], Any]] = {
        "ours": functools.partial(extractor.extract, crops)
    }
    if importlib.util.find_spec("skimage"):
        ways["scikit-image"] = by_scikit_image(crops)
    for run in ways.values():
        run()
    medians = alternating(ways, options.rounds)
    found = {f"{name}, crops a second": _CROPS / s for name, s in medians.items()}
    if "scikit-image" in medians:
        found["ours / scikit-image"] = medians["scikit-image"] / medians["ours"]
    report(found, BARS, options)


def by_scikit_image(crops: np.ndarray) -> Callable[[], list[Any]]:
    """A function that computes the histograms of all crops by scikit-image."""
    feature = importlib.import_module("skimage.feature")
    color = importlib.import_module("skimage.color")
    pool = concurrent.futures.ThreadPoolExecutor(os.cpu_count())

    def one(crop: np.ndarray) -> Any:
        cell = (_CELL_PX, _CELL_PX)
        return feature.hog(color.rgb2gray(crop), hog.ORIENTATIONS, cell, (2, 2))

    return lambda: list(pool.map(one, crops))


if __name__ == "__main__":
    main()
