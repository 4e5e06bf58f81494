"""The program behind ``avemo train``, ``evaluate`` and ``blend``: flags and devices.

python -m avemo_jax.main --config configs/expr_mlp.py
python -m avemo_jax.main --mode=evaluate --checkpoint=RUN/best_model --split=validation
python -m avemo_jax.main --mode=evaluate --checkpoint=RUN --ensemble=folds
python -m avemo_jax.main --mode=blend --checkpoint=A/best_model,B/best_model --workdir=W
"""

import os
import pathlib
import sys
from typing import Literal, NoReturn, cast

from absl import app, flags, logging
from ml_collections import config_flags

from avemo_jax.runtime.errors import guarded

_CONFIG = config_flags.DEFINE_config_file("config", None, "Experiment to run.")
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Where results go; default runs/<config>-<identity>."
)
_MODE = flags.DEFINE_enum(
    "mode",
    "train",
    ["train", "evaluate", "blend"],
    "train also evaluates the best epoch; blend weights checkpoints, chosen on dev.",
)
_CHECKPOINT = flags.DEFINE_list(
    "checkpoint",
    None,
    "Head checkpoint to evaluate, e.g. RUN/best_model; to blend, several with commas, "
    "after the first also files of predictions made elsewhere.",
)
_TRUST_EXTRACTOR = flags.DEFINE_bool(
    "trust_extractor",
    False,
    "EXPR, with --mode=blend: the extractor's own probabilities stand where confident.",
)
_TRAINED_ON = flags.DEFINE_string(
    "trained_on",
    None,
    "With --mode=blend: list of the videos, one a line, that models behind files of "
    "predictions among the checkpoints were trained on; else nothing is chosen.",
)
_ENSEMBLE = flags.DEFINE_enum(
    "ensemble",
    None,
    ["seeds", "folds"],
    "With --mode=evaluate: mean scores of all seeds of a checkpoint, or of all folds "
    "of a run, which is then what --checkpoint names.",
)
_FRAME_RATE = flags.DEFINE_enum(
    "frame_rate",
    None,
    ["all", "stride", "sequential", "refine"],
    "With --mode=evaluate: frames whose scores are used, chosen on dev anew; replaces "
    "config.postprocess.frame_rate.rule.",
)
_FRAME_RATE_STRIDE = flags.DEFINE_integer(
    "frame_rate_stride",
    0,
    "With --frame_rate: frames from one embedded frame to the next (stride), or the "
    "coarsest such number (sequential, refine); 0 is chosen on dev.",
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir", None, "Store to evaluate on; default is the demo corpus."
)
_SPLIT = flags.DEFINE_enum(
    "split",
    "validation",
    ["validation", "dev", "train", "test"],
    "Split to evaluate on.",
)
_DETERMINISTIC = flags.DEFINE_bool(
    "deterministic", False, "Bit-identical results on GPU too; slower there."
)
_COMPILATION_CACHE = flags.DEFINE_string(
    "compilation_cache",
    "on",
    "Compiled programs, found again by the next run: on (in the cache directory, "
    "AVEMO_CACHE), off, or a folder.",
)
_DISTRIBUTED = flags.DEFINE_enum(
    "distributed",
    "auto",
    ["auto", "on", "off"],
    "Several processes: where srun, mpirun or a Cloud TPU shows them; always; never.",
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "HOST:PORT of process 0, where nothing shows it."
)
_NUM_PROCESSES = flags.DEFINE_integer(
    "num_processes", None, "Processes of the whole program, with --coordinator."
)
_PROCESS_ID = flags.DEFINE_integer(
    "process_id", None, "Number of this process, from 0, with --coordinator."
)
flags.DEFINE_alias("num-processes", "num_processes")
flags.DEFINE_alias("process-id", "process_id")


def _prepare_devices() -> None:
    """Sets flags of XLA and joins the other processes, before JAX starts."""
    if _DETERMINISTIC.value:
        old = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{old} --xla_gpu_deterministic_ops=true".strip()
    from avemo_jax.config.fields import HEARTBEAT_S
    from avemo_jax.runtime import distributed, logs

    logs.speak_plainly()
    processes = distributed.find_processes(
        _DISTRIBUTED.value,
        _COORDINATOR.value,
        _NUM_PROCESSES.value,
        _PROCESS_ID.value,
    )
    if processes is not None:
        config = _CONFIG.value
        heartbeat = config.distributed.heartbeat_s if config else HEARTBEAT_S
        distributed.start(processes, heartbeat)
        logs.speak_plainly(distributed.index())


def _main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(
            f"unexpected {' '.join(argv[1:])!r}; options are written --config=FILE, "
            "--config.FIELD=VALUE"
        )
    if _TRUST_EXTRACTOR.value and _MODE.value != "blend":
        raise app.UsageError(
            f"--trust_extractor with --mode={_MODE.value}; expected --mode=blend; to "
            "train, --config.blend.trust_extractor=True"
        )
    if _ENSEMBLE.value and _MODE.value != "evaluate":
        raise app.UsageError(
            f"--ensemble={_ENSEMBLE.value} with --mode={_MODE.value}; expected "
            "--mode=evaluate --checkpoint=RUN/best_model (or RUN, of folds)"
        )
    if _FRAME_RATE.value and _MODE.value != "evaluate":
        raise app.UsageError(
            f"--frame_rate={_FRAME_RATE.value} with --mode={_MODE.value}; expected "
            "--mode=evaluate; to train, "
            f"--config.postprocess.frame_rate.rule={_FRAME_RATE.value}"
        )
    if _FRAME_RATE_STRIDE.value and not _FRAME_RATE.value:
        raise app.UsageError(
            f"--frame_rate_stride={_FRAME_RATE_STRIDE.value} without --frame_rate; "
            "expected the rule that it is for: add --frame_rate=stride"
        )
    _prepare_devices()
    # After the devices are prepared:
    from avemo_jax import experiment
    from avemo_jax.runtime import compilation

    compilation.keep_compiled(_COMPILATION_CACHE.value)
    if _MODE.value != "train":
        _evaluate()
        return
    config = _CONFIG.value
    if config is None:
        raise app.UsageError("name an experiment: --config configs/expr_mlp.py")
    if _WORKDIR.value:
        config.workdir = _WORKDIR.value
    if _DATA_DIR.value:
        config.data.dir = _DATA_DIR.value
    file = config_flags.get_config_filename(flags.FLAGS["config"])
    experiment.run_experiment(config, name=pathlib.Path(file.split(":")[0]).stem)


def _evaluate() -> None:
    """Evaluates one checkpoint, or several as a blend.

    Raises:
        UsageError: If the checkpoints or the work directory are not given rightly.
    """
    from avemo_jax import experiment
    from avemo_jax.data.listing import read_names
    from avemo_jax.postprocess.frame_rate.rules import FrameRate, RuleName

    names = _CHECKPOINT.value or []
    if _MODE.value == "evaluate" and len(names) != 1:
        raise app.UsageError(
            "--mode=evaluate needs one --checkpoint=DIR, e.g. RUN/best_model; to "
            "blend several, --mode=blend"
        )
    for name in names:
        if "://" in name:
            raise app.UsageError(
                f"--checkpoint={name} is not on this machine; expected a folder; copy "
                f"it: gcloud storage cp -r {name} ."
            )
    data_dir = _DATA_DIR.value
    if data_dir is None and _CONFIG.value is not None:
        data_dir = _CONFIG.value.data.dir
    directories = [pathlib.Path(name) for name in names]
    if _MODE.value == "blend":
        if not _WORKDIR.value:
            raise app.UsageError("--mode=blend needs --workdir=DIR for what comes out")
        trained_on = None
        if _TRAINED_ON.value:
            trained_on = [name for _, name in read_names(_TRAINED_ON.value)]
        experiment.blend_checkpoints(
            directories,
            data_dir=data_dir,
            split=_SPLIT.value,
            workdir=_WORKDIR.value,
            trust_extractor=_TRUST_EXTRACTOR.value,
            trained_on=trained_on,
        )
        return
    rule = cast(RuleName | None, _FRAME_RATE.value)
    experiment.evaluate_checkpoint(
        directories[0],
        data_dir=data_dir,
        split=_SPLIT.value,
        workdir=_WORKDIR.value,
        ensemble=cast(Literal["seeds", "folds"] | None, _ENSEMBLE.value),
        frame_rate=FrameRate(rule, _FRAME_RATE_STRIDE.value) if rule else None,
    )


def _parse(argv: list[str]) -> list[str]:
    """Parses the flags in ``argv`` and returns the other arguments.

    A missing configuration file, or an unknown field, ends the program.
    """
    for i, argument in enumerate(argv):
        name, given, path = argument.partition("=")
        if name.lstrip("-") == "config" and name != "config":
            path = (path if given else " ".join(argv[i + 1 : i + 2])).split(":")[0]
            if not pathlib.Path(path).is_file():
                _end(f"no configuration {path!r}; name one: configs/expr_mlp.py")
    try:
        return app.parse_flags_with_usage(argv)
    except (AttributeError, KeyError) as error:
        reason = error.args[0]
        reason = reason.args[0] if isinstance(reason, KeyError) else reason
        _end(
            f"no such field in the configuration: {' '.join(str(reason).split())}; "
            "avemo_jax/config/fields.py lists all"
        )


def _end(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(1)


def _leave(error: Exception, message: str) -> None:
    """Ends this process without waiting for the others, where there are some."""
    from avemo_jax.runtime import distributed

    distributed.abandon(error, message)


def run(argv: list[str] | None = None) -> None:
    """Runs the command line; errors that a user can mend end it with one line.

    Args:
        argv: Name of the program and its arguments. None: those of the process.
    """

    def program(arguments: list[str]) -> int:
        plainly = flags.FLAGS.verbosity < logging.DEBUG
        return guarded(lambda: _main(arguments), plainly=plainly, leave=_leave)

    app.run(program, argv=argv, flags_parser=_parse)


if __name__ == "__main__":
    run()
