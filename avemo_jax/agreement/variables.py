"""Which variable a tier and a label of a coding are of: classes, or a unit."""

import dataclasses
import functools
import re
from collections.abc import Mapping, Sequence

import numpy as np

from avemo_jax.agreement.codings import TIER_FACE, Coding, plain, renamed
from avemo_jax.data.corpus.label_columns import LabelColumn

_IS_UNIT = re.compile(r"au\d+")
# What says that a unit of FACS is there: letters and numbers tell how strongly.
PRESENT = {"1", "yes", "x", "present", "true", *"abcde", *"2345"}
ABSENT = {"0", "no", "absent", "none", "false"}
_NO_TIER = "label"


@dataclasses.dataclass(frozen=True)
class _Others:
    """What the other codings tell of variables.

    Attributes:
        units: Units, in the form of ``plain``.
        classes: Names of the variables of classes, by that form.
        labels: The variables of classes that a label belongs to, by that form.
    """

    units: frozenset[str]
    classes: Mapping[str, str]
    labels: Mapping[str, str]


def with_variables(
    codings: Sequence[Coding], others: Sequence[Coding], mapped: Mapping[str, str]
) -> list[Coding]:
    """Codings whose rows have a tier and a label, with a column for each variable.

    A label or tier that is an action unit, or a unit of the other codings, or a tier
    whose label has its name, is present in that row and absent elsewhere. Other labels
    are classes: of the variable that the tier names, or, where it names none, of the
    one of the other codings that has this label.

    Args:
        codings: The codings, of which some need nothing.
        others: What they are compared with.
        mapped: Other names, as ``read_codings`` has them.

    Raises:
        ValueError: If a unit's label says neither that it is present nor absent; names
            the place.
    """
    classes: dict[str, str] = {}
    labels: dict[str, str] = {}
    for one in others:
        for name in one.columns:
            if plain(name) in one.classes:
                classes[plain(name)] = name
                for text in (*one.columns[name]().texts, *one.known):
                    labels.setdefault(plain(text), name)
    units = frozenset().union(*(one.units for one in others))
    known = _Others(units, classes, labels)
    return [_translated(one, known, mapped) for one in codings]


def _translated(coding: Coding, others: _Others, mapped: Mapping[str, str]) -> Coding:
    if coding.long is None:
        return coding
    tiers, labels = coding.long
    rows = np.flatnonzero(labels.index >= 0)
    tier_of = np.full(len(labels.index), -1) if tiers is None else tiers.index
    pairs, place = np.unique(
        np.stack([tier_of[rows], labels.index[rows]], axis=1),
        axis=0,
        return_inverse=True,
    )
    names = () if tiers is None else tiers.texts
    told = [
        (_tier(names[tier] if tier >= 0 else "", mapped), labels.texts[label])
        for tier, label in pairs.tolist()
    ]
    meant, notes = _meant(coding, told, others, mapped)
    texts: dict[str, dict[str, int]] = {}
    index: dict[str, np.ndarray] = {}
    spelt: dict[str, str] = {plain(name): name for name in coding.columns}
    events = set(coding.events)
    for number, (tier, label) in enumerate(told):
        own_rows = rows[place.reshape(-1) == number]
        where = coding.table.where(int(own_rows[0]), labels.name)
        found = _variable(tier, renamed(label, mapped), others, where)
        if found is None:
            continue
        variable, text, is_event = found
        if is_event:
            events.add(plain(variable))
        else:
            variable = meant.get(tier, variable)
        variable = spelt.setdefault(plain(variable), variable)
        own = texts.setdefault(variable, {})
        column = index.setdefault(variable, np.full(len(labels.index), -1))
        column[own_rows] = own.setdefault(text, len(own))
    columns = {
        name: functools.partial(LabelColumn, labels.name, tuple(own), index[name], {})
        for name, own in texts.items()
    }
    return dataclasses.replace(
        coding,
        columns={**coding.columns, **columns},
        events=frozenset(events),
        units=coding.units | events,
        notes=(*coding.notes, *notes),
    )


def _tier(name: str, mapped: Mapping[str, str]) -> str:
    """A tier's name without its face, as it is mapped; ``_NO_TIER`` where none is."""
    return renamed(TIER_FACE.sub("", name, count=1), mapped) if name else _NO_TIER


def _meant(
    coding: Coding,
    told: Sequence[tuple[str, str]],
    others: _Others,
    mapped: Mapping[str, str],
) -> tuple[dict[str, str], list[str]]:
    """The other codings' variable of classes that each tier is, and remarks.

    It is the one of the tier's name; or that which has one of the tier's labels; or,
    without tiers, the only one.
    """
    found: dict[str, str] = {}
    notes = []
    for tier in dict.fromkeys(name for name, _ in told):
        own = [plain(renamed(label, mapped)) for name, label in told if name == tier]
        having = [others.labels[label] for label in own if label in others.labels]
        if plain(tier) in others.classes:
            found[tier] = others.classes[plain(tier)]
        elif having:
            found[tier] = having[0]
            if tier != _NO_TIER:
                notes.append(
                    f"{coding.table.path}: the tier {tier!r} is compared with "
                    f"{having[0]!r}, which has its labels"
                )
        elif tier == _NO_TIER and len(others.classes) == 1:
            (found[tier],) = others.classes.values()
    return found, notes


def _variable(
    tier: str, label: str, others: _Others, where: str
) -> tuple[str, str, bool] | None:
    """The variable, its label, and whether that is an event; None: left out.

    Args:
        tier: Name of the tier.
        label: The label.
        others: What the other codings tell.
        where: The place of the label, for errors.

    Raises:
        ValueError: If a unit's label says neither that it is present nor absent.
    """
    if not tier or not label:
        return None

    def is_unit(name: str) -> bool:
        return bool(_IS_UNIT.fullmatch(plain(name))) or plain(name) in others.units

    if is_unit(label):
        return label, "1", True
    if tier == _NO_TIER or not (is_unit(tier) or plain(tier) == plain(label)):
        return tier, label, False
    if plain(label) in PRESENT | {plain(tier)}:
        return tier, "1", True
    if plain(label) in ABSENT:
        return tier, "0", True
    raise ValueError(
        f"{where}: {label!r} in the tier of {tier!r}, which is present or not; "
        "expected its name, 1, 0, or A to E: correct it, or map it, "
        f"--map {label}=1"
    )
