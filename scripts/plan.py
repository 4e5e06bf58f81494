"""What a training will take, before a machine is rented: ``plan.py --help``."""

import sys

from avemo_jax.training.plan.command import main

if __name__ == "__main__":
    sys.exit(main())
