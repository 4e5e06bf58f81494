"""A store's card, ``DIR/README.md``: what the store holds, and how it came about."""

import datetime
import hashlib
import json
import os
import pathlib
import platform
import textwrap
from collections.abc import Mapping
from typing import Any

from absl import logging

from avemo_jax.data.listing import first_of
from avemo_jax.data.store import layout
from avemo_jax.data.store.store import Store, open_store
from avemo_jax.packing import card_tables
from avemo_jax.packing.card_tables import markdown_table
from avemo_jax.packing.counts import SplitCounts, count_store
from avemo_jax.packing.report import BuildReport, report_of
from avemo_jax.packing.store_splits import shared_words
from avemo_jax.runtime.atomic_files import whole_file
from avemo_jax.runtime.versions import VERSION, git_revision, package_versions
from avemo_jax.tasks import TASKS

CARD, CARD_BESIDE_README = "README.md", "STORE.md"
FAILURES = "failures.jsonl"
MARKER = "<!-- Card of an avemo_jax store"
_FORMAT = 1  # a card of an older format is written anew
_PACKAGES = ("jax", "numpy", "tensorflow-datasets", "array-record")
_WIDTH = 88
_TOLD = 5  # names in a line; the lists of first faults are written whole
_LINKS = {"Aff-Wild2": "https://ibug.doc.ic.ac.uk/resources/aff-wild2/"}


def write_card(
    root: str | os.PathLike[str], *, command: str | None
) -> pathlib.Path | None:
    """The file that now holds the card of the store in ``root``.

    A ``README.md`` that was not written here is left alone, and the card goes to
    ``STORE.md``; if that was not written here either, there is no card (None), which
    the log says. A card of the same content stays as it is, with its older command and
    date.

    Args:
        root: Folder of the store.
        command: The command line that built the store; None: a program built it.

    Raises:
        ValueError: If there is no store in ``root``.
        OSError: If the card cannot be written.
    """
    root = pathlib.Path(root)
    places = [root / CARD, root / CARD_BESIDE_README]
    ours = [place for place in places if _is_free(place)]
    if not ours:
        logging.warning(
            "%s and %s are yours and stay as they are: the store has no card", *places
        )
        return None
    place = ours[0]
    if place is not places[0]:
        logging.info("%s is yours and stays as it is: the card is %s", *places)
    elif places[1].is_file() and places[1] in ours:
        places[1].unlink()  # from a time when there was another README.md
    store = open_store(root)
    marker = _marker(store)
    if not (place.is_file() and place.read_text("utf-8").startswith(marker)):
        with whole_file(place) as temporary:
            temporary.write_text(f"{marker}\n{_text(store, command)}", encoding="utf-8")
    return place


def _is_free(place: pathlib.Path) -> bool:
    """Whether a card may be written to ``place``: over nothing, or over a card."""
    if not os.path.lexists(place):
        return True
    if not place.is_file():
        return False
    with place.open("rb") as file:
        return file.read(len(MARKER)) == MARKER.encode()


def _marker(store: Store) -> str:
    """The card's first line, which changes with what the card is made from."""
    told: dict[str, Any] = {"format": _FORMAT, "version": VERSION}
    told |= _metadata(store)
    failures = store.path / FAILURES
    if failures.is_file():
        told[FAILURES] = hashlib.sha256(failures.read_bytes()).hexdigest()
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
    return (
        f"{MARKER}, {digest[:16]}. The next build may write this file anew: "
        "keep notes of your own in another one. -->"
    )


def _metadata(store: Store) -> dict[str, dict[str, Any]]:
    """The metadata that is kept beside the examples, by config."""
    names = [layout.ANNOTATIONS, *store.feature_sets]
    return {name: layout.read_metadata(store.path, name) for name in names}


def _text(store: Store, command: str | None) -> str:
    metadata = _metadata(store)
    annotated = metadata[layout.ANNOTATIONS]["num_frames"]
    reports = {name: report_of(metadata[name], annotated) for name in metadata}
    counts = count_store(store)
    parts = [
        _head(store, reports[layout.ANNOTATIONS]),
        _reading(store, counts),
        _feature_sets(metadata, reports),
        _labels(store, counts, metadata[layout.ANNOTATIONS]["how"]),
        _faults(store, reports),
        _origin(command),
        _licence(store),
    ]
    return "\n\n".join(parts) + "\n"


def _head(store: Store, annotations: BuildReport) -> str:
    title = "Own labels" if store.has_own_tasks else "Aff-Wild2: labels"
    title, warning = f"{title} and features", ""
    if not store.tasks:
        title = "Features of videos to predict"
    if store.synthetic:
        title = "Made data (synthetic): labels and features"
        warning = "\n\n> " + _wrapped(
            "**The data are made.** A program drew these labels and features; nothing "
            "was recorded. No score on them says anything about real faces or about a "
            "method, and whatever is made from them must say that it is synthetic.",
            width=_WIDTH - 2,
        ).replace("\n", "\n> ")
    sets = len(store.feature_sets)
    tasks = ", ".join(task.full_title for task in store.tasks.values())
    text = (
        f"{_count(annotations['videos'])} annotated subject-videos with "
        f"{_count(annotations['frames'])} frames, and {sets} feature "
        f"{'set' if sets == 1 else 'sets'}, "
        + (f"for the tasks {tasks}" if tasks else "to be predicted: without labels")
        + f". Fingerprint of the whole: `{store.fingerprint[:16]}`."
    )
    return f"# {title}{warning}\n\n{_wrapped(text)}"


def _reading(store: Store, counts: Mapping[str, Mapping[str, SplitCounts]]) -> str:
    """The part on how to read the store, with the names that this store has."""
    labelled = [
        (task, split)
        for task, splits in counts.items()
        for split, one in splits.items()
        if one.labelled
    ]
    task, split = labelled[0] if labelled else (next(iter(store.tasks), ""), "test")
    file = task.lower() if task in TASKS else "own"
    # The widest set of each kind: no set is meant to be the best.
    by_kind = {
        one.kind: one.name
        for one in sorted(store.feature_sets.values(), key=lambda s: s.dim)
    }
    names = [by_kind[kind] for kind in ("visual", "audio") if kind in by_kind]
    configs = ", ".join(
        f"`{name}`" for name in (layout.ANNOTATIONS, *store.feature_sets)
    )
    lie = _wrapped(
        "A TensorFlow Datasets folder in array_record files, read and written without "
        f"TensorFlow: `{layout.DATASET}/CONFIG/{layout.STORE_VERSION}` with the "
        f"configs {configs} (format {layout.FORMAT}), one example per subject-video, "
        "joined by the video's name and the official frame numbers. "
        f"`{layout.SPLITS_FILE}` lists the videos of each split."
    )
    if not names:
        return f"## Reading it\n\n{lie}"
    if not store.tasks:
        return f"""## Reading it

`DIR` is the folder of this file. To predict its videos by a trained head:

```bash
avemo evaluate --checkpoint RUN/best_model --data-dir DIR --split test
```

{lie}"""
    return f"""## Reading it

`DIR` is the folder of this file.

```python
from avemo_jax.data.store.store import open_store
table = open_store("DIR").load_table("{task}", "{split}", {json.dumps(names)})
```

`table.features` has a row per frame, with `table.labels`, `table.valid`, `table.frame`.
To train:

```bash
python -m avemo_jax.main --config configs/{file}_mlp.py:{"+".join(names)} --config.data.dir=DIR
```

{lie}"""  # noqa: E501


def _feature_sets(
    metadata: Mapping[str, Mapping[str, Any]], reports: Mapping[str, BuildReport]
) -> str:
    names = [name for name in metadata if name != layout.ANNOTATIONS]
    if not names:
        return "## Feature sets\n\nNone yet."
    rows = [
        [
            f"`{name}`",
            metadata[name]["kind"],
            str(metadata[name]["dim"]),
            str(metadata[name]["output_dim"] or "-"),
            _count(reports[name]["videos"]),
            _count(reports[name]["frames"]),
        ]
        for name in names
    ]
    header = ["set", "kind", "dim", "outputs", "videos", "frames"]
    parts = [
        "## Feature sets",
        markdown_table(header, rows, left=2),
        "A visual set has a vector where a face crop was; an audio set has one for "
        "every frame.",
    ]
    for name in names:
        parts.append(f"### `{name}`\n\n{_provenance(metadata[name])}")
    return "\n\n".join(parts)


def _provenance(metadata: Mapping[str, Any]) -> str:
    """How a set's vectors were made, as a list in Markdown."""
    known = metadata.get("provenance") or {}
    lines = [f"- fingerprint: `{metadata['fingerprint']}`"]
    for key, title in (
        ("extractor", "extractor"),
        ("input", "input"),
        ("alignment", "alignment of sound to frames"),
        ("weights_sha256", "sha256 of the weights"),
        ("decoding", "version of our decoding"),
    ):
        if known.get(key):
            lines.append(f"- {title}: `{known[key]}`")
    if settings := known.get("settings"):
        pairs = (f"`{k}` {json.dumps(v)}" for k, v in sorted(settings.items()))
        lines.append(_wrapped(f"- settings: {', '.join(pairs)}", indent="  "))
    for versions, videos in (known.get("decoders") or {}).items():
        unit = "video" if videos == 1 else "videos"
        line = f"- decoded with {versions}: {_count(videos)} {unit}"
        lines.append(_wrapped(line, indent="  "))
    if not known and not metadata["synthetic"]:
        lines.append("- extractor, weights and settings: the files did not tell")
    return "\n".join(lines)


def _labels(
    store: Store,
    counts: Mapping[str, Mapping[str, SplitCounts]],
    how: Mapping[str, Any],
) -> str:
    if not store.tasks:
        return "## Labels\n\nNone: all videos are test videos, of any task."
    visual = [one.name for one in store.feature_sets.values() if one.kind == "visual"]
    way = "The splits were given by the user."
    if how.get("origin") == "drawn":
        unit = "source video" if how["grouped"] else "subject-video"
        way = (
            f"`dev` was drawn from the train videos by {unit}, with seed {how['seed']}."
        )
        if given := how.get("given_dev"):
            way += f" That of {', '.join(given)} was given by the user."
    if shared := how.get("shared_groups"):
        way += (
            " Persons or recordings in several splits, which the user allowed: "
            f"{len(shared)} ({shared_words(shared)}). Scores are partly on persons "
            "that the model knows."
        )
    meaning = (
        f"{way} A video is counted in each task that it is annotated for; videos "
        "without labels are the test videos. A frame is labelled if its label counts: "
        "a class known, no unit unknown, valence and arousal both known."
    )
    parts = ["## Labels", _wrapped(meaning), card_tables.split_table(counts)]
    if visual:
        parts += [
            "Labelled frames that have no face crop, and so no vector:",
            card_tables.missing_table(counts, visual),
        ]
    return "\n\n".join([*parts, *card_tables.task_tables(counts)])


def _faults(store: Store, reports: Mapping[str, BuildReport]) -> str:
    """The part on what is missing, was mended or failed."""
    parts = ["## Missing, mended and failed"]
    for name, report in reports.items():
        lines = []
        for key, value in report.items():
            if key in ("videos", "frames") or not value:
                continue
            words = key.replace("_", " ")
            if not isinstance(value, list):
                lines.append(f"- {words}: {_count(value)}")
            elif key.startswith("first_"):
                lines.append(f"- {words}:")
                lines += [f"  - {_plain(text)}" for text in value]
            else:
                told = first_of([f"`{text}`" for text in value], _TOLD)
                line = f"- {words}: {len(value)} ({told})"
                lines.append(_wrapped(line, indent="  "))
        if lines:
            parts.append(f"`{name}`:\n\n" + "\n".join(lines))
    if len(parts) == 1:
        parts.append("Nothing, in any feature set.")
    failures = store.path / FAILURES
    if failures.is_file():
        lines_of = failures.read_text("utf-8", errors="replace").splitlines()
        count = sum(1 for line in lines_of if line.strip())
        text = f"`{FAILURES}` beside this file lists all that failed: {count} lines, "
        text += "also of videos that have no features at all." if count else "none."
        parts.append(_wrapped(text))
    return "\n\n".join(parts)


def _origin(command: str | None) -> str:
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    versions = {
        "avemo_jax": VERSION,
        "git revision": git_revision(),
        "Python": platform.python_version(),
        **package_versions(_PACKAGES),
    }
    told = ", ".join(f"{name} {value}" for name, value in versions.items() if value)
    told = _wrapped(f"Versions: {told}.")
    quoted = "By a program, through `avemo_jax.packing.build.build_store`."
    if command is not None:
        quoted = "By the command\n\n" + textwrap.indent(command, "    ")
    return f"## Built on {today}\n\n{quoted}\n\n{told}"


def _licence(store: Store) -> str:
    if store.synthetic:
        text = (
            "The data are made, and nobody's face or voice is in them; the licence of "
            "the program that made them holds."
        )
    elif store.has_own_tasks:
        text = "That of the recordings and of the labels; extractors have their own."
    else:
        text = (
            "Aff-Wild2 is given out under a signed agreement. "
            "Its annotations may not be passed on, nor may what is made from its "
            "videos, such as these features: keep this folder among those who signed. "
            f"The agreement and how to ask for it: <{_LINKS['Aff-Wild2']}>. Weights of "
            "the extractors have licences of their own."
        )
    return f"## Licence\n\n{_wrapped(text)}"


def _wrapped(text: str, *, width: int = _WIDTH, indent: str = "") -> str:
    return textwrap.fill(
        text,
        width,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _plain(text: str) -> str:
    """A text from a file, as one line of code, which Markdown leaves as it is."""
    return "`" + " ".join(text.replace("`", "'").split()) + "`"


def _count(value: int | list[str]) -> str:
    assert isinstance(value, int)
    return f"{value:,}"
