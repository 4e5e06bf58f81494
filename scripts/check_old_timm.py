"""Reads whole pickled modules of old timm versions, such as HSEmotion's files.

Each version is installed by pip, without its dependencies, into a temporary folder, and
saves modules in both of PyTorch's forms; each must read as the state dict that torch
itself saved. ``--golden DIR`` also writes the small files that the tests keep.

    python scripts/check_old_timm.py [--golden tests/golden]
"""

import argparse
import gzip
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

from avemo_jax.convert.torch_file import read_torch, state_dict_of

VERSIONS = ("0.4.12", "0.6.13", "0.9.16")
# Runs with an old timm in front; torch itself is the one that is installed.
_SAVES = """
import collections.abc, pathlib, sys, types
folder, out, version = sys.argv[1:]
sys.path.insert(0, folder)
import torch
six = types.ModuleType("torch._six")  # gone from torch since timm 0.4
six.container_abcs = collections.abc
sys.modules["torch._six"] = six
library = torch.library.Library("torchvision", "FRAGMENT")
for name in ("nms", "qnms"):
    if not hasattr(torch.ops.torchvision, name):
        library.define(name + "(Tensor a, Tensor b, float c) -> Tensor")
import timm
from timm.models import efficientnet
assert timm.__version__ == version, timm.__version__

def saved(model, name):
    stem = pathlib.Path(out) / f"timm_{version}_{name}"
    torch.save(model, f"{stem}_zip.pt")
    torch.save(model, f"{stem}_legacy.pt", _use_new_zipfile_serialization=False)
    torch.save(model.state_dict(), f"{stem}.state")

for name in ("tf_efficientnet_b0_ns", "tf_efficientnet_b2_ns"):
    model = timm.create_model(name, num_classes=8)
    for buffer in model.buffers():
        buffer += 1
    saved(model, name)
    model.classifier = torch.nn.Sequential(torch.nn.Linear(model.num_features, 10))
    saved(model, name + "_sequential")
blocks = [["ds_r1_k3_s1_e1_c8_se0.25"], ["ir_r2_k3_s2_e2_c8_se0.25"]]
small = efficientnet.EfficientNet(
    efficientnet.decode_arch_def(blocks), num_classes=8, num_features=16, stem_size=8,
    pad_type="same", act_layer=efficientnet.resolve_act_layer({}, "swish"),
)
with torch.no_grad():
    for index, tensor in enumerate(small.state_dict().values()):
        counted = torch.arange(tensor.numel()).reshape(tensor.shape) % 7
        tensor.copy_(counted + index)

def no_source(*_):
    raise OSError("the legacy form keeps the classes' source text, if it is found")

torch.serialization.get_source_lines_and_file = no_source
saved(small, "small")
"""


def check(version: str, folder: pathlib.Path) -> int:
    """Checks the modules of one version.

    Args:
        version: Version of timm.
        folder: Where timm is installed and the modules are saved.

    Returns:
        How many modules were read, each with exactly the tensors that torch saved.

    Raises:
        AssertionError: If a module reads otherwise.
    """
    import torch

    packages = folder / version
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--target", packages, f"timm=={version}"], check=True)
    command = [sys.executable, "-W", "ignore", "-c", _SAVES, packages, folder, version]
    subprocess.run(command, check=True)
    paths = sorted(folder.glob(f"timm_{version}_*.pt"))
    for path in paths:
        found = state_dict_of(read_torch(path))
        state = f"{path}".rpartition("_")[0] + ".state"
        expected = torch.load(state, weights_only=True)
        assert list(found) == list(expected), path
        for name, value in expected.items():
            np.testing.assert_array_equal(found[name], value.numpy(), strict=True)
    return len(paths)


def main() -> None:
    """Checks all versions."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--golden", type=pathlib.Path, help="where small files go")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        for version in VERSIONS:
            print(f"timm {version}: {check(version, folder)} modules read as by torch")
            for path in folder.glob(f"timm_{version}_small_*.pt"):
                if options.golden:
                    name = path.name.replace("_small", "") + ".gz"
                    packed = gzip.compress(path.read_bytes(), mtime=0)
                    (options.golden / name).write_bytes(packed)


if __name__ == "__main__":
    main()
