"""EXPR by HSEmotion's recipe: an MLP on faces, one on sound, confident extractors.

The scores of two heads, one on faces and one on sound, are blended late; where the
extractor's own probabilities are confident after smoothing, they replace the blend's.
HSEmotion reports a macro F1 of .424 for the faces alone on Aff-Wild2's validation set
(ABAW-6), and .449 with the sound and that rule. Both figures are HSEmotion's, not ours.

Trains with learning_rate 1e-3, dropout 0; batches and epochs follow the number of
training frames: 10 passes of batches of 1,024 frames from 10,000 on. On the demo
corpus, which is synthetic: macro F1 .628 on validation, smoothed as chosen on dev,
after about 25 s of processor time on 2 CPU cores, compiling included.

Feature sets of the head on faces are the argument: --config
hsemotion/expr:enet_b0_8_va_mtl.
"""

from avemo_jax.config.fields import base_config


def get_config(features: str = "enet_b0_8_va_mtl"):
    """The experiment's configuration."""
    config = base_config("EXPR", "mlp", features)
    config.blend.features = ("wav2vec2_base",)
    config.blend.trust_extractor = True
    return config
