"""The ``avemo`` command: each sub-command runs the program of one module."""

import sys

_USAGE = """usage: avemo COMMAND [OPTIONS]

  train      train and evaluate: avemo train --config configs/expr_mlp.py
  evaluate   score a checkpoint: avemo evaluate --checkpoint=RUN/best_model
  blend      weight checkpoints, chosen on dev: avemo blend --checkpoint=A,B --workdir=W
  plan       what a run will take, before it: avemo plan --config configs/expr_mlp.py
  prepare    the official Aff-Wild2 folders to a store: avemo prepare --root DIR ...
  extract    crops, videos or sound to feature files: avemo extract --crops DIR ...
  extractors  their names, ours and those of plug-ins: avemo extractors
  build-store  feature files and annotations to a store: avemo build-store --out ...
  import-features  embeddings made elsewhere: avemo import-features FILE --as NAME ...
  score      predictions made anywhere, against annotations: avemo score FILE --task ...
  submit     predictions to the challenge's text files: avemo submit --predictions ...
  fetch      download, check and convert published weights: avemo fetch vggish
  convert    weights of PyTorch or ONNX to ours: avemo convert vggish FILE OUT

Each has --help.
"""


def main() -> None:
    """Runs the sub-command that the command line names."""
    command = sys.argv[1] if len(sys.argv) > 1 else "--help"
    arguments = sys.argv[2:]
    match command:
        case "--help" | "-h" | "help":
            print(_USAGE)
        case "train" | "evaluate" | "blend":
            from avemo_jax import main as program

            program.run([f"avemo {command}", f"--mode={command}", *arguments])
        case "plan":
            from avemo_jax.training.plan import command as plan

            sys.exit(plan.main(arguments))
        case "prepare":
            from avemo_jax.extraction.prepare import command as prepare

            sys.exit(prepare.main(arguments))
        case "extract":
            from avemo_jax.extraction import command as extract

            sys.exit(extract.main(arguments))
        case "extractors":
            from avemo_jax.extraction import extractors_command

            sys.exit(extractors_command.main(arguments))
        case "build-store":
            from avemo_jax.packing import command as build_command

            sys.exit(build_command.main(arguments))
        case "import-features":
            from avemo_jax.data.importing import command as importing

            sys.exit(importing.main(arguments))
        case "score":
            from avemo_jax.challenge.score import command as score

            sys.exit(score.main(arguments))
        case "submit":
            from avemo_jax.challenge.submit import command as submit

            sys.exit(submit.main(arguments))
        case "fetch":
            from avemo_jax.convert import fetch

            sys.exit(fetch.main(arguments))
        case "convert":
            from avemo_jax.convert import command as convert

            sys.exit(convert.main(arguments))
        case _:
            print(f"avemo: unknown command {command!r}\n\n{_USAGE}", file=sys.stderr)
            sys.exit(2)


if __name__ == "__main__":
    main()
