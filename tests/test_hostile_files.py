"""Files made to do harm, in every reader: refused in a line, at no cost, without code.

A refusal is what ``scripts/fuzz_readers.py`` takes for one.
"""

import functools
import gzip
import io
import os
import pathlib
import pickle
import resource
import shutil
import signal
import sys
import zipfile
from collections.abc import Callable, Iterator

import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "scripts"))
import fuzz_readers
from made.foreign_files import READERS, Reader

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="memory is measured as Linux tells it"
)
LIMIT_S = 5
MIB = 2**20
MOST_MIB = 600
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\1\0\0\0\1\0\0\x08\x02\0\0\0"
Attack = Callable[[pathlib.Path, bytes, pathlib.Path], object]


class TooLong(BaseException):
    """Reading took too long; no handler in the program catches this."""


class Evil:
    """Unpickled, it makes a file."""

    def __init__(self, ran: pathlib.Path) -> None:
        self.ran = ran

    def __reduce__(self):
        return os.system, (f"touch {self.ran}",)


def content(made: bytes | Callable[..., bytes]) -> Attack:
    """An attack by what is in the file."""

    def attack(path: pathlib.Path, original: bytes, ran: pathlib.Path) -> None:
        path.write_bytes(made if isinstance(made, bytes) else made(original, ran))

    return attack


def place(make: Callable[[pathlib.Path], object]) -> Attack:
    """An attack by what is in the file's place."""
    return lambda path, original, ran: make(path)


@functools.cache
def zeros_packed() -> bytes:
    """Half a gigabyte of zeros, 0.5 MB by gzip."""
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=1, mtime=0) as file:
        for _ in range(512):
            file.write(bytes(MIB))
    return buffer.getvalue()


def header(shape: tuple[int, ...], descr: str = "<f4") -> bytes:
    """The beginning of a .npy of this shape."""
    stream = io.BytesIO()
    about = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, about)
    return stream.getvalue()


def archive(name: str, inside: bytes, times: int = 1) -> bytes:
    """A zip archive of one file."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as made,
        made.open(name, "w", force_zip64=True) as file,
    ):
        for _ in range(times):
            file.write(inside)
    return buffer.getvalue()


@functools.cache
def zip_bomb() -> bytes:
    return archive("features.npy", bytes(MIB), 512)


def evil_npy(original: bytes, ran: pathlib.Path) -> bytes:
    return header((), "|O") + pickle.dumps(Evil(ran), 2)


ATTACKS: dict[str, Attack] = {
    "empty": content(b""),
    "one byte": content(b"x"),
    "half": content(lambda original, ran: original[: len(original) // 2]),
    "folder": place(pathlib.Path.mkdir),
    "pipe": place(os.mkfifo),
    "device without end": place(lambda path: path.symlink_to("/dev/zero")),
    "link to nothing": place(lambda path: path.symlink_to(path.parent / "nothing")),
    "link to itself": place(lambda path: path.symlink_to(path)),
    "not to be read": place(lambda path: path.touch(mode=0)),
    "picture": content(PNG),
    "zip out of its folder": content(archive("../../ran.npy", header((0, 3)))),
    "zip that inflates": content(lambda original, ran: zip_bomb()),
    "gzip that inflates": content(lambda original, ran: zeros_packed()),
    "pickle with code": content(lambda original, ran: pickle.dumps(Evil(ran), 2)),
    "old pickle with code": content(lambda original, ran: pickle.dumps(Evil(ran), 0)),
    "npy with code": content(evil_npy),
    "npz with code": content(lambda o, ran: archive("frame.npy", evil_npy(o, ran))),
    "torch with code": content(
        lambda o, ran: archive("archive/data.pkl", pickle.dumps(Evil(ran), 2))
    ),
    "pickle in itself": content(b"\x80\x03}q\0(X\x01\0\0\0ah\0u."),
    "deep pickle": content(b"\x80\x02" + b"N" + b"\x85" * 10**5 + b"."),
    "deep JSON": content(b"[" * 10**5),
    "npy of 10^12 rows": content(header((10**12, 8))),
    "npz of 10^12 rows": content(archive("features.npy", header((10**12, 8)))),
    "numbers without end": content(b'{"epoch": ' + b"9" * 10**5 + b"}\n"),
    "no numbers of JSON": content(b'{"task": NaN, "epoch": 1e999}'),
    "no UTF-8": content(b"video,frame\n\xff\xfe\xfa,1\n"),
    "NUL": content(b"video,frame\n\0\0\0,1\n"),
    "a line of 1 MB": content(b"a" * MIB),
    "1 MB of commas": content(b"," * MIB),
}
# What reads all the same, as it should.
READ = {
    ("sound", "half"),  # with a note of what is missing
    # Not regular files, or not there: then there are no thresholds, no numbers.
    *(
        (name, attack)
        for name in ("thresholds", "import-numbers")
        for attack in (
            "folder",
            "pipe",
            "device without end",
            "link to nothing",
            "link to itself",
        )
    ),
    ("thresholds", "no numbers of JSON"),  # of another program
    ("split-lists", "empty"),
    ("metrics-log", "link to nothing"),
    ("metrics-log", "link to itself"),
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Callable[[Reader], tuple[pathlib.Path, list[bytes]]]:
    """The folder of a reader, and contents of right files; made once."""

    @functools.cache
    def prepare(name: str) -> tuple[pathlib.Path, list[bytes]]:
        folder = tmp_path_factory.mktemp(name) / "inside" / "given"
        folder.mkdir(parents=True)
        return folder, READERS[name].prepare(folder)

    return lambda reader: prepare(reader.name)


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    """In time, and in memory for the machine's sake."""

    def stop(*_: object) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, stop)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    most = fuzz_readers.memory("VmSize") + 4 * 2**30
    resource.setrlimit(resource.RLIMIT_AS, (most, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, limits)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("name", READERS)
def test_right_files_are_read(prepared, name):
    reader = READERS[name]
    folder, originals = prepared(reader)
    for original in originals:
        put(folder / reader.file, content(original), b"", folder)
        assert fuzz_readers.tried(reader, folder / reader.file)


def is_to_be_read(name: str, attack: str, path: pathlib.Path) -> bool:
    """Whether a reader takes an attack for a file of its own."""
    if name == "metrics-log" and path.is_file() and os.access(path, os.R_OK):
        # A last line without an end is left out, as a killed process leaves it.
        return attack == "half" or b"\n" not in path.read_bytes()
    return (name, attack) in READ


# A superuser reads all files.
MODES_COUNT = hasattr(os, "geteuid") and os.geteuid() != 0


# Much is unpacked or gone through; others show the same.
DEAR = {
    ("store-metadata", "deep JSON"),
    ("torch", "deep pickle"),
    ("predictions-pkl", "deep pickle"),
    ("picture", "zip that inflates"),
    ("picture", "gzip that inflates"),
}


@pytest.mark.parametrize(
    ("name", "attack"),
    [
        pytest.param(
            *(name, attack),
            id=f"{name}-{attack}",
            marks=[pytest.mark.slow] if (name, attack) in DEAR else [],
        )
        for name in READERS
        for attack in ATTACKS
        if MODES_COUNT or attack != "not to be read"
    ],
)
def test_attacks_are_refused(prepared, name, attack):
    reader = READERS[name]
    folder, originals = prepared(reader)
    ran = folder.parent.parent / "ran"
    put(folder / reader.file, ATTACKS[attack], originals[0], ran)
    fuzz_readers.restart_peak()
    before = fuzz_readers.memory("VmRSS")
    signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
    is_read = fuzz_readers.tried(reader, folder / reader.file)
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert is_read == is_to_be_read(name, attack, folder / reader.file)
    assert fuzz_readers.memory("VmHWM") - before < MOST_MIB * MIB
    # Neither code has run, nor has anything been unpacked.
    assert not list(ran.parent.glob("ran*")) + list(folder.parent.glob("ran*"))


def put(path: pathlib.Path, attack: Attack, original: bytes, ran: pathlib.Path) -> None:
    """Put an attack in the place of the file before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    attack(path, original, ran)
