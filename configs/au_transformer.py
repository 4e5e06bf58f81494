"""12 action units (AU) by a Transformer over windows of 128 consecutive frames.

Trains with learning_rate 3e-4, dropout 0.3; batches and epochs follow the number of
training frames: 6 passes of batches of 2,048 frames from 10,000 on. On the demo corpus,
which is synthetic: mean F1 .581 on validation, smoothed as chosen on dev, after about
55 s of processor time on 2 CPU cores, compiling included.

Feature sets are the argument: --config au_transformer:enet_b2_8_best+vggish.
"""

from avemo_jax.config.fields import DEFAULT_FEATURES, base_config


def get_config(features: str = DEFAULT_FEATURES):
    """The experiment's configuration."""
    return base_config("AU", "transformer", features)
