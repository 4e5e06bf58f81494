"""Time and peak memory from a pickle of embeddings to a first score, by three commands.

A corpus of Aff-Wild2's EXPR size is made up: 530 videos, 865,849 frames of 1280 floats
in one pickled dict. ``avemo import-features``, ``build-store`` and ``train`` run one
after another in processes of their own, as a user would start them; training ends with
the macro F1 on the validation videos and its interval. In the same run a plain script
loads the pickle and stacks the arrays of both sets by their labels: all that it can do
before it could train.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

from measuring import add_options, report

_SCRIPTS = pathlib.Path(__file__).parent
_NAME = "enet_b0_8_best_vgaf"
_BARS = {"total_s": ("<=", 600.0), "peak_gb": ("<=", 8.0)}
_PLAIN = """
import pathlib, pickle, sys
import numpy as np
with open(sys.argv[1], "rb") as file:
    content = pickle.load(file)
for name in ("Train_Set", "Validation_Set"):
    x, y = [], []
    for path in sorted(pathlib.Path(sys.argv[2]).glob(f"*/{name}/*.txt")):
        for number, line in enumerate(path.read_text().splitlines()[1:], start=1):
            found = content.get(f"{path.stem}/{number:05d}.jpg")
            if found is not None and int(line) >= 0:
                x.append(found[0])
                y.append(int(line))
    print(name, np.stack(x).shape, len(y))
"""


def main() -> None:
    """Makes the corpus, times the commands on it, prints and checks the times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="of the frames")
    parser.add_argument(
        "--folder", type=pathlib.Path, help="for the corpus, 13 GB; a temporary one"
    )
    add_options(parser)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        root = pathlib.Path(name)
        making = [sys.executable, _SCRIPTS / "made_pickle.py", root]
        _timed([*making, "--share", args.share])
        figures: dict[str, float] = {"share": args.share}
        for step, command in _commands(root).items():
            seconds, peak = _timed([sys.executable, "-m", "avemo_jax.cli", *command])
            figures |= {f"{step}_s": seconds, f"{step}_gb": peak}
            print(f"avemo {step}: {seconds:.1f} s, peak {peak:.2f} GB", flush=True)
        found = json.loads((root / "run" / "results.json").read_text("utf-8"))
        scores = found["metrics"]["smoothed"]["all_labelled"]
        low, high = scores["f1_macro_ci95"]
        print(f"validation macro F1 {scores['f1_macro']:.3f} [{low:.3f}, {high:.3f}]")
        shutil.rmtree(root / "store")
        plain = [sys.executable, "-c", _PLAIN, root / "features.pickle"]
        seconds, peak = _timed([*plain, root / "Annotations"])
        figures |= {"plain_s": seconds, "plain_gb": peak}
    steps = ("import-features", "build-store", "train")
    figures["total_s"] = sum(figures[f"{step}_s"] for step in steps)
    figures["peak_gb"] = max(figures[f"{step}_gb"] for step in steps)
    before = figures["total_s"] - figures["train_s"]
    figures["ratio"] = seconds / before
    print(f"together: {figures['total_s']:.1f} s, peak {figures['peak_gb']:.2f} GB")
    print(
        f"plain script, before it could train: {seconds:.1f} s, peak {peak:.2f} GB; "
        f"ours up to there {before:.1f} s ({figures['ratio']:.2f} x), to keep"
    )
    report(figures, _BARS, args)


def _commands(root: pathlib.Path) -> dict[str, list]:
    """The three commands of the README, by name."""
    annotations, store = root / "Annotations", root / "store"
    features = root / "features"
    config = _SCRIPTS.parent / "configs" / "expr_mlp.py"
    return {
        "import-features": [
            *("import-features", root / "features.pickle", "--as", _NAME),
            *("--kind", "visual", "--out", features, "--annotations", annotations),
            *("--made-by", "a program"),  # without, all rows are read once more
        ],
        "build-store": [
            *("build-store", "--annotations", annotations),
            *("--features", features, "--out", store),
        ],
        "train": [
            *("train", f"--config={config}:{_NAME}", f"--config.data.dir={store}"),
            f"--workdir={root / 'run'}",
        ],
    }


def _timed(command: list) -> tuple[float, float]:
    """Seconds that a process took, and its peak memory in 10^9 bytes.

    Raises:
        SystemExit: If the process fails.
    """
    began = time.perf_counter()
    process = subprocess.Popen([*map(str, command)])
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(map(str, command))} failed")
    return time.perf_counter() - began, usage.ru_maxrss / 1e6


if __name__ == "__main__":
    main()
