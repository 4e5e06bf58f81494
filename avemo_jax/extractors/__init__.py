"""The table of extractors: the input, outputs and origin of each, by name.

No network is loaded here; ``avemo_jax.embed`` does that. Other packages add extractors
by :mod:`avemo_jax.extractors.plugins`.
"""

from avemo_jax.extractors import acoustic_columns, plugins
from avemo_jax.extractors.contract import (
    Column,
    Extractor,
    ImageInput,
    Modality,
    SoundInput,
)
from avemo_jax.extractors.plugins import PluginError, PluginExtractor
from avemo_jax.extractors.published import (
    dinov2_file,
    hsemotion,
    huggingface,
    torchaudio,
    torchvggish,
)
from avemo_jax.runtime.command_line import did_you_mean

__all__ = [
    "AFFECTNET_8",
    "EXTRACTORS",
    "Column",
    "Extractor",
    "ImageInput",
    "Modality",
    "PluginError",
    "PluginExtractor",
    "SoundInput",
    "get_extractor",
]

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
        name="dinov2_vits14",
        network="dinov2_vits14",
        dim=768,
        default_input="cropped_aligned-224",
        takes=ImageInput(sizes_px=(224, 518)),
        licence="Apache-2.0",
        sources=(dinov2_file("vits14"),),
    ),
    Extractor(
        name="dinov2_vitb14",
        network="dinov2_vitb14",
        dim=1536,
        default_input="cropped_aligned-224",
        takes=ImageInput(sizes_px=(224, 518)),
        licence="Apache-2.0",
        sources=(dinov2_file("vitb14"),),
    ),
    Extractor(
        name="face_hog",
        network="hog",
        dim=1984,  # hog.DIM, whose module loads JAX
        default_input="cropped_aligned-112",
        takes=ImageInput(112, (112,), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
        licence="",
        sources=(),
    ),
    Extractor(
        name="acoustic",
        network="acoustic",
        dim=len(acoustic_columns.COLUMNS),
        default_input="1.5s",
        takes=SoundInput(16_000, hop_s=0.25, receptive_field_s=1.5),
        licence="",
        sources=(),
        columns=acoustic_columns.COLUMNS,
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
        name="wav2vec2_large_lv60",
        network="wav2vec2_large",
        dim=1024,
        default_input="16k",
        takes=SoundInput(16_000, hop_s=0.02, receptive_field_s=0.025, normalise=True),
        licence="Apache-2.0",
        sources=(huggingface("facebook/wav2vec2-large-lv60"),),
    ),
    Extractor(
        name="wav2vec2_xls_r_300m",
        network="wav2vec2_large",
        dim=1024,
        default_input="16k",
        takes=SoundInput(16_000, hop_s=0.02, receptive_field_s=0.025, normalise=True),
        licence="Apache-2.0",
        sources=(huggingface("facebook/wav2vec2-xls-r-300m"),),
    ),
    Extractor(
        name="wavlm_base_plus",
        network="wavlm_base",
        dim=768,
        default_input="16k",
        takes=SoundInput(16_000, hop_s=0.02, receptive_field_s=0.025),
        licence="MIT",
        sources=(huggingface("microsoft/wavlm-base-plus"),),
    ),
    Extractor(
        name="wavlm_large",
        network="wavlm_large",
        dim=1024,
        default_input="16k",
        takes=SoundInput(16_000, hop_s=0.02, receptive_field_s=0.025, normalise=True),
        licence="MIT",
        sources=(huggingface("microsoft/wavlm-large"),),
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
    """The extractor called ``name``, of the table or a plug-in, which is imported.

    Raises:
        ValueError: If there is no extractor of that name.
        PluginError: If the plug-in of that name is faulty, or there are several.
    """
    found = plugins.load_plugin(name, ours=EXTRACTORS)
    if found is not None:
        return found
    if name not in EXTRACTORS:
        others = plugins.plugin_names()
        more = f", or of the plug-ins {', '.join(others)}" if others else ""
        raise ValueError(
            f"unknown extractor {name!r}; {did_you_mean(name, (*EXTRACTORS, *others))}"
            f"expected one of {', '.join(EXTRACTORS)}{more}; correct the "
            "name, or install the plug-in that has it"
        )
    return EXTRACTORS[name]
