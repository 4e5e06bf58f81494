"""Speed from a video file to the embeddings of all its faces, stage by stage.

Ours, against what a user would write with OpenCV and onnxruntime (``opencv_pipeline``),
with the same weights, which are random, on the same videos, in turn; medians of the
rounds. Needs the extras ``parity`` and ``dev``, YuNet's published weights, and videos
with real faces: no drawn face is found.
"""

import argparse
import collections
import dataclasses
import os
import pathlib
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from benchmark_extractors import onnx_session
from measuring import add_options, report
from opencv_pipeline import OpenCvPipeline, session

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tests"))
from reference.torch_libraries import import_timm, state_of

from avemo_jax.convert.conversion import convert
from avemo_jax.embed import ImageExtractor
from avemo_jax.extraction.face_crops import face_crops
from avemo_jax.extraction.face_detector import load_face_detector
from avemo_jax.extraction.face_tracks import Detect, FaceTrack, find_faces
from avemo_jax.extractors import get_extractor
from avemo_jax.media.video import open_video
from avemo_jax.runtime import compilation

EXTRACTORS = {"b0": "enet_b0_8_va_mtl", "b2": "enet_b2_8_best"}
BATCH = 16  # of the batched reference
EVERY = 5
BARS = {
    "every frame / frame by frame": 2.0,
    "every frame / batches of 16": 1.3,
    "every frame / embedding alone": 0.75,
    "every 5th / frame by frame": 5.0,
}
_SHARED = ("batch1/2-24-640x360.mp4", "new_vids/5-60-1920x1080-4.mp4")
_T = TypeVar("_T")


class Stages:
    """Wall seconds of each stage; what a stage waits for counts for that alone.

    A stage that runs in a thread of its own counts beside the others.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = collections.defaultdict(float)
        self._inner = threading.local()

    def call(self, name: str, function: Callable[..., _T], *values: Any) -> _T:
        """The function's result."""
        outer = getattr(self._inner, "seconds", 0.0)
        self._inner.seconds = 0.0
        began = time.perf_counter()
        try:
            return function(*values)
        finally:
            spent = time.perf_counter() - began
            self.seconds[name] += spent - self._inner.seconds
            self._inner.seconds = outer + spent

    def each(self, name: str, items: Iterable[_T]) -> Iterator[_T]:
        """The items, the time to get them counted."""
        source, end = iter(items), object()
        while (item := self.call(name, next, source, end)) is not end:
            yield item  # type: ignore[misc]


class Counted:
    """A source of pictures whose decoding is counted."""

    def __init__(self, source: Any, stages: Stages):
        self.source, self.stages = source, stages

    def __getattr__(self, name: str) -> Any:
        return getattr(self.source, name)

    def pictures(self) -> Iterator[np.ndarray]:
        """The pictures."""
        return self.stages.each("decode", self.source.pictures())


@dataclasses.dataclass
class Ours:
    """Our way.

    Attributes:
        detect: The detector.
        extractor: The network.
        stages: Stages of the last run.
        crops: Stages of the last run.
    """

    detect: Detect
    extractor: ImageExtractor
    stages: Stages = dataclasses.field(default_factory=Stages)
    crops: int = 0

    def run(self, path: pathlib.Path, *, every: int = 1) -> int:
        """Number of frames, of all of which the faces are found."""
        self.stages = stages = Stages()
        video = open_video(path)
        times = stages.call("times", video.frame_times)
        source: Any = Counted(video, stages)

        def detect(pictures: Sequence[np.ndarray]) -> Any:
            return stages.call("detect", self.detect, pictures)

        tracks = stages.call("track", find_faces, source, detect, times.times_s)
        found = stages.each("crop", face_crops(source, tracks, rows(tracks, every), K))
        pictures = (one.picture for one in found if one.picture is not None)
        batches = stages.each("embed", self.extractor.stream(pictures))
        self.crops = sum(len(one.features) for one in batches)
        return times.num_frames


K: Any = ("aligned",)


def rows(tracks: Sequence[FaceTrack], every: int) -> list[np.ndarray]:
    """Which rows of each face are embedded."""
    return [(track.frame - 1) % every == 0 for track in tracks]


def main() -> None:
    """Measures, prints, and with ``--check`` fails where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--video", type=pathlib.Path, action="append")
    parser.add_argument("--yunet-pth", type=pathlib.Path)
    parser.add_argument("--yunet-onnx", type=pathlib.Path)
    parser.add_argument("--networks", default="b0,b2")
    parser.add_argument("--rounds", type=int, default=3)
    add_options(parser)
    options = parser.parse_args()
    shared = pathlib.Path(os.environ.get("AVEMO_SHARED", "../shared/data"))
    videos = options.video or [
        path
        for name in _SHARED
        if (path := shared / "affwild2_mini" / "videos" / name).exists()
    ]
    weights = shared / "weights"
    pth = options.yunet_pth or weights / "yunet_n.pth"
    onnx = options.yunet_onnx or weights / "yunet_n_dynamic.onnx"
    if not videos or not pth.exists() or not onnx.exists():
        parser.error(
            "expected a video with faces and YuNet's weights; give --video, "
            "--yunet-pth and --yunet-onnx, or set AVEMO_SHARED"
        )
    compilation.keep_compiled()
    torch.set_grad_enabled(False)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "yunet_n.safetensors"
        convert("yunet_n", pth, path)
        detect = load_face_detector(path)
        for network in options.networks.split(","):
            ours, theirs = both(network, detect, onnx, pathlib.Path(folder))
            for video in videos:
                name = f"{network}, {video.stem}: "
                found |= {
                    name + key: value
                    for key, value in compared(
                        ours, theirs, video, options.rounds
                    ).items()
                }
    bars = {
        key: (">=", BARS[key.split(": ", 1)[1]])
        for key in found
        if key.split(": ", 1)[1] in BARS and key.startswith("b0")
    }
    report(found, bars, options)


def both(
    network: str, detect: Detect, onnx: pathlib.Path, folder: pathlib.Path
) -> tuple[Ours, OpenCvPipeline]:
    """Both ways, with the same random weights."""
    extractor = get_extractor(EXTRACTORS[network])
    takes = extractor.image
    torch.manual_seed(0)
    net = import_timm().create_model(
        f"tf_efficientnet_{network}", num_classes=extractor.output_dim
    )
    net.train()(torch.randn(8, 3, takes.size_px, takes.size_px))
    net.eval()
    images = torch.randn(2, 3, takes.size_px, takes.size_px)
    onnx_session(net, images, str(folder))
    theirs = OpenCvPipeline(
        session(onnx),
        session(folder / "net.onnx"),
        size_px=takes.size_px,
        mean=takes.mean,
        std=takes.std,
    )
    return Ours(detect, ImageExtractor(extractor, state_of(net))), theirs


def compared(
    ours: Ours, theirs: OpenCvPipeline, video: pathlib.Path, rounds: int
) -> dict[str, Any]:
    """Frames a second of each way, ratios, and the share of time of each stage."""
    crops = crops_of(ours, video)
    ways: dict[str, Callable[[], tuple[int, dict[str, float]]]] = {
        "every frame": lambda: (ours.run(video), ours.stages.seconds),
        "every 5th": lambda: (ours.run(video, every=EVERY), ours.stages.seconds),
        "frame by frame": lambda: (theirs.run(video, batch_size=1)[0], theirs.seconds),
        "batches of 16": lambda: (
            theirs.run(video, batch_size=BATCH)[0],
            theirs.seconds,
        ),
        "embedding alone": lambda: (embedded(ours, crops), {}),
    }
    frames = ours.run(video)  # all is compiled now
    embedded(ours, crops[: ours.extractor.batch_size])
    times: dict[str, list[float]] = {way: [] for way in ways}
    stages: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for number in range(rounds):
        for way, run in ways.items():
            began = time.perf_counter()
            _, seconds = run()
            times[way].append(time.perf_counter() - began)
            stages[way].append(dict(seconds))
        told = ", ".join(f"{way} {t[-1]:.3g}" for way, t in times.items())
        print(f"  {video.stem}, round {number + 1}, seconds: {told}", flush=True)
    found: dict[str, Any] = {"frames": frames, "faces": len(crops)}
    rates = {way: frames / statistics.median(t) for way, t in times.items()}
    found |= {f"{way}, frames/s": rate for way, rate in rates.items()}
    for bar in BARS:
        way, other = bar.split(" / ")
        found[bar] = rates[way] / rates[other]
    bound = statistics.median(times["embedding alone"])
    for way, runs in stages.items():
        for stage in dict.fromkeys(key for one in runs for key in one):
            spent = statistics.median(one.get(stage, 0.0) for one in runs)
            found[f"{way}, {stage}, ms/frame"] = 1000 * spent / frames
    whole = statistics.median(times["every frame"])
    found["every frame, share of time for embedding alone"] = bound / whole
    return found


def crops_of(ours: Ours, video: pathlib.Path) -> list[np.ndarray]:
    """All aligned crops of a video, in memory."""
    file = open_video(video)
    tracks = find_faces(file, ours.detect, file.frame_times().times_s)
    found = face_crops(file, tracks, None, K)
    return [one.picture for one in found if one.picture is not None]


def embedded(ours: Ours, crops: list[np.ndarray]) -> int:
    """Number of crops, embedded."""
    return sum(len(one.features) for one in ours.extractor.stream(iter(crops)))


if __name__ == "__main__":
    main()
