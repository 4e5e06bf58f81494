"""A head of several tasks taken apart: one plain head for each, with the same trunk."""

import dataclasses
from typing import Any

from avemo_jax.heads.spec import HeadSpec
from avemo_jax.heads.transformer import output_names
from avemo_jax.tasks import JointTask, TaskPart


def part_spec(spec: HeadSpec, part: TaskPart) -> HeadSpec:
    """The spec of one task's head, with the trunk of the joint head ``spec``."""
    return dataclasses.replace(spec, task=part.task.name, va_form="plain")


def part_variables(
    spec: HeadSpec, part: TaskPart, variables: Any, task: JointTask
) -> Any:
    """Parameters and statistics of one task's head, taken from the joint head's.

    The head's logits are exactly the joint head's in the task's columns.

    Args:
        spec: The joint head.
        part: The task, and its columns in the joint head's outputs.
        variables: ``{"params", "stats"}`` of the joint head, leading axis seeds.
        task: All tasks together.
    """
    if spec.kind == "transformer":
        return {name: _own(tree, part, task) for name, tree in variables.items()}
    params = dict(variables["params"])
    last = "fc" if spec.kind == "linear" else "fc2"
    params[last] = {n: v[:, part.outputs] for n, v in params[last].items()}
    return {"params": params, "stats": variables["stats"]}


def _own(tree: Any, part: TaskPart, task: JointTask) -> Any:
    """``tree`` with only one task's last modules, under their names in a plain head."""
    last = {
        f"{one.task.name}_{name}": (one, name)
        for one in task.parts
        for name in output_names(one.task)
    }
    own = {name: leaf for name, leaf in tree.items() if name not in last}
    for whole, (one, name) in last.items():
        if one == part:
            own[name] = tree[whole]
    return own
