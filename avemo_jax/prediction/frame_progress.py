"""A bar of frames over many inputs, with frames a second and the time that is left."""

from collections.abc import Sequence

from avemo_jax.prediction.inputs import Input
from avemo_jax.runtime.progress import progress_bar


class Progress:
    """Hears how far the work is, and tells nobody."""

    def opened(self, one: Input, frames: int) -> None:
        """An input was opened, and has so many frames."""

    def searched(self, one: Input, frames: int) -> None:
        """So many more frames of an input were searched for faces."""

    def embedded(self, name: str, frame: int) -> None:
        """The faces of an input's frames up to this one go through the networks."""

    def finished(self, one: Input) -> None:
        """Nothing more is done with an input."""


class FrameProgress(Progress):
    """Counts frames: half of each when it is searched, half when it is embedded.

    How many frames there are in inputs that are not opened yet is estimated by their
    bytes.
    """

    def __init__(self, inputs: Sequence[Input], *, quiet: bool):
        """Shows an empty bar.

        Args:
            inputs: All inputs that will be done.
            quiet: Show nothing.
        """
        self._bytes = {one.name: one.num_bytes() for one in inputs}
        self._frames: dict[str, int] = {}
        self._halves: dict[str, int] = {}
        self._last: dict[str, int] = {}
        self._bar = progress_bar(None, "predict", "frame", quiet=quiet or not inputs)

    def __enter__(self) -> "FrameProgress":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def opened(self, one: Input, frames: int) -> None:
        """An input was opened, and has so many frames."""
        self._frames[one.name] = frames
        known = sum(self._bytes[name] for name in self._frames)
        left = sum(self._bytes.values()) - known
        total = sum(self._frames.values())
        self._bar.total = total + round(total * left / max(known, 1))
        self._bar.set_postfix_str(one.name[:30])

    def searched(self, one: Input, frames: int) -> None:
        """So many more frames of an input were searched for faces."""
        self._to(one.name, self._halves.get(one.name, 0) + frames)

    def embedded(self, name: str, frame: int) -> None:
        """The faces of an input's frames up to this one go through the networks."""
        before = self._last.get(name, 0)
        if frame > before:
            self._last[name] = frame
            self._to(name, self._halves.get(name, 0) + frame - before)

    def finished(self, one: Input) -> None:
        """Nothing more is done with an input."""
        self._to(one.name, 2 * self._frames.setdefault(one.name, 0))
        self._last.pop(one.name, None)

    def _to(self, name: str, halves: int) -> None:
        before = self._halves.get(name, 0)
        self._halves[name] = halves
        if step := halves // 2 - before // 2:
            self._bar.update(step)
