"""Files changed at random read, or are refused by the reader's own error."""

import gzip
import pathlib
import pickle
import re
import subprocess
import sys

import pytest
from made.torch_files import (
    Call,
    Filled,
    Name,
    floats,
    legacy_form,
    module,
    parameter,
    pickled,
    storage,
    tensor,
    zip_form,
)

ROOT = pathlib.Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "fuzz_torch_file.py"


@pytest.fixture(scope="module")
def originals(tmp_path_factory) -> list[pathlib.Path]:
    """Small files of both forms: weights, a module, plain values, protocol 4."""
    folder = tmp_path_factory.mktemp("originals")
    stored = storage("0", 12, view=(None,))
    net = module(
        "timm.models.Net",
        {"weight": parameter(tensor(stored, 2, (2, 3), (3, 1))), "bias": None},
        {"mean": tensor(stored, 0, (3,), (4,))},
        {"child": module("torch.nn.Linear", {"w": tensor(stored, 5, (), ())})},
        act=Filled(
            Call(Name("functools", "partial"), (Name("torch", "relu"),)),
            (Name("torch", "relu"), (), {}, None),
        ),
        kind=Call(Name("timm.layers", "PadMode"), ("same",)),
        names={"a", "b"},
    )
    weights = {f"layer.{i}": tensor(stored, i, (2, 2), (1, 2)) for i in range(8)}
    plain = pickle.dumps({"a": [1, 2.5, (None, True)], 3: {"x"}, "b": b"bytes"}, 4)
    values = {"net": pickled(net), "weights": pickled(weights), "plain": plain}
    for name, value in values.items():
        legacy = {} if name == "plain" else {"0": (12, floats(12))}
        (folder / f"{name}_legacy.pt").write_bytes(legacy_form(value, legacy))
        value = value.replace(b"NtQ", b"tQ")  # no views in archives
        (folder / f"{name}.pt").write_bytes(zip_form(value, {"0": floats(12)}))
    packed = (ROOT / "tests" / "golden" / "timm_0.4.12_zip.pt.gz").read_bytes()
    (folder / "timm.pt").write_bytes(gzip.decompress(packed))
    return sorted(folder.iterdir())


def fuzz(originals, tmp_path, files: int, seed: int) -> dict[str, int]:
    command = [sys.executable, "-W", "error", SCRIPT, *originals]
    command += [f"--files={files}", f"--seed={seed}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    counts = {n: int(c) for n, c in re.findall(r"([a-z][a-z, ]*): (\d+)", done.stdout)}
    assert sum(counts.values()) == files
    return counts


def test_originals_read(originals, tmp_path):
    from avemo_jax.convert.torch_file import read_torch, state_dict_of

    assert len(originals) == 7
    for path in originals:
        value = read_torch(path)
        assert "plain" in path.name or state_dict_of(value)


def test_a_few_thousand_changed_files(originals, tmp_path):
    counts = fuzz(originals, tmp_path, 3000, seed=1)
    # The changes are neither too small nor too great to reach all of the reader.
    for name in ("read", "damaged", "asks to run code", "no such file"):
        assert counts[name] > 100, counts


@pytest.mark.slow
def test_ten_thousand_changed_files(originals, tmp_path):
    assert fuzz(originals, tmp_path, 10_000, seed=2)["read"] > 100
