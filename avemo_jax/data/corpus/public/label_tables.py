"""Tables beside the clips of a public corpus: labels or speakers by a clip's name."""

import pathlib
from collections.abc import Mapping, Sequence

import pyarrow.compute as pc

from avemo_jax.data.corpus.file_tree import printable
from avemo_jax.data.listing import first_of, nfc
from avemo_jax.media.file_endings import without_endings
from avemo_jax.runtime.tables import read_table


def table_named(
    name: str, files: Sequence[pathlib.Path], root: pathlib.Path
) -> pathlib.Path:
    """The one file of a name, in any case, among those of a corpus.

    Args:
        name: Name of the table, perhaps with folders before it.
        files: Files beneath the corpus' folder.
        root: The corpus' folder.

    Raises:
        ValueError: If there is none, or there are several.
    """
    wanted = pathlib.PurePath(name.lower()).parts
    found = [
        path
        for path in files
        if tuple(part.lower() for part in path.parts[-len(wanted) :]) == wanted
    ]
    if len(found) != 1:
        seen = first_of([printable(path) for path in found], 3) if found else "none"
        raise ValueError(
            f"{printable(root)}: table {name}: {seen}; expected one such file beneath "
            "it: "
            + ("remove the others" if found else "download it, or use other --labels")
        )
    return found[0]


def column_of(
    path: pathlib.Path, video: str, column: str, *, read_as: Mapping[str, str]
) -> dict[str, str]:
    """The text of a column for each clip that has one.

    Args:
        path: The table, in any form that ``read_table`` reads.
        video: The column of clips' names, with or without an ending.
        column: The column that is wanted.
        read_as: Names that the corpus has by mistake, and how they should be.

    Raises:
        ValueError: If the table is wrong, lacks a column, or tells a clip two things.
    """
    table = read_table(path, known=(video, column))
    for name in (video, column):
        table.need(name)
    names = pc.fill_null(table.texts(video), "").to_pylist()
    texts = pc.fill_null(table.texts(column), "").to_pylist()
    found: dict[str, str] = {}
    for row, (name, text) in enumerate(zip(names, texts, strict=True)):
        stem = nfc(without_endings(name))
        clip = read_as.get(stem, stem)
        if text and found.setdefault(clip, text) != text:
            raise ValueError(
                f"{table.where(row, column)}: {text!r} for {clip!r}, of which it says "
                f"{found[clip]!r} before; expected one: correct the table"
            )
    return found
