"""Embeddings in every form in which others keep theirs."""

import csv
import pathlib
import pickle
from collections.abc import Callable

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet

DIM = 6
# Rows of each video by frame number; of the last one some frames are missing.
FRAMES = {
    "1-30-64x48": np.arange(1, 41),
    "video3_left": np.arange(1, 34),
    "360": np.array([2, 3, 5, 9, 25]),
}
Vectors = dict[str, np.ndarray]


def vectors(seed: int = 0, frames: dict[str, np.ndarray] = FRAMES) -> Vectors:
    """By video, (frames, dim)."""
    rng = np.random.default_rng(seed)
    return {
        video: rng.normal(size=(len(numbers), DIM)).astype(np.float32)
        for video, numbers in frames.items()
    }


def by_image(made: Vectors, first: int = 1) -> dict[str, np.ndarray]:
    """A dict as HSEmotion's scripts make it, frames interleaved between videos."""
    keyed = {
        f"{video}/{number + first - 1:05d}.jpg": row
        for video, rows in made.items()
        for number, row in zip(FRAMES[video], rows, strict=True)
    }
    return dict(sorted(keyed.items(), key=lambda item: item[0][::-1]))


def pickled(protocol: int) -> Callable[[pathlib.Path, Vectors], pathlib.Path]:
    """Embeddings alone."""

    def write(path: pathlib.Path, made: Vectors) -> pathlib.Path:
        path = path.with_suffix(".pkl")
        path.write_bytes(pickle.dumps(by_image(made), protocol))
        return path

    return write


def scores_of(made: Vectors, columns: int = 8) -> Vectors:
    """Logits by video."""
    return {video: rows[:, :1] * np.arange(columns) for video, rows in made.items()}


def with_scores(path: pathlib.Path, made: Vectors) -> pathlib.Path:
    """Embeddings with logits, as HSEmotion's."""
    scores = by_image(scores_of(made))
    path = path.with_suffix(".pickle")
    content = {key: (row, scores[key]) for key, row in by_image(made).items()}
    path.write_bytes(pickle.dumps(content))
    return path


def saved_dict(path: pathlib.Path, made: Vectors) -> pathlib.Path:
    """np.save of a dict."""
    path = path.with_suffix(".npy")
    np.save(path, by_image(made), allow_pickle=True)
    return path


def pickled_lists(path: pathlib.Path, made: Vectors) -> pathlib.Path:
    """A dict of lists."""
    path = path.with_suffix(".p")
    lists = {key: row.tolist() for key, row in by_image(made).items()}
    path.write_bytes(pickle.dumps(lists))
    return path


def folder_of_videos(path: pathlib.Path, made: Vectors) -> pathlib.Path:
    """VIDEO.npy, with frame numbers beside those that lack some."""
    path.mkdir()
    for video, rows in made.items():
        np.save(path / f"{video}.npy", rows)
    np.save(path / "360.frames.npy", FRAMES["360"])
    lines = "\n".join(map(str, FRAMES["video3_left"]))
    (path / "video3_left.frames.txt").write_text(lines + "\n")
    return path


def folder_of_frames(path: pathlib.Path, made: Vectors) -> pathlib.Path:
    """VIDEO/00001.npy."""
    for video, rows in made.items():
        (path / video).mkdir(parents=True)
        for number, row in zip(FRAMES[video], rows, strict=True):
            np.save(path / video / f"{number:05d}.npy", row)
    return path


def hdf5(path: pathlib.Path, made: Vectors) -> pathlib.Path:
    """A dataset a video, and a group where frames are missing."""
    path = path.with_suffix(".h5")
    with h5py.File(path, "w") as file:
        for video, rows in made.items():
            if video == "360":
                group = file.create_group(video)
                group["features"], group["frame"] = rows, FRAMES[video]
            else:
                file[video] = rows
    return path


def parquet(lists: bool) -> Callable[[pathlib.Path, Vectors], pathlib.Path]:
    """A list in a column, or a column for each number."""

    def write(path: pathlib.Path, made: Vectors) -> pathlib.Path:
        path = path.with_suffix(".parquet")
        video = np.repeat(list(made), [len(rows) for rows in made.values()])
        frame = np.concatenate([FRAMES[name] for name in made])
        rows = np.concatenate(list(made.values()))
        table = {"video": video, "frame": frame}
        if lists:
            table["embedding"] = pa.array(rows.tolist(), pa.list_(pa.float32()))
        else:
            table |= {f"f{i}": rows[:, i] for i in reversed(range(DIM))}
        pa.parquet.write_table(pa.table(table), path)
        return path

    return write


FORMS = {
    "pickle, protocol 2": pickled(2),
    "pickle, protocol 4": pickled(4),
    "pickle, protocol 5": pickled(5),
    "pickle with scores": with_scores,
    "np.save of a dict": saved_dict,
    "pickled lists": pickled_lists,
    "folder of videos": folder_of_videos,
    "folder of frames": folder_of_frames,
    "HDF5": hdf5,
    "Parquet of lists": parquet(True),
    "Parquet of columns": parquet(False),
}


def write_labels(
    root: pathlib.Path, lines: dict[str, int], split: str = "Train_Set"
) -> pathlib.Path:
    """EXPR annotations, all valid, in the official arrangement."""
    folder = root / "EXPR_Recognition_Challenge" / split
    folder.mkdir(parents=True, exist_ok=True)
    for video, count in lines.items():
        with (folder / f"{video}.txt").open("w", newline="") as file:
            names = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"
            csv.writer(file).writerow(names.split(","))
            file.writelines(f"{i % 8}\n" for i in range(count))
    return root
