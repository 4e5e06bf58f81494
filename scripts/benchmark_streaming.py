"""A causal recurrent head over two hours: in constant memory, and frame by frame.

The head has the sizes of its recipe and starting parameters. Features are normal values
of 1,408 + 768 columns, drawn for each 1,024 frames from a key and their number, so that
they need no memory of their own. Four figures: the largest difference between scores
that are streamed and those of one associative scan over all frames; the peak memory of
a process that streams two hours, against two minutes; frames a second of streaming,
drawing not counted; and the time of one frame that is pushed alone. Memory is measured
in processes of their own.
"""

import argparse
import functools
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from measuring import add_options, report

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tests"))
from made.untrained_heads import untrained_head

from avemo_jax.config.fields import base_config
from avemo_jax.models.blend import load_heads
from avemo_jax.models.live import LiveScores

RATE_HZ, CHUNK = 30, 1024
SETS = (
    ("enet_b2_8_best@cropped_aligned-224", "visual", 1408, "made"),
    ("wav2vec2_base@16k", "audio", 768, "made"),
)
SEEN, HEARD = (name for name, *_ in SETS)
_MIB_IN_KIB = 1024
BARS = {
    "largest difference from the whole": ("<=", 1e-5),
    "peak of two hours more than of two minutes, MiB": ("<=", 32),
    "99 % of frames alone within, ms": ("<=", 1000 / RATE_HZ),
}


@functools.partial(jax.jit, static_argnums=1)
def drawn(number: int, frames: int) -> jax.Array:
    """Features of the frames of one chunk, float16."""
    key = jax.random.fold_in(jax.random.key(0), number)
    dim = sum(dim for _, _, dim, _ in SETS)
    return jax.random.normal(key, (frames, dim), jnp.float32).astype(jnp.float16)


def chunks(frames: int) -> Iterator[dict[str, np.ndarray]]:
    """The features of a video, some frames at a time."""
    for number, begin in enumerate(range(0, frames, CHUNK)):
        x = np.asarray(drawn(number, CHUNK))[: frames - begin]
        yield {SEEN: x[:, : SETS[0][2]], HEARD: x[:, SETS[0][2] :]}


def streamed_peak(folder: str, frames: int) -> None:
    """Prints frames a second and the peak of this process, which streams a video."""
    scores, spent = LiveScores(load_heads(pathlib.Path(folder))), 0.0
    for number, features in enumerate(chunks(frames)):
        began = time.perf_counter()
        scores.push_all(features)
        spent += (time.perf_counter() - began) * (number > 0)  # the first compiles
    print(json.dumps((frames - CHUNK) / spent))


def child(folder: str, frames: int) -> tuple[float, float]:
    """Frames a second, and MiB of the peak, of a process that streams a video."""
    command = [sys.executable, __file__, "--stream", folder, str(frames)]
    one = subprocess.Popen(
        command, stdout=subprocess.PIPE, env={**os.environ, "MALLOC_ARENA_MAX": "2"}
    )
    assert one.stdout is not None
    said = one.stdout.read()
    _, status, used = os.wait4(one.pid, 0)
    one.returncode = os.waitstatus_to_exitcode(status)
    if one.returncode:
        sys.exit(f"streaming {frames} frames ended with status {one.returncode}")
    return float(said), used.ru_maxrss / _MIB_IN_KIB


def difference(folder: str, frames: int) -> float:
    """Largest difference of streamed scores from those of one scan over all frames."""
    model = load_heads(pathlib.Path(folder))
    scores = LiveScores(model)
    parts = [(x, scores.push_all(x)) for x in chunks(frames)]
    whole = np.concatenate(
        [np.concatenate([x[SEEN], x[HEARD]], axis=1) for x, _ in parts]
    )
    streamed = np.concatenate([own for _, own in parts])
    del parts
    (own,) = model.heads
    variables = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), own.variables)

    @jax.jit
    def at_once(x):
        first = own.head.first_state(1)
        logits, _ = own.head.advance(
            variables.params, variables.stats, first, x.astype(jnp.float32)
        )
        return own.task.activate(logits)[0]

    return float(np.abs(np.asarray(at_once(whole[None])) - streamed).max())


def times_ms(folder: str, frames: int) -> np.ndarray:
    """Milliseconds of each frame that is pushed alone."""
    scores = LiveScores(load_heads(pathlib.Path(folder)))
    spent = []
    for features in chunks(frames):
        for i in range(len(features[SEEN])):
            own = {name: vectors[i] for name, vectors in features.items()}
            began = time.perf_counter()
            scores.push(own)
            spent.append(1000 * (time.perf_counter() - began))
    return np.array(spent)


def main() -> None:
    """Measures, prints, and with ``--check`` fails where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, nargs=2, default=(2.0, 120.0))
    parser.add_argument("--stream", nargs=2, help=argparse.SUPPRESS)
    add_options(parser)
    options = parser.parse_args()
    if options.stream:
        streamed_peak(options.stream[0], int(options.stream[1]))
        return
    short, long = (int(60 * RATE_HZ * minutes) for minutes in options.minutes)
    layers = base_config("EXPR", "recurrent").head.num_layers
    with tempfile.TemporaryDirectory() as parent:
        spec = {"causal": True, "num_layers": layers}
        place = pathlib.Path(parent) / "head"
        folder = str(untrained_head(place, "EXPR", "recurrent", SETS, spec=spec))
        _, few = child(folder, short)
        rate, many = child(folder, long)
        alone = times_ms(folder, 2 * CHUNK)
        found = {
            "frames": long,
            "largest difference from the whole": difference(folder, long),
            "peak of two minutes, MiB": few,
            "peak of two hours, MiB": many,
            "peak of two hours more than of two minutes, MiB": many - few,
            "streamed, frames/s": rate,
            "a frame alone, median, ms": float(np.median(alone)),
            "99 % of frames alone within, ms": float(np.quantile(alone, 0.99)),
        }
    report(found, BARS, options)


if __name__ == "__main__":
    main()
