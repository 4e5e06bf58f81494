"""Annotation and feature folders -> a store: ``build_store.py --help``."""

import sys

from avemo_jax.packing.command import main

if __name__ == "__main__":
    sys.exit(main())
