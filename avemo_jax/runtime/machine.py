"""What this process may use of its machine, on every system."""

import os

import psutil


def num_cpus() -> int:
    """Number of CPUs that this process may use.

    macOS and Windows keep no process to some of them, so there these are all.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_bytes() -> int:
    """Bytes of the machine's memory, in use or free."""
    return int(psutil.virtual_memory().total)


def device_bytes() -> int | None:
    """Bytes of memory of one of this process' devices; None: it uses the machine's."""
    import jax  # what asks for the machine alone starts no devices

    stats = jax.local_devices()[0].memory_stats()
    return int(stats["bytes_limit"]) if stats and "bytes_limit" in stats else None
