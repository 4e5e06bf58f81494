"""VA by HSEmotion's recipe: one layer on the extractor's own 10 outputs.

HSEmotion reports a CCC of .547 for this recipe on Aff-Wild2's validation set (ABAW-6):
8 logits, valence and arousal of ``enet_b0_8_va_mtl`` through Dense(2, tanh), trained by
the CCC loss, then a mean over 50 frames on each side. The figure is HSEmotion's, not
ours.

Trains with learning_rate 3e-2, dropout 0, batch_size 1024, num_epochs 30.

Feature sets, which must have outputs, are the argument: --config
hsemotion/va:enet_b0_8_va_mtl+enet_b2_8_best.
"""

from avemo_jax.config.fields import base_config


def get_config(features: str = "enet_b0_8_va_mtl"):
    """The experiment's configuration."""
    config = base_config("VA", "linear", features)
    config.data.inputs = "outputs"
    # The best of 1e-2, 3e-2, 1e-1 and 3e-1 on the demo corpus' dev (CCC, 2 seeds):
    # .598, .604, .603, .600; 10 epochs give .590 (1e-2) and less, 100 no more.
    config.learning_rate = 3e-2
    config.batch_size, config.num_epochs = 1024, 30
    config.train.early_stop_epochs = 10
    config.postprocess.half_widths = (5, 15, 30, 50, 60, 100, 200)
    return config
