"""Settings of the whole test run: type checks on, CPU only."""

import contextlib
import gc
import logging
import os
import pathlib
import shutil
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
from absl import logging as absl_logging
from jaxtyping import install_import_hook
from made.browsing import ARGUMENTS
from made.compiling import QUICK_CODE

# What collecting the tests makes stays to the end: looking for garbage in it takes a
# sixth of that time, and again in every later search.
gc.disable()
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# XLA_FLAGS of the caller, also empty ones, stand in their place.
os.environ.setdefault("XLA_FLAGS", QUICK_CODE)
install_import_hook(["avemo_jax", "data_builders"], "beartype.beartype")


CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "chrome")
_LOGGERS = (logging.getLogger(), absl_logging.get_absl_logger())
_LEVELS = {logger: logger.level for logger in _LOGGERS}
DAYS_KEPT = 30  # compiled programs of earlier runs
# The dearest files, which start first: none is left to one worker at the end.
DEAR_FIRST = (
    *("test_tpu_compile", "test_processes", "test_kill", "test_bucket_run"),
    *("test_joint_training", "test_experiment", "test_train", "test_real_material"),
    *("test_real_preparation", "test_devices", "test_documentation", "test_wav2vec2"),
    *("test_efficientnet", "test_embed_wav2vec2", "test_blend", "test_head_scores"),
    *("test_ensembles", "test_embedded_frames", "test_main", "test_demo"),
    *("test_sound_alone", "test_own_videos", "test_page_browser", "test_results_table"),
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is for releases is slow; dear files first, each file's order stays."""
    for item in items:
        if item.get_closest_marker("release"):
            item.add_marker("slow")
    place = {name: i for i, name in enumerate(DEAR_FIRST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


def pytest_collection_finish() -> None:
    """From now on garbage is looked for, in what the tests make."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="module", autouse=True)
def own_tasks_of_this_file() -> Iterator[None]:
    """Own tasks of other files, which may have the same names, are not known."""
    from avemo_jax.tasks import registry

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_OWN", {})
        yield


@pytest.fixture
def hears_ctrl_c() -> Iterator[None]:
    """Also where the suite runs in the background, which shells let ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def shared_data() -> pathlib.Path:
    """Real faces and sound in the official layout, where they are at hand."""
    default = pathlib.Path(__file__).parents[2] / "shared" / "data"
    path = pathlib.Path(os.environ.get("AVEMO_SHARED", default))
    if not (path / "affwild2_mini").is_dir():
        pytest.skip("no real material: set AVEMO_SHARED to a folder that has it")
    return path


@pytest.fixture(scope="session", autouse=True)
def avemo_cache(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[pathlib.Path]:
    """Caches of this run, one for all workers; the user's own are not touched.

    Compiled programs are those of earlier runs, too: in ``.pytest_cache``, or where
    ``AVEMO_TEST_PROGRAMS`` says. After 30 days they are made anew.
    """
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    (root / "avemo_cache").mkdir(exist_ok=True)
    beside_tests = pytestconfig.rootpath / ".pytest_cache" / "programs"
    programs = pathlib.Path(os.environ.get("AVEMO_TEST_PROGRAMS", beside_tests))
    programs.mkdir(parents=True, exist_ok=True)
    for old in programs.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # the other worker deleted it
            if old.is_file() and time.time() - old.stat().st_mtime > DAYS_KEPT * 86400:
                old.unlink()
    with contextlib.suppress(FileExistsError):
        (root / "avemo_cache" / "xla").symlink_to(programs)
    from avemo_jax.runtime.compilation import keep_compiled

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AVEMO_CACHE", str(root / "avemo_cache"))
        keep_compiled()
        yield root / "avemo_cache"


@pytest.fixture(autouse=True)
def own_verbosity() -> None:
    """Messages as in a fresh process, whatever commands ran before in this one."""
    for logger, level in _LEVELS.items():
        logger.setLevel(level)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """One Chromium for all tests of a process."""
    driver = pytest.importorskip(
        "playwright.sync_api", reason='no driver: pip install -e ".[browser]"'
    )
    path = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if path is None:
        pytest.skip("no chromium: apt-get install chromium")
    with driver.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield found
        found.close()


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
