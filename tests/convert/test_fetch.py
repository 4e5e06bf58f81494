"""`avemo fetch`: what is downloaded, what it is converted to, what is said."""

import dataclasses
import functools
import hashlib
import io
import json
import os
import pathlib
import random
import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy
from made.faulty_server import cut_after, cut_before, serving, status

from avemo_jax.convert import fetch
from avemo_jax.convert.conversion import Converted
from avemo_jax.convert.download import download
from avemo_jax.convert.published_networks import NETWORKS
from avemo_jax.convert.rules import ConversionError
from avemo_jax.convert.transfer import Patience
from avemo_jax.embed.weights import (
    default_weights_path,
    read_weights,
    weights_dir,
    write_weights,
)
from avemo_jax.extractors import EXTRACTORS
from avemo_jax.extractors.efficientnet import EfficientNetSpec, state_shapes
from avemo_jax.extractors.published import THESIS_HEADS, PublishedFile
from avemo_jax.models.card import read_card

ROOT = pathlib.Path(__file__).parents[2]
QUICK = Patience(backoff_s=0.001, read_s=2.0)


def content(name: str) -> bytes:
    return random.Random(name).randbytes(5_000)


def local(source, server, *, checked: bool = True):
    """``source`` as if ``server`` had published it."""
    server.files[source.file] = content(source.file)
    digest = hashlib.sha256(content(source.file)).hexdigest()
    return dataclasses.replace(
        source,
        url=server.url(source.file),
        git_blob="",
        sha256=digest if checked else "",
        companions=tuple(local(c, server) for c in source.companions),
    )


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("AVEMO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "*")
    return tmp_path / "cache"


@pytest.fixture
def server(cache, monkeypatch):
    """Every source lies on a server on this machine."""
    with serving({}) as server:
        networks = {
            name: dataclasses.replace(
                network,
                sources=tuple(
                    local(s, server, checked=s.checkable) for s in network.sources
                ),
            )
            for name, network in NETWORKS.items()
        }
        heads = tuple(
            dataclasses.replace(head, source=local(head.source, server))
            for head in THESIS_HEADS
        )
        monkeypatch.setattr(fetch, "NETWORKS", networks)
        monkeypatch.setattr(fetch, "THESIS_HEADS", heads)
        loopback = functools.partial(download, allow_loopback=True)

        def quick(*args, patience=None, **kwargs):
            attempts = patience.attempts if patience else QUICK.attempts
            one = dataclasses.replace(QUICK, attempts=attempts)
            return loopback(*args, patience=one, **kwargs)

        monkeypatch.setattr(fetch, "download", quick)
        yield server


@pytest.fixture
def converted(monkeypatch):
    """Conversions that were asked for; each writes what can be told from others."""
    calls = []

    def convert(name, source, out, *, pca=None, features=None, overwrite=False):
        assert overwrite or not out.exists()
        calls.append((name, source, out, pca, features))
        if source.read_bytes() != content(source.name.replace(" (1)", "")):
            raise ConversionError(f"{source.name} cannot be converted")
        if name == "head":
            (out / "params").mkdir(parents=True, exist_ok=True)
            (out / "head.json").write_text(json.dumps({"from": source.name}))
        else:
            write_weights(out, {"x": np.zeros(1)}, {"extractor": name})
        return Converted(name, out, 1, 1, "made up", ("a note",))

    monkeypatch.setattr(fetch, "convert", convert)
    return calls


def published(server, source, data: bytes):
    """``source`` as if ``server`` had published ``data`` as it."""
    server.files[source.file] = data
    digest = hashlib.sha256(data).hexdigest()
    url = server.url(source.file)
    return PublishedFile(source.file, url, sha256=digest)


def asked(server) -> list[str]:
    return [path.lstrip("/") for path, _ in server.requests]


@pytest.mark.parametrize(
    "name", [name for name, one in NETWORKS.items() if one.needs_weights]
)
def test_network(server, converted, capsys, name):
    assert fetch.main([name]) == 0
    preferred = fetch.NETWORKS[name].sources[0]
    source = fetch.sources_dir() / preferred.file
    out = default_weights_path(name)
    pca = fetch.sources_dir() / "vggish_pca_params.npz" if name == "vggish" else None
    assert converted == [(name, source, out, pca, None)]
    assert asked(server) == [s.file for s in (preferred, *preferred.companions)]
    said = capsys.readouterr().out
    assert f"{name}: ready" in said
    assert "a note" in said
    assert str(out) in said
    assert f"licence: {NETWORKS[name].licence}" in said

    assert fetch.main([name]) == 0
    assert f"{name}: there already" in capsys.readouterr().out
    assert len(converted) == 1
    assert fetch.main([name, "--overwrite"]) == 0
    assert len(converted) == 2
    # The published file is kept.
    assert len(server.requests) == 1 + len(preferred.companions)


def test_all_that_a_model_needs(server, converted, capsys):
    assert fetch.main(["hsemotion"]) == 0
    assert [call[0] for call in converted] == ["yunet_n", "enet_b0_8_va_mtl"]


def test_an_extractor_without_weights(server, converted, capsys):
    assert fetch.main(["face_hog"]) == 0
    assert capsys.readouterr().out == "face_hog: ready, for it has no weights\n"
    assert not converted
    assert not server.requests


def test_several(server, converted, capsys):
    server.faults = [status(404)]
    assert fetch.main(["vggish", "enet_b2_8", "wav2vec2_base"]) == 1
    out, err = capsys.readouterr()
    assert "error: vggish: " in err
    assert "enet_b2_8: ready" in out
    assert "wav2vec2_base: ready" in out


def test_another_source_is_taken_only_when_asked_for(server, converted, capsys):
    server.faults = [status(404)]
    assert fetch.main(["enet_b2_8_best"]) == 1
    err = capsys.readouterr().err
    assert "answers 404" in err
    assert str(fetch.sources_dir() / "enet_b2_8_best.pt") in err
    assert "another source: --source enet_b2_8_best.onnx" in err
    assert asked(server) == ["enet_b2_8_best.pt"]
    assert converted == []
    assert fetch.main(["enet_b2_8_best", "--source", "enet_b2_8_best.onnx"]) == 0
    assert asked(server)[1:] == ["enet_b2_8_best.onnx"]
    assert converted[0][1].name == "enet_b2_8_best.onnx"
    assert fetch.main(["enet_b2_8_best", "--source", "x", "--overwrite"]) == 1
    assert "'x' for enet_b2_8_best; expected one of" in capsys.readouterr().err


def test_wrong_bytes(server, converted, capsys):
    server.files["enet_b2_8.pt"] = b"something else"
    assert fetch.main(["enet_b2_8"]) == 1
    err = capsys.readouterr().err
    assert hashlib.sha256(b"something else").hexdigest() in err
    assert fetch.NETWORKS["enet_b2_8"].sources[0].sha256 in err
    assert converted == []
    assert list(fetch.sources_dir().iterdir()) == []


def test_published_file_that_cannot_be_converted(server, converted, capsys):
    server.files["wav2vec2_fairseq_base_ls960.pth"] = b"nothing to check this by"
    assert fetch.main(["wav2vec2_base"]) == 1
    assert "cannot be converted" in capsys.readouterr().err
    assert not default_weights_path("wav2vec2_base").exists()


def test_from_a_file(server, converted, tmp_path, capsys):
    folder = tmp_path / "stick"
    folder.mkdir()
    path = folder / "enet_b2_8_best.onnx"
    command = ["enet_b2_8_best", "--from", str(path)]
    assert fetch.main(command) == 1
    assert "no such file" in capsys.readouterr().err
    path.write_bytes(b"wrong")
    assert fetch.main(command) == 1
    assert hashlib.sha256(b"wrong").hexdigest() in capsys.readouterr().err
    path.write_bytes(content(path.name))
    assert fetch.main(command) == 0
    # Under another name it is the preferred source, or the one that is named.
    other = folder / "enet_b2_8_best (1).pt"
    other.write_bytes(content("enet_b2_8_best.pt"))
    assert fetch.main([*command[:2], str(other), "--overwrite"]) == 0
    command = [*command[:2], str(other), "--source", "enet_b2_8_best.onnx"]
    assert fetch.main([*command, "--overwrite"]) == 1
    assert [call[1] for call in converted] == [path, other]
    assert server.requests == []
    assert not fetch.sources_dir().exists()


@pytest.mark.parametrize("of", ["file", "folder"])
def test_from_a_place_with_companions(server, converted, tmp_path, capsys, of):
    body, pca = tmp_path / "vggish-10086976.pth", tmp_path / "vggish_pca_params.npz"
    body.write_bytes(content(body.name))
    command = ["vggish", "--from", str(body if of == "file" else tmp_path)]
    assert fetch.main(command) == 1
    assert f"{pca}: no such file; expected vggish_pca" in capsys.readouterr().err
    pca.write_bytes(content(pca.name))
    assert fetch.main(command) == 0
    assert converted == [("vggish", body, default_weights_path("vggish"), pca, None)]
    assert server.requests == []


def test_weights_that_are_others(server, converted, capsys):
    out = default_weights_path("vggish")
    write_weights(out, {"x": np.zeros(1)}, {"extractor": "enet_b2_8"})
    assert fetch.main(["vggish"]) == 1
    assert "weights of 'enet_b2_8'; expected vggish" in capsys.readouterr().err
    out.write_bytes(b"damaged")
    assert fetch.main(["vggish"]) == 1
    assert "--overwrite replaces it" in capsys.readouterr().err
    assert converted == []
    assert fetch.main(["vggish", "--overwrite"]) == 0


def test_thesis(server, converted, capsys):
    assert fetch.main(["thesis"]) == 0
    out = capsys.readouterr().out
    assert "licence: none stated" in out
    assert "19 of 19 heads are there" in out
    assert len(converted) == 19
    for head, call in zip(THESIS_HEADS, converted, strict=True):
        place = weights_dir() / "thesis" / head.name
        assert call == (
            "head",
            fetch.sources_dir() / head.source.file,
            place,
            None,
            head.features,
        )
        assert f"{head.name}: ready, {place}" in out
    assert fetch.main(["thesis"]) == 0
    assert capsys.readouterr().out.count("there already") == 19
    assert len(server.requests) == len(converted) == 19


def test_thesis_with_failures(server, converted, capsys):
    first, second = THESIS_HEADS[0], THESIS_HEADS[3]
    server.files[first.source.file] = b"other bytes"
    del server.files[second.source.file]
    assert fetch.main(["thesis"]) == 1
    out, err = capsys.readouterr()
    assert out.count(": failed") == 2
    assert "17 of 19 heads are there" in out
    assert f"error: {first.name}: " in err
    assert hashlib.sha256(b"other bytes").hexdigest() in err
    assert f"error: {second.name}: " in err
    assert "answers 404" in err
    server.files |= {h.source.file: content(h.source.file) for h in (first, second)}
    assert fetch.main(["thesis"]) == 0
    assert len(converted) == 19


def test_thesis_without_network_ends_soon(server, converted, capsys):
    server.faults = [cut_before] * 99
    assert fetch.main(["thesis"]) == 1
    assert "0 of 19" in capsys.readouterr().out
    assert len(server.requests) == QUICK.attempts + 18


def test_one_head(server, converted, tmp_path, capsys):
    head = THESIS_HEADS[9]
    assert head.name == "best_AU_mlp_effnet_b0_vggish"
    assert fetch.main([head.name]) == 0
    assert "licence: none stated" in capsys.readouterr().out
    assert [call[4] for call in converted] == [("enet_b0_8_va_mtl", "vggish")]
    path = tmp_path / head.source.file
    path.write_bytes(content(path.name))
    assert fetch.main([head.name, "--overwrite", "--from", str(path)]) == 0
    assert converted[1][1] == path
    assert fetch.main(["thesis", "--from", str(tmp_path)]) == 1
    assert len(server.requests) == 1


def test_network_in_earnest(server, monkeypatch, capsys):
    extractor = fetch.NETWORKS["enet_b0_8_va_mtl"]
    rng = np.random.default_rng(0)
    tensors = {
        name: rng.standard_normal(shape, dtype=np.float32)
        for name, shape in state_shapes(EfficientNetSpec("b0", 10)).items()
    }
    source = PublishedFile("enet_b0_8_va_mtl.safetensors", "")
    source = published(server, source, safetensors.numpy.save(tensors))
    extractor = dataclasses.replace(extractor, sources=(source,))
    monkeypatch.setitem(fetch.NETWORKS, extractor.name, extractor)
    server.faults = [cut_after(2**23), status(503)]
    assert fetch.main([extractor.name]) == 0
    found, metadata = read_weights(default_weights_path(extractor.name))
    assert metadata["extractor"] == extractor.name
    assert metadata["source_sha256"] == source.sha256
    assert sorted(found) == sorted(tensors)
    assert all(np.array_equal(found[name], tensors[name]) for name in found)
    assert fetch.main([extractor.name]) == 0
    assert "there already" in capsys.readouterr().out
    assert len(server.requests) == 3


@pytest.mark.parity
def test_head_in_earnest(server, monkeypatch, capsys):
    torch = pytest.importorskip("torch")
    head = next(h for h in fetch.THESIS_HEADS if h.name == "best_AU_mlp_visual_vggish")
    layers = {"fc1": torch.nn.Linear(1536, 128), "fc2": torch.nn.Linear(128, 12)}
    file = io.BytesIO()
    torch.save(torch.nn.ModuleDict(layers).state_dict(), file)
    source = published(server, head.source, file.getvalue())
    head = dataclasses.replace(head, source=source)
    monkeypatch.setattr(fetch, "THESIS_HEADS", (head,))
    assert fetch.main(["thesis"]) == 0
    assert f"ready, {fetch.head_path(head)}" in capsys.readouterr().out
    card = read_card(fetch.head_path(head))
    assert card.task == "AU"
    assert [one.name.split("@")[0] for one in card.features] == [*head.features]
    assert card.training_videos == "unknown"
    assert card.provenance.source_sha256 == source.sha256
    assert "none stated" in card.provenance.licence
    assert fetch.main(["thesis", "--overwrite"]) == 0
    assert len(server.requests) == 1


def test_a_file_that_is_not_there(cache, capsys):
    place = cache / "vggish.pth"
    assert fetch.main(["vggish", "--from", str(place)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"avemo fetch: error: vggish: {place}: no such file")


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(["-u"], marks=pytest.mark.release, id="by line"),
        pytest.param([], marks=pytest.mark.slow, id="as a whole"),
    ],
)
def test_a_list_that_nobody_reads_ends_quietly(cache, options):
    """As before ``head``, which leaves when it has its lines."""
    command = [sys.executable, "-W", "error", *options]
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [*command, "-m", "avemo_jax.cli", "fetch", "--list"],
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_list(server, converted, capsys):
    assert fetch.main(["enet_b2_8", THESIS_HEADS[0].name]) == 0
    capsys.readouterr()
    assert fetch.main(["--list"]) == 0
    out = capsys.readouterr().out
    assert f"enet_b2_8: {default_weights_path('enet_b2_8')}" in out
    assert "vggish: not fetched" in out
    assert "  vggish_pca_params.npz: http" in out
    assert f"{THESIS_HEADS[0].name}: {weights_dir()}" in out
    assert f"{THESIS_HEADS[1].name}: not fetched" in out
    assert "face_hog: has no weights" in out
    for network in NETWORKS.values():
        assert network.licence in out
        assert all(source.file in out for source in network.sources)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "nothing to fetch"),
        (
            ["wav2vec"],
            "unknown name 'wav2vec'; did you mean wav2vec2_base? expected one of enet",
        ),
        (["yunet"], "unknown name 'yunet'; did you mean yunet_n?"),
        (["vggish", "enet_b2_8", "--from", "x"], "2 names; expected one"),
        (["thesis", "--source", "x"], "has one source"),
        (["thesis", "--from", "/nowhere"], "expected a folder"),
    ],
)
def test_wrong_use(cache, capsys, arguments, words):
    with pytest.raises(SystemExit) as stop:
        fetch.main(arguments)
    assert stop.value.code == 2
    assert words in capsys.readouterr().err


def test_stopped_by_hand(server, converted, monkeypatch, capsys):
    def stopped(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(fetch, "download", stopped)
    assert fetch.main(["vggish"]) == 130
    assert "the same command goes on" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["vggish", THESIS_HEADS[0].name])
def test_another_process_is_first(server, converted, monkeypatch, capsys, name):
    """It ended while this one waited for the download."""
    inner = fetch.download

    def slow(*args, **kwargs):
        path = inner(*args, **kwargs)
        with monkeypatch.context() as patch:
            patch.setattr(fetch, "download", inner)
            assert fetch.main([name]) == 0
        return path

    monkeypatch.setattr(fetch, "download", slow)
    assert fetch.main([name]) == 0
    assert "there already" in capsys.readouterr().out
    assert len(converted) == 1


def test_table_of_sources():
    """No two share a file in the cache; all over https; the heads are the 19."""
    sources = [s for network in NETWORKS.values() for s in network.sources]
    sources += [c for s in sources for c in s.companions]
    sources += [head.source for head in THESIS_HEADS]
    assert len({s.file for s in sources}) == len(sources)
    assert all(s.url.startswith("https://") for s in sources)
    for source in sources:  # all of Hugging Face's have one name there
        published = source.url.rsplit("/", 1)[-1]
        renamed = published == "pytorch_model.bin"
        assert source.file.endswith(f"-{published}" if renamed else published)
        assert len(source.sha256) in (0, 8, 64)
        assert not source.sha256 or int(source.sha256, 16)
    blobs = [s.git_blob for s in sources if s.git_blob]
    assert len(set(blobs)) == len(blobs)
    assert all(len(blob) == 40 and int(blob, 16) for blob in blobs)
    assert len(THESIS_HEADS) == 19
    assert {h.task for h in THESIS_HEADS} == {"EXPR", "AU", "VA"}
    assert all(set(h.features) <= set(EXTRACTORS) for h in THESIS_HEADS)
    assert not set(NETWORKS) & {h.name for h in THESIS_HEADS}
