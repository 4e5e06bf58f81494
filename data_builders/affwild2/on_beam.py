"""A feature set packed by the workers of Apache Beam.

One worker writes a shard of the store whole and renames it into its place: a worker
that is lost, or does the work of another again, does no harm. All workers must reach
the feature files and the store's folder by the same paths.
"""

import json
import os
import pathlib
import tempfile
from collections.abc import Sequence
from typing import Any

from absl import logging

from avemo_jax.runtime.beam import import_beam
from avemo_jax.runtime.json_files import read_json
from data_builders.affwild2 import fields, records
from data_builders.affwild2.contents import Contents, Fact

_SCRATCH = ".shard-"


def write_on_beam(
    contents: Contents, paths: Sequence[pathlib.Path], *, runner: str, options: Any
) -> list[int]:
    """Write the shards of ``contents``; returns how many examples each has.

    The facts of all videos are in ``contents.facts`` afterwards.

    Args:
        contents: What to write.
        paths: Files of the shards, in order, all in one folder.
        runner: Name of the Beam runner.
        options: ``PipelineOptions``; None: the defaults.

    Raises:
        ValueError: If a video cannot be written; of several, the first in order.
        RuntimeError: If the pipeline fails for another reason.
    """
    beam = import_beam()
    logging.info("packing %s in %d parts on %s", contents.name, len(paths), runner)
    places = [str(path.absolute()) for path in paths]
    try:
        with beam.Pipeline(runner=runner, options=options) as pipeline:
            _ = (
                pipeline
                | "shards" >> beam.Create(list(range(len(paths))), reshuffle=True)
                | "write" >> beam.Map(_write_shard, contents, places)
            )
    except Exception as error:
        raise RuntimeError(
            f"{contents.name}: the pipeline on {runner} failed ({error}); expected "
            "workers that can read the features and write into the store by the same "
            "paths: correct that, and start the same command again"
        ) from error
    notes = [_taken_note(path) for path in paths]
    for note in notes:
        if "error" in note:
            raise ValueError(note["error"])
    facts = {video: fact for note in notes for video, fact in note["facts"].items()}
    contents.facts.update({video: facts[video] for video in contents.videos})
    _remove_scratch(paths[0].parent)
    return [note["num_examples"] for note in notes]


def _write_shard(index: int, contents: Contents, places: Sequence[str]) -> None:
    """Write one shard, and a note beside it: its facts, or what its videos have wrong.

    Faults of the disk or the network are raised, so that Beam tries again.
    """
    path = pathlib.Path(places[index])
    writer = records.shard_writer(fields.fields_of(contents))
    facts: dict[str, Fact] = {}
    videos = contents.videos_of_shards()[index]
    with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=path.parent) as scratch:
        whole = pathlib.Path(scratch) / path.name
        note = pathlib.Path(scratch) / _note_of(path).name
        try:
            count = writer.write(
                examples=contents.examples(videos, facts), path=os.fspath(whole)
            )
            told: dict[str, Any] = {"num_examples": count, "facts": facts}
        except ValueError as error:
            told = {"error": str(error)}
        else:
            os.replace(whole, path)
        note.write_text(json.dumps(told), encoding="utf-8")
        os.replace(note, _note_of(path))


def _note_of(path: pathlib.Path) -> pathlib.Path:
    return path.with_name(f"{_SCRATCH}{path.name}.json")


def _taken_note(path: pathlib.Path) -> dict[str, Any]:
    """The note beside a shard; the file is removed."""
    note = _note_of(path)
    if not note.is_file():
        raise RuntimeError(
            f"no worker has written {path}; expected each to see {path.parent}: use a "
            "folder that all workers share"
        )
    told: dict[str, Any] = read_json(note, dict, remedy="start the build again")
    note.unlink()
    return told


def _remove_scratch(folder: pathlib.Path) -> None:
    """Remove what lost workers left, after others did their work."""
    for place in folder.glob(f"{_SCRATCH}*"):
        logging.warning("removing %s, which a lost worker left", place)
        for file in place.iterdir():
            file.unlink()
        place.rmdir()
