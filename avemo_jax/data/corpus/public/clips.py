"""The clips of a public corpus in a folder: one per trial, whatever files it has."""

import collections
import dataclasses
import filecmp
import os
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NoReturn

from avemo_jax.data.corpus.file_tree import printable, walk
from avemo_jax.data.corpus.found_instead import found_instead, is_archive
from avemo_jax.data.corpus.public.definition import (
    Definition,
    Labels,
    Part,
    Speaker,
    known_corpora,
    read_definition,
)
from avemo_jax.data.corpus.public.label_tables import column_of, table_named
from avemo_jax.data.listing import first_of, nfc
from avemo_jax.media.file_endings import (
    MEDIA_ENDINGS,
    SOUND_ENDINGS,
    USUAL_SOUND,
    USUAL_VIDEO,
    ending_of,
    without_endings,
)

FileKind = Literal["both", "video", "sound"]
_PREFERRED = {one: i for i, one in enumerate([*USUAL_VIDEO, *USUAL_SOUND])}
_TOLD = 5  # names in a line
_POINTER = b"version https://git-lfs"
_POINTER_BYTES = 1024
_KINDS = {"both": "videos with sound", "video": "videos", "sound": "sound files"}


@dataclasses.dataclass(frozen=True)
class Clip:
    """One trial of a corpus, with the files that are used of it.

    Attributes:
        name: Name of the clip: that of its video, or of its sound, as it should be.
        speaker: Who is seen or heard.
        label: Its class.
        facts: What its name tells, by the pattern's groups.
        video: Its video; None: there is none.
        sound: A file of its sound, which is used in place of the video's own; None:
            the video's own, if any.
    """

    name: str
    speaker: str
    label: str
    facts: Mapping[str, str]
    video: pathlib.Path | None
    sound: pathlib.Path | None


@dataclasses.dataclass(frozen=True)
class FoundClips:
    """The clips of a folder, and what is to be said of it.

    Attributes:
        clips: The clips, sorted by name.
        lines: What was found, left out and is missing, for people to read.
    """

    clips: tuple[Clip, ...]
    lines: tuple[str, ...]

    @property
    def speakers(self) -> tuple[str, ...]:
        """The speakers of the clips, sorted."""
        return tuple(sorted({clip.speaker for clip in self.clips}))


@dataclasses.dataclass(frozen=True)
class _File:
    """One file of a trial."""

    path: pathlib.Path
    name: str
    kind: FileKind
    facts: Mapping[str, str]
    trial: tuple[str, ...]


@dataclasses.dataclass
class _Tree:
    """All that lies in a folder, sorted out by names."""

    files: list[_File] = dataclasses.field(default_factory=list)
    misnamed: list[str] = dataclasses.field(default_factory=list)
    archives: list[str] = dataclasses.field(default_factory=list)
    tables: list[pathlib.Path] = dataclasses.field(default_factory=list)


def find_clips(
    corpus: Definition,
    root: pathlib.Path,
    *,
    parts: Sequence[str] = (),
    labels: str | None = None,
    sound_alone: bool = True,
    follow_links: bool = False,
) -> FoundClips:
    """One clip for each trial in a folder; no video or sound is opened.

    The names of files alone tell what they are; folders may be called anything. Of a
    trial's files the video with sound is used; else the video without, with the file
    of sound of the same trial; else the sound alone.

    Args:
        corpus: How the names read.
        root: The folder of the corpus.
        parts: Parts to use, or "all"; empty: the corpus' default.
        labels: The kind of labels; None: the first one.
        sound_alone: Whether trials of which there is only sound are used.
        follow_links: Follow links that lead out of the folder.

    Raises:
        ValueError: If a part or kind of labels is unknown, there are no clips, files
            are pointers of Git LFS, two different files are of one trial, a name fits
            two, or a table is missing or wrong.
    """
    wanted = _wanted_parts(corpus, parts)
    kind = next(iter(corpus.labels)) if labels is None else labels
    if kind not in corpus.labels:
        raise ValueError(
            f"--labels {kind}: {corpus.title} has no such labels; expected one of "
            f"{', '.join(corpus.labels)}: correct the flag"
        )
    tree = _sorted_out(corpus, root, follow_links=follow_links)
    if not tree.files:
        _fail_without_files(corpus, root, tree, follow_links=follow_links)
    _refuse_pointers(tree.files)
    lines: list[str] = []
    trials, own = _trials(tree.files, lines), collections.Counter[str]()
    chosen = []
    for files in trials.values():
        facts = next(iter(files.values())).facts
        own.update(
            name for name, one in _parts(corpus) if facts[one.group] == one.value
        )
        if wanted is None or any(facts[g] == value for g, value in wanted):
            chosen.append(files)
    if not chosen:
        raise ValueError(
            f"{printable(root)} has {len(trials):,} clips of {corpus.title} and none "
            f"of --part {','.join(parts) or corpus.default_part}; expected that part: "
            "download it, or name another, as --part all"
        )
    used = _used(chosen, lines, sound_alone=sound_alone)
    if not used:
        raise ValueError(
            f"{printable(root)} has {len(chosen):,} clips of {corpus.title}, all of "
            "them sound alone; expected videos, in which faces are seen: download "
            f"them ({corpus.link}), or leave --visual out"
        )
    clips = _labelled(corpus, kind, tree, root, used, lines)
    lines[:0] = _counted(corpus, own, len(trials), wanted, clips)
    lines += _not_used(tree)
    return FoundClips(tuple(clips), tuple(lines))


def _parts(corpus: Definition) -> Iterable[tuple[str, Part]]:
    return (corpus.parts or {}).items()


def _wanted_parts(
    corpus: Definition, parts: Sequence[str]
) -> list[tuple[str, str]] | None:
    """Group and value of each part that is wanted; None: all.

    Raises:
        ValueError: If a part is unknown.
    """
    known = corpus.parts or {}
    names = list(parts) or ([corpus.default_part] if corpus.default_part else ["all"])
    if names == ["all"]:
        return None
    for name in names:
        if name not in known:
            raise ValueError(
                f"--part {name}: {corpus.title} has no such part; expected "
                f"{', '.join([*known, 'all'])}: correct the flag"
            )
    return [(known[name].group, known[name].value) for name in names]


def _sorted_out(
    corpus: Definition, root: pathlib.Path, *, follow_links: bool = False
) -> _Tree:
    """The files in a folder, those of clips with what their names tell."""
    pattern, tree = re.compile(corpus.names.pattern), _Tree()
    read_as = corpus.names.read_as or {}
    for folder in walk(root, follow_links=follow_links):
        for file in folder.files:
            path = folder.path / file
            if is_archive(file):
                tree.archives.append(printable(path))
            elif ending_of(file) not in MEDIA_ENDINGS:
                tree.tables.append(path)
            else:
                stem = nfc(without_endings(file))
                name = read_as.get(stem, stem)
                match = pattern.fullmatch(name)
                if match is None:
                    tree.misnamed.append(printable(path))
                    continue
                facts = {group: text or "" for group, text in match.groupdict().items()}
                kind = _kind_of(corpus, ending_of(file), facts)
                tree.files.append(_File(path, name, kind, facts, _trial(corpus, facts)))
    return tree


def _kind_of(corpus: Definition, ending: str, facts: Mapping[str, str]) -> FileKind:
    """What a file holds, as its ending and its name tell."""
    if ending in SOUND_ENDINGS:
        return "sound"
    if (kinds := corpus.kinds) is not None:
        told = facts[kinds.group]
        if told == kinds.both:
            return "both"
        if told == kinds.sound:
            return "sound"
    return "video"


def _trial(corpus: Definition, facts: Mapping[str, str]) -> tuple[str, ...]:
    """What the files of one trial have in common."""
    told = None if corpus.kinds is None else corpus.kinds.group
    return tuple(text for group, text in facts.items() if group != told)


def _trials(
    files: Sequence[_File], lines: list[str]
) -> dict[tuple[str, ...], dict[FileKind, _File]]:
    """The one file of each kind of each trial.

    Raises:
        ValueError: If two files of a trial are of one kind and different.
    """
    found: dict[tuple[str, ...], dict[FileKind, _File]] = {}
    copies: list[str] = []
    others: dict[str, list[str]] = collections.defaultdict(list)

    def preference(file: _File) -> tuple[int, str]:
        return _PREFERRED.get(ending_of(file.path.name), len(_PREFERRED)), str(
            file.path
        )

    for file in sorted(files, key=preference):
        before = found.setdefault(file.trial, {}).setdefault(file.kind, file)
        if before is file:
            continue
        one, two = before.path, file.path
        if ending_of(one.name) != ending_of(two.name):
            others[
                f"{ending_of(two.name)} where there is {ending_of(one.name)}"
            ].append(printable(two))
        elif before.name != file.name:
            others["of trials that have another of the kind"].append(printable(two))
        elif os.path.samefile(one, two) or filecmp.cmp(one, two, shallow=False):
            copies.append(printable(two))
        else:
            raise ValueError(
                f"{printable(one)} and {printable(two)} are of one trial and differ; "
                "expected one file of each: remove the wrong one, such as half a "
                "download"
            )
    if copies:
        lines.append(
            f"left out: {len(copies):,} copies of files: {first_of(copies, _TOLD)}"
        )
    lines += [
        f"left out: {len(names):,} files {what}: {first_of(names, _TOLD)}"
        for what, names in others.items()
    ]
    return dict(sorted(found.items()))


def _used(
    trials: Sequence[Mapping[FileKind, _File]], lines: list[str], *, sound_alone: bool
) -> list[tuple[_File, _File | None]]:
    """The file used of each trial, and the one that has its sound, if another."""
    used: list[tuple[_File, _File | None]] = []
    counts: collections.Counter[str] = collections.Counter()
    left: collections.Counter[str] = collections.Counter()
    for files in trials:
        both, video, sound = (files.get(kind) for kind in ("both", "video", "sound"))
        main = both or video or sound
        assert main is not None
        if main.kind == "sound" and not sound_alone:
            left["sound of trials without a video"] += 1
            continue
        beside = sound if main.kind == "video" else None
        used.append((main, beside))
        counts[
            _KINDS[main.kind] + (" with the sound files of them" if beside else "")
        ] += 1
        left.update(
            f"{_KINDS[one.kind]} of trials that are there otherwise"
            for one in files.values()
            if one not in (main, beside)
        )
    lines += [f"used of each trial: {count:,} {what}" for what, count in counts.items()]
    lines += [f"left out: {count:,} {what}" for what, count in left.items()]
    return used


def _labelled(
    corpus: Definition,
    kind: str,
    tree: _Tree,
    root: pathlib.Path,
    used: Sequence[tuple[_File, _File | None]],
    lines: list[str],
) -> list[Clip]:
    """The clips that have a speaker and a label.

    Raises:
        ValueError: If a table is missing or wrong, or no clip has a label.
    """
    wanted = corpus.labels[kind]
    read_as = corpus.names.read_as or {}

    def told(source: Speaker | Labels) -> Mapping[str, str] | None:
        if source.table is None:
            return None
        path = table_named(source.table, tree.tables, root)
        return column_of(path, source.video, source.column, read_as=read_as)

    speakers, labels = told(corpus.speaker), told(wanted)
    clips: dict[str, Clip] = {}
    without: dict[str, list[str]] = collections.defaultdict(list)
    for file, sound in used:
        speaker = _text(corpus.speaker.group, speakers, file)
        text = _text(wanted.group, labels, file)
        label = wanted.classes.get(text)
        if not speaker or label is None:
            why = (
                "no speaker" if not speaker else (f"label {text!r}" if text else "none")
            )
            without[why].append(file.name)
            continue
        if file.name in clips:
            raise ValueError(
                f"{printable(file.path)}: another trial is called {file.name!r} too; "
                "expected names that tell trials apart: correct names.pattern"
            )
        video = None if file.kind == "sound" else file.path
        own = file.path if file.kind == "sound" else None
        clips[file.name] = Clip(
            file.name,
            speaker,
            label,
            file.facts,
            video,
            own if sound is None else sound.path,
        )
    lines += [
        f"left out: {len(names):,} clips without a label or speaker ({why}): "
        f"{first_of(names, _TOLD)}"
        for why, names in sorted(without.items())[:_TOLD]
    ]
    if not clips:
        raise ValueError(
            f"none of the {len(used):,} clips in {printable(root)} has a label of "
            f"{kind!r} and a speaker; expected some: is the table of another corpus?"
        )
    noted = {n: why for n, why in (corpus.noted or {}).items() if n in clips}
    lines += [f"known fault of the corpus: {n}: {why}" for n, why in noted.items()]
    return [clips[name] for name in sorted(clips)]


def _text(group: str | None, table: Mapping[str, str] | None, file: _File) -> str:
    """What a file's name, or a table, tells; empty where neither does."""
    if group is not None:
        return file.facts[group]
    assert table is not None
    return table.get(file.name, "")


def _counted(
    corpus: Definition,
    own: Mapping[str, int],
    trials: int,
    wanted: Sequence[tuple[str, str]] | None,
    clips: Sequence[Clip],
) -> list[str]:
    """Clips of each part, classes and speakers, with what is missing of them."""
    lines = []
    for name, part in (corpus.parts or {}).items():
        taken = wanted is None or (part.group, part.value) in wanted
        more = "" if taken else f"; not used: --part {name} or --part all takes them"
        of = "" if part.clips is None else f" of {part.clips:,}"
        lines.append(f"{name}: {own[name]:,}{of} trials{more}")
    if not corpus.parts:
        of = "" if corpus.clips is None else f" of {corpus.clips:,}"
        lines.append(f"clips: {trials:,}{of} trials")
    found = {clip.speaker for clip in clips}
    text = f"speakers: {len(found)}"
    if corpus.speakers is not None:
        text += f" of {len(corpus.speakers)}"
        if missing := [one for one in corpus.speakers if one not in found]:
            text += f"; missing: {first_of(missing, 2 * _TOLD)}"
        if strange := sorted(found - set(corpus.speakers)):
            text += f"; unknown: {first_of(strange, _TOLD)}"
    lines.append(text)
    classes = collections.Counter(clip.label for clip in clips)
    told = ", ".join(f"{name} {classes[name]:,}" for name in sorted(classes))
    return [*lines, f"clips of each class: {told}"]


def _not_used(tree: _Tree) -> list[str]:
    lines = []
    if tree.archives:
        some = first_of(sorted(tree.archives), _TOLD)
        lines.append(
            f"not used: {len(tree.archives)} archives: {some}; unpack those whose "
            "files are missing"
        )
    if tree.misnamed:
        some = first_of(sorted(tree.misnamed), _TOLD)
        lines.append(
            f"not used: {len(tree.misnamed):,} files that are not named as clips "
            f"are: {some}"
        )
    return lines


def _refuse_pointers(files: Sequence[_File]) -> None:
    """Refuse files that only say where Git LFS has their content.

    Raises:
        ValueError: If there are some.
    """
    pointers = []
    for file in files:
        if file.path.stat().st_size <= _POINTER_BYTES:
            with file.path.open("rb") as opened:
                if opened.read(len(_POINTER)) == _POINTER:
                    pointers.append(printable(file.path))
    if pointers:
        raise ValueError(
            f"{len(pointers):,} of {len(files):,} files are pointers of Git LFS, not "
            f"media ({first_of(pointers, 3)}); expected the files themselves: install "
            "git-lfs, and run git lfs pull in the clone"
        )


def _fail_without_files(
    corpus: Definition, root: pathlib.Path, tree: _Tree, *, follow_links: bool
) -> NoReturn:
    """Say what a folder has in the place of the corpus.

    Raises:
        ValueError: Always.
    """
    names = [pathlib.PurePath(name).name for name in tree.misnamed]
    hint = "correct --root, or give the files their names back"
    if tree.archives and not names:
        hint = f"unpack {first_of(tree.archives, 3)}"
    for other in known_corpora():
        pattern = re.compile(read_definition(other).names.pattern)
        stems = (without_endings(name) for name in names)
        if other != corpus.name and any(pattern.fullmatch(stem) for stem in stems):
            hint = f"they are named as {other}'s: pass --corpus {other}"
    seen = found_instead(root, {}, follow_links=follow_links)
    raise ValueError(
        f"{printable(root)} has no files named as those of {corpus.title}, only "
        f"{seen}; expected names of the form {corpus.names.pattern}: {hint}"
    )
