"""The layers of an ``.onnx`` file that have weights, in the order of its graph.

Exporters rename weights, fold BatchNorm into the convolutions and move weights into
Constant nodes; only the order of the layers stays.
"""

import collections
import dataclasses
import math
import os
import pathlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from avemo_jax.convert.rules import ConversionError, failure
from avemo_jax.runtime.array_files import damage_told, opened_file

_INSTALL = 'pip install "onnx>=1.21"'


@dataclasses.dataclass(frozen=True)
class Norm:
    """A BatchNormalization behind a convolution.

    Attributes:
        names: Names of weight, bias, mean and variance in the file.
        weight: Factor of each channel, (channels,).
        bias: Summand of each channel, (channels,).
        mean: Running mean of each channel, (channels,).
        variance: Running variance of each channel, (channels,).
        epsilon: Number that is added to the variance.
    """

    names: tuple[str, ...]
    weight: np.ndarray
    bias: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    epsilon: float


@dataclasses.dataclass(frozen=True)
class OnnxLayer:
    """A convolution or a linear layer.

    Attributes:
        kind: "Conv", "Gemm" or "MatMul".
        name: Name of its weight in the file.
        weight: Weight in torch's layout, (outputs, inputs, ...).
        bias: Bias, (outputs,); None: it has none.
        norm: BatchNormalization of its outputs; None: there is none.
    """

    kind: str
    name: str
    weight: np.ndarray
    bias: np.ndarray | None = None
    norm: Norm | None = None


def read_layers(path: str | os.PathLike[str]) -> list[OnnxLayer]:
    """The layers with weights, in the order in which the graph computes them.

    Raises:
        ConversionError: If the package onnx is not installed, the file is not readable
            as ONNX, has no such layers, or has parameters outside of them.
    """
    path = pathlib.Path(path)
    graph = _load(path).graph
    _check_names(path, graph)
    walk = _Walk(graph, path)
    layers = [layer for node in graph.node for layer in walk.layers_at(node)]
    faults = walk.faults + [
        f"source {name} {tuple(tensor.dims)}: used by no convolution or linear layer"
        for name, tensor in walk.constants.items()
        if name not in walk.used and _is_parameter(tensor)
    ]
    if faults:
        raise failure(path.name, "a plain network", faults)
    if not layers:
        raise ConversionError(
            f"{path}: no layers with weights; expected a whole .onnx file; take "
            "another copy"
        )
    return layers


def _load(path: pathlib.Path) -> Any:
    try:
        import onnx
        from google.protobuf.message import (  # type: ignore[import-untyped]
            DecodeError,
        )
    except ImportError as error:
        raise ConversionError(
            f"{path}: the package onnx is not installed ({error}); expected it for "
            f"reading .onnx files; install it with: {_INSTALL}"
        ) from error
    expected = "expected a whole .onnx file; take another copy"
    with damage_told(path, expected, error=ConversionError), opened_file(path):
        try:
            # Weights in another file beside this one are read when they are looked up.
            return onnx.load(str(path), load_external_data=False)
        except (DecodeError, onnx.checker.ValidationError) as error:
            raise ValueError(str(error)) from error


def _check_names(path: pathlib.Path, graph: Any) -> None:
    """Check that all names are text, and each output has a name of its own.

    Raises:
        ConversionError: If a name is no text or given twice, or a node has no output.
    """
    names = [tensor.name for tensor in graph.initializer]
    given = [*names, *(name for node in graph.node for name in node.output if name)]
    for node in graph.node:
        names += [node.op_type, *node.input, *node.output]
        names += [attribute.name for attribute in node.attribute]
    # protobuf gives names that are no UTF-8 as bytes.
    if any(not isinstance(n, str) for n in names) or not all(
        node.output for node in graph.node
    ):
        raise ConversionError(
            f"{path}: damaged (a name that is no text, or a node without outputs); "
            "expected a whole .onnx file; take another copy"
        )
    if len(set(given)) < len(given):
        twice = next(n for n, many in collections.Counter(given).items() if many > 1)
        raise ConversionError(
            f"{path}: {twice:.80} is given twice; expected each value from one place; "
            "take another copy"
        )


def _floating() -> tuple[int, ...]:
    from onnx import TensorProto

    kinds = TensorProto
    return (kinds.FLOAT, kinds.FLOAT16, kinds.BFLOAT16, kinds.DOUBLE)


def _is_parameter(tensor: Any) -> bool:
    """Whether a tensor may be a weight: floating point, and more than one value."""
    return tensor.data_type in _floating() and math.prod(tensor.dims) > 1


class _Walk:
    """Looks up the inputs of the nodes of a graph.

    Attributes:
        constants: Initialisers and values of Constant nodes, by name.
        used: Names of the constants that belong to a layer.
        faults: Faults that were found, in words.
    """

    def __init__(self, graph: Any, path: pathlib.Path):
        self._path, self._folder = path, path.parent
        self._arrays: dict[str, np.ndarray] = {}
        self._outside: dict[str, int] = {}  # files beside this one, and their sizes
        self._outside_bytes = 0
        self.constants: dict[str, Any] = {t.name: t for t in graph.initializer}
        self.used: set[str] = set()
        self.faults: list[str] = []
        self._same: dict[str, str] = {}
        self._users: dict[str, list[Any]] = {}
        for node in graph.node:
            if node.op_type == "Identity" and node.input:
                # Nodes are in the order of computing, so no chains have to be followed.
                self._same[node.output[0]] = self._name(node.input[0])
            elif node.op_type == "Constant":
                for attribute in node.attribute:
                    if attribute.name == "value" and attribute.HasField("t"):
                        self.constants[node.output[0]] = attribute.t
            for name in node.input:
                self._users.setdefault(name, []).append(node)

    def layers_at(self, node: Any) -> Iterable[OnnxLayer]:
        """The layer that ``node`` is, as a list of one; empty if it is none."""
        if node.op_type not in ("Conv", "Gemm", "MatMul") or len(node.input) < 2:
            return []
        weight = self._array(node.input[1])
        if weight is None:
            if node.op_type == "Conv":
                self.faults.append(f"source {node.input[1]}: no constant, as quantised")
            return []
        name = self._name(node.input[1])
        bias = self._array(node.input[2]) if len(node.input) > 2 else None
        after = self._users.get(node.output[0], [])
        if node.op_type == "Conv":
            norms = [self._norm(n) for n in after if n.op_type == "BatchNormalization"]
            return [OnnxLayer("Conv", name, weight, bias, norms[0] if norms else None)]
        if (_number(node, "alpha", 1.0), _number(node, "beta", 1.0)) != (1.0, 1.0):
            self.faults.append(f"source {name}: a Gemm with alpha or beta; expected 1")
        if node.op_type == "MatMul":
            adds = [n for n in after if n.op_type == "Add"]
            given = [self._array(i) for n in adds for i in n.input]
            bias = next((array for array in given if array is not None), None)
        transposed = node.op_type == "Gemm" and _number(node, "transB", 0.0)
        weight = weight if transposed else weight.T
        return [OnnxLayer(node.op_type, name, weight, bias)]

    def _norm(self, node: Any) -> Norm | None:
        names = tuple(self._name(name) for name in node.input[1:5])
        found = [self._array(name) for name in names]
        arrays = [array for array in found if array is not None]
        if len(arrays) < 4:
            self.faults.append(
                f"source {', '.join(names)}: a BatchNormalization not of constants"
            )
            return None
        epsilon = _number(node, "epsilon", 1e-5)  # ONNX's default
        weight, bias, mean, variance = arrays
        return Norm(names, weight, bias, mean, variance, epsilon)

    def _name(self, name: str) -> str:
        """The name of the value that ``name`` is equal to by Identity nodes."""
        return self._same.get(name, name)

    def _array(self, name: str) -> np.ndarray | None:
        """The values of the constant ``name``; None if it is computed."""
        from onnx import checker, numpy_helper

        name = self._name(name)
        if name in self._arrays:
            return self._arrays[name]
        if name not in self.constants:
            return None
        self.used.add(name)
        tensor = self.constants[name]
        if tensor.data_type not in _floating():
            self.faults.append(f"source {name}: not floating point")
            return None
        expected = (
            "expected a whole .onnx file, with as many values as its shapes say, and "
            "its .data file beside it where it has one; take another copy"
        )
        where = f"{self._path}: {name:.80}"
        with damage_told(where, expected, error=ConversionError):
            try:
                # onnx opens files in this folder only.
                array = np.asarray(numpy_helper.to_array(tensor, str(self._folder)))
            except checker.ValidationError as error:
                raise ValueError(str(error)) from error
            self._count_outside(tensor, array)
        self._arrays[name] = array
        return array

    def _count_outside(self, tensor: Any, array: np.ndarray) -> None:
        """Check that no more is read from files beside this one than they hold.

        Raises:
            ValueError: If tensors overlap.
        """
        for entry in tensor.external_data:
            if entry.key == "location":
                size = (self._folder / entry.value).stat().st_size
                self._outside[entry.value] = size
                self._outside_bytes += array.nbytes
        if self._outside_bytes > sum(self._outside.values()):
            raise ValueError("tensors over one another in a file beside this one")


def _number(node: Any, name: str, default: float) -> float:
    """A number that is an attribute of a node, stored as float or as integer."""
    for attribute in node.attribute:
        if attribute.name == name:
            return float(attribute.f if attribute.HasField("f") else attribute.i)
    return default
