"""The folder of an input: its tables, and run.json, which makes it complete.

run.json is written last and names the sizes and checksums of the others, so that a
folder with a run.json that fits is whole, and any other is to be made again.
"""

import contextlib
import json
import os
import pathlib
import time
from collections.abc import Mapping
from typing import Any, TypedDict

import numpy as np

from avemo_jax.data.predictions.threshold_file import RUN, by_unit
from avemo_jax.prediction.predicted import Predicted
from avemo_jax.prediction.segments import write_segments
from avemo_jax.prediction.summaries import MIN_FACE_PX, SummaryRow, summary_rows
from avemo_jax.prediction.tables import record_batches, schema_of
from avemo_jax.prediction.views import VIEWS, remove_views
from avemo_jax.runtime.atomic_files import LEFTOVER, whole_file
from avemo_jax.runtime.json_files import read_json
from avemo_jax.runtime.plain_text import in_csv
from avemo_jax.runtime.regular_files import sha256_of
from avemo_jax.runtime.tables.writing import csv_writer, needs_quotes, parquet_writer
from avemo_jax.runtime.versions import VERSION
from avemo_jax.tasks import definition

SCHEMA_VERSION = 1

TABLES = ("predictions.csv", "predictions.parquet", "predictions_raw.csv")
SEGMENTS = "segments.csv"
_BLOCK = 1 << 20


class WrittenFile(TypedDict):
    """What run.json says of another file.

    Attributes:
        bytes: Its size.
        sha256: Its checksum.
    """

    bytes: int
    sha256: str


class WrittenRun(TypedDict):
    """What run.json holds and programs read.

    Attributes:
        schema_version: Version of this form.
        settings: What the run was asked for, as ``Predicted.settings``.
        summary: The input's rows of summary.csv.
        losses: What could not be read, in words.
        files: The other files, by name.
    """

    schema_version: int
    settings: Mapping[str, Any]
    summary: tuple[Mapping[str, Any], ...]
    losses: tuple[str, ...]
    files: Mapping[str, WrittenFile]


def write_predicted(
    predicted: Predicted,
    folder: pathlib.Path,
    *,
    min_face_px: int = MIN_FACE_PX,
) -> None:
    """Write all files of an input, or leave the folder as it was.

    These are predictions.csv and .parquet, predictions_raw.csv, segments.csv and
    run.json. What is written takes their place only once it is all on the disk. Views
    of what was there before go; what else lies in the folder stays.

    Args:
        predicted: What is predicted of the input.
        folder: The folder, there or not; what killed runs left in it is removed.
        min_face_px: Shorter side of a face under which a warning tells its size.

    Raises:
        ValueError: If a face's frames have gaps, or are none of the input's; if
            ``settings`` hold what JSON does not.
        OSError: If the files cannot be written.
    """
    begun_s = time.monotonic()
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        _remove_leftovers(folder)
        with contextlib.ExitStack() as renames:
            # Left in reverse, so that run.json comes to its place last.
            run, *places = (
                renames.enter_context(whole_file(folder / name))
                for name in (RUN, *TABLES, SEGMENTS)
            )
            csv_path, parquet_path, raw_path, segments_path = places
            _write_tables(predicted, csv_path, parquet_path)
            _write_tables(predicted, raw_path, None)
            write_segments(segments_path, predicted)
            for place in places:
                _on_disk(place)
            content = _content(
                predicted,
                summary_rows(predicted, min_face_px=min_face_px),
                {
                    name: _written(place)
                    for name, place in zip((*TABLES, SEGMENTS), places, strict=True)
                },
                time.monotonic() - begun_s,
            )
            text = json.dumps(content, indent=2, allow_nan=False)
            run.write_text(text + "\n", encoding="utf-8")
            (folder / RUN).unlink(missing_ok=True)
            remove_views(folder)  # those of other tables
    except BaseException:
        if is_new:
            with contextlib.suppress(OSError):  # others wrote into it
                folder.rmdir()
        raise


def _remove_leftovers(folder: pathlib.Path) -> None:
    """Remove half-written files of killed runs."""
    ours = {RUN, *TABLES, SEGMENTS, *(view.file for view in VIEWS.values())}
    for path in folder.glob(".*.tmp"):
        found = LEFTOVER.fullmatch(path.name)
        if found and found[1] in ours:
            path.unlink(missing_ok=True)


def _write_tables(
    predicted: Predicted, csv_path: pathlib.Path, parquet_path: pathlib.Path | None
) -> None:
    """Write the rows as CSV and as Parquet; without the latter, those of raw scores."""
    raw = parquet_path is None
    schema = schema_of(predicted, raw=raw)
    quoted = needs_quotes(in_csv(predicted.name))
    with contextlib.ExitStack() as files:
        writers: list[Any] = [
            files.enter_context(csv_writer(csv_path, schema, quoted=quoted))
        ]
        if parquet_path is not None:
            writers.append(files.enter_context(parquet_writer(parquet_path, schema)))
        for batch in record_batches(predicted, raw=raw):
            for writer in writers:
                writer.write_batch(batch)


def _on_disk(path: pathlib.Path) -> None:
    """Wait until a file is on the disk, which may be full."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _written(path: pathlib.Path) -> WrittenFile:
    return {"bytes": path.stat().st_size, "sha256": sha256_of(path)}


def _content(
    predicted: Predicted,
    summary: list[SummaryRow],
    files: Mapping[str, WrittenFile],
    write_s: float,
) -> dict[str, Any]:
    """The content of run.json."""
    return {
        "schema_version": SCHEMA_VERSION,
        "version": VERSION,
        "input": predicted.name,
        "path": str(predicted.path),
        "width": predicted.width,
        "height": predicted.height,
        "fps": predicted.fps,
        "first_frame": predicted.first_frame,
        "n_frames": predicted.num_frames,
        "duration_s": round(float(predicted.durations_s().sum()), 6),
        "pictures": [str(file) for file in predicted.files],
        "tasks": [
            {**definition(task), "bounded": bool(np.isfinite(task.score_range).all())}
            for task in predicted.tasks
        ],
        "thresholds": {
            task.name: by_unit(task, predicted.thresholds[task.name])
            for task in predicted.tasks
            if task.name in predicted.thresholds
        },
        "faces": [
            {
                "face_id": face.face_id,
                "first_frame": int(face.frame[0]),
                "last_frame": int(face.frame[-1]),
                "frames_found": int(face.success.sum()),
                "frames_embedded": int(face.embedded.sum()),
                "is_merged": face.is_merged,
            }
            for face in predicted.faces
        ],
        "audio_used": predicted.audio_used,
        "notes": list(predicted.notes),
        "losses": list(predicted.losses),
        "settings": dict(predicted.settings),
        "stages_s": {
            name: round(seconds, 3)
            for name, seconds in {**predicted.stages_s, "write": write_s}.items()
        },
        "summary": summary,
        "files": dict(files),
    }


def written_run(folder: pathlib.Path) -> WrittenRun | None:
    """What the run.json of a folder holds, if the folder is complete; else None.

    Complete is one whose other files have the sizes that run.json names: checksums are
    not computed again.

    Args:
        folder: The folder of an input, there or not.

    Raises:
        ValueError: If there is a run.json that is damaged, or none of this program.
    """
    path = folder / RUN
    if not path.is_file():
        return None
    remedy = f"remove {path}, and the input is done again"
    found: WrittenRun = read_json(path, WrittenRun, remedy=remedy)
    if found["schema_version"] != SCHEMA_VERSION:
        raise ValueError(
            f"{path}: schema_version {found['schema_version']}; expected "
            f"{SCHEMA_VERSION}: {remedy}"
        )
    for name, written in found["files"].items():
        there = folder / name
        if not there.is_file() or there.stat().st_size != written["bytes"]:
            return None
    return found
