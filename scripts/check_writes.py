"""Full disks and SIGKILL while each command that writes is at work.

Every trial starts a command, disturbs it, and starts it again: after both a full disk
and a kill the files must be those of an undisturbed run, and a full disk must be told
in one line. All material is made. Run as root: full disks are small file systems.
"""

import argparse
import dataclasses
import hashlib
import os
import pathlib
import pickle
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable

import numpy as np
import safetensors.numpy

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tests"))
from made.faulty_server import Server
from made.submissions import predicted
from made.tiny_store import FRAMES, VIDEOS, build_tiny_store
from made.trees import VALIDATION, make_tree
from made.weights import made_state, network_shapes

from avemo_jax.extractors import get_extractor
from avemo_jax.tasks import TASKS

ROOT = pathlib.Path(__file__).parents[1]
_NETWORK = "enet_b0_8_va_mtl"
_FETCH = """
import sys
from avemo_jax.convert.download import download
from avemo_jax.extractors.published import PublishedFile
from avemo_jax.runtime.errors import guarded
file = PublishedFile("weights.pth", sys.argv[1], sha256=sys.argv[2])
sys.exit(guarded(lambda: download(
    file, sys.argv[3], show_progress=False, allow_loopback=True
) and None, prog="download", kept="what was downloaded"))
"""
_FEW_BYTES = 1 << 14
Arguments = Callable[[pathlib.Path], list[str]]


@dataclasses.dataclass
class Command:
    """A command that writes.

    Attributes:
        arguments: Its command line, given the folder that it writes into.
        expected: Digests of the undisturbed run's files by path; empty for those that
            two undisturbed runs do not have in common, such as logs.
        seconds: Time that an undisturbed run takes.
        size: Bytes that it writes.
    """

    arguments: Arguments
    expected: dict[str, str] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0
    size: int = 0


def avemo(*arguments: object) -> list[str]:
    """The command line ``avemo ARGUMENTS``."""
    return [sys.executable, "-m", "avemo_jax.cli", *map(str, arguments)]


def commands(folder: pathlib.Path) -> dict[str, Command]:
    """All commands that write, by name, and their material in ``folder``."""
    tree = make_tree(folder / "tree")
    annotations = tree / "Annotations"
    store = build_tiny_store(folder / "store")
    names = [f"tiny{chr(ord('a') + i)}" for i in range(VIDEOS)]
    (folder / "list.txt").write_text("\n".join(names[-3:]) + "\n")
    lengths = {**VALIDATION, **dict.fromkeys(names[-3:], FRAMES)}
    made = predicted(folder / "predictions.csv", TASKS["EXPR"], lengths=lengths)
    chance = np.random.default_rng(0)
    keys = [f"{video}/{i:05d}.jpg" for video in names for i in range(1, 400)]
    rows = {key: chance.normal(size=200).astype(np.float32) for key in keys}
    (folder / "rows.pkl").write_bytes(pickle.dumps(rows))
    state = made_state(network_shapes(get_extractor(_NETWORK)))
    safetensors.numpy.save_file(state, folder / "network.safetensors")
    crops = ("--visual", "face_hog", "--audio", "acoustic", "--quiet")
    features, run = folder / "features", folder / "run"
    source = ("--crops", tree / "cropped_aligned", "--videos", tree / "videos")
    train = ("train", "--config=expr_mlp", f"--data-dir={store}")
    short = ("--config.num_epochs=4", "--config.log.tensorboard=False")
    for arguments in (
        avemo("extract", *source, *crops, "--out", features),
        avemo(*train, *short, f"--workdir={run}"),
    ):
        _run(arguments, folder)
    content = chance.bytes(3 << 24)
    server = Server({"weights.pth": content})
    threading.Thread(target=server.serve_forever, daemon=True).start()
    digest = hashlib.sha256(content).hexdigest()
    head, table = run / "best_model", ("--tasks=EXPR", "--rows=mlp-b2-wav2vec2")
    found: dict[str, Arguments] = {
        "extract": lambda out: avemo("extract", *source, *crops, "--out", out),
        "prepare": lambda out: avemo(
            "prepare", "--root", tree, *crops, "--ignore-disk", "--out", out
        ),
        "import-features": lambda out: avemo(
            *("import-features", folder / "rows.pkl", "--as=x@y", "--kind=visual"),
            *("--quiet", "--out", out),
        ),
        "build-store": lambda out: avemo(
            *("build-store", "--annotations", annotations, "--features", features),
            *("--quiet", "--out", out),
        ),
        "convert": lambda out: avemo(
            *("convert", _NETWORK, folder / "network.safetensors", "--overwrite"),
            *("--out", out / "converted.safetensors"),
        ),
        "fetch": lambda out: [
            *(sys.executable, "-c", _FETCH, server.url("weights.pth")),
            *(digest, str(out)),
        ],
        "train": lambda out: avemo(*train, *short, f"--workdir={out}"),
        "evaluate": lambda out: avemo(
            "evaluate",
            f"--checkpoint={head}",
            f"--data-dir={store}",
            f"--workdir={out}",
        ),
        "blend": lambda out: avemo(
            *("blend", f"--checkpoint={head},{made}", f"--data-dir={store}"),
            f"--workdir={out}",
        ),
        "submit": lambda out: avemo(
            *("submit", "--predictions", made),
            *("--test-list", f"EXPR={folder / 'list.txt'}", "--out", out),
        ),
        "score": lambda out: avemo(
            *("score", made, "--task=expr", "--annotations", annotations, "--ci"),
            *("--json", out / "a.json", "--csv", out / "a.csv"),
        ),
        "results-table": lambda out: [
            *(sys.executable, str(ROOT / "scripts" / "results_table.py")),
            *("--data-dir", str(store), *table, "--seeds=1", "--epochs=2"),
            *("--out", str(out)),
        ],
    }
    return {name: Command(arguments) for name, arguments in found.items()}


def _environment(folder: pathlib.Path) -> dict[str, str]:
    """The environment of all commands, whose caches are elsewhere than what fills."""
    return os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
        "AVEMO_CACHE": str(folder / "cache"),
        "JAX_PLATFORMS": "cpu",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def _run(
    arguments: list[str], folder: pathlib.Path, status: int = 0
) -> subprocess.CompletedProcess[str]:
    """Runs to the end.

    Raises:
        AssertionError: If the run ends with another ``status``.
    """
    done = subprocess.run(
        arguments, capture_output=True, text=True, env=_environment(folder), cwd=folder
    )
    if done.returncode != status:
        raise AssertionError(
            f"status {done.returncode}, expected {status}: {done.stderr[-2000:]}"
        )
    return done


def digests(out: pathlib.Path) -> dict[str, str]:
    """Sha256 of every file below a folder, by path; lock files are left out."""
    found = {}
    for path in sorted(out.rglob("*")):
        if path.is_file() and path.suffix != ".lock":
            name = path.relative_to(out).as_posix()
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def undisturbed(command: Command, folder: pathlib.Path) -> None:
    """Runs a command twice, in folders of one name, and keeps what both have alike."""
    found = []
    for _ in range(2):
        with tempfile.TemporaryDirectory(dir=folder) as place:
            out = pathlib.Path(place) / "out"
            out.mkdir()
            start = time.monotonic()
            _run(command.arguments(out), folder)
            command.seconds = time.monotonic() - start
            found.append(digests(out))
            files = [path for path in out.rglob("*") if path.is_file()]
            command.size = sum(path.stat().st_size for path in files)
    first, second = found
    command.expected = {
        name: digest if second.get(name) == digest else ""
        for name, digest in first.items()
        if name in second
    }


def check_same(command: Command, out: pathlib.Path) -> None:
    """Check that a folder has the undisturbed run's files.

    Raises:
        AssertionError: If one differs, lacks, or is there besides.
    """
    found = digests(out)
    names = command.expected.keys() | found.keys()
    wrong = sorted(
        name
        for name in names
        if name not in command.expected
        or name not in found
        or command.expected[name] not in ("", found[name])
    )
    # Numbers of steps and hashes are parts of names in orbax's folders.
    wrong = [name for name in wrong if not name.startswith("checkpoints/")]
    wrong = [name for name in wrong if "/params/" not in name]
    wrong = [name for name in wrong if "/checkpoints/" not in name]
    assert not wrong, f"other than undisturbed: {', '.join(wrong[:8])}"


def killed(command: Command, folder: pathlib.Path, chance: random.Random) -> str:
    """Sends SIGKILL at a random moment, and starts the command again."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        out = pathlib.Path(place) / "out"
        out.mkdir()
        late_s = command.seconds * chance.uniform(0.3, 1.0)
        process = subprocess.Popen(
            command.arguments(out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=_environment(folder),
            cwd=folder,
        )
        try:
            process.wait(late_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        was_killed = process.wait() == -signal.SIGKILL
        there = len(digests(out))
        _run(command.arguments(out), folder)
        check_same(command, out)
    return f"{'killed' if was_killed else 'was done'} with {there} files there"


def full_disk(command: Command, folder: pathlib.Path, chance: random.Random) -> str:
    """Writes to a file system that is too small, then makes it larger."""
    place = pathlib.Path(tempfile.mkdtemp(dir=folder))
    small = max(8, int(command.size * chance.uniform(0.1, 0.9)) // 1024)
    large = 4 * command.size // 1024 + (1 << 16)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={small}k", "tmpfs", str(place)]
    subprocess.run(mount, check=True)
    try:
        out = place / "out"
        out.mkdir()
        if command.size < _FEW_BYTES:  # they may fit into what is left of one page
            (place / "filler").write_bytes(bytes(small * 1024))
        said = _run(command.arguments(out), folder, status=1).stderr
        assert "Traceback" not in said, said[-2000:]
        last = said.strip().splitlines()[-1]
        assert "No space" in last or "no room" in last, last
        subprocess.run(
            ["mount", "-o", f"remount,size={large}k", str(place)], check=True
        )
        _run(command.arguments(out), folder)
        check_same(command, out)
    finally:
        subprocess.run(["umount", str(place)], check=True)
    return f"full at {small} of {command.size // 1024} KiB: {last[:100]}"


KINDS = (killed, full_disk)


def main() -> None:
    """Carries the trials out; exits with 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=5, help="of each kind")
    parser.add_argument("--commands", default="", help="by commas; default: all")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    failed = 0
    folder = pathlib.Path(tempfile.mkdtemp())
    try:
        all_of_them = commands(folder)
        wanted = options.commands.split(",") if options.commands else all_of_them
        for name in wanted:
            command = all_of_them[name]
            try:
                undisturbed(command, folder)
            except AssertionError as error:
                failed += 1
                print(f"{name} undisturbed: FAILED: {error}", flush=True)
                continue
            print(
                f"{name}: {command.seconds:.1f} s, {command.size:,} bytes", flush=True
            )
            for kind in KINDS:
                for number in range(options.trials):
                    chance = random.Random(
                        f"{options.seed} {name} {kind.__name__} {number}"
                    )
                    try:
                        said = kind(command, folder, chance)
                    except AssertionError as error:
                        failed += 1
                        said = f"FAILED: {error}"
                    print(f"  {kind.__name__} {number}: {said}", flush=True)
    finally:
        shutil.rmtree(folder)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
