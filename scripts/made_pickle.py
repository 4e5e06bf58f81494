"""Makes up a corpus of Aff-Wild2's EXPR size: one pickle of features, and annotations.

The pickle is one dict {"VIDEO/00001.jpg": (embedding, logits)} for all videos, as
HSEmotion's scripts write it; the official folders of labels lie beside it. A label
lasts for some frames, and an embedding is its class's direction with noise. The dict is
in memory while it is written: about 1.3 times the file.
"""

import argparse
import pathlib
import pickle

import numpy as np

from avemo_jax.tasks import EXPR

# Videos, and frames with crops of the official sets.
TRAIN, VALIDATION = (460, 585_317), (70, 280_532)
DIM = 1280
_SPEED = 0.4  # how far a class's direction stands out of the noise


def main() -> None:
    """Writes OUT/features.pickle and OUT/Annotations."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--share", type=float, default=1.0, help="of the frames")
    parser.add_argument("--dim", type=int, default=DIM)
    args = parser.parse_args()
    make(args.out, share=args.share, dim=args.dim)


def make(out: pathlib.Path, *, share: float = 1.0, dim: int = DIM) -> pathlib.Path:
    """Writes the corpus, and returns the path of the pickle.

    Args:
        out: Folder of the corpus; made if it is missing.
        share: Share of the frames of each set that is made, in (0, 1].
        dim: Length of an embedding.
    """
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(EXPR.num_outputs, dim)).astype(np.float32)
    content: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for folder, start, (videos, frames) in (
        ("Train_Set", 0, TRAIN),
        ("Validation_Set", TRAIN[0], VALIDATION),
    ):
        place = out / "Annotations" / EXPR.folders[0] / folder
        place.mkdir(parents=True, exist_ok=True)
        bounds = np.linspace(0, int(frames * share), videos + 1).astype(int)
        for i, count in enumerate(np.diff(bounds)):
            video = f"{start + i}-30-1280x720"
            labels = _labels(rng, int(count))
            lines = "\n".join([EXPR.header, *map(str, labels)])
            (place / f"{video}.txt").write_text(lines + "\n", "utf-8")
            vectors = rng.standard_normal((count, dim), np.float32)
            vectors += _SPEED * centers[labels] / np.sqrt(dim) * 4
            logits = vectors @ centers.T / np.float32(dim)
            for number in range(count):
                key = f"{video}/{number + 1:05d}.jpg"
                content[key] = (vectors[number], logits[number])
    path = out / "features.pickle"
    with path.open("wb") as file:
        pickle.dump(content, file, pickle.HIGHEST_PROTOCOL)
    return path


def _labels(rng: np.random.Generator, count: int) -> np.ndarray:
    """Labels of ``count`` frames; each class lasts for 20 to 199 frames."""
    runs = rng.integers(20, 200, count // 20 + 1)
    classes = rng.integers(0, EXPR.num_outputs, len(runs))
    return np.repeat(classes, runs)[:count]


if __name__ == "__main__":
    main()
