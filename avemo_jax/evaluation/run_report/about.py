"""Parts of the report that say what it is of: choices, configuration, data."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from avemo_jax.config.fields import base_config, flatten, to_plain
from avemo_jax.evaluation.report import data_title, in_words, score_words
from avemo_jax.evaluation.run_report.contents import TaskContents
from avemo_jax.evaluation.run_report.elements import (
    NOTHING,
    Html,
    details,
    facts,
    paragraph,
    section,
    table,
)
from avemo_jax.metrics.ceilings import metric_titles
from avemo_jax.metrics.intervals import few_words
from avemo_jax.models.card import UNKNOWN, Card
from avemo_jax.models.selection import Selection
from avemo_jax.runtime.logs import PACKAGES
from avemo_jax.runtime.versions import VERSION, git_revision, package_versions
from avemo_jax.tasks import SCORE, get_task

_DIGITS = 16  # of a fingerprint
_REVISION = 12  # digits of a commit
_OF_SPEAKERS = {
    "accuracy": "accuracy",
    "f1_macro": "macro F1",
    "recall_macro": "mean recall",
}
_PLACES = ("workdir",)  # fields that say where and not what
_COUNTED = {
    "videos": "videos",
    "frames": "frames",
    "frames_with_features": "frames with features",
    "samples": "labelled frames with features",
    "frames_without_sound": "frames without sound",
}


def chosen_section(contents: TaskContents, level: int) -> Html:
    """What was chosen for each seed, and on what.

    Args:
        contents: The evaluation.
        level: Level of the heading.
    """
    found, card, task = contents.found, contents.card, contents.task
    on = found.get("chosen_on")
    by = "whole videos" if found.get("chosen_by") == "video" else "frames"
    said = f"Chosen on {on}, by scores of {by}: best epoch, and what follows."
    if not on:
        reason = found.get("chosen_on_reason")
        said = "Nothing was chosen, values are fixed" + (
            f": {reason}." if reason else "."
        )
    rows = [
        (f"seed {card.seeds[i]}", *cells) for i, cells in enumerate(_by_seed(contents))
    ]
    head = ["seed", "smoothing", f"{metric_titles(task)[task.headline]} on dev"]
    parts = [paragraph(said), table("Smoothing over time", head, rows, words={1})]
    parts += [_thresholds(contents), _weights(contents), _frame_rates(found)]
    for name, title in (
        ("temperatures", "Temperatures of the classes' correction, by seed"),
        ("confidences", "Confidence from which the extractor is trusted, by seed"),
    ):
        if values := found.get(name):
            words = ", ".join(f"{value:g}" for value in values)
            parts.append(paragraph(f"{title}: {words}."))
    parts.append(_sweep(card))
    return section(level, "What was chosen", *parts, within=task.name)


def _by_seed(contents: TaskContents) -> Iterable[tuple[str, float | None]]:
    """Smoothing and score on dev of each seed."""
    found, chosen = contents.found, contents.card.selection
    name = f"smoothed_{contents.task.headline}"
    if per_seed := found.get("per_seed"):
        for one in per_seed:
            block = one["smoothed"]
            words = in_words(block["mode"], block["half_width_frames"])
            yield words, one.get("dev", {}).get(name)
    elif isinstance(chosen, Selection):
        for i, (mode, half) in enumerate(chosen.smoothings):
            score = chosen.dev_scores[i] if chosen.dev_scores else None
            yield in_words(mode, half), score


def _thresholds(contents: TaskContents) -> Html:
    """Thresholds of units by each seed."""
    found, task = contents.found, contents.task
    if task.kind != "multilabel" or not (per_seed := found.get("per_seed")):
        return NOTHING
    rows = []
    for name in task.columns:
        cells = [
            f"{one[block]['with_crop']['thresholds'][name]:.3g}"
            for block in ("raw", "smoothed")
            for one in per_seed
        ]
        rows.append((name, *cells))
    head = ["unit"]
    for block in ("raw", "smoothed"):
        several = len(per_seed) > 1
        head += [f"{block}, seed {s['seed']}" if several else block for s in per_seed]
    return table("Thresholds of the units", head, rows)


def _weights(contents: TaskContents) -> Html:
    """Weights of a blend's heads by each seed."""
    weights = contents.found.get("weights")
    if not weights:
        return NOTHING
    seeds = contents.card.seeds
    rows = [
        (contents.heads[i], *(f"{own[i]:.2f}" for own in weights))
        for i in range(len(contents.heads))
    ]
    return table("Weights of the heads", ["head", *(f"seed {s}" for s in seeds)], rows)


def _frame_rates(found: Mapping[str, Any]) -> Html:
    """Rules for the frames that are embedded."""
    rate = found.get("frame_rate")
    if not rate:
        return NOTHING
    rows = []
    for number, one in enumerate(rate["per_seed"], start=1):
        dev = one.get("dev", {})
        rows.append(
            (
                str(number),
                ", ".join(map(str, one["strides"])),
                f"{one['share_embedded']:.1%}",
                f"{dev['share_embedded']:.1%}" if dev else None,
                dev.get("score"),
                dev.get("score_of_all_frames"),
            )
        )
    head = ["model", "strides", "embedded", "on dev", "score on dev", "with all frames"]
    caption = f"Frames that are embedded, by the rule {rate['rule']!r}"
    return table(caption, head, rows, words={1})


def _sweep(card: Card) -> Html:
    """Every setting of a sweep with its score on dev; empty without a sweep."""
    if not card.sweep:
        return NOTHING
    criterion = get_task(card.task).criterion
    best = max(card.sweep, key=lambda row: row["dev_mean"])
    names = [name for name in card.sweep[0] if name not in ("dev_mean", "dev_std")]
    rows = [
        (
            "kept" if row is best else "",
            *(f"{row[name]:g}" for name in names),
            f"{row['dev_mean']:.4f} ± {row['dev_std']:.4f}",
        )
        for row in card.sweep
    ]
    return table("Settings that were tried", ["", *names, f"dev {criterion}"], rows)


def configuration_section(card: Card, level: int) -> Html:
    """The configuration, first what differs from the defaults.

    Args:
        card: The model's card.
        level: Level of the heading.
    """
    fields = {n: v for n, v in flatten(dict(card.config)).items() if n not in _PLACES}
    usual = flatten(to_plain(base_config(card.task, str(card.head["kind"]))))
    other = [(n, _value(v)) for n, v in fields.items() if v != usual.get(n)]
    every = [(name, _value(value)) for name, value in fields.items()]
    head = ["field", "value"]
    parts = [paragraph("Every field has its default.")]
    if other:
        caption = "Fields that differ from the defaults, or follow the number of frames"
        parts = [table(caption, head, other, words={1})]
    if every:
        parts.append(
            details(
                f"All {len(every)} fields",
                table("The configuration", head, every, words={1}),
            )
        )
    sizes = [(name, _value(value)) for name, value in card.head.items()]
    caption = "What decides the head's arithmetic"
    parts.append(details("The head", table(caption, head, sizes, words={1})))
    parts.append(facts({"protocol": card.protocol}))
    return section(level, "Configuration", *parts)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_value(one)}" for name, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_value, value)) or "none"
    return "none" if value is None else str(value)


def data_section(contents: Sequence[TaskContents], level: int) -> Html:
    """The data: fingerprints, splits, feature sets, what is missing.

    Args:
        contents: The evaluations of all tasks.
        level: Level of the heading.
    """
    first = contents[0]
    card, found = first.card, first.found
    trained = f"{card.data.name} ({card.data.fingerprint[:_DIGITS]})"
    parts = [facts({"evaluated on": data_title(found), "trained on": trained})]
    sets = [(f.name, f.kind, f.dim, f.fingerprint[:_DIGITS]) for f in card.features]
    if sets:
        head = ["feature set", "kind", "numbers a frame", "fingerprint"]
        parts.append(table("Feature sets", head, sets, words={1, 3}))
    for one in contents:
        several = f"{one.task.name}: " if len(contents) > 1 else ""
        counts = one.found["counts"]
        names = [n for n in _COUNTED if any(n in split for split in counts.values())]
        rows = [(split, *(own.get(n) for n in names)) for split, own in counts.items()]
        head = ["split", *(_COUNTED[name] for name in names)]
        parts.append(table(f"{several}Videos and frames of each split", head, rows))
        parts.append(_joined(one, several))
    return section(level, "Data", *parts)


def _joined(contents: TaskContents, several: str) -> Html:
    """What was joined, is missing, or was left out of the split."""
    rows = []
    for name, value in contents.found["joined"].items():
        said = value
        if isinstance(value, list | tuple):
            said = ", ".join(map(str, value)) or "none"
        elif isinstance(value, Mapping):
            said = _value(value) or "none"
        rows.append((name.replace("_", " "), said))
    split = contents.found["split"]
    inside = table(f"{several}{split}", ["what", "how many, or which"], rows, words={1})
    return details(
        f"{several}What was joined, is missing, or was left out of {split}", inside
    )


def versions_section(
    card: Card, environment: Mapping[str, Any], checkpoint: str, level: int
) -> Html:
    """Versions of the training and of this evaluation, seeds, checkpoint.

    Args:
        card: The model's card.
        environment: Content of the run's environment.json; empty where it is unknown.
        checkpoint: Digest of the model.
        level: Level of the heading.
    """
    revision = git_revision()
    rows: list[tuple[str, Any, Any]] = [
        ("avemo_jax", environment.get("avemo_jax", card.version), VERSION),
        ("git revision", _short(environment.get("git_revision")), _short(revision)),
    ]
    now, then = package_versions(PACKAGES), environment.get("packages", {})
    rows += [(name, then.get(name), version) for name, version in now.items()]
    videos = card.training_videos
    count = "unknown" if videos == UNKNOWN else f"{len(videos):,} videos"
    known = {
        "seeds": ", ".join(map(str, card.seeds)),
        "checkpoint": checkpoint[:_DIGITS],
        "trained on": f"{card.train_on}, {count}",
    }
    for name in ("python", "platform", "devices", "processes"):
        if name in environment:
            known[name] = _value(environment[name])
    if card.provenance is not None:
        known["converted from"] = card.provenance.source
        known["licence"] = card.provenance.licence
    head = ["", "training", "evaluation"]
    return section(
        level, "Versions", facts(known), table("Versions", head, rows, words={1, 2})
    )


def _short(revision: str | None) -> str | None:
    """The first digits of a commit, with the "+" of one that files differ from."""
    if revision is None or not re.fullmatch(r"[0-9a-f]{40}\+?", revision):
        return revision
    return revision[:_REVISION] + revision[40:]


def sums_section(found: Mapping[str, Any], level: int) -> Html:
    """P, the sum of the scores of tasks that were trained together.

    Args:
        found: Content of results.json, with ``tasks``.
        level: Level of the heading.
    """
    rows = []
    for block, by_frames in found["metrics"].items():
        for frames, scores in by_frames.items():
            deviation = scores.get(f"{SCORE}_std")
            behind = "" if deviation is None else f" ± {deviation:.3f}"
            words = frames.replace("_", " ")
            rows.append((f"{block}, {words}", f"{scores[SCORE]:.3f}{behind}"))
    caption = f"P of {found['task']}, the sum of the tasks' headline scores"
    return section(level, "All tasks", table(caption, ["", "P"], rows))


def folds_section(found: Mapping[str, Any], folders: Sequence[str], level: int) -> Html:
    """The scores of all folds of a run, their mean, and links to their reports.

    Args:
        found: Content of the run's results.json, with ``folds``.
        folders: Folder of each fold, beside the report.
        level: Level of the heading.
    """
    task = get_task(found["task"])
    blocks = ("raw", "smoothed")
    rows: list[tuple[Any, ...]] = []
    for folder, metrics in zip(folders, found["folds"], strict=True):
        link = Html(f'<a href="{folder}/report.html">{folder}</a>')
        scores = (metrics[block]["with_crop"][task.headline] for block in blocks)
        rows.append((link, *map(float, scores)))
    means = []
    for block in blocks:
        scores = found["metrics"][block]["with_crop"]
        mean, deviation = scores[task.headline], scores[f"{task.headline}_std"]
        means.append(f"{mean:.3f} ± {deviation:.3f}")
    rows.append(("mean ± standard deviation", *means))
    caption = f"{task.headline} of each fold; a fold's name leads to its own report"
    parts = [table(caption, ["fold", *blocks], rows), *_of_speakers(found)]
    return section(level, "Folds", *parts)


def _of_speakers(found: Mapping[str, Any]) -> Iterable[Html]:
    """Tables of folds of speakers: each fold's scores, and all together."""
    block = found.get("speaker_folds", {})
    for name, what in (("per_video", "clips"), ("with_crop", "frames")):
        if name not in block:
            continue
        of_set, rows = block[name], []
        pairs = zip(of_set["folds"], block["speakers"], strict=True)
        for number, (scores, speakers) in enumerate(pairs):
            cells = (score_words(scores, key) for key in _OF_SPEAKERS)
            rows.append((str(number), list(speakers), int(scores["num"]), *cells))
        spread = (
            f"{of_set['mean'][key]:.3f} ± {of_set['std'][key]:.3f}"
            for key in _OF_SPEAKERS
        )
        rows.append(("mean ± deviation of folds", "", None, *spread))
        pooled = of_set["pooled"]
        cells = (score_words(pooled, key) for key in _OF_SPEAKERS)
        rows.append(("all together", "", int(pooled["num"]), *cells))
        head = ["fold", "speakers", what, *_OF_SPEAKERS.values()]
        yield table(
            f"Folds of speakers ({block['source']}), {what}, each by the best seed of "
            "its fold; [95 % interval over speakers]",
            head,
            rows,
            words={1},
        )
        titles = {title: (pooled, key) for key, title in _OF_SPEAKERS.items()}
        if told := few_words(titles):
            yield paragraph(f"All together, {told}.", "small")
