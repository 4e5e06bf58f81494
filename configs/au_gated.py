"""12 action units (AU) by a gate that weighs face and sound, one frame at a time.

Trains with learning_rate 1e-3, dropout 0.3; batches and epochs follow the number of
training frames: 10 passes of batches of 1,024 frames from 10,000 on.

Feature sets are the argument, of the face and of the sound, any number of each:
--config au_gated:enet_b2_8_best+vggish.
"""

from avemo_jax.config.fields import DEFAULT_FEATURES, base_config


def get_config(features: str = DEFAULT_FEATURES):
    """The experiment's configuration."""
    return base_config("AU", "gated", features)
