"""All networks of this package by name: extractors, and the face detector."""

from avemo_jax.extractors import EXTRACTORS, Extractor
from avemo_jax.extractors.published import PublishedNetwork
from avemo_jax.faces.published import DETECTOR

AnyNetwork = Extractor | PublishedNetwork
NETWORKS: dict[str, AnyNetwork] = {
    **EXTRACTORS,
    DETECTOR.name: DETECTOR,
}
# What people call several of them together.
TOGETHER = {"hsemotion": (DETECTOR.name, "enet_b0_8_va_mtl")}
# Megabytes of what is downloaded, about: float32 parameters are nearly all of it.
SIZES_MB = {
    "enet_b2_8_best": 32,
    "enet_b2_8": 32,
    "enet_b0_8_va_mtl": 17,
    "enet_b0_8_best_vgaf": 17,
    "dinov2_vits14": 89,
    "dinov2_vitb14": 347,
    "wav2vec2_base": 378,
    "wav2vec2_base_960h": 378,
    "wav2vec2_large_lv60": 1270,
    "wav2vec2_xls_r_300m": 1270,
    "wavlm_base_plus": 378,
    "wavlm_large": 1262,
    "vggish": 289,
    DETECTOR.name: 1,
}
HEAD_MB = 2  # of each head of the original, about: the MLPs have 0.7 to 6
