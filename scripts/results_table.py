"""The original's results table, from any store: ``results_table.py --help``."""

from avemo_jax.results_table.command import main
from avemo_jax.runtime.errors import run_program

if __name__ == "__main__":
    run_program(main)
