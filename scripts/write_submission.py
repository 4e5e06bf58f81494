"""predictions.csv -> the challenge's text files: ``write_submission.py --help``."""

import sys

from avemo_jax.challenge.submit.command import main

if __name__ == "__main__":
    sys.exit(main())
