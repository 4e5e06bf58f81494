"""Every reader of files that others may have made, with small right files for each."""

import contextlib
import dataclasses
import functools
import gzip
import io
import json
import pathlib
import pickle
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
import pytest
from PIL import Image

from avemo_jax.config.fields import default_config
from avemo_jax.config.workdir_config import kept_config
from avemo_jax.convert.onnx_file import read_layers
from avemo_jax.convert.rules import ConversionError
from avemo_jax.convert.source_file import read_state
from avemo_jax.convert.torch_file import TorchFileError, read_torch, state_dict_of
from avemo_jax.convert.vggish import read_pca
from avemo_jax.data.corpus.label_files import read_label_file, read_mtl_file
from avemo_jax.data.corpus.manifest import Entry, read_manifest
from avemo_jax.data.corpus.own_labels import read_labels
from avemo_jax.data.corpus.splits import read_split_lists, read_splits
from avemo_jax.data.corpus.video_numbers import read_numbers
from avemo_jax.data.features.files import (
    clean_rows,
    read_feature_file,
    read_original_file,
)
from avemo_jax.data.features.writer import checked_meta
from avemo_jax.data.importing.folders import import_folder
from avemo_jax.data.importing.hdf5 import import_hdf5
from avemo_jax.data.importing.pickled import import_pickle
from avemo_jax.data.importing.source import ImportSource
from avemo_jax.data.importing.spooled import SpooledRows
from avemo_jax.data.importing.tables import import_parquet
from avemo_jax.data.predictions.reading import read_frame_predictions
from avemo_jax.data.predictions.threshold_file import read_thresholds
from avemo_jax.data.records import VideoFeatures
from avemo_jax.data.store import layout
from avemo_jax.data.store.fields import check_declared
from avemo_jax.data.store.store import open_store
from avemo_jax.embed.weights import WeightsError, read_weights, write_weights
from avemo_jax.media.audio import SoundError, open_sound
from avemo_jax.media.images import ImageError, read_image
from avemo_jax.media.video import VideoError, open_video
from avemo_jax.models.card import CheckpointError, read_card
from avemo_jax.packing.build import build_store
from avemo_jax.results_table.runs import read_results
from avemo_jax.runtime.logs import MetricsLog
from avemo_jax.tasks import AU, EXPR, VA, Task
from made import features, predictions, stores, torch_files, videos
from made.cards import made_card
from made.sounds import write_wav

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
SET = "face@a"  # the store's feature set
_FEW = {"1-30-64x48": 3, "video2": 2}  # frames by video
_SHARD = "affwild2-videos.array_record-00000-of-00001"
Kind = Literal["text", "binary", "pickle"]


@dataclasses.dataclass(frozen=True)
class Reader:
    """One way in which the program reads a file.

    Attributes:
        name: What the file is, in a word.
        file: Where the file lies, from the folder that :attr:`prepare` fills.
        read: Reads the file whole.
        kind: How the file is to be changed.
        prepare: Fills an empty folder with what lies around the file, and gives
            contents of right files.
        error: What the reader raises for a file that it refuses.
        told: Name that errors have for the file; empty: its own.
    """

    name: str
    file: str
    read: Callable[[pathlib.Path], object]
    kind: Kind
    prepare: Callable[[pathlib.Path], list[bytes]]
    error: type[ValueError] = ValueError
    told: str = ""

    @property
    def named(self) -> str:
        """What an error must have in it, so that a person finds the file."""
        return self.told or pathlib.PurePath(self.file).name


# --- Media ----------------------------------------------------------------------------


def _pictures(folder: pathlib.Path) -> list[bytes]:
    del folder
    noise = np.random.default_rng(0).integers(0, 255, (20, 24, 3), np.uint8)
    image = Image.fromarray(noise)
    exif = Image.Exif()
    exif[0x0112] = 6
    made = []
    for form, mode, options in (
        ("JPEG", "RGB", {"exif": exif}),
        ("JPEG", "RGB", {"progressive": True}),
        ("JPEG", "CMYK", {}),
        ("PNG", "RGBA", {}),
        ("PNG", "P", {}),
        ("GIF", "P", {"save_all": True, "append_images": [image]}),
        ("BMP", "RGB", {}),
        ("TIFF", "RGB", {"compression": "tiff_lzw"}),
        ("TIFF", "L", {}),
        ("WEBP", "RGB", {}),
        ("PPM", "L", {}),
    ):
        buffer = io.BytesIO()
        image.convert(mode).save(buffer, form, **options)
        made.append(buffer.getvalue())
    return made


def _encoded(folder: pathlib.Path) -> list[bytes]:
    sound = {"size": (32, 32), "sound_start_s": 0.0}
    made = [
        videos.encode(folder / "a.mp4", "libx264", 8, size=(32, 32)),
        videos.encode(folder / "a.avi", "mjpeg", 4, size=(32, 32)),
        videos.encode(folder / "b.mkv", "mpeg4", 8, **sound),
        videos.encode(folder / "b.mov", "mpeg4", 8, turned={"degrees": 90}, **sound),
        videos.encode(folder / "a.webm", "libvpx", 4, size=(32, 32)),
        videos.encode(folder / "a.ts", "mpeg2video", 12),
    ]
    return [path.read_bytes() for path in made]


def _sounds(folder: pathlib.Path) -> list[bytes]:
    import av

    made = [write_wav(folder / "a.wav", 0.05).read_bytes()]
    samples = np.sin(np.arange(8192) / 7, dtype=np.float32)[None]
    for ending, codec, form in (
        ("flac", "flac", "s16"),
        ("mp3", "libmp3lame", "fltp"),
        ("ogg", "libopus", "flt"),
        ("m4a", "aac", "fltp"),
        ("f.wav", "pcm_f32le", "flt"),
    ):
        path = folder / f"a.{ending}"
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=48_000, layout="mono")
            values = samples if form != "s16" else (samples * 9000).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(values, form, "mono")
            frame.sample_rate = 48_000
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        made.append(path.read_bytes())
    return [*made, _encoded(folder)[2]]


def _hear(path: pathlib.Path) -> None:
    for _ in open_sound(path).blocks(16_000):
        pass


def _watch(path: pathlib.Path) -> None:
    video = open_video(path, num_threads=1)
    video.frame_times()
    for _ in video.pictures():
        pass


# --- Tables and labels ----------------------------------------------------------------


def _predicted(task: Task, *forms: str) -> Callable[[pathlib.Path], list[bytes]]:
    """Files of predictions in forms of ``made.predictions``."""

    def prepare(folder: pathlib.Path) -> list[bytes]:
        labels = predictions.labels_of(task, lengths=_FEW)
        values = predictions.predicted_of(task, labels)
        made = []
        for form in forms:
            path = predictions.FORMS[form](folder / "made", task, values)
            made.append(path.read_bytes())
            path.unlink()
        return made

    return prepare


def _csv(folder: pathlib.Path) -> list[bytes]:
    table, text = _predicted(EXPR, "csv", "submission")(folder)
    ours = b"video,frame,has_crop,filled,expression\nv,1,1,0,Anger\nv,2,0,1,Fear\n"
    tabs = table.replace(b",", b"\t")
    return [table, text, ours, tabs, gzip.compress(table, mtime=0)]


def _thresholds(folder: pathlib.Path) -> list[bytes]:
    (folder / "given.csv").write_bytes(_predicted(AU, "csv")(folder)[0])
    limits = dict.fromkeys(AU.columns, 0.5)
    return [json.dumps({"task": "AU", "thresholds": limits}).encode()]


def _official(task: Task) -> Callable[[pathlib.Path], list[bytes]]:
    def prepare(folder: pathlib.Path) -> list[bytes]:
        labels = predictions.labels_of(task, lengths={"a": 4, "b": 9})
        root = predictions.write_annotations(folder / "made", task, labels)
        return [path.read_bytes() for path in sorted(root.rglob("*.txt"))]

    return prepare


def _mtl(folder: pathlib.Path) -> list[bytes]:
    del folder
    header = f"image,valence,arousal,expression,{AU.header}"
    rows = [f"v{i % 2}/{i:05d}.jpg,0.5,-5,{i % 8}" + ",1" * 12 for i in range(1, 6)]
    return ["\n".join([header, *rows]).encode()]


_MANIFEST = b"video,split,path,group,fps\na,train,a.mp4,p1,25\nb,validation,,p2,30\n"
_ENTRIES = {
    name: Entry(name, split, name, None, 25.0, f"line {line}")
    for line, (name, split) in enumerate({"a": "train", "b": "test"}.items(), start=2)
}
_LABELS = [
    b"video,frame,mood\na,1,good\na,2,bad\nb,1,good\n",
    b"video,start_s,end_s,calm,tense\na,0,0.5,0,1\nb,0.1,2.5,1,\n",
    b"video,frame,joy\na,1,0.5\na,2,-0.25\n",
    b"video,grade\na,1\nb,0\n",
]


def _contents(*made: bytes) -> Callable[[pathlib.Path], list[bytes]]:
    return lambda folder: list(made)


# --- Arrays ---------------------------------------------------------------------------


def _embedded(*forms: str) -> Callable[[pathlib.Path], list[bytes]]:
    """Files of features in forms of ``made.features``."""

    def prepare(folder: pathlib.Path) -> list[bytes]:
        rows = features.vectors()
        made = [features.FORMS[form](folder / "made", rows) for form in forms]
        return [path.read_bytes() for path in made]

    return prepare


def _imported(open_it: Callable[[pathlib.Path], ImportSource]) -> Callable[..., None]:
    """Reads all rows of a source."""

    def read(path: pathlib.Path) -> None:
        source = open_it(path)
        with contextlib.closing(source):
            for video in source.frames:
                source.read(video)

    return read


def _spooled(open_it: Callable[..., ImportSource]) -> Callable[[pathlib.Path], None]:
    def read(path: pathlib.Path) -> None:
        rows = SpooledRows(path, path.parent)
        with contextlib.closing(rows):
            _imported(lambda path: open_it(path, rows))(path)

    return read


def _arrays(folder: pathlib.Path) -> list[bytes]:
    del folder
    made = []
    for array in (np.ones((4, 3), np.float32), np.ones((2, 3), ">f8", order="F")):
        buffer = io.BytesIO()
        np.save(buffer, array)
        made.append(buffer.getvalue())
    return made


def _numbers(folder: pathlib.Path) -> list[bytes]:
    (folder / "v.npy").write_bytes(_arrays(folder)[0])
    return [b"1\n2\n5\n9\n"]


def _original(folder: pathlib.Path) -> list[bytes]:
    rows = {f"v/{i:05d}.jpg": np.full(3, i, np.float32) for i in range(1, 5)}
    stores.save_original(folder / "made.npy", rows)
    array = (folder / "made.npy").read_bytes()
    return [array, array[: array.index(b"\n") + 1] + pickle.dumps(rows, 2)]


def _feature_file(folder: pathlib.Path) -> list[bytes]:
    from avemo_jax.data.features.files import write_feature_file

    frame, path = np.array([1, 2, 5], np.int32), folder / "made.npz"
    rows = VideoFeatures(frame, np.ones((3, 4), np.float32), np.ones((3, 8)))
    write_feature_file(path, rows, {"fingerprint": "f", "kind": "visual"})
    packed = io.BytesIO()
    with np.load(path) as file:
        np.savez_compressed(packed, **file)
    return [path.read_bytes(), packed.getvalue()]


def _rows(path: pathlib.Path) -> None:
    rows, _ = read_feature_file(path)
    clean_rows(rows, where=str(path))


# --- Weights --------------------------------------------------------------------------


def _torch(folder: pathlib.Path) -> list[bytes]:
    """Both of PyTorch's forms: weights, a module, plain values, protocol 4."""
    del folder
    stored = torch_files.storage("0", 12, view=(None,))
    part = functools.partial(torch_files.tensor, stored)
    net = torch_files.module(
        "timm.models.Net",
        {"weight": torch_files.parameter(part(2, (2, 3), (3, 1))), "bias": None},
        {"mean": part(0, (3,), (4,))},
        {"child": torch_files.module("torch.nn.Linear", {"w": part(5, (), ())})},
        act=torch_files.Filled(
            torch_files.Call(
                torch_files.Name("functools", "partial"),
                (torch_files.Name("torch", "relu"),),
            ),
            (torch_files.Name("torch", "relu"), (), {}, None),
        ),
        names={"a", "b"},
    )
    weights = {f"layer.{i}": part(i, (2, 2), (1, 2)) for i in range(8)}
    plain = pickle.dumps({"a": [1, 2.5, (None, True)], 3: {"x"}, "b": b"bytes"}, 4)
    made = [torch_files.legacy_form(plain)]
    for value in (torch_files.pickled(net), torch_files.pickled(weights)):
        floats = torch_files.floats(12)
        made.append(torch_files.legacy_form(value, {"0": (12, floats)}))
        archived = value.replace(b"NtQ", b"tQ")  # no views in archives
        made.append(torch_files.zip_form(archived, {"0": floats}))
    packed = (GOLDEN / "timm_0.4.12_zip.pt.gz").read_bytes()
    return [*made, torch_files.zip_form(plain), gzip.decompress(packed)]


def _read_torch(path: pathlib.Path) -> None:
    value = read_torch(path)
    if path.name != "plain.pt":
        with contextlib.suppress(ValueError):  # a whole file without weights
            state_dict_of(value)


def _weights(folder: pathlib.Path) -> list[bytes]:
    tensors = {"w": np.ones((3, 2), np.float32), "b": np.ones(3, np.float16)}
    write_weights(folder / "made.safetensors", tensors, {"extractor": "made"})
    return [(folder / "made.safetensors").read_bytes()]


def _foreign_weights(folder: pathlib.Path) -> list[bytes]:
    del folder
    import safetensors.numpy

    tensors = {"module.w": np.ones((3, 2), np.float32), "module.b": np.ones(3)}
    return [safetensors.numpy.save(tensors, {"format": "pt"})]


def _onnx(folder: pathlib.Path) -> list[bytes]:
    del folder
    pytest.importorskip("onnx", reason="needs the extra 'onnx'")
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    shapes = {"w": (2, 3, 3, 3), "b": (2,), "g": (2,), "m": (2,), "v": (2,)}
    shapes |= {"l": (4, 2), "lb": (4,)}
    given = [
        numpy_helper.from_array(rng.random(shape, np.float32), name)
        for name, shape in shapes.items()
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"]),
        helper.make_node("BatchNormalization", ["c", "g", "b", "m", "v"], ["n"]),
        helper.make_node("GlobalAveragePool", ["n"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "l", "lb"], ["y"], transB=1),
    ]
    ends = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)]
        for name, shape in (("x", (1, 3, 8, 8)), ("y", (1, 4)))
    ]
    graph = helper.make_graph(nodes, "made", *ends, given)
    return [helper.make_model(graph).SerializeToString()]


def _pca(folder: pathlib.Path) -> list[bytes]:
    del folder
    vectors, means = np.eye(128), np.zeros((128, 1))
    made = []
    for save in (np.savez, np.savez_compressed):
        buffer = io.BytesIO()
        save(buffer, pca_eigen_vectors=vectors, pca_means=means)
        made.append(buffer.getvalue())
    return made


# --- Files of runs and stores ---------------------------------------------------------


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1).encode()


def _built(file: str, name: str = SET) -> Callable[[pathlib.Path], list[bytes]]:
    """A store, of which one file will be changed."""

    def prepare(folder: pathlib.Path) -> list[bytes]:
        rows = stores.vectors(SET, {"video1": [1, 2, 3]}, 4, output_dim=2)
        records = [
            stores.annotated("video1", 3, "train"),
            stores.annotated("video2", 3, "dev"),
        ]
        build_store(
            folder, records, [stores.source(SET, "visual", rows)], show_progress=False
        )
        return [(layout.config_folder(folder, name) / file).read_bytes()]

    return prepare


def _store_file(file: str, name: str = SET) -> str:
    return layout.config_folder("", name).joinpath(file).as_posix()


def _store(path: pathlib.Path) -> None:
    store = open_store(path.parents[3])
    store.load_table("EXPR", "train", [SET])


_STORE = (
    ("features.json", SET, "text", lambda path: check_declared(path.parent)),
    ("dataset_info.json", SET, "text", lambda path: check_declared(path.parent)),
    (
        "metadata.json",
        SET,
        "text",
        lambda path: open_store(path.parents[3]).frames(SET),
    ),
    ("metadata.json", layout.ANNOTATIONS, "text", lambda p: open_store(p.parents[3])),
    (_SHARD, SET, "binary", _store),
    (_SHARD, layout.ANNOTATIONS, "binary", _store),
)


def _all() -> Iterator[Reader]:
    """All readers."""
    yield Reader("picture", "given.png", read_image, "binary", _pictures, ImageError)
    yield Reader("sound", "given.wav", _hear, "binary", _sounds, SoundError)
    yield Reader("video", "given.mp4", _watch, "binary", _encoded, VideoError)
    for task in (EXPR, AU, VA):
        read_task = functools.partial(read_label_file, task=task)
        name = f"labels-{task.name.lower()}"
        yield Reader(name, "given.txt", read_task, "text", _official(task))
    yield Reader("labels-mtl", "given.txt", read_mtl_file, "text", _mtl)
    yield Reader("manifest", "given.csv", read_manifest, "text", _contents(_MANIFEST))
    own = functools.partial(read_labels, manifest=_ENTRIES, frames_of=lambda entry: 5)
    yield Reader("labels-own", "given.csv", own, "text", _contents(*_LABELS))
    read_fps = functools.partial(read_numbers, column="fps", most=1000)
    rates = _contents(b"video,fps\nv,25\nw,29.97\n")
    yield Reader("fps", "given.csv", read_fps, "text", rates)
    yield Reader(
        "split-lists",
        "dev.txt",
        lambda path: read_split_lists(path.parent, ("a", "b")),
        "text",
        _contents(b"a\nb.txt\n"),
    )
    scored = functools.partial(read_frame_predictions, task=EXPR)
    yield Reader("predictions-csv", "given.csv", scored, "text", _csv)
    for ending, kind, *forms in (
        ("parquet", "binary", "parquet"),
        ("npz", "binary", "npz by video", "npz of columns"),
        ("npy", "pickle", "npy of a dict"),
        ("pkl", "pickle", *(form for form in predictions.FORMS if "pickle" in form)),
    ):
        name, made = f"predictions-{ending}", _predicted(EXPR, *forms)
        yield Reader(name, f"given.{ending}", scored, kind, made)
    yield Reader(
        "thresholds",
        "given.json",
        lambda path: read_thresholds(path.with_suffix(".csv"), AU),
        "text",
        _thresholds,
    )
    yield Reader("feature-file", "given.npz", _rows, "binary", _feature_file)
    yield Reader("feature-meta", "given.npz", checked_meta, "binary", _feature_file)
    yield Reader("feature-original", "v.npy", read_original_file, "pickle", _original)
    read_folder = _imported(lambda path: import_folder(path.parent))
    yield Reader("import-npy", "v.npy", read_folder, "binary", _arrays)
    yield Reader("import-numbers", "v.frames.txt", read_folder, "text", _numbers)
    forms = ("pickle with scores", "pickle, protocol 2", "pickled lists")
    pickles = _embedded(*forms)
    yield Reader("import-pkl", "given.pkl", _spooled(import_pickle), "pickle", pickles)
    hdf5 = _embedded("HDF5")
    yield Reader("import-h5", "given.h5", _imported(import_hdf5), "binary", hdf5)
    parquet = _embedded("Parquet of lists", "Parquet of columns")
    read_parquet = _spooled(import_parquet)
    yield Reader("import-parquet", "given.parquet", read_parquet, "binary", parquet)
    yield Reader("torch", "given.pt", _read_torch, "pickle", _torch, TorchFileError)
    yield Reader(
        "weights", "given.safetensors", read_weights, "binary", _weights, WeightsError
    )
    file, refused = "given.safetensors", ConversionError
    yield Reader("safetensors", file, read_state, "binary", _foreign_weights, refused)
    yield Reader("onnx", "given.onnx", read_layers, "binary", _onnx, refused)
    yield Reader("pca", "given.npz", read_pca, "binary", _pca, refused)
    card = _contents(_json(made_card().to_dict()))
    yield Reader("head", "head.json", read_card, "text", card, CheckpointError)
    results = _contents(_json({"task": "EXPR", "metrics": {"raw": {"f1_macro": 0.5}}}))
    read_row = _of_folder(read_results)
    yield Reader("results", "results.json", read_row, "text", results)
    kept = _contents(_json(default_config().to_dict()))
    yield Reader("config", "config.json", kept_config, "text", kept)
    splits = _contents(_json({"splits": {"EXPR": {"train": ["a"], "dev": ["b"]}}}))
    yield Reader("splits", "splits.json", read_splits, "text", splits)
    lines = _contents(b'{"epoch": 1, "loss": 0.5}\n{"epoch": 2, "loss": NaN}\n')
    read_log = _of_folder(lambda folder: MetricsLog(folder, tensorboard=False).read())
    yield Reader("metrics-log", "metrics.jsonl", read_log, "text", lines)
    for file, config, kind, read in _STORE:
        name = f"store-{file.partition('.')[0]}"
        name += "-annotations" if config == layout.ANNOTATIONS else ""
        place = _store_file(file, config)
        # The records belong to the folder, which errors name.
        told = config if file == _SHARD else ""
        yield Reader(name, place, read, kind, _built(file, config), told=told)


def _of_folder(read: Callable[[pathlib.Path], object]) -> Callable[..., object]:
    return lambda path: read(path.parent)


READERS = {reader.name: reader for reader in _all()}
