"""Work directories: a folder, or ``gs://BUCKET/FOLDER``.

In a bucket, checkpoints are written by orbax itself; all other files are written to a
private folder on this machine, which no other process uses, and published from there.
"""

import contextlib
import dataclasses
import os
import pathlib
import re
from collections.abc import Iterator
from typing import Any

from avemo_jax.runtime import distributed, locks
from avemo_jax.runtime.atomic_files import whole_file
from avemo_jax.runtime.bucket import BucketFolder, parse_address
from avemo_jax.runtime.bucket_sync import CHECKPOINTS, SyncedFolder

_TOKEN = ".token"
_LOCK = ".run.lock"
# The second form is that of an address that pathlib has made a path.
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+)://|(gs|s3|https?):/", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Workdir:
    """A work directory, or a folder in one.

    Attributes:
        name: Name that the user gave: a path, or ``gs://BUCKET/FOLDER``.
        local: Folder on this machine where files are written and read. Names that begin
            with a dot are not published.
        shared: The same folder as all processes of a run see it, for orbax alone; an
            absolute path of pathlib or etils.epath.
    """

    name: str
    local: pathlib.Path
    shared: pathlib.PurePath
    _synced: SyncedFolder | None = None

    @property
    def checkpoints(self) -> pathlib.PurePath:
        """Folder of orbax for a training run's checkpoints; not published or read."""
        return self.shared / CHECKPOINTS

    def child(self, name: str) -> "Workdir":
        """The folder ``name`` within this one, published together with it."""
        return Workdir(
            f"{self.name.rstrip('/')}/{name}",
            self.local / name,
            self.shared / name,
            self._synced,
        )

    def publish(self) -> None:
        """Uploads new and changed files, removes deleted ones; results.json is last.

        Only objects that this process found at the start or wrote are replaced or
        removed. Nothing is done for a local path, or where another process writes.

        Raises:
            BucketError: If the bucket refuses, or another run writes there.
        """
        if self._synced:
            self._synced.publish()

    def refresh(self) -> None:
        """Reads again what another process has published, except ``checkpoints/``.

        Nothing is done for a local path, and in the process that writes.

        Raises:
            BucketError: If the bucket cannot be read.
        """
        if self._synced and not self._synced.writes:
            self._synced.fill()

    def collect(self, path: pathlib.Path) -> None:
        """Moves a folder that orbax wrote in ``shared`` to ``path`` in ``local``.

        The folder is one that all processes write together before it is renamed. Called
        in the process that writes; nothing is done for a local path.

        Args:
            path: Folder below ``local`` that is, or lies in, one that
                :func:`avemo_jax.runtime.atomic_files.temporary_name` named.

        Raises:
            BucketError: If the bucket refuses.
        """
        if self._synced:
            self._synced.collect(path)

    def write_token(self, token: str) -> None:
        """Writes ``token`` to a file that all processes of the run can read.

        Raises:
            BucketError: If the bucket refuses.
            OSError: If the folder cannot be written.
        """
        if self._synced:
            self._synced.folder.write_text(_TOKEN, token)
            return
        self.local.mkdir(parents=True, exist_ok=True)
        with whole_file(self.local / _TOKEN) as temporary:
            temporary.write_text(token, encoding="utf-8")

    def read_token(self) -> str | None:
        """The token that :meth:`write_token` last wrote; None if none is seen.

        Raises:
            BucketError: If the bucket cannot be read.
        """
        if self._synced:
            return self._synced.folder.read_text(_TOKEN)
        path = self.local / _TOKEN
        return path.read_text(encoding="utf-8") if path.is_file() else None

    def remove_token(self) -> None:
        """Removes the token of a local folder; in a bucket the next one replaces it."""
        if not self._synced:
            (self.local / _TOKEN).unlink(missing_ok=True)

    def close(self) -> None:
        """Removes the private folder, if there is one; nothing is published."""
        if self._synced:
            self._synced.close()


@contextlib.contextmanager
def claimed(workdir: Workdir) -> Iterator[None]:
    """Hold a work directory for one run alone; of several processes the first does.

    The lock ends with the process, killed or not. In a bucket it is that of the private
    folder; another run that publishes there is found by the versions of the objects.
    A folder that was made for it and stays empty is removed.

    Args:
        workdir: The work directory, opened.

    Raises:
        HeldError: If another process holds it; the message names that process.
        ProcessError: In the other processes, if the first cannot hold it.
        OSError: If the folder cannot be made.
    """
    local = workdir.local.absolute()
    made: list[pathlib.Path] = []
    opened = contextlib.ExitStack()

    def hold() -> None:
        made.extend(path for path in (local, *local.parents) if not path.exists())
        local.mkdir(parents=True, exist_ok=True)
        opened.enter_context(locks.held(local / _LOCK, what=workdir.name))

    try:
        with opened:
            distributed.on_first(hold)
            yield
    finally:
        for path in made:
            with contextlib.suppress(OSError):  # not empty, as a rule
                path.rmdir()


def open_workdir(name: str | pathlib.Path, *, writes: bool = True) -> Workdir:
    """The work directory at a local path or at ``gs://BUCKET/FOLDER``.

    Nothing is made at a local path. From a bucket all files but checkpoints are read to
    a private folder in the cache directory.

    Args:
        name: Name of the work directory; for one in a bucket as text, not as a path.
        writes: Whether this process publishes; only one of several may.

    Raises:
        ImportError: If it is in a bucket and the extra ``gcs`` is not installed.
        ValueError: If ``name`` is neither a path nor in a bucket.
        BucketError: If there are no credentials, no such bucket, or no right to read
            it or, with ``writes``, to write.
    """
    text = str(name)
    scheme = _SCHEME.match(text)
    if scheme is None:
        path = pathlib.Path(name)
        return Workdir(text, path, path.absolute())
    if not text.startswith("gs://"):
        raise ValueError(
            f"{text!r} cannot be a work directory; expected the path of a folder, or "
            "gs://BUCKET/FOLDER; name one of these"
        )
    parse_address(text)
    # etils would use TensorFlow for gs:// if that is installed.
    os.environ.setdefault("EPATH_USE_TF", "false")
    folder = BucketFolder(text)
    if writes:
        folder.check_writable()
    synced = SyncedFolder(folder, writes)
    try:
        synced.fill()
    except BaseException:
        synced.close()
        raise
    return Workdir(folder.address, synced.staging, _bucket_path(folder.address), synced)


def refuse_remote_data(directory: str) -> None:
    """Check that a data directory is a local path, since stores are memory-mapped.

    Raises:
        ValueError: If ``directory`` is an address; the message ends with the command
            that copies it.
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
            """The path itself; etils 1.15 would put the current directory before it."""
            return self

    return BucketPath(address)
