"""Tasks by name: the official ones, a user's own, and several joined by "+"."""

from avemo_jax.tasks.joint import joint_task
from avemo_jax.tasks.task import TASKS, Task

_OWN: dict[str, Task] = {}  # users' own tasks, by name; TASKS never changes


def known_tasks() -> dict[str, Task]:
    """The official tasks and the registered ones, by name."""
    return TASKS | _OWN


def register(task: Task) -> Task:
    """Let ``get_task`` find a user's own task; the same one may be registered again.

    Returns:
        The task.

    Raises:
        ValueError: If another task has its name.
    """
    there = known_tasks().get(task.name)
    if there not in (None, task):
        raise ValueError(
            f"task {task.name!r} ({task.kind}: {', '.join(task.columns)}) is another "
            f"one than the {task.name!r} known ({there.kind}: "
            f"{', '.join(there.columns)}); expected one task of a name: give it "
            "another name, or use one such store at a time"
        )
    if task.name not in TASKS:
        _OWN[task.name] = task
    return task


def get_task(name: str) -> Task:
    """The task called ``name``; "EXPR+AU+VA" is those three as one joint task.

    Raises:
        ValueError: If there is no such task.
    """
    known = known_tasks()
    if "+" in name:
        return joint_task([get_task(one) for one in name.split("+")])
    if name not in known:
        raise ValueError(
            f"unknown task {name!r}; config.task may be {', '.join(known)}, or "
            "several joined by '+'"
        )
    return known[name]
