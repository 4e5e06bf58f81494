"""Logs of a run: messages, metrics.jsonl, TensorBoard, environment.json."""

import importlib.util
import json
import logging
import os
import pathlib
import platform
import time
from typing import Any, TypedDict

import jax
from absl import flags
from absl import logging as absl_logging

from avemo_jax.runtime.atomic_files import whole_file
from avemo_jax.runtime.json_files import read_json_lines
from avemo_jax.runtime.plain_text import one_line
from avemo_jax.runtime.progress import clear_bars
from avemo_jax.runtime.versions import VERSION, git_revision, package_versions

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "grain")

_ROOT = pathlib.Path(__file__).parents[1]


def speak_plainly(process: int | None = None) -> None:
    """Log to stderr as ``HH:MM:SS message``; of libraries only warnings are shown.

    Args:
        process: Number of this process, which its lines begin with; all but the first
            show only warnings. None: there is only one process.
    """
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()  # absl would warn in commands that lack its flags
    absl_logging.use_absl_handler()
    if absl_logging.get_verbosity() < absl_logging.DEBUG:  # kept with --verbosity=1
        level = absl_logging.WARNING if process else absl_logging.INFO
        absl_logging.set_verbosity(level)
    absl_logging.set_stderrthreshold("info")
    handler = absl_logging.get_absl_handler()
    handler.setFormatter(
        _OneLine(
            ("" if process is None else f"[{process}] ")
            + "%(asctime)s %(levelname).1s %(message)s",
            "%H:%M:%S",
        )
    )
    handler.addFilter(_is_ours_or_warns)
    handler.addFilter(_clears_bars)


class _OneLine(logging.Formatter):
    """Messages of one line each, whatever names of files are in them."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line of a record; a traceback follows it as it is."""
        record.message = one_line(record.message)
        return super().formatMessage(record)


def _is_ours_or_warns(record: logging.LogRecord) -> bool:
    path = pathlib.Path(record.pathname)
    # Each of orbax's threads tells an error with its traceback; it is raised as well.
    if record.exc_info and "orbax" in path.parts:
        return absl_logging.get_verbosity() >= absl_logging.DEBUG
    ours = _ROOT in path.parents
    return ours or record.levelno >= logging.WARNING


def _clears_bars(record: logging.LogRecord) -> bool:
    del record
    clear_bars()
    return True


class _Line(TypedDict):
    """What every line of ``metrics.jsonl`` has."""

    epoch: int


class MetricsLog:
    """``metrics.jsonl``: one JSON object a line; scalars to TensorBoard as well."""

    def __init__(
        self, workdir: pathlib.Path, *, tensorboard: bool, writes: bool = True
    ):
        """Opens the log of ``workdir``.

        Args:
            workdir: Work directory of the run.
            tensorboard: Write event files, if tensorboardX or tensorboard is installed.
            writes: Whether this process writes; if not, only reading has an effect.
        """
        self._path = workdir / "metrics.jsonl"
        self._writes = writes
        events = tensorboard and writes
        self._writer = _event_writer(workdir / "tensorboard") if events else None

    def keep_until(self, epoch: int) -> None:
        """Drops lines of epochs after ``epoch``, which are trained again."""
        if not self._writes:
            return
        kept = [line for line in self.read() if line["epoch"] <= epoch]
        text = "".join(json.dumps(line) + "\n" for line in kept)
        with whole_file(self._path) as temporary:
            temporary.write_text(text, encoding="utf-8")

    def read(self) -> list[dict[str, Any]]:
        """All whole lines; a last line cut by a kill is left out.

        Raises:
            ValueError: If a line is no JSON object that names its epoch.
        """
        if not self._path.exists():
            return []
        remedy = "remove the line; the plots will lack it"
        return read_json_lines(self._path, _Line, remedy=remedy)

    def write(self, record: dict[str, Any]) -> None:
        """Appends ``record``, which names its epoch; TensorBoard gets only floats."""
        if not self._writes:
            return
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
            file.flush()
            os.fsync(file.fileno())
        if self._writer:
            for name, value in record.items():
                if isinstance(value, float):
                    self._writer.add_scalar(name, value, record["step"])
            self._writer.flush()

    def close(self) -> None:
        """Closes the event file."""
        if self._writer:
            self._writer.close()


def _event_writer(directory: pathlib.Path) -> Any:
    """A writer with ``add_scalar``; None if neither package is installed."""
    if importlib.util.find_spec("tensorboardX"):
        from tensorboardX import SummaryWriter

        return SummaryWriter(str(directory))
    if importlib.util.find_spec("tensorboard"):
        return _TensorBoardWriter(directory)
    return None


class _TensorBoardWriter:
    """Scalars as event files by the package tensorboard, which needs no TensorFlow."""

    def __init__(self, directory: pathlib.Path):
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._file = EventFileWriter(str(directory))
        self.flush, self.close = self._file.flush, self._file.close

    def add_scalar(self, name: str, value: float, step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        point = Summary.Value(tag=name, simple_value=value)
        summary = Summary(value=[point])
        self._file.add_event(Event(wall_time=time.time(), step=step, summary=summary))


def environment(videos: dict[str, list[str]]) -> dict[str, Any]:
    """Versions, devices, git revision and the videos of each split.

    Args:
        videos: Names of the videos, by split.
    """
    return {
        "avemo_jax": VERSION,
        "git_revision": git_revision(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": package_versions(PACKAGES),
        "devices": [f"{d.platform}:{d.id} {d.device_kind}" for d in jax.devices()],
        "processes": jax.process_count(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "matmul_precision": str(jax.config.values["jax_default_matmul_precision"]),
        "videos": videos,
    }
