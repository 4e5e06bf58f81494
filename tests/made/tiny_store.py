"""A tiny store on disk, as annotations and features on disk make one."""

import pathlib

import numpy as np

from avemo_jax.data.features.names import full_name
from avemo_jax.data.records import FeatureSource, VideoAnnotations, VideoFeatures
from avemo_jax.packing.build import build_store

VIDEOS = 9
FRAMES = 40
DIMS = {"enet_b2_8_best": ("visual", 12), "wav2vec2_base": ("audio", 5)}


def build_tiny_store(directory: pathlib.Path) -> pathlib.Path:
    """EXPR only; features carry the labels; 6 train videos, dev drawn from them."""
    rng = np.random.default_rng(0)
    looks = rng.normal(size=(8, 17))
    annotations, rows = [], {}
    for i in range(VIDEOS):
        name = f"tiny{chr(ord('a') + i)}"
        labels = np.repeat(rng.integers(0, 8, FRAMES // 4), 4).astype(np.int8)
        features = looks[labels] + rng.normal(size=(FRAMES, 17))
        labels[rng.random(FRAMES) < 0.1] = -1
        split = "train" if i < 6 else "validation"
        annotations.append(VideoAnnotations(name, {"EXPR": labels}, {"EXPR": split}))
        rows[name] = features.astype(np.float32)
    frames = np.arange(1, FRAMES + 1, dtype=np.int32)
    sources, first = [], 0
    for name, (kind, dim) in DIMS.items():
        part = slice(first, first := first + dim)

        def read(video: str, part: slice = part, kind: str = kind) -> VideoFeatures:
            keep = frames % 7 != 0 if kind == "visual" else frames > 0
            return VideoFeatures(frames[keep], rows[video][keep, part])

        sources.append(
            FeatureSource(
                name=full_name(name),
                kind=kind,
                dim=dim,
                output_dim=0,
                fingerprint="tiny",
                content="tiny",
                videos=tuple(rows),
                read=read,
            )
        )
    build_store(directory, annotations, sources, synthetic=True, show_progress=False)
    return directory
