"""Faults while a store is prepared: each must end in the store of an undisturbed run.

Every trial starts ``avemo prepare``, disturbs it, mends the fault, starts it again, and
compares the stores. Weights are random where none are given. The results are printed.
"""

import argparse
import errno
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tests"))
from made.store_contents import records_of
from made.trees import make_tree, make_weights_dir

VISUAL, AUDIO = "enet_b0_8_va_mtl", "vggish"


class Trials:
    """A tree, its weights, and the store that an undisturbed run makes from it."""

    def __init__(self, folder: pathlib.Path, options: argparse.Namespace):
        """Makes the tree and the weights, and runs once undisturbed.

        Args:
            folder: Where everything is made.
            options: Parsed options of :func:`main`.
        """
        self.folder, self.options = folder, options
        self.root = options.root or make_tree(folder / "tree")
        self.weights = options.weights or make_weights_dir(
            folder / "weights", [VISUAL, AUDIO]
        )
        # Programs are compiled once, so that random moments fall into the work itself.
        self.env = {
            **os.environ,
            "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        self.expected_out = folder / "expected"
        start = time.monotonic()
        self.run(self.root, self.expected_out)
        self.seconds = time.monotonic() - start
        self.expected = records_of(self.expected_out)

    def command(self, root: pathlib.Path, out: pathlib.Path) -> list[str]:
        """The command line of one run."""
        flags = ["--visual", VISUAL, "--audio", AUDIO, "--quiet", "--ignore-disk"]
        flags += ["--weights", str(self.weights), "--size-px", self.options.size_px]
        flags += ["--root", str(root), "--out", str(out)]
        return [sys.executable, "-m", "avemo_jax.cli", "prepare", *flags]

    def run(self, root: pathlib.Path, out: pathlib.Path, status: int = 0) -> str:
        """Runs to the end, and returns what was printed.

        Raises:
            AssertionError: If the run ends with another ``status``.
        """
        done = subprocess.run(
            self.command(root, out), capture_output=True, text=True, env=self.env
        )
        if done.returncode != status:
            raise AssertionError(f"{done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def same(self, out: pathlib.Path) -> bool:
        """Whether the store in ``out`` has exactly the undisturbed run's records."""
        return records_of(out) == self.expected

    def copied_root(self) -> pathlib.Path:
        """A copy of the tree, which a trial may spoil."""
        place = pathlib.Path(tempfile.mkdtemp(dir=self.folder)) / "tree"
        return shutil.copytree(self.root, place)

    def new_out(self) -> pathlib.Path:
        """Path of a new output folder, which is not there yet."""
        return pathlib.Path(tempfile.mkdtemp(dir=self.folder)) / "out"


def killed(trials: Trials, when: Callable[[pathlib.Path], bool], late_s: float) -> str:
    """Sends SIGKILL ``late_s`` seconds after ``when`` is true of the output folder."""
    out = trials.new_out()
    process = subprocess.Popen(
        trials.command(trials.root, out),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=trials.env,
    )
    while process.poll() is None and not when(out):
        time.sleep(0.002)
    time.sleep(late_s)
    process.send_signal(signal.SIGKILL)
    was_killed = process.wait() == -signal.SIGKILL
    there = len(list((out / "features").glob("[!.]*/*.npz")))
    trials.run(trials.root, out)
    assert trials.same(out)
    return f"{'killed' if was_killed else 'was done'} with {there} feature files"


def killed_while_extracting(trials: Trials, chance: random.Random) -> str:
    """Kills at a random moment after the first feature folder appears."""
    span = trials.options.kill_within
    return killed(
        trials, lambda out: any(out.glob("features/*@*")), chance.uniform(0, span)
    )


def killed_while_packing(trials: Trials, chance: random.Random) -> str:
    """Kills at a random moment after the store's folder appears."""
    return killed(
        trials, lambda out: (out / "affwild2").exists(), chance.uniform(0, 0.4)
    )


def full_disk(trials: Trials, chance: random.Random) -> str:
    """Writes to a file system of a random size, too small; then makes it larger."""
    place = pathlib.Path(tempfile.mkdtemp(dir=trials.folder))
    size = sum(p.stat().st_size for p in trials.expected_out.rglob("*") if p.is_file())
    small = max(64, int(size * chance.uniform(0.1, 0.8)) // 1024)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={small}k", "tmpfs", str(place)],
        check=True,
    )
    try:
        out = place / "out"
        said = trials.run(trials.root, out, status=1)
        assert os.strerror(errno.ENOSPC) in said, said
        subprocess.run(
            ["mount", "-o", f"remount,size={4 * size // 1024}k", str(place)], check=True
        )
        trials.run(trials.root, out)
        assert trials.same(out)
    finally:
        subprocess.run(["umount", str(place)], check=True)
    return f"full at {small} of {size // 1024} KiB; said so, and went on"


def spoilt(
    trials: Trials, path: str, content: Callable[[bytes], bytes], status: int
) -> str:
    """Spoils a file, runs, mends the file and runs again.

    Args:
        trials: The tree and the undisturbed store.
        path: Path of the file in the tree.
        content: Makes the spoilt content from the right one.
        status: Exit status of the first run, which must name the file.
    """
    root, out = trials.copied_root(), trials.new_out()
    file = root / path
    whole = file.read_bytes()
    file.write_bytes(content(whole))
    said = trials.run(root, out, status=status)
    assert file.name in said + _read(out / "failures.jsonl"), said
    file.write_bytes(whole)
    trials.run(root, out)
    assert trials.same(out)
    return f"status {status}, told by name; then as undisturbed"


def _read(path: pathlib.Path) -> str:
    return path.read_text("utf-8") if path.exists() else ""


def some_file(trials: Trials, pattern: str, chance: random.Random) -> str:
    """A random one of the tree's paths that match ``pattern``, relative to the tree."""
    paths = sorted(trials.root.glob(pattern))
    return str(chance.choice(paths).relative_to(trials.root))


def cut_picture(trials: Trials, chance: random.Random) -> str:
    """Cuts off the end of a JPEG file."""
    path = some_file(trials, "cropped_aligned*/*/*.jpg", chance)
    return spoilt(trials, path, lambda b: b[: chance.randrange(1, len(b) - 8)], 3)


def text_as_picture(trials: Trials, chance: random.Random) -> str:
    """Puts text into a JPEG file."""
    path = some_file(trials, "cropped_aligned*/*/*.jpg", chance)
    return spoilt(trials, path, lambda _: b"no picture\n", 3)


def empty_video(trials: Trials, chance: random.Random) -> str:
    """Empties an mp4 file."""
    path = some_file(trials, "videos/*/*.mp4", chance)
    return spoilt(trials, path, lambda _: b"", 3)


def broken_line(trials: Trials, chance: random.Random) -> str:
    """Puts a line into an annotation file that no task can have."""
    path = some_file(trials, "Annotations/*/*/*.txt", chance)

    def spoil(content: bytes) -> bytes:
        lines = content.splitlines()
        lines[chance.randrange(1, len(lines))] = b"1,x"
        return b"\n".join(lines) + b"\n"

    return spoilt(trials, path, spoil, 1)


def odd_names(trials: Trials, chance: random.Random) -> str:
    """Runs on a tree in a folder with spaces and letters that are not ASCII."""
    place = trials.copied_root()
    root = place.rename(place.parent / f"Größe {chance.randrange(100)} 表情")
    out = trials.new_out().parent / "Ausgabe für alle"
    trials.run(root, out)
    assert trials.same(out)
    return "as undisturbed"


def link_out(trials: Trials, chance: random.Random) -> str:
    """Puts a link into the tree that leads out of it."""
    root, out = trials.copied_root(), trials.new_out()
    folder = root / pathlib.Path(some_file(trials, "cropped_aligned*/*", chance))
    link = folder / "09999.jpg" if chance.random() < 0.5 else folder.parent / "other"
    link.symlink_to(trials.weights)
    said = trials.run(root, out, status=1)
    assert str(link) in said, said
    link.unlink()
    trials.run(root, out)
    assert trials.same(out)
    return "refused, status 1; then as undisturbed"


def read_only(trials: Trials, _: random.Random) -> str:
    """Writes to a read-only output folder; a mount, since root may write elsewhere."""
    place = pathlib.Path(tempfile.mkdtemp(dir=trials.folder))
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(place)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        said = trials.run(trials.root, place / "out", status=1)
        assert os.strerror(errno.EROFS) in said, said
        subprocess.run(["mount", "-o", "remount,rw", str(place)], check=True)
        trials.run(trials.root, place / "out")
        assert trials.same(place / "out")
    finally:
        subprocess.run(["umount", str(place)], check=True)
    return "told, status 1; then as undisturbed"


def two_at_once(trials: Trials, chance: random.Random) -> str:
    """Starts two runs on one output folder."""
    out = trials.new_out()
    running = []
    for _ in range(2):
        running.append(
            subprocess.Popen(
                trials.command(trials.root, out),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env=trials.env,
            )
        )
        time.sleep(chance.uniform(0, 1))
    said = [process.communicate()[0] for process in running]
    states = sorted(process.returncode for process in running)
    assert states in ([0, 0], [0, 1]), said
    if states == [0, 1]:
        assert any("another run writes into" in text for text in said), said
    assert trials.same(out)
    return "one refused" if states == [0, 1] else "one after the other"


KINDS = (
    killed_while_extracting,
    killed_while_packing,
    full_disk,
    cut_picture,
    text_as_picture,
    empty_video,
    broken_line,
    odd_names,
    link_out,
    read_only,
    two_at_once,
)


def main() -> None:
    """Carries the trials out; exits with 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=pathlib.Path, help="a tree; default: made")
    parser.add_argument("--weights", type=pathlib.Path, help="default: random")
    parser.add_argument("--trials", type=int, default=20, help="of each kind")
    parser.add_argument("--kinds", default="", help="names, by commas; default: all")
    parser.add_argument("--size-px", default="32", help="of faces")
    parser.add_argument(
        "--kill-within", type=float, default=1.5, help="seconds of extraction"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    wanted = options.kinds.split(",") if options.kinds else None
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        trials = Trials(pathlib.Path(folder), options)
        print(f"undisturbed: {trials.seconds:.1f} s", flush=True)
        for kind in KINDS:
            if wanted and kind.__name__ not in wanted:
                continue
            good, said = 0, ""
            for number in range(options.trials):
                chance = random.Random(f"{options.seed} {kind.__name__} {number}")
                try:
                    said = kind(trials, chance)
                    good += 1
                except AssertionError as error:
                    print(f"  {kind.__name__} {number} failed: {error}", flush=True)
            failed += options.trials - good
            print(
                f"{kind.__name__}: {good} of {options.trials}; last: {said}", flush=True
            )
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
