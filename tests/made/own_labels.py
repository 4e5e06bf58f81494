"""Made videos with features and labels of a user's own, as CSV files."""

import pathlib

import numpy as np

from avemo_jax.data.features.files import write_feature_file
from avemo_jax.data.records import VideoFeatures

NUM_VIDEOS, FRAMES, DIM = 8, 30, 6
CLASSES = ("bored", "calm", "keen")
UNITS = tuple(f"sign_{letter}" for letter in "abcde")
VALUES = ("pain", "effort", "trust")
SPLITS = ("train",) * 6 + ("validation",) * 2
VIDEOS = tuple(f"talk{chr(ord('a') + i)}" for i in range(NUM_VIDEOS))


def manifest_text(*, fps: bool = False) -> str:
    """Two videos of each person."""
    rows = [
        f"{video},{split},person{i // 2}" + (",25" if fps else "")
        for i, (video, split) in enumerate(zip(VIDEOS, SPLITS, strict=True))
    ]
    return "\n".join(["video,split,group" + (",fps" if fps else ""), *rows]) + "\n"


def made_material(folder: pathlib.Path, columns: dict[str, list[str]]) -> None:
    """``manifest.csv``, ``labels.csv`` with columns, and features that tell them.

    Args:
        folder: Gets them, the features in ``features/look``.
        columns: The cells of each label column, for all frames of all videos.
    """
    (folder / "manifest.csv").write_text(manifest_text())
    lines = [",".join(["video", "frame", *columns])]
    for i in range(NUM_VIDEOS * FRAMES):
        cells = [values[i] for values in columns.values()]
        place = [VIDEOS[i // FRAMES], str(i % FRAMES + 1)]
        lines.append(",".join([*place, *cells]))
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")


def made_features(folder: pathlib.Path, hidden: np.ndarray) -> None:
    """A visual set ``look`` whose vectors are ``hidden`` and a little noise."""
    rng = np.random.default_rng(7)
    place = folder / "features" / "look@cropped_aligned-112"
    place.mkdir(parents=True)
    noisy = hidden + 0.3 * rng.standard_normal(hidden.shape)
    for i, video in enumerate(VIDEOS):
        rows = noisy[i * FRAMES : (i + 1) * FRAMES].astype(np.float32)
        frame = np.arange(1, FRAMES + 1, dtype=np.int32)
        write_feature_file(
            place / f"{video}.npz",
            VideoFeatures(frame, rows),
            {"fingerprint": "made", "kind": "visual"},
        )
