"""Face crops, videos and sound -> feature files: ``extract_features.py --help``."""

import sys

from avemo_jax.extraction.command import main

if __name__ == "__main__":
    sys.exit(main())
