"""A folder of a bucket, and a private folder on this machine with the same files."""

import concurrent.futures
import contextlib
import hashlib
import itertools
import pathlib
import shutil
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from absl import logging

from avemo_jax.runtime.atomic_files import LEFTOVER, whole_file
from avemo_jax.runtime.bucket import BucketFolder, Stored, crc32c
from avemo_jax.runtime.cache import cache_dir
from avemo_jax.runtime.locks import first_held

CHECKPOINTS = "checkpoints"
# A card means that the folder that it stands in, and those below, are whole.
_CARDS = ("head.json", "blend.json")
_RESULTS = "results.json"
_CONNECTIONS = 8

T = TypeVar("T")


class SyncedFolder:
    """A private folder on this machine, kept equal to a folder of a bucket."""

    def __init__(self, folder: BucketFolder, writes: bool):
        """Takes a private folder; nothing is read yet.

        Args:
            folder: The folder of the bucket.
            writes: Whether this process publishes.
        """
        self.folder = folder
        self.writes = writes
        self._stack = contextlib.ExitStack()
        self.staging = self._stack.enter_context(_held_staging(folder.address))
        self._known: dict[str, Stored] = {}
        # Inode, time of change and size of each local file, and its CRC, by name.
        self._checked: dict[str, tuple[tuple[int, int, int], str]] = {}

    def fill(self) -> None:
        """Makes the private folder equal to the bucket's folder."""
        found = self.folder.objects()
        half = {name: s for name, s in found.items() if _is_half(name)}
        if self.writes and half:
            logging.info(
                "%s: removing %d objects that a killed run left half written",
                self.folder.address,
                len(half),
            )
            self._discard(half)
        stored = {name: s for name, s in found.items() if _is_synced(name)}
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
        """Makes the bucket's folder equal to the private one.

        A file that says that others are whole (a head's card, results.json) is written
        after them; a card is removed before the files of its folder change.
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

    def collect(self, path: pathlib.Path) -> None:
        """Moves a folder that is half written from the bucket to ``path``."""
        prefix = f"{path.relative_to(self.staging).as_posix()}/"
        found = {n: s for n, s in self.folder.objects(prefix).items() if _is_half(n)}
        _all(self._fetch, found.items())
        self._discard(found)

    def _discard(self, found: dict[str, Stored]) -> None:
        _all(lambda work: self.folder.remove(*work), found.items())

    def close(self) -> None:
        """Removes the private folder and frees its name for another process."""
        self._stack.close()

    def _upload(self, name: str) -> None:
        known = self._known.get(name)
        self._known[name] = self.folder.upload(self.staging / name, name, known)

    def _remove(self, name: str) -> None:
        self.folder.remove(name, self._known[name])
        del self._known[name]

    def _files(self) -> dict[str, str]:
        """CRC of each local file that belongs in the bucket, by name."""
        found = {}
        for path in sorted(self.staging.rglob("*")):
            name = path.relative_to(self.staging).as_posix()
            if not path.is_file() or not _is_synced(name):
                continue
            stat = path.stat()
            version = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
            if name not in self._checked or self._checked[name][0] != version:
                self._checked[name] = (version, crc32c(path))
            found[name] = self._checked[name][1]
        return found


@contextlib.contextmanager
def _held_staging(address: str) -> Iterator[pathlib.Path]:
    """A folder that no other process uses; removed at the end.

    A killed process loses its lock; the next run in the same work directory then takes
    over its folder.
    """
    digest = hashlib.sha256(address.encode()).hexdigest()[:16]
    root = cache_dir() / "workdirs" / digest
    root.mkdir(parents=True, exist_ok=True)
    files = (root / f"{number}.lock" for number in itertools.count())
    with first_held(files, what=str(root)) as lock:
        staging = lock.with_suffix("")
        staging.mkdir(mode=0o700, exist_ok=True)
        yield staging
        shutil.rmtree(staging)


def _is_synced(name: str) -> bool:
    parts = name.split("/")
    return CHECKPOINTS not in parts[:-1] and not any(p.startswith(".") for p in parts)


def _is_half(name: str) -> bool:
    parts = name.split("/")[:-1]
    return CHECKPOINTS not in parts and any(LEFTOVER.fullmatch(part) for part in parts)


def _below(name: str, card: str) -> bool:
    folder = pathlib.PurePosixPath(card).parent
    return folder in pathlib.PurePosixPath(name).parents


def _rank(name: str) -> tuple[int, int, str]:
    """Sorts names by when they are written: cards after other files, results last."""
    path = pathlib.PurePosixPath(name)
    kind = 2 if path.name == _RESULTS else int(path.name in _CARDS)
    return kind, -len(path.parts), name


def _all(do: Callable[[T], None], names: Iterable[T]) -> None:
    """Calls ``do`` for each of ``names``, several at a time; raises the first error."""
    with concurrent.futures.ThreadPoolExecutor(_CONNECTIONS) as pool:
        list(pool.map(do, names))
