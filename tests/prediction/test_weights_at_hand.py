"""Weights that are fetched on first use, from a server on this machine."""

import dataclasses
import hashlib
import pathlib
import subprocess
import sys
import threading

import numpy as np
import pytest
import safetensors.numpy
from made.faulty_server import honest, serving, status
from made.weights import made_state

from avemo_jax.convert import fetch
from avemo_jax.convert.download import download
from avemo_jax.convert.transfer import Patience
from avemo_jax.embed.weights import (
    WeightsError,
    default_weights_path,
    read_weights,
    weights_dir,
)
from avemo_jax.extraction.face_detector import load_face_detector
from avemo_jax.extractors.published import PublishedFile
from avemo_jax.faces import yunet
from avemo_jax.faces.published import DETECTOR
from avemo_jax.prediction import weights_at_hand
from avemo_jax.prediction.weights_at_hand import fetch_missing, missing_weights

QUICK = Patience(backoff_s=0.001, read_s=5.0)
FILE = "yunet_n.safetensors"


@pytest.fixture
def cache(tmp_path, monkeypatch) -> pathlib.Path:
    monkeypatch.setenv("AVEMO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.delenv("AVEMO_OFFLINE", raising=False)
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def content() -> bytes:
    return safetensors.numpy.save(made_state(yunet.state_shapes()))


@pytest.fixture
def server(cache, content):
    with serving({FILE: content}) as server:
        yield server


def local(url: str, content: bytes):
    """The detector as if it were published at ``url``."""
    source = PublishedFile(FILE, url, sha256=hashlib.sha256(content).hexdigest())
    return dataclasses.replace(DETECTOR, sources=(source,))


def quick(*args, patience, **kwargs):
    one = dataclasses.replace(QUICK, reaching=patience.reaching)
    return download(*args, patience=one, allow_loopback=True, **kwargs)


@pytest.fixture
def at_hand(server, content, monkeypatch):
    """Only the detector can be fetched, and from the server."""
    networks = {"yunet_n": local(server.url(FILE), content)}
    monkeypatch.setattr(weights_at_hand, "NETWORKS", networks)
    monkeypatch.setattr(fetch, "download", quick)
    return networks


def failing(names=("yunet_n",), **options) -> str:
    """The line of the error that comes of fetching."""
    with pytest.raises(WeightsError) as error:
        fetch_missing(names, show_progress=False, say=lambda line: None, **options)
    text = str(error.value)
    assert "\n" not in text
    return text


def test_first_use(at_hand, server, capsys):
    assert fetch_missing(["yunet_n", "yunet_n"], show_progress=False) == ("yunet_n",)
    first, second = capsys.readouterr().err.splitlines()
    assert first == f"fetching once, about 1 MB, to {weights_dir()}: yunet_n"
    assert second == f"yunet_n: ready, licence: {DETECTOR.licence}"
    load_face_detector()
    assert fetch_missing(["yunet_n"]) == ()
    assert capsys.readouterr().err == ""
    assert len(server.requests) == 1
    assert sorted(path.name for path in weights_dir().iterdir()) == ["sources", FILE]


def test_what_is_missing(cache):
    assert missing_weights(["face_hog", "acoustic", "plug_in_of_others"]) == ()
    assert missing_weights(["hsemotion", "enet_b0_8_va_mtl"]) == ("enet_b0_8_va_mtl",)
    assert len(missing_weights(["yunet_n", "thesis"])) == 8
    silent = missing_weights(["yunet_n", "thesis"], sound=False)
    assert silent == (
        "yunet_n",
        "enet_b2_8_best",
        "best_EXPR_mlp_visual",
        "best_AU_mlp_visual",
        "best_VA_mlp_visual",
    )


def test_offline(at_hand, server, monkeypatch):
    said = failing(offline=True)
    assert said.startswith("weights are missing: yunet_n (about 1 MB), and --offline")
    assert said.endswith("with a network, run 'avemo fetch yunet_n'")
    monkeypatch.setenv("AVEMO_OFFLINE", "1")
    assert "and AVEMO_OFFLINE=1 lets nothing be fetched" in failing()
    monkeypatch.setenv("AVEMO_OFFLINE", "0")
    assert server.requests == []
    fetch_missing(["yunet_n"], show_progress=False)
    assert fetch_missing(["yunet_n"], offline=True) == ()


def test_offline_names_all_that_is_missing(cache):
    said = failing(["yunet_n", "thesis"], offline=True)
    assert "avemo fetch yunet_n enet_b2_8_best wav2vec2_base best_EXPR_mlp_" in said


@pytest.mark.parametrize("host", ["http://127.0.0.1:9/", "https://nowhere.invalid/"])
def test_no_network_is_told_at_once(at_hand, content, host, monkeypatch, caplog):
    monkeypatch.setitem(at_hand, "yunet_n", local(host + FILE, content))
    said = failing()
    assert "and no network is reached (http" in said
    assert said.endswith("with a network, run 'avemo fetch yunet_n'")
    assert caplog.text == ""
    assert not default_weights_path("yunet_n").exists()


def test_a_server_with_a_bad_day_is_asked_again(at_hand, server):
    server.faults = [status(503), status(503)]
    assert fetch_missing(["yunet_n"], show_progress=False) == ("yunet_n",)
    assert len(server.requests) == 3


def test_other_bytes_are_refused(at_hand, server):
    server.files[FILE] = b"something else"
    assert "it is not yunet_n.safetensors as published" in failing()
    assert not default_weights_path("yunet_n").exists()


def test_a_cache_that_is_a_file(at_hand, cache):
    cache.write_text("")
    said = failing()
    assert "the cache directory cannot be written" in said
    assert "set AVEMO_CACHE to a folder of your own" in said


def test_damaged_weights_name_the_command(at_hand):
    fetch_missing(["yunet_n"], show_progress=False)
    path = default_weights_path("yunet_n")
    path.write_bytes(path.read_bytes()[:-50])
    assert missing_weights(["yunet_n"]) == ()
    with pytest.raises(WeightsError, match="'avemo fetch yunet_n --overwrite'"):
        load_face_detector()


def test_a_folder_in_the_place_of_weights(at_hand):
    default_weights_path("yunet_n").mkdir(parents=True)
    assert missing_weights(["yunet_n"]) == ("yunet_n",)
    assert "yunet_n.safetensors" in failing()


def test_a_link_to_nowhere_in_the_place_of_weights(at_hand, tmp_path):
    path = default_weights_path("yunet_n")
    path.parent.mkdir(parents=True)
    path.symlink_to(tmp_path / "gone")
    said = failing()
    assert "yunet_n.safetensors is there already; expected a new name" in said
    assert said.endswith("by 'avemo fetch yunet_n --overwrite'")


_FETCH = """
import dataclasses, functools, sys
from avemo_jax.convert import fetch
from avemo_jax.convert.download import download
from avemo_jax.faces.published import DETECTOR
from avemo_jax.prediction import weights_at_hand
url, sha256 = sys.argv[1:]
source = dataclasses.replace(
    DETECTOR.sources[0],
    file="yunet_n.safetensors", url=url, sha256=sha256, git_blob="",
)
network = dataclasses.replace(DETECTOR, sources=(source,))
weights_at_hand.NETWORKS = {"yunet_n": network}
fetch.download = functools.partial(download, allow_loopback=True)
print(weights_at_hand.fetch_missing(["yunet_n"]), flush=True)
"""


@pytest.mark.release
def test_two_processes_at_once(server, content):
    asked = threading.Barrier(2)

    def slow(handler):
        """Answers once the other process is there, or has had the time to be."""
        try:
            asked.wait(5)
        except threading.BrokenBarrierError:
            pass
        honest(handler)

    server.faults = [slow]
    sha256 = hashlib.sha256(content).hexdigest()
    command = [sys.executable, "-W", "error", "-c", _FETCH, server.url(FILE), sha256]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **pipes) for _ in range(2)]
    told = []
    # The one that waits says for whom before the file comes.
    for process in processes:
        told.append(process.stderr.readline())
    asked.abort()
    texts = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], texts
    assert sorted("is in use by process" in line for line in told) == [False, True]
    assert len(server.requests) == 1
    tensors, _ = read_weights(default_weights_path("yunet_n"), extractor="yunet_n")
    assert set(tensors) == set(yunet.state_shapes())
    assert all(np.isfinite(array).all() for array in tensors.values())
