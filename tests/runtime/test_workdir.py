"""Work directories in a bucket, against a server on this machine."""

import os
import pathlib
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made.bucket_server import ANSWER_IS_LOST, BUCKET, BucketServer, running

from avemo_jax.runtime.bucket import BucketError, parse_address
from avemo_jax.runtime.workdir import Workdir, open_workdir, refuse_remote_data

ADDRESS = f"gs://{BUCKET}/runs/a"
GCLOUD = ("GOOGLE_APPLICATION_CREDENTIALS", "STORAGE_EMULATOR_HOST")


@pytest.fixture(scope="module")
def server_of_module() -> Iterator[BucketServer]:
    with running() as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment().items():
            patch.setenv(name, value)
        yield server


@pytest.fixture
def server(server_of_module, tmp_path, monkeypatch) -> BucketServer:
    """With an empty bucket and no faults."""
    monkeypatch.setenv("AVEMO_CACHE", str(tmp_path / "cache"))
    server_of_module.empty()
    return server_of_module


@pytest.fixture
def opened(server) -> Iterator[Callable[..., Workdir]]:
    """Opens work directories, and closes them at the end."""
    found = []

    def opened(name: str = ADDRESS, **options: bool) -> Workdir:
        found.append(open_workdir(name, **options))
        return found[-1]

    yield opened
    for workdir in found:
        if workdir.local.exists():
            workdir.close()


def fill(workdir: Workdir, **files: str | bytes) -> None:
    """Writes files; in their names ``__`` stands for a slash and ``_`` for a dot."""
    for name, content in files.items():
        path = workdir.local / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def below(workdir: Workdir) -> dict[str, bytes]:
    return {
        path.relative_to(workdir.local).as_posix(): path.read_bytes()
        for path in sorted(workdir.local.rglob("*"))
        if path.is_file()
    }


def stored(server: BucketServer, folder: str = "runs/a/") -> dict[str, bytes]:
    return {
        name.removeprefix(folder): content
        for name, content in server.objects().items()
        if name.startswith(folder)
    }


def test_addresses():
    assert parse_address("gs://b/runs/a/") == ("b", "runs/a")


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("gs:///runs/a", "names no bucket"),
        ("gs://", "names no bucket"),
        ("gs://b", "names no folder"),
        ("gs://b/", "names no folder"),
        ("gs://b/a//c", "no plain path"),
        ("gs://b/a/../c", "no plain path"),
        ("gs://b/a?c", "no plain path"),
        ("s3://b/a", "expected the path of a folder, or gs://"),
        ("https://storage.googleapis.com/b/a", "expected the path of a folder"),
        (pathlib.Path("gs://b/a"), "'gs:/b/a' cannot be a work directory"),
    ],
)
def test_what_cannot_be_a_work_directory(address, words):
    with pytest.raises(ValueError, match=words) as caught:
        open_workdir(address)
    assert "; expected" in str(caught.value)
    assert "; name " in str(caught.value)


def test_a_local_path_stays_what_it_is(tmp_path):
    path = tmp_path / "runs" / "a"
    for workdir in (open_workdir(path), open_workdir(str(path), writes=False)):
        assert (workdir.name, workdir.local) == (str(path), path)
        assert workdir.checkpoints == path / "checkpoints"
        assert workdir.child("head_0").checkpoints == path / "head_0" / "checkpoints"
        workdir.publish()
        workdir.refresh()
        workdir.close()
        assert workdir.read_token() is None
        assert not path.exists()
    fill(workdir, config_json="{}")
    workdir.write_token("17")
    assert open_workdir(path).read_token() == "17"
    workdir.close()
    assert (path / "config.json").exists()


def test_a_relative_path_has_absolute_checkpoints(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    workdir = open_workdir("runs/a")
    assert workdir.local == pathlib.Path("runs/a")
    assert workdir.checkpoints == tmp_path / "runs/a/checkpoints"


@pytest.mark.parametrize(
    ("directory", "end"),
    [
        ("gs://b/store", "gcloud storage cp -r gs://b/store DIR"),
        ("GS://b/store", "gcloud storage cp -r GS://b/store DIR"),
        ("s3://b/store", "aws s3 cp --recursive s3://b/store DIR"),
        ("https://a.org/store", "--directory-prefix=DIR https://a.org/store"),
    ],
)
def test_data_is_not_read_from_afar(directory, end):
    with pytest.raises(ValueError, match="is not on this machine; expected") as caught:
        refuse_remote_data(directory)
    assert str(caught.value).endswith(end)


@pytest.mark.parametrize("directory", ["/data/store", "data", "~/a:b/c", "gs", "a:/b"])
def test_data_is_read_from_local_paths(directory):
    refuse_remote_data(directory)


def test_a_run_is_published_and_read_again(server, opened):
    first = opened()
    assert below(first) == {}
    noise = os.urandom(100_000) + b"\r\n--\r\n\0"
    fill(first, config_json="{}", metrics_jsonl="1\n", plots__a_png=noise)
    fill(first, empty_txt="", large_bin=os.urandom(9_000_000), _predictions_csv="half")
    first.publish()
    expected = below(first)
    del expected[".predictions.csv"]
    assert stored(server) == expected
    again = opened()
    assert below(again) == expected
    assert again.local != first.local
    assert again.local.stat().st_mode & 0o077 == 0


def test_only_what_changed_is_sent(server, opened):
    workdir = opened()
    fill(workdir, config_json="{}", metrics_jsonl="1\n", plots__a_png="a")
    workdir.publish()
    server.requests.clear()
    workdir.publish()
    assert server.requests == []
    fill(workdir, metrics_jsonl="1\n2\n", config_json="{}")
    workdir.publish()
    assert [r for r in server.requests if r[0] != "GET"] == [
        ("POST", "runs/a/metrics.jsonl")
    ]
    (workdir.local / "plots/a.png").unlink()
    workdir.publish()
    assert stored(server) == {"config.json": b"{}", "metrics.jsonl": b"1\n2\n"}


def test_what_vouches_for_others_is_written_after_them(server, opened):
    workdir = opened()
    names: list[str] = []

    def watch(method: str, name: str) -> int:
        if method != "GET":
            names.append(f"{method} {name.removeprefix('runs/a/')}")
        return 0

    server.fault = watch
    for text in ("old", "new"):
        fill(workdir, results_json=text, fold__results_json=text, z_csv=text)
        fill(workdir, best__head_json=text, best__params__d=text)
        names.clear()
        workdir.publish()
        assert names[-3:] == [
            "POST best/head.json",
            "POST fold/results.json",
            "POST results.json",
        ]
        if text == "new":  # the old card is none of the new parameters
            assert names[0] == "DELETE best/head.json"
    fill(workdir, best__head_json="newer")
    names.clear()
    workdir.publish()
    assert names == ["POST best/head.json"]
    fill(workdir, a_csv="1")
    (workdir.local / "best/params/d").unlink()
    names.clear()
    workdir.publish()
    assert names == [
        "DELETE best/head.json",
        "POST a.csv",
        "DELETE best/params/d",
        "POST best/head.json",
    ]
    for name in ("results.json", "a.csv"):
        (workdir.local / name).unlink()
    names.clear()
    workdir.publish()
    assert names == ["DELETE results.json", "DELETE a.csv"]


def test_nothing_else_is_touched(server, opened):
    others = {
        "runs/a/checkpoints/1/x": b"1",
        "runs/a/fold_0/checkpoints/1/x": b"2",
        "runs/ab/config.json": b"3",
        "runs/a": b"4",
        "config.json": b"5",
    }
    server.put("runs/a/old.txt", b"old")
    server.put("runs/a/folder/", b"")
    for name, content in others.items():
        server.put(name, content)
    workdir = opened()
    assert below(workdir) == {"old.txt": b"old"}
    server.put("runs/a/notes.txt", b"by hand, meanwhile")
    (workdir.local / "old.txt").unlink()
    fill(workdir, config_json="{}", checkpoints__1__x="not for publishing")
    workdir.publish()
    assert server.objects() == {
        **others,
        "runs/a/folder/": b"",
        "runs/a/notes.txt": b"by hand, meanwhile",
        "runs/a/config.json": b"{}",
    }


def test_folders_of_a_workdir_are_published_with_it(server, opened):
    workdir = opened()
    child = workdir.child("head_0")
    assert child.name == f"{ADDRESS}/head_0"
    assert str(child.checkpoints) == f"{ADDRESS}/head_0/checkpoints"
    assert str(workdir.checkpoints) == f"{ADDRESS}/checkpoints"
    assert child.checkpoints.absolute() == child.checkpoints
    child.local.mkdir()
    (child.local / "config.json").write_text("{}")
    child.publish()
    assert stored(server) == {"head_0/config.json": b"{}"}


def test_what_is_written_together_is_collected(server, opened):
    workdir = opened().child("head_0")
    half = workdir.local / ".best_model.17.tmp" / "params"
    server.put("runs/a/head_0/.best_model.17.tmp/params/d/x", b"1")
    server.put("runs/a/head_0/.best_model.17.tmp/params2", b"of another")
    workdir.collect(half)
    workdir.publish()
    assert (half / "d" / "x").read_bytes() == b"1"
    assert stored(server) == {"head_0/.best_model.17.tmp/params2": b"of another"}
    assert str(workdir.shared) == f"{ADDRESS}/head_0"
    server.put("runs/a/checkpoints/.x.1.tmp/y", b"of orbax")
    server.put("runs/a/.notes/1.tmp", b"by hand")
    opened(writes=False)
    assert len(stored(server)) == 3
    opened()  # a killed run's goes
    assert stored(server) == {
        "checkpoints/.x.1.tmp/y": b"of orbax",
        ".notes/1.tmp": b"by hand",
    }


def test_a_local_folder_is_collected_already(tmp_path):
    workdir = open_workdir(tmp_path)
    assert workdir.shared == tmp_path
    fill(workdir, params__x="1")
    workdir.collect(tmp_path / "params")
    assert below(workdir) == {"params/x": b"1"}


def test_an_interrupted_start_leaves_its_place(server, tmp_path, opened):
    server.put("runs/a/b", b"12")
    server.fault = lambda method, name: 400 if name.endswith("a/b") else 0
    with pytest.raises(BucketError, match="could not read b from"):
        opened()
    server.fault = lambda method, name: 0
    places = [opened().local, opened(writes=False).local]
    assert [place.name for place in places] == ["0", "1"]


def test_one_process_writes_and_the_others_read(server, opened):
    writer, reader = opened(), opened(writes=False)
    assert reader.read_token() is None
    writer.write_token("17")
    assert reader.read_token() == "17"
    fill(writer, config_json="{}", plots__a_png="a")
    writer.publish()
    fill(reader, config_json="mine")
    reader.publish()
    assert stored(server)["config.json"] == b"{}"
    reader.refresh()
    assert below(reader) == below(writer)
    shutil.rmtree(writer.local / "plots")
    fill(writer, plots="a file now")
    writer.publish()
    fill(writer, later_txt="not published yet")
    writer.refresh()
    assert (writer.local / "later.txt").exists()
    (writer.local / "later.txt").unlink()
    reader.refresh()
    assert (
        below(reader) == below(writer) == {"config.json": b"{}", "plots": b"a file now"}
    )


def test_two_runs_in_one_folder_end_with_an_error(server, opened):
    first, second = opened(), opened()
    fill(first, config_json="first")
    first.publish()
    fill(second, config_json="second")
    with pytest.raises(BucketError, match=r"config.json was changed by another"):
        second.publish()
    third = opened()
    fill(first, config_json="first again")
    first.publish()
    (third.local / "config.json").unlink()
    with pytest.raises(BucketError, match="one run at a time"):
        third.publish()
    assert stored(server) == {"config.json": b"first again"}


@pytest.mark.parametrize("changed", [b"3", None])
def test_what_changes_while_it_is_read(changed, server):
    server.put("runs/a/config.json", b"2")

    def change(method: str, name: str) -> int:
        if method == "GET" and name.endswith("config.json"):
            server.fault = lambda method, name: 0
            server.change("runs/a/config.json", changed)
        return 0

    server.fault = change
    with pytest.raises(BucketError, match=r"config\.json was changed by another"):
        open_workdir(ADDRESS)


def test_a_lost_answer_is_no_second_run(server, opened):
    workdir = opened()
    fill(workdir, config_json="{}")
    lost = iter([ANSWER_IS_LOST])
    server.fault = lambda method, path: next(lost, 0) if method == "POST" else 0
    workdir.publish()
    assert [m for m, _ in server.requests].count(
        "POST"
    ) == 3  # the first: may it write?
    fill(workdir, config_json="{2}")
    workdir.publish()
    assert stored(server) == {"config.json": b"{2}"}


@pytest.mark.parametrize("name", ["a//b", "../b", "c/../../b", "./b"])
def test_names_that_no_file_here_may_have(name, server):
    server.put("runs/a/b", b"")
    server.rename("runs/a/b", f"runs/a/{name}")
    with pytest.raises(BucketError, match="no file can have this name"):
        open_workdir(ADDRESS)


def test_a_file_that_is_also_a_folder(server):
    server.put("runs/a/b", b"")
    server.put("runs/a/b/c", b"")
    with pytest.raises(BucketError, match="b/c: no file can have this name"):
        open_workdir(ADDRESS)


def test_the_extra_is_not_installed(server, monkeypatch):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(
        ImportError, match=r'; install them: pip install "avemo_jax\[gcs'
    ):
        open_workdir(ADDRESS)


def test_no_such_bucket(server):
    with pytest.raises(BucketError, match="there is no bucket 'other'") as caught:
        open_workdir("gs://other/runs/a")
    assert "gcloud storage buckets create gs://other" in str(caught.value)


def test_no_right_to_write(server, opened):
    server.fault = lambda method, path: 403 if method != "GET" else 0
    with pytest.raises(BucketError, match=f"no right to write {ADDRESS} ") as caught:
        opened()
    assert "roles/storage.objectAdmin" in str(caught.value)
    assert below(opened(writes=False)) == {}


def test_no_right_to_read(server):
    server.fault = lambda method, path: 403
    with pytest.raises(BucketError, match=f"no right to open {ADDRESS} "):
        open_workdir(ADDRESS)


def test_another_answer(server):
    server.fault = lambda method, path: 400
    with pytest.raises(BucketError, match="expected an answer of Google Cloud Storage"):
        open_workdir(ADDRESS)


@pytest.mark.parametrize("key", [None, "missing.json"])
def test_no_credentials(key, monkeypatch, tmp_path, server):
    for name in GCLOUD:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    if key:
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / key))
    with pytest.raises(BucketError, match="no credentials") as caught:
        open_workdir(ADDRESS)
    assert "gcloud auth application-default login" in str(caught.value)


_NAMES = st.sampled_from(
    ["a", "b.csv", "c/d", "c/head.json", "c/e/f", "results.json", "c/results.json"]
)
_EDITS = st.lists(
    st.one_of(
        st.tuples(_NAMES, st.binary(max_size=20)),
        st.tuples(_NAMES, st.none()),
        st.tuples(st.just("publish"), st.none()),
        st.tuples(st.just("reopen"), st.none()),
    ),
    max_size=20,
)


@settings(deadline=None, max_examples=20)
@given(edits=_EDITS)
def test_the_bucket_follows_any_edits(edits, server_of_module, tmp_path_factory):
    server_of_module.empty()
    cache = str(tmp_path_factory.mktemp("cache"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AVEMO_CACHE", cache)
        workdir = open_workdir(ADDRESS)
        for name, content in [*edits, ("publish", None)]:
            path = workdir.local / name
            if name == "publish":
                workdir.publish()
                assert stored(server_of_module) == below(workdir)
            elif name == "reopen":
                expected = stored(server_of_module)
                workdir.close()
                workdir = open_workdir(ADDRESS)
                assert below(workdir) == expected
            elif content is None:
                path.unlink(missing_ok=True)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        workdir.close()


def write_run(workdir: Workdir, text: str) -> None:
    """Five files with the same content."""
    fill(workdir, results_json=text * 5000, a_csv=text * 5000, b_csv=text * 5000)
    fill(workdir, best__head_json=text * 5000, best__params=text * 5000)


_PUBLISH = """
import pathlib, sys, time
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/runtime"]
from test_workdir import ADDRESS, open_workdir, write_run
workdir = open_workdir(ADDRESS)
print("opened", workdir.local, flush=True)
write_run(workdir, "new")
workdir.publish()
print("published", flush=True)
time.sleep(60)
"""


def start_run() -> "tuple[subprocess.Popen[str], pathlib.Path]":
    """A process that publishes new files, and its private folder."""
    folder = str(pathlib.Path(__file__).parents[1])
    command = [sys.executable, "-W", "error", "-c", _PUBLISH, folder]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)
    assert process.stdout is not None
    first, _, path = process.stdout.readline().partition(" ")
    assert first == "opened"
    return process, pathlib.Path(path.rstrip())


def kill(process: "subprocess.Popen[str]") -> str:
    """What it wrote since."""
    process.kill()
    output, errors = process.communicate()
    assert errors == ""
    return output


def writes_after(number: int, answer: int, come: threading.Event):
    """A fault: all writes but the first ``number`` get ``answer``."""
    writes: list[str] = []

    def fault(method: str, name: str) -> int:
        if method == "GET" or name.endswith(".write_check"):
            return 0
        writes.append(name)
        if len(writes) <= number:
            return 0
        come.set()
        return answer

    return fault


def check_half_published(server, opened, written: int) -> None:
    """What is there tells no lie, and the next run completes it."""
    server.fault = lambda method, name: 0
    found = stored(server)
    texts = {name: content.decode()[:3] for name, content in found.items()}
    assert all(
        content.decode() == texts[name] * 5000 for name, content in found.items()
    )
    assert texts["results.json"] == "old"  # it is the last
    assert list(texts.values()).count("new") == max(0, written - 1)
    # The first write took the card away, the last but one brings the new one.
    card = {0: "old", 5: "new"}.get(written)
    assert texts.get("best/head.json") == card
    assert card in (None, texts["best/params"])

    again = opened()
    assert below(again) == found
    write_run(again, "new")
    again.publish()
    assert set(stored(server).values()) == {b"new" * 5000}


@pytest.fixture
def published(server, opened) -> Workdir:
    """An old run."""
    workdir = opened()
    write_run(workdir, "old")
    workdir.publish()
    return workdir


@pytest.mark.parametrize("written", range(6))
def test_a_publish_that_is_cut_off(written, server, opened, published):
    server.fault = writes_after(written, 400, threading.Event())
    write_run(published, "new")
    with pytest.raises(BucketError, match="could not "):
        published.publish()
    check_half_published(server, opened, written)


@pytest.mark.slow
def test_a_killed_publish(server, opened, published):
    published.close()
    come = threading.Event()
    server.fault = writes_after(3, 503, come)
    process, _ = start_run()
    assert come.wait(30)
    assert kill(process) == ""
    check_half_published(server, opened, 3)


@pytest.mark.slow
def test_a_killed_run_leaves_its_place(server, opened):
    process, path = start_run()
    assert opened().local != path
    assert process.stdout is not None
    assert process.stdout.readline() == "published\n"
    (path / "unpublished.txt").write_text("")
    kill(process)
    again = opened()
    assert again.local == path
    assert below(again) == stored(server)
    assert len(below(again)) == 5
