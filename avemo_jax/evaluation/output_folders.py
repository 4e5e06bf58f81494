"""The folder that an evaluation writes: where it is, and whose results are in it."""

import os
import pathlib
from typing import Any

from avemo_jax.models.card import BLEND_FILE, HEAD_FILE, JOINT_FILE
from avemo_jax.models.ensembles import EnsembleOver
from avemo_jax.postprocess.frame_rate.rules import FrameRate
from avemo_jax.runtime.json_files import read_json

RESULTS = "results.json"
_CARDS = (HEAD_FILE, JOINT_FILE, BLEND_FILE)  # one of them is in each checkpoint
_BEST = "best_model"  # the checkpoint of a run, to which the run's folder belongs


def default_folder(
    checkpoint: pathlib.Path,
    split: str,
    *,
    ensemble: EnsembleOver | None = None,
    frame_rate: FrameRate | None = None,
) -> pathlib.Path:
    """``RUN/evaluation-<split>`` of ``RUN/best_model``; it has more parts for others.

    The name of a checkpoint that lies among others, as ``heads/a``, comes before the
    split: ``heads/evaluation-a-validation``; so does that of one task's head within a
    checkpoint of several, for nothing is written into a checkpoint. Behind the split
    come ``-<ensemble>`` and ``-<rule><stride>``.

    Args:
        checkpoint: Folder of the checkpoint; of the run for an ensemble of folds.
        split: Which videos are evaluated.
        ensemble: Over what means are taken; None takes none.
        frame_rate: The rule for the frames to embed; None: the configuration's.
    """
    place = pathlib.Path(os.path.abspath(checkpoint))
    names = [] if ensemble == "folds" else [place.name]
    run = place if ensemble == "folds" else place.parent
    while any((run / file).is_file() for file in _CARDS):
        names.insert(0, run.name)
        run = run.parent
    own = [name for name in names if name != _BEST]
    rate = frame_rate and f"{frame_rate.rule}{frame_rate.stride or ''}"
    return run / "-".join(filter(None, ("evaluation", *own, split, ensemble, rate)))


def check_free(folder: pathlib.Path, fingerprint: str, *, name: str) -> None:
    """Check that ``folder`` has no results of another checkpoint.

    Args:
        folder: Where results will be written.
        fingerprint: Fingerprint of the model that is evaluated.
        name: What the user calls the folder, for the error.

    Raises:
        ValueError: If its ``results.json`` is of another checkpoint, or does not say of
            which it is.
    """
    path = folder / RESULTS
    if not path.exists():
        return
    remedy = "name another folder (--workdir DIR; avemo submit --out DIR)"
    found: dict[str, Any] = read_json(path, dict, remedy=remedy)
    other = found.get("checkpoint")
    if other == fingerprint:
        return
    whose = f"another checkpoint, {str(other)[:8]}" if other else "an unknown one"
    raise ValueError(
        f"{name} has results of {whose} ({found.get('head')} on {found.get('task')} "
        f"{found.get('split')}), which would be overwritten; expected a folder for "
        f"checkpoint {fingerprint[:8]} alone: {remedy}, or remove that one"
    )
