"""A head of several tasks taken apart: one plain head for each, with the same trunk."""

import dataclasses
from collections.abc import Callable
from typing import Any

from avemo_jax.heads.spec import HeadSpec, has_temperature, head_kind
from avemo_jax.heads.temperature import TEMPERATURES
from avemo_jax.heads.variables import Variables
from avemo_jax.tasks import JointTask, TaskPart


def part_spec(spec: HeadSpec, part: TaskPart) -> HeadSpec:
    """The spec of one task's head, with the trunk of the joint head ``spec``."""
    return dataclasses.replace(
        spec,
        task=part.task.name,
        va_form="plain",
        learned_temperature=spec.learned_temperature and has_temperature(part.task),
    )


def part_variables(
    spec: HeadSpec, part: TaskPart, variables: Variables, task: JointTask
) -> Variables:
    """Parameters and statistics of one task's head, taken from the joint head's.

    The head's logits are exactly the joint head's in the task's columns.

    Args:
        spec: The joint head.
        part: The task, and its columns in the joint head's outputs.
        variables: Arrays of the joint head, leading axis seeds.
        task: All tasks together.
    """
    kind = head_kind(spec.kind)
    assert kind.part is not None  # else HeadSpec refuses several tasks
    trees = kind.part(variables.to_dict(), part, task)
    if spec.learned_temperature:
        trees["params"] = _own_temperature(trees["params"], part)
    return Variables(**trees)


def _own_temperature(params: Any, part: TaskPart) -> dict[str, Any]:
    """The parameters with the temperature of one task alone, or with none."""
    own = dict(params)
    logs = own.pop(TEMPERATURES)
    if has_temperature(part.task):
        own[TEMPERATURES] = {part.task.name: logs[part.task.name]}
    return own


def outputs_of(layer: str) -> Callable[[Any, TaskPart, JointTask], Any]:
    """The ``part`` of a kind whose last ``Linear`` has the outputs of all tasks.

    Args:
        layer: Name of that ``Linear`` in the head's module.
    """

    def part_of(variables: Any, part: TaskPart, task: JointTask) -> Any:
        del task
        params = dict(variables["params"])
        params[layer] = {name: v[:, part.outputs] for name, v in params[layer].items()}
        return {"params": params, "stats": variables["stats"]}

    return part_of
