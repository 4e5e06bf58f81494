"""Features made elsewhere -> feature files: ``import_features.py --help``."""

import sys

from avemo_jax.data.importing.command import main

if __name__ == "__main__":
    sys.exit(main())
