"""The rows of one task: each cell computed, or as an earlier call left it."""

import dataclasses
import hashlib
import pathlib
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import jax.numpy as jnp
import numpy as np
from absl import logging
from jaxtyping import Array, Float

from avemo_jax.config.fields import identity
from avemo_jax.evaluation.intervals import intervals_of
from avemo_jax.metrics.scores import task_metrics
from avemo_jax.postprocess.frame_rate import rules
from avemo_jax.postprocess.frame_rate.rules import FrameRateRule
from avemo_jax.results_table import evaluation, rates
from avemo_jax.results_table.effects import effects_of, rows_lacking
from avemo_jax.results_table.evaluation import EvaluatedModel, RowResult
from avemo_jax.results_table.models import (
    TableRun,
    blended_model,
    model_config,
    read_kept,
    trained_model,
)
from avemo_jax.results_table.rates import Rates
from avemo_jax.results_table.rows import Cell, Effect, RowSpec
from avemo_jax.runtime.atomic_files import write_json
from avemo_jax.runtime.versions import VERSION
from avemo_jax.tasks import Task

_FAMILIES = {"sequential": rules.SEQUENTIAL, "grid": rules.REFINED}
_FIXED_STRIDE = FrameRateRule(rules.SLIDING, (10,))
_SMOOTHED = "mlp-b2-wav2vec2-smooth"  # whose frames the rules leave out


class TaskRows:
    """The rows of one task, with what several of them need."""

    def __init__(
        self,
        table_run: TableRun,
        task: Task,
        rows: Sequence[RowSpec],
        timed: Callable[[str], AbstractContextManager[None]],
    ):
        """Takes what the rows are made with; computes nothing yet.

        Args:
            table_run: Data, folder, seeds and protocol of the table.
            task: The task of the rows.
            rows: All rows of the table, also those that are not asked for.
            timed: Adds the time of a block to that of a part.
        """
        self._table_run, self._task = table_run, task
        self._rows, self._timed = rows, timed
        self._evaluated: dict[pathlib.Path, EvaluatedModel] = {}
        self._outcomes: dict[str, RowResult] = {}
        self._asked: dict[str, tuple[RowSpec, pathlib.Path]] = {}
        self._rates: Rates | None = None
        self._folder = table_run.out / "cells" / task.name.lower()

    def cell(self, spec: RowSpec) -> Cell:
        """One row, computed or as an earlier call left it."""
        if spec.post == "sequential" and self._task.kind != "multiclass":
            return Cell(
                self._task.name,
                spec.id,
                self._task.headline,
                None,
                note="the rule decides for the class with the highest score: EXPR only",
            )
        with self._timed("training"):
            path, train_s = self._trained(spec)
        self._asked[spec.id] = spec, path
        key, file = self._key(path), self._folder / f"{spec.id}.json"
        if file.exists():
            stored = read_kept(file, "key", "cell")
            if stored["key"] == key:
                logging.info("%s, %s: as computed before", self._task.name, spec.id)
                return Cell.from_dict(stored["cell"])
        logging.info("%s, %s", self._task.name, spec.id)
        if spec.post in ("none", "smooth"):
            cell = self._plain(spec, path, train_s)
        else:
            cell = self._with_rule(spec, path, train_s)
        if train_s is None:
            said = "training was interrupted, its time is not known"
            cell = dataclasses.replace(
                cell, note="; ".join(filter(None, (cell.note, said)))
            )
        self._folder.mkdir(parents=True, exist_ok=True)
        write_json(file, {"key": key, "cell": cell.to_dict()})
        return cell

    def effects(self) -> list[Effect]:
        """The effects of this call's rows, and those that an earlier call left.

        A call that was stopped may have left cells without their effects: such rows are
        scored again.
        """
        known: dict[str, Any] = self._kept("effects") or {}
        for row_id in sorted(rows_lacking(known, self._asked)):
            spec, path = self._asked[row_id]
            self._outcome(row_id, path, smooth=spec.post == "smooth")
        with self._timed("effects"):
            for effect in effects_of(self._task, self._outcomes):
                known[effect.name] = dataclasses.asdict(effect)
        if known:
            self._keep("effects", known)
        return [
            Effect(**{**one, "ci95": (one["ci95"][0], one["ci95"][1])})
            for one in known.values()
        ]

    def frame_rates(self, images_per_s: float) -> dict[str, Any] | None:
        """The summary of the rules that leave frames out, and their plot.

        None where no row asked for has such a rule, and no earlier call left it.
        """
        plots = self._table_run.out / "plots"
        plot = plots / f"frame_rates_{self._task.name}.png"
        ruled = [
            path
            for spec, path in self._asked.values()
            if spec.post not in ("none", "smooth")
        ]
        if self._rates is None:
            kept = self._kept("frame_rates")
            as_asked = kept is not None and kept["images_per_s"] == images_per_s
            if not ruled or (as_asked and plot.exists()):
                return kept
            base = self._outcome(_SMOOTHED, ruled[0], smooth=True)
            with self._timed("frame rates"):
                self._rates = rates.measure_rates(base)
        with self._timed("frame rates"):
            found = rates.summary(self._rates, images_per_s)
            title = f"{self._table_run.data.title}, {self._task.name}, validation"
            rates.draw_rates(self._rates, plot, title)
        self._keep("frame_rates", found)
        return found

    def _kept(self, name: str) -> dict[str, Any] | None:
        """What an earlier call with the same models and data wrote; else None."""
        file = self._folder / f"{name}.json"
        if not file.exists():
            return None
        stored = read_kept(file, "key", name)
        if stored["key"] != self._models_key():
            return None
        found: dict[str, Any] = stored[name]
        return found

    def _keep(self, name: str, found: dict[str, Any]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        content = {"key": self._models_key(), name: found}
        write_json(self._folder / f"{name}.json", content)

    def _models_key(self) -> str:
        """Digest of the task's model configurations, the data and the version."""
        made_of = [VERSION, self._table_run.data.store.fingerprint]
        for spec in self._rows:
            for features in spec.heads:
                config = model_config(
                    self._table_run, self._task.name, spec.kind, features
                )
                made_of.append(identity(config))
        return _digest(made_of)

    def _trained(self, spec: RowSpec) -> tuple[pathlib.Path, float | None]:
        if len(spec.heads) > 1:
            return blended_model(self._table_run, self._task.name, spec.heads)
        return trained_model(self._table_run, self._task.name, spec.kind, spec.heads[0])

    def _key(self, path: pathlib.Path) -> str:
        """Digest of a model and the version: a cell with another is computed anew."""
        names = ("head.json", "blend.json")
        made_of = [VERSION, self._table_run.data.store.fingerprint]
        made_of += [
            (path / name).read_text(encoding="utf-8")
            for name in names
            if (path / name).exists()
        ]
        return _digest(made_of)

    def _evaluate(self, path: pathlib.Path) -> EvaluatedModel:
        if path not in self._evaluated:
            with self._timed("inference"):
                self._evaluated[path] = evaluation.evaluate_model(self._table_run, path)
        return self._evaluated[path]

    def _outcome(self, row_id: str, path: pathlib.Path, *, smooth: bool) -> RowResult:
        if row_id not in self._outcomes:
            evaluated = self._evaluate(path)
            with self._timed("post-processing"):
                self._outcomes[row_id] = evaluation.post_processed(
                    evaluated, smooth=smooth
                )
        return self._outcomes[row_id]

    def _plain(self, spec: RowSpec, path: pathlib.Path, train_s: float | None) -> Cell:
        """A row without smoothing, or with the smoothing chosen on dev."""
        smooth = spec.post == "smooth"
        outcome = self._outcome(spec.id, path, smooth=smooth)
        with self._timed("times by the original's definition"):
            if smooth:
                original_s = evaluation.smoothing_seconds(outcome)
            else:
                original_s = evaluation.pass_seconds(self._table_run, path)
        name = self._task.headline
        found = outcome.metrics["smoothed"]["with_crop"]
        ci95 = found.get(f"{name}_ci95")
        weights = outcome.selection.weights
        return Cell(
            task=self._task.name,
            row=spec.id,
            metric=name,
            score=found[name],
            std=found.get(f"{name}_std"),
            ci95=None if ci95 is None else (ci95[0], ci95[1]),
            per_seed=tuple(
                one["smoothed"]["with_crop"][name] for one in outcome.per_seed
            ),
            tuned_on_reported=outcome.metrics["tuned_on_reported"]["with_crop"][name],
            smoothing=_smoothing(outcome),
            chosen_on=outcome.selection.on,
            train_s=train_s,
            inference_s=outcome.evaluated.inference_s,
            postprocess_s=outcome.postprocess_s,
            original_s=original_s,
            note="" if weights is None else _weights(weights),
        )

    def _with_rule(
        self, spec: RowSpec, path: pathlib.Path, train_s: float | None
    ) -> Cell:
        """A row with a rule that embeds few of the frames of the smoothed row."""
        base = self._outcome(_SMOOTHED, path, smooth=True)
        began = time.perf_counter()
        with self._timed("frame rates"):
            found = self._rates = self._rates or rates.measure_rates(base)
            rule = _FIXED_STRIDE
            if spec.post in _FAMILIES:
                rule = rates.chosen_rule(found, _FAMILIES[spec.post]).rule
            dense, embedded = rates.with_rule(found, rule)
            seconds = time.perf_counter() - began
            original_s = evaluation.rule_seconds(
                base, lambda scores: found.apply(rule, scores, 0).scores
            )
        limits = base.selection.thresholds
        scores = self._scores(base, dense)
        name = self._task.headline
        table = base.evaluated.reported.table
        mask = {"with_crop": base.evaluated.reported.with_crop}
        resamples = base.evaluated.model.options.num_resamples
        ends = intervals_of(table, dense, mask, limits, resamples)["with_crop"]
        ci95 = ends.get(f"{name}_ci95")
        mode, half = found.smoothing
        strides = ", ".join(map(str, rule.strides))
        return Cell(
            task=self._task.name,
            row=spec.id,
            metric=name,
            score=float(np.mean(scores)),
            std=float(np.std(scores, ddof=1)) if len(scores) > 1 else None,
            ci95=None if ci95 is None else (ci95[0], ci95[1]),
            per_seed=tuple(scores),
            smoothing=f"{mode} ±{half}, strides {strides}",
            chosen_on=base.selection.on,
            share_embedded=float(embedded.mean()),
            share_entries=found.point(rule).window_share,
            train_s=train_s,
            inference_s=base.evaluated.inference_s,
            postprocess_s=seconds,
            original_s=original_s,
        )

    def _scores(
        self, base: RowResult, dense: Float[Array, "seeds frames outputs"]
    ) -> list[float]:
        """The headline score of each seed."""
        predicted = base.evaluated.reported
        labels = jnp.asarray(predicted.table.dense_labels)
        mask = jnp.asarray(predicted.with_crop)
        found = []
        for seed, one in enumerate(dense):
            limits: Any = None
            if base.selection.thresholds is not None:
                limits = jnp.asarray(base.selection.thresholds[seed])
            scored = task_metrics(self._task.name, one, labels, mask, limits)
            found.append(float(scored[self._task.headline]))
        return found


def _digest(made_of: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(made_of).encode()).hexdigest()[:16]


def _smoothing(outcome: RowResult) -> str:
    """The smoothings of all seeds, in words."""
    words = [
        "no window" if mode == "none" else f"{mode} ±{half}"
        for mode, half in outcome.selection.smoothings
    ]
    return ", ".join(dict.fromkeys(words))


def _weights(weights: Float[np.ndarray, "seeds heads"]) -> str:
    """A blend's weights in words, means over seeds."""
    means = " : ".join(f"{weight:.2f}" for weight in weights.mean(axis=0))
    return f"mean weights {means}, chosen on dev"
