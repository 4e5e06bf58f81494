"""Settings of the whole test run: type checks on, CPU only."""

import os
import pathlib
from collections.abc import Iterator

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


@pytest.fixture(scope="session", autouse=True)
def avemo_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pathlib.Path]:
    """Caches of this run, one for all workers; the user's own are not touched."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    from avemo_jax.runtime.compilation import keep_compiled

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AVEMO_CACHE", str(root / "avemo_cache"))
        keep_compiled()
        yield root / "avemo_cache"


@pytest.fixture(scope="session")
def demo_store_dir(avemo_cache: pathlib.Path) -> pathlib.Path:
    """The demo corpus as a store, written once a run."""
    from avemo_jax.packing.demo.demo import demo_store

    return demo_store(avemo_cache)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where everything is installed, only tests of real material may skip."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or not os.environ.get("AVEMO_EXPECT_NO_SKIPS"):
        return
    for report in reporter.stats.get("skipped", []):
        if "no real material" not in str(report.longrepr):
            reporter.write_line(f"unexpected skip: {report.nodeid} {report.longrepr}")
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
