"""The facts about an extractor: its name, its input and its outputs."""

import dataclasses
from typing import Literal

from avemo_jax.extractors.published import PublishedFile

Modality = Literal["visual", "audio"]


@dataclasses.dataclass(frozen=True)
class ImageInput:
    """The input of a visual extractor.

    Attributes:
        size_px: Side of the square that a face crop is resized to, by default.
        sizes_px: Sides that are in use, the default among them.
        mean: Mean that is subtracted from each channel, for values in [0, 1].
        std: Standard deviation that each channel is divided by.
        channels: Order of the channels.
    """

    size_px: int = 224
    sizes_px: tuple[int, ...] = (224,)
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    channels: Literal["RGB"] = "RGB"


@dataclasses.dataclass(frozen=True)
class SoundInput:
    """The input of an audio extractor, and the times of its vectors.

    Attributes:
        sample_rate_hz: Sample rate of the waveform, which has one channel.
        hop_s: Seconds from one vector to the next, by default.
        receptive_field_s: Seconds of sound that the network's convolutional part makes
            a vector from; their middle is the vector's time.
        normalise: Whether the waveform is first brought to mean 0 and variance 1.
    """

    sample_rate_hz: int
    hop_s: float
    receptive_field_s: float
    normalise: bool = False

    @property
    def hops_per_s(self) -> float:
        """Vectors per second of sound."""
        return 1 / self.hop_s


@dataclasses.dataclass(frozen=True)
class Column:
    """One number of a vector.

    Attributes:
        name: What is measured.
        unit: Its unit; "1" for a share or a count.
    """

    name: str
    unit: str


@dataclasses.dataclass(frozen=True)
class Extractor:
    """An extractor without its network: an entry of the table.

    Attributes:
        name: Name in the table, in feature sets and in files of weights.
        network: "efficientnet_b0", "efficientnet_b2", "dinov2_vits14", "dinov2_vitb14",
            "vggish", "wav2vec2", "wav2vec2_large", "wavlm_base" or "wavlm_large"; "hog"
            for histograms of oriented gradients; "acoustic" for descriptors of sound.
        dim: Length of its vector.
        default_input: Input that is meant where a feature set's name states none.
        takes: Its input, pixels or waveform, which decides its kind.
        outputs: Names of its own outputs: logits of expressions, valence, arousal.
        columns: What each number of its vector is; empty where none has a meaning of
            its own.
        licence: Licence of the weights, as their publishers state it.
        sources: Files that its weights may be converted from, preferred first. Empty:
            it has no weights.
    """

    name: str
    network: str
    dim: int
    default_input: str
    takes: ImageInput | SoundInput
    licence: str
    sources: tuple[PublishedFile, ...]
    outputs: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()

    @property
    def kind(self) -> Modality:
        """Kind of its input: "visual" or "audio"."""
        return "visual" if isinstance(self.takes, ImageInput) else "audio"

    @property
    def needs_weights(self) -> bool:
        """Whether it runs only with a file of weights."""
        return bool(self.sources)

    @property
    def output_dim(self) -> int:
        """Number of its own outputs; 0 for none."""
        return len(self.outputs)

    @property
    def image(self) -> ImageInput:
        """The input of a visual extractor.

        Raises:
            TypeError: If this is an audio extractor.
        """
        if not isinstance(self.takes, ImageInput):
            raise TypeError(f"{self.name} is an audio extractor; use .sound")
        return self.takes

    @property
    def sound(self) -> SoundInput:
        """The input of an audio extractor.

        Raises:
            TypeError: If this is a visual extractor.
        """
        if not isinstance(self.takes, SoundInput):
            raise TypeError(f"{self.name} is a visual extractor; use .image")
        return self.takes
