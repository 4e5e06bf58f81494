"""Feature files written row by row, in little memory, and their checksums."""

import contextlib
import hashlib
import json
import os
import pathlib
import tempfile
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from avemo_jax.data.records import as_float16
from avemo_jax.runtime.array_files import opened_npz, read_entry
from avemo_jax.runtime.atomic_files import whole_file
from avemo_jax.runtime.json_files import parsed

_PIECE = 1 << 20  # bytes that are copied or hashed at a time
# Bytes of a spool that wait in memory: hundreds of short videos may be under way, and a
# process may often have 1,024 files open.
_IN_MEMORY = 1 << 16
_EXPECTED = "expected a whole feature file: extract this video again"


class RowSpool:
    """Rows of numbers on disk, in a nameless file that vanishes with the process.

    The first 64 KiB are kept in memory.

    Attributes:
        columns: Values in a row.
        dtype: Type of the values.
    """

    def __init__(self, folder: pathlib.Path, columns: int, dtype: Any):
        """A spool without rows; its file is on the file system of ``folder``."""
        self.columns, self.dtype = columns, np.dtype(dtype)
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=os.fspath(folder))
        self._rows = 0

    def __len__(self) -> int:
        return self._rows

    def append(self, rows: Shaped[np.ndarray, "rows columns"]) -> None:
        """Add rows after those that are there."""
        self._file.seek(0, os.SEEK_END)
        self._file.write(np.ascontiguousarray(rows, self.dtype).data)
        self._rows += len(rows)

    def read(self, start: int, stop: int) -> Shaped[np.ndarray, "rows columns"]:
        """Rows ``start`` to ``stop`` - 1."""
        size = self.columns * self.dtype.itemsize
        self._file.seek(start * size)
        data = self._file.read((stop - start) * size)
        return np.frombuffer(data, self.dtype).reshape(-1, self.columns)

    def pieces(self) -> Iterator[Shaped[np.ndarray, "rows columns"]]:
        """All rows in order, about 1 MiB at a time."""
        step = max(1, _PIECE // max(1, self.columns * self.dtype.itemsize))
        for start in range(0, self._rows, step):
            yield self.read(start, min(start + step, self._rows))

    def close(self) -> None:
        """Free the spool's room on disk."""
        self._file.close()


class FeatureFileWriter(contextlib.AbstractContextManager["FeatureFileWriter"]):
    """Writes ``FEATURES/NAME/VIDEO.npz``, which appears whole with :meth:`finish`.

    Until then rows are kept in nameless files: a killed process leaves nothing.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        dim: int,
        output_dim: int = 0,
        dtype: Literal["float16", "float32"] = "float16",
    ):
        """A writer without rows.

        Args:
            path: The file to write; ends in ``.npz``.
            dim: Length of a vector.
            output_dim: Columns of the extractor's own outputs; 0: it has none.
            dtype: Type of the stored vectors.
        """
        self.path = pathlib.Path(path)
        self._dtype = dtype
        self._last = 0
        folder = self.path.parent
        with contextlib.ExitStack() as opened:
            self._spools = {"frame": RowSpool(folder, 1, np.int32)}
            opened.callback(self._spools["frame"].close)
            self._spools["features"] = RowSpool(folder, dim, dtype)
            opened.callback(self._spools["features"].close)
            if output_dim:
                self._spools["outputs"] = RowSpool(folder, output_dim, np.float32)
                opened.callback(self._spools["outputs"].close)
            self._opened = opened.pop_all()

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Drop the rows of a file that was not finished."""
        self._opened.close()

    def __len__(self) -> int:
        return len(self._spools["frame"])

    def storable(
        self,
        features: Float[np.ndarray, "rows dim"],
        outputs: Float[np.ndarray, "rows outputs"] | None = None,
    ) -> Bool[np.ndarray, " rows"]:
        """Which rows the file can hold: those finite after the cast."""
        with np.errstate(over="ignore", invalid="ignore"):
            good = np.isfinite(features.astype(self._dtype)).all(axis=1)
        return good if outputs is None else good & np.isfinite(outputs).all(axis=1)

    def append(
        self,
        frame: Int[np.ndarray, " rows"],
        features: Float[np.ndarray, "rows dim"],
        outputs: Float[np.ndarray, "rows outputs"] | None = None,
    ) -> None:
        """Add rows after those that are there.

        Raises:
            ValueError: If frames do not ascend from 1, widths are not those of the
                file, or a value is not finite after the cast.
        """
        if not len(frame):
            return
        if frame[0] <= self._last or (np.diff(frame) <= 0).any():
            raise ValueError(
                f"{self.path}: frame numbers {frame[:5].tolist()} ... after "
                f"{self._last}; expected ascending ones from 1: sort the rows"
            )
        given = {"frame": frame[:, None], "features": features}
        if outputs is not None:
            given["outputs"] = outputs
        widths = {name: array.shape[1] for name, array in given.items()}
        expected = {name: spool.columns for name, spool in self._spools.items()}
        uneven = any(len(array) != len(frame) for array in given.values())
        if widths != expected or uneven:
            raise ValueError(
                f"{self.path}: rows of {widths}; expected {expected}, as many of each: "
                "extract this video again"
            )
        if self._dtype == "float16":
            given["features"] = as_float16(features, where=str(self.path))
        for name in ("features", "outputs"):
            if name in given and not np.isfinite(given[name]).all():
                raise ValueError(
                    f"{self.path}: {name} have values that are not finite; expected "
                    "numbers only: leave out frames without a vector"
                )
        for name, array in given.items():
            self._spools[name].append(array)
        self._last = int(frame[-1])

    def finish(self, meta: Mapping[str, Any]) -> None:
        """Write the file, with ``checksums`` of its arrays added to ``meta``.

        The file is synced, then named. Its bytes depend only on the rows and ``meta``.

        Args:
            meta: At least ``fingerprint`` (str).

        Raises:
            ValueError: If there is no fingerprint, or the name does not end in .npz.
        """
        if self.path.suffix != ".npz" or not isinstance(meta.get("fingerprint"), str):
            raise ValueError(
                f"{self.path} with meta {dict(meta)!r:.80}; expected a name that ends "
                "in .npz and a text meta['fingerprint']: pass both"
            )
        checksums: dict[str, str] = {}
        with (
            whole_file(self.path) as temporary,
            zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive,
        ):
            for name, spool in self._spools.items():
                checksums[name] = _write_array(archive, name, spool)
            text = json.dumps({**meta, "checksums": checksums})
            with _entry(archive, "meta") as stream:
                np.lib.format.write_array(stream, np.array(text))
        self.close()


def _entry(archive: zipfile.ZipFile, name: str) -> Any:
    """An entry of the archive to write to, with a fixed date."""
    return archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True)


def _write_array(archive: zipfile.ZipFile, name: str, spool: RowSpool) -> str:
    """Copy a spool into an entry; returns the sha256 (hex) of its values."""
    shape = (len(spool),) if name == "frame" else (len(spool), spool.columns)
    header = {
        "descr": np.lib.format.dtype_to_descr(spool.dtype),
        "fortran_order": False,
        "shape": shape,
    }
    digest = hashlib.sha256()
    with _entry(archive, name) as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        for piece in spool.pieces():
            digest.update(piece.data)
            stream.write(piece.data)
    return digest.hexdigest()


def read_meta(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The meta of a feature file, without its rows.

    Raises:
        ValueError: If the file is damaged or has no meta.
    """
    with opened_npz(path, expected=_EXPECTED) as archive:
        return _meta_of(archive)


def checked_meta(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The meta of a feature file, after its arrays were checked by their checksums.

    Memory does not grow with the file.

    Raises:
        ValueError: If the file is damaged, has no checksums, or they do not fit.
    """
    with opened_npz(path, expected=_EXPECTED) as archive:
        meta = _meta_of(archive)
        arrays = {name.removesuffix(".npy") for name in archive.namelist()} - {"meta"}
        found = {name: _digest_of(archive, name) for name in sorted(arrays)}
        if found != meta.get("checksums"):
            raise ValueError("its checksums are missing or those of other arrays")
    return meta


def _meta_of(archive: zipfile.ZipFile) -> dict[str, Any]:
    meta = parsed(str(read_entry(archive, "meta.npy")))
    if not isinstance(meta, dict) or not isinstance(meta.get("fingerprint"), str):
        raise ValueError("its meta has no fingerprint")
    return meta


def _digest_of(archive: zipfile.ZipFile, name: str) -> str:
    """Sha256 (hex) of an entry's values."""
    digest = hashlib.sha256()
    with archive.open(f"{name}.npy") as stream:
        np.lib.format.read_magic(stream)
        with warnings.catch_warnings():  # read_entry takes those of Python 2 as well
            warnings.simplefilter("ignore", UserWarning)
            np.lib.format.read_array_header_1_0(stream)
        while piece := stream.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()
