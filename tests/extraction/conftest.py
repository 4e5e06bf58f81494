"""What the tests of extraction share: a small tree, and small networks' weights."""

import pathlib
from collections.abc import Iterator

import pytest
from made.extractors_once import extractors_made_once
from made.trees import make_tree, make_weights_dir
from made.weights import small_networks

FACES, SOUND = "enet_b0_8_va_mtl", "vggish"


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A small official tree, made once; tests that change it copy it."""
    return make_tree(tmp_path_factory.mktemp("tree") / "tree")


@pytest.fixture(scope="session")
def small_weights(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Weights of both extractors in the sizes of ``small_networks``, made once."""
    with small_networks():
        return make_weights_dir(tmp_path_factory.mktemp("weights"), [FACES, SOUND])


@pytest.fixture(scope="module")
def weights(small_weights: pathlib.Path) -> Iterator[pathlib.Path]:
    """The weights; while the module's tests run, the networks are small, too.

    Extractors of equal settings are made once for all of them.
    """
    with small_networks(), extractors_made_once():
        yield small_weights
