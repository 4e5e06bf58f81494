"""Folders of feature files -> feature sets that a store is built from."""

import concurrent.futures
import functools
import hashlib
import json
import math
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

import numpy as np
from absl import logging
from jaxtyping import Int

from avemo_jax.data import listing
from avemo_jax.data.features import names
from avemo_jax.data.features.files import (
    clean_rows,
    read_feature_file,
    read_frame_numbers,
    read_original_file,
)
from avemo_jax.data.features.writer import read_meta
from avemo_jax.data.records import (
    FeatureSource,
    Modality,
    Remarks,
    RowRate,
    VideoFeatures,
    as_float16,
)
from avemo_jax.runtime.progress import progress_bar
from avemo_jax.runtime.regular_files import sha256_of

_SUFFIXES = (".npz", ".npy")
# The fields of a file's meta that tell how the vectors of the whole set were made.
_PROVENANCE = (
    *("extractor", "weights_sha256", "settings", "input", "alignment", "decoding"),
)


def find_feature_sources(
    folders: Iterable[str | os.PathLike[str]],
    *,
    kinds: Mapping[str, Modality] | None = None,
    quiet: bool = False,
) -> list[FeatureSource]:
    """The feature sets whose files lie in the sub-folders of ``folders``.

    A sub-folder has the name of its set (``EXTRACTOR@INPUT``, or short), or the name
    that it has in the original system. The same set may lie in several of the folders,
    with different videos.

    Args:
        folders: Folders with one sub-folder per set, which has one file per video.
        kinds: "visual" or "audio" by the name of the set or sub-folder, for extractors
            that are not known and whose files do not say it.
        quiet: Show no progress while the files are read for their digest.

    Raises:
        ValueError: If there are no files, a name is malformed, a kind is unknown or
            given for no set, or a video is there twice. Reading a video from a source
            raises it if the files of a set disagree in fingerprint, kind or dim.
    """
    found: dict[str, list[pathlib.Path]] = {}
    kind_of: dict[str, Modality | None] = {}
    asked = dict(kinds or {})
    unused = set(asked)
    for folder in map(pathlib.Path, folders):
        sets = listing.subfolders(folder)
        if not sets:
            _no_sets(folder)
        for subfolder in sets:
            paths = _feature_files(subfolder)
            try:
                name, kind = names.folder_to_set(subfolder.name)
            except ValueError as error:
                raise ValueError(f"{subfolder}: {error}") from error
            unused -= {subfolder.name, name}
            kind_of[name] = asked.get(subfolder.name, asked.get(name, kind))
            found.setdefault(name, []).extend(paths)
    if unused:
        raise ValueError(
            f"a kind is given for {', '.join(sorted(unused))}; expected a set that is "
            f"there ({', '.join(sorted(found)) or 'none'}): correct --kind"
        )
    return [
        _source(
            name,
            listing.by_video(found[name], lambda path: path.stem, name),
            kind_of[name],
            quiet,
        )
        for name in sorted(found)
    ]


def _no_sets(folder: pathlib.Path) -> NoReturn:
    """Raise that ``folder`` holds no feature sets."""
    instead = "give the folder above the sets"
    if any(path.suffix in _SUFFIXES for path in listing.entries(folder)):
        instead = f"this is one set's folder, give {folder.absolute().parent}"
    elif not folder.is_dir():
        instead = "there is no such folder, correct the path"
    raise ValueError(
        f"{folder} has no folders of features; expected FOLDER/SET/VIDEO.npz or .npy: "
        f"{instead}"
    )


def _feature_files(folder: pathlib.Path) -> list[pathlib.Path]:
    """The feature files in one set's folder."""
    there = listing.entries(folder)
    paths = [p for p in there if p.suffix in _SUFFIXES and p.is_file()]
    others = sorted({p.name for p in there} - {p.name for p in paths})
    if not paths:
        instead = "extract the features, or remove the folder"
        if others:
            instead = f"if it is no set but holds the sets, give {folder} itself"
        raise ValueError(
            f"{folder} has no .npz or .npy files (it has "
            f"{', '.join(others[:5]) or 'nothing'}); expected one per video: {instead}"
        )
    if others:
        logging.warning("%s: ignored what is no feature file: %s", folder, others)
    return paths


def _read_any(path: pathlib.Path) -> tuple[VideoFeatures, dict[str, Any]]:
    """Rows and meta of a file of either kind; the original's have no meta."""
    if path.suffix == ".npz":
        return read_feature_file(path)
    return read_original_file(path), {}


def _source(
    name: str, files: Mapping[str, pathlib.Path], kind: Modality | None, quiet: bool
) -> FeatureSource:
    """The set that ``files`` make up; the first tells what all of them must share."""
    first = files[min(files)]
    rows, meta = _read_any(first)
    kind = kind or meta.get("kind")
    if kind is None:
        raise ValueError(
            f"{first.parent}: it is not known whether {name!r} is visual or audio; "
            f"expected the kind of an unknown extractor: say it (--kind {name}=visual)"
        )
    dim = rows.features.shape[1]
    names.check_known(name, kind, dim)
    fingerprint = meta.get("fingerprint") or _original_fingerprint(name)
    # Other processes that read the files may have another working directory.
    places = {video: path.absolute() for video, path in sorted(files.items())}
    return FeatureSource(
        name=name,
        kind=kind,
        dim=dim,
        output_dim=0 if rows.outputs is None else rows.outputs.shape[1],
        fingerprint=fingerprint,
        content=_content(name, fingerprint, files, quiet),
        videos=tuple(places),
        read=functools.partial(_read_checked, places, name, kind, dim, fingerprint),
        provenance={key: meta[key] for key in _PROVENANCE if key in meta},
        rates=_rates(places) if kind == "audio" else {},
        read_frames=functools.partial(_frame_numbers, places),
    )


def _frame_numbers(
    files: Mapping[str, pathlib.Path], video: str
) -> Int[np.ndarray, " rows"]:
    return read_frame_numbers(files[video])


def _rates(files: Mapping[str, pathlib.Path]) -> dict[str, RowRate]:
    """The rate of the rows of each file of sound alone, by video."""
    found = {}
    for video, path in files.items():
        meta = read_meta(path) if path.suffix == ".npz" else {}
        if "rows_at" not in meta:
            continue
        rows_at, fps, rows = (meta.get(k) for k in ("rows_at", "fps", "num_frames"))
        try:
            rate = RowRate(float(fps), int(rows), by_hop=rows_at == "hops")  # type: ignore[arg-type]
        except (TypeError, ValueError):
            rate = RowRate(math.nan, 0, by_hop=False)
        if rows_at not in ("hops", "fps") or not 0 < rate.fps < math.inf:
            raise ValueError(
                f"{path}: meta has rows_at {rows_at!r}, fps {fps!r}, num_frames "
                f"{rows!r}; expected 'hops' or 'fps', and two numbers over 0: extract "
                "this file again"
            )
        found[video] = rate
    return found


def _read_checked(
    files: Mapping[str, pathlib.Path],
    name: str,
    kind: Modality,
    dim: int,
    fingerprint: str,
    video: str,
) -> VideoFeatures:
    """One video's rows, cleaned, in float16, with remarks on what was mended.

    Raises:
        ValueError: If the video's file does not fit the others of the set.
    """
    path = files[video]
    raw, meta = _read_any(path)
    own = meta.get("fingerprint") or _original_fingerprint(name)
    if own != fingerprint or meta.get("kind", kind) != kind:
        raise ValueError(
            f"{path} is {meta.get('kind', kind)} with fingerprint {own}; expected "
            f"{kind} with {fingerprint}, as in the set's other files: sets of "
            "different weights, input or version never mix; extract all alike"
        )
    if raw.features.shape[1] != dim:
        raise ValueError(
            f"{path}: vectors of {raw.features.shape[1]} values; expected {dim}, as in "
            "the set's other files: extract this video again with the network of the "
            "others"
        )
    rows, mended = clean_rows(raw, where=str(path))
    features = as_float16(rows.features, where=str(path))
    remarks = _remarks(mended, meta, path)
    return VideoFeatures(rows.frame, features, rows.outputs, remarks)


def _remarks(
    mended: Mapping[str, int], meta: Mapping[str, Any], path: pathlib.Path
) -> Remarks:
    """Remarks: what was mended; the faults, notes and decoders in the file's meta."""
    failed, notes = meta.get("failed", []), meta.get("notes", [])
    decoders = meta.get("decoders", {})
    try:
        pairs = tuple((int(frame), str(reason)) for frame, reason in failed)
        if not isinstance(notes, list):
            raise TypeError(f"notes are a {type(notes).__name__}")
        versions = {str(name): str(text) for name, text in decoders.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: meta has failed {failed!r:.80}, notes {notes!r:.80} and decoders "
            f"{decoders!r:.80}; expected [[frame, reason], ...], [text, ...] and "
            "{name: version, ...}: extract this video again"
        ) from error
    return Remarks(mended, pairs, tuple(map(str, notes)), versions)


def _original_fingerprint(name: str) -> str:
    """The fingerprint of a set of the original's files, which do not name weights.

    All such sets of one name have the same fingerprint: they mix with each other, and
    with no set whose weights are known.
    """
    text = json.dumps([name, "files of the original system, weights unknown"])
    return hashlib.sha256(text.encode()).hexdigest()


def _content(
    name: str, fingerprint: str, files: Mapping[str, pathlib.Path], quiet: bool
) -> str:
    """A digest of all files of a set."""
    digest = hashlib.sha256(json.dumps([name, fingerprint]).encode())
    videos = sorted(files)
    with (
        progress_bar(
            len(files), f"reading {name}", "file", quiet=quiet, delay_s=2.0, keep=False
        ) as bar,
        concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool,
    ):
        digests = pool.map(sha256_of, [files[video] for video in videos])
        for video, file in zip(videos, digests, strict=True):
            digest.update(video.encode() + b"\0" + bytes.fromhex(file))
            bar.update()
    return digest.hexdigest()
