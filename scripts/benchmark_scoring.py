"""Time of ``avemo score``: the start, and 280,532 frames in 70 videos in every form.

Predictions and annotations of the size of Aff-Wild2's EXPR validation set are made up.
Each form is scored by the command in a process of its own, with intervals. In the same
run a plain script scores the submission file: the csv module, then scikit-learn's
macro F1, without gaps, coverage or intervals. Both must give the same score.
"""

import argparse
import json
import pathlib
import pickle
import subprocess
import sys
import tempfile
import time

import numpy as np
from measuring import add_options, report

from avemo_jax.tasks import EXPR

_VIDEOS, _FRAMES = 70, 280_532
_BARS = {"import_s": ("<=", 1.0)} | {
    f"{form}_s": ("<=", 10.0) for form in ("submission", "npz", "pickle")
}
_PLAIN = """
import csv, pathlib, sys
from sklearn.metrics import f1_score
labels, found = [], {}
with open(sys.argv[1]) as file:
    for row in list(csv.reader(file))[1:]:
        found[row[0]] = int(row[1])
predicted = []
for path in sorted(pathlib.Path(sys.argv[2]).glob("*/Validation_Set/*.txt")):
    for number, line in enumerate(path.read_text().splitlines()[1:], start=1):
        if int(line) >= 0:
            labels.append(int(line))
            predicted.append(found[f"{path.stem}/{number:05d}.jpg"])
print(f1_score(labels, predicted, labels=range(8), average="macro", zero_division=0))
"""


def main() -> None:
    """Makes the files, times the command on each, prints and checks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=_FRAMES)
    add_options(parser)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        files = _made(root, args.frames)
        figures: dict[str, float] = {"frames": args.frames}
        for name, module in (
            ("import", "avemo_jax.challenge.score.command"),
            ("python", "sys"),
        ):
            run = [sys.executable, "-c", f"import {module}"]
            figures[f"{name}_s"] = min(_timed(run)[0] for _ in range(5))
        plain = [sys.executable, "-c", _PLAIN, files["submission"], root / "A"]
        figures["plain_s"], printed = _timed(plain)
        expected = float(printed)
        for form, path in files.items():
            written = root / "scores.json"
            command = [sys.executable, "-m", "avemo_jax.cli", "score", path, "--ci"]
            command += ["--task", "expr", "--annotations", root / "A"]
            figures[f"{form}_s"], _ = _timed([*command, "--json", written])
            (one,) = json.loads(written.read_text("utf-8"))["files"]
            found = one["scores"]["all_labelled"]["f1_macro"]
            if abs(found - expected) > 1e-12:
                raise SystemExit(f"{form}: F1 {found!r}, scikit-learn's {expected!r}")
            ratio = figures["plain_s"] / figures[f"{form}_s"]
            figures[f"{form}_ratio"] = ratio
            print(
                f"{form}: {figures[f'{form}_s']:.2f} s, the plain script {ratio:.2f} x"
            )
    print(f"plain script: {figures['plain_s']:.2f} s; F1 equal: {expected:.6f}")
    print(
        f"import: {figures['import_s']:.2f} s, Python alone {figures['python_s']:.2f}"
    )
    report(figures, _BARS, args)


def _timed(command: list) -> tuple[float, str]:
    """Seconds that a process took, and what it printed."""
    began = time.perf_counter()
    done = subprocess.run(
        [*map(str, command)], check=True, stdout=subprocess.PIPE, text=True
    )
    return time.perf_counter() - began, done.stdout


def _made(root: pathlib.Path, frames: int) -> dict[str, pathlib.Path]:
    """Writes annotations below ``root / "A"``, and predictions in every form.

    Returns:
        Path of the predictions by form.
    """
    rng = np.random.default_rng(0)
    folder = root / "A" / EXPR.folders[0] / "Validation_Set"
    folder.mkdir(parents=True)
    scores = {}
    for i, count in enumerate(np.diff(np.linspace(0, frames, _VIDEOS + 1).astype(int))):
        labels = rng.integers(-1, EXPR.num_outputs, count)
        text = "\n".join([EXPR.header, *map(str, labels)])
        (folder / f"video{i:03d}.txt").write_text(text + "\n", "utf-8")
        one = rng.random((count, EXPR.num_outputs)).astype(np.float32)
        one[np.arange(count), labels] += 0.3
        scores[f"video{i:03d}"] = one / one.sum(axis=1, keepdims=True)
    by_image = {
        f"{video}/{number:05d}.jpg": row
        for video, values in scores.items()
        for number, row in enumerate(values, start=1)
    }
    lines = [f"{image},{row.argmax()}" for image, row in by_image.items()]
    files = {
        "submission": root / "given.txt",
        "npz": root / "given.npz",
        "pickle": root / "given.pkl",
    }
    header = f"image_location,{EXPR.header}"
    files["submission"].write_text("\n".join([header, *lines]) + "\n", "utf-8")
    np.savez(files["npz"], **scores)
    files["pickle"].write_bytes(pickle.dumps(by_image))
    return files


if __name__ == "__main__":
    main()
