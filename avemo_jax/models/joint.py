"""The checkpoint of tasks that were trained together.

A folder with ``joint.json`` and a head checkpoint of each task, all with the same
trunk: each can be evaluated, blended and submitted as any other head.
"""

import dataclasses
import pathlib

from avemo_jax.data.store.table import FrameTable
from avemo_jax.heads import HeadSpec, Variables
from avemo_jax.heads.joint import part_spec, part_variables
from avemo_jax.models import checkpoints
from avemo_jax.models.card import (
    JOINT_FILE,
    Card,
    class_counts,
    own_definition,
    write_card,
)
from avemo_jax.runtime import distributed
from avemo_jax.runtime.workdir import Workdir
from avemo_jax.tasks import JointTask


def save_joint(
    workdir: Workdir,
    directory: pathlib.Path,
    card: Card,
    variables: Variables,
    table: FrameTable,
) -> None:
    """Writes a head checkpoint of each task, then ``joint.json``.

    All processes call it at the same place.

    Args:
        workdir: The run's workdir.
        directory: A folder in the workdir.
        card: Card of the joint head.
        variables: Arrays of the joint head, leading axis seeds.
        table: Frames that the head was trained on.
    """
    task, spec = table.task, HeadSpec.from_dict(card.head)
    assert isinstance(task, JointTask)
    inside = workdir.child(directory.name)
    for part in task.parts:
        labels, known = part.labels_of(table.labels)
        part_card = dataclasses.replace(
            card,
            task=part.task.name,
            head=part_spec(spec, part).to_dict(),
            class_counts=class_counts(part.task, labels, table.valid & known),
            trained_with=task.name,
            dev_scores=None,  # the joint ones are in joint.json
            own_task=own_definition(part.task),
        )
        own = part_variables(spec, part, variables, task)
        checkpoints.save_head(directory / part.task.name, part_card, own, inside)
    distributed.on_first(lambda: write_card(directory / JOINT_FILE, card))


def is_joint(directory: pathlib.Path) -> bool:
    """Whether ``directory`` is the checkpoint of several tasks."""
    return (directory / JOINT_FILE).is_file()
