"""Runs that the tests of several modules share."""

import contextlib
import io
import pathlib

import pytest
from made.several_sets import build_several_sets, several_config

from avemo_jax import experiment
from avemo_jax.batches.tables import Data, open_data
from avemo_jax.evaluation import figures


@pytest.fixture(scope="session")
def store(tmp_path_factory) -> pathlib.Path:
    return build_several_sets(tmp_path_factory.mktemp("several"))


@pytest.fixture
def no_plots(monkeypatch) -> None:
    """Evaluations draw nothing."""
    monkeypatch.setattr(figures, "draw_figures", lambda *_, **__: None)


@pytest.fixture
def data(store) -> Data:
    return open_data(str(store))


@pytest.fixture(scope="session")
def blend_run(store, tmp_path_factory) -> pathlib.Path:
    """A run of faces and sound with all that may be chosen."""
    workdir = tmp_path_factory.mktemp("runs") / "blend"
    config = several_config(
        *(store, workdir),
        blend__features=("wav2vec2_base",),
        blend__trust_extractor=True,
        postprocess__correction="prior",
    )
    with contextlib.redirect_stdout(io.StringIO()):
        experiment.run_experiment(config)
    return workdir


@pytest.fixture(scope="session")
def heads(blend_run) -> list[pathlib.Path]:
    """The two heads of the run, which choose windows and a correction."""
    return [blend_run / f"head_{i}" / "best_model" for i in range(2)]
