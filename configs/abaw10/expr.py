"""EXPR near ABAW-10's best entries: DINOv2 and wav2vec 2.0 through a gate.

Sun and Gao (arXiv 2603.12221) report a macro F1 of .5368 on Aff-Wild2's validation set,
.5122 +- .0277 over five folds: DINOv2 ViT-L/14 that they first fine-tuned on faces,
cropped at several scales, wav2vec 2.0 of short windows, a light gate, and smoothing. Yu
et al. (arXiv 2603.08034) report .5029 with modality dropout and a focal loss, whose
exponent is not in what was read of it. Both figures are theirs, not ours.

Differs from them: a frozen ViT-B/14 and one crop of each face, layer 9 of wav2vec 2.0
over the whole track (arXiv 2603.23650 found layers 6 to 12 the best for emotions),
balanced class weights. A moving mean of the parameters, mixup and a trained temperature
are this project's additions.

Trains with learning_rate 1e-3, dropout 0.3; batches and epochs follow the number of
training frames: 10 passes of batches of 1,024 frames from 10,000 on. The demo corpus
lacks these features, so that there is no score of ours.

Feature sets, of faces and of sound, are the argument: --config
abaw10/expr:dinov2_vitb14+wavlm_large.
"""

from avemo_jax.config.fields import base_config


def get_config(features: str = "dinov2_vitb14+wav2vec2_base@16k-layer9"):
    """The experiment's configuration."""
    config = base_config("EXPR", "gated", features)
    config.head.standardize = True  # networks differ in the scale of their features
    config.head.learned_temperature = True
    config.loss.focal_gamma = 2.0  # of Lin et al., arXiv 1708.02002
    config.train.modality_dropout = 0.2
    config.train.ema = 0.999
    config.train.mixup = 0.2
    return config
