"""Downloads from a server on this machine on its bad days."""

import dataclasses
import hashlib
import io
import itertools
import pathlib
import random
import signal
import subprocess
import sys
import threading
import time
import types

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from made.faulty_server import (
    Server,
    changed,
    closed_port,
    cut_after,
    cut_before,
    ignoring_range,
    part,
    redirect,
    serving,
    stall_after,
    status,
    whole,
)

from avemo_jax.convert.download import ChecksumError, download, verify
from avemo_jax.convert.transfer import DownloadError, NoRoomError, Patience
from avemo_jax.extractors.published import PublishedFile

NAME = "net.pt"
CONTENT = random.Random(0).randbytes(300_000)
OTHER = random.Random(1).randbytes(280_000)
# Whole blocks, which a cut does not take back.
BEGIN = 2 * 2**16
REST = len(CONTENT) - BEGIN
QUICK = Patience(backoff_s=0.001, pause_s=0.01, connect_s=2.0, read_s=2.0)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def git_blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def server():
    with serving({NAME: CONTENT}) as server:
        yield server


def source(server: Server, content: bytes = CONTENT, path: str = NAME) -> PublishedFile:
    return PublishedFile(NAME, server.url(path), sha256=sha256(content))


def unchecked(server: Server) -> PublishedFile:
    return PublishedFile(NAME, server.url(NAME))


def get(wanted: PublishedFile, folder: pathlib.Path, patience: Patience = QUICK):
    return download(
        wanted,
        folder,
        show_progress=False,
        patience=patience,
        allow_loopback=True,
    )


def names(folder: pathlib.Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    "checks",
    [
        {"sha256": sha256(CONTENT)},
        {"sha256": sha256(CONTENT)[:8].upper()},
        {"git_blob": git_blob(CONTENT)},
        {"git_blob": git_blob(CONTENT), "sha256": sha256(CONTENT)},
    ],
)
def test_whole_then_taken_without_network(server, tmp_path, checks):
    folder = tmp_path / "new" / "folder"
    wanted = PublishedFile(NAME, server.url(NAME), **checks)
    path = get(wanted, folder)
    assert path == folder / NAME
    assert path.read_bytes() == CONTENT
    assert verify(path, wanted) == sha256(CONTENT)
    kept = [] if wanted.whole else [f"{NAME}.sha256"]
    assert names(folder) == [NAME, *kept]
    assert get(wanted, folder) == path
    assert server.ranges == [None]


def test_git_blob_is_as_git_has_it(tmp_path):
    # `echo hello | git hash-object --stdin`
    path = tmp_path / "hello"
    path.write_bytes(b"hello\n")
    wanted = PublishedFile("x", "", git_blob="ce013625030ba8dba906f756967f9e9ca394464a")
    verify(path, wanted)
    path.write_bytes(b"hello")
    with pytest.raises(ChecksumError, match=r"git blob b6fc4c62.*\(expected ce013625"):
        verify(path, wanted)


def test_cut_connections_are_resumed(server, tmp_path):
    server.faults = [cut_after(100_000), cut_before, cut_after(70_000)]
    assert get(source(server), tmp_path).read_bytes() == CONTENT
    assert len(server.ranges) == 4
    begins = [int(text[6:-1]) for text in server.ranges[1:]]
    # Of a block that is cut, nothing is kept.
    assert begins == [2**16, 2**16, 2**17]
    assert {h["If-Range"] for _, h in server.requests[1:]} == {server.etag}
    assert names(tmp_path) == [NAME]


def test_given_up_then_gone_on_with(server, tmp_path):
    server.faults = [cut_after(200_000)] + [cut_before] * 4
    wanted = source(server)
    with pytest.raises(DownloadError, match="5 times without progress") as error:
        get(wanted, tmp_path)
    assert wanted.url in str(error.value)
    assert str(tmp_path / NAME) in str(error.value)
    assert names(tmp_path) == [f"{NAME}.part", f"{NAME}.part.json"]
    size = (tmp_path / f"{NAME}.part").stat().st_size
    assert get(wanted, tmp_path).read_bytes() == CONTENT
    assert server.ranges[5:] == [f"bytes={size}-"]


def test_progress_is_patiently_followed(server, tmp_path):
    server.faults = [cut_after(2**16 + 1) for _ in range(4)]
    patience = Patience(attempts=2, progress_bytes=2**16, backoff_s=0.001)
    assert get(source(server), tmp_path, patience).read_bytes() == CONTENT


def test_little_progress_is_none(server, tmp_path):
    server.faults = [cut_after(2**16 + 1) for _ in range(4)]
    patience = Patience(attempts=2, progress_bytes=2**18, backoff_s=0.001)
    with pytest.raises(DownloadError, match="2 times without progress"):
        get(source(server), tmp_path, patience)
    assert len(server.requests) == 2


def test_rest_that_ends_early_without_a_length(server, tmp_path):
    def short(handler):
        told = f"bytes {BEGIN}-{len(CONTENT) - 1}/{len(CONTENT)}"
        handler.answer(206, {"Content-Range": told, "ETag": '"first"'})
        handler.send(CONTENT[BEGIN : BEGIN + 2**16])
        handler.cut()

    server.faults = [cut_after(BEGIN), short]
    assert get(unchecked(server), tmp_path).read_bytes() == CONTENT
    assert server.ranges == [None, f"bytes={BEGIN}-", f"bytes={BEGIN + 2**16}-"]


def test_starting_anew_is_no_progress(server, tmp_path):
    def again(handler):
        ignoring_range_cut(handler)

    def ignoring_range_cut(handler):
        handler.answer(200, {"Content-Length": str(len(CONTENT))})
        handler.send(CONTENT[: 2**17])
        handler.cut()

    server.faults = [again] * 100
    patience = Patience(attempts=3, progress_bytes=2**15, backoff_s=0.001)
    with pytest.raises(DownloadError, match="3 times without progress"):
        get(source(server), tmp_path, patience)
    assert len(server.requests) <= 4


def test_server_without_ranges(server, tmp_path):
    server.faults = [cut_after(100_000), ignoring_range]
    assert get(source(server), tmp_path).read_bytes() == CONTENT
    assert server.ranges[1] is not None


@pytest.mark.parametrize("etag", ["", 'W/"weak"'])
def test_without_a_strong_validator_it_starts_anew(server, tmp_path, etag):
    server.etag = etag
    server.faults = [cut_after(100_000)]
    assert get(source(server), tmp_path).read_bytes() == CONTENT
    assert server.ranges == [None, None]


@pytest.mark.parametrize("checked", [True, False])
def test_file_changed_between_attempts_is_not_spliced(server, tmp_path, checked):
    server.faults = [cut_after(100_000), changed(OTHER, '"second"')]
    wanted = source(server, OTHER) if checked else unchecked(server)
    assert get(wanted, tmp_path).read_bytes() == OTHER


@pytest.mark.parametrize(
    "answer",
    [
        # If-Range ignored: the rest of a changed file, longer, shorter or as long.
        part(OTHER[BEGIN:], f"bytes {BEGIN}-{len(OTHER) - 1}/{len(OTHER)}", '"second"'),
        part(bytes(REST), f"bytes {BEGIN}-299999/300000", '"second"'),
        part(bytes(REST + 9), f"bytes {BEGIN}-300008/300009", '"first"'),
        part(bytes(REST + 9), f"bytes {BEGIN}-300008/300009", ""),
        # From elsewhere, or not to the end.
        part(bytes(REST), "bytes 50000-299999/300000", '"first"'),
        part(bytes(REST), f"bytes {BEGIN}-299998/300000", '"first"'),
        part(CONTENT[BEGIN:], "", '"first"'),
        part(CONTENT[BEGIN:], "bytes 131072-299999/*", '"first"'),
        status(416, Content_Range="bytes */10"),
    ],
)
def test_wrong_parts_are_not_used(server, tmp_path, answer):
    server.faults = [cut_after(BEGIN), answer]
    assert get(unchecked(server), tmp_path).read_bytes() == CONTENT
    assert server.ranges == [None, f"bytes={BEGIN}-", None]


def test_part_without_having_asked(server, tmp_path):
    server.faults = [part(CONTENT[5:], "bytes 5-299999/300000", '"first"')]
    assert get(unchecked(server), tmp_path).read_bytes() == CONTENT


def test_wrong_bytes_are_removed(server, tmp_path):
    server.files = {NAME: OTHER}
    wanted = source(server)
    with pytest.raises(ChecksumError) as error:
        get(wanted, tmp_path)
    assert sha256(OTHER) in str(error.value)
    assert sha256(CONTENT) in str(error.value)
    assert wanted.url in str(error.value)
    assert names(tmp_path) == []
    assert len(server.requests) == 1
    server.files = {NAME: CONTENT}
    assert get(wanted, tmp_path).read_bytes() == CONTENT


def test_one_flipped_bit_on_the_way(server, tmp_path):
    flipped = bytearray(CONTENT)
    flipped[200_000] ^= 1
    server.faults = [
        cut_after(BEGIN),
        part(
            bytes(flipped[BEGIN:]),
            f"bytes {BEGIN}-{len(CONTENT) - 1}/{len(CONTENT)}",
            '"first"',
        ),
    ]
    with pytest.raises(ChecksumError, match="removed"):
        get(source(server), tmp_path)
    assert names(tmp_path) == []


def test_what_is_there_and_wrong_is_told_without_network(server, tmp_path):
    path = tmp_path / NAME
    path.write_bytes(OTHER)
    with pytest.raises(ChecksumError, match="remove it to download it again"):
        get(source(server), tmp_path)
    assert path.read_bytes() == OTHER
    path.unlink()
    path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(DownloadError, match="No such file"):
        get(source(server), tmp_path)
    path.unlink()
    path.mkdir()
    with pytest.raises(DownloadError, match="Is a directory"):
        get(source(server), tmp_path)
    assert server.requests == []


@pytest.mark.parametrize("number", [301, 302, 303, 307, 308])
def test_redirects(server, tmp_path, number):
    server.faults = [redirect("elsewhere/x", number), redirect(server.url(NAME))]
    assert get(source(server, path="start"), tmp_path).read_bytes() == CONTENT
    assert [path for path, _ in server.requests] == [
        "/start",
        "/elsewhere/x",
        "/net.pt",
    ]


def test_resumed_through_redirects(server, tmp_path):
    there = redirect(server.url(NAME))
    server.faults = [there, cut_after(100_000), there]
    assert get(source(server, path="start"), tmp_path).read_bytes() == CONTENT
    assert server.ranges[3] is not None
    assert server.requests[3][0] == "/net.pt"


def test_circle_of_redirects(server, tmp_path):
    server.faults = [redirect("b"), redirect("a")] * 20
    with pytest.raises(DownloadError, match="over 10 redirects"):
        get(source(server, path="a"), tmp_path)
    assert len(server.requests) == 11


@pytest.mark.parametrize(
    "to", ["http://example.org/x", "ftp://127.0.0.1/x", "file:///etc/hostname"]
)
def test_redirects_out_of_https_are_refused(server, tmp_path, to):
    server.faults = [redirect(to)]
    with pytest.raises(DownloadError, match="expected an address over https") as error:
        get(source(server), tmp_path)
    assert to in str(error.value)
    assert len(server.requests) == 1


def test_redirect_from_https_to_http(server, tmp_path, monkeypatch):
    """Refused even where http to this machine is allowed."""
    asked = []

    def answered(session, url, **kwargs):
        asked.append(url)
        response = requests.Response()
        response.status_code = 302
        response.raw = io.BytesIO()
        response.headers["Location"] = server.url(NAME)
        return response

    monkeypatch.setattr(requests.Session, "get", answered)
    wanted = PublishedFile(NAME, "https://example.org/net.pt", sha256=sha256(CONTENT))
    with pytest.raises(DownloadError, match=r"redirects to; expected .* https"):
        get(wanted, tmp_path)
    assert asked == [wanted.url]
    assert server.requests == []


def test_http_is_refused(server, tmp_path):
    with pytest.raises(DownloadError, match="expected an address over https"):
        download(source(server), tmp_path, show_progress=False)
    elsewhere = PublishedFile(NAME, "http://example.org/net.pt")
    with pytest.raises(DownloadError, match="expected an address over https"):
        get(elsewhere, tmp_path)
    assert server.requests == []


@pytest.mark.parametrize("number", [401, 403, 404, 410])
def test_final_answers_are_not_asked_for_again(server, tmp_path, number):
    server.faults = [status(number)] * 9
    with pytest.raises(DownloadError, match=f"answers {number}.*expected the file"):
        get(source(server), tmp_path)
    assert len(server.requests) == 1


@pytest.mark.parametrize("number", [408, 429, 500, 502, 503])
def test_servers_in_trouble_are_asked_again(server, tmp_path, number):
    server.faults = [status(number)] * 4
    assert get(source(server), tmp_path).read_bytes() == CONTENT
    assert len(server.requests) == 5


def test_servers_in_trouble_are_given_up(server, tmp_path):
    server.faults = [status(503)] * 99
    with pytest.raises(DownloadError, match=r"answers 503 .*5 times"):
        get(source(server), tmp_path)
    assert len(server.requests) == 5


def test_pauses(server, tmp_path, monkeypatch):
    pauses: list[float] = []
    monkeypatch.setattr(
        "avemo_jax.convert.transfer.time.sleep", lambda seconds: pauses.append(seconds)
    )
    server.faults = [
        status(500),
        status(503, Retry_After="7"),
        status(503, Retry_After="86400"),
        status(503, Retry_After="Fri, 31 Dec 1999 23:59:59 GMT"),
    ]
    get(source(server), tmp_path, Patience())
    assert pauses == [0.5, 7.0, 30.0, 4.0]


def test_stalled_servers_are_left(server, tmp_path):
    server.faults = [stall_after(100_000, 60), stall_after(0, 60)]
    begin = time.monotonic()
    patience = Patience(backoff_s=0.001, read_s=0.3)
    assert get(source(server), tmp_path, patience).read_bytes() == CONTENT
    assert time.monotonic() - begin < 40
    assert server.ranges[1:] == ["bytes=65536-"] * 2


def test_closed_port(tmp_path):
    url = f"http://127.0.0.1:{closed_port()}/{NAME}"
    with pytest.raises(DownloadError) as error:
        get(PublishedFile(NAME, url, sha256="00"), tmp_path)
    text = str(error.value)
    assert url in text
    assert "Connection refused" in text
    assert f"put it at {tmp_path / NAME}" in text
    assert names(tmp_path) == []


def test_unknown_host(tmp_path):
    url = f"https://nowhere.invalid/{NAME}"
    with pytest.raises(DownloadError) as error:
        get(PublishedFile(NAME, url, sha256="00"), tmp_path)
    assert url in str(error.value)
    assert str(tmp_path / NAME) in str(error.value)


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"Content_Type": "text/html; charset=utf-8"}, "web page"),
        ({"Content_Encoding": "gzip"}, "'gzip'"),
        ({"Content_Length": str(10**13)}, "no such large"),
    ],
)
def test_answers_that_are_no_file(server, tmp_path, headers, words):
    server.faults = [whole(b"<html>", **headers)]
    with pytest.raises(DownloadError, match=words):
        get(unchecked(server), tmp_path)
    assert len(server.requests) == 1
    assert names(tmp_path) == []


def test_without_length_only_a_checksum_helps(server, tmp_path):
    server.faults = [whole(CONTENT)]
    assert get(source(server), tmp_path / "a").read_bytes() == CONTENT
    server.faults = [whole(CONTENT[:-1])]
    with pytest.raises(ChecksumError):
        get(source(server), tmp_path / "b")
    server.faults = [whole(CONTENT)]
    with pytest.raises(DownloadError, match="neither a length nor a checksum"):
        get(unchecked(server), tmp_path / "c")
    assert names(tmp_path / "c") == []
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(CONTENT), CONTENT)
    server.faults = [whole(chunks, Transfer_Encoding="chunked")]
    assert get(unchecked(server), tmp_path / "d").read_bytes() == CONTENT


def test_endless_answers_are_cut_off(server, tmp_path):
    server.faults = [whole(CONTENT)] * 9
    patience = Patience(attempts=2, backoff_s=0.001, max_bytes=200_000)
    with pytest.raises(DownloadError, match="over 200000 bytes"):
        get(source(server), tmp_path, patience)
    assert names(tmp_path) == []


def test_nothing_to_check_by(server, tmp_path, caplog):
    path = get(unchecked(server), tmp_path)
    assert f"it is {sha256(CONTENT)}, which is kept in" in caplog.text
    record = tmp_path / f"{NAME}.sha256"
    assert record.read_text() == f"{sha256(CONTENT)}  {NAME}\n"
    caplog.clear()
    assert get(unchecked(server), tmp_path) == path
    assert caplog.text == ""
    path.write_bytes(OTHER)
    with pytest.raises(ChecksumError, match=r"as \S*net\.pt\.sha256 has it"):
        get(unchecked(server), tmp_path)
    record.write_text("no digits")
    with pytest.raises(DownloadError, match="'no'; expected the sha256"):
        get(unchecked(server), tmp_path)
    record.unlink()
    assert get(unchecked(server), tmp_path) == path
    assert record.read_text().startswith(sha256(OTHER))
    assert len(server.requests) == 1


@pytest.mark.parametrize("published", ["", "first digits", "git"])
def test_a_file_that_changes_after_its_first_use_is_refused(
    server, tmp_path, published
):
    """Also where it is downloaded anew, and where a part of a checksum is published."""
    wanted = unchecked(server)
    if published == "first digits":
        wanted = dataclasses.replace(wanted, sha256=sha256(CONTENT)[:1])
    elif published == "git":
        wanted = dataclasses.replace(wanted, git_blob=git_blob(CONTENT))
    path = get(wanted, tmp_path)
    assert verify(path, wanted, pins=tmp_path) == sha256(CONTENT)
    path.unlink()
    other = next(
        one
        for one in (
            OTHER[:-2] + bytes(pair)
            for pair in itertools.product(range(256), range(256))
        )
        if sha256(one).startswith(wanted.sha256)
    )
    server.files[NAME] = other
    told = r"from the first time" if published != "git" else "git blob"
    with pytest.raises(ChecksumError, match=told):
        get(wanted, tmp_path)
    assert not path.exists()
    (tmp_path / "given").write_bytes(other)
    with pytest.raises(ChecksumError, match=told):
        verify(tmp_path / "given", wanted, pins=tmp_path)


@pytest.mark.parametrize("name", ["", "..", "a/b", "/etc/x"])
def test_names_stay_in_the_folder(tmp_path, name):
    with pytest.raises(ValueError, match="expected a plain name"):
        get(PublishedFile(name, "https://example.org"), tmp_path)


def test_folder_that_is_none(server, tmp_path):
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(DownloadError, match="expected a folder"):
        get(source(server), path)


def test_damaged_state_starts_anew(server, tmp_path):
    for text in ("", "{}", "[1]", '{"url": 1, "x": 2}', "{"):
        (tmp_path / f"{NAME}.part").write_bytes(b"rest of something")
        (tmp_path / f"{NAME}.part.json").write_text(text)
        assert get(source(server), tmp_path).read_bytes() == CONTENT
        (tmp_path / NAME).unlink()
    assert set(server.ranges) == {None}


def test_part_of_another_address_starts_anew(server, tmp_path):
    server.faults = [cut_after(100_000)] + [cut_before] * 4
    server.files["old"] = bytes(len(CONTENT))
    with pytest.raises(DownloadError):
        get(source(server, path="old"), tmp_path)
    assert get(source(server), tmp_path).read_bytes() == CONTENT
    assert server.ranges[-1] is None


def test_full_disk_before(server, tmp_path, monkeypatch):
    full = types.SimpleNamespace(free=299_999)
    monkeypatch.setattr("shutil.disk_usage", lambda path: full)
    with pytest.raises(NoRoomError, match=r"300000 bytes in all.*make room"):
        get(source(server), tmp_path)
    monkeypatch.undo()
    monkeypatch.setenv("NO_PROXY", "*")
    assert get(source(server), tmp_path).read_bytes() == CONTENT


_GET = """
import resource, sys
from avemo_jax.convert.download import download
from avemo_jax.extractors.published import PublishedFile
name, url, sha256, folder, limit = sys.argv[1:]
if int(limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
source = PublishedFile(name, url, sha256=sha256)
print(download(source, folder, allow_loopback=True), flush=True)
"""


def started(
    wanted: PublishedFile, folder: pathlib.Path, limit: int = 0
) -> subprocess.Popen:
    arguments = [wanted.file, wanted.url, wanted.sha256, str(folder), str(limit)]
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", _GET, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_full_disk_midway(server, tmp_path):
    """The system's own error, from a limit on the size of files."""
    process = started(source(server), tmp_path, limit=150_000)
    _, text = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "NoRoomError" in text
    assert "no room after 150000 bytes (File too large); make room" in text
    assert get(source(server), tmp_path).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=150000-"]


def gate(opened: threading.Event, size: int):
    """Sends ``size`` bytes, and the rest once the gate is open."""

    def fault(handler):
        handler.answer(200, {"Content-Length": str(len(CONTENT)), "ETag": '"first"'})
        handler.send(CONTENT[:size])
        opened.wait(60)
        handler.send(CONTENT[size:])

    return fault


def wait_for(process: subprocess.Popen, reached) -> None:
    end = time.monotonic() + 60
    while not reached():
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.01)


def test_killed_then_resumed(server, tmp_path):
    opened = threading.Event()
    server.faults = [gate(opened, 2**17)]
    process = started(source(server), tmp_path)
    growing = tmp_path / f"{NAME}.part"
    wait_for(process, lambda: growing.exists() and growing.stat().st_size >= 2**16)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    opened.set()
    size = growing.stat().st_size
    assert 0 < size < len(CONTENT)
    assert not (tmp_path / NAME).exists()
    assert get(source(server), tmp_path).read_bytes() == CONTENT
    assert server.ranges == [None, f"bytes={size}-"]
    assert names(tmp_path) == [NAME]


def first_and_waiting(server, folder, opened):
    """A process that downloads, and one that waits for it."""
    server.faults = [gate(opened, 2**17)]
    first = started(source(server), folder)
    growing = folder / f"{NAME}.part"
    wait_for(first, lambda: growing.exists() and growing.stat().st_size >= 2**16)
    second = started(source(server), folder)
    line = second.stderr.readline()
    assert f"{NAME} is in use by process {first.pid} on " in line
    return first, second


def test_two_processes_at_once(server, tmp_path):
    opened = threading.Event()
    processes = first_and_waiting(server, tmp_path, opened)
    opened.set()
    texts = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], texts
    assert server.ranges == [None]
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert names(tmp_path) == [NAME]


def test_one_of_two_processes_is_killed(server, tmp_path):
    """The one that waits goes on where the other one died."""
    opened = threading.Event()
    first, second = first_and_waiting(server, tmp_path, opened)
    first.kill()
    first.communicate()
    opened.set()
    _, text = second.communicate(timeout=60)
    assert second.returncode == 0, text
    assert server.ranges[0] is None
    assert server.ranges[1] in (f"bytes={2**16}-", f"bytes={2**17}-")
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert names(tmp_path) == [NAME]


def test_many_at_once(server, tmp_path):
    """Those that wait see whole and wrong files come and go."""
    server.files = {NAME: OTHER}
    server.faults = [cut_after(9_000), changed(OTHER, '"x"'), cut_after(100_000)]
    server.faults += [changed(CONTENT, '"right"')]
    outcomes: list[str] = []

    def run() -> None:
        try:
            outcomes.append(get(source(server), tmp_path).name)
        except ChecksumError:
            outcomes.append("wrong")

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [NAME] * 7 + ["wrong"]
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert names(tmp_path) == [NAME]


_FAULTS = st.one_of(
    st.integers(0, 4000).map(cut_after),
    st.sampled_from([500, 503, 429, 416]).map(status),
    st.just(ignoring_range),
    st.just(cut_before),
    st.tuples(
        st.sampled_from([CONTENT[:3000], OTHER[:3000], OTHER[:2000]]),
        st.sampled_from(['"a"', '"b"', "", 'W/"a"']),
        st.integers(0, 4000).map(cut_after),
    ).map(lambda three: changed(*three)),
)


@settings(max_examples=30, deadline=None)
@given(st.lists(_FAULTS, max_size=8))
def test_whatever_happens_a_wrong_file_gets_no_name(tmp_path_factory, faults):
    folder = tmp_path_factory.mktemp("any")
    right = CONTENT[:3000]
    with serving({NAME: right}) as server:
        wanted = source(server, right)
        server.faults = list(faults)
        for _ in range(2 * len(faults) + 2):
            try:
                path = get(
                    wanted, folder, Patience(attempts=2, backoff_s=0.0, pause_s=0.0)
                )
            except DownloadError:
                assert not (folder / NAME).exists()
                if not server.faults:
                    server.files, server.etag = {NAME: right}, '"last"'
            else:
                assert path.read_bytes() == right
                assert names(folder) == [NAME]
                return
    raise AssertionError("an honest server does not help")
