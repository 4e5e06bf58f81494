"""8 expressions (EXPR) by a linear recurrence over the frames of both sides.

Trains with learning_rate 3e-3, dropout 0.3; batches and epochs follow the number of
training frames: 6 passes of batches of 2,048 frames from 10,000 on.

Past frames only, for live use: --config.head.causal=True.
Feature sets are the argument: --config expr_recurrent:enet_b2_8_best+vggish.
"""

from avemo_jax.config.fields import DEFAULT_FEATURES, base_config


def get_config(features: str = DEFAULT_FEATURES):
    """The experiment's configuration."""
    return base_config("EXPR", "recurrent", features)
