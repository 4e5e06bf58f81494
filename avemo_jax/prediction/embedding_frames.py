"""Which frames of each face are embedded, asked for in rounds.

With a rule that was chosen on dev the first round is its coarsest grid. What the heads
say of it tells which frames come next, and so on, until the rule has all that it looks
at: no other frame is ever embedded.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float64, Int

from avemo_jax.extraction.face_tracks import FaceTrack
from avemo_jax.models.blend import Model
from avemo_jax.models.embedded_frames import dense_split
from avemo_jax.models.frame_scores import corrected_rows, smoothable
from avemo_jax.models.selection import Selection
from avemo_jax.postprocess.frame_rate.comparison import apply_rule
from avemo_jax.postprocess.frame_rate.rules import FrameRateRule
from avemo_jax.prediction.embedded_face import EmbeddedFace
from avemo_jax.prediction.face_runs import MAX_GAP_S, runs_of, stacked
from avemo_jax.prediction.frame_choice import Every, shown, strided
from avemo_jax.prediction.head_rows import head_rows
from avemo_jax.prediction.models import PredictionModel
from avemo_jax.prediction.run_scores import ScoredRows, run_scores

Numbers = Int[np.ndarray, " _"]


class EmbeddingFrames:
    """The frames to embed of one input.

    The caller embeds what :meth:`first` names, then what :meth:`next` names of all that
    was embedded so far, until that is nothing.
    """

    def __init__(
        self,
        model: PredictionModel,
        every: Every,
        tracks: Sequence[FaceTrack],
        times_s: Float64[np.ndarray, " frames"],
        *,
        fps: float,
        first_frame: int = 1,
        max_gap_s: float = MAX_GAP_S,
    ):
        """Begins with no frame.

        Args:
            model: The model.
            every: Frames from one that is embedded to the next, or "adaptive".
            tracks: The faces.
            times_s: When each frame is shown, in seconds, from ``first_frame`` on.
            fps: Frames per second.
            first_frame: Number of the frame that the first time is of.
            max_gap_s: Seconds that a filled gap may last.

        Raises:
            ValueError: If "adaptive" is asked for and a model has no rule.
        """
        self._model, self._every, self._fps = model, every, fps
        if every == "adaptive":
            check_rules(model)
        self._spans = [
            runs_of(track.frame, times_s, first_frame=first_frame, max_gap_s=max_gap_s)
            for track in tracks
        ]
        self._stage = 0

    def first(self) -> list[Numbers]:
        """Numbers of the frames of each face to embed first."""
        if self._every != "adaptive":
            return [strided(span, self._every) for span in self._spans]
        self._stage = 1
        nothing = [np.zeros(0, np.int32) for _ in self._spans]
        return self._wanted(None, nothing)

    def next(self, faces: Sequence[EmbeddedFace]) -> list[Numbers]:
        """Numbers of the frames of each face to embed now; none of any: all is done.

        Args:
            faces: The faces in the order of the tracks, with all that was embedded.
        """
        have = [np.asarray(face.frame) for face in faces]
        if self._every == "adaptive":
            most = max(len(rule.strides) for _, _, _, rule in _rules(self._model))
            while self._stage < most:
                self._stage += 1
                more = self._wanted(faces, have)
                if any(map(len, more)):
                    return more
        return [np.zeros(0, np.int32) for _ in have]

    def _wanted(
        self, faces: Sequence[EmbeddedFace] | None, have: Sequence[Numbers]
    ) -> list[Numbers]:
        """The frames that any rule looks at up to this stage and that are not there."""
        if not self._spans:
            return []
        wanted = [np.zeros(span.length, bool) for span in self._spans]
        rows: dict[int, ScoredRows] = {}
        for model, selection, seed, rule in _rules(self._model):
            if id(model) not in rows:
                rows[id(model)] = self._rows(model, faces)
            embedded = self._embedded(model, selection, seed, rule, rows[id(model)])
            start = 0
            for face, begin, end in stacked(self._spans):
                run = slice(start, start := start + end - begin)
                wanted[face][begin:end] |= embedded[run]
        return [
            np.setdiff1d(shown(span, own), there).astype(np.int32)
            for span, own, there in zip(self._spans, wanted, have, strict=True)
        ]

    def _rows(self, model: Model, faces: Sequence[EmbeddedFace] | None) -> ScoredRows:
        """Scores of what was embedded; none before the first round."""
        if faces is not None:
            return head_rows(
                model,
                faces,
                self._spans,
                fps=self._fps,
                programs=self._model.programs,
            )
        shape = (len(model.heads), len(model.card.seeds), 0, model.task.num_outputs)
        none = np.zeros(0, np.int64)
        return ScoredRows(model.task, none, none, np.zeros(shape, np.float32))

    def _embedded(
        self,
        model: Model,
        selection: Selection,
        seed: int,
        rule: FrameRateRule,
        rows: ScoredRows,
    ) -> Bool[np.ndarray, " frames"]:
        """The frames of all runs that one seed's rule looks at up to this stage."""
        options = model.options
        split = run_scores(rows, self._spans, fps=self._fps, faithful=options.faithful)
        corrected = corrected_rows(split, selection)
        unsmoothed = smoothable(
            model.task, corrected, selection.raw_thresholds, options
        )
        limits = selection.thresholds
        outcome = apply_rule(
            model.task,
            _up_to(rule, self._stage),
            *dense_split(split, unsmoothed[seed])[:3],
            smoothing=selection.smoothings[seed],
            thresholds=None if limits is None else limits[seed],
        )
        return np.asarray(outcome.refined.embedded)


def check_rules(model: PredictionModel) -> None:
    """Refuses models without a rule for the frames to embed.

    Raises:
        ValueError: If one has none; it says what else to do.
    """
    without = [one.name for one in model.own]
    without += [
        one.name
        for one in model.heads
        if any(selection.frame_rates is None for selection in one.selections)
    ]
    if without:
        raise ValueError(
            f"--every adaptive with {', '.join(dict.fromkeys(without))}, which has no "
            "rule that was chosen on dev; expected a head trained with "
            "--config.postprocess.frame_rate.rule=refine or another: use --every 5, "
            "which embeds every 5th frame, or such a head"
        )


def _rules(
    model: PredictionModel,
) -> Iterator[tuple[Model, Selection, int, FrameRateRule]]:
    """Every model with what was chosen for it, its seeds, and the rule of each."""
    for heads in model.heads:
        for one, selection in zip(heads.models, heads.selections, strict=True):
            for seed, choice in enumerate(selection.frame_rates or ()):
                yield one, selection, seed, choice.rule


def _up_to(rule: FrameRateRule, stage: int) -> FrameRateRule:
    """The rule with its coarsest strides alone."""
    strides = rule.strides[:stage]
    return dataclasses.replace(
        rule, strides=strides, limits=rule.limits[: len(strides) - 1]
    )
