"""The Transformer head: over windows of consecutive frames, or over the batch."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from avemo_jax.heads.layers import (
    LEAKY_SLOPE,
    Attention,
    Branch,
    LayerNorm,
    Linear,
    Mode,
    Start,
)
from avemo_jax.heads.positions import learned_positions, with_positions
from avemo_jax.heads.spec import HeadKind, HeadSpec
from avemo_jax.tasks import JointTask, Task, TaskPart, get_task


class EncoderLayer(nnx.Module):
    """Attention and a feed-forward part, each added and then normalised.

    ``torch.nn.TransformerEncoderLayer`` with its defaults (post-norm, ReLU). Layers
    start from their own random values; PyTorch's encoder starts them as copies of one.
    """

    def __init__(self, spec: HeadSpec, *, start: Start):
        dtype, dim = jnp.dtype(spec.dtype), spec.model_dim
        self.self_attn = Attention(dim, spec.num_heads, dtype=dtype, start=start)
        self.linear1 = Linear(dim, spec.ffn_dim, dtype=dtype, start=start)
        self.linear2 = Linear(spec.ffn_dim, dim, dtype=dtype, start=start)
        self.norm1 = LayerNorm(dim, dtype=dtype)
        self.norm2 = LayerNorm(dim, dtype=dtype)

    def __call__(
        self,
        x: Float[Array, "sequences frames dim"],
        mode: Mode,
        other: Float[Array, "sequences keys dim"] | None = None,
        there: Bool[Array, "sequences keys"] | None = None,
    ) -> Float[Array, "sequences frames dim"]:
        """The frames after this layer.

        Args:
            x: The frames that attend.
            mode: Says which frames of ``x`` are there, and drops values.
            other: The frames that they attend to; None: those of ``x``.
            there: True where a frame of ``other`` is there.
        """
        x = self.norm1(x + mode.drop(self.self_attn(x, mode, other, there)))
        hidden = mode.drop(jax.nn.relu(self.linear1(x)))
        return self.norm2(x + mode.drop(self.linear2(hidden)))


class Encoder(nnx.Module):
    """Encoder layers one after the other, without a norm at the end."""

    def __init__(self, spec: HeadSpec, *, start: Start):
        self.layers = nnx.Dict(
            {str(i): EncoderLayer(spec, start=start) for i in range(spec.num_layers)}
        )

    def __call__(
        self, x: Float[Array, "sequences frames dim"], mode: Mode
    ) -> Float[Array, "sequences frames dim"]:
        """The frames after all layers."""
        for i in range(len(self.layers)):
            x = self.layers[str(i)](x, mode)
        return x


class Transformer(nnx.Module):
    """Projection of the features, encoder, and an output head for each frame."""

    def __init__(self, spec: HeadSpec, *, start: Start):
        dtype, dim = jnp.dtype(spec.dtype), spec.model_dim
        self.dtype = dtype
        self.feat_fc = Linear(spec.input_dim, spec.feat_dim, dtype=dtype, start=start)
        self.conv1 = Linear(spec.feat_dim, dim, dtype=dtype, start=start)
        self.kind_of_positions = spec.positions
        if (learned := learned_positions(spec, start)) is not None:
            self.positions = learned
        self.transformer_encoder = Encoder(spec, start=start)
        self.outputs = []
        for task in tasks_of(spec.task):
            for name, width in output_names(task).items():
                whole = name if task.name == spec.task else f"{task.name}_{name}"
                setattr(self, whole, _output(spec, task, width, start))
                self.outputs.append(whole)

    def __call__(
        self, x: Float[Array, "sequences frames dim"], mode: Mode
    ) -> Float[Array, "sequences frames outputs"]:
        """Logits of each frame; without meaning where the mask is False."""
        x = self.conv1(jax.nn.leaky_relu(self.feat_fc(x), LEAKY_SLOPE))
        learned = getattr(self, "positions", None)
        table = None if learned is None else learned[...]
        x = with_positions(x, self.kind_of_positions, table, self.dtype)
        x = self.transformer_encoder(x, mode)
        logits = [getattr(self, name)(x, mode) for name in self.outputs]
        return jnp.concatenate(logits, axis=-1)


def tasks_of(name: str) -> tuple[Task, ...]:
    """The tasks in the name of a head's task: one, or several joined by "+"."""
    task = get_task(name)
    return task.tasks if isinstance(task, JointTask) else (task,)


def output_names(task: Task) -> dict[str, int]:
    """Names of a task's last modules, in order, and the number of outputs of each."""
    if task.name == "VA":
        return {"vhead": 1, "ahead": 1}
    return {"head": task.num_outputs}


def _output(spec: HeadSpec, task: Task, outputs: int, start: Start) -> Branch:
    """One of the head's last modules, its layers named as in the original.

    The original has dropout only for one class per frame, which moves the last layer's
    position.
    """
    drops = task.kind == "multiclass"
    return Branch(
        spec.model_dim,
        spec.head_dim,
        outputs,
        positions=("0", "1", "3" if drops else "2"),
        dropout=drops,
        dtype=jnp.dtype(spec.dtype),
        start=start,
    )


def _sequence(spec: HeadSpec) -> Literal["windows", "batch"]:
    return "windows" if spec.attention == "window" else "batch"


def _check(spec: HeadSpec) -> None:
    if spec.attention == "batch" and spec.positions != "none":
        raise ValueError(
            f"positions {spec.positions!r} with attention 'batch'; the frames of a "
            "batch have no order, expected 'none'; set config.head.positions='none' or "
            "config.head.attention='window'"
        )
    check_width(spec)


def check_width(spec: HeadSpec) -> None:
    """Refuses a width that attention heads, or sines and cosines, do not divide.

    Raises:
        ValueError: If ``model_dim`` is odd or no multiple of ``num_heads``.
    """
    if spec.model_dim % spec.num_heads or spec.model_dim % 2:
        raise ValueError(
            f"head model_dim {spec.model_dim} with num_heads {spec.num_heads}; "
            "expected an even multiple of num_heads; change one of them"
        )


def _part(variables: Any, part: TaskPart, task: JointTask) -> Any:
    """The variables with one task's last modules, under their names in a plain head."""
    last = {
        f"{one.task.name}_{name}": (one, name)
        for one in task.parts
        for name in output_names(one.task)
    }
    found = {}
    for kind, tree in variables.items():
        found[kind] = {name: leaf for name, leaf in tree.items() if name not in last}
        for whole, (one, name) in last.items():
            if one == part:
                found[kind][name] = tree[whole]
    return found


TRANSFORMER = HeadKind(Transformer, sequence=_sequence, check=_check, part=_part)
