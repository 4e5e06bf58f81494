"""Which store a configuration means, its tables, and where they fit."""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from absl import logging
from jax.sharding import Mesh
from ml_collections import ConfigDict

from avemo_jax.batches.feeders import Feeder, make_feeder
from avemo_jax.config.field_table import OWN
from avemo_jax.data.corpus.protocols import (
    Protocol,
    fold_splits_of,
    read_protocols,
)
from avemo_jax.data.corpus.splits import fold_splits, grouped_folds
from avemo_jax.data.store.join import Join
from avemo_jax.data.store.store import Store, open_store
from avemo_jax.data.store.table import FrameTable
from avemo_jax.heads import HeadSpec
from avemo_jax.packing.demo import demo
from avemo_jax.runtime import distributed
from avemo_jax.runtime.cache import cache_dir as default_cache_dir
from avemo_jax.runtime.machine import device_bytes, memory_bytes
from avemo_jax.runtime.workdir import refuse_remote_data
from avemo_jax.tasks import TASKS

_SHARE_OF_DEVICE = 0.6  # for tables; the rest for what is computed with them


@dataclasses.dataclass(frozen=True)
class Data:
    """A store, its splits, and what results call it.

    Attributes:
        store: The store that tables are read from.
        name: "demo", or the store's path.
        title: Name in logs, tables and plots.
        splits: Split of each video; None: the store's own.
        cache_dir: Folder for the files of streamed tables; None: the default one.
        programs: Compiled passes over rows, kept for all tables that are scored alike:
            their batches are sent in a few sizes, and no table is put on the devices.
            None: each table has its own pass.
        states: By the id of a head that carries a state, those at the end of videos by
            name, where videos come in parts, one table after another. None: each table
            has whole videos.
    """

    store: Store
    name: str
    title: str
    splits: Mapping[str, str] | None = None
    cache_dir: pathlib.Path | None = None
    programs: dict[Any, Any] | None = None
    states: dict[int, dict[str, Any]] | None = None


def open_data(directory: str | None, cache_dir: str | None = None) -> Data:
    """The store at ``directory``, or the demo corpus.

    Args:
        directory: Folder of a store; None: the demo corpus, made where it is missing.
        cache_dir: Folder for the demo corpus and for streamed tables; None: the
            default one.

    Raises:
        ValueError: If ``directory`` is not a store, or one of another format.
    """
    cache = pathlib.Path(cache_dir).expanduser() if cache_dir else None
    if directory is None:
        # The other processes may share the first one's disk.
        distributed.on_first(lambda: demo.demo_store(cache))
        path = demo.demo_store(cache)
        logging.info("no data directory given: using the %s", demo.DEMO_TITLE)
        return Data(open_store(path), "demo", demo.DEMO_TITLE, cache_dir=cache)
    refuse_remote_data(directory)
    path = pathlib.Path(directory).expanduser()
    store = open_store(path)
    title = demo.DEMO_TITLE if store.synthetic else path.name or str(path)
    return Data(store, str(path.absolute()), title, cache_dir=cache)


def with_task(config: ConfigDict, data: Data) -> ConfigDict:
    """``config`` with a task that the store has; "own" becomes the store's only one.

    Raises:
        ValueError: If the store has no task of this name, or if the task is "own" and
            the store has none or several.
    """
    if config.task in TASKS:
        return config  # a store without it has no rows in its splits
    if config.task != OWN:
        data.store.task(config.task)
        return config
    tasks = data.store.tasks
    if not tasks:
        raise ValueError(
            f"config.task is 'own' and {data.name} has no labels, only videos to "
            "predict; expected labels to train by: build a store with --labels, or "
            "predict: avemo evaluate --split test"
        )
    tasks = {name: one for name, one in tasks.items() if name not in TASKS} or tasks
    if len(tasks) > 1:
        raise ValueError(
            f"config.task is 'own' and {data.name} has {', '.join(tasks)}; expected "
            f"one task: choose it, --config.task={next(iter(tasks))}, or train them "
            f"together, --config.task={'+'.join(tasks)}"
        )
    config = config.copy_and_resolve_references()
    config.task = next(iter(tasks))
    return config


def feature_names(config: ConfigDict) -> list[str]:
    """The names of feature sets in ``config.data.features``, in their order.

    Raises:
        ValueError: If a name is empty or occurs twice.
    """
    names = [name.strip() for name in config.data.features.split("+")]
    if not all(names) or len(set(names)) < len(names):
        raise ValueError(
            f"config.data.features is {config.data.features!r}; name each feature set "
            "once, joined by '+', e.g. enet_b2_8_best+wav2vec2_base"
        )
    return names


def fold_data(data: Data, config: ConfigDict) -> Data:
    """``data`` with the splits of fold ``config.data.fold``.

    Of ``config.data.folds`` the fold is dev, and the official validation is reported;
    of ``config.data.protocol`` the fold's speakers are reported, and dev is drawn from
    the others. Without folds, or for all folds in turn, it is ``data`` itself.

    Raises:
        ValueError: If the store lacks the protocol, or the protocol the fold.
    """
    if config.data.protocol and config.data.fold >= 0:
        return protocol_data(
            data,
            config.task,
            config.data.protocol,
            config.data.fold,
            seed=config.data.fold_seed,
        )
    if not config.data.folds or config.data.fold < 0:
        return data
    official = data.store.split_videos(config.task, "train+dev")
    folds = grouped_folds(
        official,
        config.data.folds,
        config.data.fold_seed,
        sources=data.store.sources_of(),
    )
    return dataclasses.replace(data, splits=fold_splits(folds, config.data.fold))


def protocol_of(data: Data, name: str) -> Protocol:
    """The store's protocol of a name.

    Raises:
        ValueError: If the store has none of this name.
    """
    known = read_protocols(data.store.path)
    if name not in known:
        raise ValueError(
            f"config.data.protocol is {name!r} and {data.name} has "
            f"{', '.join(known) or 'none'}; expected one that it has: correct the "
            "name, or make the store with avemo prepare --corpus"
        )
    return known[name]


def protocol_data(
    data: Data, task: str, name: str, fold: int, *, seed: int = 0
) -> Data:
    """``data`` with the speakers of one fold of a protocol as validation.

    Args:
        data: The store.
        task: Name of the task whose videos are divided.
        name: Name of the protocol.
        fold: Index of the fold, from 0.
        seed: Seed of the draw of dev from the other speakers.

    Raises:
        ValueError: If the store lacks the protocol, or the protocol the fold.
    """
    protocol, sources = protocol_of(data, name), data.store.sources_of()
    labelled = data.store.split_of(task)
    own = {video: sources[video] for video in labelled if video in sources}
    splits = fold_splits_of(protocol, fold, own, seed=seed)
    return dataclasses.replace(data, splits=splits)


def num_folds(config: ConfigDict, data: Data) -> int:
    """How many folds a run goes through in turn; 0: it is of none, or of one alone.

    Raises:
        ValueError: If the store lacks the protocol.
    """
    if config.data.fold >= 0:
        return 0
    if config.data.protocol:
        return len(protocol_of(data, config.data.protocol).folds)
    return int(config.data.folds)


def memory_budget(
    gigabytes: float | None = None, device_gb: float | None = None
) -> int:
    """Bytes that tables may take on a device.

    Unless ``gigabytes`` is given, these are six tenths of an accelerator's memory, or
    half of the host's for the CPU.

    Args:
        gigabytes: Budget in 10^9 bytes; None: a share of the device's memory.
        device_gb: Memory in 10^9 bytes of an accelerator that is not here; None: this
            host's device is asked.
    """
    if gigabytes is not None:
        return int(gigabytes * 1e9)
    if device_gb is not None:
        return int(_SHARE_OF_DEVICE * device_gb * 1e9)
    own = device_bytes()
    return memory_bytes() // 2 if own is None else int(_SHARE_OF_DEVICE * own)


def is_resident(joined: Join, left: int) -> bool:
    """Whether the table fits into the ``left`` bytes of the devices' budget."""
    return joined.bytes <= left


class Loader:
    """Loads tables; those that no longer fit the budget are streamed from disk."""

    def __init__(
        self,
        data: Data,
        mesh: Mesh,
        *,
        task: str,
        missing_audio: str,
        budget: int,
        inputs: str = "features",
    ):
        """Begins with the whole budget.

        Args:
            data: The store and the splits.
            mesh: The devices.
            task: Name of the task whose labels are loaded.
            missing_audio: "zeros" or "drop": what becomes of frames without sound.
            budget: Bytes that tables may take on a device.
            inputs: What heads see of a table: "features", or "outputs" of the
                extractors.
        """
        self._cache_dir = data.cache_dir or default_cache_dir()
        self._data = data
        self._mesh = mesh
        self._task = task
        self._inputs = inputs
        self._options: dict[str, Any] = {"missing_audio": missing_audio}
        if data.splits is not None:
            self._options["splits"] = data.splits
        self._left = budget

    def load(
        self, split: str, spec: HeadSpec, features: list[str]
    ) -> tuple[FrameTable, Feeder]:
        """The table of ``split``, and the feeder of its batches.

        Args:
            split: "train", "dev", "train+dev", "validation" or "test".
            spec: The head that the batches are for.
            features: Names of the feature sets, in order.

        Raises:
            ValueError: If the split has no rows, or the inputs are missing.
        """
        store, memmap_path = self._data.store, None
        joined = store.join(self._task, split, features, **self._options)
        sent = self._data.programs is not None
        resident = not sent and is_resident(joined, self._left)
        if resident:
            self._left -= joined.bytes
        elif not sent:
            memmap_path = self._flat_file(split, features)
            logging.info(
                "%s: %d rows, %.2f GB, are over the budget (%.2f GB left): streamed "
                "from %s",
                split,
                joined.rows,
                joined.bytes / 1e9,
                self._left / 1e9,
                memmap_path,
            )
        table = store.load(joined, memmap_path=memmap_path)
        feeder = make_feeder(
            table,
            self._mesh,
            window=spec.window if spec.takes_windows else 0,
            audio_flag=spec.audio_flag,
            resident=resident,
            read_ahead=not sent,
            inputs=self._inputs,
        )
        return table, feeder

    def _flat_file(self, split: str, features: list[str]) -> pathlib.Path:
        """Path of a streamed table's file, its name a hash of what decides its rows."""
        made_of = [self._data.name, self._task, split, *features, self._options]
        text = json.dumps(made_of, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        return self._cache_dir / "tables" / f"{digest}.bin"
