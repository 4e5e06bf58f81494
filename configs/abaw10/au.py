"""AU near ABAW-10's best entries: DINOv2 and WavLM through a gate.

HSEmotion (arXiv 2603.12693) reports a mean F1 of .547 on Aff-Wild2's validation set for
EfficientNet's features, an MLP and smoothing. The entry at arXiv 2603.11306, among the
best of that track by its own words, has DINOv2's features of faces and WavLM's of
sound, cross-attention between them and state-space layers over time. The figure is
HSEmotion's, not ours.

Differs from both: DINOv2 and WavLM are frozen, face and sound meet in a gate, frame by
frame, and only smoothing looks over time. Modality dropout, a moving mean of the
parameters, mixup within equal units and a trained temperature are this project's
additions.

Trains with learning_rate 1e-3, dropout 0.3; batches and epochs follow the number of
training frames: 10 passes of batches of 1,024 frames from 10,000 on. The demo corpus
lacks these features, so that there is no score of ours.

Feature sets, of faces and of sound, are the argument: --config
abaw10/au:enet_b0_8_va_mtl+wavlm_large.
"""

from avemo_jax.config.fields import base_config


def get_config(features: str = "dinov2_vitb14+wavlm_large"):
    """The experiment's configuration."""
    config = base_config("AU", "gated", features)
    config.head.standardize = True
    config.head.learned_temperature = True
    config.train.modality_dropout = 0.2
    config.train.ema = 0.999
    config.train.mixup = 0.2
    config.postprocess.half_widths = (1, 3, 5, 15, 30)
    return config
