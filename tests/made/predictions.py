"""Annotations, and predictions of them in every form in which others keep theirs."""

import pathlib
import pickle
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from avemo_jax.tasks import Task

LENGTHS = {"1-30-64x48": 40, "video3_left": 33, "360": 25}
HEADERS = {
    "EXPR": "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other",
    "AU": "AU1,AU2,AU4,AU6,AU7,AU10,AU12,AU15,AU23,AU24,AU25,AU26",
    "VA": "valence,arousal",
}
FOLDERS = {
    "EXPR": "EXPR_Classification_Challenge",
    "AU": "AU_Detection_Challenge",
    "VA": "VA_Estimation_Challenge",
}
Values = dict[str, np.ndarray]


def labels_of(task: Task, seed: int = 0, lengths: dict[str, int] = LENGTHS) -> Values:
    """Labels by video as the files have them, some invalid."""
    rng = np.random.default_rng(seed)
    found = {}
    for video, frames in lengths.items():
        if task.name == "EXPR":
            one = rng.integers(0, 8, (frames, 1)).astype(float)
        elif task.name == "AU":
            one = rng.integers(0, 2, (frames, 12)).astype(float)
        else:
            one = rng.uniform(-1, 1, (frames, 2)).round(3)
        one[rng.random(frames) < 0.1] = task.invalid
        found[video] = one
    return found


def write_annotations(
    root: pathlib.Path, task: Task, labels: Values, split: str = "Validation_Set"
) -> pathlib.Path:
    """The official arrangement; its root."""
    folder = root / FOLDERS[task.name] / split
    folder.mkdir(parents=True, exist_ok=True)
    for video, values in labels.items():
        lines = [",".join(f"{v:g}" for v in row) for row in values]
        text = "\n".join([HEADERS[task.name], *lines]) + "\n"
        (folder / f"{video}.txt").write_text(text)
    return root


def predicted_of(task: Task, labels: Values, seed: int = 1) -> Values:
    """Probabilities or values of every frame, better than chance."""
    rng = np.random.default_rng(seed)
    found = {}
    for video, values in labels.items():
        if task.name == "EXPR":
            one = rng.random((len(values), 8))
            one[np.arange(len(values)), values[:, 0].astype(int)] += 0.5
            one /= one.sum(axis=1, keepdims=True)
        elif task.name == "AU":
            one = 0.7 * rng.random(values.shape) + 0.3 * (values == 1)
        else:
            one = np.clip(values, -1, 1) * 0.5 + 0.4 * rng.uniform(-1, 1, values.shape)
        found[video] = one.astype(np.float32).astype(float)
    return found


def decided(task: Task, values: np.ndarray) -> np.ndarray:
    """Classes (frames, 1), units (frames, 12), or the values."""
    if task.name == "EXPR":
        return values.argmax(axis=1)[:, None]
    return (values >= 0.5).astype(int) if task.name == "AU" else values


def _images(predicted: Values) -> dict[str, np.ndarray]:
    return {
        f"{video}/{i:05d}.jpg": row
        for video, values in predicted.items()
        for i, row in enumerate(values, start=1)
    }


def submission(path: pathlib.Path, task: Task, predicted: Values) -> pathlib.Path:
    """The challenge's text file."""
    of_rows = _images({v: decided(task, p) for v, p in predicted.items()})
    lines = [f"{k},{','.join(f'{v:.9g}' for v in row)}" for k, row in of_rows.items()]
    text = "\n".join([f"image_location,{HEADERS[task.name]}", *lines]) + "\n"
    path = path.with_suffix(".txt")
    path.write_text(text)
    return path


def table(path: pathlib.Path, task: Task, predicted: Values) -> pa.Table:
    """Columns of their own order, and one that is not asked for."""
    video = np.repeat(list(predicted), [len(p) for p in predicted.values()])
    frame = np.concatenate([np.arange(1, len(p) + 1) for p in predicted.values()])
    joined = np.concatenate(list(predicted.values()))
    names = HEADERS[task.name].split(",")
    columns = dict(zip(names, joined.T, strict=True))
    order = {name: columns[name] for name in reversed(names)}
    return pa.table({"frame": frame, **order, "video": video, "fold": frame * 0})


def as_csv(path: pathlib.Path, task: Task, predicted: Values) -> pathlib.Path:
    """A table with the outputs in another order."""
    path = path.with_suffix(".csv")
    pa.csv.write_csv(table(path, task, predicted), path)
    return path


def as_parquet(path: pathlib.Path, task: Task, predicted: Values) -> pathlib.Path:
    """The same as Parquet."""
    path = path.with_suffix(".parquet")
    pa.parquet.write_table(table(path, task, predicted), path)
    return path


def text_folder(path: pathlib.Path, task: Task, predicted: Values) -> pathlib.Path:
    """One text file a video, as the annotations are."""
    path.mkdir()
    for video, values in predicted.items():
        rows = [",".join(f"{v:.9g}" for v in row) for row in decided(task, values)]
        (path / f"{video}.txt").write_text("\n".join([HEADERS[task.name], *rows]))
    return path


def array_folder(path: pathlib.Path, task: Task, predicted: Values) -> pathlib.Path:
    """One .npy a video."""
    path.mkdir()
    for video, values in predicted.items():
        np.save(path / f"{video}.npy", values)
    return path


def npz_of_videos(path: pathlib.Path, task: Task, predicted: Values) -> pathlib.Path:
    """An array for each video."""
    path = path.with_suffix(".npz")
    np.savez(path, **predicted)
    return path


def npz_of_columns(path: pathlib.Path, task: Task, predicted: Values) -> pathlib.Path:
    """Videos, frames and scores."""
    path = path.with_suffix(".npz")
    rows = table(path, task, predicted)
    scores = np.concatenate(list(predicted.values()))
    video = np.array(rows["video"].to_pylist())
    np.savez(path, video=video, frame=rows["frame"].to_numpy(), scores=scores)
    return path


def npy_of_dict(path: pathlib.Path, task: Task, predicted: Values) -> pathlib.Path:
    """np.save of a dict by image."""
    path = path.with_suffix(".npy")
    np.save(path, _images(predicted), allow_pickle=True)
    return path


def pickled(protocol: int) -> Callable[[pathlib.Path, Task, Values], pathlib.Path]:
    """A dict by image."""

    def write(path: pathlib.Path, task: Task, predicted: Values) -> pathlib.Path:
        path = path.with_suffix(".pkl")
        path.write_bytes(pickle.dumps(_images(predicted), protocol))
        return path

    return write


def pickled_lists(path: pathlib.Path, task: Task, predicted: Values) -> pathlib.Path:
    """A dict of lists by image."""
    path = path.with_suffix(".pickle")
    lists = {key: row.tolist() for key, row in _images(predicted).items()}
    path.write_bytes(pickle.dumps(lists))
    return path


def pickled_videos(path: pathlib.Path, task: Task, predicted: Values) -> pathlib.Path:
    """A dict of arrays by video."""
    path = path.with_suffix(".pkl")
    path.write_bytes(pickle.dumps(dict(predicted)))
    return path


FORMS = {
    "submission": submission,
    "csv": as_csv,
    "parquet": as_parquet,
    "folder of texts": text_folder,
    "folder of arrays": array_folder,
    "npz by video": npz_of_videos,
    "npz of columns": npz_of_columns,
    "npy of a dict": npy_of_dict,
    "pickle, protocol 2": pickled(2),
    "pickle, protocol 4": pickled(4),
    "pickle, protocol 5": pickled(5),
    "pickled lists": pickled_lists,
    "pickle by video": pickled_videos,
}
