"""What action units are called in words, by the Facial Action Coding System.

P. Ekman, W. V. Friesen and J. C. Hager, *Facial Action Coding System*, 2002.
"""

import re

_WORDS = {
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


def unit_words(column: str) -> str:
    """What the unit of a column is called: "lip corner puller" for "AU12".

    Args:
        column: Name of an output; one that is no known unit gives "".
    """
    found = re.fullmatch(r"AU0?(\d+)", column)
    return _WORDS.get(int(found[1]), "") if found else ""
