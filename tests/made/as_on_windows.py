"""A process without the modules that Windows lacks, which does what needs no store.

usage: as_on_windows.py FOLDER; leaves FOLDER/features, and says in JSON what it found.
"""

import contextlib
import importlib
import io
import json
import pathlib
import pkgutil
import sys

import psutil  # noqa: F401  # which uses "resource" on Linux, and not on Windows

# array_record has no build for Windows, and the rest is not installed without it.
LACKING = ("array_record", "tensorflow_datasets", "importlib_resources")
POSIX = ("fcntl", "grp", "pwd", "resource", "termios")


def hide() -> None:
    """From now on the modules cannot be had."""
    for name in LACKING + POSIX:
        sys.modules[name] = None  # type: ignore[assignment]


def imported(package: str) -> dict[str, str]:
    """Imports all modules; the errors of those that cannot be, by name."""
    errors = {}
    places = importlib.import_module(package).__path__
    for found in pkgutil.walk_packages(places, f"{package}."):
        try:
            importlib.import_module(found.name)
        except ImportError as error:
            errors[found.name] = str(error)
    return errors


def helped() -> str:
    """What ``avemo --help`` says, once each command's own help was made."""
    from avemo_jax import cli

    for parser in cli.parsers().values():
        parser.format_help()
    sys.argv = ["avemo", "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as said:
        cli.main()
    return said.getvalue()


def command(line: str) -> tuple[int, str]:
    """The exit status of ``avemo LINE``, and what it says on stderr."""
    from avemo_jax.cli import COMMANDS

    name, *arguments = line.split()
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        status = pkgutil.resolve_name(COMMANDS[name].program)(arguments)
    return status, said.getvalue()


def extracted(folder: pathlib.Path) -> int:
    """Exit status of an extraction from made crops, by a narrow network."""
    import numpy as np

    from made.trees import make_weights_dir, write_crops
    from made.weights import small_networks

    write_crops(folder / "crops" / "a", [1, 2, 3], np.random.default_rng(0))
    with small_networks():
        make_weights_dir(folder / "weights", ["enet_b0_8_va_mtl"])
        line = f"extract --visual enet_b0_8_va_mtl --size-px 32 --crops {folder}/crops"
        line += f" --weights {folder}/weights --out {folder}/features --quiet"
        return command(line)[0]


def scored(folder: pathlib.Path) -> int:
    """Exit status of ``avemo score`` on made predictions."""
    from avemo_jax.tasks import EXPR
    from made.predictions import labels_of, predicted_of, submission, write_annotations

    labels = labels_of(EXPR)
    truth = write_annotations(folder / "truth", EXPR, labels)
    made = submission(folder / "made.txt", EXPR, predicted_of(EXPR, labels))
    return command(f"score {made} --task expr --annotations {truth}")[0]


def head_scores(folder: pathlib.Path) -> list[int]:
    """Shape of the scores that a kept head gives to features."""
    import jax

    from avemo_jax.batches.feeders import make_feeder
    from avemo_jax.batches.row_scores import Predictor
    from avemo_jax.heads import HeadSpec, Variables, build_head
    from avemo_jax.models.checkpoints import save_head
    from avemo_jax.models.head import load_trained_head
    from made.cards import made_card
    from made.tables import made_table

    table = made_table(videos=2, frames=20)
    head = build_head(HeadSpec("EXPR", "mlp", (12, 5)))
    variables = Variables(*head.init(jax.random.key(0)))
    stacked = jax.tree.map(lambda leaf: leaf[None], variables)
    save_head(folder / "head", made_card(head=head.spec.to_dict()), stacked)
    trained = load_trained_head(folder / "head")
    how = {"window": 0, "audio_flag": False, "resident": True}
    feeder = make_feeder(table, trained.mesh, **how)
    predictor = Predictor(trained.head, table, feeder, trained.mesh, batch_size=16)
    return [*predictor(trained.variables).shape, table.num_rows]


def main(folder: pathlib.Path) -> None:
    """Prints what was found as one JSON object."""
    hide()
    found = {
        "errors": imported("avemo_jax") | imported("data_builders"),
        "help": helped(),
        "extract": extracted(folder),
        "score": scored(folder),
        "head_scores": head_scores(folder),
        "needs_a_store": {
            line: command(line)
            for line in (
                f"train --config expr_mlp --workdir {folder}/run",
                "plan --config expr_mlp --data-dir nowhere",
                f"build-store --annotations {folder}/truth --out {folder}/store",
                f"prepare --root {folder} --out {folder}/store --audio vggish",
            )
        },
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
