"""Published weights, downloaded, checked, converted: ``fetch_weights.py --help``."""

import sys

from avemo_jax.convert.fetch import main

if __name__ == "__main__":
    sys.exit(main())
