"""VGGish: log-mel examples to embeddings (Hershey et al., 2017, arXiv:1609.09430).

Six 3x3 convolutions, each with a ReLU and four of them with 2x2 max pooling, then three
fully connected layers with a ReLU after each, the last one too. PCA whitening and
quantisation to 8 bits may follow, as for AudioSet's embeddings. Names and layouts of
tensors in files are those of torchvggish.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from avemo_jax.extractors.state_dicts import check_state

NUM_SPECTRA, NUM_BANDS = 96, 64  # size of an example
DIM = 128  # length of an embedding
# Tensors that a file may have beside those of the network.
PCA_SHAPES: dict[str, tuple[int, ...]] = {
    "pca.eigen_vectors": (DIM, DIM),
    "pca.means": (DIM,),
}

# Convolutions: position in torchvggish's Sequential, inputs, outputs, whether pooled.
_CONVOLUTIONS = (
    ("0", 1, 64, True),
    ("3", 64, 128, True),
    ("6", 128, 256, False),
    ("8", 256, 256, True),
    ("11", 256, 512, False),
    ("13", 512, 512, True),
)
# Fully connected layers; the first takes what is left of an example, 6 x 4 x 512.
_LINEARS = (("0", 12_288, 4096), ("2", 4096, 4096), ("4", 4096, DIM))
_CLIP = 2.0  # quantisation's range is [-2, 2]
_LEVELS = 255.0
_MICRO_BATCH = 8  # examples whose activations stay in a CPU's cache

# Winograd's minimal filtering F(2x2, 3x3): A. Lavin, S. Gray, arXiv:1509.09308.
_KERNEL_TRANSFORM = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])


@dataclasses.dataclass(frozen=True)
class VggishSpec:
    """The form of the embeddings.

    Attributes:
        output: "raw": the last layer's output, 0 or more. "pca": whitened. "quantised":
            whitened, clipped to [-2, 2], rounded to 256 levels, in [0, 1].

    Raises:
        ValueError: If ``output`` is none of these.
    """

    output: str = "quantised"

    def __post_init__(self):
        if self.output not in ("raw", "pca", "quantised"):
            raise ValueError(
                f"output {self.output!r} of vggish; expected raw, pca or quantised; "
                "correct the option"
            )


SPEC = VggishSpec()


def state_shapes(spec: VggishSpec = SPEC) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the network's tensors in files, without the PCA."""
    del spec  # they are the same for all
    shapes: dict[str, tuple[int, ...]] = {}
    for name, inputs, outputs, _ in _CONVOLUTIONS:
        shapes[f"features.{name}.weight"] = (outputs, inputs, 3, 3)
        shapes[f"features.{name}.bias"] = (outputs,)
    for name, inputs, outputs in _LINEARS:
        shapes[f"embeddings.{name}.weight"] = (outputs, inputs)
        shapes[f"embeddings.{name}.bias"] = (outputs,)
    return shapes


def prepare(spec: VggishSpec, state: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The parameters in the form that :func:`apply` computes with, float32.

    Args:
        spec: Form of the embeddings.
        state: Tensors by torchvggish's names; ``pca.*`` too unless the output is "raw".

    Returns:
        ``features``, ``embeddings`` and, unless the output is "raw", ``pca``: kernels
        (height, width, inputs, outputs), all but the first also transformed for
        Winograd's products (4, 4, inputs, outputs); weights (inputs, outputs).

    Raises:
        ValueError: If the output needs the PCA and ``state`` has none, or if tensors
            are missing, unknown, or of other shapes; all are named.
    """
    missing = [name for name in PCA_SHAPES if name not in state]
    if spec.output != "raw" and missing:
        raise ValueError(
            f"output {spec.output!r} of vggish from weights without "
            f"{' and '.join(missing)}; expected the published PCA among them; get them "
            "with 'avemo fetch vggish', or convert again with '--pca "
            "vggish_pca_params.npz', or ask for output 'raw'"
        )
    check_state("VGGish", state, state_shapes(spec), PCA_SHAPES)
    features, embeddings = {}, {}
    for number, (name, *_) in enumerate(_CONVOLUTIONS):
        kernel = np.asarray(state[f"features.{name}.weight"]).transpose(2, 3, 1, 0)
        bias = _kept(state[f"features.{name}.bias"])
        features[name] = {"kernel": _kept(kernel), "bias": bias}
        if number:
            features[name]["winograd"] = _kept(winograd_kernel(kernel))
    for name, *_ in _LINEARS:
        weight = _kept(np.asarray(state[f"embeddings.{name}.weight"]).T)
        embeddings[name] = {
            "weight": weight,
            "bias": _kept(state[f"embeddings.{name}.bias"]),
        }
    params: dict[str, Any] = {"features": features, "embeddings": embeddings}
    if spec.output != "raw":
        pca = {n.removeprefix("pca."): _kept(state[n]) for n in PCA_SHAPES}
        params["pca"] = pca
    return params


def _kept(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, np.float32)


def apply(
    spec: VggishSpec,
    params: Mapping[str, Any],
    examples: Float[Array, "examples spectra bands"],
    *,
    dtype: str = "float32",
) -> Float[Array, "examples dim"]:
    """The embedding of each example.

    Args:
        spec: Form of the embeddings.
        params: Parameters from :func:`prepare` for this spec.
        examples: Log-mel examples, each 96 spectra in time order by 64 bands.
        dtype: Precision of the arithmetic: "float32", or "bfloat16" with the PCA and
            the output in float32.

    Raises:
        ValueError: If the examples have another shape.
    """
    if examples.shape[1:] != (NUM_SPECTRA, NUM_BANDS):
        raise ValueError(
            f"examples of shape {examples.shape[1:]}; expected ({NUM_SPECTRA}, "
            f"{NUM_BANDS}), spectra by bands; cut them with avemo_jax.embed.vggish"
        )
    body = {name: params[name] for name in ("features", "embeddings")}
    arrays = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), body)
    module = nnx.merge(_graphdef(), arrays)
    embedding = module(examples.astype(dtype)).astype(jnp.float32)
    if spec.output == "raw":
        return embedding
    return postprocess(embedding, **params["pca"], quantise=spec.output == "quantised")


def postprocess(
    embedding: Float[Array, "examples dim"],
    eigen_vectors: Float[Array, "dim dim"],
    means: Float[Array, " dim"],
    *,
    quantise: bool,
) -> Float[Array, "examples dim"]:
    """Embeddings whitened by PCA, and quantised to 256 levels in [0, 1] if asked for.

    Args:
        embedding: The network's raw output.
        eigen_vectors: The PCA's eigenvectors, one a row.
        means: Means, which are subtracted first.
        quantise: Clip to [-2, 2] and round; halves go to the even level.
    """
    centred = embedding - jnp.asarray(means)
    contract = (((1,), (1,)), ((), ()))
    whitened = jax.lax.dot_general(
        centred, jnp.asarray(eigen_vectors), contract, precision="highest"
    )
    if not quantise:
        return whitened
    clipped = jnp.clip(whitened, -_CLIP, _CLIP)
    return jnp.round((clipped + _CLIP) * (_LEVELS / (2 * _CLIP))) / _LEVELS


def winograd_kernel(
    kernel: Float[np.ndarray, "3 3 inputs outputs"],
) -> Float[np.ndarray, "4 4 inputs outputs"]:
    """A 3x3 kernel transformed for products with 4x4 tiles, float64."""
    transform = _KERNEL_TRANSFORM
    rows = np.tensordot(transform, np.asarray(kernel, np.float64), axes=(1, 0))
    return np.tensordot(transform, rows, axes=(1, 1)).swapaxes(0, 1)


def winograd(
    x: Float[Array, "n height width inputs"],
    kernel: Float[Array, "4 4 inputs outputs"],
) -> list[list[Float[Array, "n half_height half_width outputs"]]]:
    """The 3x3 convolution of ``x``, padded with zeros, by 2x2 tiles of its output.

    A tile takes 16 products a channel where the plain sum takes 36.

    Args:
        x: Images of even height and width.
        kernel: Kernel from :func:`winograd_kernel`.

    Returns:
        ``tiles[i][j]``: the outputs at rows i, i + 2, ... and columns j, j + 2, ...
    """
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    contract = (((3,), (0,)), ((), ()))
    products = [
        [
            jax.lax.dot_general(tile, kernel[i, j], contract, precision="highest")
            for j, tile in enumerate(_input_transform(rows, axis=2))
        ]
        for i, rows in enumerate(_input_transform(padded, axis=1))
    ]
    # Down the columns of the 4x4 products, then along the rows that are left.
    columns = [_output_transform(column) for column in zip(*products, strict=True)]
    return [_output_transform(row) for row in zip(*columns, strict=True)]


def _input_transform(x: Array, axis: int) -> list[Array]:
    even, odd = (
        jax.lax.slice_in_dim(x, start, None, stride=2, axis=axis) for start in (0, 1)
    )
    count = even.shape[axis] - 1
    first, second = (
        jax.lax.slice_in_dim(part, 0, count, axis=axis) for part in (even, odd)
    )
    third, fourth = (
        jax.lax.slice_in_dim(part, 1, None, axis=axis) for part in (even, odd)
    )
    return [first - third, second + third, third - second, second - fourth]


def _output_transform(products: tuple[Array, ...]) -> list[Array]:
    first, second, third, fourth = products
    return [first + second + third, second - third - fourth]


class _Convolution(nnx.Module):
    """A 3x3 convolution with zero padding, ReLU and, if ``pooled``, max pooling."""

    def __init__(self, inputs: int, outputs: int, *, pooled: bool):
        self.kernel = nnx.Param(jnp.zeros((3, 3, inputs, outputs)))
        if inputs > 1:
            self.winograd = nnx.Param(jnp.zeros((4, 4, inputs, outputs)))
        self.bias = nnx.Param(jnp.zeros(outputs))
        self.inputs, self.pooled = inputs, pooled

    def __call__(self, x: Array, *, by_tiles: bool) -> Array:
        """The activations; ``by_tiles`` computes them by Winograd's products."""
        bias = self.bias[...]
        if not by_tiles or self.inputs == 1:
            y = jax.lax.conv_general_dilated(
                x,
                self.kernel[...],
                window_strides=(1, 1),
                padding="SAME",
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
                precision="highest",
            )
            return jax.nn.relu((_pooled(y) if self.pooled else y) + bias)
        tiles = winograd(x, self.winograd[...])
        if self.pooled:
            largest = functools.reduce(jnp.maximum, [*tiles[0], *tiles[1]])
            return jax.nn.relu(largest + bias)
        rows = [jnp.stack(row, axis=3) for row in tiles]
        return jax.nn.relu(jnp.stack(rows, axis=2).reshape(*x.shape[:3], -1) + bias)


class _Linear(nnx.Module):
    """A fully connected layer with ReLU."""

    def __init__(self, inputs: int, outputs: int):
        self.weight = nnx.Param(jnp.zeros((inputs, outputs)))
        self.bias = nnx.Param(jnp.zeros(outputs))

    def __call__(self, x: Array) -> Array:
        product = jnp.dot(x, self.weight[...], precision="highest")
        return jax.nn.relu(product + self.bias[...])


class _Vggish(nnx.Module):
    """The network, with torchvggish's names of layers."""

    def __init__(self):
        self.features = nnx.Dict(
            {
                name: _Convolution(inputs, outputs, pooled=pooled)
                for name, inputs, outputs, pooled in _CONVOLUTIONS
            }
        )
        self.embeddings = nnx.Dict(
            {name: _Linear(inputs, outputs) for name, inputs, outputs in _LINEARS}
        )

    def __call__(self, examples: Array) -> Array:
        # In float32 on 2 CPU cores, batch 16, examples/s: XLA's convolution 158, nine
        # shifted products 116, Winograd's 202; at batch 32 in micro-batches 256.
        x = jax.lax.platform_dependent(
            examples,
            cpu=self._convolved_by_tiles,
            default=functools.partial(self._convolved, by_tiles=False),
        )
        for name, *_ in _LINEARS:
            x = self.embeddings[name](x)
        return x

    def _convolved(self, examples: Array, *, by_tiles: bool) -> Array:
        x = examples[..., None]
        for name, *_ in _CONVOLUTIONS:
            x = self.features[name](x, by_tiles=by_tiles)
        return x.reshape(x.shape[0], -1)

    def _convolved_by_tiles(self, examples: Array) -> Array:
        count = examples.shape[0]
        convolved = functools.partial(self._convolved, by_tiles=True)
        if count <= _MICRO_BATCH:
            return convolved(examples)
        padded = jnp.pad(examples, ((0, -count % _MICRO_BATCH), (0, 0), (0, 0)))
        groups = padded.reshape(-1, _MICRO_BATCH, *examples.shape[1:])
        return jax.lax.map(convolved, groups).reshape(padded.shape[0], -1)[:count]


def _pooled(x: Array) -> Array:
    n, height, width, channels = x.shape
    return x.reshape(n, height // 2, 2, width // 2, 2, channels).max(axis=(2, 4))


@functools.cache
def _graphdef() -> Any:
    """The module without its arrays, for ``nnx.merge``."""
    return nnx.split(nnx.eval_shape(_Vggish), nnx.Param)[0]
