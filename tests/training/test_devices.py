"""Eight devices of the host train as one does, and divide the work."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
from made.compiling import QUICK_CODE
from made.eight_devices import CASES

pytestmark = pytest.mark.release

TESTS = pathlib.Path(__file__).parents[1]
PROGRAM = TESTS / "made" / "eight_devices.py"
EVERY_CASE = pytest.mark.parametrize("name", CASES)


@pytest.fixture(scope="module")
def found() -> dict:
    flags = f"{QUICK_CODE} --xla_force_host_platform_device_count=8"
    done = subprocess.run(
        [sys.executable, "-W", "error", PROGRAM],
        capture_output=True,
        text=True,
        timeout=600,
        env={
            **os.environ,
            "XLA_FLAGS": flags,
            "JAX_PLATFORMS": "cpu",
            "PYTHONPATH": f"{TESTS}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
        },
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@EVERY_CASE
def test_gradients_are_those_of_one_device(found, name):
    """A share of the largest: what cancels to zero has no relative error."""
    assert found[name]["gradients"] < 1e-5


def test_parameters_after_20_steps_in_float64(found):
    assert found["parameters"]["moved"] > 1e-3
    assert found["parameters"]["difference"] < 1e-9


def test_whole_training_scores_alike_on_dev(found):
    one, eight = found["dev_scores"]
    assert one > 0.3
    assert abs(one - eight) < 0.003


@EVERY_CASE
def test_only_gradients_and_statistics_cross_devices(found, name):
    program = found[name]["compiled"]
    kinds = {each["kind"] for each in program["collectives"]}
    assert kinds == {"all-reduce"}
    sizes = [each["elements"] for each in program["collectives"]]
    # Every gradient crosses once; beside them only sums of losses and of BatchNorm.
    spare = program["params"] // 10
    assert program["params"] <= sum(sizes) < program["params"] + spare
    assert spare < program["batch_values"]


@EVERY_CASE
def test_each_device_sees_its_part_of_the_batch(found, name):
    program = found[name]["compiled"]
    batch = program["batch"]
    assert batch == 640
    axes = {axis for shape in program["matrix_products"] for axis in shape}
    assert batch not in axes
    assert batch // 8 in axes
    assert batch not in program["first_axes"]


def test_batch_that_cannot_be_divided_is_an_error(found):
    message = "a batch of 30 examples cannot be divided over 8 devices; set "
    assert found["undivided"] == f"{message}config.batch_size to a multiple of 8"


@EVERY_CASE
def test_training_and_prediction_lower_for_accelerators(found, name):
    assert found[name]["exported"] == [["tpu", "cuda"]] * 2
