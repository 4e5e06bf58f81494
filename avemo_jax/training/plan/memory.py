"""Whether training fits into the memory that there is, and what to lower if not."""

from collections.abc import Mapping

from ml_collections import ConfigDict

from avemo_jax.heads.spec import head_kind
from avemo_jax.runtime.machine import device_bytes, memory_bytes

_BATCHES = "config.batch_size, or set config.train.scan_steps"
# Which field makes a part of the plan smaller; what is not here grows with the models.
_FIELDS = {
    "tables": "config.data.device_budget_gb",
    "a batch": _BATCHES,
    "streamed batches": _BATCHES,
    "batches read ahead": _BATCHES,
    "order of an epoch": "config.train.passes_per_epoch",
}


def memory_problem(
    config: ConfigDict,
    on_device: Mapping[str, int],
    on_host: Mapping[str, int],
    device_memory_gb: float | None,
) -> str | None:
    """Why training cannot begin for want of memory; None: there is enough.

    Args:
        config: The run's configuration, without open sizes.
        on_device: Bytes on a device while training, by what takes them.
        on_host: Bytes in a process while training, by what takes them.
        device_memory_gb: Memory of a device that is not here, in 10^9 bytes; None: the
            devices and the memory are this machine's.
    """
    if device_memory_gb is not None:
        wanted = [("a device", on_device, int(device_memory_gb * 1e9))]
    elif (own := device_bytes()) is not None:
        wanted = [("a device", on_device, own), ("a host", on_host, memory_bytes())]
    else:
        # One memory for both, and one copy of the tables.
        both = {**on_host, **on_device}
        wanted = [("this machine", both, memory_bytes())]
    for place, parts, there in wanted:
        needed = sum(parts.values())
        if needed > there:
            largest = max(parts, key=lambda name: parts[name])
            field = _FIELDS.get(largest) or _of_models(config)
            return (
                f"training takes {needed:,} bytes of memory, {parts[largest]:,} of "
                f"them for {largest}, and {place} has {there:,}; expected less: lower "
                f"{field}"
            )
    return None


def _of_models(config: ConfigDict) -> str:
    """The field that makes what is trained smaller."""
    if config.num_seeds > 1:
        return f"config.num_seeds, which is {config.num_seeds:,}"
    if any(len(values) > 1 for values in config.sweep.values()):
        return "the number of values in config.sweep"
    if head_kind(config.head.kind).sequence is not None:
        return "config.head.num_layers or config.head.window"
    return "the number of sets in config.data.features"
