"""The original's results table, from any store: ``results_table.py --help``."""

import sys

from avemo_jax.results_table.command import main

if __name__ == "__main__":
    sys.exit(main())
