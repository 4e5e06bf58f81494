"""The faces of people's own videos: found once for all sets, then kept beside them."""

import dataclasses
import functools
import hashlib
import json
import pathlib
from typing import Any

import numpy as np
from absl import logging
from jaxtyping import Float

from avemo_jax.extraction.chosen_faces import Faces
from avemo_jax.extraction.crop_template import Template, points_of
from avemo_jax.extraction.face_crops import CropKind
from avemo_jax.extraction.face_detector import detector_facts, load_face_detector
from avemo_jax.extraction.face_points import with_points
from avemo_jax.extraction.face_tracks import Detect, FaceTrack, find_faces
from avemo_jax.extraction.frame_times import KeptFrameTimes
from avemo_jax.extraction.given_faces import read_given_faces
from avemo_jax.faces.boxes import MIN_FACE_PX
from avemo_jax.faces.keyframes import INTERVAL_S
from avemo_jax.media.decoding import DECODING_VERSIONS
from avemo_jax.media.video import open_video
from avemo_jax.runtime.array_files import read_npz
from avemo_jax.runtime.atomic_files import whole_file
from avemo_jax.runtime.json_files import fitted, parsed
from avemo_jax.runtime.progress import progress_bar
from avemo_jax.runtime.regular_files import sha256_of

FOLDER = ".face_tracks"  # in the folder of all sets; hidden, so that it is no set
_FORMAT = 1
_ARRAYS = tuple(field.name for field in dataclasses.fields(FaceTrack))


@dataclasses.dataclass(frozen=True)
class FaceRule:
    """How faces of videos are found and cut out; small enough to be sent to workers.

    Attributes:
        faces: Which faces of a video are taken.
        kind: How they are cut out.
        interval_s: Seconds between two frames of those that are always detected; 0:
            every frame is.
        are_given: Whether faces are not looked for, as tables have them.
        min_face_px: Shorter side in pixels of faces that are noted as small.
        weights: File of the detector's weights; None: the fetched one.
        template: Where the five points come in aligned crops; None: ArcFace's.
    """

    faces: Faces = "largest"
    kind: CropKind = "aligned"
    interval_s: float = INTERVAL_S
    are_given: bool = False
    min_face_px: int = MIN_FACE_PX
    weights: str | None = None
    template: Template = None

    @property
    def points(self) -> Float[np.ndarray, "5 2"]:
        """Where the five points come in aligned crops."""
        return points_of(self.template)

    @property
    def is_single(self) -> bool:
        """Whether a video gives one face, which has the video's name."""
        return self.faces in ("largest", 1)

    def search(self) -> dict[str, Any]:
        """What decides which faces are found, and their boxes and points.

        Raises:
            WeightsError: If the detector is needed, and its weights are not there.
        """
        if self.are_given and self.kind == "tight":
            return {"found": "elsewhere"}
        facts = detector_facts(self.weights, interval_s=self.interval_s)
        found = "elsewhere" if self.are_given else f"every {self.interval_s:g} s"
        return {"found": found, "detector": facts["fingerprint"]}

    def facts(self) -> dict[str, Any]:
        """What decides the crops, for the fingerprint of their feature set.

        Raises:
            WeightsError: If the detector is needed, and its weights are not there.
        """
        facts = {"crop": self.kind, **self.search()}
        if self.kind == "aligned":
            facts["template"] = self.points.tolist()
        return facts


@dataclasses.dataclass(frozen=True, eq=False)
class FoundFaces:
    """The faces of a video.

    Attributes:
        tracks: The faces, the one of most frames first.
        num_frames: Number of the video's frames.
        notes: What a user should know of the video, in words.
        losses: Those of the notes that say that a part of the video is lost.
    """

    tracks: tuple[FaceTrack, ...]
    num_frames: int
    notes: tuple[str, ...] = ()
    losses: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class _Facts:
    """What is kept beside the tracks of a video."""

    digest: str
    lengths: tuple[int, ...]
    num_frames: int
    notes: tuple[str, ...]


def subject_name(video: str, rule: FaceRule, number: int) -> str:
    """The name of a face of a video, by which its feature file is called.

    Args:
        video: Name of the video.
        rule: Which faces are taken; a single one has the video's name.
        number: 1 for the face of most frames, then 2, ...
    """
    return video if rule.is_single else f"{video}--face{number}"


def faces_of(
    video: str,
    path: pathlib.Path,
    rule: FaceRule,
    features: pathlib.Path,
    *,
    boxes: pathlib.Path | None = None,
    quiet: bool = False,
) -> FoundFaces:
    """The faces of a video, found anew unless those of this file and rule are kept.

    Those of a damaged video are not kept: it may be mended without another name or
    size.

    Args:
        video: Name of the video.
        path: The video's file.
        rule: How faces are found.
        features: The folder of all sets.
        boxes: The table that has them, where they are given.
        quiet: Show no progress.

    Raises:
        ValueError: If the video cannot be decoded, or a table is wrong or missing.
        WeightsError: If the detector's weights are missing.
        OSError: If the faces cannot be written.
    """
    if rule.are_given and boxes is None:
        raise ValueError(
            f"no table of the faces of {video!r}; expected {video}.csv or .parquet, or "
            f"{video}/predictions.csv, in the folder of --boxes: add it"
        )
    kept = features / FOLDER / f"{video}.npz"
    digest = _digest(path, rule, boxes)
    if (standing := _read(kept, digest)) is not None:
        return standing
    times = KeptFrameTimes(features).of(video, path)
    opened = open_video(path)
    with progress_bar(
        times.num_frames, f"faces of {video}", "frame", quiet=quiet, keep=False
    ) as bar:
        if boxes is not None:
            size = (opened.height, opened.width)
            tracks = read_given_faces(
                boxes, times_s=times.times_s, size=size, input_name=video
            )
            if rule.kind == "aligned" and tracks and not _all_known(tracks):
                detect = detector(rule.weights)
                tracks = with_points(opened, tracks, detect, progress=bar.update)
        else:
            tracks = find_faces(
                opened,
                detector(rule.weights),
                times.times_s,
                interval_s=rule.interval_s,
                progress=bar.update,
            )
    losses = tuple(dict.fromkeys([*times.losses, *opened.losses]))
    notes = tuple(dict.fromkeys([*losses, *opened.notes]))
    found = FoundFaces(tuple(tracks), times.num_frames, notes, losses)
    if not losses:
        _write(kept, digest, found)
    return found


@functools.lru_cache(maxsize=1)
def detector(weights: str | None) -> Detect:
    """The face detector of this process.

    Args:
        weights: Its file of weights; None: the fetched one.

    Raises:
        WeightsError: If the file is missing, damaged, or holds another network's.
    """
    return load_face_detector(weights)


def said_of(found: FoundFaces, track: FaceTrack, rule: FaceRule) -> list[str]:
    """What a user should know of a face that is taken, in words.

    Args:
        found: All faces of its video.
        track: The face.
        rule: Which faces are taken, and which are small.
    """
    notes = []
    count, others = len(track.frame), len(found.tracks) - 1
    if rule.is_single and others:
        notes.append(
            f"the face of most frames, {count}, is taken; {others} more were found"
        )
    elif count < found.num_frames:
        notes.append(f"the face is in {count} of {found.num_frames} frames")
    side = float(np.median(track.boxes[:, 2:].min(axis=1)))
    if side < rule.min_face_px:
        notes.append(
            f"a small face, {side:.0f} pixels in the median, where {rule.min_face_px} "
            "or more are wanted"
        )
    return notes


def _all_known(tracks: list[FaceTrack]) -> bool:
    return all(np.isfinite(track.points).all() for track in tracks)


def _digest(path: pathlib.Path, rule: FaceRule, boxes: pathlib.Path | None) -> str:
    """A digest of all that decides a video's faces; it is known by name and size."""
    known: list[Any] = [_FORMAT, DECODING_VERSIONS["video"]]
    known += [path.name, path.stat().st_size, rule.search()]
    if boxes is not None:
        known.append(sha256_of(boxes))
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def _write(kept: pathlib.Path, digest: str, found: FoundFaces) -> None:
    lengths = tuple(len(track.frame) for track in found.tracks)
    facts = _Facts(digest, lengths, found.num_frames, found.notes)
    arrays: dict[str, Any] = {
        name: np.concatenate([getattr(track, name) for track in found.tracks])
        for name in (_ARRAYS if found.tracks else ())
    }
    kept.parent.mkdir(parents=True, exist_ok=True)
    text = np.array(json.dumps(dataclasses.asdict(facts)))
    with whole_file(kept) as temporary, temporary.open("wb") as file:
        np.savez(file, facts=text, **arrays)


def _read(kept: pathlib.Path, digest: str) -> FoundFaces | None:
    """The faces that a file keeps, if it is whole and of this digest; else None."""
    if not kept.is_file():
        return None
    try:
        stored = read_npz(kept, expected="expected tracks of faces")
        facts = fitted(_Facts, parsed(str(stored.get("facts"))))
    except ValueError as error:
        logging.info("%s; the faces are found again", error)
        return None
    total = sum(facts.lengths)
    names = _ARRAYS if facts.lengths else ()
    parts = {name: stored[name] for name in names if name in stored}
    if facts.digest != digest or len(parts) < len(names):
        return None
    if any(part.shape[:1] != (total,) for part in parts.values()):
        return None
    ends = np.cumsum(facts.lengths)
    tracks = tuple(
        FaceTrack(**{name: part[end - count : end] for name, part in parts.items()})
        for count, end in zip(facts.lengths, ends, strict=True)
    )
    return FoundFaces(tracks, facts.num_frames, facts.notes)
