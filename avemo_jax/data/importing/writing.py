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
from avemo_jax.data.records import Modality

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
        made_by: The user's words on the network; part of the fingerprint.
        alignment: How sound at its native rate was aligned to frames; None: it was not.
    """

    folder: pathlib.Path
    name: str
    kind: Modality
    dtype: Literal["float16", "float32"]
    origin: Mapping[str, Any]
    made_by: str
    alignment: Mapping[str, Any] | None = None

    def fingerprint(self, dim: int) -> str:
        """Digest of name, kind, length, alignment and the user's words on the network.

        The weights are not known: imports under one name mix unless the words differ.

        Args:
            dim: Length of a vector.
        """
        decisive = ["imported", self.name, self.kind, dim, self.made_by, self.alignment]
        return hashlib.sha256(json.dumps(decisive).encode()).hexdigest()

    def meta(self, dim: int) -> dict[str, Any]:
        """The meta that every file of the set has, for vectors of length ``dim``."""
        meta: dict[str, Any] = {
            "fingerprint": self.fingerprint(dim),
            "kind": self.kind,
            "extractor": self.name.partition("@")[0],
            "settings": {"imported": True, "made_by": self.made_by},
            "input": self.name.partition("@")[2],
            "source": dict(self.origin),
        }
        if self.alignment is not None:
            meta["alignment"] = dict(self.alignment)
        return meta


def check_standing(source: ImportSource, to: ImportedSet, *, overwrite: bool) -> None:
    """Check that the files already in the set's folder may stay or be replaced.

    Args:
        source: The rows that are to be written.
        to: The set.
        overwrite: Whether videos of another import may be replaced.

    Raises:
        ValueError: If a file has another fingerprint, or a video is there from another
            import and may not be replaced.
    """
    expected = to.fingerprint(source.dim)
    for path in sorted(to.folder.glob("*.npz")):
        meta = read_meta(path)
        if meta["fingerprint"] != expected:
            raise ValueError(
                f"{path} has another fingerprint than what is imported (another "
                "length, kind, rate or --made-by); expected one network in a set: "
                "import under another name (--as), or remove that folder"
            )
        same = meta.get("source") == dict(to.origin)
        if path.stem in source.frames and not same and not overwrite:
            raise ValueError(
                f"{path} stands already, imported from {meta.get('source')}; expected "
                "another video: pass --overwrite to replace it"
            )


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
