"""Folds of speakers together: each clip once, by a model that never saw its speaker.

Intervals draw speakers again, with replacement: clips of one person resemble each
other, so drawing clips would make a score seem surer than it is.
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow.compute as pc
from jaxtyping import Int

from avemo_jax.data.corpus.protocols import Protocol
from avemo_jax.data.listing import first_of
from avemo_jax.evaluation.by_video import PREDICTIONS_BY_VIDEO
from avemo_jax.metrics.intervals import few_words, interval_of, named, named_ends
from avemo_jax.metrics.states import Confusion, scores_of
from avemo_jax.runtime.tables import read_table
from avemo_jax.tasks import Task

PREDICTIONS = "predictions.csv"
RECALL = "recall_macro"
_SCORES = {"accuracy": "accuracy", "f1_macro": "macro F1", RECALL: "mean recall"}
_SETS = {"per_video": "clips", "with_crop": "frames with a face or sound"}
_TOLD = 6  # speakers in a line

Counts = Int[np.ndarray, "speakers classes classes"]


def confusions(
    task: Task, folder: pathlib.Path, speakers: Mapping[str, str], names: Sequence[str]
) -> dict[str, Counts]:
    """Labels against decisions in the predictions of a fold, of each speaker.

    Args:
        task: A task of classes.
        folder: Folder of the fold's predictions, those of its best seed.
        speakers: The speaker of each video.
        names: The speakers, in the order of the result.

    Returns:
        By "per_video", of whole videos, and "with_crop", of the frames that have
        features of their own: the number by speaker, label and decision.

    Raises:
        ValueError: If a file of predictions is damaged.
    """
    files = {"per_video": PREDICTIONS_BY_VIDEO, "with_crop": PREDICTIONS}
    return {
        name: _confusion(task, folder / file, speakers, names)
        for name, file in files.items()
        if (folder / file).is_file()
    }


def _confusion(
    task: Task, path: pathlib.Path, speakers: Mapping[str, str], names: Sequence[str]
) -> Counts:
    table = read_table(path)
    videos, video = table.encoded("video")
    index = {name: i for i, name in enumerate(names)}
    of_video = np.array([index[speakers[one]] for one in videos], np.int64)
    classes = {name: i for i, name in enumerate(task.columns)}
    parts = []
    for column in (f"label_{task.decided}", task.decided):
        texts, code = table.encoded(column)
        known = np.array([*(classes[text] for text in texts), -1], np.int64)
        parts.append(known[code])
    counted = (parts[0] >= 0) & (parts[1] >= 0)
    if "has_crop" in table.columns:
        crop = pc.equal(table.texts("has_crop"), "1")
        counted &= pc.fill_null(crop, False).to_numpy()
    counts = np.zeros((len(names), len(classes), len(classes)), np.int64)
    place = (of_video[video[counted]], parts[0][counted], parts[1][counted])
    np.add.at(counts, place, 1)
    return counts


def class_scores(task: Task, counts: Int[np.ndarray, "*sets classes classes"]) -> Any:
    """Accuracy, macro F1, F1 of classes and the mean recall of the classes that occur.

    Args:
        task: The task of the classes.
        counts: Number by label (rows) and decision (columns).
    """
    labelled = counts.sum(axis=-1)
    found = np.diagonal(counts, axis1=-2, axis2=-1)
    recall = found / np.maximum(labelled, 1)
    occurring = np.maximum((labelled > 0).sum(axis=-1), 1)
    scores = scores_of(task, Confusion(counts.astype(np.float64)))
    return {**scores, RECALL: recall.sum(axis=-1) / occurring}


def pooled_scores(
    task: Task, counts: Counts, *, num_resamples: int, seed: int = 0
) -> dict[str, Any]:
    """Scores of all speakers together, with 95 % intervals over them.

    Args:
        task: The task of the classes.
        counts: Number by speaker, label and decision.
        num_resamples: Number of sets of speakers that are drawn; 0: no intervals.
        seed: Seed of the draws.
    """
    there = counts[counts.sum(axis=(1, 2)) > 0]
    value = class_scores(task, there.sum(axis=0))
    block = {name: named(task, one) for name, one in value.items()}
    if num_resamples and len(there) > 1:
        rng = np.random.default_rng(seed)
        drawn = rng.integers(0, len(there), (num_resamples, len(there)))
        times = np.zeros((num_resamples, len(there)), np.int64)
        np.add.at(times, (np.arange(num_resamples)[:, None], drawn), 1)
        samples = class_scores(task, np.tensordot(times, there, axes=1))
        left_out = class_scores(task, there.sum(axis=0) - there)
        interval = interval_of(value, samples, left_out)
        block |= named_ends(task, interval, len(there), "speakers")
    return block | {"num": int(there.sum()), "num_speakers": len(there)}


def folds_block(
    task: Task,
    protocol: Protocol,
    folders: Sequence[pathlib.Path],
    speakers: Mapping[str, str],
    *,
    num_resamples: int,
) -> dict[str, Any]:
    """The block ``speaker_folds`` of results.json: of each fold, and pooled.

    Speakers of whom the store has nothing are not named.

    Args:
        task: A task of classes.
        protocol: The folds of speakers.
        folders: Folder of each fold's results, in their order.
        speakers: The speaker of each video.
        num_resamples: Number of sets of speakers that are drawn for intervals.

    Raises:
        ValueError: If a file of predictions is damaged.
    """
    names = sorted(set(speakers.values()))
    each = [confusions(task, folder, speakers, names) for folder in folders]
    found: dict[str, Any] = {}
    for name in _SETS:
        if not all(name in one for one in each):
            continue
        folds = []
        for one in each:
            scores = pooled_scores(task, one[name], num_resamples=0)
            folds.append(scores)
        values = {key: [fold[key] for fold in folds] for key in _SCORES}
        found[name] = {
            "folds": folds,
            "mean": {key: float(np.mean(one)) for key, one in values.items()},
            "std": {key: float(np.std(one, ddof=1)) for key, one in values.items()},
            "pooled": pooled_scores(
                task,
                np.sum([one[name] for one in each], axis=0),
                num_resamples=num_resamples,
            ),
        }
    return {
        "source": protocol.source,
        "speakers": [[w for w in fold if w in names] for fold in protocol.folds],
        **found,
    }


def folds_table(title: str, block: Mapping[str, Any]) -> str:
    """The scores of all folds for people to read.

    Args:
        title: What was scored, for the first line.
        block: What :func:`folds_block` made.
    """
    lines = [title, f"folds: {block['source']}"]
    for name, what in _SETS.items():
        if name not in block:
            continue
        of_set = block[name]
        lines += ["", f"{what:36}" + "".join(f"{one:>24}" for one in _SCORES.values())]
        for number, (fold, who) in enumerate(
            zip(of_set["folds"], block["speakers"], strict=True)
        ):
            told = f"{number}: {first_of(who, _TOLD)} ({fold['num']:,})"
            lines.append(f"  {told:34}" + _cells(fold))
        spread = "".join(
            f"{of_set['mean'][key]:>16.3f} ± {of_set['std'][key]:.3f}"
            for key in _SCORES
        )
        pooled = of_set["pooled"]
        lines.append(f"  {'mean ± deviation of folds':34}{spread}")
        lines.append(
            f"  {'all together (' + format(pooled['num'], ',') + ')':34}"
            + _cells(pooled)
        )
        if words := few_words({title: (pooled, key) for key, title in _SCORES.items()}):
            lines.append(f"  {words}")
    lines += [
        "",
        "all together: each once, by the best seed of its fold; [95 % interval over "
        "speakers]",
    ]
    return "\n".join(lines)


def _cells(scores: Mapping[str, Any]) -> str:
    cells = []
    for key in _SCORES:
        text = f"{scores[key]:.3f}"
        if ends := scores.get(f"{key}_ci95"):
            text += f" [{ends[0]:.3f}, {ends[1]:.3f}]"
        cells.append(f"{text:>24}")
    return "".join(cells)
