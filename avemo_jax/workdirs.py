"""Work directories: a folder, or ``gs://BUCKET/FOLDER``.

Of one in a bucket, checkpoints are written there by orbax itself; all other files are
written to a private folder on this machine, and published from there.
"""

import concurrent.futures
import dataclasses
import fcntl
import hashlib
import itertools
import os
import pathlib
import re
import shutil
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from absl import logging

from avemo_jax.bucket import BucketFolder, Stored, crc32c, parse_address
from avemo_jax.data.cache import cache_dir
from avemo_jax.whole_files import whole_file

CHECKPOINTS = "checkpoints"
_TOKEN = ".token"
# Each vouches for the folder that it stands in, and for those below.
_CARDS = ("head.json", "blend.json")
_RESULTS = "results.json"
# Made a path by pathlib, an address keeps one of its slashes.
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+)://|(gs|s3|https?):/", re.IGNORECASE)
_CONNECTIONS = 8

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Workdir:
    """A work directory, or a folder in one.

    Attributes:
        name: As the user knows it: a path, or ``gs://BUCKET/FOLDER``.
        local: Where files are written and read. Names that begin with a dot are not
            published.
        checkpoints: Absolute, of pathlib or etils.epath; for orbax alone.
    """

    name: str
    local: pathlib.Path
    checkpoints: pathlib.PurePath
    _mirror: "_Mirror | None" = None

    def child(self, name: str) -> "Workdir":
        """The folder ``name`` in it, published with the whole."""
        return Workdir(
            f"{self.name.rstrip('/')}/{name}",
            self.local / name,
            self.checkpoints.parent / name / CHECKPOINTS,
            self._mirror,
        )

    def publish(self) -> None:
        """Uploads what is new or changed, removes what is gone; results.json is last.

        Only what this process found at the start or wrote is replaced or removed. Does
        nothing for a local path, or where another process writes.

        Raises:
            BucketError: If the bucket refuses, or another run writes there.
        """
        if self._mirror:
            self._mirror.publish()

    def refresh(self) -> None:
        """Reads again what another process has published; not ``checkpoints/``.

        Does nothing for a local path, and in the process that writes.

        Raises:
            BucketError: If the bucket cannot be read.
        """
        if self._mirror and not self._mirror.writes:
            self._mirror.fill()

    def write_token(self, token: str) -> None:
        """Leaves ``token`` where all processes of the run can read it.

        Raises:
            BucketError: If the bucket refuses.
            OSError: If the folder does.
        """
        if self._mirror:
            self._mirror.folder.write_text(_TOKEN, token)
            return
        self.local.mkdir(parents=True, exist_ok=True)
        with whole_file(self.local / _TOKEN) as temporary:
            temporary.write_text(token, encoding="utf-8")

    def read_token(self) -> str | None:
        """What was last left by :meth:`write_token`; None where nothing is seen.

        Raises:
            BucketError: If the bucket cannot be read.
        """
        if self._mirror:
            return self._mirror.folder.read_text(_TOKEN)
        path = self.local / _TOKEN
        return path.read_text(encoding="utf-8") if path.is_file() else None

    def close(self) -> None:
        """Removes the private folder of one in a bucket; nothing is published."""
        if self._mirror:
            self._mirror.close()


def open_workdir(name: str | pathlib.Path, *, writes: bool = True) -> Workdir:
    """The work directory at a local path or at ``gs://BUCKET/FOLDER``.

    Nothing is made at a local path. Of one in a bucket, all files but checkpoints are
    read to a private folder in the cache directory.

    Args:
        name: Of the work directory; text for one in a bucket.
        writes: This process publishes; one of several does.

    Raises:
        ImportError: If it is in a bucket and the extra ``gcs`` is not installed.
        ValueError: If ``name`` is neither a path nor in a bucket.
        BucketError: If there are no credentials, no such bucket, or no right to read
            it, or to write with ``writes``.
    """
    text = str(name)
    scheme = _SCHEME.match(text)
    if scheme is None:
        path = pathlib.Path(name)
        return Workdir(text, path, path.absolute() / CHECKPOINTS)
    if not text.startswith("gs://"):
        raise ValueError(
            f"{text!r} cannot be a work directory; expected the path of a folder, or "
            "gs://BUCKET/FOLDER; name one of these"
        )
    parse_address(text)
    # etils would take TensorFlow for gs:// wherever it finds it installed.
    os.environ.setdefault("EPATH_USE_TF", "false")
    folder = BucketFolder(text)
    if writes:
        folder.check_writable()
    mirror = _Mirror(folder, writes)
    mirror.fill()
    checkpoints = _bucket_path(folder.address) / CHECKPOINTS
    return Workdir(folder.address, mirror.staging, checkpoints, mirror)


def refuse_remote_data(directory: str) -> None:
    """Nothing for a local path.

    Raises:
        ValueError: If ``directory`` is an address: stores are mapped into memory, which
            only files can be; ends with the command that copies it.
    """
    scheme = _SCHEME.match(directory)
    if scheme is None:
        return
    copy = {
        "gs": f"gcloud storage cp -r {directory} DIR",
        "s3": f"aws s3 cp --recursive {directory} DIR",
    }.get(
        (scheme.group(1) or scheme.group(2)).lower(),
        f"wget --recursive --no-parent --directory-prefix=DIR {directory}",
    )
    raise ValueError(
        f"data directory {directory!r} is not on this machine; expected a path that "
        f"every host can open (its own disk, NFS, gcsfuse); copy it there: {copy}"
    )


def _bucket_path(address: str) -> Any:
    """``address`` as a path of etils."""
    from etils.epath import gpath

    class BucketPath(gpath.PosixGPath):
        def absolute(self) -> Any:
            """Itself; etils 1.15 would put the current directory before it."""
            return self

    return BucketPath(address)


class _Mirror:
    """A private folder on this machine, and the folder of a bucket that it mirrors."""

    def __init__(self, folder: BucketFolder, writes: bool):
        self.folder = folder
        self.writes = writes
        self.staging, self._lock = _claim_staging(folder.address)
        self._known: dict[str, Stored] = {}
        # By name: inode, time of change and size of a file here, and its CRC.
        self._checked: dict[str, tuple[tuple[int, int, int], str]] = {}

    def fill(self) -> None:
        """Makes the private folder what the bucket's folder is."""
        stored = {n: s for n, s in self.folder.objects().items() if _is_mirrored(n)}
        for path in sorted(self.staging.rglob("*"), reverse=True):
            if path.is_dir() and not path.is_symlink():
                if not any(path.iterdir()):
                    path.rmdir()
            elif path.relative_to(self.staging).as_posix() not in stored:
                path.unlink()
        here = self._files()
        missing = [n for n, s in stored.items() if here.get(n) != s.crc32c]
        size = sum(stored[name].size for name in missing) / 1e6
        if missing:
            logging.info(
                "%s: reading %d files, %.1f MB", self.folder.address, len(missing), size
            )
        _all(self._fetch, [(name, stored[name]) for name in missing])
        self._known = stored

    def _fetch(self, work: tuple[str, Stored]) -> None:
        name, stored = work
        path = self.staging / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as temporary:
            self.folder.download(name, temporary, stored)

    def publish(self) -> None:
        """Makes the bucket's folder what the private one is.

        What vouches for other files (a head's card, results.json) is written after
        them; a card whose folder changes is removed before.
        """
        if not self.writes:
            return
        here = self._files()
        changed = {
            name
            for name, crc in here.items()
            if name not in self._known or self._known[name].crc32c != crc
        }
        gone = self._known.keys() - here.keys()
        stale = {
            card
            for card in self._known
            if pathlib.PurePosixPath(card).name in _CARDS
            and any(
                _below(name, card) and not _rank(name)[0] for name in changed | gone
            )
        }
        _all(self._remove, stale | {name for name in gone if _rank(name)[0]})
        changed |= stale & here.keys()
        _all(self._upload, [name for name in changed if not _rank(name)[0]])
        _all(self._remove, gone & self._known.keys())
        for name in sorted((name for name in changed if _rank(name)[0]), key=_rank):
            self._upload(name)

    def close(self) -> None:
        """Removes the private folder and lets another process have its place."""
        shutil.rmtree(self.staging)
        os.close(self._lock)

    def _upload(self, name: str) -> None:
        known = self._known.get(name)
        self._known[name] = self.folder.upload(self.staging / name, name, known)

    def _remove(self, name: str) -> None:
        self.folder.remove(name, self._known[name])
        del self._known[name]

    def _files(self) -> dict[str, str]:
        """CRC of each file here that is mirrored, by name."""
        found = {}
        for path in sorted(self.staging.rglob("*")):
            name = path.relative_to(self.staging).as_posix()
            if not path.is_file() or not _is_mirrored(name):
                continue
            stat = path.stat()
            key = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
            if name not in self._checked or self._checked[name][0] != key:
                self._checked[name] = (key, crc32c(path))
            found[name] = self._checked[name][1]
        return found


def _claim_staging(address: str) -> tuple[pathlib.Path, int]:
    """A folder that no other process has, and the locked file that says so.

    The system takes the lock from a killed process; the next run in the same work
    directory then takes its folder over.
    """
    digest = hashlib.sha256(address.encode()).hexdigest()[:16]
    root = cache_dir() / "workdirs" / digest
    root.mkdir(parents=True, exist_ok=True)
    for number in itertools.count():
        lock = os.open(root / f"{number}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        staging = root / str(number)
        staging.mkdir(mode=0o700, exist_ok=True)
        return staging, lock
    raise AssertionError("counting does not end")


def _is_mirrored(name: str) -> bool:
    parts = name.split("/")
    return CHECKPOINTS not in parts[:-1] and not any(p.startswith(".") for p in parts)


def _below(name: str, card: str) -> bool:
    folder = pathlib.PurePosixPath(card).parent
    return folder in pathlib.PurePosixPath(name).parents


def _rank(name: str) -> tuple[int, int, str]:
    """Place in the order of writing: 0 first; results.json of the whole is last."""
    path = pathlib.PurePosixPath(name)
    kind = 2 if path.name == _RESULTS else int(path.name in _CARDS)
    return kind, -len(path.parts), name


def _all(do: Callable[[T], None], names: Iterable[T]) -> None:
    """Calls ``do`` for each, several at a time; the first error is raised."""
    with concurrent.futures.ThreadPoolExecutor(_CONNECTIONS) as pool:
        list(pool.map(do, names))
