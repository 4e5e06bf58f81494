"""Protocols: the folds of speakers by which scores on a corpus are reported.

Each fold is reported once, by a model that saw none of its speakers. The store keeps
them beside its annotations.
"""

import dataclasses
import os
import pathlib
from collections.abc import Collection, Mapping

from avemo_jax.data.corpus.splits import draw_dev, grouped_folds
from avemo_jax.data.listing import first_of
from avemo_jax.runtime.atomic_files import write_json
from avemo_jax.runtime.json_files import read_json

PROTOCOLS_FILE = "protocols.json"
_SCHEMA_VERSION = 1
_TOLD = 8  # speakers in a line


@dataclasses.dataclass(frozen=True)
class Protocol:
    """A way to divide the speakers of a corpus.

    Attributes:
        folds: The speakers of each fold; no speaker is in two.
        source: Who divides them so, or how it was done.
    """

    folds: tuple[tuple[str, ...], ...]
    source: str


@dataclasses.dataclass(frozen=True)
class _Kept:
    """The file of a store's protocols."""

    schema_version: int
    protocols: Mapping[str, Protocol]


def check_protocol(name: str, protocol: Protocol, where: str) -> None:
    """Check that each speaker is in one fold, and that there are two folds or more.

    Args:
        name: The protocol's name.
        protocol: The protocol.
        where: The file that has it, for errors.

    Raises:
        ValueError: If a fold is empty, a speaker is in two, or there are too few.
    """
    speakers = [speaker for fold in protocol.folds for speaker in fold]
    twice = sorted({one for one in speakers if speakers.count(one) > 1})
    if len(protocol.folds) < 2 or not all(protocol.folds) or twice:
        what = f"{len(protocol.folds)} folds of {len(speakers)} speakers"
        what += f", {first_of(twice, _TOLD)} in two of them" if twice else ""
        raise ValueError(
            f"{where}: protocol {name!r} has {what}; expected two folds or more, none "
            "of them empty, each speaker in one: correct its folds"
        )


def drawn_protocol(
    speakers: Collection[str], num_folds: int, source: str, *, seed: int = 0
) -> Protocol:
    """Folds of nearly equally many speakers, drawn by their names and the seed alone.

    Raises:
        ValueError: If there are fewer speakers than folds, or fewer than two folds.
    """
    if not 2 <= num_folds <= len(set(speakers)):
        raise ValueError(
            f"{num_folds} folds of {len(set(speakers))} speakers; expected 2 folds or "
            "more, and no more than there are speakers: change num_folds"
        )
    folds = grouped_folds(
        speakers, num_folds, seed, sources={one: one for one in speakers}
    )
    return Protocol(tuple(map(tuple, folds)), source)


def without_clips(protocol: Protocol, speakers: Collection[str]) -> list[int]:
    """Indices of the folds none of whose speakers is there."""
    return [
        number
        for number, fold in enumerate(protocol.folds)
        if not set(fold) & set(speakers)
    ]


def fold_splits_of(
    protocol: Protocol, fold: int, sources: Mapping[str, str], *, seed: int = 0
) -> dict[str, str]:
    """Splits in which one fold's videos are reported.

    ``validation`` are the videos of the fold's speakers. Of the other speakers a fifth
    is drawn for ``dev``, and the rest is ``train``. Videos of speakers that the
    protocol does not name are in no split ("none").

    Args:
        protocol: The protocol.
        fold: Index of the fold, from 0.
        sources: The speaker of each video.
        seed: Seed of the draw of dev.

    Raises:
        ValueError: If there is no such fold, or nobody to train by.
    """
    if not 0 <= fold < len(protocol.folds):
        raise ValueError(
            f"fold {fold} of a protocol of {len(protocol.folds)}; expected 0 to "
            f"{len(protocol.folds) - 1}: correct config.data.fold"
        )
    held = set(protocol.folds[fold])
    known = {one for speakers in protocol.folds for one in speakers}
    others = [v for v, source in sources.items() if source in known - held]
    dev = draw_dev(others, seed=seed, sources=sources)
    if not others or not any(source in held for source in sources.values()):
        raise ValueError(
            f"fold {fold} has {len(sources) - len(others)} videos and "
            f"{len(others)} to train by; expected some of both: download the speakers "
            "that are missing, and prepare the store again"
        )
    return {
        video: "validation"
        if source in held
        else ("none" if source not in known else "dev" if video in dev else "train")
        for video, source in sorted(sources.items())
    }


def write_protocols(
    store: str | os.PathLike[str], protocols: Mapping[str, Protocol]
) -> None:
    """Write the protocols of a store, beside its annotations.

    Raises:
        OSError: If the file cannot be written.
    """
    kept = {name: dataclasses.asdict(one) for name, one in protocols.items()}
    content = {"schema_version": _SCHEMA_VERSION, "protocols": kept}
    write_json(pathlib.Path(store) / PROTOCOLS_FILE, content)


def read_protocols(store: str | os.PathLike[str]) -> Mapping[str, Protocol]:
    """The protocols that a store has, by name; none where there is no file of them.

    Raises:
        ValueError: If the file is damaged, or a protocol makes no sense.
    """
    path = pathlib.Path(store) / PROTOCOLS_FILE
    if not path.is_file():
        return {}
    kept: _Kept = read_json(path, _Kept, remedy="prepare the store again")
    for name, one in kept.protocols.items():
        check_protocol(name, one, str(path))
    return kept.protocols
