"""Published files: downloaded, checked, and only then given their name.

Own code, since no library goes on with a large file where a killed run left it: pooch
1.9 never asks for a part of a file, and locks nothing; huggingface_hub 2.4 takes files
of its Hub alone, begins each anew in every process, and checks length without sha256.
"""

import contextlib
import os
import pathlib
import re
from collections.abc import Iterator

from absl import logging

from avemo_jax.convert.checksums import digests
from avemo_jax.convert.transfer import (
    DownloadError,
    NoRoomError,
    PartialFile,
    Patience,
    no_room,
    transfer,
)
from avemo_jax.extractors.published import PublishedFile
from avemo_jax.runtime import locks
from avemo_jax.runtime.atomic_files import sync_folder, whole_file
from avemo_jax.runtime.progress import progress_bar


class ChecksumError(DownloadError):
    """A file that is not the published one."""


def verify(
    path: str | os.PathLike[str],
    source: PublishedFile,
    *,
    pins: str | os.PathLike[str] | None = None,
) -> str:
    """Check a file against the published checksums; its sha256.

    Where no whole sha256 is published, that of the first file that came is kept in
    ``NAME.sha256``, and every later one must have it.

    Args:
        path: The file.
        source: What it should be.
        pins: Folder of the sha256 that are kept; None: none is kept or looked for.

    Raises:
        ChecksumError: If it is not the published file, or another than at first.
        DownloadError: If it cannot be read.
    """
    path = pathlib.Path(path)
    sha256, git_blob = _digests(path)
    record = None
    if pins is not None and not source.whole:
        record = pathlib.Path(pins) / f"{source.file}.sha256"
    faults = [
        f"{kind} {found} (expected {expected}{'...' * (len(expected) < len(found))})"
        for kind, found, expected in (
            ("sha256", sha256, source.sha256.lower()),
            ("git blob", git_blob, source.git_blob.lower()),
        )
        if not found.startswith(expected)
    ]
    if faults:
        raise ChecksumError(
            f"{path} has {', '.join(faults)}; it is not {source.file} as published at "
            f"{source.url}"
        )
    if record is None:
        return sha256
    if record.exists():
        pinned = _pinned(record)
        if pinned != sha256:
            raise ChecksumError(
                f"{path} has sha256 {sha256} (expected {pinned}, as {record} has it "
                f"from the first time); {source.file} is another file now than it was "
                f"then, at {source.url}: if its makers say that they replaced it, "
                f"remove {record.name}"
            )
        return sha256
    logging.warning(
        "%s: no whole sha256 of it is published; it is %s, which is kept in %s: "
        "another file will be refused",
        path,
        sha256,
        record,
    )
    record.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(record) as temporary:  # in the form that sha256sum --check reads
        temporary.write_text(
            f"{sha256}  {source.file}\n", encoding="utf-8", newline="\n"
        )
    return sha256


def _pinned(record: pathlib.Path) -> str:
    """The sha256 that was kept of a file.

    Raises:
        DownloadError: If the record holds none.
    """
    text = record.read_text(encoding="utf-8", errors="replace").partition(" ")[0]
    if not re.fullmatch("[0-9a-f]{64}", text):
        raise DownloadError(
            f"{record}: {text[:80]!r}; expected the sha256 of {record.stem}; remove it "
            "to take the file as it is"
        )
    return text


def download(
    source: PublishedFile,
    directory: str | os.PathLike[str],
    *,
    show_progress: bool = True,
    patience: Patience | None = None,
    allow_loopback: bool = False,
) -> pathlib.Path:
    """Path of the published file in ``directory``: checked, downloaded if missing.

    The download grows in ``NAME.part``, which one process at a time holds, and which
    the next process or call continues. Companions are not downloaded.

    Args:
        source: The published file.
        directory: Folder of the file; made if missing.
        show_progress: Whether progress is shown.
        patience: How long to wait for the server; None: the default.
        allow_loopback: Whether http is allowed for this machine itself, for tests.

    Raises:
        ChecksumError: If the file that came, or was there, is another one.
        DownloadError: If the file cannot be downloaded or written.
        ValueError: If ``source.file`` is not a plain name.
    """
    if source.file in ("", "..") or re.search(r"[/\\:]", source.file):
        raise ValueError(f"file {source.file!r} of a source; expected a plain name")
    target = pathlib.Path(directory) / source.file
    try:
        if os.path.lexists(target):
            return _taken(target, source)
        target.parent.mkdir(parents=True, exist_ok=True)
        path = target.with_name(f"{target.name}.part")
        lock = path.with_name(f"{path.name}.lock")
        with locks.held(lock, what=f"the download of {target}", wait=True):
            if os.path.lexists(target):  # another process was first
                return _taken(target, source)
            with _opened(path) as part:
                _fill(part, source, target, show_progress, patience, allow_loopback)
            _finish(part, source, target)
    except OSError as error:
        raise DownloadError(
            f"{error.filename or target}: {error.strerror or error}; expected a folder "
            "that can be written; correct its rights, or set AVEMO_CACHE to another"
        ) from error
    return target


def _taken(target: pathlib.Path, source: PublishedFile) -> pathlib.Path:
    """The path of a file that is there already, checked."""
    try:
        verify(target, source, pins=target.parent)
    except ChecksumError as error:
        raise ChecksumError(
            f"{error}; remove it to download it again, or put the right file in its "
            "place"
        ) from error
    return target


@contextlib.contextmanager
def _opened(path: pathlib.Path) -> Iterator[PartialFile]:
    """The file at ``path``, made if missing; if it stays empty, an error removes it."""
    part = PartialFile(locks.open_for_writing(path), path)
    whole = False
    try:
        yield part
        whole = True
    finally:
        is_waste = not (whole or part.size)
        os.close(part.descriptor)
        if is_waste:
            _remove(part)


def _fill(
    part: PartialFile,
    source: PublishedFile,
    target: pathlib.Path,
    show_progress: bool,
    patience: Patience | None,
    allow_loopback: bool,
) -> None:
    """Download all bytes of ``source`` into ``part``, and sync them to the disk."""
    with progress_bar(
        None,
        source.file,
        "B",
        quiet=not show_progress,
        done=part.size,
        in_bytes=True,
    ) as bar:
        try:
            told = transfer(
                source.url,
                part,
                patience or Patience(),
                bar=bar,
                allow_loopback=allow_loopback,
            )
        except NoRoomError:
            raise
        except DownloadError as error:
            raise type(error)(
                f"{source.url}: {error}. Try again later, or get the file by another "
                f"way and put it at {target}"
            ) from error
    if not (told or source.checkable):
        part.clear()
        raise DownloadError(
            f"{source.url}: neither a length nor a checksum of it is known, so that a "
            f"cut file would look whole; get it by another way and put it at {target}"
        )
    try:
        os.fsync(part.descriptor)
    except OSError as error:
        raise no_room(part, error.strerror or str(error)) from error


def _finish(part: PartialFile, source: PublishedFile, target: pathlib.Path) -> None:
    """Check the bytes, and give the file its name."""
    try:
        verify(part.path, source, pins=target.parent)
    except ChecksumError as error:
        _remove(part)
        raise ChecksumError(
            f"{error}; it was removed. Try again; if it comes again, the published "
            "file has changed or the network changes it: get it by another way and "
            f"put it at {target}"
        ) from error
    os.replace(part.path, target)
    part.state_path.unlink(missing_ok=True)
    sync_folder(target.parent)


def _remove(part: PartialFile) -> None:
    """Remove the file and what is kept beside it."""
    part.state_path.unlink(missing_ok=True)
    part.path.unlink()


def _digests(path: pathlib.Path) -> tuple[str, str]:
    try:
        return digests(path)
    except OSError as error:
        raise DownloadError(
            f"{path}: {error.strerror or error}; expected a file that can be read; "
            "correct the path or its rights"
        ) from error
