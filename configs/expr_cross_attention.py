"""8 expressions (EXPR) by face and sound that attend to each other over 128 frames.

Trains with learning_rate 3e-4, dropout 0.3; batches and epochs follow the number of
training frames: 6 passes of batches of 2,048 frames from 10,000 on.

Feature sets are the argument, of the face and of the sound, any number of each:
--config expr_cross_attention:enet_b2_8_best+vggish.
"""

from avemo_jax.config.fields import DEFAULT_FEATURES, base_config


def get_config(features: str = DEFAULT_FEATURES):
    """The experiment's configuration."""
    return base_config("EXPR", "cross_attention", features)
