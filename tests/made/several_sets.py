"""A tiny store on disk of several feature sets and all tasks.

Two visual sets with their extractors' own outputs, two of sound. One of the dev and one
of the validation videos are silent: they have no rows of sound. The test video has no
labels.
"""

import pathlib
import zlib
from collections.abc import Mapping

import numpy as np
from ml_collections import ConfigDict

from avemo_jax.config.fields import base_config
from avemo_jax.data.features.names import full_name
from avemo_jax.data.records import FeatureSource, VideoAnnotations, VideoFeatures
from avemo_jax.packing.build import build_store
from avemo_jax.postprocess.blending import AFFECTNET_CLASSES
from avemo_jax.tasks import TASKS, get_task

FRAMES = 60
# Dev and validation have the same shapes, so that programs are compiled once.
SPLITS = ("train",) * 6 + ("dev",) * 3 + ("validation",) * 3 + ("test",)
VIDEOS = tuple(f"made{i:02d}" for i in range(len(SPLITS)))
SILENT = (VIDEOS[7], VIDEOS[10])  # of dev and of validation
# Kind, features, outputs.
SETS = {
    "enet_b2_8_best": ("visual", 12, 8),
    "enet_b0_8_va_mtl": ("visual", 10, 10),
    "wav2vec2_base": ("audio", 6, 0),
    "vggish": ("audio", 5, 0),
}


def build_several_sets(
    directory: pathlib.Path, sets: Mapping[str, tuple[str, int, int]] = SETS
) -> pathlib.Path:
    """Features carry the labels of all tasks; so do the outputs those of EXPR, VA."""
    annotations = [
        VideoAnnotations(
            video,
            {task: _labels(video, task, split) for task in TASKS},
            dict.fromkeys(TASKS, split),
            num_frames=FRAMES,
            fps=30.0,
        )
        for video, split in zip(VIDEOS, SPLITS, strict=True)
    ]
    sources = [_source(name, *shape) for name, shape in sets.items()]
    build_store(directory, annotations, sources, synthetic=True, show_progress=False)
    return directory


def several_config(
    store: pathlib.Path, workdir: pathlib.Path, **fields: object
) -> ConfigDict:
    """A head on faces: two epochs of two seeds, few windows; ``a__b`` is ``a.b``."""
    config = base_config("EXPR", "mlp", "enet_b0_8_va_mtl")
    config.data.dir, config.workdir = str(store), str(workdir)
    config.batch_size, config.num_epochs, config.num_seeds = 64, 2, 2
    config.evaluate.num_resamples = 20
    config.postprocess.half_widths, config.postprocess.gaussian = (5,), False
    config.log.tensorboard = config.log.progress = False
    names = {name.replace("__", "."): value for name, value in fields.items()}
    config.update_from_flattened_dict(names)
    return config


def _truth(video: str) -> dict[str, np.ndarray]:
    """What is to be seen and heard in every frame, by task."""
    rng = np.random.default_rng(zlib.crc32(video.encode()))
    classes = np.repeat(rng.integers(0, 8, FRAMES // 6), 6)
    units = np.repeat(rng.integers(0, 2, (FRAMES // 6, 12)), 6, axis=0)
    slow = np.linspace(0, 2 * np.pi, FRAMES)[:, None] + rng.uniform(0, 6, 2)
    return {"EXPR": classes, "AU": units, "VA": 0.9 * np.sin(slow)}


def _labels(video: str, task: str, split: str) -> np.ndarray:
    """Those of ``_truth``; every 11th frame is invalid."""
    none = get_task(task).empty_labels(FRAMES)
    if split == "test":
        return none
    labels = _truth(video)[task].astype(none.dtype)
    labels[::11] = none[::11]
    return labels


def _source(name: str, kind: str, dim: int, output_dim: int) -> FeatureSource:
    def read(video: str) -> VideoFeatures:
        rng = np.random.default_rng(zlib.crc32(f"{video} {name}".encode()))
        looks = np.random.default_rng(zlib.crc32(name.encode()))
        truth = _truth(video)
        seen = np.column_stack([np.eye(8)[truth["EXPR"]], truth["AU"], truth["VA"]])
        features = seen @ looks.normal(size=(seen.shape[1], dim)) / 2
        features += rng.normal(size=features.shape)
        logits = np.zeros((FRAMES, 8))
        logits[:, list(AFFECTNET_CLASSES)] = 2 * np.eye(8)[truth["EXPR"]]
        outputs = np.column_stack([logits, truth["VA"]])
        outputs += rng.normal(size=outputs.shape)
        frame = np.arange(1, FRAMES + 1, dtype=np.int32)
        keep = frame % 7 != 0 if kind == "visual" else frame > 0
        return VideoFeatures(
            frame[keep],
            features[keep].astype(np.float32),
            outputs[keep, :output_dim].astype(np.float32) if output_dim else None,
        )

    silent = SILENT if kind == "audio" else ()
    return FeatureSource(
        name=full_name(name),
        kind=kind,
        dim=dim,
        output_dim=output_dim,
        fingerprint=f"made {name}",
        content="made",
        videos=tuple(video for video in VIDEOS if video not in silent),
        read=read,
    )
