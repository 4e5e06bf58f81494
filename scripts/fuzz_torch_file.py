"""Changes PyTorch's files at random and reads them: each must read or be refused.

    python scripts/fuzz_torch_file.py FILE... [--files 100000] [--seed 0]

Pickles inside archives are changed and packed again with right checksums. The program
ends with an error, and keeps the file, when reading one raises anything but
TorchFileError, takes over 5 s of a processor, or needs over half a gigabyte of memory.
"""

import argparse
import collections
import io
import pathlib
import random
import resource
import signal
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable

from avemo_jax.convert.torch_file import TorchFileError, read_torch, state_dict_of
from avemo_jax.runtime import safe_pickle

_LIMIT_S = 5
_LIMIT_BYTES = 1 << 29
_OPCODES = bytes(safe_pickle.WITH_OBJECTS)
_SNIPPETS = (
    b"cos\nsystem\nU\x04true\x85R",
    b"cbuiltins\neval\nU\x011\x85R",
    b"ctorch\nfloat32\n",
    b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"cbuiltins\nset\n](K\x01K\x02e\x85R",
    b"c_codecs\nencode\nX\x02\x00\x00\x00aaU\x06latin1\x86R",
    b"ccollections\nOrderedDict\n)R",
    b"ctimm\nA\n)\x81}b",
    b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\xff",
    b"J\xff\xff\xff\xff",
    b"\x8b\xff\xff\xff\x7f",
    b"X\xff\xff\xff\xff",
    b"\x8e\x00\x00\x00\x00\x00\x00\x00\x80",
    b"]q\x00h\x00a",
    b"\x85" * 400,
    b"h\x00h\x00\x86q\x00" * 64,
    b"(h\x00h\x01h\x02u",
    b"\x8f(h\x00\x90",
    b"(tQ",
)


class TooLong(BaseException):
    """Reading took too long; no handler in the program catches this."""


def changed(content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """``content`` with one to four changes."""
    made = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(made) + 1)
        span = min(int(2 ** rng.uniform(0, 10)), len(made))
        match rng.randrange(9):
            case 0 if at < len(made):
                made[at] ^= 1 << rng.randrange(8)
            case 1 if at < len(made):
                made[at] = rng.choice(_OPCODES)
            case 2 if rng.random() < 0.3:
                del made[at:]
            case 3:
                del made[at : at + min(span, 16)]
            case 4:
                made[at:at] = made[rng.randrange(len(made) + 1) :][:span]
            case 5:
                other = rng.choice(others)
                start = rng.randrange(len(other) + 1)
                made[at : at + rng.choice((0, span))] = other[start : start + span]
            case 6:
                made[at:at] = rng.choice(_SNIPPETS)
            case 7:
                made[at:at] = bytes([rng.choice(_OPCODES), rng.randrange(256)])
            case 8:
                number = rng.choice((0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF))
                made[at : at + 4] = number.to_bytes(4, rng.choice(("little", "big")))
    return bytes(made)


class Original:
    """A right file, taken apart.

    Attributes:
        content: The file itself.
        entries: Files inside by name, if it is an archive; else empty.
        pickle: The pickle inside, or the file itself.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self.content = path.read_bytes()
        self.entries: dict[str, bytes] = {}
        self.pickle = self.content
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                self.entries = {n: archive.read(n) for n in archive.namelist()}
            (self.main,) = (n for n in self.entries if n.endswith("data.pkl"))
            self.pickle = self.entries[self.main]

    def changed(self, others: list[bytes], rng: random.Random) -> bytes:
        """The file with changes in one part, or anywhere."""
        if not self.entries or rng.random() < 0.15:
            return changed(self.content, others, rng)
        name = self.main if rng.random() < 0.9 else rng.choice(list(self.entries))
        entries = {**self.entries, name: changed(self.entries[name], others, rng)}
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for entry, content in entries.items():
                archive.writestr(entry, content)
        return buffer.getvalue()


def outcome(path: pathlib.Path) -> str:
    """What came of reading a file, in words that are counted."""
    try:
        value = read_torch(path)
    except TorchFileError as error:
        text = str(error)
        if "nothing of it was run" in text:
            return "asks to run code"
        return "damaged" if "damaged or no pickle" in text else "no such file"
    try:
        state_dict_of(value)
    except TorchFileError:
        return "read, no weights"
    return "read"


def limited(action: Callable[[], int]) -> int:
    """Result of ``action``, run with limited memory and time."""

    def stop(*_: object) -> None:
        raise TooLong

    used = int(pathlib.Path("/proc/self/statm").read_text("utf-8").split()[0])
    limits = resource.getrlimit(resource.RLIMIT_AS)
    allowed = used * resource.getpagesize() + _LIMIT_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (allowed, limits[1]))
    before = signal.signal(signal.SIGPROF, stop)
    try:
        return action()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
        resource.setrlimit(resource.RLIMIT_AS, limits)


def fuzz(paths: list[pathlib.Path], files: int, seed: int) -> int:
    """Reads ``files`` changed files; returns 0 if all of them read or were refused."""
    originals = [Original(path) for path in paths]
    others = [original.pickle for original in originals]
    counts: collections.Counter[str] = collections.Counter()
    slowest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "changed.pt")
        for number in range(files):
            rng = random.Random(f"{seed} {number}")
            content = rng.choice(originals).changed(others, rng)
            path.write_bytes(content)
            started = time.process_time()
            signal.setitimer(signal.ITIMER_PROF, _LIMIT_S)
            try:
                counts[outcome(path)] += 1
            except BaseException as error:
                kept = pathlib.Path(f"fuzz_{seed}_{number}.pt").absolute()
                kept.write_bytes(content)
                print(f"{kept}: {type(error).__name__}: {error}")
                if not isinstance(error, Exception | TooLong):
                    raise
                return 1
            signal.setitimer(signal.ITIMER_PROF, 0)
            slowest = max(slowest, time.process_time() - started)
    print(", ".join(f"{name}: {count}" for name, count in sorted(counts.items())))
    print(f"slowest {slowest:.2f} s")
    return 0


def main() -> int:
    """Reads changed files; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("paths", nargs="+", type=pathlib.Path, metavar="FILE")
    parser.add_argument("--files", type=int, default=100_000, help="how many to read")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    return limited(lambda: fuzz(options.paths, options.files, options.seed))


if __name__ == "__main__":
    sys.exit(main())
