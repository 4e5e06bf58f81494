"""What a user would write for a video: OpenCV, YuNet and EfficientNet by onnxruntime.

It detects in every frame, at the size that ours detects at, cuts out each face's box or
aligns it by its five points with ``cv2.warpAffine``, and runs the network frame by
frame or in batches.
"""

import pathlib
import time
from collections.abc import Iterator

import cv2
import numpy as np
import onnxruntime

from avemo_jax.extraction.face_crops import CropKind
from avemo_jax.faces.crops import ALIGNED_PX, ARCFACE_TEMPLATE, similarity
from avemo_jax.faces.detection import MAX_OVERLAP
from avemo_jax.faces.detector import LONG_SIDE_PX
from avemo_jax.faces.tracks import HIGH_SCORE
from avemo_jax.faces.yunet import MULTIPLE_PX, STRIDES


def session(path: str | pathlib.Path) -> onnxruntime.InferenceSession:
    """A network of onnxruntime on all cores of the CPU."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    return onnxruntime.InferenceSession(
        str(path), options, providers=["CPUExecutionProvider"]
    )


class OpenCvPipeline:
    """Frames of a file to outputs of an expression network.

    Attributes:
        seconds: Seconds that the last run took in each stage.
    """

    def __init__(
        self,
        detector: onnxruntime.InferenceSession,
        network: onnxruntime.InferenceSession,
        *,
        crop: CropKind,
        size_px: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
    ):
        """Keeps the networks.

        Args:
            detector: YuNet.
            network: The expression network; takes (batch, 3, size, size).
            crop: How faces are cut out.
            size_px: Side of the network's pictures.
            mean: Mean of each channel, RGB, for values in [0, 1].
            std: Standard deviation of each channel.
        """
        self._detector, self._network, self._size_px = detector, network, size_px
        self._kind = crop
        self._mean = np.asarray(mean, np.float32)
        self._std = np.asarray(std, np.float32)
        self.seconds: dict[str, float] = {}

    def run(self, path: pathlib.Path, *, batch_size: int) -> tuple[int, int]:
        """Numbers of frames and of faces of a video, all embedded.

        Args:
            path: The video.
            batch_size: Faces that the network sees at once.
        """
        self.seconds = dict.fromkeys(("decode", "detect", "crop", "embed"), 0.0)
        frames, faces = 0, 0
        waiting: list[np.ndarray] = []
        for frame in self._decoded(path):
            frames += 1
            for box, points in self._timed("detect", self._faces, frame):
                waiting.append(self._timed("crop", self._crop, frame, box, points))
                faces += 1
                if len(waiting) == batch_size:
                    self._timed("embed", self._embed, waiting)
                    waiting = []
        if waiting:
            self._timed("embed", self._embed, waiting)
        return frames, faces

    def _timed(self, stage, function, *values):
        began = time.perf_counter()
        result = function(*values)
        self.seconds[stage] += time.perf_counter() - began
        return result

    def _decoded(self, path: pathlib.Path) -> Iterator[np.ndarray]:
        capture = cv2.VideoCapture(str(path))
        while True:
            good, frame = self._timed("decode", capture.read)
            if not good:
                return
            yield frame

    def _faces(self, frame: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Box and five points of each face, in pixels of the frame."""
        height, width = frame.shape[:2]
        scale = min(1.0, LONG_SIDE_PX / max(height, width))
        if scale < 1:
            frame = cv2.resize(frame, None, fx=scale, fy=scale)
        rows, columns = (-(-s // MULTIPLE_PX) * MULTIPLE_PX for s in frame.shape[:2])
        padded = np.zeros((rows, columns, 3), np.float32)
        padded[: frame.shape[0], : frame.shape[1]] = frame
        outputs = self._detector.run(None, {"input": padded.transpose(2, 0, 1)[None]})
        named = {
            one.name: value[0]
            for one, value in zip(self._detector.get_outputs(), outputs, strict=True)
        }
        boxes, points, scores = [], [], []
        for stride in STRIDES:
            y, x = np.mgrid[: rows // stride, : columns // stride]
            cells = np.stack([x.ravel(), y.ravel()], 1)
            score = np.sqrt(named[f"cls_{stride}"] * named[f"obj_{stride}"])[:, 0]
            good = score >= HIGH_SCORE
            box = named[f"bbox_{stride}"][good]
            size = np.exp(box[:, 2:]) * stride
            corner = (cells[good] + box[:, :2]) * stride - size / 2
            boxes.append(np.concatenate([corner, size], 1))
            five = named[f"kps_{stride}"][good].reshape(-1, 5, 2)
            points.append((five + cells[good][:, None]) * stride)
            scores.append(score[good])
        all_boxes, all_scores = np.concatenate(boxes), np.concatenate(scores)
        kept = cv2.dnn.NMSBoxes(
            all_boxes.tolist(), all_scores.tolist(), HIGH_SCORE, MAX_OVERLAP
        )
        all_points = np.concatenate(points)
        return [(all_boxes[i] / scale, all_points[i] / scale) for i in kept]

    def _crop(
        self, frame: np.ndarray, box: np.ndarray, points: np.ndarray
    ) -> np.ndarray:
        if self._kind == "aligned":
            matrix = similarity(points, ARCFACE_TEMPLATE)
            crop = cv2.warpAffine(frame, matrix, (ALIGNED_PX, ALIGNED_PX))
        else:
            left, top = np.maximum(np.round(box[:2]).astype(int), 0)
            right, bottom = np.round(box[:2] + box[2:]).astype(int)
            crop = frame[top:bottom, left:right]
        return cv2.resize(crop, (self._size_px, self._size_px))

    def _embed(self, crops: list[np.ndarray]) -> np.ndarray:
        rgb = np.stack(crops)[..., ::-1].astype(np.float32) / 255
        pictures = ((rgb - self._mean) / self._std).transpose(0, 3, 1, 2)
        name = self._network.get_inputs()[0].name
        return self._network.run(None, {name: np.ascontiguousarray(pictures)})[0]
