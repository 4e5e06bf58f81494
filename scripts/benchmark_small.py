"""Small corpora: the default recipe of an own task against scikit-learn's classifiers.

Five corpora of 178 to 1,797 rows: digits, wine and breast cancer, which scikit-learn
ships, and two made mixtures whose groups (persons) have offsets of their own. Each is
built into a store, and in each of 10 splits a fifth of the groups is scored on and
never trained on. ``configs/own_mlp.py`` is trained with no field touched; a fifth of
the other groups is its dev. Logistic regression and scikit-learn's MLP get standardised
features, and everything that is not scored on, dev too. Reported is the mean macro F1.

Groups: of digits runs of 50 rows, as its rows are sorted by writer; of wine and breast
cancer, whose rows are independent, every 20th row.
"""

import argparse
import functools
import pathlib
import tempfile
import warnings
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from measuring import add_options, report, seconds
from sklearn import datasets
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from avemo_jax.batches.tables import Data, with_task
from avemo_jax.config.fields import base_config
from avemo_jax.data.records import FeatureSource, VideoAnnotations, VideoFeatures
from avemo_jax.data.store.store import open_store
from avemo_jax.models.head import load_trained_head, row_scores
from avemo_jax.packing.build import build_store
from avemo_jax.runtime.compilation import keep_compiled
from avemo_jax.tasks import own_task
from avemo_jax.training.train import train

SET = "columns@table"
_MARGIN = 0.02  # of macro F1, below the better of scikit-learn's two
_BUDGET = 10**9


class Corpus(NamedTuple):
    """A table of independent rows.

    Attributes:
        x: Features (rows, dim).
        y: Class of each row.
        group: Group of each row, which no two splits share.
    """

    x: np.ndarray
    y: np.ndarray
    group: np.ndarray


def mixture(
    seed: int,
    rows: int,
    groups: int,
    classes: int,
    dim: int,
    *,
    modes: int,
    scale: float,
) -> Corpus:
    """Normal clusters, ``modes`` of each class, and an offset of each group.

    Args:
        seed: Seed of the draw.
        rows: Number of rows.
        groups: Number of groups of equal size.
        classes: Number of classes, the last ones rare.
        dim: Number of features.
        modes: Clusters of a class; 1 can be told apart by planes.
        scale: Deviation of the features' scales, in powers of ten.
    """
    rng = np.random.default_rng(seed)
    share = np.linspace(2, 1, classes)
    y = rng.choice(classes, rows, p=share / share.sum())
    group = np.arange(rows) % groups
    centres = rng.normal(size=(classes, modes, dim)) * 1.6 / np.sqrt(modes)
    offsets = rng.normal(size=(groups, dim))
    x = centres[y, rng.integers(modes, size=rows)] + 0.7 * offsets[group]
    x += 2.5 * rng.normal(size=x.shape)
    x = (x + rng.normal(size=dim)) * 10 ** (scale * rng.normal(size=dim))
    return Corpus(x, y, group)


def corpora() -> dict[str, Corpus]:
    """The five, by name."""
    found = {
        "mixture_of_15": mixture(0, 1002, 15, 5, 60, modes=1, scale=1.0),
        "mixture_of_40": mixture(1, 1777, 40, 6, 256, modes=3, scale=0.3),
    }
    for name in ("digits", "wine", "breast_cancer"):
        x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
        row = np.arange(len(y))
        found[name] = Corpus(x, y, row // 50 if name == "digits" else row % 20)
    return found


def splits_of(corpus: Corpus, number: int) -> dict[str, str]:
    """The split of each group: a fifth validation, a fifth of the others dev."""
    groups = np.random.default_rng(number).permutation(np.unique(corpus.group))
    validation = max(len(groups) // 5, 1)
    dev = max((len(groups) - validation) // 5, 1)
    sizes = (validation, dev, len(groups) - validation - dev)
    names = np.repeat(["validation", "dev", "train"], sizes)
    return {f"group{g}": str(name) for g, name in zip(groups, names, strict=True)}


def build(name: str, corpus: Corpus, folder: pathlib.Path) -> pathlib.Path:
    """A store of the corpus: each group is a video, each of its rows a frame."""
    classes = tuple(f"class{c}" for c in range(corpus.y.max() + 1))
    task = own_task(name, "multiclass", classes)
    rows = {f"group{g}": corpus.group == g for g in np.unique(corpus.group)}
    annotations = [
        VideoAnnotations(
            video, {name: corpus.y[where].astype(np.int8)}, {name: "train"}
        )
        for video, where in rows.items()
    ]

    def read(video: str) -> VideoFeatures:
        x = corpus.x[rows[video]].astype(np.float32)
        return VideoFeatures(np.arange(1, len(x) + 1, dtype=np.int32), x)

    source = FeatureSource(
        *(SET, "visual", corpus.x.shape[1], 0, name, name, tuple(rows), read)
    )
    build_store(
        *(folder, annotations, [source]), tasks={name: task}, show_progress=False
    )
    return folder


def ours(data: Data, workdir: pathlib.Path) -> float:
    """Macro F1 of the default recipe on validation, without smoothing over rows."""
    config = with_task(base_config("own", "mlp", SET), data)
    config.log.progress = config.log.tensorboard = False
    head = load_trained_head(train(config, data, workdir))
    table, scores = row_scores(head, data, "validation", _BUDGET)
    return _f1(table.labels, scores[0].argmax(axis=-1))


def theirs(corpus: Corpus, splits: Mapping[str, str]) -> dict[str, float]:
    """Macro F1 of scikit-learn's classifiers on the same rows."""
    scored = np.array([splits[f"group{g}"] == "validation" for g in corpus.group])
    found = {}
    for name, classifier in {
        "logistic": LogisticRegression(max_iter=2000),
        "mlp": MLPClassifier(random_state=0),
    }.items():
        model = make_pipeline(StandardScaler(), classifier)
        model.fit(corpus.x[~scored], corpus.y[~scored])
        found[name] = _f1(corpus.y[scored], model.predict(corpus.x[scored]))
    return found


def _f1(labels: np.ndarray, predicted: np.ndarray) -> float:
    return float(f1_score(labels, predicted, average="macro", zero_division=0))


def measure(name: str, corpus: Corpus, splits: int) -> dict[str, float]:
    """Means over splits of all three, and by how much ours is above the better."""
    scores: dict[str, list[float]] = {"ours": [], "logistic": [], "mlp": []}
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        store = open_store(build(name, corpus, root / "store"))
        for number in range(splits):
            chosen = splits_of(corpus, number)
            data = Data(store, name, name, chosen)
            (root / f"run{number}").mkdir()
            scores["ours"].append(ours(data, root / f"run{number}"))
            for other, score in theirs(corpus, chosen).items():
                scores[other].append(score)
    means = {f"{name}_{who}": float(np.mean(each)) for who, each in scores.items()}
    better = max(means[f"{name}_logistic"], means[f"{name}_mlp"])
    return {**means, f"{name}_above": means[f"{name}_ours"] - better}


def main() -> None:
    """Measures all corpora, prints and checks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--only", help="name of one corpus")
    add_options(parser)
    args = parser.parse_args()
    keep_compiled()
    warnings.simplefilter("ignore", ConvergenceWarning)  # of 200 epochs, its default
    found: dict[str, float] = {}
    chosen = {n: c for n, c in corpora().items() if args.only in (None, n)}
    for name, corpus in chosen.items():
        step = functools.partial(measure, name, corpus, args.splits)
        found[f"{name}_s"] = seconds(lambda step=step: found.update(step()))
        line = ", ".join(f"{k} {v:.3f}" for k, v in found.items() if k.startswith(name))
        print(line, flush=True)
    bars = {f"{name}_above": (">=", -_MARGIN) for name in chosen}
    report(found, bars, args)


if __name__ == "__main__":
    main()
