"""What is said of an extractor: its name, what it takes and what it gives."""

import dataclasses
from typing import Literal

from avemo_jax.extractors.published import PublishedFile

Modality = Literal["visual", "audio"]


@dataclasses.dataclass(frozen=True)
class ImageInput:
    """What a visual extractor takes.

    Attributes:
        size_px: Side of the square that a face crop is resized to, by default.
        sizes_px: Sides in use elsewhere, the default among them.
        mean: Of each channel, for values in [0, 1]; subtracted.
        std: Of each channel; divided by.
        channels: Their order.
    """

    size_px: int = 224
    sizes_px: tuple[int, ...] = (224,)
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    channels: Literal["RGB"] = "RGB"


@dataclasses.dataclass(frozen=True)
class SoundInput:
    """What an audio extractor takes, and how its vectors lie in time.

    Attributes:
        sample_rate_hz: Of the waveform, one channel.
        hop_s: From one vector to the next, by default.
        receptive_field_s: Sound that a vector comes from by the network's local part;
            its middle is the vector's time.
        normalise: Whether the waveform is brought to mean 0 and variance 1 first.
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
class Extractor:
    """What is known of an extractor without its network.

    Attributes:
        name: In the table, in feature sets, in files of weights.
        network: "efficientnet_b0", "efficientnet_b2", "vggish" or "wav2vec2".
        dim: Length of its vector.
        default_input: What its bare name is short for, as a feature set's input.
        takes: Pixels or waveform, in numbers; decides the kind.
        outputs: Names of its own outputs: logits of expressions, valence, arousal.
        licence: Of the weights, as their publishers state it.
        sources: Files that its weights may be converted from, preferred first.
    """

    name: str
    network: str
    dim: int
    default_input: str
    takes: ImageInput | SoundInput
    licence: str
    sources: tuple[PublishedFile, ...]
    outputs: tuple[str, ...] = ()

    @property
    def kind(self) -> Modality:
        """Whether it looks or listens."""
        return "visual" if isinstance(self.takes, ImageInput) else "audio"

    @property
    def output_dim(self) -> int:
        """Columns of its own outputs; 0 for none."""
        return len(self.outputs)

    @property
    def image(self) -> ImageInput:
        """What a visual extractor takes.

        Raises:
            TypeError: If it is an audio extractor.
        """
        if not isinstance(self.takes, ImageInput):
            raise TypeError(f"{self.name} is an audio extractor; use .sound")
        return self.takes

    @property
    def sound(self) -> SoundInput:
        """What an audio extractor takes.

        Raises:
            TypeError: If it is a visual extractor.
        """
        if not isinstance(self.takes, SoundInput):
            raise TypeError(f"{self.name} is a visual extractor; use .image")
        return self.takes
