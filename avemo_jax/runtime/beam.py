"""Apache Beam: the one place that imports it, and only if it is asked for."""

import contextlib
import io
import shlex
from collections.abc import Sequence
from typing import Any

_QUIET = "--default_sdk_harness_log_level=WARNING"  # the user's options override it


def import_beam() -> Any:
    """The module ``apache_beam``.

    Raises:
        ImportError: If it is not installed.
    """
    try:
        import apache_beam
        import apache_beam.options.pipeline_options
        import apache_beam.runners
    except ImportError as error:
        raise ImportError(
            "a Beam runner was asked for and apache-beam is not installed; expected "
            "the extra 'beam': pip install 'avemo_jax[beam]'"
        ) from error
    return apache_beam


def checked_options(runner: str, options: Sequence[str]) -> Any:
    """Beam's ``PipelineOptions`` for a runner, checked.

    Args:
        runner: Name of the runner, such as "DirectRunner" or "DataflowRunner".
        options: Options of the pipeline, such as ``--direct_num_workers=2``.

    Raises:
        ImportError: If apache-beam is not installed.
        ValueError: If the runner is unknown, or an option has a wrong value.
    """
    beam = import_beam()
    try:
        beam.runners.create_runner(runner)
    except (ValueError, ImportError, AttributeError) as error:
        raise ValueError(
            f"Beam runner {runner!r}: {error}; expected one that Apache Beam has, as "
            "DirectRunner: correct --beam-runner"
        ) from error
    pipeline_options = beam.options.pipeline_options.PipelineOptions(
        ["--runner", runner, _QUIET, *options]
    )
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            pipeline_options.get_all_options()
    except SystemExit as error:  # by argparse, after three pages of usage
        why = said.getvalue().strip().rpartition("error: ")[2]
        raise ValueError(
            f"Beam options {' '.join(options)!r}: {why}; expected options of {runner}, "
            "as --direct_num_workers=2: correct --beam-options"
        ) from error
    return pipeline_options


def read_options(runner: str | None, text: str) -> tuple[str, ...]:
    """The options in the text of ``--beam-options``, split as a shell does and checked.

    Args:
        runner: Name of the runner; None: none is asked for.
        text: Options as in a shell; "" for none.

    Raises:
        ImportError: If apache-beam is not installed.
        ValueError: If the runner is unknown, or an option is wrong or has no runner.
    """
    try:
        options = tuple(shlex.split(text))
    except ValueError as error:
        raise ValueError(
            f"--beam-options {text!r}: {str(error).lower()}; expected options as in a "
            "shell, as '--direct_num_workers=2': close the quotation"
        ) from error
    if runner is not None:
        checked_options(runner, options)
    elif options:
        raise ValueError(
            f"--beam-options {text!r} without a runner; expected both or neither: name "
            "a --beam-runner, as DirectRunner"
        )
    return options
