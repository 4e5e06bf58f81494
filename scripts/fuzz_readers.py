"""Changes files at random and reads them: each must read or be refused in one line.

    python scripts/fuzz_readers.py [--reader NAME ...] [--inputs 100000] [--check]

The readers and small right files of each are those of tests/made/foreign_files.py. A
finding is any other exception than the reader's own, a message of several lines or
without the file's name, a warning, over 5 s of a processor, over 1 GB of memory, and
the end of the process. Each is kept once, as small as it can be made in a second. The
same seed gives the same changes. Works on Linux.
"""

import argparse
import collections
import contextlib
import dataclasses
import json
import multiprocessing
import os
import pathlib
import random
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from absl import logging

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
from mutations import mutated  # noqa: E402

if TYPE_CHECKING:
    from made.foreign_files import Reader

LIMIT_S = 5
LIMIT_BYTES = 10**9
_MOST_ENDS = 8  # ended processes of a reader, after which it is given up
_BEGIN_S = 300  # loading and making the right files
_REDUCING_S = 1.0
_LONGEST = 3000  # characters of a message
# Libraries must not reserve addresses, which are limited, nor start many threads.
_ENVIRONMENT = {
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "JAX_PLATFORMS": "cpu",
    "MALLOC_ARENA_MAX": "2",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}


class Finding(Exception):
    """Reading neither succeeded nor was refused as it should be.

    Attributes:
        where: What happened, and where in the code; the same for the same fault.
    """

    def __init__(self, where: str, detail: str = "") -> None:
        super().__init__(detail)
        self.where = where


@dataclasses.dataclass
class Row:
    """What came of the changed files of one reader.

    Attributes:
        reader: Name of the reader.
        inputs: How many files were tried.
        read: How many were read.
        refused: How many were refused by the reader's own error.
        slowest_s: Most seconds of a processor that one took.
        peak_mb: Most megabytes that one took beside those before.
        findings: How often each finding came, by what happened.
        kept: Files of the findings, by what happened.
    """

    reader: str
    inputs: int = 0
    read: int = 0
    refused: int = 0
    slowest_s: float = 0.0
    peak_mb: float = 0.0
    findings: dict[str, int] = dataclasses.field(default_factory=dict)
    kept: dict[str, str] = dataclasses.field(default_factory=dict)

    def line(self) -> str:
        """The row in the table that is printed."""
        return (
            f"{self.reader:<28}{self.inputs:>9,}{self.read:>9,}{self.refused:>9,}"
            f"{self.slowest_s:>10.2f}{self.peak_mb:>9.0f}{len(self.findings):>10}"
        )


def tried(reader: "Reader", path: pathlib.Path) -> bool:
    """Whether the file was read; False: it was refused as it should be.

    Raises:
        Finding: If neither is so.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", DeprecationWarning)  # as for users
            reader.read(path)
    except reader.error as error:
        _check_told(reader, error)
        return False
    except Exception as error:
        # A file that is not there, or that the system refuses, is named as well.
        if isinstance(error, OSError) and (
            reader.named in str(error.filename)
            or (type(error) is FileNotFoundError and reader.named in str(error))
        ):
            return False
        raise Finding(_place(error), str(error)[:_LONGEST]) from error
    return True


def _check_told(reader: "Reader", error: BaseException) -> None:
    """Check that an error tells what a person needs, in a line."""
    text = str(error)
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in causes:  # they may go in a circle
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    if any(isinstance(one, MemoryError) for one in causes):
        raise Finding(f"memory asked for, {_place(error)}", text)
    first, *more = text.splitlines() or [""]
    # Faults of weights are a list, one a line.
    is_list = all(line.startswith("  ") for line in more) and hasattr(error, "faults")
    if not first or (more and not is_list) or len(text) > _LONGEST:
        raise Finding(f"several lines or too long, {_place(error)}", text[:_LONGEST])
    if reader.named not in text:
        raise Finding(f"without the file's name, {_place(error)}", text)


def _place(error: BaseException) -> str:
    """The kind of an error, and the last line of the package that it passed."""
    own = [f for f in traceback.extract_tb(error.__traceback__) if _is_own(f.filename)]
    if not own:
        return type(error).__name__
    last = own[-1]
    name = pathlib.Path(last.filename).relative_to(ROOT)
    return f"{type(error).__name__} at {name}:{last.lineno}"


def _is_own(filename: str) -> bool:
    return filename.startswith(str(ROOT / "avemo_jax"))


class Trial:
    """A folder with a reader's right files, of which one is changed again and again."""

    def __init__(self, reader: "Reader", folder: pathlib.Path, seed: int) -> None:
        """Makes the right files, and checks that they read."""
        self.reader, self._seed = reader, seed
        self.originals = reader.prepare(folder)
        self.path = folder / reader.file
        self.path.parent.mkdir(parents=True, exist_ok=True)
        for content in self.originals:
            self.path.write_bytes(content)
            if not tried(reader, self.path):
                raise Finding(f"a right file of {reader.name} is refused")

    def content(self, number: int) -> bytes:
        """The changed file of a number; the same for the same seed."""
        rng = random.Random(f"{self._seed} {self.reader.name} {number}")
        chosen = rng.choice(self.originals)
        return mutated(chosen, self.originals, rng, self.reader.kind)

    def outcome(self, content: bytes) -> bool:
        """What :func:`tried` says of a content."""
        self.path.write_bytes(content)
        return tried(self.reader, self.path)

    def reduced(self, content: bytes, where: str) -> bytes:
        """A smaller content that leads to the same finding."""
        ends, size = time.monotonic() + _REDUCING_S, len(content) // 2
        while size and time.monotonic() < ends:
            at = 0
            while at < len(content) and time.monotonic() < ends:
                less = content[:at] + content[at + size :]
                try:
                    self.outcome(less)
                except Finding as found:
                    if found.where == where:
                        content = less
                        continue
                at += size
            size //= 2
        return content


def memory(name: str) -> int:
    """Bytes that the system tells of this process."""
    with open("/proc/self/status", encoding="ascii") as file:
        for line in file:
            if line.startswith(name + ":"):
                return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {name}; expected Linux")


def restart_peak() -> None:
    """Let the most memory that was taken, VmHWM, be what is taken now."""
    pathlib.Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def work(task: dict[str, Any], shared: Any, results: Any) -> None:
    """Tries changed files in a process of its own, whose memory is limited.

    Args:
        task: Name of the reader, seed, first number and number after the last, and the
            folders for working and for findings.
        shared: Number that is tried (-1 before), files read, files refused, most
            microseconds and most bytes of a file.
        results: Takes a pair for each new finding: what happened, and its file; and
            how often each came at the end.
    """
    os.environ.update(_ENVIRONMENT)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libraries write there as they like
    from made.foreign_files import READERS

    logging.set_verbosity(logging.FATAL)
    reader = READERS[task["reader"]]
    folder = pathlib.Path(task["folder"])
    try:
        trial = Trial(reader, folder, task["seed"])
    except Exception as error:
        results.send((f"no right files: {error!r}", "", traceback.format_exc()))
        return
    limit = memory("VmSize") + LIMIT_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    counts: collections.Counter[str] = collections.Counter()
    for number in range(task["begin"], task["end"]):
        content = trial.content(number)
        shared[0] = number
        restart_peak()
        before, started = memory("VmRSS"), time.process_time()
        try:
            is_read = trial.outcome(content)
            spent, taken = time.process_time() - started, memory("VmHWM") - before
            shared[3] = max(shared[3], int(spent * 1e6))
            shared[4] = max(shared[4], taken)
            if spent > LIMIT_S:
                raise Finding("too long", f"{spent:.1f} s")
            if taken > LIMIT_BYTES:
                raise Finding("too much memory", f"{taken:,} bytes")
            shared[1 if is_read else 2] += 1
        except Finding as found:
            counts[found.where] += 1
            if counts[found.where] == 1:
                if not found.where.startswith("too "):
                    content = trial.reduced(content, found.where)
                kept = pathlib.Path(task["kept"], f"{reader.name}-{number}")
                kept = kept.with_name(kept.name + trial.path.suffix)
                kept.write_bytes(content)
                results.send((found.where, str(kept), str(found)))
    shared[0] = task["end"]
    results.send(dict(counts))


def fuzz(name: str, inputs: int, seed: int, kept: pathlib.Path) -> Row:
    """Tries changed files of one reader, in as many processes as it takes."""
    row, begin, ends = Row(name), 0, 0
    while begin < inputs and ends < _MOST_ENDS:
        with tempfile.TemporaryDirectory() as folder:
            task = {"reader": name, "seed": seed, "begin": begin, "end": inputs}
            task |= {"folder": folder, "kept": str(kept)}
            begin, ended = _watched(task, row)
        ends += ended
    row.inputs = begin
    return row


def _watched(task: dict[str, Any], row: Row) -> tuple[int, bool]:
    """Runs :func:`work` until its end, or until a file ends or hangs it.

    Returns:
        The number from which to go on, and whether the process had to be ended.
    """
    context = multiprocessing.get_context("spawn")
    shared = context.RawArray("q", [-1, 0, 0, 0, 0])
    receives, sends = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(task, shared, sends))
    process.start()
    sends.close()
    since = (-1, time.monotonic(), 0.0)
    reason = ""
    while process.is_alive() and not reason:
        with contextlib.suppress(EOFError):
            if receives.poll(0.2):
                _take(row, receives.recv())
        spent = _processor_s(process.pid)
        if shared[0] != since[0]:
            since = (shared[0], time.monotonic(), spent)
        waited = time.monotonic() - since[1]
        is_begun = shared[0] >= 0
        if is_begun and (spent - since[2] > 1.2 * LIMIT_S or waited > 12 * LIMIT_S):
            reason = f"hangs: over {LIMIT_S} s"
        elif not is_begun and waited > _BEGIN_S:
            reason = "right files were not made"
    if reason:
        process.kill()
    process.join()
    with contextlib.suppress(EOFError):
        while receives.poll():
            _take(row, receives.recv())
    row.read += shared[1]
    row.refused += shared[2]
    row.slowest_s = max(row.slowest_s, shared[3] / 1e6)
    row.peak_mb = max(row.peak_mb, shared[4] / 1e6)
    number = shared[0]
    if number >= task["end"]:
        return number, False
    if number < 0:
        row.findings.setdefault(reason or "no right files", 1)
        return task["end"], True
    where = reason or f"the process ended by {process.exitcode}"
    found = next(pathlib.Path(task["folder"]).rglob(_file_of(task["reader"])))
    kept = pathlib.Path(task["kept"], f"{task['reader']}-{number}{found.suffix}")
    shutil.copy(found, kept)
    row.findings[where] = row.findings.get(where, 0) + 1
    row.kept.setdefault(where, str(kept))
    print(f"{task['reader']}: {where}: {kept}", flush=True)
    return number + 1, True


def _take(row: Row, told: Any) -> None:
    """Adds what a process told to the row."""
    if isinstance(told, dict):
        for where, count in told.items():
            row.findings[where] = row.findings.get(where, 0) + count - 1
        return
    where, kept, detail = told
    row.findings[where] = row.findings.get(where, 0) + 1
    row.kept.setdefault(where, kept)
    print(f"{row.reader}: {where}: {kept}\n    {detail!r:.300}", flush=True)


def _processor_s(pid: int | None) -> float:
    """Seconds of processors that a process has taken; 0 once it has ended."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    fields = text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _names() -> Iterator[str]:
    """Names of all readers."""
    from made.foreign_files import READERS

    yield from READERS


def _file_of(name: str) -> str:
    from made.foreign_files import READERS

    return pathlib.PurePath(READERS[name].file).name


def main() -> int:
    """Tries changed files of the chosen readers; returns the exit status."""
    names = list(_names())
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--reader", nargs="+", default=["all"], choices=["all", *names], metavar="NAME"
    )
    parser.add_argument("--inputs", type=int, default=100_000, help="of each reader")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kept", type=pathlib.Path, default="fuzz_findings")
    parser.add_argument("--json", type=pathlib.Path, help="file for the numbers")
    parser.add_argument("--check", action="store_true", help="end with 1 on a finding")
    options = parser.parse_args()
    options.kept.mkdir(parents=True, exist_ok=True)
    chosen = names if "all" in options.reader else options.reader
    heads = ("inputs", "read", "refused")
    print(f"{'reader':<28}{heads[0]:>9}{heads[1]:>9}{heads[2]:>9}", end="")
    print(f"{'slowest s':>10}{'peak MB':>9}{'findings':>10}", flush=True)
    rows = []
    for name in chosen:
        rows.append(fuzz(name, options.inputs, options.seed, options.kept))
        print(rows[-1].line(), flush=True)
        if options.json:
            text = json.dumps([dataclasses.asdict(row) for row in rows], indent=1)
            options.json.write_text(text + "\n", encoding="utf-8")
    return int(options.check and any(row.findings for row in rows))


if __name__ == "__main__":
    sys.exit(main())
