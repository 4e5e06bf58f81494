"""How an extraction is carried out: parts of a job, workers, what may fail."""

import dataclasses

import jax

from avemo_jax.extraction.image_decoding import Decoders, WorkerKind
from avemo_jax.runtime.machine import num_cpus

PART_FAILURES = "failures-{}-of-{}.jsonl"  # index of the part, number of parts


@dataclasses.dataclass(frozen=True)
class Settings:
    """How an extraction is carried out; none of this changes a feature.

    Attributes:
        num_shards: Parts of the job, each a run of its own, which write to one folder.
        shard_index: Index of the part that this run does, from 0.
        decode_workers: Threads or processes that decode pictures; None: half the CPUs
            where the network runs on them too, else all up to 32.
        decode_in: Whether threads or processes decode pictures; None: threads where the
            network runs on a CPU, else processes.
        max_failures: Videos and frames that may fail before the run stops; None: any
            number. On Beam they are known only when a set is done.
        retry_failed: Extract videos again that had failed frames or had lost a part.
        show_progress: Draw bars on stderr.
        beam_runner: Name of the Apache Beam runner whose workers share the videos;
            None: this process does all.
        beam_options: Options of the Beam pipeline, such as
            ``--direct_num_workers=2``.
    """

    num_shards: int = 1
    shard_index: int = 0
    decode_workers: int | None = None
    decode_in: WorkerKind | None = None
    max_failures: int | None = None
    retry_failed: bool = False
    show_progress: bool = True
    beam_runner: str | None = None
    beam_options: tuple[str, ...] = ()

    @property
    def failures_name(self) -> str:
        """Name of the file that lists this part's failures."""
        if self.num_shards == 1:
            return "failures.jsonl"
        return PART_FAILURES.format(f"{self.shard_index:05d}", f"{self.num_shards:05d}")

    @property
    def workers(self) -> int:
        """Number of threads or processes that decode pictures."""
        cpus = num_cpus()
        on_cpu = jax.default_backend() == "cpu"
        own = max(1, cpus // 2) if on_cpu else min(32, cpus)
        return self.decode_workers or own

    def decoders(self) -> Decoders:
        """The workers that decode pictures."""
        on_cpu = jax.default_backend() == "cpu"
        kind: WorkerKind = "threads" if on_cpu else "processes"
        return Decoders(self.workers, self.decode_in or kind)
