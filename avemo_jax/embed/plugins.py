"""Extractors of other packages, run like those of this one."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from avemo_jax.embed import identity
from avemo_jax.embed.contract import (
    Embeddings,
    SoundSource,
    check_count,
    check_float32,
    joined,
)
from avemo_jax.embed.devices import (
    in_flight,
    on_all_devices,
    rows_on_each,
    to_all_devices,
)
from avemo_jax.embed.images import ImageExtractor
from avemo_jax.embed.spans import mono, spans_of
from avemo_jax.extractors import PluginExtractor

_TRIAL_PX = 64


def _checked_settings(extractor: PluginExtractor, dtype: str) -> dict[str, Any]:
    origin = extractor.origin
    check_float32(f"{extractor.name}, a plug-in of {origin}", dtype)
    return {
        "dtype": dtype,
        "plugin": origin.distribution,
        "plugin_version": origin.version,
    }


def _runner(
    extractor: PluginExtractor, params: Any
) -> tuple[Any, Callable[[Any, Any], Any]]:
    """Params, on the devices if JAX runs them, and a checked ``apply``.

    It returns features and outputs, the latter with no columns if there are none.
    """
    if extractor.framework == "jax":

        def traced(params: Any, x: jax.Array) -> tuple[jax.Array, jax.Array]:
            with jax.default_matmul_precision("highest"):
                features, outputs = _applied(extractor, params, x)
            return jnp.asarray(features, np.float32), jnp.asarray(outputs, np.float32)

        return to_all_devices(params), on_all_devices(traced)

    def called(params: Any, x: Any) -> tuple[np.ndarray, np.ndarray]:
        # A copy, since frameworks other than JAX may write to their input.
        features, outputs = _applied(extractor, params, np.array(x))
        return features.astype(np.float32), outputs.astype(np.float32)

    return params, called


def _applied(extractor: PluginExtractor, params: Any, x: Any) -> tuple[Any, Any]:
    """Features and outputs of a batch; outputs have no columns if there are none.

    Raises:
        PluginError: If ``apply`` fails, or returns anything else.
    """
    try:
        result = extractor.apply(params, x)
        if extractor.framework == "other":
            result = _as_numpy(extractor, result)
    except Exception as error:
        raise extractor.error(
            f"failed on a batch of shape {x.shape}: {type(error).__name__}: {error}",
            "apply(params, x) to take batches of that shape",
        ) from error
    if not extractor.outputs:
        wanted = {"features": (result, extractor.dim)}
        result = (result, np.zeros((len(x), 0), np.float32))
    elif isinstance(result, tuple | list) and len(result) == 2:
        features, outputs = result
        wanted = {
            "features": (features, extractor.dim),
            "outputs": (outputs, extractor.output_dim),
        }
    else:
        raise extractor.error(
            f"gave a {type(result).__name__} from apply",
            "(features, outputs), as its field outputs has names",
        )
    for what, (array, columns) in wanted.items():
        _check_array(extractor, what, array, (len(x), columns))
    return result[0], result[1]


def _as_numpy(extractor: PluginExtractor, result: Any) -> Any:
    """The result with its arrays, such as PyTorch tensors on the CPU, made NumPy's."""
    if extractor.outputs and isinstance(result, tuple | list):
        return tuple(np.asarray(part) for part in result)
    return np.asarray(result)


def _check_array(
    extractor: PluginExtractor, what: str, array: Any, shape: tuple[int, int]
) -> None:
    field = "dim" if what == "features" else "outputs"
    if not (hasattr(array, "shape") and hasattr(array, "dtype")):
        raise extractor.error(
            f"gave {what} of type {type(array).__name__}",
            f"an array of shape {shape}" + ("" if extractor.outputs else " alone"),
        )
    if tuple(array.shape) != shape:
        raise extractor.error(
            f"gave {what} of shape {tuple(array.shape)}",
            f"{shape}: a row for each of the batch, columns as its {field} says",
        )
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise extractor.error(
            f"gave {what} of dtype {array.dtype}", "floating point numbers"
        )


def _check_trial(extractor: PluginExtractor, kinds: str, given: Embeddings) -> None:
    """Check that the results for a trial input are finite.

    Raises:
        PluginError: If a value is not finite.
    """
    for what, rows in (("features", given.features), ("outputs", given.outputs)):
        if rows is not None and not np.isfinite(rows).all():
            count = int((~np.isfinite(rows)).sum())
            raise extractor.error(
                f"gave {what} of which {count} of {rows.size} values are not finite, "
                f"for {kinds}",
                "finite values for any input",
            )


class PluginImages(ImageExtractor):
    """A plug-in on face crops of any size, used like an :class:`ImageExtractor`."""

    def __init__(
        self,
        extractor: PluginExtractor,
        tensors: Any,
        *,
        dtype: str = "float32",
        size_px: int | None = None,
        batch_size: int = 32,
        tensors_sha256: str = "",
    ):
        """Puts the network on the devices, and tries it on two pictures.

        Args:
            extractor: The plug-in's entry.
            tensors: The params that its ``load`` returned.
            dtype: "float32", the only precision of plug-ins.
            size_px: Side that crops are resized to. None: the extractor's default.
            batch_size: Images that run at once, rounded up to a multiple of the number
                of devices; a shorter batch is padded.
            tensors_sha256: Digest of the params, a part of the fingerprint.

        Raises:
            ValueError: If an option is out of range.
            PluginError: If the plug-in fails, or returns what it should not.
        """
        settings = _checked_settings(extractor, dtype)
        size = extractor.image.size_px if size_px is None else size_px
        check_count(extractor, "size_px", size, 1)
        check_count(extractor, "batch_size", batch_size, 1)
        self._params, self._embed = _runner(extractor, tensors)
        self._set_up(
            extractor, {"size_px": size, **settings}, batch_size, tensors_sha256
        )
        shape = (_TRIAL_PX, _TRIAL_PX, 3)
        noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        trial = self.extract([np.zeros(shape, np.uint8), noise])
        _check_trial(extractor, "a black picture and one of noise", trial)


class PluginSound:
    """A plug-in on sound tracks of any length, in bounded memory.

    Attributes:
        extractor: The plug-in's entry.
        settings: All that decides its numbers beside the weights.
        fingerprint: Digest of weights, settings and version.
        weights_sha256: Digest of the params.
        hop_s: Seconds from one window to the next.
        batch_size: Windows that run at once.
    """

    def __init__(
        self,
        extractor: PluginExtractor,
        tensors: Any,
        *,
        dtype: str = "float32",
        batch_size: int = 32,
        tensors_sha256: str = "",
    ):
        """Puts the network on the devices, and tries it on two windows.

        Args:
            extractor: The plug-in's entry.
            tensors: The params that its ``load`` returned.
            dtype: "float32", the only precision of plug-ins.
            batch_size: Windows that run at once, rounded up to a multiple of the
                number of devices; a shorter batch is padded with silence to a power of
                two on each device.
            tensors_sha256: Digest of the params, a part of the fingerprint.

        Raises:
            ValueError: If an option is out of range.
            PluginError: If the plug-in fails, or returns what it should not.
        """
        settings = _checked_settings(extractor, dtype)
        check_count(extractor, "batch_size", batch_size, 1)
        takes = extractor.sound
        self.hop_s = takes.hop_s
        self._rate = takes.sample_rate_hz
        self._hop = round(takes.hop_s * self._rate)
        self._window = round(takes.receptive_field_s * self._rate)
        self.extractor, self.weights_sha256 = extractor, tensors_sha256
        self.settings = {
            "hop_s": takes.hop_s,
            "window_s": takes.receptive_field_s,
            "sample_rate_hz": self._rate,
            **settings,
        }
        self.fingerprint = identity.fingerprint(
            extractor, tensors_sha256, self.settings
        )
        devices = jax.local_device_count()
        self.batch_size = -(-batch_size // devices) * devices
        self._params, self._embed = _runner(extractor, tensors)
        two = np.zeros((2, self._window), np.float32)
        two[1] = np.random.default_rng(0).uniform(-0.5, 0.5, self._window)
        for window in two:
            trial = self._landed(0, 1, self._start(window, 1))
            _check_trial(extractor, "a window of silence or one of noise", trial)

    def extract(self, sound: SoundSource) -> Embeddings:
        """The embeddings of a whole track, in time order.

        Sound after the last whole window gets no vector. A track shorter than a window
        is filled up with silence. Without samples there are no rows.

        Args:
            sound: Sound of any number of channels, which are averaged.

        Returns:
            Features (windows, dim), and the middle of each window.

        Raises:
            ValueError: If a block is not of floating point, not finite, or has another
                number of channels than its source says.
            PluginError: If the plug-in fails, or returns what it should not.
        """
        return joined(self.extractor, self.stream(sound))

    def stream(self, sound: SoundSource) -> Iterator[Embeddings]:
        """The embeddings of :meth:`extract` batch by batch; a few are in memory."""
        for first, rows, result in in_flight(self._begun(sound)):
            yield self._landed(first, rows, result)

    def _begun(self, sound: SoundSource) -> Iterator[tuple[int, int, Any]]:
        """First window's index, number of windows and running work of each batch."""
        step = self.batch_size * self._hop
        length = (self.batch_size - 1) * self._hop + self._window
        spans = spans_of(mono(sound, self._rate), step, length)
        for number, span in enumerate(spans):
            rows = max(0, (len(span) - self._window) // self._hop + 1)
            if number == 0 and len(span):
                rows = max(rows, 1)
            if rows < 1:
                break
            yield number * self.batch_size, rows, self._start(span, rows)

    def _start(self, span: Float[np.ndarray, " samples"], rows: int) -> Any:
        """Start the work on one batch of windows."""
        devices = jax.local_device_count()
        count = devices * rows_on_each(rows, self.batch_size // devices)
        batch = np.zeros((count, self._window), np.float32)
        for row, start in zip(batch, range(0, len(span), self._hop), strict=False):
            part = span[start : start + self._window]
            row[: len(part)] = part
        return self._embed(self._params, batch)

    def _landed(self, first: int, rows: int, result: Any) -> Embeddings:
        starts = np.arange(first, first + rows) * self._hop
        middles = (starts + self._window / 2) / self._rate
        return Embeddings(np.asarray(result[0])[:rows], times_s=middles)


def class_of(extractor: PluginExtractor) -> type[PluginImages] | type[PluginSound]:
    """The class that runs a plug-in."""
    return PluginImages if extractor.kind == "visual" else PluginSound
