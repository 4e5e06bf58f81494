"""Names of feature sets: ``EXTRACTOR@INPUT``."""

import functools
import re
from collections.abc import Iterable

from absl import logging

from avemo_jax.data.records import KINDS, Modality
from avemo_jax.extractors import EXTRACTORS, get_extractor, plugins

# Our names of extractors that the original's audio folders call otherwise.
_ORIGINAL_AUDIO = {"wav2vec2": "wav2vec2_base"}
_NAME = re.compile(r"[A-Za-z0-9_.+-]+(@[A-Za-z0-9_.+-]+)?")
_ORIGINAL_VISUAL_FOLDER = re.compile(r"visualfeat_(.+)_cropped_aligned")
_ORIGINAL_AUDIO_FOLDER = re.compile(r"audiofeat_(.+)")


def split_name(name: str) -> tuple[str, str | None]:
    """The extractor and the input (None in a short name) of a feature set's name.

    Raises:
        ValueError: If the name is not ``EXTRACTOR`` or ``EXTRACTOR@INPUT`` of letters,
            digits and ``_.+-``.
    """
    if not _NAME.fullmatch(name) or name.startswith("."):
        raise ValueError(
            f"feature set name {name!r}; expected EXTRACTOR or EXTRACTOR@INPUT of "
            "letters, digits and _ . + -, as enet_b2_8_best@cropped_aligned-224: "
            "rename it"
        )
    extractor, _, variant = name.partition("@")
    return extractor, variant or None


def full_name(name: str) -> str:
    """``name`` with its extractor's default input where it names none.

    Raises:
        ValueError: If the name is malformed, or short with an unknown extractor.
        PluginError: If the name is short and the extractor a plug-in that is faulty.
    """
    extractor, variant = split_name(name)
    if variant is not None:
        return name
    if extractor in EXTRACTORS:
        return f"{extractor}@{EXTRACTORS[extractor].default_input}"
    others = plugins.plugin_names()
    if extractor not in others:
        raise ValueError(
            f"feature set {name!r} names no input and the extractor is not known; "
            f"known are {', '.join([*EXTRACTORS, *others])}: write {name}@INPUT"
        )
    return f"{extractor}@{get_extractor(extractor).default_input}"


def folder_to_set(folder: str) -> tuple[str, Modality | None]:
    """The full name and the kind (None if unknown) that a folder of files stands for.

    ``visualfeat_X_cropped_aligned`` and ``audiofeat_X`` are folders of the original
    system; if the extractor X is unknown, its input is taken to be ``cropped_aligned``
    or ``original``.

    Raises:
        ValueError: If the folder's name cannot be the name of a feature set.
    """
    kind: Modality | None = None
    extractor, variant = folder, None
    if match := _ORIGINAL_VISUAL_FOLDER.fullmatch(folder):
        extractor, kind, variant = match[1], "visual", "cropped_aligned"
    elif match := _ORIGINAL_AUDIO_FOLDER.fullmatch(folder):
        extractor = _ORIGINAL_AUDIO.get(match[1], match[1])
        kind, variant = "audio", "original"
    if variant is None:
        name = full_name(folder)
    elif extractor in EXTRACTORS:
        name = full_name(extractor)
    else:
        name = f"{extractor}@{variant}"
    known = EXTRACTORS.get(split_name(name)[0])
    return name, known.kind if known else kind


def check_known(name: str, kind: str, dim: int) -> None:
    """Check that ``kind`` and ``dim`` are those of the set's extractor, if known.

    Raises:
        ValueError: If they are not, or the kind is neither "visual" nor "audio".
    """
    if kind not in KINDS:
        raise ValueError(
            f"feature set {name!r} is of kind {kind!r}; expected one of "
            f"{', '.join(KINDS)}: say which"
        )
    known = EXTRACTORS.get(split_name(name)[0])
    if known is not None and (kind, dim) != (known.kind, known.dim):
        raise ValueError(
            f"feature set {name!r} is {kind} with {dim} values a frame; expected "
            f"{known.kind} with {known.dim}: are these another extractor's features?"
        )


def resolve_name(name: str, present: Iterable[str]) -> str:
    """The full name of the set in ``present`` that ``name`` means.

    A short name of one of our extractors means its default input. A short name of
    another extractor means the only set of it; if there are several, the set with the
    plug-in's default input.

    Raises:
        ValueError: If there is no such set, or more than one.
        PluginError: If there are several sets of a plug-in that is faulty.
    """
    present = sorted(present)
    extractor, variant = split_name(name)
    if variant is not None and name in present:
        return name
    of_extractor = [p for p in present if split_name(p)[0] == extractor]
    if variant is None:
        several = len(of_extractor) > 1
        if extractor in EXTRACTORS or (several and extractor in plugins.plugin_names()):
            meant = [p for p in of_extractor if p == full_name(extractor)]
        else:
            meant = of_extractor
        if len(meant) == 1:
            _say_once(name, meant[0])
            return meant[0]
    if of_extractor:
        raise ValueError(
            f"feature set {name!r} is not one set of the store; of this extractor it "
            f"has {', '.join(of_extractor)}: write one of these names in full"
        )
    raise ValueError(
        f"unknown feature set {name!r}; the store has {', '.join(present) or 'none'}: "
        "choose among these, or add it with build_store"
    )


@functools.cache
def _say_once(name: str, full: str) -> None:
    """Log which set a short name means, once a process."""
    logging.info("feature set %s is %s", name, full)
