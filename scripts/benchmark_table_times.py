"""Our times for the work whose times the original's results table reports.

For a single model its Time column covers loading the checkpoint, one pass over the
validation frames (features in memory) and the metrics; for a smoothed row, only the
loop that smooths. The same is timed here on made-up data of the size of Aff-Wild2's
validation sets, with heads of random parameters that are written and loaded again. Ours
includes what the pass copies to the devices; blends include the weighting, strides the
search for the entries of their medians.

The original's times are of other machines (Colab): they are printed beside ours, and no
ratio is made of them.
"""

import argparse
import functools
import gc
import json
import pathlib
import platform
import resource
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import measuring
import numpy as np
from made_validation import SIZES, made_lengths, made_table

from avemo_jax.batches import sharding
from avemo_jax.batches.feeders import make_feeder
from avemo_jax.batches.row_scores import Predictor
from avemo_jax.data.store.table import FeatureSet, FrameTable
from avemo_jax.heads import Head, HeadSpec, Variables, build_head
from avemo_jax.metrics.scores import best_thresholds, task_metrics
from avemo_jax.models import checkpoints
from avemo_jax.models.card import Card, CardData, CardFeatures, read_card
from avemo_jax.postprocess.blending import blend
from avemo_jax.postprocess.frame_rate.sequential import sequential, stride_entries
from avemo_jax.postprocess.smoothing import smooth
from avemo_jax.runtime.machine import num_cpus
from avemo_jax.runtime.versions import VERSION
from avemo_jax.tasks import TASKS, Task

VISUAL = FeatureSet("enet_b2_8_best@made", "visual", 1408, 0, "made")
SOUNDS = {
    "no sound": (),
    "VGGish": (FeatureSet("vggish@made", "audio", 128, 0, "made"),),
    "wav2vec2": (FeatureSet("wav2vec2_base@made", "audio", 768, 0, "made"),),
}
# Kind of row: title, options of the head, frames at once.
MODELS: dict[str, tuple[str, dict[str, Any], int]] = {
    "transformer": ("temporal Transformer", {"kind": "transformer"}, 8192),
    "batch": (
        "Transformer across the batch, 32",
        {"kind": "transformer", "attention": "batch", "positions": "none"},
        32,
    ),
    "mlp": ("MLP", {"kind": "mlp"}, 8192),
}
# Seconds that the original reports, in the order of SOUNDS. Source: its results table
# (bichuyen99/Audiovisual_emotion_recognition), as are those below.
_TRANSFORMER = {
    "EXPR": (29.5, 33.0, 34.4),
    "AU": (88.0, 81.0, 89.0),
    "VA": (55.2, 57.4, 58.9),
}
REPORTED_MODELS = {
    "transformer": _TRANSFORMER,
    "batch": _TRANSFORMER,
    "mlp": {
        "EXPR": (8.93, 11.4, 12.0),
        "AU": (52.5, 48.6, 50.3),
        "VA": (26.9, 29.4, 30.3),
    },
}


class ScoreRow(NamedTuple):
    """A row that is computed from scores.

    Attributes:
        kind: "smooth", "stride" or "blend".
        title: What the row is called.
        half_width: Half width of the medians, in frames.
        weights: Weights of the models that are blended.
        reported: Seconds that the original reports.
    """

    kind: str
    title: str
    half_width: int
    weights: tuple[float, ...]
    reported: float


SCORE_ROWS: dict[str, tuple[ScoreRow, ...]] = {
    "EXPR": (
        ScoreRow("smooth", "MLP wav2vec2, smooth all frames", 200, (1.0,), 31.65),
        ScoreRow("stride", "MLP wav2vec2, fixed stride 10", 200, (1.0,), 13.91),
    ),
    "AU": (
        ScoreRow("smooth", "MLP wav2vec2, smooth all frames", 15, (1.0,), 15.73),
        ScoreRow("blend", "MLP blend wav2vec2 + VGGish, smooth", 15, (0.4, 0.6), 17.3),
        ScoreRow("blend", "MLP blend B2 + B0, VGGish, smooth", 5, (0.5, 0.5), 22.2),
    ),
    "VA": (
        ScoreRow("smooth", "MLP wav2vec2, smooth all frames", 30, (1.0,), 30.3),
        ScoreRow("blend", "MLP blend wav2vec2 + VGGish, smooth", 30, (0.6, 0.4), 13.6),
    ),
}
ROWS = (*MODELS, "smooth", "stride", "blend")
_STRIDE = 10
_MOST_ROUNDS, _ENOUGH_SECONDS = 3, 10.0


class Row(NamedTuple):
    """What is timed for one cell of the table.

    Attributes:
        title: Name of the row, with its task and its sound or smoothing.
        reported: Seconds that the original reports.
        run: Does the work; returns when it is done.
    """

    title: str
    reported: float
    run: Callable[[], Any]


def main() -> None:
    """Times every row asked for; prints, writes and checks the times."""
    options = _options()
    machine = {
        "devices": [str(device) for device in jax.devices()],
        "device kind": jax.devices()[0].device_kind,
        "cores": num_cpus(),
        "processor": platform.processor() or platform.machine(),
        "frames scale": options.frames_scale,
    }
    print(", ".join(f"{name}: {value}" for name, value in machine.items()))
    found: list[dict[str, Any]] = []
    for name in options.tasks:
        frames, videos = SIZES[name]
        lengths = made_lengths(max(int(frames * options.frames_scale), videos), videos)
        print(f"{name}: {lengths.sum():,} frames in {videos} videos", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            task, place = TASKS[name], pathlib.Path(folder)
            for row in _model_rows(task, lengths, options.rows, place):
                found.append(_timed(row))
        for row in _score_rows(task, lengths, options.rows):
            found.append(_timed(row))
        print(f"  peak memory of the process so far: {_peak_mb():,.0f} MB", flush=True)
    _print(found)
    if options.json:
        content = {"machine": machine, "peak MB": _peak_mb(), "rows": found}
        options.json.write_text(json.dumps(content, indent=2) + "\n", "utf-8")
    if options.check:
        _check(found)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    tasks, rows = list(SIZES), list(ROWS)
    parser.add_argument("--tasks", nargs="+", choices=tasks, default=tasks)
    parser.add_argument("--rows", nargs="+", choices=rows, default=rows)
    parser.add_argument(
        "--frames-scale", type=float, default=1.0, help="share of the frames, (0, 1]"
    )
    measuring.add_options(parser)
    options = parser.parse_args()
    if not 0 < options.frames_scale <= 1:
        parser.error(
            f"--frames-scale {options.frames_scale}; expected a share in (0, 1]; give "
            "1 for all frames"
        )
    if options.check and options.frames_scale < 1:
        parser.error(
            f"--check with --frames-scale {options.frames_scale}; the bars are of all "
            "frames; leave one of the two out"
        )
    return options


def _model_rows(
    task: Task, lengths: np.ndarray, wanted: list[str], folder: pathlib.Path
) -> Iterator[Row]:
    """Rows of single models; the table of one choice of sound is held at a time."""
    if not set(wanted) & MODELS.keys():
        return
    for number, (sound, sets) in enumerate(SOUNDS.items()):
        table = made_table(task, lengths, (VISUAL, *sets))
        for kind, (title, fields, batch_size) in MODELS.items():
            if kind not in wanted:
                continue
            dims = tuple(each.dim for each in table.feature_sets)
            kinds = tuple(each.kind for each in table.feature_sets)
            spec = HeadSpec(task=task.name, dims=dims, set_kinds=kinds, **fields)
            head = build_head(spec)
            yield Row(
                f"{task.name} {title}, {sound}",
                REPORTED_MODELS[kind][task.name][number],
                _model_work(head, table, batch_size, folder / f"{kind}{number}"),
            )
        del table
        gc.collect()


def _model_work(
    head: Head, table: FrameTable, batch_size: int, directory: pathlib.Path
) -> Callable[[], Any]:
    """A call that loads the checkpoint, written here, scores all rows and measures."""
    mesh = sharding.make_mesh()
    params, stats = head.init(jax.random.key(0))
    variables = Variables(params=params, stats=stats)
    variables = jax.tree.map(lambda leaf: leaf[None], variables)
    checkpoints.save_head(directory, _card(head.spec, table, batch_size), variables)
    like = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), variables
    )
    window = head.spec.window if head.takes_windows else 0
    options = {"window": window, "audio_flag": False, "resident": True}
    make = functools.partial(make_feeder, table, mesh, **options)
    feeder: Any = _CopyingFeeder(make, window)
    predictor = Predictor(head, table, feeder, mesh, batch_size=batch_size)

    def run() -> Any:
        card = read_card(directory)
        scores = predictor(checkpoints.load_head(directory, card, like, mesh))[0]
        arrays = [jnp.asarray(a) for a in (scores, table.labels, table.valid)]
        limits = best_thresholds(*arrays) if table.task.name == "AU" else None
        return jax.block_until_ready(task_metrics(table.task.name, *arrays, limits))

    return run


def _card(spec: HeadSpec, table: FrameTable, batch_size: int) -> Card:
    """The card of a head of random parameters."""
    return Card(
        task=spec.task,
        head=spec.to_dict(),
        features=tuple(
            CardFeatures(one.name, one.kind, one.dim, one.fingerprint)
            for one in table.feature_sets
        ),
        data=CardData("made data", synthetic=True, fingerprint=table.fingerprint),
        protocol="ours",
        inputs="features",
        missing_audio="zeros",
        windows="average",
        evaluation_batch_size=batch_size,
        train_on="nothing",
        training_videos=(),
        dev_videos=(),
        class_counts=None,
        counts={},
        config={},
        version=VERSION,
        candidates=(0, 1),
        seeds=(0,),
        setting={},
        sweep=(),
        best_epochs=(None,),
        dev_scores=None,
    )


class _CopyingFeeder:
    """A feeder that copies the table to the devices in every pass, to be timed too."""

    def __init__(self, make: Callable[[], Any], window: int):
        self._make = make
        self.window = window

    def chunks(self, order: Any, length: int) -> Iterator[Any]:
        self._feeder = self._make()
        yield from self._feeder.chunks(order, length)

    def spread(self, shared: Any, steps: Any) -> Any:
        return self._feeder.spread(shared, steps)

    def batch(self, shared: Any, step: Any) -> Any:
        return self._feeder.batch(shared, step)


def _score_rows(task: Task, lengths: np.ndarray, wanted: list[str]) -> Iterator[Row]:
    """Rows that begin with scores in the host's memory."""
    ends = np.cumsum(lengths)
    lo = np.repeat(ends - lengths, lengths).astype(np.int32)
    hi = np.repeat(ends, lengths).astype(np.int32)
    low, high = task.score_range
    size = (2, len(lo), task.num_outputs)
    scores = np.random.default_rng(1).random(size, np.float32) * (high - low) + low
    for row in SCORE_ROWS[task.name]:
        if row.kind not in wanted:
            continue
        own = scores[: len(row.weights)]
        work = functools.partial(_WORK[row.kind], own, lo, hi, row)
        weights = " + ".join(f"{weight:g}" for weight in row.weights)
        how = f"median {row.half_width}"
        if row.kind == "blend":
            how = f"weights {weights}, {how}"
        yield Row(f"{task.name} {row.title} ({how})", row.reported, work)


def _smooth(scores: np.ndarray, lo: np.ndarray, hi: np.ndarray, row: ScoreRow) -> Any:
    medians = smooth(scores[0], lo, hi, half_width=row.half_width, mode="median")
    return jax.block_until_ready(medians)


def _blend(scores: np.ndarray, lo: np.ndarray, hi: np.ndarray, row: ScoreRow) -> Any:
    mixed = blend(jnp.asarray(scores), jnp.asarray(row.weights))
    medians = smooth(mixed, lo, hi, half_width=row.half_width, mode="median")
    return jax.block_until_ready(medians)


def _stride(scores: np.ndarray, lo: np.ndarray, hi: np.ndarray, row: ScoreRow) -> Any:
    by_stride = stride_entries(lo, hi, (_STRIDE,), row.half_width)
    decided = sequential(
        jnp.asarray(scores[0]),
        by_stride,
        jnp.zeros((1, 1)),
        lists=((_STRIDE,),),
        half_width=row.half_width,
    )
    return jax.block_until_ready(decided)


_WORK = {"smooth": _smooth, "blend": _blend, "stride": _stride}


def _timed(row: Row) -> dict[str, Any]:
    """Seconds of the first call, which compiles, and the median of those after it."""
    jax.clear_caches()  # else a row would find what another one has compiled
    first = measuring.seconds(row.run)
    warm: list[float] = []
    while len(warm) < _MOST_ROUNDS and sum(warm) < _ENOUGH_SECONDS:
        warm.append(measuring.seconds(row.run))
    result = {
        "row": row.title,
        "first_s": first,
        "warm_s": statistics.median(warm),
        "rounds": warm,
        "reported_s": row.reported,
    }
    print(f"  {row.title}: {first:.2f} s, then {result['warm_s']:.2f} s", flush=True)
    return result


def _peak_mb() -> float:
    """The most memory that the process has held so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


def _print(found: list[dict[str, Any]]) -> None:
    """Prints the table; its last column is of another machine."""
    width = max((len(row["row"]) for row in found), default=0)
    print(f"{'seconds':<{width}}  first call    warm   reported by the original, Colab")
    for row in found:
        print(
            f"{row['row']:<{width}}{row['first_s']:>12.2f}{row['warm_s']:>8.2f}"
            f"{row['reported_s']:>11.2f}"
        )
    print(f"peak memory of the process: {_peak_mb():,.0f} MB")


def _check(found: list[dict[str, Any]]) -> None:
    """Exits with an error unless every row took less than the original reports."""
    slow = [row["row"] for row in found if not row["warm_s"] < row["reported_s"]]
    if not found:
        sys.exit("check failed: none of the rows asked for is a row of these tasks")
    if slow:
        sys.exit("check failed: not below the reported time: " + "; ".join(slow))
    print("check passed")


if __name__ == "__main__":
    main()
