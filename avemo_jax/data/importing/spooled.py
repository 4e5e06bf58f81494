"""Rows that come in any order of videos and frames, and are kept on disk."""

import pathlib
from collections.abc import Callable

import numpy as np
from jaxtyping import Int, Shaped

from avemo_jax.data.features.writer import RowSpool
from avemo_jax.data.importing.source import ImportSource, counted, narrowed
from avemo_jax.data.listing import nfc
from avemo_jax.data.records import VideoFeatures


class SpooledRows:
    """Vectors in a nameless file on disk, with their videos and frames in memory.

    Attributes:
        path: The imported file, for messages.
        first_frame: Number that the source gives to the first frame of a video.
        dtype: Type of the stored vectors, "float16" or "float32".
        count: How many rows there are so far.
        features: The vectors; None as long as there are no rows.
        outputs: The extractor's own outputs; None where there are none.
    """

    def __init__(
        self,
        path: pathlib.Path,
        folder: pathlib.Path,
        *,
        first_frame: int = 1,
        dtype: str = "float16",
        told: Callable[[int], None] = lambda rows: None,
    ) -> None:
        """An object without rows.

        Args:
            path: The imported file, for messages.
            folder: A folder on a file system with room for all rows.
            first_frame: Number that the source gives to the first frame of a video.
            dtype: Type of the stored vectors, "float16" or "float32".
            told: Called with the number of rows that were added, for progress.
        """
        self.path, self.first_frame, self.dtype = path, first_frame, dtype
        self.count = 0
        self.features: RowSpool | None = None
        self.outputs: RowSpool | None = None
        self._folder, self._told = folder, told
        self._names: dict[str, int] = {}
        self._video: list[np.ndarray] = []
        self._frame: list[np.ndarray] = []

    def number(self, name: str) -> int:
        """The number, from 0, that stands for the video ``name`` in :meth:`add`."""
        return self._names.setdefault(name, len(self._names))

    def add(
        self,
        video: Int[np.ndarray, " rows"],
        frame: Int[np.ndarray, " rows"],
        features: Shaped[np.ndarray, "rows dim"],
        outputs: Shaped[np.ndarray, "rows outputs"] | None,
        where: str,
    ) -> None:
        """Add rows after those that are there.

        Args:
            video: Each row's video, as a number from :meth:`number`.
            frame: Each row's frame number, as the source counts.
            features: Vectors of numbers, of the same length as those before.
            outputs: The extractor's own outputs; None for all rows of a source without.
            where: The place that errors name.

        Raises:
            ValueError: If a number or a value is out of range.
        """
        if self.features is None:
            self.features = RowSpool(self._folder, features.shape[1], self.dtype)
            if outputs is not None:
                columns = outputs.shape[1]
                self.outputs = RowSpool(self._folder, columns, np.float32)
        self.features.append(narrowed(features, self.dtype, where))
        if outputs is not None and self.outputs is not None:
            self.outputs.append(outputs)
        self._video.append(video.astype(np.int32))
        self._frame.append(counted(frame, self.first_frame, where))
        self.count += len(frame)
        self._told(len(frame))

    def close(self) -> None:
        """Free the room on disk."""
        for spool in (self.features, self.outputs):
            if spool is not None:
                spool.close()

    def source(
        self,
        form: str,
        *,
        notes: tuple[str, ...] = (),
        change: Callable[[np.ndarray], np.ndarray] = lambda outputs: outputs,
    ) -> ImportSource:
        """A source of all rows by video, frames ascending.

        Args:
            form: What kind of file the rows come from, in words.
            notes: Remarks for people.
            change: Turns the outputs that were added into those that are kept.

        Raises:
            ValueError: If there are no rows, or two videos differ only in folders.
        """
        features, outputs = self.features, self.outputs
        if features is None:
            raise ValueError(
                f"{self.path} has no rows; expected features: extract them again"
            )
        frame = np.concatenate(self._frame)
        places = self._places(np.concatenate(self._video), frame)

        def read(name: str) -> VideoFeatures:
            taken = places[name]
            own = None if outputs is None else change(_gather(outputs, taken))
            return VideoFeatures(frame[taken], _gather(features, taken), own)

        return ImportSource(
            form=form,
            dim=features.columns,
            output_dim=0 if outputs is None else outputs.columns,
            frames={name: frame[taken] for name, taken in places.items()},
            numbered=True,
            read=read,
            close=self.close,
            notes=notes,
        )

    def _places(self, video: np.ndarray, frame: np.ndarray) -> dict[str, np.ndarray]:
        """Indices of each video's rows, frames ascending, by name without folders."""
        order = np.lexsort((frame, video))
        bounds = np.searchsorted(video[order], np.arange(len(self._names) + 1))
        places: dict[str, np.ndarray] = {}
        origin: dict[str, str] = {}
        for i, name in enumerate(self._names):
            plain = nfc(name.replace("\\", "/").rpartition("/")[2])
            if plain in places:
                raise ValueError(
                    f"{self.path}: rows of {origin[plain]!r} and of {name!r}, both "
                    f"video {plain!r}; expected one: import them apart, under two names"
                )
            origin[plain] = name
            places[plain] = order[bounds[i] : bounds[i + 1]]
        return dict(sorted(places.items()))


def _gather(spool: RowSpool, taken: Int[np.ndarray, " rows"]) -> np.ndarray:
    """The rows of a spool at the indices ``taken``, read in runs of neighbours."""
    found = np.empty((len(taken), spool.columns), spool.dtype)
    begins = np.flatnonzero(np.diff(taken, prepend=-2) != 1)
    for begin, end in zip(begins, [*begins[1:], len(taken)], strict=True):
        first = int(taken[begin])
        found[begin:end] = spool.read(first, first + int(end - begin))
    return found
