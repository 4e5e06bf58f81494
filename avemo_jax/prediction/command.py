"""``avemo predict``: videos and images to tables of every face in every frame."""

import argparse
import collections
import contextlib
import errno
import pathlib
import sys
import traceback
from collections.abc import Sequence

from avemo_jax.data.listing import first_of, said_of_many
from avemo_jax.extraction.run import held
from avemo_jax.extraction.shards import shard_of
from avemo_jax.prediction.finished import (
    Work,
    find_work,
    run_facts,
    told_of,
    write_all_summaries,
)
from avemo_jax.prediction.flags import parser, wanted_views
from avemo_jax.prediction.inputs import FoundInputs, Input, find_inputs
from avemo_jax.prediction.model_table import DEFAULT, PUBLISHED
from avemo_jax.prediction.page.index_page import write_index
from avemo_jax.prediction.predicted import Predicted
from avemo_jax.prediction.summaries import MEANING, summary_text
from avemo_jax.prediction.views import VIEWS, missing_views, write_views
from avemo_jax.prediction.writing import write_predicted
from avemo_jax.runtime.errors import SOME_FAILED, guarded, text_of
from avemo_jax.runtime.plain_text import lines
from avemo_jax.runtime.progress import clear_bars

UNREAD = 1  # some input could not be read
_IN_FULL = 5  # inputs of which the whole summary is printed
_TOLD = 10  # inputs that could not be read


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``avemo predict``.

    Returns:
        0: all tables are there. 1: some input could not be read, or an error, told on
        stderr. 3: all were read, some only in part. 130: stopped.
    """
    flags = parser()
    args = flags.parse_args(argv)
    return guarded(
        lambda: _run(args),
        prog=flags.prog,
        kept="tables of the inputs that were done are kept",
        plainly=not args.debug,
    )


def _run(args: argparse.Namespace) -> int:
    out = pathlib.Path(args.out)
    found = find_inputs(
        args.inputs, recursive=args.recursive, fps=args.fps, out=args.out
    )
    _check_places(args, out, found)
    is_new = not out.exists()
    try:
        with held(out, shared=args.num_shards > 1):
            return _predict(args, out, found)
    except Exception:
        if is_new:
            with contextlib.suppress(OSError):  # something was written before
                out.rmdir()
        raise


def _check_places(
    args: argparse.Namespace, out: pathlib.Path, found: FoundInputs
) -> None:
    """Refuse results among the inputs, and one file for several inputs.

    Raises:
        ValueError: If flags do not fit the inputs.
    """
    where = out.resolve()
    for one in found.inputs:
        files = {one.path.resolve(), *(file.parent.resolve() for file in one.files)}
        if where in files:
            raise ValueError(
                f"--out {out} is what is read; expected a folder of its own: choose "
                "another --out"
            )
    count = len(found.inputs)
    sound = args.audio not in ("auto", "none")
    if sound and count > 1:
        raise ValueError(
            f"--audio {args.audio} for {count} inputs; expected one input for a file "
            "of sound: run them one by one"
        )
    for flag, given in (
        ("--audio", args.audio if sound else None),
        ("--boxes", args.boxes),
        ("--template", args.template),
    ):
        if given is not None and not pathlib.Path(given).exists():
            raise ValueError(
                f"{flag} {given}: no such file; expected one that is there: correct "
                "the path"
            )


def _predict(args: argparse.Namespace, out: pathlib.Path, found: FoundInputs) -> int:
    """Predict all inputs of this part of the job that are not done yet."""
    # Here, so that what is wrong with the inputs is told before JAX is loaded.
    from avemo_jax.prediction.devices import use_device
    from avemo_jax.prediction.frame_progress import FrameProgress
    from avemo_jax.prediction.many_inputs import Unread, predict_inputs
    from avemo_jax.prediction.networks import load_networks
    from avemo_jax.prediction.settings import settings_of
    from avemo_jax.prediction.written_predictions import read_predicted
    from avemo_jax.runtime import compilation

    names = args.model or [DEFAULT]
    device = use_device(args.device)
    compilation.keep_compiled(args.compilation_cache)
    settings = settings_of(args, len(found.inputs))
    networks = load_networks(
        names,
        settings,
        tasks=None if args.tasks is None else _words(args.tasks),
        batch_size=None if args.batch_size == "auto" else args.batch_size,
        offline=args.offline,
        show_progress=not args.quiet,
    )
    facts = run_facts(
        networks.facts,
        settings.as_json(),
        networks.fingerprint(settings),
        device,
        networks.model.notes,
    )
    inputs = _of_shard(args, found.inputs)
    beside = settings.files_beside
    work = find_work(out, inputs, facts, beside=beside, overwrite=args.overwrite)
    _say_begin(names, device, inputs, work, [*networks.model.notes, *found.notes])
    outcome = _Outcome(len(inputs), debug=args.debug, quiet=args.quiet)
    views = wanted_views(args)
    for name, run in work.standing.items():
        outcome.losses[name] = tuple(run["losses"])
    with FrameProgress(work.todo, quiet=args.quiet or not work.todo) as progress:
        for one in predict_inputs(
            work.todo,
            networks,
            settings,
            folder=out,
            told=lambda one: told_of(facts, one, beside),
            progress=progress,
        ):
            clear_bars()
            if isinstance(one, Unread):
                outcome.unread(one.input, one.error)
                continue
            write_predicted(one, out / one.name, min_face_px=settings.min_face_px)
            outcome.done(one, settings.min_face_px)
            outcome.add_views(one, out / one.name, views)
    for given in inputs:
        place = out / given.name
        if given.name in work.standing and (missing := missing_views(place, views)):
            there = read_predicted(
                place, path=given.path, pictures=given.pictures_files
            )
            outcome.add_views(there, place, missing)
    summary = write_all_summaries(out)
    if "page" in views:
        write_index(out)
    return outcome.end(out, summary)


def _of_shard(args: argparse.Namespace, inputs: Sequence[Input]) -> list[Input]:
    """The inputs of this part of the job, by name."""
    sizes = {one.name: one.num_bytes() for one in inputs}
    mine = shard_of(sizes, num_shards=args.num_shards, shard_index=args.shard_index)
    return [one for one in inputs if one.name in set(mine)]


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _say_begin(
    names: Sequence[str],
    device: str,
    inputs: Sequence[Input],
    work: Work,
    notes: Sequence[str],
) -> None:
    """Print which model runs on what and on how many inputs, and what to know."""
    kinds = collections.Counter(one.kind for one in inputs)
    words = {"video": "video", "image": "image", "sequence": "folder of pictures"}
    told = ", ".join(
        f"{count:,} {words[kind]}{'s' * (count > 1 and kind != 'sequence')}"
        for kind, count in kinds.items()
    )
    stood = f", {len(work.standing):,} done before" if work.standing else ""
    print(f"{' + '.join(names)} on {device}: {told or 'no input'}{stood}", flush=True)
    for name in names:
        if name in PUBLISHED and (limits := PUBLISHED[name].limits):
            print(f"  {name}: {limits}")
    for note in notes:
        print(f"  {note}")
    sys.stdout.flush()


class _Outcome:
    """What came of all inputs, told as it comes."""

    def __init__(self, count: int, *, debug: bool, quiet: bool):
        self._count, self._debug, self._quiet = count, debug, quiet
        self._done = 0
        self._errors: dict[str, str] = {}
        self._notes: dict[str, Sequence[str]] = {}
        self._view_notes: dict[str, Sequence[str]] = {}
        self._without_view: dict[str, list[str]] = {}
        self.losses: dict[str, Sequence[str]] = {}

    def unread(self, one: Input, error: Exception) -> None:
        """An input could not be read."""
        text = lines(text_of(error))
        self._errors[one.name] = text
        if self._debug:
            traceback.print_exception(error)
        if len(self._errors) <= _TOLD:
            print(f"not read: {text}", file=sys.stderr, flush=True)

    def done(self, predicted: Predicted, min_face_px: int) -> None:
        """An input is predicted, its tables written."""
        self._done += 1
        self._notes[predicted.name] = predicted.notes
        self.losses[predicted.name] = predicted.losses
        if self._count <= _IN_FULL:
            print(summary_text(predicted, min_face_px=min_face_px), flush=True)

    def add_views(
        self, predicted: Predicted, folder: pathlib.Path, names: Sequence[str]
    ) -> None:
        """Write the views of an input, and tell which cannot be made."""
        for name in names:
            try:
                notes = write_views(
                    predicted, folder, [name], show_progress=not self._quiet
                )
            except (ValueError, OSError) as error:
                if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                    raise
                text = f"{VIEWS[name].file} not made: {lines(text_of(error))}"
                self._without_view.setdefault(predicted.name, []).append(text)
                if self._debug:
                    traceback.print_exception(error)
                if len(self._without_view) <= _TOLD:
                    print(f"{predicted.name}: {text}", file=sys.stderr, flush=True)
            else:
                told = (*self._view_notes.get(predicted.name, ()), *notes)
                self._view_notes[predicted.name] = told
                for note in notes if self._count <= _IN_FULL else ():
                    print(f"  {predicted.name}: {note}", flush=True)

    def end(self, out: pathlib.Path, summary: pathlib.Path) -> int:
        """Tell the results in the last lines, and give the exit status."""
        if self._count > _IN_FULL:
            for text in (*said_of_many(self._notes), *said_of_many(self._view_notes)):
                print(f"  {text}")
            for text in said_of_many(self.losses):
                print(f"  lost: {text}")
        part = [name for name, losses in self.losses.items() if losses]
        standing = len(self.losses) - self._done
        line = f"{self._done:,} predicted"
        if standing:
            line += f", {standing:,} done before"
        if part:
            line += f", {len(part):,} of them only in part ({first_of(part, 5)})"
        if self._without_view:
            names = first_of(sorted(self._without_view), 5)
            line += f"; {len(self._without_view):,} lack a view ({names})"
        if self._errors:
            names = first_of(sorted(self._errors), 5)
            line += f"; {len(self._errors):,} could not be read ({names})"
        if self.losses:
            line += f"; tables in {out}, {summary.name} over all"
        print(line)
        if self.losses:
            print(MEANING)
        if self._errors:
            return UNREAD
        return SOME_FAILED if part or self._without_view else 0
