"""One column of labels of any program: the different labels, and rows without one."""

import collections
import dataclasses
from collections.abc import Collection, Mapping

import numpy as np
from jaxtyping import Bool, Int

from avemo_jax.runtime.tables import Table, words

_TRUTHS = {"0", "1"}


@dataclasses.dataclass(frozen=True)
class LabelColumn:
    """The labels of a column.

    Attributes:
        name: Name of the column.
        texts: The different labels: numbers as 1 or 0.5, others as they stand.
        index: Each row's index of ``texts``; -1 where it has no label.
        missing: How often each word stood for a missing label, empty cells aside.
        told: How labels were read that stand otherwise in the file.
    """

    name: str
    texts: tuple[str, ...]
    index: Int[np.ndarray, " rows"]
    missing: Mapping[str, int]
    told: tuple[str, ...] = ()

    def counts(self) -> collections.Counter[str]:
        """How often each label occurs, in the order in which they occur first."""
        number = np.bincount(self.index[self.index >= 0], minlength=len(self.texts))
        by_text = dict(zip(self.texts, number.tolist(), strict=True))
        return collections.Counter(by_text)

    def first(self, text: str) -> int:
        """The first row that has a label."""
        return int(np.argmax(self.index == self.texts.index(text)))

    def without_minus_one(self, kept: Collection[str] = ()) -> "LabelColumn":
        """The column in which -1 is no label, if all others are whole numbers from 0.

        Args:
            kept: Names of classes, of which -1 may be one.
        """
        others = [text for text in self.texts if text != "-1"]
        whole = all(words.INTEGER.fullmatch(t) and int(t) >= 0 for t in others)
        if "-1" not in self.texts or "-1" in kept or not others or not whole:
            return self
        missing = {**self.missing, "-1": self.counts()["-1"]}
        number = [others.index(t) if t != "-1" else -1 for t in self.texts]
        index = np.array([*number, -1])[self.index]
        return dataclasses.replace(
            self, texts=tuple(others), index=index, missing=missing
        )


def label_column(
    table: Table,
    name: str,
    used: Bool[np.ndarray, " rows"],
    kept: Collection[str] = (),
) -> LabelColumn:
    """A column's labels, in which other programs' spellings are one.

    Words for missing values are no labels; true and false are 1 and 0; whole numbers
    are written without decimals where all labels are such; decimals have a point.

    Args:
        table: The table.
        name: Name of the column.
        used: The rows whose labels count; others have none.
        kept: Names of classes, which stay what they are.
    """
    texts, index = table.encoded(name)
    index = np.where(used, index, -1)
    number = np.bincount(index[index >= 0], minlength=len(texts))
    missing = {
        text: int(count)
        for text, count in zip(texts, number, strict=True)
        if count and text in words.MISSING and text not in kept
    }
    known = [t for t, n in zip(texts, number, strict=True) if n and t not in missing]
    meant, told = _meant(table, known)
    meant |= {text: text for text in known if text in kept}
    labels = tuple(dict.fromkeys(meant.values()))
    place = [labels.index(meant[t]) if t in meant else -1 for t in texts]
    numbers = np.array([*place, -1])[index]
    return LabelColumn(name, labels, numbers, missing, tuple(told))


def _meant(table: Table, known: list[str]) -> tuple[dict[str, str], list[str]]:
    """What the labels of a column mean that are not missing, and how they were read."""
    plain = [words.with_point(t) if table.may_have_commas else t for t in known]
    truths = [words.whole(words.truth_of(text)) for text in plain]
    whole = [words.whole(text) for text in plain]
    told = []
    if set(truths) <= _TRUTHS and truths != whole:
        told.append("true and false are taken as 1 and 0")
        plain = truths
    elif all(map(words.INTEGER.fullmatch, whole)) and whole != plain:
        told.append("numbers such as 1.0 are taken as whole ones, as 1")
        plain = whole
    elif not all(map(words.is_number, plain)):
        plain = known
    return dict(zip(known, plain, strict=True)), told
