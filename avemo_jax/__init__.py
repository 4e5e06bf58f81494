"""Emotion recognition from face and voice in JAX: EXPR, AU, VA for every frame.

The names below are what a user of the library calls. Each is imported when it is first
used, so that ``import avemo_jax`` itself loads neither JAX nor NumPy.
"""

import importlib
from typing import TYPE_CHECKING, Any

from avemo_jax.runtime.versions import VERSION as __version__

if TYPE_CHECKING:
    from avemo_jax.batches.tables import open_data
    from avemo_jax.challenge.score.scores import score
    from avemo_jax.config.fields import base_config
    from avemo_jax.data.store.store import open_store
    from avemo_jax.embed import load_extractor
    from avemo_jax.evaluation.evaluate import evaluate
    from avemo_jax.experiment import run_experiment
    from avemo_jax.media.audio import open_sound
    from avemo_jax.media.images import read_image
    from avemo_jax.models.ensembles import load_model
    from avemo_jax.models.live import LiveScores
    from avemo_jax.packing.build import build_store
    from avemo_jax.prediction.predict import predict
    from avemo_jax.training.train import train

_HOMES = {
    "LiveScores": "avemo_jax.models.live",
    "base_config": "avemo_jax.config.fields",
    "build_store": "avemo_jax.packing.build",
    "evaluate": "avemo_jax.evaluation.evaluate",
    "load_extractor": "avemo_jax.embed",
    "load_model": "avemo_jax.models.ensembles",
    "open_data": "avemo_jax.batches.tables",
    "open_sound": "avemo_jax.media.audio",
    "open_store": "avemo_jax.data.store.store",
    "predict": "avemo_jax.prediction.predict",
    "read_image": "avemo_jax.media.images",
    "run_experiment": "avemo_jax.experiment",
    "score": "avemo_jax.challenge.score.scores",
    "train": "avemo_jax.training.train",
}

__all__ = [
    "LiveScores",
    "__version__",
    "base_config",
    "build_store",
    "evaluate",
    "load_extractor",
    "load_model",
    "open_data",
    "open_sound",
    "open_store",
    "predict",
    "read_image",
    "run_experiment",
    "score",
    "train",
]


def __getattr__(name: str) -> Any:
    """The public name, from the module that defines it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """All public names, imported yet or not."""
    return sorted({*globals(), *__all__})
