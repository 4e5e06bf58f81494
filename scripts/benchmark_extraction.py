"""Speed of the extraction: from JPEG files to feature files, against the bare network.

Weights are random and faces are made up. In every round the same number of images goes
through the network alone (its input is on the device already), through the network with
resizing, and through the whole extraction; medians of the rounds are reported.
"""

import argparse
import functools
import pathlib
import tempfile
from typing import Any

import jax
import numpy as np
from measuring import add_options, alternating, report, seconds
from PIL import Image

from avemo_jax.data.corpus.official_trees import find_crops
from avemo_jax.embed import ImageExtractor
from avemo_jax.embed.weights import write_weights
from avemo_jax.extraction.extractor_choice import choose_visual
from avemo_jax.extraction.faces import embed_faces
from avemo_jax.extraction.image_decoding import decode_all
from avemo_jax.extraction.jobs import Material
from avemo_jax.extraction.settings import Settings
from avemo_jax.extractors import efficientnet, get_extractor
from avemo_jax.runtime.compilation import compiler_options

BARS = {"extraction / bare network": (">=", 0.85)}
_SIDE_PX = 112


def main() -> None:
    """Measures, prints, and with ``--check`` fails where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--extractor", default="enet_b2_8_best")
    parser.add_argument("--images", type=int, default=768, help="in a round")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--decode-workers", type=int)
    parser.add_argument("--decode-in", choices=("threads", "processes"))
    parser.add_argument("--rounds", type=int, default=5)
    add_options(parser)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measured(pathlib.Path(folder), options)
    report(found, BARS, options)


def measured(folder: pathlib.Path, options: argparse.Namespace) -> dict[str, Any]:
    """Images per second of each way, and ratios."""
    state = random_state(options.extractor)
    path = folder / f"{options.extractor}.safetensors"
    write_weights(path, state, {"extractor": options.extractor})
    [choice] = choose_visual(
        [options.extractor],
        weights_dir=folder,
        source="cropped_aligned",
        batch_size=options.batch_size,
        dtype=options.dtype,
    )
    extractor = choice.load()
    assert isinstance(extractor, ImageExtractor)
    make_crops(folder / "crops", options.images)
    material = Material(find_crops(folder / "crops"), {})
    jobs = [job for job, _ in material.face_jobs().values()]
    paths = [path for job in jobs for _, path in job.crops.paths()]
    images = decode_all(paths)
    settings = Settings(
        decode_workers=options.decode_workers, decode_in=options.decode_in
    )

    def whole(out: pathlib.Path) -> None:
        feature_set = choice.feature_set(extractor, out)
        feature_set.folder.mkdir(parents=True, exist_ok=True)
        with settings.decoders() as decoders:
            for outcome in embed_faces(extractor, feature_set, jobs, decoders):
                assert outcome.rows
                assert not outcome.failures

    ways = {
        "bare network": bare(options.extractor, state, extractor, options),
        "network and resizing": functools.partial(extractor.extract, images),
        "extraction": functools.partial(whole, folder / "features"),
    }
    for run in ways.values():
        run()
    times = alternating(ways, options.rounds)
    found: dict[str, Any] = {"device": jax.devices()[0].device_kind}
    found |= {f"{name}, images/s": options.images / t for name, t in times.items()}
    found["decoding by one thread alone, images/s"] = options.images / seconds(
        lambda: decode_all(paths)
    )
    bare_s = times["bare network"]
    found["network and resizing / bare network"] = (
        bare_s / times["network and resizing"]
    )
    found["extraction / bare network"] = bare_s / times["extraction"]
    return found


def bare(
    name: str, state: dict[str, np.ndarray], extractor: ImageExtractor, options: Any
) -> Any:
    """A call of the network alone, on batches that are on the device already."""
    known = get_extractor(name)
    variant = known.network.removeprefix("efficientnet_")
    spec = efficientnet.EfficientNetSpec(variant, known.output_dim)
    apply = functools.partial(efficientnet.apply, spec, dtype=options.dtype)
    run = jax.jit(apply, compiler_options=compiler_options())
    params = jax.device_put(efficientnet.prepare(spec, state))
    size = extractor.settings["size_px"]
    x = np.random.default_rng(0).standard_normal(
        (extractor.batch_size, size, size, 3), np.float32
    )
    batch = jax.device_put(x)

    def many() -> None:
        batches = -(-options.images // extractor.batch_size)
        flying: list[Any] = []
        for _ in range(batches):
            flying.append(run(params, batch))
            if len(flying) > 2:
                jax.block_until_ready(flying.pop(0))
        jax.block_until_ready(flying)

    return many


def random_state(name: str) -> dict[str, np.ndarray]:
    """Random weights, scaled so that signals neither vanish nor grow."""
    known = get_extractor(name)
    variant = known.network.removeprefix("efficientnet_")
    spec = efficientnet.EfficientNetSpec(variant, known.output_dim)
    rng = np.random.default_rng(0)
    state = {}
    for key, shape in efficientnet.state_shapes(spec).items():
        noise = rng.standard_normal(shape, np.float32)
        if len(shape) > 1:
            state[key] = noise * np.float32(np.sqrt(2 / np.prod(shape[1:])))
        else:
            is_scale = key.endswith(("running_var", "weight"))
            state[key] = is_scale + 0.1 * np.tanh(noise)
    return state


def make_crops(folder: pathlib.Path, count: int) -> None:
    """Writes ``count`` JPEG files into folders of uneven sizes."""
    rng = np.random.default_rng(0)
    lengths = np.diff([0, *sorted(rng.choice(count - 1, 11, replace=False) + 1), count])
    for number, length in enumerate(lengths):
        place = folder / f"{number}-30-640x480"
        place.mkdir(parents=True)
        coarse = rng.integers(0, 256, (14, 14, 3), dtype=np.uint8)
        for frame in range(1, length + 1):
            noise = rng.integers(0, 24, (_SIDE_PX, _SIDE_PX, 3), dtype=np.uint8)
            size = (_SIDE_PX, _SIDE_PX)
            smooth = np.asarray(Image.fromarray(coarse).resize(size)) // 2
            Image.fromarray(smooth + noise).save(place / f"{frame:05d}.jpg", quality=92)


if __name__ == "__main__":
    main()
