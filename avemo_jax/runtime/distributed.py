"""Several processes as one program: how they start, agree, and end together.

Every process runs the same program on the same data; arrays are global over all their
devices. Only the first process writes files. In a program of one process the functions
here do nothing.
"""

import dataclasses
import glob
import hashlib
import importlib.util
import os
import secrets
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from absl import logging
from jax.experimental import multihost_utils

WAIT_S = 120  # time for all processes to start
LOST = 134  # exit status if another process was lost: SIGABRT, by JAX's runtime
_SHARED_S = 30  # time for a file of one host to be seen by the others (NFS's caches)


class ProcessError(RuntimeError):
    """Processes that cannot start, or do not see the same."""


@dataclasses.dataclass(frozen=True)
class Processes:
    """The processes that are to run one program.

    Attributes:
        coordinator: HOST:PORT of the first process; None: JAX finds it.
        count: Number of processes; None: JAX finds it.
        index: Index of this process, from 0; None: JAX finds it.
        method: JAX's method of cluster detection; None: it tries all.
        shown_by: Source that shows that there are several, for messages.
    """

    coordinator: str | None = None
    count: int | None = None
    index: int | None = None
    method: str | None = None
    shown_by: str = ""


def find_processes(
    mode: str,
    coordinator: str | None,
    count: int | None,
    index: int | None,
    environment: Mapping[str, str] = os.environ,
) -> Processes | None:
    """The processes that flags or the environment name; None: there is only one.

    Args:
        mode: "auto": several if the environment shows more than one or flags say so;
            "on": always; "off": never.
        coordinator: HOST:PORT of the first process; None: the flag is not given.
        count: Number of processes; None: the flag is not given.
        index: Index of this process, from 0; None: the flag is not given.
        environment: Environment variables.

    Raises:
        ValueError: If flags contradict each other, or some are missing.
    """
    named = {"coordinator": coordinator, "num-processes": count, "process-id": index}
    given = [f"--{name}" for name, value in named.items() if value is not None]
    if mode == "off":
        if given:
            raise ValueError(
                f"{', '.join(given)} with --distributed=off; expected them with "
                "--distributed=on only; leave one out"
            )
        return None
    found = _by_environment(environment)
    if not given:
        if found is None and mode == "on":
            raise ValueError(
                "--distributed=on and the environment shows no other process; expected "
                "srun, mpirun or a Cloud TPU; or name --coordinator=HOST:PORT "
                "--num-processes=N --process-id=I, I from 0, in each process"
            )
        return found
    if found is not None:  # flags override the environment
        count = found.count if count is None else count
        index = found.index if index is None else index
    missing = [
        f"--{name}"
        for name, value in zip(named, (coordinator, count, index), strict=True)
        if value is None
    ]
    if coordinator is None or count is None or index is None:
        raise ValueError(
            f"{', '.join(given)} without {', '.join(missing)}; expected all three: "
            "--coordinator=HOST:PORT --num-processes=N --process-id=I, I from 0"
        )
    _check_numbers(coordinator, count, index)
    return Processes(coordinator, count, index, "deactivate", "flags")


def _check_numbers(coordinator: str, count: int, index: int) -> None:
    if not 0 <= index < count:
        raise ValueError(
            f"--process-id={index} of --num-processes={count}; expected 0 to "
            f"{count - 1}, each in one process"
        )
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(
            f"--coordinator={coordinator}; expected HOST:PORT of process 0, the port "
            "free there and open to the others, e.g. 10.0.0.1:8476"
        )


def _by_environment(environment: Mapping[str, str]) -> Processes | None:
    """The processes that a launcher's variables name; None if they name only one."""
    # Inside an allocation but without srun there is only one process, and no step.
    for name, index, method, shown_by in (
        ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "slurm", "srun"),
        ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "ompi", "mpirun"),
    ):
        if int(environment.get(name) or 1) > 1:
            count, own = int(environment[name]), int(environment[index])
            if method == "ompi" and "OMPI_MCA_orte_hnp_uri" not in environment:
                shown_by += " (Open MPI 5, which names no host: give --coordinator)"
            return Processes(None, count, own, method, shown_by)
    if "," in environment.get("TPU_WORKER_HOSTNAMES", "") or _on_cloud_tpu(environment):
        return Processes(shown_by="Cloud TPU")
    return None


def _on_cloud_tpu(environment: Mapping[str, str]) -> bool:
    """Whether this is a TPU machine, which may be one of several."""
    if environment.get("JAX_PLATFORMS", "tpu") not in ("", "tpu", "tpu,cpu"):
        return False
    if "TPU_SKIP_MDS_QUERY" in environment:
        return False
    chips = glob.glob("/dev/accel[0-9]*") + glob.glob("/dev/vfio/[0-9]*")
    return bool(chips) and importlib.util.find_spec("libtpu") is not None


def start(processes: Processes, heartbeat_s: int, wait_s: int = WAIT_S) -> None:
    """Join the other processes; called before anything else that uses devices.

    Args:
        processes: The processes that :func:`find_processes` found.
        heartbeat_s: Seconds without a sign after which a process counts as lost, which
            ends all.
        wait_s: Seconds for all processes to start; then this one is aborted, with a
            line that says what to do.

    Raises:
        ProcessError: If JAX cannot start the processes.
    """
    where = processes.coordinator or f"the address that {processes.shown_by} gives"
    count = processes.count or "all"
    logging.info("waiting for %s processes at %s, at most %d s", count, where, wait_s)
    late = threading.Timer(
        max(wait_s - 1, 0.5),
        print,
        [
            f"error: not all of {count} processes came to {where} within {wait_s} "
            "s; expected the same command in each, with its own --process-id, and "
            "a port that is open between the hosts; look at the others' output, mend "
            "it, start all again"
        ],
        {"file": sys.stderr, "flush": True},
    )
    late.daemon = True
    late.start()
    try:
        jax.distributed.initialize(
            processes.coordinator,
            processes.count if processes.coordinator else None,
            processes.index if processes.coordinator else None,
            cluster_detection_method=processes.method,
            initialization_timeout=wait_s,
            heartbeat_timeout_seconds=heartbeat_s,
        )
    except (ValueError, RuntimeError) as error:
        raise ProcessError(
            f"{processes.shown_by} shows several processes, but they did not start: "
            f"{error}; name them: --coordinator=HOST:PORT --num-processes=N "
            "--process-id=I; for one process alone, --distributed=off"
        ) from error
    finally:
        late.cancel()
    logging.info(
        "process %d of %d, %d of %d devices; should one be lost, the others stop "
        "within about %d s, with status %d: start all again by the same command, and "
        "they go on",
        jax.process_index(),
        jax.process_count(),
        jax.local_device_count(),
        jax.device_count(),
        heartbeat_s,
        LOST,
    )


def abandon(error: Exception, message: str) -> None:
    """End this process at once after an error, if it is one of several.

    A normal end would wait for the others, and they for it; so they notice that it is
    gone. The status is :data:`LOST` if the error is that another process is gone.

    Args:
        error: Error that this process ends by.
        message: Text for standard error.
    """
    if not is_several():
        return
    status = 1
    if isinstance(error, jax.errors.JaxRuntimeError):
        status = LOST
        message += (
            "\nif another process was lost, its output says why; start all "
            "again by the same command, and they go on from the last checkpoint"
        )
    print(f"[{jax.process_index()}] {message}", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def is_several() -> bool:
    """Whether there are other processes."""
    return jax.distributed.is_initialized() and jax.process_count() > 1


def index() -> int | None:
    """Index of this process, from 0; None if it is the only one."""
    return jax.process_index() if is_several() else None


def is_first() -> bool:
    """Whether this process is the one that writes."""
    return not index()


def on_first(work: Callable[[], Any]) -> None:
    """Do ``work`` in the first process; the others wait until it is done.

    All processes call this at the same place. If ``work`` fails, its own error is
    raised in the first process.

    Raises:
        ProcessError: In the other processes, if ``work`` failed in the first.
    """
    if not is_several():
        work()
        return
    failure: Exception | None = None
    if is_first():
        try:
            work()
        except Exception as error:
            failure = error
    failed = multihost_utils.broadcast_one_to_all(np.int32(failure is not None))
    if failure is not None:
        raise failure
    if failed:
        raise ProcessError("process 0 could not go on; its output says why")


def first_says(value: int) -> int:
    """The first process's ``value``, given to all; at most 2 ** 31 - 1."""
    if not is_several():
        return value
    return int(multihost_utils.broadcast_one_to_all(np.int32(value)))


def any_says(value: bool) -> list[int]:
    """Indices of the processes where ``value`` is true, given to all."""
    if not is_several():
        return [0] if value else []
    return [int(i) for i in np.flatnonzero(_gather(np.int32(value)))]


def check_same(what: str, value: str) -> None:
    """Check that ``value`` is the same in all processes.

    Args:
        what: Name of the value, for the message.
        value: This process's value.

    Raises:
        ProcessError: If processes differ from the first; the message names them.
    """
    if not is_several():
        return
    digest = hashlib.sha256(value.encode()).digest()[:8]
    values = _gather(np.frombuffer(digest, np.int32))
    others = [i for i, row in enumerate(values) if (row != values[0]).any()]
    if others:
        raise ProcessError(
            f"{what} of process {', '.join(map(str, others))} differs from that of "
            "process 0; expected the same in all; give each host the same"
            + ("" if jax.process_index() not in (0, *others) else f"; here: {value}")
        )


def check_shared(
    name: str,
    write: Callable[[str], None],
    read: Callable[[], str | None],
    remove: Callable[[], None],
) -> None:
    """Check that all processes share a folder.

    The first process leaves a token there that all the others must read.

    Args:
        name: Name of the folder, for the message.
        write: Writes a token into the folder.
        read: Returns the token; None if there is none.
        remove: Removes the token.

    Raises:
        ProcessError: If processes do not see the token; the message names them.
    """
    if not is_several():
        return
    token = f"{first_says(secrets.randbelow(2**31)):08x}"
    on_first(lambda: write(token))
    blind = any_says(not _appears(token, read))
    on_first(remove)
    if blind:
        raise ProcessError(
            f"{name} of process 0 is not seen by process "
            f"{', '.join(map(str, blind))}; expected one folder that all hosts share; "
            "name a --workdir on a disk that each host mounts at the same path (NFS, "
            "gcsfuse), or gs://BUCKET/FOLDER"
        )


def _appears(token: str, read: Callable[[], str | None]) -> bool:
    """Whether ``read`` gives ``token`` within 30 s."""
    end = time.monotonic() + _SHARED_S
    while read() != token:
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return True


def _gather(value: np.ndarray | np.generic) -> np.ndarray:
    return np.asarray(multihost_utils.process_allgather(value))
