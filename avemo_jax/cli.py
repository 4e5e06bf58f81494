"""The ``avemo`` command: one line a sub-command, each what a module already does."""

import sys

_USAGE = """usage: avemo COMMAND [OPTIONS]

  train      train and evaluate: avemo train --config configs/expr_mlp.py
  evaluate   score a checkpoint: avemo evaluate --checkpoint=RUN/best_model
"""


def main() -> None:
    """Runs the sub-command that the command line names."""
    command = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if command in ("--help", "-h", "help"):
        print(_USAGE)
        return
    if command not in ("train", "evaluate"):
        print(f"avemo: unknown command {command!r}\n\n{_USAGE}", file=sys.stderr)
        sys.exit(2)
    from avemo_jax import main as program

    program.run(["avemo " + command, f"--mode={command}", *sys.argv[2:]])


if __name__ == "__main__":
    main()
