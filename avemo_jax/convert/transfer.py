"""Download of an address into an open file: over https, resumed, tried again."""

import dataclasses
import errno
import os
import pathlib
import re
import shutil
import socket
import time
import urllib.parse
from typing import Any

import requests
from absl import logging
from tqdm import tqdm

from avemo_jax.runtime.atomic_files import write_json
from avemo_jax.runtime.json_files import read_json

_MIB = 2**20
_CHUNK = 64 * 2**10
_REDIRECTS = (301, 302, 303, 307, 308)
_FOR_NOW = (408, 425, 429)  # these and every 5xx may succeed another time
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NOT_REACHED = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ECONNREFUSED)
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class DownloadError(RuntimeError):
    """A file that cannot be downloaded, or is not the one that was published."""


class NoNetworkError(DownloadError):
    """A host that is not reached: no network, or a wall before it."""


class NoRoomError(DownloadError):
    """A disk that is full."""


@dataclasses.dataclass(frozen=True)
class Patience:
    """How long to wait for a server, and how often to ask.

    Attributes:
        attempts: Attempts in a row without progress after which it is given up.
        reaching: The same while the host is not even reached, as without a network.
        progress_bytes: New bytes that count as progress.
        backoff_s: Pause after the first failure; doubled after each, up to ``pause_s``.
        pause_s: Longest pause, even if the server asks for more (Retry-After).
        connect_s: Longest wait for a connection.
        read_s: Longest wait for the next byte.
        redirects: Most redirects that are followed.
        max_bytes: Most bytes of a file; a server that sends more is cut off.
    """

    attempts: int = 5
    reaching: int = 5
    progress_bytes: int = _MIB
    backoff_s: float = 0.5
    pause_s: float = 30.0
    connect_s: float = 10.0
    read_s: float = 30.0
    redirects: int = 10
    max_bytes: int = 4 * 2**30


@dataclasses.dataclass
class PartialFile:
    """A file that grows, held by this process alone.

    Attributes:
        descriptor: Descriptor of the file, open for reading and writing.
        path: Path of the file.
    """

    descriptor: int
    path: pathlib.Path

    @property
    def size(self) -> int:
        """Number of bytes so far."""
        return os.fstat(self.descriptor).st_size

    @property
    def state_path(self) -> pathlib.Path:
        """File that keeps which file of which server the bytes belong to."""
        return self.path.with_name(f"{self.path.name}.json")

    def begin(self, state: "_State") -> None:
        """Starts anew, without a byte, and writes the state to its file."""
        self.clear()
        write_json(self.state_path, dataclasses.asdict(state))

    def clear(self) -> None:
        """Drops all bytes."""
        os.ftruncate(self.descriptor, 0)

    def append(self, data: bytes) -> None:
        """Appends ``data``."""
        os.lseek(self.descriptor, 0, os.SEEK_END)
        view = memoryview(data)
        while view:
            view = view[os.write(self.descriptor, view) :]

    def state(self, url: str) -> "_State | None":
        """The state of the bytes, if they are of ``url`` and can be resumed."""
        if not self.size:
            return None
        try:
            state: _State = read_json(self.state_path, _State, remedy="not resumed")
        except (OSError, ValueError) as error:
            logging.info("%s: not resumed (%s)", self.path, error)
            return None
        return state if state.url == url and state.resumable else None


@dataclasses.dataclass(frozen=True)
class _State:
    """The file of a server that bytes belong to: address, validators, length."""

    url: str
    etag: str = ""
    modified: str = ""
    total: int | None = None

    @property
    def validator(self) -> str:
        """The value for If-Range, which takes no weak ETag; "" if there is none."""
        strong = "" if self.etag.startswith("W/") else self.etag
        return strong or self.modified

    @property
    def resumable(self) -> bool:
        """Whether the server can tell a changed file from this one."""
        return bool(self.validator)


class _Again(Exception):
    """A failure that may not come again.

    Attributes:
        rest_s: The pause that a server asks for.
        reached: Whether the host was reached.
    """

    def __init__(self, reason: str, rest_s: float = 0.0, *, reached: bool = True):
        super().__init__(reason)
        self.rest_s = rest_s
        self.reached = reached


def transfer(
    url: str,
    part: PartialFile,
    patience: Patience,
    *,
    bar: "tqdm[Any]",
    allow_loopback: bool = False,
) -> bool:
    """Download the file at ``url`` into ``part``, after the bytes it has already.

    Args:
        url: Address over https.
        part: File to fill; its bytes are kept if the server says that they are of the
            same file.
        patience: How long to wait for the server, and how often to ask.
        bar: Progress bar that shows the bytes.
        allow_loopback: Whether http is allowed for this machine itself, for tests.

    Returns:
        Whether the server told the end, by length or chunks. If it did not, a cut
        connection looks like the end.

    Raises:
        DownloadError: If the file cannot be downloaded.
        NoNetworkError: If the host is not reached.
        NoRoomError: If the disk is full.
    """
    failures, farthest = 0, part.size
    with requests.Session() as session:
        while True:
            try:
                return _attempt(session, url, part, patience, bar, allow_loopback)
            except _Again as problem:
                if part.size >= farthest + patience.progress_bytes:
                    failures, farthest = 0, part.size
                failures += 1
                most = patience.attempts
                if not problem.reached:
                    most = min(most, patience.reaching)
                if failures >= most:
                    kind = DownloadError if problem.reached else NoNetworkError
                    often = f", {failures} times without progress" * (failures > 1)
                    raise kind(f"{problem}{often}") from problem
                pause = min(
                    max(patience.backoff_s * 2 ** (failures - 1), problem.rest_s),
                    patience.pause_s,
                )
                logging.warning("%s: %s; again in %.1f s", url, problem, pause)
                time.sleep(pause)
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise
                raise no_room(part, error.strerror or str(error)) from error


def no_room(part: PartialFile, reason: str) -> NoRoomError:
    """The error of a full disk."""
    return NoRoomError(
        f"{part.path}: no room after {part.size} bytes ({reason}); make room, or set "
        "AVEMO_CACHE to a folder on another disk; the same command goes on where it "
        "stopped"
    )


def _attempt(
    session: requests.Session,
    url: str,
    part: PartialFile,
    patience: Patience,
    bar: "tqdm[Any]",
    allow_loopback: bool,
) -> bool:
    state = part.state(url)
    if state and state.total is not None and state.total == part.size:
        return True
    headers = {"Accept-Encoding": "identity"}
    if state:
        headers |= {"Range": f"bytes={part.size}-", "If-Range": state.validator}
    try:
        response = _get(session, url, headers, patience, allow_loopback)
        with response:
            _check_status(response, part)
            if response.status_code == 206:
                total = _check_continues(response, part, state)
            else:
                total = _length(response)
                if total is not None and total > patience.max_bytes:
                    raise DownloadError(f"{total} bytes; expected no such large file")
                part.begin(_new_state(url, response, total))
            _copy(response, part, total, patience, bar)
            chunked = "chunked" in response.headers.get("Transfer-Encoding", "")
            return total is not None or chunked
    except (
        requests.ConnectionError,
        requests.Timeout,
        requests.exceptions.ChunkedEncodingError,
    ) as error:
        raise _Again(_reason(error), reached=_is_reached(error)) from error
    except requests.RequestException as error:
        raise DownloadError(_reason(error)) from error


def _get(
    session: requests.Session,
    url: str,
    headers: dict[str, str],
    patience: Patience,
    allow_loopback: bool,
) -> requests.Response:
    """The answer at the end of the redirects, which may not leave https."""
    here = url
    for _ in range(patience.redirects + 1):
        parts = urllib.parse.urlsplit(here)
        loopback = parts.scheme == "http" and parts.hostname in _LOOPBACK
        if parts.scheme != "https" and not (loopback and allow_loopback):
            on_the_way = "" if here == url else f", where {url} redirects to"
            raise DownloadError(
                f"{here}{on_the_way}; expected an address over https, for anybody on "
                "the way can change what comes otherwise"
            )
        response = session.get(
            here,
            headers=headers,
            stream=True,
            allow_redirects=False,
            timeout=(patience.connect_s, patience.read_s),
        )
        to = response.headers.get("Location")
        if response.status_code not in _REDIRECTS or not to:
            return response
        response.close()
        allow_loopback = allow_loopback and parts.scheme == "http"
        here = urllib.parse.urljoin(here, to)
    raise DownloadError(f"over {patience.redirects} redirects; expected an end of them")


def _check_status(response: requests.Response, part: PartialFile) -> None:
    status = response.status_code
    said = f"the server answers {status} {response.reason}"
    if status == 416:
        part.clear()
        raise _Again(f"{said}: from the start")
    if status in _FOR_NOW or status >= 500:
        wish = response.headers.get("Retry-After", "")
        raise _Again(said, float(wish) if re.fullmatch(r"\d{1,6}", wish) else 0.0)
    if status not in (200, 206):
        raise DownloadError(f"{said}; expected the file")
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding != "identity":
        raise DownloadError(f"sent as {encoding!r}; expected its bytes as they are")
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise DownloadError(
            "the server answers with a web page; expected the file (is there a login "
            "page before the network?)"
        )


def _check_continues(
    response: requests.Response, part: PartialFile, state: _State | None
) -> int | None:
    """The total length, if the answer continues the bytes that are there.

    Raises:
        _Again: If it does not; the bytes are dropped.
    """
    text = response.headers.get("Content-Range", "")
    match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", text)
    etag = response.headers.get("ETag", "")
    if (
        state
        and match
        and int(match[1]) == part.size
        and int(match[2]) + 1 == int(match[3])
        and state.total in (None, int(match[3]))
        and (not state.etag or not etag or etag == state.etag)
    ):
        return int(match[3])
    part.clear()
    raise _Again(f"the server sends another part ({text!r}): from the start")


def _length(response: requests.Response) -> int | None:
    text = response.headers.get("Content-Length", "")
    return int(text) if re.fullmatch(r"\d{1,18}", text) else None


def _new_state(url: str, response: requests.Response, total: int | None) -> _State:
    return _State(
        url=url,
        etag=response.headers.get("ETag", ""),
        modified=response.headers.get("Last-Modified", ""),
        total=total,
    )


def _copy(
    response: requests.Response,
    part: PartialFile,
    total: int | None,
    patience: Patience,
    bar: "tqdm[Any]",
) -> None:
    bar.total = total
    free = shutil.disk_usage(part.path.parent).free
    if total is not None and total - part.size > free:
        raise no_room(part, f"{total} bytes in all")
    for chunk in response.iter_content(_CHUNK):
        part.append(chunk)
        bar.update(part.size - bar.n)
        if part.size > (patience.max_bytes if total is None else total):
            part.clear()
            raise _Again(f"over {total or patience.max_bytes} bytes")
    if total is not None and part.size < total:
        raise _Again(f"cut off after {part.size} of {total} bytes")


def _reason(error: BaseException) -> str:
    """The innermost cause of a library's error, in words."""
    cause = _innermost(error)
    return f"{type(cause).__name__}: {cause}"


def _innermost(error: BaseException) -> BaseException:
    while inner := error.__cause__ or error.__context__:
        error = inner
    return error


def _is_reached(error: requests.RequestException) -> bool:
    """Whether a connection was made, which an error then ended."""
    if isinstance(error, requests.ConnectTimeout | requests.exceptions.ProxyError):
        return False
    cause = _innermost(error)
    return not (
        isinstance(cause, socket.gaierror)
        or (isinstance(cause, OSError) and cause.errno in _NOT_REACHED)
    )
