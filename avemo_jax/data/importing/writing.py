"""Imported rows -> ``FEATURES/NAME/VIDEO.npz``."""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, Literal

from avemo_jax.data.features.files import clean_rows
from avemo_jax.data.features.writer import FeatureFileWriter, read_meta
from avemo_jax.data.importing.source import ImportSource, narrowed
from avemo_jax.data.listing import nfc
from avemo_jax.data.records import Modality
from avemo_jax.extractors.contract import Column

_PIECE = 4096  # rows


@dataclasses.dataclass(frozen=True)
class ImportedSet:
    """An imported feature set: where its files go, and what all of them say.

    Attributes:
        folder: Folder of the files, ``FEATURES/NAME``.
        name: Name of the set, ``EXTRACTOR@INPUT``.
        kind: "visual" or "audio".
        dtype: Type of the stored vectors.
        origin: Name and size of the imported file or folder.
        made_by: The user's words on the network, which identify it; without them the
            contents do.
        alignment: How sound at its native rate was aligned to frames; None: it was not.
        contents: Digest of all rows, by :func:`contents_of`; None with ``made_by``.
        columns: Name and unit of each number of a vector; empty: not known.
    """

    folder: pathlib.Path
    name: str
    kind: Modality
    dtype: Literal["float16", "float32"]
    origin: Mapping[str, Any]
    made_by: str
    alignment: Mapping[str, Any] | None = None
    contents: str | None = None
    columns: tuple[Column, ...] = ()

    def fingerprint(self, dim: int) -> str:
        """Digest of name, kind, length, alignment, columns, and words or contents.

        The weights are not known: imports under one name mix if the user's words on the
        network are the same, or, without words, if all their rows are.

        Args:
            dim: Length of a vector.
        """
        decisive = ["imported", self.name, self.kind, dim, self.made_by, self.alignment]
        if self.contents is not None:
            decisive.append(self.contents)
        if self.columns:
            decisive.append(self._columns())
        return hashlib.sha256(json.dumps(decisive).encode()).hexdigest()

    def meta(self, dim: int) -> dict[str, Any]:
        """The meta that every file of the set has, for vectors of length ``dim``."""
        contents = {"contents": self.contents} if self.contents is not None else {}
        meta: dict[str, Any] = {
            "fingerprint": self.fingerprint(dim),
            "kind": self.kind,
            "extractor": self.name.partition("@")[0],
            "settings": {"imported": True, "made_by": self.made_by, **contents},
            "input": self.name.partition("@")[2],
            "source": dict(self.origin),
        }
        if self.alignment is not None:
            meta["alignment"] = dict(self.alignment)
        if self.columns:
            meta["columns"] = self._columns()
        return meta

    def _columns(self) -> list[dict[str, str]]:
        """Names and units in the form for JSON."""
        return [dataclasses.asdict(column) for column in self.columns]


def check_standing(source: ImportSource, to: ImportedSet, *, overwrite: bool) -> None:
    """Check that the files already in the set's folder may stay or be replaced.

    Args:
        source: The rows that are to be written.
        to: The set.
        overwrite: Whether videos of another import may be replaced.

    Raises:
        ValueError: If a file has another fingerprint and would stay, or a video is
            there from another import and may not be replaced.
    """
    expected = to.fingerprint(source.dim)
    for path in sorted(to.folder.glob("*.npz")):
        meta = read_meta(path)
        comes = nfc(path.stem) in source.frames
        if meta["fingerprint"] != expected and not (comes and overwrite):
            raise ValueError(
                f"{path} has another fingerprint than what is imported (another "
                "length, kind, rate, --made-by or, without it, other contents); "
                "expected one network in a set: if it is the same network, import all "
                "parts with the same --made-by TEXT; else import under another name "
                "(--as), remove that folder, or, where this import has all its videos, "
                "pass --overwrite"
            )
        same = meta.get("source") == dict(to.origin)
        if comes and not same and not overwrite:
            raise ValueError(
                f"{path} stands already, imported from {meta.get('source')}; expected "
                "another video: pass --overwrite to replace it"
            )


def contents_of(
    source: ImportSource, to: ImportedSet, told: Callable[[int], None]
) -> str:
    """Sha256 (hex) of all rows as files will hold them, whatever the source's order.

    Rows are read once more for this, a video at a time: a file's meta has the digest of
    all files.

    Args:
        source: The rows.
        to: The set that they are written to.
        told: Called with the number of rows that were looked at, for progress.

    Raises:
        ValueError: If two rows of one frame differ, or values are out of range.
    """
    total = hashlib.sha256()
    for video in sorted(source.frames):
        rows, _ = clean_rows(source.read(video), where=f"{to.name}, {video!r}")
        digest = hashlib.sha256(rows.frame.astype("<i4").tobytes())
        for start in range(0, len(rows.frame), _PIECE):
            part = rows.features[start : start + _PIECE]
            digest.update(narrowed(part, to.dtype, f"{to.name}, {video!r}").tobytes())
        if rows.outputs is not None:
            digest.update(rows.outputs.astype("<f4").tobytes())
        total.update(video.encode() + b"\0" + digest.digest())
        told(len(source.frames[video]))
    return total.hexdigest()


def write_files(
    source: ImportSource,
    to: ImportedSet,
    told: Callable[[int], None] = lambda rows: None,
) -> dict[str, int]:
    """Write one file for each video; each appears whole or not at all.

    Args:
        source: The rows.
        to: The set.
        told: Called with the number of rows that were written, for progress.

    Returns:
        Counts that are not 0, of ``videos``, ``rows``, ``empty_videos`` and, of mended
        rows, ``nonfinite_rows``, ``duplicate_rows`` and ``unsorted_rows``.

    Raises:
        ValueError: If two rows of one frame differ, or values are out of range.
    """
    to.folder.mkdir(parents=True, exist_ok=True)
    meta = to.meta(source.dim)
    counts = {"videos": 0, "rows": 0}
    for video in sorted(source.frames):
        path = to.folder / f"{video}.npz"
        rows, mended = clean_rows(source.read(video), where=f"{to.name}, {video!r}")
        with FeatureFileWriter(
            path, dim=source.dim, output_dim=source.output_dim, dtype=to.dtype
        ) as writer:
            for start in range(0, len(rows.frame), _PIECE):
                part = slice(start, start + _PIECE)
                features = narrowed(rows.features[part], to.dtype, str(path))
                outputs = None if rows.outputs is None else rows.outputs[part]
                writer.append(rows.frame[part], features, outputs)
            writer.finish({**meta, "mended": mended} if mended else meta)
        for name, count in {
            **mended,
            "videos": 1,
            "rows": len(rows.frame),
            "empty_videos": int(not len(rows.frame)),
        }.items():
            counts[name] = counts.get(name, 0) + count
        told(len(rows.frame))
    return {name: count for name, count in counts.items() if count}
