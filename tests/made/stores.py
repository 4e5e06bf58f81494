"""Small made sources of a store, for the tests of building and loading."""

import pathlib

import numpy as np

from avemo_jax.data.records import FeatureSource, VideoAnnotations, VideoFeatures

TASKS = ("EXPR", "AU", "VA")


def annotated(
    video: str, num_frames: int, split: str | None, *, seed: int = 0
) -> VideoAnnotations:
    """Random labels of all tasks, a few invalid; None: no task."""
    rng = np.random.default_rng(seed)
    if split is None:
        return VideoAnnotations(video, {}, {})
    va = rng.uniform(-1, 1, (num_frames, 2)).astype(np.float32)
    va[rng.random(num_frames) < 0.2] = np.nan
    labels = {
        "EXPR": rng.integers(-1, 8, num_frames).astype(np.int8),
        "AU": rng.integers(-1, 2, (num_frames, 12)).astype(np.int8),
        "VA": va,
    }
    return VideoAnnotations(video, labels, dict.fromkeys(TASKS, split))


def vectors(
    name: str, frames: dict[str, list[int]], dim: int, output_dim: int = 0
) -> dict[str, VideoFeatures]:
    """Random rows of the given frames."""
    rng = np.random.default_rng(sum(name.encode()))
    return {
        video: VideoFeatures(
            np.array(numbers, np.int32),
            rng.standard_normal((len(numbers), dim)).astype(np.float32),
            rng.standard_normal((len(numbers), output_dim)).astype(np.float32)
            if output_dim
            else None,
        )
        for video, numbers in frames.items()
    }


def source(
    name: str,
    kind: str,
    content: dict[str, VideoFeatures],
    *,
    fingerprint: str = "f",
    digest: str = "1",
) -> FeatureSource:
    """A source that reads from a dict in memory."""
    first = next(iter(content.values()))
    return FeatureSource(
        name=name,
        kind=kind,  # type: ignore[arg-type]
        dim=first.features.shape[1],
        output_dim=0 if first.outputs is None else first.outputs.shape[1],
        fingerprint=fingerprint,
        content=digest,
        videos=tuple(content),
        read=content.__getitem__,
    )


def save_original(path: pathlib.Path, content: object) -> None:
    """A ``.npy`` file as the original system wrote them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, content, allow_pickle=True)  # type: ignore[arg-type]
