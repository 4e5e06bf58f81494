"""A web server on this machine that does what real ones do on bad days."""

import contextlib
import dataclasses
import http.server
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers by the next fault of the server's list, then as it should."""

    server: "Server"

    def do_GET(self) -> None:
        server = self.server
        with server.lock:
            server.requests.append((self.path, dict(self.headers)))
            fault = server.faults.pop(0) if server.faults else None
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            (fault or honest)(self)

    def answer(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        headers.setdefault("Content-Type", "application/octet-stream")
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def send(self, data: bytes) -> None:
        self.wfile.write(data)

    def cut(self) -> None:
        """The connection, in the middle of it."""
        self.wfile.flush()
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def log_message(self, *args: object) -> None:
        """Nothing."""


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    # Its threads are not waited for: some of them stall.
    block_on_close = False

    def __init__(self, files: dict[str, bytes]):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = files
        self.etag = '"first"'
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.lock = threading.Lock()

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: clients are killed in these tests."""

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{path}"

    @property
    def ranges(self) -> list[str | None]:
        return [headers.get("Range") for _, headers in self.requests]


Fault = Callable[[Handler], None]


@dataclasses.dataclass(frozen=True)
class Reply:
    """What an honest server makes of a request."""

    status: int
    headers: dict[str, str]
    body: bytes


def reply(handler: Handler) -> Reply:
    server = handler.server
    content = server.files.get(handler.path.lstrip("/"))
    if content is None:
        return Reply(404, {"Content-Length": "0"}, b"")
    headers = {"ETag": server.etag}
    match = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
    if match and handler.headers.get("If-Range") in (None, server.etag):
        begin = int(match[1])
        if begin >= len(content):
            headers |= {"Content-Range": f"bytes */{len(content)}"}
            return Reply(416, headers | {"Content-Length": "0"}, b"")
        body = content[begin:]
        headers["Content-Range"] = f"bytes {begin}-{len(content) - 1}/{len(content)}"
        return Reply(206, headers | {"Content-Length": str(len(body))}, body)
    return Reply(200, headers | {"Content-Length": str(len(content))}, content)


def honest(handler: Handler) -> None:
    answer = reply(handler)
    handler.answer(answer.status, answer.headers)
    handler.send(answer.body)


def cut_after(size: int) -> Fault:
    def fault(handler: Handler) -> None:
        answer = reply(handler)
        handler.answer(answer.status, answer.headers)
        handler.send(answer.body[:size])
        handler.cut()

    return fault


def cut_before(handler: Handler) -> None:
    handler.cut()


def stall_after(size: int, seconds: float) -> Fault:
    def fault(handler: Handler) -> None:
        answer = reply(handler)
        handler.answer(answer.status, answer.headers)
        handler.send(answer.body[:size])
        time.sleep(seconds)
        handler.cut()

    return fault


def status(number: int, **headers: str) -> Fault:
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    def fault(handler: Handler) -> None:
        handler.answer(number, {"Content-Length": "0", **named})

    return fault


def redirect(to: str, number: int = 302) -> Fault:
    return status(number, Location=to)


def changed(content: bytes, etag: str, then: Fault = honest) -> Fault:
    """From now on the files are others."""

    def fault(handler: Handler) -> None:
        server = handler.server
        server.files = dict.fromkeys(server.files, content)
        server.etag = etag
        then(handler)

    return fault


def ignoring_range(handler: Handler) -> None:
    content = handler.server.files[handler.path.lstrip("/")]
    headers = {"Content-Length": str(len(content)), "ETag": handler.server.etag}
    handler.answer(200, headers)
    handler.send(content)


def whole(body: bytes, **headers: str) -> Fault:
    """An answer of these bytes, whatever was asked for, and of these headers only."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    def fault(handler: Handler) -> None:
        handler.answer(200, named)
        handler.send(body)
        handler.cut()

    return fault


def part(body: bytes, content_range: str, etag: str) -> Fault:
    def fault(handler: Handler) -> None:
        headers = {"Content-Range": content_range, "ETag": etag}
        handler.answer(206, headers | {"Content-Length": str(len(body))})
        handler.send(body)

    return fault


@contextlib.contextmanager
def serving(files: dict[str, bytes]) -> Iterator[Server]:
    with Server(files) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def closed_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
