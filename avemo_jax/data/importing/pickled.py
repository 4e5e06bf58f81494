"""One big pickle for all videos, as HSEmotion's scripts write it."""

import pathlib
import re
from typing import Any, Literal

import numpy as np

from avemo_jax.data.features.original_npy import numpy_header
from avemo_jax.data.importing.source import ImportSource, narrowed
from avemo_jax.data.importing.spooled import SpooledRows
from avemo_jax.data.importing.stream import stream_entries

_KEY = re.compile(r"(.+)[/\\](\d{1,9})\.(?:jpg|jpeg|png)")
_OUTPUTS = (8, 10)  # classes; with valence and arousal
Outputs = Literal["keep", "drop"]


def import_pickle(
    path: pathlib.Path, rows: SpooledRows, *, outputs: Outputs = "keep"
) -> ImportSource:
    """A source from a dict ``{"VIDEO/00001.jpg": (embedding, scores)}``.

    A dict of embeddings without scores is read too. Scores that are probabilities are
    kept as their logarithms, which serve as logits.

    Args:
        path: A ``.pkl``, or a ``.npy`` of ``np.save``; of any size.
        rows: Where the rows are kept until they are written; empty at first.
        outputs: Whether to keep the scores, as the extractor's own outputs.

    Raises:
        ValueError: If an entry has another form, or the file is damaged.
        RefusedPickleError: If the pickle asks for anything but numpy arrays and plain
            containers.
    """
    taker = _Taker(path, rows, outputs)
    stream_entries(path, numpy_header(path), taker)
    form = "pickled dict by image"
    if rows.outputs is None or not taker.probabilities:
        return rows.source(form)
    note = "the scores are probabilities; their logarithms are kept as logits"
    return rows.source(form, notes=(note,), change=_logits)


def _logits(outputs: np.ndarray) -> np.ndarray:
    """The outputs with the logarithms of the eight probabilities in their place."""
    outputs[:, :8] = np.log(np.maximum(outputs[:, :8], np.float32(1e-30)))
    return outputs


class _Taker:
    """Adds entries of the dict to the rows, as they are read.

    Attributes:
        probabilities: Whether all scores so far are probabilities.
    """

    def __init__(self, path: pathlib.Path, rows: SpooledRows, outputs: Outputs) -> None:
        self._path, self._rows, self._outputs = path, rows, outputs
        self.probabilities = True

    def __call__(self, entries: list[tuple[Any, Any]]) -> None:
        """Add the vectors and scores of some entries to the rows."""
        if not entries:
            return
        video = np.empty(len(entries), np.int32)
        frame = np.empty(len(entries), np.int64)
        vectors, scores = [], []
        for i, (key, value) in enumerate(entries):
            match = _KEY.fullmatch(key) if isinstance(key, str) else None
            if match is None:
                raise ValueError(
                    f"{self._path}: key {key!r:.80}; expected 'VIDEO/00001.jpg': write "
                    "the keys so"
                )
            video[i], frame[i] = self._rows.number(match[1]), int(match[2])
            vector, own = self._split(key, value)
            vectors.append(vector)
            scores.append(own)
        where = f"{self._path}: {entries[0][0]!r:.80}"
        features = self._stacked(entries, vectors)
        self._rows.add(video, frame, features, self._kept(where, scores), where)

    def _split(self, key: str, value: Any) -> tuple[np.ndarray, np.ndarray | None]:
        """The vector of an entry, and its scores; None if it has none."""
        if isinstance(value, tuple | list) and len(value) == 2 and np.ndim(value[0]):
            return self._vector(key, value[0]), self._vector(key, value[1])
        return self._vector(key, value), None

    def _vector(self, key: str, value: Any) -> np.ndarray:
        """An entry's numbers as a vector; ``ValueError`` if they are none."""
        try:
            vector = np.asarray(value)
        except ValueError:
            vector = np.empty(0, object)
        if vector.ndim != 1 or vector.dtype.kind not in "fiu" or not len(vector):
            raise ValueError(
                f"{self._path}: {key!r:.80} holds a {type(value).__name__} of shape "
                f"{vector.shape}; expected a vector, or a vector and scores: write the "
                "dict so"
            )
        return vector

    def _stacked(
        self, entries: list[tuple[Any, Any]], vectors: list[np.ndarray]
    ) -> np.ndarray:
        """All vectors as rows; ``ValueError`` unless they are equally long."""
        spool = self._rows.features
        length = len(vectors[0]) if spool is None else spool.columns
        for (key, _), vector in zip(entries, vectors, strict=True):
            if len(vector) != length:
                raise ValueError(
                    f"{self._path}: {key!r:.80} has a vector of {len(vector)} values; "
                    f"expected {length}, as before: import the vectors of one network "
                    "at a time"
                )
        return np.stack(vectors)

    def _kept(self, where: str, scores: list[np.ndarray | None]) -> np.ndarray | None:
        """The extractor's own outputs of some entries; None if they are not kept."""
        own = [each for each in scores if each is not None]
        before = self._rows.outputs
        if self._outputs == "drop" or (not own and before is None):
            return None
        lengths = {len(each) for each in own}
        columns = before.columns if before else min(lengths)
        late = before is None and self._rows.count > 0
        uneven = len(own) < len(scores) or lengths != {columns}
        if uneven or late or columns not in _OUTPUTS:
            raise ValueError(
                f"{where} and later: {len(own)} of {len(scores)} entries with scores, "
                f"of {', '.join(map(str, sorted(lengths))) or 'no'} values; expected 8 "
                "logits, or 10 with valence and arousal, in every entry: pass "
                "--outputs drop to import the vectors alone"
            )
        found = narrowed(np.stack(own), "float32", where)
        classes = found[:, :8]
        good = (np.abs(classes.sum(axis=1) - 1) < 1e-3) & (classes >= 0).all(axis=1)
        self.probabilities &= bool(good.all())
        return found
