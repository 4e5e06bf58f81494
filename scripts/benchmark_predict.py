"""Speed of ``avemo predict`` from a video file to its tables, stage by stage.

Ours, all of it, against what a user would write with OpenCV and onnxruntime
(``opencv_pipeline``), which ends with the network's outputs: with the same weights,
which are random, the same crops, on the same videos, in turn; medians of the rounds.
Needs the extras ``parity`` and ``dev``, YuNet's published weights, and a video with
real faces: no drawn face is found.
"""

import argparse
import dataclasses
import os
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import av
import numpy as np
import torch
from benchmark_extractors import onnx_session
from measuring import add_options, report, seconds
from opencv_pipeline import OpenCvPipeline, session
from safetensors.numpy import save_file

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tests"))
from reference.torch_libraries import import_timm, state_of

from avemo_jax.convert.conversion import convert
from avemo_jax.embed.weights import default_weights_path
from avemo_jax.extraction.face_crops import face_crops
from avemo_jax.extraction.face_tracks import find_faces
from avemo_jax.extractors import get_extractor
from avemo_jax.media.video import open_video
from avemo_jax.prediction.inputs import find_inputs
from avemo_jax.prediction.many_inputs import Unread, predict_inputs
from avemo_jax.prediction.networks import Networks, load_networks
from avemo_jax.prediction.settings import PredictSettings
from avemo_jax.prediction.writing import write_predicted
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
_SHARED = "batch1/2-24-640x360.mp4"
_LEFT_OUT = (
    "left out: loading of packages and weights, compilation, sound (the clips have "
    "none), heads of features (the network's own outputs are scored)"
)


@dataclasses.dataclass
class Ours:
    """Our way, as ``avemo predict`` goes it.

    Attributes:
        networks: The networks.
        out: Folder of the tables.
        stages: Seconds of the stages of the last run.
    """

    networks: Networks
    out: pathlib.Path
    stages: dict[str, float] = dataclasses.field(default_factory=dict)

    def run(self, path: pathlib.Path, *, every: int = 1) -> tuple[int, int]:
        """Numbers of frames and of faces of a video, its tables written."""
        inputs = find_inputs([path]).inputs
        asked = PredictSettings(every=every)
        (found,) = predict_inputs(inputs, self.networks, asked)
        if isinstance(found, Unread):
            raise found.error
        began = time.perf_counter()
        write_predicted(found, self.out / f"every_{every}")
        write_s = time.perf_counter() - began
        self.stages = {**found.stages_s, "write": write_s}
        return found.num_frames, sum(int(f.success.sum()) for f in found.faces)

    def crops_of(self, video: pathlib.Path) -> list[np.ndarray]:
        """All crops of a video, in memory."""
        file, (visual,) = open_video(video), self.networks.visual
        times_s = file.frame_times().times_s
        tracks = find_faces(file, self.networks.detect, times_s)
        found = face_crops(file, tracks, None, [visual.crop])
        return [one.picture for one in found if one.picture is not None]

    def embedded(self, crops: Sequence[np.ndarray]) -> int:
        """Number of crops, embedded."""
        (visual,) = self.networks.visual
        stream = visual.extractor.stream(iter(crops))
        return sum(len(one.features) for one in stream)


def main() -> None:
    """Measures, prints, and with ``--check`` fails where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--video", type=pathlib.Path, help="of one face")
    parser.add_argument("--yunet-pth", type=pathlib.Path)
    parser.add_argument("--yunet-onnx", type=pathlib.Path)
    parser.add_argument("--networks", default="b0,b2")
    parser.add_argument("--faces", default="1,2", help="1: the video; 2: side by side")
    parser.add_argument("--rounds", type=int, default=3)
    add_options(parser)
    options = parser.parse_args()
    shared = pathlib.Path(os.environ.get("AVEMO_SHARED", "../shared/data"))
    video = options.video or shared / "affwild2_mini" / "videos" / _SHARED
    weights = shared / "weights"
    pth = options.yunet_pth or weights / "yunet_n.pth"
    onnx = options.yunet_onnx or weights / "yunet_n_dynamic.onnx"
    if not (video.exists() and pth.exists() and onnx.exists()):
        parser.error(
            "expected a video with a face and YuNet's weights; give --video, "
            "--yunet-pth and --yunet-onnx, or set AVEMO_SHARED"
        )
    compilation.keep_compiled()
    torch.set_grad_enabled(False)
    print(_LEFT_OUT)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        os.environ["AVEMO_CACHE"] = str(folder / "cache")
        default_weights_path("yunet_n").parent.mkdir(parents=True)
        convert("yunet_n", pth, default_weights_path("yunet_n"))
        videos = {"1": video, "2": folder / "two_faces.mp4"}
        if "2" in options.faces:
            side_by_side(video, videos["2"])
        for network in options.networks.split(","):
            ours, theirs = both(network, onnx, folder)
            for faces in options.faces.split(","):
                measured = compared(ours, theirs, videos[faces], options.rounds)
                start = f"{network}, {faces} face{'s' * (faces != '1')}: "
                found |= {start + key: value for key, value in measured.items()}
    # Bars are of B0 and one face.
    bars = {f"b0, 1 face: {key}": (">=", bar) for key, bar in BARS.items()}
    bars = {key: bar for key, bar in bars.items() if key in found}
    report(found, bars, options)


def side_by_side(video: pathlib.Path, path: pathlib.Path) -> None:
    """Writes a video beside itself, mirrored and from its middle on."""
    pictures = [picture.copy() for picture in open_video(video).pictures()]
    middle = len(pictures) // 2
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "18"})
        height, width, _ = pictures[0].shape
        stream.width, stream.height = 2 * width, height
        for i, picture in enumerate(pictures):
            other = pictures[(i + middle) % len(pictures)][:, ::-1]
            both = np.concatenate([picture, other], axis=1)
            frame = av.VideoFrame.from_ndarray(both, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def both(
    network: str, onnx: pathlib.Path, folder: pathlib.Path
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
    made = folder / f"{network}.safetensors"
    save_file({k: np.ascontiguousarray(v) for k, v in state_of(net).items()}, str(made))
    convert(extractor.name, made, default_weights_path(extractor.name))
    networks = load_networks([extractor.name], PredictSettings(), offline=True)
    images = torch.randn(2, 3, takes.size_px, takes.size_px)
    onnx_session(net, images, str(folder))
    theirs = OpenCvPipeline(
        session(onnx),
        session(folder / "net.onnx"),
        crop=networks.visual[0].crop,
        size_px=takes.size_px,
        mean=takes.mean,
        std=takes.std,
    )
    return Ours(networks, folder / "out" / network), theirs


def compared(
    ours: Ours, theirs: OpenCvPipeline, video: pathlib.Path, rounds: int
) -> dict[str, Any]:
    """Frames a second of each way, ratios, and the time of each stage."""
    crops = ours.crops_of(video)
    ways: dict[str, Callable[[], Any]] = {
        "every frame": lambda: ours.run(video),
        "every 5th": lambda: ours.run(video, every=EVERY),
        "frame by frame": lambda: theirs.run(video, batch_size=1),
        "batches of 16": lambda: theirs.run(video, batch_size=BATCH),
        "embedding alone": lambda: ours.embedded(crops),
    }
    stages_of: dict[str, Callable[[], dict[str, float]]] = {
        "every frame": lambda: ours.stages,
        "every 5th": lambda: ours.stages,
        "frame by frame": lambda: theirs.seconds,
        "batches of 16": lambda: theirs.seconds,
    }
    frames, faces = ours.run(video)  # all is compiled now
    ours.run(video, every=EVERY)
    ours.embedded(crops[: ours.networks.visual[0].extractor.batch_size])
    times: dict[str, list[float]] = {way: [] for way in ways}
    stages: dict[str, list[dict[str, float]]] = {way: [] for way in stages_of}
    for number in range(rounds):
        for way, run in ways.items():
            times[way].append(seconds(run))
            if way in stages_of:
                stages[way].append(dict(stages_of[way]()))
        told = ", ".join(f"{way} {t[-1]:.3g}" for way, t in times.items())
        print(f"  {video.stem}, round {number + 1}, seconds: {told}", flush=True)
    found: dict[str, Any] = {"frames": frames, "faces": faces}
    rates = {way: frames / statistics.median(t) for way, t in times.items()}
    found |= {f"{way}, frames/s": rate for way, rate in rates.items()}
    for bar in BARS:
        way, other = bar.split(" / ")
        found[bar] = rates[way] / rates[other]
    for way, runs in stages.items():
        for stage in dict.fromkeys(key for one in runs for key in one):
            spent = statistics.median(one.get(stage, 0.0) for one in runs)
            found[f"{way}, {stage}, ms/frame"] = 1000 * spent / frames
    whole = statistics.median(times["every frame"])
    for stage, alone_s in alone(ours, video, len(crops), rounds).items():
        found[f"{stage} alone, ms/frame"] = 1000 * alone_s / frames
        found[f"every frame, share of the bound of {stage}"] = alone_s / whole
    bound = statistics.median(times["embedding alone"])
    found["every frame, share of the bound of embed"] = bound / whole
    return found


def alone(
    ours: Ours, video: pathlib.Path, num_crops: int, rounds: int
) -> dict[str, float]:
    """Seconds that decoding, detection and crops take where nothing else runs."""
    file, (visual,) = open_video(video), ours.networks.visual
    times_s = file.frame_times().times_s
    tracks = find_faces(file, ours.networks.detect, times_s)
    some = [p for p, _ in zip(file.pictures(), range(16), strict=False)]
    detected = {int(n) for t in tracks for n in t.frame[t.detected]}

    def crops() -> int:
        return sum(1 for _ in face_crops(file, tracks, None, [visual.crop]))

    ways: dict[str, Callable[[], Any]] = {
        "decode": lambda: sum(1 for _ in file.pictures()),
        "detect": lambda: ours.networks.detect(some),
        "crop": crops,
    }
    found = {
        name: statistics.median(seconds(way) for _ in range(rounds))
        for name, way in ways.items()
    }
    found["detect"] *= len(detected) / len(some)
    # Cutting out decodes too.
    found["crop"] = max(found["crop"] - found["decode"], 0.0)
    return found


if __name__ == "__main__":
    main()
