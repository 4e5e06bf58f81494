"""Valence and arousal (VA) by an MLP that sees one frame at a time.

Trains with learning_rate 3e-3, dropout 0; batches and epochs follow the number of
training frames: 10 passes of batches of 1,024 frames from 10,000 on. On the demo
corpus, which is synthetic: mean CCC .708 on validation, smoothed as chosen on dev,
after about 35 s of processor time on 2 CPU cores, compiling included.

Feature sets are the argument: --config va_mlp:enet_b2_8_best+vggish.
"""

from avemo_jax.config.fields import DEFAULT_FEATURES, base_config


def get_config(features: str = DEFAULT_FEATURES):
    """The experiment's configuration."""
    return base_config("VA", "mlp", features)
