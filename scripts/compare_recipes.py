"""Kinds of heads, and options added to the MLP alone, compared on one store.

``compare_recipes.py --out DIR`` trains and evaluates every variant of every task with
several seeds, and prints a Markdown table, which is also ``DIR/comparison.md``: scores
on validation, raw and smoothed as chosen on dev, and paired differences to the MLP. The
same command goes on where it was stopped. ``--sound-removed`` also scores the same
models where a share of the validation videos has lost its sound.
"""

import argparse
import dataclasses
import pathlib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from absl import logging
from removed_sound import QuietStore, drawn_videos

from avemo_jax import experiment
from avemo_jax.batches.tables import Data, feature_names, open_data
from avemo_jax.config.checks import check_config
from avemo_jax.config.fields import base_config, identity
from avemo_jax.config.workdir_config import check_data
from avemo_jax.evaluation.evaluate import evaluate
from avemo_jax.metrics.ceilings import metric_titles
from avemo_jax.models.ensembles import load_model
from avemo_jax.results_table.cells import paired_ends, resampled
from avemo_jax.results_table.markdown import grid, score_text
from avemo_jax.results_table.runs import made, read_results
from avemo_jax.runtime import compilation, logs
from avemo_jax.runtime.atomic_files import write_json
from avemo_jax.tasks import TASKS, Task, get_task

MLP = "mlp"
BLOCKS = ("raw", "smoothed")
FULL, REMOVED = "full", "sound_removed"


@dataclasses.dataclass(frozen=True)
class Variant:
    """One recipe of the comparison.

    Attributes:
        name: Name in the table.
        kind: Kind of the head.
        fields: What differs from the recipe of that kind.
        for_values: Whether it has a meaning for values.
        for_classes: Whether it has one for classes and units.
    """

    name: str
    kind: str = MLP
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    for_values: bool = True
    for_classes: bool = True

    def is_for(self, task: Task) -> bool:
        """Whether the variant is one of ``task``."""
        return self.for_values if task.kind == "regression" else self.for_classes


VARIANTS = (
    Variant(MLP),
    Variant("gated", "gated"),
    Variant("transformer", "transformer"),
    Variant("cross-attention", "cross_attention"),
    Variant("recurrent", "recurrent"),
    Variant("recurrent, causal", "recurrent", {"head.causal": True}),
    Variant("mlp + modality dropout", MLP, {"train.modality_dropout": 0.3}),
    Variant("gated + modality dropout", "gated", {"train.modality_dropout": 0.3}),
    Variant("mlp + mixup", MLP, {"train.mixup": 0.2}, for_values=False),
    Variant("mlp + ema", MLP, {"train.ema": 0.999}),
    Variant("mlp + squared errors", MLP, {"loss.va_mse": 0.3}, for_classes=False),
    Variant(
        "mlp + temperature", MLP, {"head.learned_temperature": True}, for_values=False
    ),
)


def run_folder(
    variant: Variant, task: str, data: Data, options: argparse.Namespace
) -> pathlib.Path:
    """The folder of a variant's run, which is trained and evaluated if it is not."""
    config = base_config(task, variant.kind, options.features)
    config.num_seeds = options.seeds
    config.data.dir = options.data_dir
    config.log.tensorboard = config.log.report = False
    if options.epochs is not None:
        config.num_epochs = options.epochs
    config.update_from_flattened_dict(variant.fields)
    check_config(config)
    name = f"{variant.kind}-{identity(config)}"
    folder = options.out / task.lower() / name
    config.workdir = str(folder)
    sets = data.store.resolve(feature_names(config))
    check_data(folder, data.store.data_fingerprint(sets))
    return made(folder, lambda: experiment.run_experiment(config))


def quiet_folder(run: pathlib.Path, data: Data, share: float) -> pathlib.Path:
    """The folder of the same models' scores where a share of videos has no sound."""
    folder = run / f"evaluation-validation-sound-removed-{share:.3f}"

    def score() -> None:
        model = load_model(run / "best_model")
        videos = data.store.split_videos(model.card.task, "validation", data.splits)
        store = QuietStore(data.store, drawn_videos(videos, share))
        folder.mkdir(exist_ok=True)
        quiet = dataclasses.replace(data, store=store)
        evaluate(model, quiet, folder)

    return made(folder, score)


def scores_of(folder: pathlib.Path, task: Task) -> dict[str, Any]:
    """Headline scores of a folder's results, by block: mean, std, interval, seeds."""
    found, name = read_results(folder), task.headline
    blocks = {}
    for block in BLOCKS:
        scores = found["metrics"][block]["with_crop"]
        blocks[block] = {
            "score": scores[name],
            "std": scores.get(f"{name}_std"),
            "ci95": scores.get(f"{name}_ci95"),
            "per_seed": [one[block]["with_crop"][name] for one in found["per_seed"]],
        }
    return blocks


def differences(
    folder: pathlib.Path, less: pathlib.Path, task: Task
) -> dict[str, dict[str, Any]]:
    """Scores in ``folder`` less those in ``less``, by block, with paired intervals."""
    one, other = scores_of(folder, task), scores_of(less, task)
    found = {}
    for block in BLOCKS:
        difference = one[block]["score"] - other[block]["score"]
        drawn = resampled(folder, block), resampled(less, block)
        ci95, bca = paired_ends(difference, *drawn)
        found[block] = {"difference": difference, "ci95": ci95, "bca95": bca}
    return found


def compare(task_name: str, data: Data, options: argparse.Namespace) -> Iterator[dict]:
    """One record for each variant of a task, as soon as it is there; the MLP first."""
    task, share = get_task(task_name), options.sound_removed
    mlp: dict[str, pathlib.Path] = {}
    for variant in VARIANTS:
        wanted = not options.variants or variant.name in options.variants
        if not variant.is_for(task) or not (wanted or variant.name == MLP):
            continue
        began = time.perf_counter()
        folders = {FULL: run_folder(variant, task_name, data, options)}
        if share:
            folders[REMOVED] = quiet_folder(folders[FULL], data, share)
        mlp = mlp or folders
        seconds = time.perf_counter() - began
        logging.info("%s %s: %.0f s", task_name, variant.name, seconds)
        record: dict[str, Any] = {
            "task": task_name,
            "variant": variant.name,
            "head": variant.kind,
            "fields": dict(variant.fields),
            "metric": task.headline,
            "num_seeds": options.seeds,
        }
        for way, folder in folders.items():
            record[way] = scores_of(folder, task)
            if variant.name != MLP:
                record[f"{way}_less_mlp"] = differences(folder, mlp[way], task)
        if share:
            lost = differences(folders[REMOVED], folders[FULL], task)
            record[f"{REMOVED}_less_{FULL}"] = lost
        yield record


def markdown(records: Sequence[Mapping[str, Any]], title: str, share: float) -> str:
    """The page: for each task a table of scores, and one without sound."""
    parts = [
        f"# Recipes compared: {title}, validation",
        "Mean over seeds ± their standard deviation [95 % interval over videos]; "
        "differences to the MLP have paired intervals. Smoothing and thresholds are "
        "chosen on dev.",
    ]
    for task in dict.fromkeys(record["task"] for record in records):
        own = [record for record in records if record["task"] == task]
        title_of = metric_titles(get_task(task))[own[0]["metric"]]
        parts += [f"## {get_task(task).full_title}, {title_of}", _table(own, FULL)]
        if share:
            parts.append(f"Without sound in {share:.0%} of the recordings:")
            parts.append(_table(own, REMOVED))
    return "\n\n".join(parts) + "\n"


def _table(records: Sequence[Mapping[str, Any]], way: str) -> str:
    """One task's scores, all of them with sound or some without."""
    header = ["recipe"]
    for block in BLOCKS:
        header += [block, f"{block}, less the MLP"]
    if way == REMOVED:
        header.append("smoothed, less all with sound")
    lines = []
    for record in records:
        line = [record["variant"]]
        for block in BLOCKS:
            line.append(score_text(**_shown(record[way][block])))
            line.append(_difference(record.get(f"{way}_less_mlp"), block))
        if way == REMOVED:
            line.append(_difference(record[f"{way}_less_{FULL}"], "smoothed"))
        lines.append(line)
    return grid(header, lines)


def _shown(block: Mapping[str, Any]) -> dict[str, Any]:
    ends = block["ci95"]
    return {
        "value": block["score"],
        "std": block["std"],
        "ci95": None if ends is None else tuple(ends),
    }


def _difference(found: Mapping[str, Any] | None, block: str) -> str:
    if found is None:
        return "-"
    return score_text(found[block]["difference"], None, found[block]["ci95"])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, required=True, help="of the runs")
    parser.add_argument("--json", type=pathlib.Path, help="file of all numbers")
    parser.add_argument("--data-dir", help="a store; the demo corpus by default")
    parser.add_argument("--features", help="feature sets; the recipes' by default")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument(
        "--variants", nargs="+", choices=[v.name for v in VARIANTS], metavar="NAME"
    )
    parser.add_argument("--seeds", type=int, default=5, help="%(default)s")
    parser.add_argument("--epochs", type=int, help="the recipes' by default")
    parser.add_argument(
        "--sound-removed",
        type=float,
        nargs="?",
        const=1 / 3,
        default=0.0,
        metavar="SHARE",
        help="share of validation recordings that lose their sound; a third",
    )
    options = parser.parse_args()
    if not 0 <= options.sound_removed <= 1:
        parser.error("--sound-removed is a share: from 0 to 1")
    return options


def main() -> None:
    """Trains and scores what is missing, prints the table, writes the numbers."""
    options = _options()
    logs.speak_plainly()
    compilation.keep_compiled()
    data, records = open_data(options.data_dir), []
    for task in options.tasks:
        for record in compare(task, data, options):
            records.append(record)
            if options.json:
                found = {
                    "data": data.title,
                    "synthetic": bool(data.store.synthetic),
                    "sound_removed": options.sound_removed,
                    "records": records,
                }
                write_json(options.json, found)
    page = markdown(records, data.title, options.sound_removed)
    (options.out / "comparison.md").write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
