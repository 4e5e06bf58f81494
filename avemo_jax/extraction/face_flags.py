"""The flags that say which faces of videos are taken; nothing here loads JAX."""

import argparse
import math

from avemo_jax.runtime import flags

_Group = argparse._ActionsContainer
_MOST_FACES = 10_000
_LONGEST_INTERVAL_S = 60


def add_faces(to: _Group, help_text: str, *, default: str | None = None) -> None:
    """Add ``--faces``: "all", "largest" or a whole number."""
    to.add_argument(
        "--faces",
        type=flags.word_or_whole("all", "largest", least=1, most=_MOST_FACES),
        default=default,
        metavar="all|largest|N",
        help=help_text,
    )


def add_detect(to: _Group, help_text: str, *, default: float | None = None) -> None:
    """Add ``--detect``: seconds, 0 for every frame."""
    to.add_argument(
        "--detect",
        type=interval_of_text,
        default=default,
        metavar="every|SECONDS",
        help=help_text,
    )


def add_template(to: _Group) -> None:
    """Add ``--template``."""
    to.add_argument(
        "--template",
        metavar="FILE",
        help="where eyes, nose and mouth come in aligned crops, as avemo check-crops "
        "--write-template writes it (default: ArcFace's)",
    )


def interval_of_text(text: str) -> float:
    """Seconds between two frames that are always searched; 0 for "every".

    Raises:
        argparse.ArgumentTypeError: If it is another word, or no number over 0, up to
            60.
    """
    if text == "every":
        return 0.0
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= _LONGEST_INTERVAL_S:
        raise argparse.ArgumentTypeError(
            f"{text!r}; expected every, or seconds over 0 and at most "
            f"{_LONGEST_INTERVAL_S}, as 0.2: correct it"
        )
    return seconds
