"""``avemo import-features``: features made elsewhere, as files for a store."""

import argparse
import contextlib
import dataclasses
import pathlib
import sys
from collections.abc import Sequence

from tqdm import tqdm

from avemo_jax.data.corpus.annotations import read_annotations
from avemo_jax.data.corpus.video_numbers import read_numbers
from avemo_jax.data.face_tables import TABLE_ENDINGS, is_of_face_programs
from avemo_jax.data.features.names import check_known, full_name, split_name
from avemo_jax.data.importing import native
from avemo_jax.data.importing.evidence import off_by_one, report
from avemo_jax.data.importing.face_columns import import_face_tables
from avemo_jax.data.importing.flags import parser
from avemo_jax.data.importing.folders import import_folder
from avemo_jax.data.importing.hdf5 import import_hdf5
from avemo_jax.data.importing.pickled import import_pickle
from avemo_jax.data.importing.source import ImportSource
from avemo_jax.data.importing.spooled import SpooledRows
from avemo_jax.data.importing.tables import import_parquet
from avemo_jax.data.importing.writing import (
    ImportedSet,
    check_standing,
    contents_of,
    write_files,
)
from avemo_jax.data.records import Modality, VideoAnnotations
from avemo_jax.extractors import EXTRACTORS
from avemo_jax.runtime.errors import guarded
from avemo_jax.runtime.output_places import check_out
from avemo_jax.runtime.progress import progress_bar

_PICKLES = (".pkl", ".pickle", ".p", ".npy")
_HDF5 = (".h5", ".hdf5")
_INPUT = "imported"  # input of an unknown extractor, where the user names none


def main(argv: Sequence[str] | None = None) -> int:
    """Import features; returns 0, or 1 after an error, told on stderr."""
    flags = parser()
    args = flags.parse_args(argv)
    return guarded(
        lambda: _run(args),
        prog=flags.prog,
        kept="videos that were written whole are kept",
    )


def _run(args: argparse.Namespace) -> int:
    check_out("--out", args.out, args.source, args.annotations)
    _check_flags(args)
    name = _name(args.name)
    records = {}
    if args.annotations:
        found = read_annotations(args.annotations, mtl=args.mtl)
        records = {record.video: record for record in found}
    args.out = pathlib.Path(args.out)
    with contextlib.ExitStack() as opened:
        source = _open(args, opened)
        opened.callback(source.close)
        source, alignment = _aligned(args, source, records)
        to = ImportedSet(
            folder=args.out / name,
            name=name,
            kind=args.kind,
            dtype=args.dtype,
            origin=_origin(args.source),
            made_by=args.made_by,
            alignment=alignment,
            columns=source.columns,
        )
        check_known(name, args.kind, source.dim)
        _check_offsets(args, source, args.kind, records)
        rows = sum(map(len, source.frames.values()))
        if not to.made_by:
            with _bar("fingerprint", rows, args.quiet) as bar:
                digest = contents_of(source, to, bar.update)
            to = dataclasses.replace(to, contents=digest)
        check_standing(source, to, overwrite=args.overwrite)
        bar = opened.enter_context(_bar("writing", rows, args.quiet))
        counts = write_files(source, to, bar.update)
    print(f"{to.folder}: {source.form}, {source.dim} values a frame")
    outputs = (
        f", {source.output_dim} outputs of the extractor" if source.output_dim else ""
    )
    print(
        f"  {counts.pop('videos', 0)} videos, {counts.pop('rows', 0):,} rows{outputs}"
    )
    for key, count in counts.items():
        print(f"  {key.replace('_', ' ')}: {count:,}")
    for line in (
        *source.notes,
        *(report(source, args.kind, records) if records else ()),
    ):
        print(f"  {line}")
    return 0


def _check_flags(args: argparse.Namespace) -> None:
    """Raise ``ValueError`` if flags do not fit each other."""
    if not args.source.exists():
        raise ValueError(
            f"there is no {args.source}; expected a file or a folder of features: "
            "correct the path"
        )
    _check_face_flags(args)
    rate = args.rate_hz
    if rate is None and (args.fps is not None or args.fps_file):
        raise ValueError(
            "--fps or --fps-file without --rate-hz; expected both: say how many rows a "
            "second there are, or leave it out"
        )
    if rate is not None and (args.kind != "audio" or not 0 < rate < 1e5):
        raise ValueError(
            f"--rate-hz {rate} with --kind {args.kind}; expected a positive number, "
            "with audio: correct the flags"
        )
    if args.fps is not None and not 0 < args.fps <= native.MAX_FPS:
        raise ValueError(
            f"--fps {args.fps}; expected a number over 0, up to 1000: correct the flag"
        )


def _check_face_flags(args: argparse.Namespace) -> None:
    """Raise ``ValueError`` if flags of tables of faces do not fit the source."""
    if _has_faces(args.source):
        if args.kind != "visual":
            raise ValueError(
                f"--kind {args.kind} with a table of faces; expected visual: correct "
                "the flag"
            )
        return
    for flag, value in (("--face", args.face), ("--columns", args.columns)):
        if value is not None:
            raise ValueError(
                f"{flag} with {args.source}; expected it with tables of OpenFace or "
                "py-feat alone: leave it out"
            )


def _name(name: str) -> str:
    """The set's full name; NAME@imported if extractor and input are unknown."""
    extractor, variant = split_name(name)
    if variant is None and extractor not in EXTRACTORS:
        print(f"feature set {name} is called {name}@{_INPUT}", file=sys.stderr)
        return f"{name}@{_INPUT}"
    return full_name(name)


def _open(args: argparse.Namespace, opened: contextlib.ExitStack) -> ImportSource:
    """The source of the import, read as the kind of its file or folder demands."""
    path, first = args.source, args.first_frame
    if _has_faces(path):
        return import_face_tables(
            path, first_frame=first, face=args.face, wanted=args.columns
        )
    if path.is_dir():
        return import_folder(path, first_frame=first)
    ending = path.suffix.lower()
    if not path.is_file():
        raise ValueError(
            f"{path} is neither a file nor a folder; expected features: correct the "
            "path"
        )
    if ending in _HDF5:
        return import_hdf5(path, first_frame=first)
    if ending not in (*_PICKLES, ".parquet"):
        raise ValueError(
            f"{path}: the ending {ending!r}; expected a folder, "
            f"{', '.join((*_PICKLES, *_HDF5, '.parquet'))}, or a table of OpenFace or "
            "py-feat: rename or convert it"
        )
    args.out.mkdir(parents=True, exist_ok=True)  # rows are spooled beside the files
    bar = opened.enter_context(_bar("reading", None, args.quiet))
    rows = SpooledRows(
        path, args.out, first_frame=first, dtype=args.dtype, told=bar.update
    )
    opened.callback(rows.close)
    if ending == ".parquet":
        return import_parquet(path, rows)
    return import_pickle(path, rows, outputs=args.outputs)


def _has_faces(path: pathlib.Path) -> bool:
    """Whether the source is a table of a program that measures faces, or has some."""
    is_table = path.name.lower().endswith(TABLE_ENDINGS)
    return (path.is_dir() or is_table) and is_of_face_programs(path)


def _bar(text: str, total: int | None, quiet: bool) -> tqdm:
    return progress_bar(total, text, "frame", quiet=quiet, delay_s=2.0)


def _aligned(
    args: argparse.Namespace,
    source: ImportSource,
    records: dict[str, VideoAnnotations],
) -> tuple[ImportSource, dict[str, object] | None]:
    """The source with one row a frame, and how sound was aligned, if it was."""
    if args.rate_hz is None:
        return source, None
    rates: dict[str, float] = {}
    if args.fps_file:
        rates = read_numbers(args.fps_file, "fps", most=native.MAX_FPS)
    aligned, beyond = native.at_frames(
        source, args.rate_hz, records=records, fps=args.fps, rates=rates
    )
    if beyond:
        worst = max(beyond, key=lambda video: beyond[video])
        print(
            f"  frames that lie beyond all sound: {sum(beyond.values()):,} in "
            f"{len(beyond)} videos, most in {worst} ({beyond[worst]:,})"
        )
    return aligned, {"rule": native.RULE, "rate_hz": args.rate_hz}


def _origin(path: pathlib.Path) -> dict[str, object]:
    """Name and size of the imported file or folder."""
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        size = sum(file.stat().st_size for file in files)
        return {"name": path.absolute().name, "files": len(files), "bytes": size}
    return {"name": path.name, "bytes": path.stat().st_size}


def _check_offsets(
    args: argparse.Namespace,
    source: ImportSource,
    kind: Modality,
    records: dict[str, VideoAnnotations],
) -> None:
    """Raise ``ValueError`` if frames are likely to be off by one."""
    sign = off_by_one(source, kind, records)
    if sign is None:
        return
    if args.accept_offsets:
        print(f"  accepted, although it looks off by one: {sign}")
        return
    raise ValueError(
        f"{args.source}: frames are likely off by one: {sign}; expected the rows of "
        "frame 1, 2, ... as lines 1, 2, ... of the annotations label them: number them "
        "so (--first-frame tells where numbers begin), or pass --accept-offsets if "
        "this is as it should be; nothing was written"
    )
