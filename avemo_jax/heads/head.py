"""One fusion head as pure functions: its start, its logits, its size."""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from avemo_jax.heads.layer_sums import LAYERS, first_weights, layers_summed
from avemo_jax.heads.layers import Mode, Start
from avemo_jax.heads.matmul import accumulator
from avemo_jax.heads.modalities import modalities_there
from avemo_jax.heads.spec import HeadSpec, head_kind
from avemo_jax.heads.temperature import TEMPERATURES, divided, first_temperatures
from avemo_jax.heads.variables import INPUTS
from avemo_jax.tasks import get_task


@dataclasses.dataclass(frozen=True)
class Head:
    """One head as pure functions over plain nested dicts of arrays.

    Names in the dicts are those of the original's state dicts, and weights are
    (outputs, inputs); its 1x1 convolutions have lost their last axis. The ``nnx``
    modules are split here, once; nothing else needs to know them.

    Attributes:
        spec: The options that make the head. Heads with equal specs are equal.
    """

    spec: HeadSpec

    @property
    def takes_windows(self) -> bool:
        """Whether the input is (windows, frames, dim) and not (batch, dim)."""
        return self.spec.takes_windows

    def init(self, key: PRNGKeyArray) -> tuple[dict[str, Any], dict[str, Any]]:
        """Parameters drawn as PyTorch draws them, and the first statistics.

        Those of the inputs are means of 0 and deviations of 1, until they are measured.

        Args:
            key: PRNG key that the parameters are drawn from.

        Returns:
            Two nested dicts of float32 arrays, parameters and statistics; the latter is
            {} where the head has no BatchNorm and does not standardise its inputs.
        """
        module = _module(self.spec, Start(key, self._num_of_module()))
        params, stats = nnx.state(module, nnx.Param), nnx.state(module, nnx.BatchStat)
        return (
            nnx.to_pure_dict(params) | self._extra(),
            nnx.to_pure_dict(stats) | self._inputs(),
        )

    def apply(
        self,
        params: dict[str, Any],
        stats: dict[str, Any],
        x: Float[Array, "*batch dim"],
        *,
        mask: Bool[Array, "*batch"] | None = None,
        train: bool,
        key: PRNGKeyArray | None = None,
        dropout: float | Float[Array, ""] = 0.0,
        update_stats: bool = True,
    ) -> tuple[Float[Array, "*batch outputs"], dict[str, Any]]:
        """Logits of each frame, and the statistics after this batch.

        Args:
            params: Parameters, in the form that :meth:`init` returns.
            stats: Statistics, in the form that :meth:`init` returns.
            x: Features, finite everywhere: (batch, dim), or (windows, frames, dim) for
                a head over windows. A head over the batch takes (batch, dim) as one
                sequence.
            mask: True where a frame is there; others are not attended to and do not
                count in BatchNorm. None: all are there.
            train: True applies dropout and normalises by the batch's own statistics.
            key: PRNG key of dropout; may be None where ``dropout`` is 0.0 or ``train``
                is False.
            dropout: Rate in [0, 1), may be traced; a Python 0.0 costs nothing.
            update_stats: False leaves the statistics of BatchNorm as they are; those
                of the inputs stay in any case.

        Returns:
            Logits in float32, without meaning where ``mask`` is False; and the
            statistics.

        Raises:
            ValueError: If ``x`` has other axes or columns than the head, or more frames
                than its window; if dropout has no key.
        """
        self._check(x)
        mode = Mode(train, mask, key, dropout, update_stats, self._there(x))
        module, x, inputs, logs = self._merged(params, stats, x)
        if self.spec.batch_is_sequence:
            mode.mask = None if mask is None else mask[None]
            logits = module(x[None], mode)[0]
        else:
            logits = module(x, mode)
        logits = self._divided(logits, logs)
        return logits, nnx.to_pure_dict(nnx.state(module, nnx.BatchStat)) | inputs

    def first_state(self, sequences: int) -> Any:
        """What :meth:`advance` is given before the first frames of sequences.

        Args:
            sequences: Number of sequences that are run side by side.

        Raises:
            ValueError: If the head cannot be run over a whole sequence.
        """
        self._check_carries()
        if not self.takes_windows:
            return ()
        module: Any = nnx.eval_shape(lambda: _module(self.spec, Start()))
        return module.first_state(sequences)

    def advance(
        self,
        params: dict[str, Any],
        stats: dict[str, Any],
        state: Any,
        x: Float[Array, "sequences frames dim"],
        *,
        mask: Bool[Array, "sequences frames"] | None = None,
    ) -> tuple[Float[Array, "sequences frames outputs"], Any]:
        """Logits of the next frames of sequences, and the state after them.

        Sequences given in parts of any lengths get the logits, but for rounding, that
        they get in one part. Heads that see one frame at a time carry nothing.

        Args:
            params: Parameters, in the form that :meth:`init` returns.
            stats: Statistics, in the form that :meth:`init` returns.
            state: What :meth:`first_state` gives, or what came after the frames before.
            x: Features, finite everywhere; more frames than the head's window may come
                at once.
            mask: True where a frame is there; others leave the state as it is. None:
                all are there.

        Raises:
            ValueError: If the head cannot be run over a whole sequence, or if ``x`` has
                other axes or columns than the head.
        """
        self._check_carries()
        self._check(x, whole=True)
        mode = Mode(train=False, mask=mask, there=self._there(x))
        module, x, _, logs = self._merged(params, stats, x)
        if not self.takes_windows:
            return self._divided(module(x, mode), logs), ()
        logits, after = module.advance(x, mode, state)
        return self._divided(logits, logs), after

    def num_params(self) -> int:
        """Number of trainable values; running statistics do not count."""
        leaves = jax.tree.leaves(self._extra())
        return self._num_of_module() + sum(leaf.size for leaf in leaves)

    def _num_of_module(self) -> int:
        """Number of trainable values of the ``nnx`` module."""
        module = nnx.eval_shape(lambda: _module(self.spec, Start()))
        leaves = jax.tree.leaves(nnx.to_pure_dict(nnx.state(module, nnx.Param)))
        return sum(math.prod(leaf.shape) for leaf in leaves)

    def _extra(self) -> dict[str, Any]:
        """The first parameters before and behind the ``nnx`` module.

        Those of sums of layers have equal shares, temperatures are 1; {} without both.
        """
        found = first_weights(self.spec)
        if self.spec.learned_temperature:
            found |= first_temperatures(get_task(self.spec.task))
        return found

    def _inputs(self) -> dict[str, Any]:
        """Statistics of inputs that are not measured yet; {} where none are kept."""
        if not self.spec.standardize:
            return {}
        dim = self.spec.input_dim
        return {INPUTS: {"mean": jnp.zeros(dim), "deviation": jnp.ones(dim)}}

    def _merged(
        self, params: dict[str, Any], stats: dict[str, Any], x: Array
    ) -> tuple[Any, Array, dict[str, Any], Any]:
        """The module, its input, statistics of inputs, and logs of temperatures."""
        # Trees read from files hold NumPy arrays.
        arrays = jax.tree.map(jnp.asarray, (params, stats))
        params, stats = arrays
        inputs = {INPUTS: stats.pop(INPUTS)} if self.spec.standardize else {}
        logs = params.pop(TEMPERATURES) if self.spec.learned_temperature else None
        if inputs:
            wide = x.astype(accumulator(x.dtype))
            x = (wide - inputs[INPUTS]["mean"]) / inputs[INPUTS]["deviation"]
        if self.spec.layer_sums:
            x = layers_summed(self.spec, params.pop(LAYERS), x)
        return nnx.merge(_graphdef(self.spec), params, stats), x, inputs, logs

    def _there(self, x: Array) -> dict[str, Array] | None:
        """Which frames have face and which sound, which is told before standardising.

        None for heads that do not treat them apart.
        """
        apart = head_kind(self.spec.kind).by_modality
        return modalities_there(self.spec, x) if apart else None

    def _divided(self, logits: Array, logs: Any) -> Array:
        """Logits over their temperatures, if there are some."""
        return (
            logits if logs is None else divided(logits, logs, get_task(self.spec.task))
        )

    def _check_carries(self) -> None:
        spec = self.spec
        if spec.sequence is not None and not spec.carries:
            raise ValueError(
                f"a head of kind {spec.kind!r} over the {spec.sequence} looks at "
                "frames that are still to come; expected one that looks at past frames "
                "only; train one with config.head.kind='recurrent' and "
                "config.head.causal=True, or a head that sees one frame at a time"
            )

    def _check(self, x: Array, *, whole: bool = False) -> None:
        spec = self.spec
        if spec.takes_windows or whole:
            axes, fits = "(windows, frames, dim)", x.ndim == 3
        elif spec.batch_is_sequence:
            axes, fits = "(batch, dim)", x.ndim == 2
        else:
            axes, fits = "(..., dim)", x.ndim >= 2
        if not fits or x.shape[-1] != spec.input_dim:
            raise ValueError(
                f"input of shape {x.shape}; expected {axes}, dim {spec.input_dim} from "
                f"features {spec.dims}{' + audio flag' if spec.audio_flag else ''}; "
                "pass the features that the head was built for"
            )
        if spec.takes_windows and not whole and x.shape[1] > spec.window:
            raise ValueError(
                f"windows of {x.shape[1]} frames; expected at most {spec.window}; cut "
                "them, or build the head with a larger window"
            )


def build_head(spec: HeadSpec) -> Head:
    """The head that ``spec`` describes."""
    return Head(spec)


def _module(spec: HeadSpec, start: Start) -> nnx.Module:
    own = spec.behind_sums
    module: nnx.Module = head_kind(own.kind).build(own, start=start)
    return module


@functools.cache
def _graphdef(spec: HeadSpec) -> Any:
    """The module without its arrays, for ``nnx.merge``."""
    module = nnx.eval_shape(lambda: _module(spec, Start()))
    return nnx.split(module, nnx.Param, nnx.BatchStat)[0]
