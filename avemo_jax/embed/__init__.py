"""Extractors ready to run: a network, its weights, and how its input is made."""

import inspect
import os
from typing import Any

from avemo_jax.embed.acoustic import AcousticExtractor
from avemo_jax.embed.contract import Embeddings, SoundSource
from avemo_jax.embed.images import ImageExtractor
from avemo_jax.embed.plugin_params import read_params
from avemo_jax.embed.plugins import PluginImages, PluginSound, class_of
from avemo_jax.embed.vggish import VggishExtractor
from avemo_jax.embed.wav2vec2 import Wav2Vec2Extractor
from avemo_jax.embed.weights import network_weights, refuse_weights
from avemo_jax.extractors import PluginExtractor, get_extractor
from avemo_jax.extractors.wav2vec2_spec import SPECS

__all__ = [
    "AcousticExtractor",
    "AnyExtractor",
    "Embeddings",
    "ImageExtractor",
    "PluginImages",
    "PluginSound",
    "SoundExtractor",
    "SoundSource",
    "VggishExtractor",
    "Wav2Vec2Extractor",
    "load_extractor",
]

SoundExtractor = AcousticExtractor | VggishExtractor | Wav2Vec2Extractor | PluginSound
AnyExtractor = ImageExtractor | SoundExtractor
DTYPES = ("float32", "bfloat16")
# Parameters of every class that are not options for the caller to choose.
_OWN = ("extractor", "tensors", "dtype", "tensors_sha256")
_CLASSES: dict[str, type[AnyExtractor]] = {
    "acoustic": AcousticExtractor,
    "dinov2_vitb14": ImageExtractor,
    "dinov2_vits14": ImageExtractor,
    "efficientnet_b0": ImageExtractor,
    "efficientnet_b2": ImageExtractor,
    "hog": ImageExtractor,
    "vggish": VggishExtractor,
    **dict.fromkeys(SPECS, Wav2Vec2Extractor),
}


def load_extractor(
    name: str,
    *,
    weights: str | os.PathLike[str] | None = None,
    dtype: str = "float32",
    **options: Any,
) -> AnyExtractor:
    """The extractor called ``name``, ready to run on all local devices.

    Args:
        name: Name of an extractor in :mod:`avemo_jax.extractors`, or of a plug-in.
        weights: A ``.safetensors`` that ``avemo convert`` wrote; None: the one that
            ``avemo fetch`` keeps in the cache directory. No file is read for an
            extractor without weights, or a plug-in that brings its own.
        dtype: Precision of the arithmetic: "float32" or "bfloat16" (norms, softmax and
            the results stay float32).
        **options: Options of the extractor's class: ``size_px``, ``batch_size`` for
            faces; ``batch_size`` for a plug-in of sound; ``output``, ``hop_s``,
            ``batch_size`` for VGGish; ``layers``, ``stereo``, ``chunking``,
            ``window_s`` and ``overlap_s`` for wav2vec 2.0; ``hop_s`` and ``context_s``
            for acoustic features.

    Raises:
        ValueError: If the name, the dtype or an option is unknown or out of range.
        WeightsError: If the file is missing, damaged, or holds another network's
            weights; if it is there and none is read.
        PluginError: If a plug-in is faulty.
    """
    extractor = get_extractor(name)
    if dtype not in DTYPES:
        raise ValueError(
            f"dtype {dtype!r} for {name}; expected one of {', '.join(DTYPES)}"
        )
    made: Any
    if isinstance(extractor, PluginExtractor):
        made = class_of(extractor)
    else:
        made = _CLASSES[extractor.network]
    known = [name for name in inspect.signature(made).parameters if name not in _OWN]
    if unknown := sorted(set(options) - set(known)):
        raise ValueError(
            f"unknown options {unknown} of {name}; expected any of {', '.join(known)}"
        )
    tensors: Any
    if isinstance(extractor, PluginExtractor):
        tensors, digest = read_params(extractor, weights)
    elif not extractor.needs_weights:
        refuse_weights(weights, name=name, why="which has none")
        return made(extractor, dtype=dtype, **options)
    else:
        tensors, digest = network_weights(name, weights)
    return made(extractor, tensors, dtype=dtype, tensors_sha256=digest, **options)
