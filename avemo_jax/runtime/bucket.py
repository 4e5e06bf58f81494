"""A folder of a Google Cloud Storage bucket; the only module to import google.cloud.

Objects appear whole or not at all. Each write names the generation that it replaces, so
that two runs in one folder end with an error and not with a mixture of both.

Own code: etils.epath 1.15, which orbax writes through, knows no generations (gcsfs
under it only "none yet"), so that the second of two runs would replace the files of the
first, and a write whose answer was lost could not be told from another run's.
"""

import base64
import contextlib
import dataclasses
import pathlib
import re
from collections.abc import Iterator
from typing import Any, NoReturn

EXTRA = 'pip install "avemo_jax[gcs]"'
# Roles that a run needs; orbax reads the bucket's metadata when it removes checkpoints.
_ROLES = "roles/storage.objectAdmin and roles/storage.legacyBucketReader"
_TIMEOUT = 60.0  # seconds for one request without an answer
_BLOCK = 1 << 20


class BucketError(ValueError):
    """A bucket that cannot be used, or does not do what is asked."""


@dataclasses.dataclass(frozen=True)
class Stored:
    """An object of a bucket, as the bucket describes it.

    Attributes:
        crc32c: CRC32C of its bytes, big-endian, base64.
        generation: Number that changes with each write.
        size: Number of bytes.
    """

    crc32c: str
    generation: int
    size: int


def parse_address(address: str) -> tuple[str, str]:
    """Bucket and folder of ``gs://BUCKET/FOLDER``.

    Raises:
        ValueError: If either is missing, or the folder's name is no plain path.
    """
    bucket, _, folder = address.removeprefix("gs://").partition("/")
    folder = folder.rstrip("/")
    if not address.startswith("gs://") or not bucket or not folder:
        missing = "bucket" if not bucket else "folder"
        raise ValueError(
            f"{address!r} names no {missing}; expected gs://BUCKET/FOLDER; name both, "
            "e.g. gs://my-bucket/runs/expr"
        )
    if {"", ".", ".."} & set(folder.split("/")) or re.search(r"[\x00-\x1f?#*]", folder):
        raise ValueError(
            f"{address!r} is no plain path: it has an empty part, '.', '..', '?', '#' "
            "or '*'; expected gs://BUCKET/FOLDER; name another folder"
        )
    return bucket, folder


def crc32c(path: pathlib.Path) -> str:
    """CRC32C of a file, big-endian, base64."""
    import google_crc32c

    checksum = google_crc32c.Checksum()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            checksum.update(block)
    return base64.b64encode(checksum.digest()).decode()


class BucketFolder:
    """The objects below ``gs://BUCKET/FOLDER/``, by their names within the folder."""

    def __init__(self, address: str):
        """Opens the bucket, which must exist.

        Raises:
            ImportError: If the extra ``gcs`` is not installed.
            ValueError: If ``address`` is not of the form ``gs://BUCKET/FOLDER``.
            BucketError: If there are no credentials, no such bucket, or no right.
        """
        name, folder = parse_address(address)
        try:
            import gcsfs  # noqa: F401 - orbax writes through it
            from google.cloud import storage
        except ImportError as error:
            raise ImportError(
                f"{address}: {error}; expected the packages for Google Cloud Storage; "
                f"install them: {EXTRA}"
            ) from error
        self.address = f"gs://{name}/{folder}"
        self._prefix = f"{folder}/"
        with self._in_words("open"):
            try:
                client = storage.Client()
            except OSError as error:  # raised if the project is not known
                raise BucketError(
                    f"{self.address}: {error}; expected the name of a Google Cloud "
                    "project; set GOOGLE_CLOUD_PROJECT"
                ) from error
            self._bucket = client.get_bucket(name, timeout=_TIMEOUT)

    def objects(self, prefix: str = "") -> dict[str, Stored]:
        """All objects whose names begin with ``prefix``, sorted, without folders.

        Raises:
            BucketError: If the bucket cannot be read, or no file can have a name.
        """
        found = {}
        with self._in_words("list"):
            for blob in self._bucket.list_blobs(
                prefix=self._prefix + prefix, timeout=_TIMEOUT
            ):
                if blob.name.endswith("/"):
                    continue
                found[blob.name.removeprefix(self._prefix)] = _stored(blob)
        for name in found:
            parts = name.split("/")
            above = {"/".join(parts[:i]) for i in range(1, len(parts))}
            if {"", ".", ".."} & set(parts) or above & found.keys() or "\0" in name:
                raise BucketError(
                    f"{self.address}/{name}: no file can have this name here; expected "
                    "the work directory of a run; remove the object, or name another "
                    "work directory"
                )
        return dict(sorted(found.items()))

    def check_writable(self) -> None:
        """Check that objects can be written, by writing and removing one.

        Raises:
            BucketError: If there is no right to write.
        """
        blob = self._blob(".write_check")
        with self._in_words("write"):
            blob.upload_from_string(b"", timeout=_TIMEOUT)
            blob.delete(timeout=_TIMEOUT)

    def download(self, name: str, path: pathlib.Path, stored: Stored) -> None:
        """Writes the object ``name`` to ``path`` and checks its bytes.

        Raises:
            BucketError: If the object is not ``stored`` any more, or cannot be read.
        """
        from google.api_core.exceptions import NotFound

        with self._in_words(f"read {name} from"):
            try:
                self._blob(name).download_to_filename(str(path), timeout=_TIMEOUT)
            except NotFound:
                self._refuse_two_writers(name)
        if crc32c(path) != stored.crc32c:
            self._refuse_two_writers(name)

    def upload(self, path: pathlib.Path, name: str, known: Stored | None) -> Stored:
        """Writes the file ``path`` as the object ``name``.

        Args:
            path: Path of the file.
            name: Name of the object.
            known: The object that it replaces; None: there is none yet.

        Raises:
            BucketError: If another object has the name, or it cannot be written.
        """
        from google.api_core.exceptions import PreconditionFailed

        blob = self._blob(name)
        with self._in_words(f"write {name} to"):
            try:
                blob.upload_from_filename(
                    str(path),
                    if_generation_match=known.generation if known else 0,
                    checksum="crc32c",
                    timeout=_TIMEOUT,
                )
            except PreconditionFailed:
                # It may be this very file, if the answer to a first attempt was lost.
                blob = self._bucket.get_blob(blob.name, timeout=_TIMEOUT)
                if blob is None or blob.crc32c != crc32c(path):
                    self._refuse_two_writers(name)
            return _stored(blob)

    def remove(self, name: str, known: Stored) -> None:
        """Removes the object ``name``; it is no error if it is gone.

        Raises:
            BucketError: If another object has the name, or there is no right to.
        """
        from google.api_core.exceptions import NotFound, PreconditionFailed

        with self._in_words(f"remove {name} from"):
            try:
                self._blob(name).delete(
                    if_generation_match=known.generation, timeout=_TIMEOUT
                )
            except PreconditionFailed:
                self._refuse_two_writers(name)
            except NotFound:
                return

    def write_text(self, name: str, text: str) -> None:
        """Writes an object, whatever had its name before.

        Raises:
            BucketError: If the object cannot be written.
        """
        with self._in_words(f"write {name} to"):
            self._blob(name).upload_from_string(text.encode(), timeout=_TIMEOUT)

    def read_text(self, name: str) -> str | None:
        """The text of an object; None if there is no such object.

        Raises:
            BucketError: If the bucket cannot be read.
        """
        from google.api_core.exceptions import NotFound

        with self._in_words(f"read {name} from"):
            try:
                return self._blob(name).download_as_bytes(timeout=_TIMEOUT).decode()
            except NotFound:
                return None

    def _blob(self, name: str) -> Any:
        return self._bucket.blob(self._prefix + name)

    def _refuse_two_writers(self, name: str) -> NoReturn:
        raise BucketError(
            f"{self.address}/{name} was changed by another process meanwhile; expected "
            "one run at a time in a work directory; stop the other one, then give the "
            "same command again, or name another work directory"
        )

    @contextlib.contextmanager
    def _in_words(self, doing: str) -> Iterator[None]:
        """Turn errors of Google's libraries into one that says what to do.

        Raises:
            BucketError: Instead of any of their errors.
        """
        import requests
        from google.api_core import exceptions as api
        from google.auth import exceptions as auth
        from google.cloud.storage import exceptions as storage

        bucket = self.address.split("/")[2]
        try:
            yield
        except (auth.DefaultCredentialsError, auth.RefreshError) as error:
            raise BucketError(
                f"{self.address}: no credentials ({_line(error)}); expected those of "
                "an account that may use the bucket; run: gcloud auth "
                "application-default login, or name a key file in "
                "GOOGLE_APPLICATION_CREDENTIALS"
            ) from error
        except api.NotFound as error:
            raise BucketError(
                f"{self.address}: there is no bucket {bucket!r} ({_line(error)}); "
                "expected one that exists; make it: gcloud storage buckets create "
                f"gs://{bucket}, or correct the name"
            ) from error
        except (api.Forbidden, api.Unauthorized) as error:
            raise BucketError(
                f"no right to {doing} {self.address} ({_line(error)}); expected an "
                f"account with {_ROLES} on the bucket; grant them: gcloud storage "
                f"buckets add-iam-policy-binding gs://{bucket} --member=... --role=..."
            ) from error
        except (
            api.GoogleAPIError,
            auth.GoogleAuthError,
            requests.RequestException,
            storage.DataCorruption,
            storage.InvalidResponse,
        ) as error:
            raise BucketError(
                f"could not {doing} {self.address} ({_line(error)}); expected an "
                "answer of Google Cloud Storage; look at the network, then give the "
                "same command again"
            ) from error


def _stored(blob: Any) -> Stored:
    return Stored(blob.crc32c, int(blob.generation), int(blob.size))


def _line(error: Exception) -> str:
    """Name and first line of an error, at most 300 characters."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:300]
