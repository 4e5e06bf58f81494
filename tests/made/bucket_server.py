"""A server of Google Cloud Storage on this machine: gcp-storage-emulator, and faults.

The emulator takes no notice of ``ifGenerationMatch``; what real buckets do about it is
added here.
"""

import base64
import contextlib
import http.server
import io
import json
import re
import threading
from collections.abc import Callable, Iterator
from urllib.parse import parse_qs, unquote, urlsplit

import google_crc32c
from gcp_storage_emulator.handlers import buckets
from gcp_storage_emulator.server import RequestHandler
from gcp_storage_emulator.storage import Storage
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

BUCKET = "runs-of-tests"
ANSWER_IS_LOST = 1  # as a fault: the request is carried out


class Handler(RequestHandler):
    """The emulator's, with the server's faults before it."""

    server: "BucketServer"

    def handle_one_request(self) -> None:
        with contextlib.suppress(ConnectionError):
            super().handle_one_request()

    def parse_request(self) -> bool:
        if not super().parse_request():
            return False
        body = b""
        if "Content-Length" in self.headers:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.rfile = io.BytesIO(body)
        query = parse_qs(urlsplit(self.path).query)
        name = self._object_name(query, body)
        self.server.requests.append((self.command, name))
        status = self.server.fault(self.command, name) or self._stale(name, query)
        if status == ANSWER_IS_LOST:
            self.wfile = io.BytesIO()
        elif status:
            self._refuse(status)
        return status in (0, ANSWER_IS_LOST)

    def _object_name(self, query: dict[str, list[str]], body: bytes) -> str:
        """Empty where the request is of the bucket."""
        found = re.search(r"/b/[^/]+/o/(.+)", urlsplit(self.path).path)
        if found or "name" in query:
            return unquote(found[1]) if found else query["name"][0]
        if self.command != "POST":
            return ""
        text = body.decode("latin-1")  # its first part is JSON
        name: str = json.JSONDecoder().raw_decode(text, text.index("{"))[0]["name"]
        return name

    def _stale(self, name: str, query: dict[str, list[str]]) -> int:
        """412 where another generation stands than the request names, as real ones."""
        if "ifGenerationMatch" not in query or "upload_id" in query:
            return 0
        found = self.storage.objects.get(BUCKET, {}).get(name, {"generation": "0"})
        return 0 if found["generation"] == query["ifGenerationMatch"][0] else 412

    def _refuse(self, status: int) -> None:
        error = {"code": status, "message": f"the server was told to say {status}"}
        body = json.dumps({"error": error}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class BucketServer(http.server.HTTPServer):
    """One request at a time, as the emulator's.

    ``fault`` gives the status to answer a request with instead, or 0; it is asked with
    the method and the name of the object.
    """

    request_queue_size = 64

    def __init__(self) -> None:
        self.storage = Storage(use_memory_fs=True)
        buckets.create_bucket(BUCKET, self.storage)
        self.requests: list[tuple[str, str]] = []
        self.fault: Callable[[str, str], int] = lambda method, name: 0
        super().__init__(("127.0.0.1", 0), lambda *args: Handler(self.storage, *args))
        self.url = f"http://127.0.0.1:{self.server_port}"

    def objects(self) -> dict[str, bytes]:
        names = self.storage.objects.get(BUCKET, {})
        return {name: self.storage.get_file(BUCKET, name) for name in sorted(names)}

    def put(self, name: str, content: bytes) -> None:
        """As from elsewhere."""
        credentials = AnonymousCredentials()  # type: ignore[no-untyped-call]
        options = {"api_endpoint": self.url}
        client = storage.Client("any", credentials, client_options=options)
        client.bucket(BUCKET).blob(name).upload_from_string(content)

    def change(self, name: str, content: bytes | None) -> None:
        """While a request is answered; None removes it."""
        if content is None:
            self.storage.delete_file(BUCKET, name)
            return
        checksum = base64.b64encode(google_crc32c.Checksum(content).digest()).decode()
        changed = {"crc32c": checksum, "size": len(content)}
        found = self.storage.objects[BUCKET][name] | changed
        self.storage.create_file(BUCKET, name, content, found)

    def rename(self, old: str, new: str) -> None:
        """To any name, as real ones may have; only in lists here."""
        found = self.storage.objects[BUCKET]
        found[new] = found.pop(old) | {"name": new}

    def empty(self) -> None:
        """As at the start."""
        self.storage.wipe(keep_buckets=True)
        self.fault = lambda method, name: 0
        self.requests.clear()

    def environment(self) -> dict[str, str]:
        """Variables by which clients find it, and ask nobody else."""
        return {
            "STORAGE_EMULATOR_HOST": self.url,
            "TENSORSTORE_GCS_HTTP_URL": self.url,
            # gcsfs would ask Google of which kind the bucket is.
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
            "NO_GCE_CHECK": "true",
        }


@contextlib.contextmanager
def running() -> Iterator[BucketServer]:
    with BucketServer() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
