"""The tasks: names of outputs, label rules, activation, losses and scores of each.

No other room knows what EXPR, AU and VA are. Tasks of a user's own, and several tasks
as one, are made here too.
"""

from avemo_jax.tasks.joint import SCORE, JointTask, TaskPart, joint_split, joint_task
from avemo_jax.tasks.own import MAX_CLASSES, definition, from_definition, own_task
from avemo_jax.tasks.registry import get_task, known_tasks, register
from avemo_jax.tasks.task import (
    ACTION_UNITS,
    AU,
    EXPR,
    EXPRESSIONS,
    TASKS,
    VA,
    Task,
    TaskKind,
)

__all__ = [
    "ACTION_UNITS",
    "AU",
    "EXPR",
    "EXPRESSIONS",
    "MAX_CLASSES",
    "SCORE",
    "TASKS",
    "VA",
    "JointTask",
    "Task",
    "TaskKind",
    "TaskPart",
    "definition",
    "from_definition",
    "get_task",
    "joint_split",
    "joint_task",
    "known_tasks",
    "own_task",
    "register",
]
