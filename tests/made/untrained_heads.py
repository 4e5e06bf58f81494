"""Head checkpoints with the parameters that training would start from."""

import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from avemo_jax.config.fields import base_config, to_plain
from avemo_jax.heads import HeadSpec, Variables, build_head
from avemo_jax.heads.joint import part_spec, part_variables
from avemo_jax.models import checkpoints
from avemo_jax.models.card import JOINT_FILE, CardFeatures, own_definition, write_card
from avemo_jax.tasks import JointTask, Task, get_task
from made.cards import made_card

# Name, kind, length and fingerprint of each feature set.
Sets = Sequence[tuple[str, str, int, str]]


@functools.cache
def _drawn(
    head_spec: HeadSpec, task: Task | JointTask, seed: int, count: int
) -> Variables:
    """Variables of ``count`` heads, by one program and once for all tests.

    A spec only names its task, and tasks of several tests may have one name.
    """
    keys = jax.random.split(jax.random.key(seed), count)
    init = jax.jit(jax.vmap(build_head(head_spec).init))
    params, stats = init(keys)
    return Variables(params=params, stats=stats)


def untrained_head(
    directory: pathlib.Path,
    task: str,
    kind: str,
    sets: Sets,
    *,
    seeds: int = 1,
    spec: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
    **card: Any,
) -> pathlib.Path:
    """A checkpoint; of several tasks joined by "+", that of a joint head.

    Args:
        directory: The checkpoint's folder.
        task: Name of the task, or of several.
        kind: Kind of the head.
        sets: The feature sets that it takes.
        seeds: How many there are.
        spec: Options of the head, beside its task, kind and dims.
        config: Fields of the configuration by ``a__b`` for ``a.b``.
        **card: Fields of the card.
    """
    flat = {"postprocess.half_widths": (2, 5), "evaluate.num_resamples": 10}
    flat |= {name.replace("__", "."): value for name, value in (config or {}).items()}
    whole = base_config(task, kind)
    whole.update_from_flattened_dict(flat)
    dims = tuple(dim for _, _, dim, _ in sets)
    kinds = tuple(one for _, one, _, _ in sets)
    options = {"set_kinds": kinds, **(spec or {})}
    head_spec = HeadSpec(task=task, kind=kind, dims=dims, **options)
    own = get_task(task)
    variables = _drawn(head_spec, own, len(str(sets)) + seeds, seeds)
    fields = {
        "task": task,
        "head": head_spec.to_dict(),
        "features": tuple(CardFeatures(*one) for one in sets),
        "training_videos": ("not in the store",),
        "dev_videos": (),
        "config": to_plain(whole),
        "seeds": tuple(range(seeds)),
        "candidates": (0, seeds),
        "best_epochs": (1,) * seeds,
        "dev_scores": None,
        "own_task": own_definition(own),
        "class_counts": None,
    }
    joint = made_card(**{**fields, **card})
    if not isinstance(own, JointTask):
        directory.parent.mkdir(parents=True, exist_ok=True)
        checkpoints.save_head(directory, joint, variables)
        return directory
    directory.mkdir(parents=True)
    for part in own.parts:
        one = made_card(
            **{
                **fields,
                **card,
                "task": part.task.name,
                "head": part_spec(head_spec, part).to_dict(),
                "trained_with": task,
            }
        )
        arrays = part_variables(head_spec, part, variables, own)
        checkpoints.save_head(directory / part.task.name, one, arrays)
    write_card(directory / JOINT_FILE, joint)
    return directory
