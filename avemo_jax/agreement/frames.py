"""Two codings on the same frames, whatever each of them is of."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Float, Int

from avemo_jax.agreement.codings import Coding, plain
from avemo_jax.data.corpus.label_columns import LabelColumn
from avemo_jax.data.listing import first_of

SAMPLE_RATE_HZ = 25.0  # at which intervals are compared with intervals
_LATE_S = 0.5  # by which the times of one frame may differ


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
    """The rows of one table that are of one face of a video.

    Attributes:
        coding: The table.
        rows: Which of the coding's rows they are.
    """

    coding: Coding
    rows: Int[np.ndarray, " rows"]

    def of(self, name: str) -> np.ndarray | None:
        """One of the coding's arrays, of these rows; None: it has none."""
        values = getattr(self.coding, name)
        return None if values is None else values[self.rows]

    def labels(self, variable: str) -> LabelColumn | None:
        """A variable's labels, by these rows; None: the table has it not."""
        for name, labels in self.coding.columns.items():
            if plain(name) == variable:
                found = labels()
                index = found.index[self.coding.row[self.rows]]
                return dataclasses.replace(found, index=index)
        return None


@dataclasses.dataclass(frozen=True, eq=False)
class Scene:
    """One face of a video, as both codings have it, and the frames it is compared on.

    Attributes:
        video: Name of the video.
        face: Number of the face; 0: the only one, or not told.
        first: What the first coding has of it.
        second: What the second coding has of it.
        frame: Numbers of the frames, from 1; None: not known.
        time_s: When each is shown; None: not known.
    """

    video: str
    face: int
    first: tuple[Part, ...]
    second: tuple[Part, ...]
    frame: Int[np.ndarray, " frames"] | None
    time_s: Float[np.ndarray, " frames"] | None

    @property
    def num_frames(self) -> int:
        """How many frames there are."""
        found = self.frame if self.frame is not None else self.time_s
        return 0 if found is None else len(found)


def scenes(
    first: Sequence[Coding],
    second: Sequence[Coding],
    *,
    face: int | None = None,
    fps: float | None = None,
    span_s: tuple[float, float] | None = None,
) -> tuple[list[Scene], dict[str, list[str]]]:
    """What both codings have, and the names of the videos that only one has.

    The frames are those of the first coding that has frames or moments; of two codings
    of intervals they are moments, ``fps`` a second up to the last end.

    Args:
        first: The first coding's tables.
        second: The second coding's tables.
        face: The face to compare; None: each by its number.
        fps: Frames per second, where frames have no times.
        span_s: Frames shown from the first on and before the second are compared; None:
            all.

    Raises:
        ValueError: If no video is in both, faces cannot be matched, or times are needed
            that are not known.
    """
    both = [_by_video(one, face) for one in (first, second)]
    _same_name(first, second, *both)
    common = sorted(set(both[0]) & set(both[1]))
    alone = [sorted(set(own) - set(common)) for own in both]
    paths = [one[0].table.path for one in (first, second)]
    if not common:
        told = [first_of(sorted(one), 3) for one in both]
        raise ValueError(
            f"{paths[0]} is of {told[0] or 'no video'}, {paths[1]} of "
            f"{told[1] or 'no video'}; expected the same videos: name them alike in a "
            "column video, or as the files"
        )
    found = []
    for video in common:
        one, other = (
            _one_each(video, own[video], path)
            for own, path in zip(both, paths, strict=True)
        )
        for number, *parts in _faces(video, one, other, paths, alone):
            frame, time_s = _grid(parts, fps, span_s)
            mine, yours = map(tuple, parts)
            found.append(Scene(video, number, mine, yours, frame, time_s))
    return found, {
        f"videos_only_in_{which}": names
        for which, names in zip(("first", "second"), alone, strict=True)
    }


_Faces = dict[int, list[Part]]


def _by_video(codings: Sequence[Coding], face: int | None) -> dict[str, _Faces]:
    """The parts of codings by video, then by face; 0 is the wanted one, if one is."""
    found: dict[str, _Faces] = {}
    for coding in codings:
        pairs = np.stack([coding.video, coding.face], axis=1)
        unique, place = np.unique(pairs, axis=0, return_inverse=True)
        for i, (video, number) in enumerate(unique.tolist()):
            rows = np.flatnonzero(place.reshape(-1) == i)
            if face is not None and number not in (0, face):
                continue
            own = found.setdefault(coding.videos[video], {})
            own.setdefault(0 if face is not None else number, []).append(
                Part(coding, rows)
            )
    return found


def _same_name(
    first: Sequence[Coding],
    second: Sequence[Coding],
    first_parts: dict[str, _Faces],
    second_parts: dict[str, _Faces],
) -> None:
    """Call the one video of a table that does not name it as the other coding does."""
    if len(first_parts) != 1 or len(second_parts) != 1:
        return
    if not (first[0].named and second[0].named):
        (name,) = first_parts if first[0].named else second_parts
        for parts in (first_parts, second_parts):
            (own,) = parts
            parts[name] = parts.pop(own)


def _one_each(video: str, faces: _Faces, path: object) -> _Faces:
    """The faces of a video; rows without a number are of the only one that has one.

    Raises:
        ValueError: If several have a number.
    """
    if 0 not in faces or len(faces) == 1:
        return faces
    if len(faces) > 2:
        raise ValueError(
            f"{path}: rows of {video!r} without a face beside rows of faces "
            f"{', '.join(str(one) for one in sorted(faces) if one)}; expected a face "
            "in each: fill in face_id, or pass --face 1"
        )
    return {max(faces): [part for parts in faces.values() for part in parts]}


def _faces(
    video: str,
    first: _Faces,
    second: _Faces,
    paths: Sequence[object],
    alone: Sequence[list[str]],
) -> Iterator[tuple[int, list[Part], list[Part]]]:
    """The faces of a video that both codings have, with the parts of each.

    Args:
        video: Name of the video.
        first: What the first coding has of it.
        second: What the second coding has of it.
        paths: The codings, for errors.
        alone: Gets the names of the faces that only the first, or the second, has.

    Raises:
        ValueError: If one tells several faces, and the other none.
    """
    if set(first) == {0} or set(second) == {0}:
        both = (first, second)
        for own, path in zip(both, paths, strict=True):
            if len(own) > 1:
                raise ValueError(
                    f"{path}: faces {', '.join(map(str, sorted(own)))} of {video!r}, "
                    "and the other coding tells none; expected to know which it is of: "
                    "pass --face 1, or add a column face_id"
                )
        (number,) = max(set(first), set(second), key=max)
        ((one,), (other,)) = (own.values() for own in both)
        yield number, one, other
        return
    only = (set(first) - set(second), set(second) - set(first))
    for names, lacking in zip(alone, only, strict=True):
        names += [f"{video}, face {number}" for number in sorted(lacking)]
    for number in sorted(set(first) & set(second)):
        yield number, first[number], second[number]


def _grid(
    parts: Sequence[Sequence[Part]],
    fps: float | None,
    span_s: tuple[float, float] | None,
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Numbers and times of the frames that a face is compared on."""
    for own in parts:
        points = [one for one in own if one.coding.end_s is None]
        if points:
            frame, time_s = _points(points, fps)
            break
    else:
        ends = _together([one.of("end_s") for own in parts for one in own])
        last = 0.0 if ends is None else float(ends.max())
        rate = fps or SAMPLE_RATE_HZ
        frame, time_s = None, np.arange(int(np.ceil(last * rate - 1e-6))) / rate
    if span_s is None:
        return frame, time_s
    if time_s is None:
        raise _no_times(parts[0][0].coding)
    kept = (time_s >= span_s[0] - 1e-6) & (time_s < span_s[1] - 1e-6)
    return None if frame is None else frame[kept], time_s[kept]


def _points(
    parts: Sequence[Part], fps: float | None
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Numbers and times of frames or moments, each once, in their order."""
    frame = _together([one.of("frame") for one in parts])
    time_s = _together([one.of("start_s") for one in parts])
    if time_s is None and frame is not None and fps:
        time_s = (frame - 1) / fps
    by = frame if frame is not None else time_s
    assert by is not None
    _, first = np.unique(by, return_index=True)
    if time_s is not None and np.isnan(time_s[first]).any():
        first = first[~np.isnan(time_s[first])]
    return (
        None if frame is None else frame[first],
        None if time_s is None else time_s[first],
    )


def _together(arrays: Sequence[np.ndarray | None]) -> np.ndarray | None:
    """Arrays one after the other; None where one is missing."""
    there = [one for one in arrays if one is not None]
    return np.concatenate(there) if len(there) == len(arrays) else None


def on_frames(
    scene: Scene,
    parts: Sequence[Part],
    variable: str,
    value_of: Callable[[str], float],
    *,
    fps: float | None = None,
    gaps: float = np.nan,
) -> Float[np.ndarray, " frames"]:
    """A variable's values in the frames of a scene; NaN where it is not coded.

    Frames are matched by number, or else by time: with the nearest moment, at most half
    a step away, or with the interval that the frame's time lies in, to the millisecond.

    Args:
        scene: The frames.
        parts: What a coding has of the scene.
        variable: Name of the variable, in the form of ``plain``.
        value_of: Gives the number that stands for a label.
        fps: Frames per second, where frames have no times.
        gaps: What frames between intervals count as; NaN: as not coded.

    Raises:
        ValueError: If a frame has two labels, or times are needed that are not known;
            names the place.
    """
    found = np.full(scene.num_frames, np.nan)
    covered = False
    for part in parts:
        labels = part.labels(variable)
        if labels is None:
            continue
        numbers = np.array([*map(value_of, labels.texts), np.nan])
        values = numbers[labels.index]
        is_event = variable in part.coding.events
        if part.coding.end_s is not None and not covered:
            found[:] = 0.0 if is_event else gaps
        elif is_event and not covered:
            found[:] = 0.0
        covered = True
        if part.coding.end_s is None:
            place, rows = _matched(scene, part, fps)
            values = values[rows]
            there = ~np.isnan(values)
            found[place[there]] = values[there]
        else:
            _fill(found, scene, part, values, labels, is_event)
    return found


def _fill(
    found: Float[np.ndarray, " frames"],
    scene: Scene,
    part: Part,
    values: Float[np.ndarray, " rows"],
    labels: LabelColumn,
    is_event: bool,
) -> None:
    """Set the values of the frames that lie in each interval."""
    if scene.time_s is None:
        raise _no_times(scene.first[0].coding)
    shown_ms = np.rint(scene.time_s * 1000)
    order = np.argsort(shown_ms, kind="stable")
    start_s, end_s = part.of("start_s"), part.of("end_s")
    assert start_s is not None
    assert end_s is not None
    start_ms, end_ms = np.rint(start_s * 1000), np.rint(end_s * 1000)
    first = np.searchsorted(shown_ms[order], start_ms, "left")
    last = np.searchsorted(shown_ms[order], end_ms, "left")
    by = np.full(len(found), -1)
    for row in np.flatnonzero(~np.isnan(values)).tolist():
        own = order[first[row] : last[row]]
        other = by[own]
        twice = (other >= 0) & (values[other] != values[row])
        if twice.any() and not is_event:
            table, rows = part.coding.table, part.coding.row[part.rows]
            before = int(other[twice][0])
            raise ValueError(
                f"{table.where(int(rows[row]), labels.name)}: "
                f"{labels.texts[labels.index[row]]!r} while "
                f"{labels.texts[labels.index[before]]!r} lasts "
                f"({table.place(int(rows[before]))}); expected one label at a time: "
                "correct the times, or give each label a tier of its own name"
            )
        found[own] = np.where(twice, np.maximum(found[own], values[row]), values[row])
        by[own] = row


def _matched(
    scene: Scene, part: Part, fps: float | None
) -> tuple[Int[np.ndarray, " matched"], Int[np.ndarray, " matched"]]:
    """Which frames of the scene have a row of the part, and which."""
    frame, time_s = part.of("frame"), part.of("start_s")
    if scene.frame is not None and frame is not None:
        order = np.argsort(frame, kind="stable")
        at = np.searchsorted(frame[order], scene.frame).clip(max=len(frame) - 1)
        same = frame[order][at] == scene.frame
        place, rows = np.flatnonzero(same), order[at[same]]
        if scene.time_s is not None and time_s is not None:
            _check_times(part, scene, place, rows, time_s)
        return _every_row(frame, scene.frame, place, rows)
    if time_s is None and frame is not None and fps:
        time_s = (frame - 1) / fps
    if time_s is None or scene.time_s is None:
        lacking = part if time_s is None else scene.first[0]
        raise _no_times(lacking.coding)
    known = np.flatnonzero(~np.isnan(time_s))
    order = known[np.argsort(time_s[known], kind="stable")]
    times = time_s[order]
    if not len(times):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    steps = np.diff(np.unique(times))
    reach = 0.505 * float(np.median(steps)) if len(steps) else _LATE_S
    after = np.searchsorted(times, scene.time_s).clip(max=len(times) - 1)
    before = (after - 1).clip(min=0)
    nearer = np.abs(times[before] - scene.time_s) <= np.abs(times[after] - scene.time_s)
    at = np.where(nearer, before, after)
    near = np.abs(times[at] - scene.time_s) <= reach + 1e-6
    return np.flatnonzero(near), order[at[near]]


def _every_row(
    frame: Int[np.ndarray, " rows"],
    wanted: Int[np.ndarray, " frames"],
    place: Int[np.ndarray, " matched"],
    rows: Int[np.ndarray, " matched"],
) -> tuple[Int[np.ndarray, " matched"], Int[np.ndarray, " matched"]]:
    """The same, with all rows of a frame where it has one for each of its labels."""
    if len(np.unique(frame)) == len(frame):
        return place, rows
    at = np.searchsorted(wanted, frame).clip(max=len(wanted) - 1)
    same = wanted[at] == frame
    return at[same], np.flatnonzero(same)


def _check_times(
    part: Part,
    scene: Scene,
    place: Int[np.ndarray, " matched"],
    rows: Int[np.ndarray, " matched"],
    time_s: Float[np.ndarray, " rows"],
) -> None:
    """Raise ``ValueError`` where a frame of one number has two times."""
    assert scene.time_s is not None
    late = np.abs(time_s[rows] - scene.time_s[place]) > _LATE_S
    if late.any():
        one = int(np.argmax(late))
        row = int(part.coding.row[part.rows][rows[one]])
        raise ValueError(
            f"{part.coding.table.where(row)}: {time_s[rows[one]]:.3f} s; expected "
            f"{scene.time_s[place[one]]:.3f} s, as the other coding has it for this "
            "frame: give codings of one video"
        )


def _no_times(coding: Coding) -> ValueError:
    return ValueError(
        f"{coding.table.header}: frames without times; expected times to compare them "
        "with: pass --fps, the video's frames per second, or add a column timestamp"
    )
