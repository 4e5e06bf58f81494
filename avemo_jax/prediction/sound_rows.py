"""The sound of an input: whether it is used, and its vectors for the rows of faces."""

import contextlib
import dataclasses
import pathlib
import tempfile
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from avemo_jax.data.features.writer import RowSpool
from avemo_jax.embed import SoundExtractor
from avemo_jax.extraction.sounds import (
    notes_on_sound,
    receptive_field_s,
    spooled_hops,
    unequal_lengths,
)
from avemo_jax.media.alignment import (
    AlignmentRule,
    align_by_time,
    align_original,
    count_beyond,
    reach_of,
)
from avemo_jax.media.audio import SoundFile, open_sound
from avemo_jax.prediction.input_faces import InputFaces, alone, main_face
from avemo_jax.runtime.scratch_rows import ScratchRows

_ROWS = 4096  # rows that are gathered at a time
Audio = Literal["auto", "none"] | pathlib.Path


@dataclasses.dataclass(frozen=True, eq=False)
class SoundSet:
    """A feature set of sound to make.

    Attributes:
        name: Full name.
        extractor: The network.
        alignment: Rule that gives each frame a hop of sound.
    """

    name: str
    extractor: SoundExtractor
    alignment: AlignmentRule


@dataclasses.dataclass(frozen=True, eq=False)
class SoundRows:
    """The sound of a face's rows.

    Attributes:
        features: Vectors of the rows in float16, by full name of the feature set; zeros
            where a row has no sound.
        has_audio: Which rows have sound.
    """

    features: Mapping[str, Float[np.ndarray, "rows _"]]
    has_audio: Bool[np.ndarray, " rows"]


@dataclasses.dataclass(frozen=True, eq=False)
class HeardInput:
    """The sound of an input's faces, and what is said of it.

    Attributes:
        faces: Sound of every row of each face's track.
        notes: What was decided, and what a user should know.
        losses: What could not be read, in words.
    """

    faces: tuple[SoundRows, ...]
    notes: tuple[str, ...]
    losses: tuple[str, ...]


def heard(
    sets: Sequence[SoundSet],
    found: InputFaces,
    audio: Audio,
    folder: pathlib.Path | None,
) -> HeardInput:
    """The sound of the faces that are taken, where it is that of the one face.

    Sound is used for the face that has most of the screen time, in the frames that show
    it alone: who of several speaks is not known.

    Args:
        sets: The feature sets to make; may be empty.
        found: The input.
        audio: "auto" uses the input's sound where one face has most of the screen time,
            "none" uses none; or a file with the sound.
        folder: Where rows lie until they are used; None: where the system keeps
            temporary files.

    Raises:
        OSError: If rows cannot be written, as on a full disk.
    """
    nothing = tuple(_silent(sets, len(track.frame)) for track in found.tracks)
    if not sets or not found.tracks:
        return HeardInput(nothing, (), ())
    why = _why_not(found, audio)
    if why:
        return HeardInput(nothing, (why,), ())
    path = audio if isinstance(audio, pathlib.Path) else found.input.path
    frames, main = found.tracks[0].frame, alone(found.tracks[0], found.all_tracks)
    try:
        sound = open_sound(path)
        features, notes = _features(sets, sound, found, frames, main, folder)
    except ValueError as error:
        said = str(error).replace(str(path), path.name)
        loss = f"sound not used, it cannot be read: {said}"
        return HeardInput(nothing, (), (loss,))
    if not features:
        return HeardInput(nothing, ("sound not used: its track is empty",), ())
    part = f"{100 * main.mean():.0f} % of its frames"
    named = "" if audio == "auto" else f" of {path.name}"
    used = f"sound{named} used for face 1, in {part}, which show it alone"
    if main.all():
        used = f"sound{named} used for face 1, which is alone in its frames"
    faces = (SoundRows(features, main), *nothing[1:])
    return HeardInput(faces, (used, *notes, *sound.notes), sound.losses)


def _silent(sets: Sequence[SoundSet], rows: int) -> SoundRows:
    """Zeros for rows without sound, which take no memory."""
    none = {
        one.name: np.broadcast_to(np.float16(0), (rows, one.extractor.extractor.dim))
        for one in sets
    }
    return SoundRows(none, np.zeros(rows, bool))


def _why_not(found: InputFaces, audio: Audio) -> str | None:
    """Why sound is not used, in words; None where it is."""
    tracks = found.all_tracks
    if audio == "auto":
        if found.input.kind != "video":
            return "sound not used: pictures have none"
        if not found.num_sound_tracks:
            return "sound not used: the file has no sound track"
    is_chosen = isinstance(audio, pathlib.Path) and len(found.tracks) == 1
    if not is_chosen and not main_face(tracks):
        share = 100 * len(tracks[0].frame) / sum(len(track.frame) for track in tracks)
        return (
            f"sound not used: of {len(tracks)} faces none has most of the screen time "
            f"(face 1 has {share:.0f} %), so who speaks is not known"
        )
    return None


def _features(
    sets: Sequence[SoundSet],
    sound: SoundFile,
    found: InputFaces,
    frames: Int[np.ndarray, " rows"],
    has: Bool[np.ndarray, " rows"],
    folder: pathlib.Path | None,
) -> tuple[dict[str, Float[np.ndarray, "rows _"]], list[str]]:
    """Vectors of the rows by feature set, and notes; none if there is no sound."""
    features: dict[str, Float[np.ndarray, "rows _"]] = {}
    notes: list[str] = []
    place = folder or pathlib.Path(tempfile.gettempdir())
    for one in sets:
        dim = one.extractor.extractor.dim
        with contextlib.closing(RowSpool(place, dim, np.float32)) as spool:
            middles = spooled_hops(one.extractor, sound, spool)
            if not len(middles):
                return {}, []
            hops = _hops(one, middles, found, notes)
            rows = ScratchRows(folder, len(frames), dim, np.float16)
            with contextlib.closing(rows):
                _gather(spool, hops, frames, np.flatnonzero(has), rows)
                features[one.name] = rows.mapped()
        notes += notes_on_sound(one.extractor, sound)
    notes += unequal_lengths(sound, found.whole_times)
    return features, list(dict.fromkeys(notes))


def _hops(
    one: SoundSet,
    middles: Float[np.ndarray, " hops"],
    found: InputFaces,
    notes: list[str],
) -> Int[np.ndarray, " frames"]:
    """Index of the hop of each frame of the part."""
    times_s = found.times.times_s
    if one.alignment == "original":
        whole = align_original(len(middles), found.whole_times.num_frames + 1)
        return whole[found.first_frame - 1 :][: len(times_s)]
    reach_s = reach_of(one.extractor.hop_s, receptive_field_s(one.extractor))
    if beyond := count_beyond(middles, times_s, reach_s=reach_s):
        notes.append(
            f"{beyond} frames are shown over {reach_s:.3g} s before the first or after "
            "the last sound, and take that"
        )
    return align_by_time(middles, times_s)


def _gather(
    spool: RowSpool,
    hops: Int[np.ndarray, " frames"],
    frames: Int[np.ndarray, " rows"],
    places: Int[np.ndarray, " n"],
    rows: ScratchRows,
) -> None:
    """Write the vectors of some rows, some thousands at a time."""
    for start in range(0, len(places), _ROWS):
        some = places[start : start + _ROWS]
        wanted = hops[frames[some] - 1]
        first = int(wanted.min())
        vectors = spool.read(first, int(wanted.max()) + 1)[wanted - first]
        with np.errstate(over="ignore"):
            rows.write(some, np.nan_to_num(vectors.astype(np.float16)))
