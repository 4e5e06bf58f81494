"""The rows of a submission: every frame of every listed video, in order."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from jaxtyping import Int

from avemo_jax.data.corpus.annotations import frames_of_test_videos
from avemo_jax.data.corpus.video_numbers import read_numbers
from avemo_jax.data.listing import first_of, read_names
from avemo_jax.data.records import MAX_FRAME
from avemo_jax.media.file_endings import VIDEO_ENDINGS, ending_of
from avemo_jax.tasks import TASKS, Task

IMAGE_COLUMN = "image_location"
# Characters that a video's name may not have in rows "VIDEO/00001.jpg,...".
_FORBIDDEN = frozenset('/\\,"')
_IMAGE = r"^(?P<video>[^/]+)/(?P<frame>\d{5}|[1-9]\d{5,7})\.jpg$"


@dataclasses.dataclass(frozen=True)
class SubmissionRows:
    """The rows of one submission file, in order.

    Attributes:
        videos: Names of the videos, in the order of the list or the example.
        video: Index of each row's video.
        frame: Official 1-based frame number of each row.
    """

    videos: tuple[str, ...]
    video: Int[np.ndarray, " rows"]
    frame: Int[np.ndarray, " rows"]


def every_frame(
    videos: Sequence[str], num_frames: Int[np.ndarray, " videos"]
) -> SubmissionRows:
    """Rows of the frames 1 to ``num_frames`` of each video, video after video."""
    total = int(num_frames.sum(dtype=np.int64))
    begin = np.repeat(np.cumsum(num_frames, dtype=np.int64) - num_frames, num_frames)
    return SubmissionRows(
        tuple(videos),
        np.repeat(np.arange(len(videos), dtype=np.int32), num_frames),
        (np.arange(total) - begin + 1).astype(np.int32),
    )


def read_list(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """The video names of a list with one a line, in its order.

    Raises:
        ValueError: If the list is missing or empty, names a video twice, or has a name
            with the ending of a video file or a character that the format forbids.
    """
    first: dict[str, int] = {}
    for number, video in read_names(path):
        where = f"{path}, line {number}"
        if video in first:
            raise ValueError(
                f"{where}: video {video!r} again, after line {first[video]}; expected "
                "each once: remove one of the lines"
            )
        if ending_of(video) in VIDEO_ENDINGS:
            raise ValueError(
                f"{where}: {video!r}, the name of a file; expected the video's name: "
                f"write {video.rpartition('.')[0]!r}"
            )
        if wrong := sorted(_FORBIDDEN & set(video)):
            raise ValueError(
                f"{where}: {video!r} with {' '.join(wrong)}; expected a name that fits "
                "VIDEO/00001.jpg: correct the line"
            )
        first[video] = number
    if not first:
        raise ValueError(
            f"{path} is empty; expected one video name a line: list the test videos"
        )
    return tuple(first)


def read_frame_counts(path: str | os.PathLike[str]) -> dict[str, int]:
    """How many frames each video has.

    Args:
        path: A table with the columns video and frames; or a folder of official
            annotations with ``Test_Set``, or that itself.

    Raises:
        ValueError: If the file is missing, or has other columns, a line that is no
            such pair, or a video twice; or the folder tells no frames.
    """
    if os.path.isdir(path):
        return frames_of_test_videos(path)
    frames = read_numbers(path, "frames", most=MAX_FRAME, whole=True)
    return {video: int(number) for video, number in frames.items()}


def lengths_of(
    videos: Sequence[str], frames: Mapping[str, int], *, where: str
) -> Int[np.ndarray, " videos"]:
    """The number of frames of each of ``videos``.

    Args:
        videos: Names of the videos.
        frames: The known numbers of frames, by video.
        where: The file of these numbers, for errors.

    Raises:
        ValueError: If a number is not known.
    """
    if missing := [video for video in videos if video not in frames]:
        raise ValueError(
            f"{where}: {listed(missing)} not in it; expected the number of frames of "
            "every listed video: add them"
        )
    return np.array([frames[video] for video in videos], np.int64)


def read_example(path: str | os.PathLike[str], task: Task) -> SubmissionRows:
    """The rows of an official example, exactly and in its order; values are not read.

    Raises:
        ValueError: If the example is missing or of another task, or has no rows, a row
            whose first column is no ``VIDEO/00001.jpg``, or a row twice.
    """
    path = pathlib.Path(path)
    _check_header(path, task)
    names = [IMAGE_COLUMN, *task.header.split(",")]
    names = names[: 2 if task.name == "EXPR" else None]
    try:
        table = pyarrow.csv.read_csv(
            path,
            read_options=pyarrow.csv.ReadOptions(column_names=names, skip_rows=1),
            parse_options=pyarrow.csv.ParseOptions(
                quote_char=False, ignore_empty_lines=False
            ),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                include_columns=[IMAGE_COLUMN],
            ),
        )
    except pa.ArrowInvalid as error:
        raise ValueError(
            f"{path}: {error}; expected {len(names)} columns in every row: download "
            "the example again"
        ) from error
    image = table[IMAGE_COLUMN].combine_chunks()
    parts = pc.extract_regex(image, _IMAGE)
    if not len(parts) or parts.null_count:
        missing = parts.is_null().to_numpy(zero_copy_only=False)
        row = int(np.argmax(missing)) if len(parts) else 0
        found = repr(image[row].as_py()) if len(parts) else "no row"
        raise ValueError(
            f"{path}, line {row + 2}: {found}; expected VIDEO/00001.jpg in the first "
            "column: download the example again"
        )
    return _rows_of(path, parts)


def _check_header(path: pathlib.Path, task: Task) -> None:
    """Check that the first line is the task's header, spaces aside.

    Raises:
        ValueError: If it is not, or there is no such file.
    """
    if not path.is_file():
        raise ValueError(
            f"no file {str(path)!r}; expected the official example of {task.name}: "
            "correct the path"
        )
    with path.open("rb") as file:
        first = file.readline().decode("utf-8-sig", "replace")
    found = ",".join(name.strip() for name in first.split(","))
    if found == f"{IMAGE_COLUMN},{task.header}":
        return
    owners = [t.name for t in TASKS.values() if found == f"{IMAGE_COLUMN},{t.header}"]
    what = f"header of {owners[0]}" if owners else f"header {found[:80]!r}"
    raise ValueError(
        f"{path}, line 1: {what}; expected '{IMAGE_COLUMN},{task.header}': give the "
        f"example of {task.name}"
    )


def _rows_of(path: pathlib.Path, parts: pa.StructArray) -> SubmissionRows:
    """Rows from the two parts, video and frame, of their names.

    Raises:
        ValueError: If a frame is there twice or out of range.
    """
    encoded = parts.field(0).dictionary_encode()
    video = encoded.indices.to_numpy().astype(np.int32)
    frame = pc.cast(parts.field(1), pa.int32()).to_numpy()
    names = tuple(encoded.dictionary.to_pylist())
    order = np.lexsort((frame, video))
    same = (np.diff(video[order]) == 0) & (np.diff(frame[order]) == 0)
    if same.any() or int(frame.max()) > MAX_FRAME or int(frame.min()) < 1:
        bad = same if same.any() else (frame < 1) | (frame > MAX_FRAME)
        row = int(np.argmax(bad))
        row = int(order[row + 1]) if same.any() else row
        raise ValueError(
            f"{path}, line {row + 2}: frame {frame[row]} of {names[video[row]]!r}"
            f"{' again' if same.any() else ''}; expected each frame once, from 1 to "
            f"{MAX_FRAME}: download the example again"
        )
    return SubmissionRows(names, video, frame)


def check_same_videos(
    listed_videos: Sequence[str], rows: SubmissionRows, *, example: str, test_list: str
) -> None:
    """Check that an example has the videos of the list, in any order.

    Raises:
        ValueError: If one of them has a video that the other lacks.
    """
    lacking = sorted(set(listed_videos) - set(rows.videos))
    surplus = sorted(set(rows.videos) - set(listed_videos))
    if lacking or surplus:
        raise ValueError(
            f"{example} has {len(rows.videos)} videos and {test_list} lists "
            f"{len(listed_videos)}: not in the example: {listed(lacking)}; not in the "
            f"list: {listed(surplus)}; expected the same: leave one of the two out, "
            "or correct it"
        )


def listed(names: Sequence[str], most: int = 5) -> str:
    """How many names there are, with the first ``most``: "3 videos (a, b, c)"."""
    if not names:
        return "none"
    videos = "video" if len(names) == 1 else "videos"
    return f"{len(names)} {videos} ({first_of(names, most)})"
