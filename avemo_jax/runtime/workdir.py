"""Work directories: a folder, or ``gs://BUCKET/FOLDER``.

Of one in a bucket, checkpoints are written there by orbax itself; all other files are
written to a folder on this machine that no other process has, and published from there.
"""

import dataclasses
import os
import pathlib
import re
from typing import Any

from avemo_jax.runtime.atomic_files import whole_file
from avemo_jax.runtime.bucket import BucketFolder, parse_address
from avemo_jax.runtime.bucket_sync import CHECKPOINTS, SyncedFolder

_TOKEN = ".token"
# Made a path by pathlib, an address keeps one of its slashes.
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+)://|(gs|s3|https?):/", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Workdir:
    """A work directory, or a folder in one.

    Attributes:
        name: As the user knows it: a path, or ``gs://BUCKET/FOLDER``.
        local: Where files are written and read. Names that begin with a dot are not
            published.
        shared: The same folder as all processes of a run see it; absolute, of pathlib
            or etils.epath; for orbax alone.
    """

    name: str
    local: pathlib.Path
    shared: pathlib.PurePath
    _mirror: SyncedFolder | None = None

    @property
    def checkpoints(self) -> pathlib.PurePath:
        """Where orbax keeps those of a training run; neither published nor read."""
        return self.shared / CHECKPOINTS

    def child(self, name: str) -> "Workdir":
        """The folder ``name`` in it, published with the whole."""
        return Workdir(
            f"{self.name.rstrip('/')}/{name}",
            self.local / name,
            self.shared / name,
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

    def collect(self, path: pathlib.Path) -> None:
        """Moves to ``path`` what orbax wrote to its place in ``shared``.

        For a folder that all processes write together before it gets its name; called
        in the process that writes. Does nothing for a local path.

        Args:
            path: Beneath ``local``; a folder on the way is named ``.NAME.NUMBER.tmp``.

        Raises:
            BucketError: If the bucket refuses.
        """
        if self._mirror:
            self._mirror.collect(path)

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

    def remove_token(self) -> None:
        """Removes it from a folder; in a bucket it stays, and the next replaces it."""
        if not self._mirror:
            (self.local / _TOKEN).unlink(missing_ok=True)

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
        return Workdir(text, path, path.absolute())
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
    mirror = SyncedFolder(folder, writes)
    try:
        mirror.fill()
    except BaseException:
        mirror.close()
        raise
    return Workdir(folder.address, mirror.staging, _bucket_path(folder.address), mirror)


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
