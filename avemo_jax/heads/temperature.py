"""One trained temperature of each task's logits, which are divided by it.

A temperature is kept by its log, so that it is positive and starts at 1 (Guo et al.,
arXiv 1706.04599, fit one after training; here it is trained with the head).
"""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from avemo_jax.heads.spec import has_temperature
from avemo_jax.tasks import JointTask, Task

TEMPERATURES = "log_temperatures"  # in the parameters: {name of a task: ()}


def first_temperatures(task: Task) -> dict[str, Any]:
    """Parameters of temperatures of 1, by the names of the tasks that have one."""
    return {TEMPERATURES: {name: jnp.zeros(()) for name in _names(task)}}


def divided(
    logits: Float[Array, "*batch outputs"], logs: dict[str, Array], task: Task
) -> Float[Array, "*batch outputs"]:
    """The logits over their temperature; values are left as they are.

    Args:
        logits: Logits of each frame.
        logs: Log of each task's temperature, by the task's name.
        task: The task, or several together.
    """
    if not isinstance(task, JointTask):
        return logits / jnp.exp(logs[task.name]).astype(logits.dtype)
    parts = []
    for part, own in task.of_parts(logits):
        tempered = has_temperature(part.task)
        parts.append(divided(own, logs, part.task) if tempered else own)
    return jnp.concatenate(parts, axis=-1)


def _names(task: Task) -> list[str]:
    tasks = task.tasks if isinstance(task, JointTask) else (task,)
    return [one.name for one in tasks if has_temperature(one)]
