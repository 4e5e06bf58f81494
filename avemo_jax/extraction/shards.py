"""Videos divided among the parts of a job."""

import heapq
from collections.abc import Mapping


def check_shard(*, num_shards: int, shard_index: int) -> None:
    """Check that a job of so many parts has the part of that index.

    Args:
        num_shards: Number of parts.
        shard_index: Index of the part, from 0.

    Raises:
        ValueError: If there is no part of that index.
    """
    if num_shards < 1 or not 0 <= shard_index < num_shards:
        raise ValueError(
            f"--shard-index {shard_index} with --num-shards {num_shards}; expected 0 "
            f"to {max(num_shards - 1, 0)}: correct one of them"
        )


def shard_of(
    sizes: Mapping[str, int], *, num_shards: int, shard_index: int
) -> list[str]:
    """The names of one part, sorted; parts are disjoint, and all names are in one.

    The largest goes first, each to the part that has least so far. Every machine
    finds the same parts, and no part has more than 4/3 of the least possible largest
    share (R. L. Graham, Bounds on multiprocessing timing anomalies, 1969).

    Args:
        sizes: Amount of work by name, in any unit, 0 or more.
        num_shards: Number of parts.
        shard_index: Index of the part, from 0.

    Raises:
        ValueError: If there is no part of that index.
    """
    check_shard(num_shards=num_shards, shard_index=shard_index)
    parts: list[list[str]] = [[] for _ in range(num_shards)]
    loads = [(0, 0, part) for part in range(num_shards)]
    for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
        load, count, part = heapq.heappop(loads)
        parts[part].append(name)
        heapq.heappush(loads, (load + sizes[name], count + 1, part))
    return sorted(parts[shard_index])
