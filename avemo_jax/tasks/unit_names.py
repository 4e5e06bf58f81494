"""Action units in words, as the Facial Action Coding System names them.

P. Ekman, W. V. Friesen and J. C. Hager, Facial Action Coding System, 2002. All units of
the face are here, not only the twelve of the benchmark, since networks may have others.
"""

import re

_NAMES = {
    1: "inner brow raiser",
    2: "outer brow raiser",
    4: "brow lowerer",
    5: "upper lid raiser",
    6: "cheek raiser",
    7: "lid tightener",
    9: "nose wrinkler",
    10: "upper lip raiser",
    11: "nasolabial deepener",
    12: "lip corner puller",
    13: "sharp lip puller",
    14: "dimpler",
    15: "lip corner depressor",
    16: "lower lip depressor",
    17: "chin raiser",
    18: "lip pucker",
    20: "lip stretcher",
    22: "lip funneler",
    23: "lip tightener",
    24: "lip pressor",
    25: "lips part",
    26: "jaw drop",
    27: "mouth stretch",
    28: "lip suck",
    43: "eyes closed",
    45: "blink",
}
_UNIT = re.compile(r"AU0*(\d+)")


def unit_in_words(column: str) -> str | None:
    """The name of an action unit; None: the column is called as none of them is.

    Args:
        column: Name of the unit's column: "AU12", "AU04" or "AU4".
    """
    found = _UNIT.fullmatch(column)
    return _NAMES.get(int(found[1])) if found else None
