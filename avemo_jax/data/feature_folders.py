"""Folders of feature files -> feature sets that a store is built from."""

import concurrent.futures
import functools
import hashlib
import json
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from absl import logging

from avemo_jax.data import feature_sets
from avemo_jax.data.feature_files import (
    clean_rows,
    read_feature_file,
    read_original_file,
)
from avemo_jax.data.sources import FeatureSource, Kind, VideoFeatures


def find_feature_sources(
    folders: Iterable[str | os.PathLike[str]],
    *,
    kinds: Mapping[str, Kind] | None = None,
) -> list[FeatureSource]:
    """The feature sets whose files lie in the sub-folders of ``folders``.

    A sub-folder is called as its set (``EXTRACTOR@INPUT``, or short), or as in the
    original system. The same set may lie in several of the folders, with different
    videos.

    Args:
        folders: Each has one sub-folder per set, with one file per video.
        kinds: By name of set or sub-folder: "visual" or "audio", for extractors that
            are not known and whose files do not say it.

    Raises:
        ValueError: If there are no files, a name is malformed, a kind is unknown, a
            video is there twice, or the files of a set disagree in fingerprint, kind
            or dim.
    """
    found: dict[str, dict[str, pathlib.Path]] = {}
    kind_of: dict[str, Kind | None] = {}
    asked = dict(kinds or {})
    for folder in map(pathlib.Path, folders):
        subfolders = [
            p for p in sorted(folder.glob("*")) if p.is_dir() and p.name[0] != "."
        ]
        if not subfolders:
            raise ValueError(
                f"{folder} has no folders of features; expected FOLDER/SET/VIDEO.npz "
                "or .npy: give the folder above the sets"
            )
        for subfolder in subfolders:
            name, kind = feature_sets.folder_to_set(subfolder.name)
            kind_of[name] = asked.get(subfolder.name, asked.get(name, kind))
            _add_files(subfolder, name, found.setdefault(name, {}))
    return [_source(name, found[name], kind_of[name]) for name in sorted(found)]


def _add_files(folder: pathlib.Path, name: str, files: dict[str, pathlib.Path]) -> None:
    """Put the feature files of ``folder`` into ``files``, by video."""
    entries = [p for p in sorted(folder.iterdir()) if not p.name.startswith(".")]
    feature_files = [p for p in entries if p.suffix in (".npz", ".npy") and p.is_file()]
    others = sorted({p.name for p in entries} - {p.name for p in feature_files})
    if others:
        logging.warning("%s: ignored what is no feature file: %s", folder, others)
    if not feature_files:
        raise ValueError(
            f"{folder} has no .npz or .npy files; expected one per video: extract the "
            "features, or remove the folder"
        )
    for path in feature_files:
        if path.stem in files:
            raise ValueError(
                f"{path}: {name} of video {path.stem!r} is also in {files[path.stem]}; "
                "expected one file: remove one of the two"
            )
        files[path.stem] = path


def _read_any(path: pathlib.Path) -> tuple[VideoFeatures, dict[str, Any]]:
    """Rows and meta of a file of either kind; the original's have no meta."""
    if path.suffix == ".npz":
        return read_feature_file(path)
    return read_original_file(path), {}


def _source(
    name: str, files: Mapping[str, pathlib.Path], kind: Kind | None
) -> FeatureSource:
    """The set that ``files`` make up; what all must share is taken from the first."""
    first = files[min(files)]
    rows, meta = _read_any(first)
    kind = kind or meta.get("kind")
    if kind is None:
        raise ValueError(
            f"{first.parent}: it is not known whether {name!r} is visual or audio; "
            f"expected the kind of an unknown extractor: say it (--kind {name}=visual)"
        )
    dim = rows.features.shape[1]
    feature_sets.check_known(name, kind, dim)
    fingerprint = meta.get("fingerprint") or _original_fingerprint(name)
    report: dict[str, int | list[str]] = {}
    source = FeatureSource(
        name=name,
        kind=kind,
        dim=dim,
        output_dim=0 if rows.outputs is None else rows.outputs.shape[1],
        fingerprint=fingerprint,
        content=_content(name, fingerprint, files),
        videos=tuple(sorted(files)),
        read=functools.partial(_read_checked, files, name, kind, fingerprint, report),
        report=report,
    )
    return source


def _read_checked(
    files: Mapping[str, pathlib.Path],
    name: str,
    kind: Kind,
    fingerprint: str,
    report: dict[str, int | list[str]],
    video: str,
) -> VideoFeatures:
    """One video's rows, cleaned and counted; its file must fit the others."""
    path = files[video]
    raw, meta = _read_any(path)
    own = meta.get("fingerprint") or _original_fingerprint(name)
    if own != fingerprint or meta.get("kind", kind) != kind:
        raise ValueError(
            f"{path} is {meta.get('kind', kind)} with fingerprint {own}; expected "
            f"{kind} with {fingerprint}, as in the set's other files: sets of "
            "different weights, input or version never mix; extract all alike"
        )
    rows, counts = clean_rows(raw, where=str(path))
    for key, count in counts.items():
        report[key] = int(report.get(key, 0)) + count  # type: ignore[arg-type]
        videos = report.setdefault(key.replace("_rows", "_videos"), [])
        assert isinstance(videos, list)
        videos.append(f"{video}: {count}")
    return rows


def _original_fingerprint(name: str) -> str:
    """Of a set of the original's files, which do not tell their weights.

    All such sets of one name have the same: they mix with each other, and with no set
    whose weights are known.
    """
    text = json.dumps([name, "files of the original system, weights unknown"])
    return hashlib.sha256(text.encode()).hexdigest()


def _content(name: str, fingerprint: str, files: Mapping[str, pathlib.Path]) -> str:
    """A digest of all files of a set."""
    digest = hashlib.sha256(json.dumps([name, fingerprint]).encode())
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        read: Callable[[str], bytes] = lambda video: _file_digest(files[video])  # noqa: E731
        for video, file in zip(
            sorted(files), pool.map(read, sorted(files)), strict=True
        ):
            digest.update(video.encode() + b"\0" + file)
    return digest.hexdigest()


def _file_digest(path: pathlib.Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
