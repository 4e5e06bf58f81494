"""What came of each video, and ``failures.jsonl``."""

import dataclasses
import json
import pathlib
from collections.abc import Iterable

from avemo_jax.runtime.atomic_files import whole_file

# Of a frame, in `failed`.
NOT_STORABLE = "its vector is not finite, or beyond 65504, the range of float16"


@dataclasses.dataclass(frozen=True)
class VideoOutcome:
    """What came of one video in one feature set.

    Attributes:
        feature_set: Its name.
        video: Its name.
        rows: Frames that have a vector.
        failed: Frame and reason of each frame that has none for a fault.
        notes: What else was seen: no sound, a track that ends early, ...
        losses: Of the notes, what says that a part of the video is lost.
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
        """Frames that failed, and what did of the video as a whole."""
        return len(self.lines())

    def lines(self) -> list[dict[str, object]]:
        """Of ``failures.jsonl``."""
        common = {"feature_set": self.feature_set, "video": self.video}
        whole = [*self.losses, *([] if self.error is None else [self.error])]
        reasons = [*((None, reason) for reason in whole), *self.failed]
        return [
            {**common, "frame": frame, "reason": reason} for frame, reason in reasons
        ]


class TooManyFailuresError(RuntimeError):
    """More videos and frames failed than were allowed."""


class Outcomes:
    """All outcomes of a run; failures are on disk as soon as they are known.

    Attributes:
        path: Of ``failures.jsonl``: a JSON object a line with ``feature_set``,
            ``video``, ``frame`` (null: the video) and ``reason``.
        all: In the order in which they came.
    """

    def __init__(self, path: pathlib.Path, *, max_failures: int | None = None):
        """A new list; what an earlier run wrote is replaced.

        Args:
            path: Where failures are written.
            max_failures: How many may be; None: any number.
        """
        self.path = path
        self.all: list[VideoOutcome] = []
        self._limit = max_failures
        self._failures = 0
        path.write_text("", encoding="utf-8")

    def add(self, outcome: VideoOutcome) -> None:
        """Keep one.

        Raises:
            TooManyFailuresError: If there are now more failures than may be.
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
        """Write all failures anew in the order of sets and videos."""
        write_failures(self.path, self.all)

    @property
    def failures(self) -> int:
        """Frames, and videos as a whole, that failed."""
        return self._failures


def write_failures(path: pathlib.Path, outcomes: Iterable[VideoOutcome]) -> None:
    """``failures.jsonl``, whole; empty where nothing failed."""
    ordered = sorted(outcomes, key=lambda one: (one.feature_set, one.video))
    with whole_file(path) as temporary:
        temporary.write_text(
            "".join(_text(line) for one in ordered for line in one.lines()),
            encoding="utf-8",
        )


def _text(line: dict[str, object]) -> str:
    return json.dumps(line, ensure_ascii=False) + "\n"
