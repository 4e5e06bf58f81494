"""Scores of a head while frames arrive, one at a time or some at once."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Bool, Float

from avemo_jax.data.features.names import split_name
from avemo_jax.heads import Variables
from avemo_jax.models.blend import Model
from avemo_jax.models.head import TrainedHead

_PART = 1024  # frames that are scored at once where many are given


class LiveScores:
    """Scores of one head, of the frames so far and nothing later, in constant memory.

    The scores are those that evaluation gives the same frames before any smoothing; of
    several seeds the mean. They are of one video: :meth:`restart` begins another.

    Attributes:
        features: Full names of the feature sets that the head takes, in order.
        outputs: Names of the scores, in order.
    """

    def __init__(self, model: Model):
        """Compiles the pass over one frame, so that the first comes as fast as others.

        Args:
            model: A head checkpoint, from ``load_model``.

        Raises:
            ValueError: If the model is a blend, or its head looks at frames that are
                still to come.
        """
        own = model.heads[0]
        if len(model.heads) > 1 or not isinstance(own, TrainedHead):
            raise ValueError(
                f"{model.directory} is a blend of {len(model.heads)} heads; expected "
                "one head; load each by its own folder, and weigh their scores"
            )
        self._own, self._head, self._task = own, own.head, own.task
        self.features, self.outputs = own.features, own.task.columns
        self._variables = self._placed(own.variables)
        self._program = jax.jit(self._scores)
        self.restart()
        self._advance(np.zeros((1, own.head.spec.input_dim), np.float32), [False])

    def restart(self) -> None:
        """Begins another video: nothing is left of the frames so far.

        Raises:
            ValueError: If the head looks at frames that are still to come.
        """
        seeds, first = len(self._own.card.seeds), self._head.first_state(1)
        self._state = self._placed(
            jax.tree.map(lambda leaf: np.repeat(leaf[None], seeds, axis=0), first)
        )

    def push(
        self, features: Mapping[str, Float[np.ndarray, " dim"]] | None
    ) -> Float[np.ndarray, " outputs"] | None:
        """Scores of the next frame.

        Args:
            features: The frame's vector of each feature set, by its full name or by its
                extractor's. Sets of sound may be left out. None: the frame shows no
                face; what the head knows of those before stays as it is.

        Returns:
            The scores, in the order of :attr:`outputs`; None where the frame has none:
            without a face, or without sound by a head of frames with sound only.

        Raises:
            ValueError: If a visual set is missing, a name is none of the head's, or a
                vector has another length or is not finite.
        """
        if features is None:
            return None
        rows = {name: np.asarray(one)[None] for name, one in features.items()}
        (scores,) = self.push_all(rows)
        return None if np.isnan(scores).any() else scores

    def push_all(
        self,
        features: Mapping[str, Float[np.ndarray, "frames dim"]],
        present: Bool[np.ndarray, " frames"] | None = None,
    ) -> Float[np.ndarray, "frames outputs"]:
        """Scores of the next frames, as :meth:`push` gives them one at a time.

        Args:
            features: The frames' vectors of each feature set, by its full name or by
                its extractor's. Sets of sound may be left out.
            present: False for frames that show no face, whose vectors are not looked
                at. None: all show one.

        Returns:
            The scores; NaN for frames that have none.

        Raises:
            ValueError: If a visual set is missing, a name is none of the head's, or
                vectors have another length or are not finite.
        """
        x, hears = self._inputs(features)
        there = np.ones(len(x), bool) if present is None else np.asarray(present, bool)
        if self._own.card.missing_audio == "drop" and not hears:
            there = np.zeros_like(there)
        x = np.where(there[:, None], x, 0).astype(x.dtype)
        if not np.isfinite(x).all():
            raise ValueError(
                f"features of {self._own.directory} hold NaN or infinity; expected "
                "numbers that float16 has; leave such frames out (push(None))"
            )
        parts = [
            self._advance(x[at : at + _PART], there[at : at + _PART])
            for at in range(0, len(x), _PART)
        ]
        scores = np.concatenate(parts) if parts else np.zeros((0, len(self.outputs)))
        return np.where(there[:, None], scores, np.nan).astype(np.float32)

    @staticmethod
    def _placed(tree: Any) -> Any:
        """Arrays on one device, where the states stay."""
        own = jax.tree.map(np.asarray, tree)
        return jax.device_put(own, jax.local_devices()[0])

    def _inputs(self, features: Mapping[str, Any]) -> tuple[np.ndarray, bool]:
        """The head's columns, and whether there is sound."""
        card, spec = self._own.card, self._head.spec
        dtype = np.float16 if card.inputs == "features" else np.float32
        given = dict(features)
        columns: list[np.ndarray | None] = []
        hears = True
        for one, dim in zip(card.features, spec.dims, strict=True):
            short = split_name(one.name)[0]
            vectors = given.pop(one.name, given.pop(short, None))
            if vectors is None and one.kind == "audio":
                hears = False
            elif vectors is None or np.shape(vectors)[1:] != (dim,):
                told = "nothing" if vectors is None else f"{np.shape(vectors)[1:]}"
                raise ValueError(
                    f"{told} given of {one.name}; expected {dim} values a frame, as "
                    f"{self._own.directory} takes: embed the frame by {short}"
                )
            columns.append(None if vectors is None else np.asarray(vectors, dtype))
        if given:
            raise ValueError(
                f"features of {', '.join(given)} given; expected some of "
                f"{', '.join(self.features)}, as {self._own.directory} takes: leave "
                "the others out"
            )
        frames = max((len(one) for one in columns if one is not None), default=0)
        whole = [
            np.zeros((frames, dim), dtype) if one is None else one
            for one, dim in zip(columns, spec.dims, strict=True)
        ]
        if spec.audio_flag:
            whole.append(np.full((frames, 1), hears, dtype))
        return np.concatenate(whole, axis=1), hears

    def _advance(self, x: np.ndarray, present: Any) -> np.ndarray:
        """Scores of some frames; the state goes on. One frame, or up to a part."""
        missing = 0 if len(x) == 1 else _PART - len(x)
        x = np.pad(x, ((0, missing), (0, 0))).astype(np.float32)
        there = np.pad(np.asarray(present, bool), (0, missing))
        scores, self._state = self._program(
            self._variables, self._state, x[None], there[None]
        )
        return np.asarray(scores)[: len(x) - missing]

    def _scores(
        self,
        variables: Variables,
        state: Any,
        x: Float[Array, "1 frames dim"],
        present: Bool[Array, "1 frames"],
    ) -> tuple[Float[Array, "frames outputs"], Any]:
        """Mean scores of the seeds, and the states after; traced."""

        def one(own: Variables, before: Any) -> Any:
            logits, after = self._head.advance(
                own.params, own.stats, before, x, mask=present
            )
            return self._task.activate(logits)[0], after

        scores, after = jax.vmap(one)(variables, state)
        return scores.mean(axis=0), after
