"""Settings of the whole test run: type checks on, CPU only."""

import os
import pathlib

import pytest
from jaxtyping import install_import_hook

os.environ.setdefault("JAX_PLATFORMS", "cpu")
install_import_hook(["avemo_jax", "data_builders"], "beartype.beartype")


@pytest.fixture(scope="session")
def shared_data() -> pathlib.Path:
    """Real faces and sound in the official layout, where they are at hand."""
    default = pathlib.Path(__file__).parents[2] / "shared" / "data"
    path = pathlib.Path(os.environ.get("AVEMO_SHARED", default))
    if not (path / "affwild2_mini").is_dir():
        pytest.skip("no real material: set AVEMO_SHARED to a folder that has it")
    return path
