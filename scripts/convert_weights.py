"""Weights of other programs -> weights of ours: ``convert_weights.py --help``."""

import sys

from avemo_jax.convert.command import main

if __name__ == "__main__":
    sys.exit(main())
