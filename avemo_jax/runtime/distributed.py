"""Several processes as one program: started by JAX's runtime, agreeing, one writing.

Every process runs the same program on the same data; arrays are global over all their
devices. The first process alone writes files. In a program of one process all of this
does nothing.
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

WAIT_S = 120  # for all processes to come
LOST = 134  # exit status where another process was lost: SIGABRT, by JAX's runtime
_SHARED_S = 30  # for a file of one host to be seen by the others (caches of NFS)


class ProcessError(RuntimeError):
    """Processes that cannot start, or do not see the same."""


@dataclasses.dataclass(frozen=True)
class Processes:
    """Which processes there are to be.

    Attributes:
        coordinator: HOST:PORT of the first; None lets JAX find it.
        count: Of all; None lets JAX find it.
        index: This one's, from 0; None lets JAX find it.
        method: Of JAX's cluster detection; None tries all.
        shown_by: What says that there are several.
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
    """The processes that flags and environment speak of; None for one alone.

    Args:
        mode: "auto": several where the environment shows more than one, or flags say
            so; "on": always; "off": never.
        coordinator: HOST:PORT of the first process.
        count: Number of processes.
        index: This one's, from 0.
        environment: Variables.

    Raises:
        ValueError: If flags contradict each other, or some are missing.
    """
    named = {"coordinator": coordinator, "num_processes": count, "process_id": index}
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
                "--num_processes=N --process_id=I, I from 0, in each process"
            )
        return found
    if found is not None:  # flags stand over the environment
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
            "--coordinator=HOST:PORT --num_processes=N --process_id=I, I from 0"
        )
    _check_numbers(coordinator, count, index)
    return Processes(coordinator, count, index, "deactivate", "flags")


def _check_numbers(coordinator: str, count: int, index: int) -> None:
    if not 0 <= index < count:
        raise ValueError(
            f"--process_id={index} of --num_processes={count}; expected 0 to "
            f"{count - 1}, each in one process"
        )
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(
            f"--coordinator={coordinator}; expected HOST:PORT of process 0, the port "
            "free there and open to the others, e.g. 10.0.0.1:8476"
        )


def _by_environment(environment: Mapping[str, str]) -> Processes | None:
    """More than one process, as launchers show them; see each one's documentation."""
    # Inside an allocation but without srun there is one process only, and no step.
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
    """Whether this is a TPU machine; how many there are only its metadata say."""
    if environment.get("JAX_PLATFORMS", "tpu") not in ("", "tpu", "tpu,cpu"):
        return False
    if "TPU_SKIP_MDS_QUERY" in environment:
        return False
    chips = glob.glob("/dev/accel[0-9]*") + glob.glob("/dev/vfio/[0-9]*")
    return bool(chips) and importlib.util.find_spec("libtpu") is not None


def start(processes: Processes, heartbeat_s: int, wait_s: int = WAIT_S) -> None:
    """Joins the other processes; before anything else that uses devices.

    Args:
        processes: Of :func:`find_processes`.
        heartbeat_s: A process unheard of for so long is lost, and ends all.
        wait_s: For all to come; then this process is aborted, with a line that says
            what to do.

    Raises:
        ProcessError: If JAX finds no cluster where one was shown.
    """
    where = processes.coordinator or f"the address that {processes.shown_by} gives"
    count = processes.count or "all"
    logging.info(
        "waiting for %s processes at %s, at most %d s", *(count, where, wait_s)
    )
    late = threading.Timer(
        max(wait_s - 1, 0.5),
        print,
        [
            f"error: not all of {count} processes came to {where} within {wait_s} "
            "s; expected the same command in each, with its own process_id, and a "
            "port that is open between the hosts; look at the others' output, mend "
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
            f"{error}; name them: --coordinator=HOST:PORT --num_processes=N "
            "--process_id=I; for one process alone, --distributed=off"
        ) from error
    finally:
        late.cancel()
    logging.info(
        "process %d of %d, %d of %d devices; should one be lost, the others stop "
        "within about %d s, with status %d: start all again by the same command, and "
        "they go on",
        *(jax.process_index(), jax.process_count()),
        *(jax.local_device_count(), jax.device_count(), heartbeat_s, LOST),
    )


def abandon(error: Exception, message: str) -> None:
    """Ends this process at once, if it is one of several; else does nothing.

    The others would wait for it, and it for them: they notice that it is gone. Where
    the error is itself that another one is gone, the status is :data:`LOST`.

    Args:
        error: That this process ends by.
        message: For standard error.
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
    """This process's number; None where it is the only one."""
    return jax.process_index() if is_several() else None


def is_first() -> bool:
    """Whether this process is the one that writes."""
    return not index()


def on_first(work: Callable[[], Any]) -> None:
    """Does ``work`` in the first process; the others wait until it is done.

    All processes call this at the same place.

    Raises:
        ProcessError: In the others, if it failed in the first, where its own error is
            raised.
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
    """The first process's ``value``, in all; at most 2 ** 31 - 1."""
    if not is_several():
        return value
    return int(multihost_utils.broadcast_one_to_all(np.int32(value)))


def any_says(value: bool) -> list[int]:
    """Indices of the processes where ``value`` is true, in all."""
    if not is_several():
        return [0] if value else []
    return [int(i) for i in np.flatnonzero(_gather(np.int32(value)))]


def check_same(what: str, value: str) -> None:
    """Refuses processes that differ in ``value``.

    Raises:
        ProcessError: Names ``what`` and the processes that have another than the first.
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
    """Refuses a folder that not all processes share.

    The first process leaves a token there that all the others must read.

    Args:
        name: Of the folder.
        write: Leaves a token.
        read: The token; None where there is none.
        remove: Takes it away.

    Raises:
        ProcessError: Names the processes that do not see it.
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
    """Whether ``token`` is read soon."""
    end = time.monotonic() + _SHARED_S
    while read() != token:
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return True


def _gather(value: np.ndarray | np.generic) -> np.ndarray:
    return np.asarray(multihost_utils.process_allgather(value))
