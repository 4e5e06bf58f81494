"""A head of several tasks, taken apart: one plain head of each, with the same trunk."""

import dataclasses
from typing import Any

from avemo_jax.heads.spec import HeadSpec
from avemo_jax.heads.transformer import output_names
from avemo_jax.joint_task import JointTask, Part


def part_spec(spec: HeadSpec, part: Part) -> HeadSpec:
    """The head of one task: trunk and outputs as in the joint one."""
    return dataclasses.replace(spec, task=part.task.name, va_form="plain")


def part_variables(spec: HeadSpec, part: Part, variables: Any, task: JointTask) -> Any:
    """Parameters and statistics of one task's head.

    It gives the very logits that the joint head gives in the task's columns.

    Args:
        spec: Of the joint head.
        part: The task.
        variables: ``{"params", "stats"}`` of the joint head, leading axis members.
        task: All tasks.
    """
    params = dict(variables["params"])
    if spec.kind == "transformer":
        for other in task.parts:
            for name in output_names(other.task):
                taken = params.pop(f"{other.task.name}_{name}")
                if other == part:
                    params[name] = taken
    else:
        last = "fc" if spec.kind == "linear" else "fc2"
        params[last] = {n: v[:, part.outputs] for n, v in params[last].items()}
    return {"params": params, "stats": variables["stats"]}
