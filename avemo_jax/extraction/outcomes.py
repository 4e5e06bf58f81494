"""The outcome of each video's extraction, and ``failures.jsonl``."""

import dataclasses
import json
import pathlib
from collections.abc import Iterable

from avemo_jax.runtime.atomic_files import whole_file

# Why a frame failed whose vector a feature file cannot hold.
NOT_STORABLE = "its vector is not finite, or beyond 65504, the range of float16"


@dataclasses.dataclass(frozen=True)
class VideoOutcome:
    """The outcome of one video's extraction in one feature set.

    Attributes:
        feature_set: Name of the feature set.
        video: Name of the video.
        rows: Frames that have a vector.
        failed: Number and reason of each frame that a fault left without a vector.
        notes: What else a user should know: no sound, a track that ends early, ...
        losses: Those of the notes that say that a part of the video is lost.
        error: Why there is no file at all; None where there is one.
        stood: Whether the file was there already.
    """

    feature_set: str
    video: str
    rows: int = 0
    failed: tuple[tuple[int, str], ...] = ()
    notes: tuple[str, ...] = ()
    losses: tuple[str, ...] = ()
    error: str | None = None
    stood: bool = False

    @property
    def failures(self) -> int:
        """Number of failed frames, lost parts and errors of the whole video."""
        return len(self.lines())

    def lines(self) -> list[dict[str, object]]:
        """The video's lines of ``failures.jsonl``, as JSON objects."""
        common = {"feature_set": self.feature_set, "video": self.video}
        whole = [*self.losses, *([] if self.error is None else [self.error])]
        reasons = [*((None, reason) for reason in whole), *self.failed]
        return [
            {**common, "frame": frame, "reason": reason} for frame, reason in reasons
        ]


class TooManyFailuresError(RuntimeError):
    """More videos and frames failed than were allowed."""


class Outcomes:
    """All outcomes of a run; failures are written to disk as soon as they are known.

    Attributes:
        path: The file ``failures.jsonl``: one JSON object a line with ``feature_set``,
            ``video``, ``frame`` (null: the whole video) and ``reason``.
        all: The outcomes in the order in which they came.
    """

    def __init__(self, path: pathlib.Path, *, max_failures: int | None = None):
        """Starts an empty list; a file that an earlier run wrote is emptied.

        Args:
            path: The file that lists the failures.
            max_failures: Number of failures that are allowed; None: any number.
        """
        self.path = path
        self.all: list[VideoOutcome] = []
        self._limit = max_failures
        self._failures = 0
        path.write_text("", encoding="utf-8")

    def add(self, outcome: VideoOutcome) -> None:
        """Keep one outcome, and write its failures to the file.

        Raises:
            TooManyFailuresError: If there are now more failures than allowed.
        """
        self.all.append(outcome)
        self._failures += outcome.failures
        if outcome.failures:
            with self.path.open("a", encoding="utf-8") as file:
                file.writelines(_text(line) for line in outcome.lines())
        if self._limit is not None and self._failures > self._limit:
            raise TooManyFailuresError(
                f"{self._failures} videos or frames failed, the last of video "
                f"{outcome.video!r}; expected {self._limit} at most: see {self.path}, "
                "and mend the files or raise --max-failures; what was extracted stays"
            )

    def finish(self) -> None:
        """Write the file anew, sorted by feature set and video."""
        write_failures(self.path, self.all)

    @property
    def failures(self) -> int:
        """Number of failures so far, of frames and of whole videos."""
        return self._failures


def write_failures(path: pathlib.Path, outcomes: Iterable[VideoOutcome]) -> None:
    """Write ``failures.jsonl``, sorted by set and video; empty where nothing failed."""
    ordered = sorted(outcomes, key=lambda one: (one.feature_set, one.video))
    with whole_file(path) as temporary:
        temporary.write_text(
            "".join(_text(line) for one in ordered for line in one.lines()),
            encoding="utf-8",
        )


def _text(line: dict[str, object]) -> str:
    return json.dumps(line, ensure_ascii=False) + "\n"
