"""Checkpoints, written by orbax: states of a training run, and finished heads.

Orbax does not protect array data, so a sha256 of every leaf is kept beside it and
checked on loading. It takes long to load, and many programs that know this module never
read a checkpoint, so functions import it.
"""

import dataclasses
import hashlib
import math
import os
import pathlib
import re
import shutil
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from absl import logging
from jax.sharding import Mesh

from avemo_jax.batches import sharding
from avemo_jax.heads import Variables
from avemo_jax.models.card import HEAD_FILE, Card, CheckpointError, write_card
from avemo_jax.runtime import distributed
from avemo_jax.runtime.array_files import check_growth, damage_told
from avemo_jax.runtime.atomic_files import LEFTOVER, random_number, temporary_name
from avemo_jax.runtime.workdir import Workdir, open_workdir


def leaf_digests(tree: Any) -> dict[str, str]:
    """Sha256 of each leaf's dtype, shape and bytes, by its path in the tree."""
    digests = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.asarray(leaf)
        digest = hashlib.sha256(f"{array.dtype.name}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
        digests[jax.tree_util.keystr(path)] = digest.hexdigest()
    return digests


def _abstract(tree: Any, place: Any) -> Any:
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), tree
    )


def _damaged(tree: Any, expected: Mapping[str, str] | None) -> list[str]:
    """Paths of leaves whose digests are not the expected ones."""
    if expected is None:
        return ["(no digests stored)"]
    found = leaf_digests(tree)
    names = sorted(found.keys() | expected.keys())
    return [name for name in names if found.get(name) != expected.get(name)]


class RunCheckpoints:
    """The last two states of a training run, kept by all its processes together."""

    def __init__(self, directory: Any, mesh: Mesh):
        """Opens or makes ``directory``, and removes what a killed save left in it.

        Args:
            directory: A path of pathlib or etils.epath, seen by all processes.
            mesh: Mesh over the devices of all processes.
        """
        from orbax.checkpoint import v1 as ocp

        training = ocp.training
        self._mesh = mesh
        self._directory = directory
        self._checkpointer = training.Checkpointer(
            directory.absolute(),
            save_decision_policy=training.save_decision_policies.FixedIntervalPolicy(1),
            preservation_policy=training.preservation_policies.LatestN(2),
            cleanup_tmp_directories=True,
        )

    def save(self, step: int, state: Any, progress: dict[str, Any]) -> None:
        """Writes ``state`` (a tree of arrays) as the checkpoint of ``step``.

        Args:
            step: Training steps done so far, over all epochs.
            state: Equal in all processes, whole on every device.
            progress: How far the run is, in values that JSON can keep.

        Raises:
            CheckpointError: If orbax did not write it.
            OSError: If the disk is full, or another fault of the system stops it.
        """
        metadata = {"sha256": leaf_digests(state), "progress": progress}
        try:
            saved = self._checkpointer.save(step, state, custom_metadata=metadata)
        except ValueError as error:
            # What the system said is in the text alone.
            number = re.search(r"os_error_code='(\d+)'", str(error))
            if number is None:
                raise
            reason, place = os.strerror(int(number[1])), str(self._directory)
            raise OSError(int(number[1]), reason, place) from error
        if not saved:
            raise CheckpointError(f"step {step} was not saved in {self._directory}")

    def restore(self, like: Any) -> tuple[dict[str, Any], Any] | None:
        """Progress and state of the newest whole checkpoint; None where there is none.

        A damaged checkpoint is reported and removed, and the one before it is taken.
        How many devices and processes wrote it does not matter.

        Args:
            like: The tree that was saved, or its shapes and dtypes.

        Raises:
            CheckpointError: If there are checkpoints and none of them is whole.
        """
        steps = [meta.step for meta in self._checkpointer.checkpoints]
        for step in sorted(steps, reverse=True):
            fault, state = "", None
            progress: dict[str, Any] = {}
            try:
                state = self._checkpointer.load(
                    step, _abstract(like, sharding.replicated(self._mesh))
                )
                stored = self._checkpointer.metadata(step).custom_metadata or {}
                progress = stored.get("progress") or {}
                if not progress:
                    fault = "it does not say how far the run was"
                elif damaged := _damaged(state, stored.get("sha256")):
                    fault = f"sha256 differs for {', '.join(damaged[:3])}"
            except (ValueError, OSError, KeyError) as error:
                fault = f"{type(error).__name__}: {error}"
            faulty = distributed.any_says(bool(fault))
            if not faulty:
                return progress, state
            logging.error(
                "checkpoint %s/%d: %s; the one before it is taken",
                self._directory,
                step,
                fault or f"damaged for process {faulty}",
            )
            self._checkpointer.delete(step)
        if steps:
            raise CheckpointError(
                f"no checkpoint in {self._directory} is whole; remove the workdir to "
                "train from the start"
            )
        return None

    def close(self) -> None:
        """Waits until everything is written."""
        self._checkpointer.close()


def remove_leftovers(workdir: pathlib.Path) -> None:
    """Removes the half-written files and folders that a killed run left."""
    for folder in (workdir, workdir / "best_model"):
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            if not LEFTOVER.fullmatch(path.name):
                continue
            logging.info("removing %s, left by a run that was killed", path)
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def save_head(
    directory: pathlib.Path,
    card: Card,
    variables: Variables,
    workdir: Workdir | None = None,
) -> None:
    """Writes a head checkpoint: ``head.json`` and ``params/``, whole or not at all.

    All processes call it at the same place.

    Args:
        directory: The checkpoint's folder; replaced where it exists.
        card: Content of ``head.json``; digests of the variables are added.
        variables: The head's arrays, leading axis seeds; the same in all processes.
        workdir: The workdir that ``directory`` lies in, which may be in a bucket; None
            opens the parent folder.
    """
    number = distributed.first_says(random_number())
    name = directory.name
    temporary = directory.with_name(temporary_name(name, number=number))
    workdir = workdir or open_workdir(directory.parent)
    tree = variables.to_dict()

    def begin() -> None:
        temporary.mkdir(parents=True)

    def end() -> None:
        workdir.collect(temporary / "params")
        whole = dataclasses.replace(card, sha256=leaf_digests(tree))
        write_card(temporary / HEAD_FILE, whole)
        if directory.exists():
            old = directory.with_name(temporary_name(name, "old", number))
            directory.rename(old)
            temporary.rename(directory)
            shutil.rmtree(old)
        else:
            temporary.rename(directory)

    from orbax.checkpoint import v1 as ocp

    distributed.on_first(begin)
    ocp.save(workdir.shared / temporary.name / "params", tree)
    distributed.on_first(end)


def _check_size(params: pathlib.Path, like: Variables) -> None:
    """Check that a card promises no more than its parameters' files may hold.

    Raises:
        ValueError: If it does.
    """
    leaves = jax.tree.leaves(like.to_dict())
    declared = sum(math.prod(x.shape) * x.dtype.itemsize for x in leaves)
    files = [path for path in params.rglob("*") if path.is_file()]
    check_growth(declared, sum(path.stat().st_size for path in files))


def load_head(
    directory: pathlib.Path, card: Card, like: Variables, mesh: Mesh
) -> Variables:
    """The variables of a head checkpoint, whole on every device.

    Args:
        directory: The checkpoint's folder.
        card: Content of ``head.json``, digests included.
        like: The shapes and dtypes that the card promises.
        mesh: Devices to put the variables on.

    Raises:
        CheckpointError: If the variables are damaged or of other shapes.
    """
    from orbax.checkpoint import v1 as ocp

    params = (directory / "params").absolute()
    wanted = _abstract(like.to_dict(), sharding.replicated(mesh))
    expected = "expected what its card says: take another copy of the checkpoint"
    with damage_told(f"{directory}/params", expected, error=CheckpointError):
        _check_size(params, like)
        tree = ocp.load(params, wanted)
    if damaged := _damaged(tree, card.sha256):
        raise CheckpointError(
            f"{directory}/params is damaged: sha256 differs for "
            f"{', '.join(damaged[:3])}; take another copy of the checkpoint"
        )
    return Variables(**tree)
