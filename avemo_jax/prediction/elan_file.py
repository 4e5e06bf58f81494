"""annotations.eaf: tiers for ELAN, in its own format EAF 3.0.

ELAN Annotation Format, schema version 3.0, Max Planck Institute for Psycholinguistics
(https://www.mpi.nl/tools/elan/EAFv3.0.xsd). Times are milliseconds. A tier of classes
has these as a controlled vocabulary, so that a person can choose another one.
"""

import datetime
import os
import pathlib
from xml.etree import ElementTree

from avemo_jax.media.file_endings import ending_of
from avemo_jax.prediction.predicted import Predicted
from avemo_jax.prediction.tiers import Tier, tiers

_SCHEMA = "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"
_INSTANCE = "http://www.w3.org/2001/XMLSchema-instance"
_ANY = "text"  # the type of tiers whose labels are free
_LANGUAGE = ("und", "http://cdb.iso.org/lg/CDB-00130975-001", "undetermined (und)")
# ELAN's own names of kinds of media; it finds out by itself what it can play.
_MIME = {
    **dict.fromkeys((".mp4", ".m4v"), "video/mp4"),
    **dict.fromkeys((".mpg", ".mpeg", ".m2v", ".vob"), "video/mpeg"),
    **dict.fromkeys((".mov", ".qt"), "video/quicktime"),
}
_OTHER_MIME = "video/*"


def write_elan(predicted: Predicted, path: pathlib.Path) -> tuple[str, ...]:
    """Write the tiers of an input as a file of ELAN.

    Args:
        predicted: What is predicted of the input, which the file links.
        path: The file.

    Returns:
        What a user should know of the file, in words.

    Raises:
        OSError: If the file cannot be written.
    """
    made = tiers(predicted)
    root = ElementTree.Element(
        "ANNOTATION_DOCUMENT",
        {
            "AUTHOR": "",
            # The input's, so that equal tables make equal files.
            "DATE": _date_of(predicted.path),
            "FORMAT": "3.0",
            "VERSION": "3.0",
            "xmlns:xsi": _INSTANCE,
            "xsi:noNamespaceSchemaLocation": _SCHEMA,
        },
    )
    header = ElementTree.SubElement(
        root, "HEADER", {"MEDIA_FILE": "", "TIME_UNITS": "milliseconds"}
    )
    notes = _add_media(header, predicted, path.parent)
    count = sum(len(tier.spans) for tier in made)
    last = ElementTree.SubElement(header, "PROPERTY", {"NAME": "lastUsedAnnotationId"})
    last.text = str(count)
    _add_tiers(root, made)
    _add_types(root, made)
    ElementTree.indent(root, "    ")
    tree = ElementTree.ElementTree(root)
    tree.write(path, encoding="UTF-8", xml_declaration=True)
    return notes


def _date_of(path: pathlib.Path) -> str:
    """When a file was changed; the epoch where it is gone."""
    seconds = path.stat().st_mtime if path.exists() else 0.0
    when = datetime.datetime.fromtimestamp(int(seconds), datetime.UTC)
    return when.isoformat()


def _add_media(
    header: ElementTree.Element, predicted: Predicted, folder: pathlib.Path
) -> tuple[str, ...]:
    """Link the video, by its place and by the way there from the file's folder."""
    if predicted.files:
        return ("annotations.eaf links no video, for there are pictures only",)
    # ELAN writes places as they are, spaces and letters of all scripts too.
    place = predicted.path.resolve()
    media = {
        "MEDIA_URL": "file:///" + place.as_posix().lstrip("/"),
        "MIME_TYPE": _MIME.get(ending_of(place.name), _OTHER_MIME),
    }
    try:
        way = os.path.relpath(place, folder.resolve())
    except ValueError:  # on another drive of Windows
        way = ""
    if way:
        media["RELATIVE_MEDIA_URL"] = "./" + pathlib.Path(way).as_posix()
    ElementTree.SubElement(header, "MEDIA_DESCRIPTOR", media)
    return ()


def _add_tiers(root: ElementTree.Element, made: list[Tier]) -> None:
    """Add the times, in their order, and the tiers whose spans name them."""
    times = sorted(
        (ms, at, edge)
        for at, ms_pair in enumerate(
            (span.begin_ms, span.end_ms) for tier in made for span in tier.spans
        )
        for edge, ms in enumerate(ms_pair)
    )
    order = ElementTree.SubElement(root, "TIME_ORDER")
    slots = {}
    for number, (ms, at, edge) in enumerate(times, start=1):
        slot = {"TIME_SLOT_ID": f"ts{number}", "TIME_VALUE": str(ms)}
        ElementTree.SubElement(order, "TIME_SLOT", slot)
        slots[at, edge] = slot["TIME_SLOT_ID"]
    count = 0
    for tier in made:
        facts = {"LINGUISTIC_TYPE_REF": _type_of(tier), "TIER_ID": tier.name}
        if tier.face_id:
            facts["PARTICIPANT"] = f"face{tier.face_id}"
        parent = ElementTree.SubElement(root, "TIER", facts)
        for span in tier.spans:
            names = {
                "ANNOTATION_ID": f"a{count + 1}",
                "TIME_SLOT_REF1": slots[count, 0],
                "TIME_SLOT_REF2": slots[count, 1],
            }
            if len(tier.labels) > 1:
                names["CVE_REF"] = _entry(tier, span.label)
            one = ElementTree.SubElement(parent, "ANNOTATION")
            one = ElementTree.SubElement(one, "ALIGNABLE_ANNOTATION", names)
            ElementTree.SubElement(one, "ANNOTATION_VALUE").text = span.label
            count += 1


def _type_of(tier: Tier) -> str:
    return tier.kind if len(tier.labels) > 1 else _ANY


def _entry(tier: Tier, label: str) -> str:
    """What a class is called within the file."""
    return f"cve_{tier.kind}_{tier.labels.index(label)}"


def _add_types(root: ElementTree.Element, made: list[Tier]) -> None:
    """Add the types of tiers, and the classes that those of classes may have."""
    of_classes = {_type_of(tier): tier for tier in made if len(tier.labels) > 1}
    for name in dict.fromkeys(map(_type_of, made)):
        facts = {
            "GRAPHIC_REFERENCES": "false",
            "LINGUISTIC_TYPE_ID": name,
            "TIME_ALIGNABLE": "true",
        }
        if name in of_classes:
            facts["CONTROLLED_VOCABULARY_REF"] = name
        ElementTree.SubElement(root, "LINGUISTIC_TYPE", facts)
    if not of_classes:
        return
    names = dict(zip(("LANG_ID", "LANG_DEF", "LANG_LABEL"), _LANGUAGE, strict=True))
    ElementTree.SubElement(root, "LANGUAGE", names)
    for name, tier in of_classes.items():
        words = ElementTree.SubElement(root, "CONTROLLED_VOCABULARY", {"CV_ID": name})
        language = {"LANG_REF": _LANGUAGE[0]}
        ElementTree.SubElement(words, "DESCRIPTION", language)
        for label in tier.labels:
            entry = {"CVE_ID": _entry(tier, label)}
            one = ElementTree.SubElement(words, "CV_ENTRY_ML", entry)
            ElementTree.SubElement(one, "CVE_VALUE", language).text = label
