"""A whole run in a bucket, on a server on this machine, by two processes."""

import json
import os

import pytest
from made.bucket_server import BUCKET, running
from made.several_processes import Run
from made.tiny_store import build_tiny_store


@pytest.mark.release
def test_two_processes_train_in_a_bucket(tmp_path):
    store = build_tiny_store(tmp_path / "tiny")
    local = Run(store, tmp_path / "local").finish()
    with running() as server:
        address = f"gs://{BUCKET}/runs/a"
        environment = {**os.environ, **server.environment()}
        run = Run(store, address, environment=environment)
        assert run.codes() == [0, 0], run.said()
        assert f"Written to {address}/" in run.said()
        there = server.objects()
        names = {name.removeprefix("runs/a/") for name in there}
        for path in local.rglob("*"):
            name = path.relative_to(local).as_posix()
            if path.is_file() and not name.startswith(("checkpoints/", "best_model/p")):
                assert name in names, name
        assert {name.split("/")[0] for name in names} >= {"checkpoints", "best_model"}
        for name in ("results.json", "predictions.csv"):
            assert bytes(there[f"runs/a/{name}"]) == (local / name).read_bytes()
        card = json.loads(bytes(there["runs/a/best_model/head.json"]))
        ours = json.loads((local / "best_model" / "head.json").read_text())
        assert card["sha256"] == ours["sha256"]

        again = Run(store, address, environment=environment)
        assert again.codes() == [0, 0], again.said()
        assert "is finished: it is evaluated, not trained again" in again.said()
