"""VA near ABAW-10's best entries: DINOv2 and WavLM, cross-attention over windows.

Ryumina et al. (arXiv 2603.13056) report a mean CCC of .658 on Aff-Wild2's validation
set and .62 on its test set: embeddings of faces with a temporal Transformer,
WavLM-Large without the segments that have no speech, descriptions by a vision-language
model, and a fusion that weighs these by their reliability. The figures are theirs, not
ours.

Differs from it: faces by a frozen DINOv2, WavLM's last layer at every frame with
nothing filtered, no descriptions; attention between face and sound over 128 frames, and
a gate that joins them. Modality dropout, a moving mean of the parameters and a share of
squared errors in the loss are this project's additions.

Trains with learning_rate 3e-4, dropout 0.3; batches and epochs follow the number of
training frames: 6 passes of batches of 2,048 frames from 10,000 on. The demo corpus
lacks these features, so that there is no score of ours.

Feature sets, of faces and of sound, are the argument: --config
abaw10/va:enet_b0_8_va_mtl+wavlm_large.
"""

from avemo_jax.config.fields import base_config


def get_config(features: str = "dinov2_vitb14+wavlm_large"):
    """The experiment's configuration."""
    config = base_config("VA", "cross_attention", features)
    config.head.standardize = True
    config.loss.va_mse = 0.3
    config.train.modality_dropout = 0.2
    config.train.ema = 0.999
    config.postprocess.half_widths = (5, 15, 30, 50, 60, 100, 200)
    return config
