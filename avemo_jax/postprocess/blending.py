"""Several heads' probabilities as one: convex blends, and trust in the extractor's."""

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

from avemo_jax.metrics.scores import best_thresholds, task_metrics
from avemo_jax.postprocess.clips import Clips, scored_units
from avemo_jax.tasks import get_task

# Where each of the task's classes is among AffectNet's: Anger, Contempt, Disgust, Fear,
# Happiness, Neutral, Sadness, Surprise. Contempt takes the place of Other.
AFFECTNET_CLASSES = (5, 0, 2, 3, 4, 6, 7, 1)
MAX_BLENDS = 100_000


class HeadRows(NamedTuple):
    """Which frames a head has scores of.

    Attributes:
        videos: Names, none twice.
        row_offsets: Where each video's rows begin, and the number of rows at the end.
        frame: Number of the frame of each row in its video, from 1.
    """

    videos: Sequence[str]
    row_offsets: Int[np.ndarray, " bounds"]
    frame: Int[np.ndarray, " rows"]


class Alignment(NamedTuple):
    """The frames that all heads have, in the order of the first head.

    Attributes:
        rows: Where the common frames are among each head's rows.
        lost: Number of each head's rows that are not common.
    """

    rows: Int[np.ndarray, "heads frames"]
    lost: Int[np.ndarray, " heads"]


class BlendChoice(NamedTuple):
    """The best of some blends.

    Attributes:
        weights: Weights of the heads.
        score: The task's headline score with these weights.
        thresholds: AU: threshold of each unit; None for other tasks.
    """

    weights: Float[Array, " heads"]
    score: Float[Array, ""]
    thresholds: Float[Array, " units"] | None


def simplex_grid(num_models: int, step: float = 0.1) -> Float[np.ndarray, "blends m"]:
    """All weights that are multiples of ``step`` and add up to 1.

    Args:
        num_models: Number of heads to blend, at least 1.
        step: Distance of the weights, 1 over a whole number.

    Returns:
        One blend a row, in rising order of the first weight, then the second, and so
        on; float32.

    Raises:
        ValueError: If an argument is out of range, or this gives over 100,000 blends.
    """
    if num_models < 1:
        raise ValueError(
            f"num_models is {num_models}; expected 1 or more; give the models to blend"
        )
    parts = round(1 / step) if 0 < step <= 1 else 0
    if parts < 1 or abs(parts * step - 1) > 1e-6:
        raise ValueError(
            f"step is {step}; expected 1 over a whole number; give 0.1, 0.05 or such"
        )
    count = math.comb(parts + num_models - 1, num_models - 1)
    if count > MAX_BLENDS:
        raise ValueError(
            f"{num_models} models in steps of {step} are {count} blends; expected at "
            f"most {MAX_BLENDS}; give a larger step or fewer models"
        )
    whole = np.zeros((1, 0), np.int64)
    for _ in range(num_models - 1):
        left = parts - whole.sum(axis=1)
        repeated = np.repeat(whole, left + 1, axis=0)
        added = np.concatenate([np.arange(n + 1) for n in left])
        whole = np.column_stack([repeated, added])
    whole = np.column_stack([whole, parts - whole.sum(axis=1)])
    return (whole / parts).astype(np.float32)


def blend(
    probs: Float[Array, "heads frames outputs"], weights: Float[Array, " heads"]
) -> Float[Array, "frames outputs"]:
    """The weighted sum of the heads' scores.

    Args:
        probs: Scores after the activation; for VA the tanh outputs.
        weights: Weight of each head; they add up to 1.
    """
    # Not a matrix product: TPUs would round to bfloat16.
    return (probs * weights[:, None, None]).sum(axis=0)


@functools.partial(jax.jit, static_argnames=("task_name",))
def score_blends(
    task_name: str,
    probs: Float[Array, "heads frames outputs"],
    labels: Shaped[Array, "frames ..."],
    mask: Bool[Array, " frames"],
    weights: Float[Array, "blends heads"],
    thresholds: Float[Array, "blends units"] | None = None,
) -> dict[str, Array]:
    """The task's scores of every blend, one after the other in one program.

    Args:
        task_name: "EXPR", "AU" or "VA".
        probs: Scores of the same frames by each head.
        labels: Labels in the task's form.
        mask: True where a frame counts.
        weights: Weights of each blend, e.g. of :func:`simplex_grid`.
        thresholds: AU only: thresholds of each blend; None finds those of the grid that
            are best for each blend on these labels.

    Returns:
        The scores of ``task_metrics``, with a leading axis of blends.

    Raises:
        ValueError: If the task is unknown.
    """
    task = get_task(task_name)

    def score(arguments: tuple[Array, Array | None]) -> dict[str, Array]:
        one, limits = arguments
        blended = blend(probs, one)
        if task.kind == "multilabel" and limits is None:
            limits = best_thresholds(blended, labels, mask)
        return task_metrics(task.name, blended, labels, mask, limits)

    return jax.lax.map(score, (weights, thresholds))


def choose_blend(
    task_name: str,
    probs: Float[Array, "heads frames outputs"],
    labels: Shaped[Array, "frames ..."],
    mask: Bool[Array, " frames"],
    weights: Float[Array, "blends heads"],
) -> BlendChoice:
    """The blend with the best headline score; of equal ones the first.

    The arguments are those of :func:`score_blends`.
    """
    scores = score_blends(task_name, probs, labels, mask, weights)
    headline = scores[get_task(task_name).headline]
    best = jnp.argmax(headline)
    limits = scores.get("thresholds")
    return BlendChoice(
        weights[best], headline[best], None if limits is None else limits[best]
    )


def extractor_probs(
    outputs: Float[Array, "frames columns"],
) -> Float[Array, "frames 8"]:
    """An AffectNet extractor's logits as probabilities of the task's classes.

    Args:
        outputs: The 8 logits first, in AffectNet's order; what follows is not used.

    Raises:
        ValueError: If there are fewer than 8 columns.
    """
    if outputs.shape[-1] < len(AFFECTNET_CLASSES):
        raise ValueError(
            f"outputs have {outputs.shape[-1]} columns; expected 8 or more; give the "
            "extractor's outputs, not its features"
        )
    logits = outputs[:, : len(AFFECTNET_CLASSES)]
    return jax.nn.softmax(logits, axis=-1)[:, jnp.array(AFFECTNET_CLASSES)]


def trust_confident(
    probs: Float[Array, "frames classes"],
    extractor: Float[Array, "frames classes"],
    confidence: Float[Array, ""] | float,
) -> Float[Array, "frames classes"]:
    """The extractor's probabilities where their highest is over ``confidence``.

    Args:
        probs: The model's probabilities; kept in all other frames.
        extractor: The extractor's probabilities in the task's order
            (:func:`extractor_probs`), smoothed like ``probs``.
        confidence: Number in [0, 1]; 1 never trusts the extractor.
    """
    # A float32 softmax can sum to slightly over 1: without the bound 1 could trust.
    sure = jnp.minimum(extractor.max(axis=-1, keepdims=True), 1) > confidence
    return jnp.where(sure, extractor, probs)


@jax.jit
def score_confidences(
    probs: Float[Array, "frames classes"],
    extractor: Float[Array, "frames classes"],
    labels: Int[Array, " frames"],
    mask: Bool[Array, " frames"],
    confidences: Float[Array, " levels"],
    clips: Clips | None = None,
) -> Float[Array, " levels"]:
    """Macro F1 of :func:`trust_confident` at every confidence, in one program.

    Args:
        probs: The model's probabilities.
        extractor: The extractor's probabilities in the task's order.
        labels: Classes.
        mask: True where a frame counts.
        confidences: Confidences over which the extractor is trusted.
        clips: The clips to score as wholes; None scores frames.
    """

    def score(confidence: Array) -> Array:
        trusted = trust_confident(probs, extractor, confidence)
        units = scored_units(clips, trusted, labels, mask)
        return task_metrics("EXPR", *units)["f1_macro"]

    return jax.lax.map(score, confidences)


def align(heads: Sequence[HeadRows]) -> Alignment:
    """Rows of the frames (by name of the video and number) that all heads have.

    Args:
        heads: Rows of each head.

    Raises:
        ValueError: If there is no head, or one has a frame or a video twice.
    """
    if not heads:
        raise ValueError("0 heads to align; expected 1 or more; give models' rows")
    names = sorted({name for head in heads for name in head.videos})
    number = {name: i for i, name in enumerate(names)}
    stride = 1 + max(
        (int(head.frame.max()) for head in heads if head.frame.size), default=0
    )
    keys = []
    for i, head in enumerate(heads):
        of_video = np.array([number[name] for name in head.videos], np.int64)
        key = np.repeat(of_video, np.diff(head.row_offsets)) * stride + head.frame
        if len(set(head.videos)) < len(of_video) or len(np.unique(key)) < len(key):
            raise ValueError(
                f"head {i} has a video or a frame twice; expected each frame once; "
                "look at the table its scores were made from"
            )
        keys.append(key)
    common = functools.reduce(np.intersect1d, keys)
    ordered = keys[0][np.isin(keys[0], common)]
    rows = []
    for key in keys:
        order = np.argsort(key)
        rows.append(order[np.searchsorted(key, ordered, sorter=order)])
    lost = np.array([len(key) - len(ordered) for key in keys], np.int64)
    return Alignment(np.stack(rows).astype(np.int64), lost)
