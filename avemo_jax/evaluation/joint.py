"""Scores of tasks that were trained together, each in its folder, and their sum P."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from avemo_jax.batches.tables import Data
from avemo_jax.config.checks import check_rule
from avemo_jax.evaluation import results
from avemo_jax.evaluation.evaluate import evaluate
from avemo_jax.evaluation.report import frame_sets, rate_words, scores_table
from avemo_jax.models.blend import Model
from avemo_jax.models.card import JOINT_FILE, Card, combined, read_as
from avemo_jax.models.ensembles import EnsembleOver, load_model
from avemo_jax.postprocess.frame_rate.rules import FrameRate
from avemo_jax.runtime import distributed
from avemo_jax.runtime.atomic_files import write_json
from avemo_jax.tasks import SCORE, get_task

_BLOCKS = ("raw", "smoothed")
_COMMON = (
    "split",
    "synthetic",
    "data",
    "features",
    "head",
    "protocol",
    "faces",
    "num_seeds",
)


@dataclasses.dataclass
class JointModel:
    """The heads of tasks that were trained together, loaded.

    Attributes:
        card: Content of ``joint.json``.
        models: Model of each task, in the order of training.
    """

    card: Card
    models: dict[str, Model]

    @property
    def fingerprint(self) -> str:
        """Digest of the heads of all tasks."""
        return combined(model.fingerprint for model in self.models.values())


def load_joint(
    directory: pathlib.Path, ensemble: EnsembleOver | None = None
) -> JointModel:
    """The model of every task in ``directory``, which has ``joint.json``.

    Args:
        directory: The checkpoint.
        ensemble: "seeds" takes the mean over seeds; None takes no mean.

    Raises:
        CheckpointError: If the checkpoint is damaged, or a task's head is missing.
    """
    card = read_as(Card, directory / JOINT_FILE)
    names = card.task.split("+")
    return JointModel(card, {n: load_model(directory / n, ensemble) for n in names})


def evaluate_joint(
    joint: JointModel,
    data: Data,
    workdir: pathlib.Path,
    *,
    split: str = "validation",
    device_budget_gb: float | None = None,
    update_card: bool = False,
    frame_rate: FrameRate | None = None,
) -> dict[str, Any]:
    """Scores of every task on ``split``, each in its folder of ``workdir``, and P.

    Args:
        joint: The models of all tasks.
        data: The store.
        workdir: Gets ``results.json`` and a folder for each task.
        split: Name of a split, of which each task has its own videos. There is no P
            where the labels of a task are missing.
        device_budget_gb: Memory for tables; None asks the device.
        update_card: Keep selections and scores in the tasks' cards.
        frame_rate: The kind of rule for the frames to embed, of which each task chooses
            its own; None takes the configuration's.

    Returns:
        Content of ``results.json``: the sums P in ``metrics``, the results of each task
        in ``tasks``.

    Raises:
        ValueError: If a model does not fit the data.
    """
    if frame_rate is not None:
        check_rule(frame_rate, [get_task(name) for name in joint.models])
    by_task = {
        name: evaluate(
            model,
            data,
            workdir / name,
            split=split,
            device_budget_gb=device_budget_gb,
            update_card=update_card,
            frame_rate=frame_rate,
        )
        for name, model in joint.models.items()
    }
    first = next(iter(by_task.values()))
    found: dict[str, Any] = {
        "schema_version": results.SCHEMA_VERSION,
        "task": joint.card.task,
        **{name: first[name] for name in _COMMON},
        "checkpoint": joint.fingerprint,
        "tasks": by_task,
    }
    if all("metrics" in one for one in by_task.values()):
        found["metrics"] = _sums(by_task)
    distributed.on_first(lambda: write_json(workdir / "results.json", found))
    return found


def _sums(by_task: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """P of each block and set of frames: the tasks' headline scores, summed."""
    sums: dict[str, Any] = {}
    for block in _BLOCKS:
        sums[block] = {}
        for frames in results.FRAME_SETS:
            if any(frames not in one["metrics"][block] for one in by_task.values()):
                continue
            by_seed = np.zeros(next(iter(by_task.values()))["num_seeds"])
            for name, one in by_task.items():
                headline = get_task(name).headline
                by_seed += [s[block][frames][headline] for s in one["per_seed"]]
            sums[block][frames] = {SCORE: float(by_seed.mean())}
            if len(by_seed) > 1:
                deviation = float(by_seed.std(ddof=1))
                sums[block][frames][f"{SCORE}_std"] = deviation
    return sums


def words_of(found: Mapping[str, Any]) -> str:
    """The scores of results.json as text, of one task or of several and their sum."""
    if "tasks" not in found:
        if "metrics" not in found:
            words = (
                f"{found['split']} has no labels, so there is nothing to score: "
                "predictions only"
            )
            return f"{words}; {rate_words(found)}" if "frame_rate" in found else words
        return scores_table(found)
    texts = [words_of(one) for one in found["tasks"].values()]
    if "metrics" in found:
        texts.append(_sums_table(found))
    return "\n\n".join(texts)


def _sums_table(found: Mapping[str, Any]) -> str:
    """P as text, a line for each way of post-processing."""
    lines = [f"P of {found['task']}, the sum of the tasks' scores:"]
    for block, by_frames in found["metrics"].items():
        for frames, scores in by_frames.items():
            deviation = scores.get(f"{SCORE}_std")
            behind = "" if deviation is None else f" ± {deviation:.3f}"
            where = frame_sets(found)[frames]
            lines.append(f"  {block}, {where}: {scores[SCORE]:.3f}{behind}")
    return "\n".join(lines)
