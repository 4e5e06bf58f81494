"""The frozen networks by name: what each takes, gives, and comes from.

Facts only; no network is loaded here. ``avemo_jax.embed`` makes extractors of them.
"""

import dataclasses
from typing import Literal

from avemo_jax.extractors.sources import (
    Source,
    hsemotion,
    huggingface,
    torchaudio,
    torchvggish,
)

Kind = Literal["visual", "audio"]

# AffectNet's order; valence and arousal follow where the network has them.
AFFECTNET_8 = (
    "Anger",
    "Contempt",
    "Disgust",
    "Fear",
    "Happiness",
    "Neutral",
    "Sadness",
    "Surprise",
)


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
    sources: tuple[Source, ...]
    outputs: tuple[str, ...] = ()

    @property
    def kind(self) -> Kind:
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


_HSEMOTION_LICENCE = "Apache-2.0 (trained on AffectNet, which is for research)"
_ALL = (
    Extractor(
        name="enet_b2_8_best",
        network="efficientnet_b2",
        dim=1408,
        default_input="cropped_aligned-224",
        takes=ImageInput(sizes_px=(224, 260)),
        outputs=AFFECTNET_8,
        licence=_HSEMOTION_LICENCE,
        sources=(
            hsemotion("enet_b2_8_best.pt", "43be51786607c44fd13df41a497056c6accf7188"),
            hsemotion(
                "onnx/enet_b2_8_best.onnx", "7e53eb31fefa28f6667195b27c7adade87da0a8f"
            ),
        ),
    ),
    Extractor(
        name="enet_b2_8",
        network="efficientnet_b2",
        dim=1408,
        default_input="cropped_aligned-224",
        takes=ImageInput(sizes_px=(224, 260)),
        outputs=AFFECTNET_8,
        licence=_HSEMOTION_LICENCE,
        sources=(
            hsemotion("enet_b2_8.pt", "eed81e6368877e89f8a99cfabadae7c3ddc3a949"),
        ),
    ),
    Extractor(
        name="enet_b0_8_va_mtl",
        network="efficientnet_b0",
        dim=1280,
        default_input="cropped_aligned-224",
        takes=ImageInput(),
        outputs=(*AFFECTNET_8, "valence", "arousal"),
        licence=_HSEMOTION_LICENCE,
        sources=(
            hsemotion(
                "enet_b0_8_va_mtl.pt", "b7223bd1ab092a1b5a42bc04a5f4fbfe4d9f8b9b"
            ),
            hsemotion(
                "onnx/enet_b0_8_va_mtl.onnx", "7ce9d6dd5b82b260bc19bfe7822a6ffa1abb6011"
            ),
        ),
    ),
    Extractor(
        name="enet_b0_8_best_vgaf",
        network="efficientnet_b0",
        dim=1280,
        default_input="cropped-224",
        takes=ImageInput(),
        outputs=AFFECTNET_8,
        licence=_HSEMOTION_LICENCE,
        sources=(
            hsemotion(
                "enet_b0_8_best_vgaf.pt", "7219cfb037209b253ea8b81cf969e60a00e9181c"
            ),
            hsemotion(
                "onnx/enet_b0_8_best_vgaf.onnx",
                "49772db4e87ee6df57087fba131832a959e5c64d",
            ),
        ),
    ),
    Extractor(
        name="wav2vec2_base",
        network="wav2vec2",
        dim=768,
        default_input="16k",
        # Convolutions of stride 5 * 2^6 = 320 and extent 400 samples in all.
        takes=SoundInput(16_000, hop_s=0.02, receptive_field_s=0.025),
        licence="MIT (fairseq); Apache-2.0 (on Hugging Face)",
        sources=(
            torchaudio("wav2vec2_fairseq_base_ls960.pth"),
            huggingface(
                "facebook/wav2vec2-base",
                "3249fe98bfc62fcbc26067f724716a6ec49d12c4728a2af1df659013905dff21",
            ),
        ),
    ),
    Extractor(
        name="wav2vec2_base_960h",
        network="wav2vec2",
        dim=768,
        default_input="16k",
        takes=SoundInput(16_000, hop_s=0.02, receptive_field_s=0.025, normalise=True),
        licence="Apache-2.0",
        sources=(huggingface("facebook/wav2vec2-base-960h"),),
    ),
    Extractor(
        name="vggish",
        network="vggish",
        dim=128,
        default_input="0.96s",
        # 96 spectra of 25 ms, 10 ms apart.
        takes=SoundInput(16_000, hop_s=0.96, receptive_field_s=0.975),
        licence="Apache-2.0",
        sources=(torchvggish(),),
    ),
)

EXTRACTORS: dict[str, Extractor] = {extractor.name: extractor for extractor in _ALL}


def get_extractor(name: str) -> Extractor:
    """The extractor called ``name``.

    Raises:
        ValueError: If there is none.
    """
    if name not in EXTRACTORS:
        raise ValueError(
            f"unknown extractor {name!r}; expected one of {', '.join(EXTRACTORS)}; "
            "correct the name"
        )
    return EXTRACTORS[name]
