"""The videos of the demo corpus (synthetic): names, splits, labels and features."""

import dataclasses
import functools

import numpy as np
from jaxtyping import Bool

from avemo_jax.data.corpus.splits import base_video, nominal_fps, source_video
from avemo_jax.data.features.names import full_name
from avemo_jax.data.records import FeatureSource, VideoAnnotations, VideoFeatures
from avemo_jax.packing.demo import feature_maps
from avemo_jax.packing.demo.parameters import PARAMETERS, Parameters
from avemo_jax.packing.demo.signals import Signals, make_signals, stream

# Two people in one video; recordings in parts (number of parts); single videos fill up
# to `_NUM_VIDEOS`.
_PAIRS = ("video5", "8-30-1280x720", "video47", "30-30-1920x1080")
_PARTS = {"video45_": 3, "5-60-1920x1080-": 4, "video10_": 2, "24-30-640x360-": 3}
_SIZES = ("30-1280x720", "25-1920x1080", "30-640x360", "24-1920x1080", "30-1920x1080")
_NUM_VIDEOS = 96
_FRAMES = (200, 172.0, 1200)  # least, mean above that, most
# Train and validation sources of each task (the rest is test), and by how many places
# the shuffled sources are rotated for it, so that the tasks' splits differ.
_SPLIT_SIZES = {"EXPR": (51, 20, 0), "AU": (52, 20, 4), "VA": (54, 18, 8)}
_SILENT_SOURCES = (3, 30, 57, 80)  # places of sources without a sound track
_FPS_UNKNOWN = 30.0  # for hops of sound where the name tells no rate
# Purposes of random streams (`signals.stream`).
_SPLITS, _VIDEO, _SUBJECT, _FEATURES, _CROPS, _INVALID = 1, 100, 200, 300, 400, 500


@dataclasses.dataclass(frozen=True)
class DemoVideo:
    """What is fixed about a subject-video before its labels and features are made.

    Attributes:
        name: A name in one of the official forms.
        number: Its place in the order of names; seeds its random streams.
        voice: Number of the video whose sound it has: two faces of a video share one.
        subject: Number of the person: the same in all parts of a recording.
        num_frames: Decoded frames.
        splits: "train", "validation" or "test", by task.
        has_sound: Whether there is a sound track.
    """

    name: str
    number: int
    voice: int
    subject: int
    num_frames: int
    splits: dict[str, str]
    has_sound: bool


def demo_videos(p: Parameters = PARAMETERS) -> tuple[DemoVideo, ...]:
    """The 96 subject-videos, sorted by name."""
    names = sorted(_names())
    rng = stream(p, _SPLITS)
    least, mean, most = _FRAMES
    lengths = np.minimum(least + rng.exponential(mean, len(names)), most).astype(int)
    sources = sorted({source_video(name) for name in names})
    shuffled = rng.permutation(len(sources))
    place_of = {sources[i]: place for place, i in enumerate(shuffled)}
    number_of = {name: number for number, name in enumerate(names)}
    videos = []
    for name, number in number_of.items():
        base, source = base_video(name), source_video(name)
        voice = number if base == name else number_of[f"{base}_left"]
        subject = 2 * place_of[source] + int(name.endswith("_right"))
        splits = {}
        for task, (train, validation, turn) in _SPLIT_SIZES.items():
            place = (place_of[source] + turn) % len(sources)
            labelled = "train" if place < train else "validation"
            splits[task] = labelled if place < train + validation else "test"
        videos.append(
            DemoVideo(
                name=name,
                number=number,
                voice=voice,
                subject=subject,
                num_frames=int(lengths[voice]),
                splits=splits,
                has_sound=place_of[source] not in _SILENT_SOURCES,
            )
        )
    return tuple(videos)


def _names() -> list[str]:
    """Names of subject-videos, in the forms that Aff-Wild2 has."""
    names = [f"{base}_{side}" for base in _PAIRS for side in ("left", "right")]
    names += [f"{s}{i}" for s, count in _PARTS.items() for i in range(1, count + 1)]
    for i in range(_NUM_VIDEOS - len(names)):
        size = _SIZES[i % len(_SIZES)]
        names.append((f"{100 + 6 * i}", f"video{50 + i}", f"{50 + i}-{size}")[i % 3])
    return names


class DemoCorpus:
    """Labels and features of the videos, made when they are asked for.

    The signals that were made are kept (about 20 MB for all), the features are not.
    """

    def __init__(self, parameters: Parameters = PARAMETERS) -> None:
        self.parameters = parameters
        self.videos = {video.name: video for video in demo_videos(parameters)}
        self._by_number = {video.number: video for video in self.videos.values()}
        self._signals: dict[int, Signals] = {}
        self._maps = {
            full_name(extractor): feature_maps.make_map(parameters, extractor)
            for extractor in feature_maps.DEMO_EXTRACTORS
        }

    def signals(self, number: int) -> Signals:
        """What happens in video ``number``, two frames longer than the video."""
        if number not in self._signals:
            p, video = self.parameters, self._by_number[number]
            self._signals[number] = make_signals(
                p,
                video.num_frames + 2,
                stream(p, _VIDEO, number),
                stream(p, _SUBJECT, video.subject),
            )
        return self._signals[number]

    def annotations(self, name: str) -> VideoAnnotations:
        """The video's splits, and its labels of each task that does not test on it.

        In every fifth video the labels are one frame shorter or up to two longer than
        the video, as in Aff-Wild2. About one frame in forty is invalid.
        """
        video = self.videos[name]
        signals = self.signals(video.number)
        rng = stream(self.parameters, _INVALID, video.number)
        length = video.num_frames
        if video.number % 5 == 0:
            length += int(rng.choice([-1, 1, 2]))
        made: dict[str, np.ndarray] = {
            "EXPR": signals.expr.astype(np.int8),
            "AU": signals.au.astype(np.int8),
            "VA": signals.va.astype(np.float32),
        }
        labels = {}
        for task, values in made.items():
            values = values[:length].copy()
            values[_runs(rng, length, 0.8, (3, 30))] = np.nan if task == "VA" else -1
            if task == "AU":  # a single unit of a frame
                frames = rng.choice(length, size=3, replace=False)
                values[frames, rng.integers(values.shape[1], size=3)] = -1
            if video.splits[task] != "test":
                labels[task] = values
        return VideoAnnotations(
            video=name,
            labels=labels,
            splits=video.splits,
            num_frames=video.num_frames,
            fps=nominal_fps(name),
        )

    def features(self, name: str, feature_set: str) -> VideoFeatures:
        """One video's vectors of one set: of frames with a crop; of all for sound."""
        p, video, way = self.parameters, self.videos[name], self._maps[feature_set]
        number = video.number if way.kind == "visual" else video.voice
        signals = self.signals(number)
        channels = signals.face if way.kind == "visual" else signals.voice
        channels = channels[: video.num_frames]
        rng = stream(p, _FEATURES, way.number, number)
        fps = nominal_fps(name)
        fps = _FPS_UNKNOWN if np.isnan(fps) else fps
        features = feature_maps.apply_map(p, way, channels, rng, fps)
        outputs = feature_maps.own_outputs(p, way, channels, rng)
        frame = np.arange(1, video.num_frames + 1, dtype=np.int32)
        if way.kind == "visual":
            crop = self.has_crop(name)
            frame, features = frame[crop], features[crop]
            outputs = None if outputs is None else outputs[crop]
        return VideoFeatures(frame=frame, features=features, outputs=outputs)

    def has_crop(self, name: str) -> Bool[np.ndarray, " frames"]:
        """Which frames have a face crop; in about half of the videos some have none."""
        video = self.videos[name]
        rng = stream(self.parameters, _CROPS, video.number)
        lost = rng.random() < 0.5
        runs = _runs(rng, video.num_frames, 1.6, (2, 40))
        return ~runs if lost else np.ones(video.num_frames, bool)

    def sources(self, content: str) -> list[FeatureSource]:
        """The feature sets, for `build_store`.

        Args:
            content: Fingerprint of the corpus, which tells its versions apart.
        """
        return [
            FeatureSource(
                name=way.name,
                kind=way.kind,
                dim=way.dim,
                output_dim=way.output_dim,
                fingerprint=f"synthetic {content}",
                content=content,
                videos=tuple(
                    name
                    for name, video in self.videos.items()
                    if way.kind == "visual" or video.has_sound
                ),
                read=functools.partial(self.features, feature_set=way.name),
            )
            for way in self._maps.values()
        ]


def _runs(
    rng: np.random.Generator,
    num_frames: int,
    mean_count: float,
    lengths: tuple[int, int],
) -> Bool[np.ndarray, " frames"]:
    """True in some runs of frames: a Poisson number, uniform in place and length."""
    mask = np.zeros(num_frames, bool)
    for _ in range(rng.poisson(mean_count)):
        start = rng.integers(num_frames)
        mask[start : start + rng.integers(*lengths)] = True
    return mask
