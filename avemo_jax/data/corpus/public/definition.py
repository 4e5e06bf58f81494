"""A public corpus as a file tells it: how labels, speakers and pairs are read.

The file is TOML; ``docs/ways_in/public_corpora.md`` has its members.
"""

import dataclasses
import pathlib
import re
import tomllib
from collections.abc import Mapping

from avemo_jax.data.corpus.protocols import Protocol, check_protocol, drawn_protocol
from avemo_jax.data.listing import first_of
from avemo_jax.runtime.command_line import did_you_mean
from avemo_jax.runtime.json_files import fitted
from avemo_jax.runtime.plain_text import one_line
from avemo_jax.runtime.regular_files import is_special
from avemo_jax.tasks import EXPR, Task, own_task

_MAX_BYTES = 2**20
_FOLDER = pathlib.Path(__file__).parent
_REMEDY = "correct the file, or see docs/ways_in/public_corpora.md"


@dataclasses.dataclass(frozen=True)
class Names:
    """How the files of clips are called.

    Attributes:
        pattern: Regular expression with named groups that a name without its ending
            fits from its beginning to its end.
        read_as: Names that the corpus has by mistake, and how they should be.
    """

    pattern: str
    read_as: Mapping[str, str] | None = None


@dataclasses.dataclass(frozen=True)
class Kinds:
    """How the names of one trial's files tell what they hold.

    Attributes:
        group: Group of the pattern that tells it.
        both: The group's text for videos with sound; None: there are none.
        video: The text for videos without sound; None: there are none.
        sound: The text for sound alone; None: there is none.
    """

    group: str
    both: str | None = None
    video: str | None = None
    sound: str | None = None


@dataclasses.dataclass(frozen=True)
class Speaker:
    """Where the speaker of a clip is told: by its name, or by a table.

    Attributes:
        group: Group of the pattern; None: a table tells it.
        table: Name of the table, anywhere beneath the corpus' folder.
        video: The table's column of clips, by name, with or without an ending.
        column: The table's column of speakers.
    """

    group: str | None = None
    table: str | None = None
    video: str = "video"
    column: str = "speaker"


@dataclasses.dataclass(frozen=True)
class Labels:
    """Where the class of a clip is told: by its name, or by a table.

    Attributes:
        classes: The class that each text of the group or of the column means, in the
            order that the task has them. Clips with another text have no label.
        group: Group of the pattern; None: a table tells it.
        table: Name of the table, anywhere beneath the corpus' folder.
        video: The table's column of clips, by name, with or without an ending.
        column: The table's column of labels.
    """

    classes: Mapping[str, str]
    group: str | None = None
    table: str | None = None
    video: str = "video"
    column: str = "label"


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of the corpus that may be used alone.

    Attributes:
        group: Group of the pattern that tells it.
        value: The group's text for this part.
        clips: Number of trials of the whole part; None: not told.
    """

    group: str
    value: str
    clips: int | None = None


@dataclasses.dataclass(frozen=True)
class Folds:
    """A protocol as the file has it: its folds, or how many are drawn.

    Attributes:
        source: Who divides the speakers so, or how it was done.
        folds: The speakers of each fold.
        num_folds: Number of folds that are drawn of all speakers.
    """

    source: str
    folds: tuple[tuple[str, ...], ...] | None = None
    num_folds: int | None = None


@dataclasses.dataclass(frozen=True)
class Definition:
    """A public corpus.

    Attributes:
        name: Name of the corpus, and of its task.
        title: The corpus' name in words.
        licence: Its licence.
        link: Where it is downloaded.
        names: How its files are called.
        speaker: Where a clip's speaker is told.
        labels: Where a clip's class is told, by the names of the kinds of labels; the
            first is the one that is used unless another is asked for.
        kinds: How names tell video from sound; None: endings do.
        parts: Parts by name; None: the corpus is one.
        default_part: The part that is used unless others are asked for; None: all.
        clips: Number of trials of the whole corpus; None: not told.
        speakers: All of its speakers; None: those that are found.
        ours: The class of Aff-Wild2 that a class corresponds to.
        protocols: Folds of speakers, by name.
        default_protocol: The protocol whose first fold the store reports; None: the
            first.
        noted: Known faults, by the names of clips.
    """

    name: str
    title: str
    licence: str
    link: str
    names: Names
    speaker: Speaker
    labels: Mapping[str, Labels]
    kinds: Kinds | None = None
    parts: Mapping[str, Part] | None = None
    default_part: str | None = None
    clips: int | None = None
    speakers: tuple[str, ...] | None = None
    ours: Mapping[str, str] | None = None
    protocols: Mapping[str, Folds] | None = None
    default_protocol: str | None = None
    noted: Mapping[str, str] | None = None

    def task(self, labels: str) -> Task:
        """The task of one kind of labels, with the classes that the corpus has.

        Raises:
            ValueError: If the corpus' name or a class cannot be a task's.
        """
        classes = tuple(dict.fromkeys(self.labels[labels].classes.values()))
        return own_task(self.name, "multiclass", classes)

    def protocols_of(self, found: tuple[str, ...]) -> dict[str, Protocol]:
        """The protocols, those that are drawn by all speakers of the corpus.

        Args:
            found: Speakers that were found, of whom folds are drawn where the file does
                not name them all.

        Raises:
            ValueError: If folds of more speakers than there are shall be drawn.
        """
        made = {}
        for name, one in (self.protocols or {}).items():
            if one.folds is not None:
                made[name] = Protocol(one.folds, one.source)
            elif one.num_folds is not None:
                speakers = self.speakers or found
                made[name] = drawn_protocol(speakers, one.num_folds, one.source)
        return made


def known_corpora() -> dict[str, pathlib.Path]:
    """The files of the corpora that this package knows, by name."""
    return {path.stem: path for path in sorted(_FOLDER.glob("*.toml"))}


def read_definition(corpus: str) -> Definition:
    """The corpus that ``corpus`` names, or that the file ``corpus`` tells.

    Raises:
        ValueError: If there is none, or the file is wrong; names the member.
    """
    known = known_corpora()
    path = known.get(corpus, pathlib.Path(corpus))
    if not path.is_file() or is_special(path):
        raise ValueError(
            f"--corpus {one_line(corpus)}: no known corpus, and no file; "
            f"{did_you_mean(corpus, known)}expected {', '.join(known)}, or a TOML file "
            "that tells how a corpus' names read: correct it"
        )
    with path.open("rb") as file:
        data = file.read(_MAX_BYTES + 1)
    try:
        if len(data) > _MAX_BYTES:
            raise ValueError(f"over {_MAX_BYTES} bytes; expected a small file of TOML")
        found: Definition = fitted(Definition, tomllib.loads(data.decode()))
        _check(found)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: {one_line(str(error)):.400}: {_REMEDY}") from error
    return found


def _check(found: Definition) -> None:
    """Check that the parts of a definition go together.

    Raises:
        ValueError: If they do not; says which.
    """
    try:
        groups = re.compile(found.names.pattern).groupindex
    except re.error as error:
        raise ValueError(
            f"names.pattern is no regular expression ({error}); expected one with "
            "named groups, as (?P<speaker>\\d+)_(?P<emotion>[A-Z]+)"
        ) from error
    named = {"speaker": found.speaker.group}
    named |= {f"labels.{name}": one.group for name, one in found.labels.items()}
    named |= {f"parts.{name}": one.group for name, one in (found.parts or {}).items()}
    if found.kinds is not None:
        named["kinds"] = found.kinds.group
    for place, group in named.items():
        if group is not None and group not in groups:
            raise ValueError(
                f"{place}.group is {group!r}; expected a group of names.pattern, "
                f"{', '.join(groups) or 'which has none'}"
            )
    if not found.labels:
        raise ValueError("no labels; expected [labels.NAME], with a group or a table")
    told: dict[str, Speaker | Labels] = {"speaker": found.speaker, **found.labels}
    for place, one in told.items():
        if (one.group is None) == (one.table is None):
            raise ValueError(
                f"{place} has {'both' if one.group else 'neither'} group and table; "
                "expected one of the two, where it is told"
            )
    for name in found.labels:
        found.task(name)
    _check_ours(found)
    _check_choices(found)


def _check_ours(found: Definition) -> None:
    """Check that classes correspond to classes that there are.

    Raises:
        ValueError: If one does not.
    """
    classes = {c for one in found.labels.values() for c in one.classes.values()}
    for name, ours in (found.ours or {}).items():
        if name not in classes or ours not in EXPR.columns:
            raise ValueError(
                f"ours.{name} is {ours!r}; expected for a class of the corpus, "
                f"{first_of(sorted(classes), 10)}, one of {', '.join(EXPR.columns)}"
            )


def _check_choices(found: Definition) -> None:
    """Check the default part and the protocols.

    Raises:
        ValueError: If a default is none of those that there are, or a protocol makes
            no sense.
    """
    for place, chosen, known in (
        ("default_part", found.default_part, found.parts),
        ("default_protocol", found.default_protocol, found.protocols),
    ):
        if chosen is not None and chosen not in (known or {}):
            raise ValueError(
                f"{place} is {chosen!r}; expected one of "
                f"{', '.join(known or {}) or 'those in the file, which has none'}"
            )
    for name, one in (found.protocols or {}).items():
        if (one.folds is None) == (one.num_folds is None):
            raise ValueError(
                f"protocols.{name} has {'both' if one.folds else 'neither'} folds and "
                "num_folds; expected one of the two"
            )
        if one.folds is not None:
            check_protocol(name, Protocol(one.folds, one.source), "protocols")
