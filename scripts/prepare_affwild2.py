"""The official Aff-Wild2 folders -> a store: ``prepare_affwild2.py --help``."""

import sys

from avemo_jax.extraction.prepare.command import main

if __name__ == "__main__":
    sys.exit(main())
