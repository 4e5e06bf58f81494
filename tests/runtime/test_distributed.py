"""Which processes flags and environment speak of; what one alone does."""

import os
import signal

import pytest

from avemo_jax.runtime import distributed
from avemo_jax.runtime.distributed import Processes, find_processes
from avemo_jax.runtime.preemption import Preemption

SRUN = {"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "2", "SLURM_JOB_ID": "7"}
MPIRUN = {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"}
POD = {"TPU_WORKER_HOSTNAMES": "a,b", "JAX_PLATFORMS": "cpu"}
# A batch script inside an allocation, without srun: one process.
ALLOCATION = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_PROCID": "0"}
ADDRESS = "10.0.0.1:8476"


def test_nothing_shown_is_one_process():
    assert find_processes("auto", None, None, None, {}) is None
    assert find_processes("auto", None, None, None, ALLOCATION) is None
    alone = {"SLURM_STEP_NUM_TASKS": "1", "OMPI_COMM_WORLD_SIZE": "1"}
    assert find_processes("auto", None, None, None, alone) is None
    assert find_processes("off", None, None, None, SRUN) is None


@pytest.mark.parametrize("mode", ["auto", "on"])
@pytest.mark.parametrize(
    ("environment", "method", "count", "index"),
    [(SRUN, "slurm", 4, 2), (MPIRUN, "ompi", 2, 1), (POD, None, None, None)],
)
def test_launchers_are_seen(mode, environment, method, count, index):
    found = find_processes(mode, None, None, None, environment)
    assert found is not None
    assert (found.method, found.count, found.index) == (method, count, index)
    assert found.coordinator is None


def test_flags_stand_over_the_environment():
    found = find_processes("auto", ADDRESS, 3, 0, SRUN)
    assert found == Processes(ADDRESS, 3, 0, "deactivate", "flags")
    found = find_processes("auto", ADDRESS, None, None, MPIRUN)
    assert (found.coordinator, found.count, found.index) == (ADDRESS, 2, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("on", None, None, None), "--distributed=on and the environment shows no"),
        (("off", ADDRESS, 2, 0), "--coordinator, --num-processes, --process-id with"),
        (("auto", ADDRESS, None, None), "--coordinator without --num-processes, --pro"),
        (("auto", None, 2, 0), "--num-processes, --process-id without --coordinator"),
        (("auto", ADDRESS, 2, 2), "--process-id=2 of --num-processes=2; expected 0 to"),
        (("auto", ADDRESS, 2, -1), "--process-id=-1 of"),
        (("auto", "10.0.0.1", 2, 0), "--coordinator=10.0.0.1; expected HOST:PORT"),
        (("auto", "host:99999", 2, 0), "--coordinator=host:99999; expected HOST:PORT"),
        (("auto", ":8476", 2, 0), "--coordinator=:8476; expected HOST:PORT"),
    ],
)
def test_flags_that_make_no_sense(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        find_processes(*arguments, {})


def test_one_process_is_the_first_and_agrees_with_itself():
    assert not distributed.is_several()
    assert distributed.is_first()
    assert distributed.index() is None
    done = []
    distributed.on_first(lambda: done.append(1))
    assert done == [1]
    assert distributed.first_says(7) == 7
    assert distributed.any_says(True) == [0]
    assert distributed.any_says(False) == []
    distributed.check_same("nothing", "x")
    distributed.check_shared("here", done.append, lambda: None, done.clear)
    assert done == [1]
    distributed.abandon(ValueError("stays"), "nothing")


@pytest.mark.usefixtures("hears_ctrl_c")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_noted_once_and_given_back(caplog, number):
    before = signal.getsignal(number)
    by_user = number == signal.SIGINT
    with Preemption() as preemption:
        assert not preemption.reached()
        os.kill(os.getpid(), number)
        assert preemption.reached()
        assert preemption.came
        assert preemption.by_user == by_user
        # The next one kills, or raises KeyboardInterrupt.
        assert signal.getsignal(number) == (before if by_user else signal.SIG_DFL)
    assert "a second one kills" in caplog.text
    assert signal.getsignal(number) == before
