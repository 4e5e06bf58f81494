"""What a fusion head is: the options that make it, and nothing that needs arrays."""

import dataclasses
import importlib
from collections.abc import Callable, Mapping
from typing import Any, Literal

from avemo_jax.heads.registry import HEAD_KINDS
from avemo_jax.tasks import JointTask, Task, TaskPart, get_task

CHOICES: dict[str, tuple[str, ...]] = {
    "va_form": ("affine", "shared", "plain"),
    "attention": ("window", "batch"),
    "positions": ("learned", "sinusoidal", "none"),
    "dtype": ("float32", "bfloat16", "float64"),
}
VISUAL, AUDIO = "visual", "audio"  # kinds of feature sets: of the face, of the sound
_SIZES = (
    "window",
    "mlp_dim",
    "feat_dim",
    "model_dim",
    "ffn_dim",
    "head_dim",
    "num_heads",
    "num_layers",
)


@dataclasses.dataclass(frozen=True)
class HeadKind:
    """What the rest of the program asks of one kind of head.

    Attributes:
        build: The ``nnx`` module of a spec, called as ``build(spec, start=start)``. The
            module is called as ``module(x, mode)`` and gives the logits.
        sequence: Tells of a spec over which frames the head looks: "windows" of
            consecutive frames, its input then being (windows, frames, dim), or the
            "batch", whatever frames are in it, as (1, batch, dim). None: the head sees
            one frame at a time, and takes (..., dim).
        carries: Tells of a spec over windows whether its module can also be run over a
            whole sequence, part by part, in constant memory. The module then has
            ``first_state(sequences)``, a tree of arrays with that leading axis, and
            ``advance(x, mode, state)``, which gives the logits and the state after
            them. None: it cannot.
        check: Raises ValueError where options of a spec contradict each other. None:
            there is nothing to check.
        part: One task's variables out of those of a head of several tasks, called as
            ``part({"params", "stats"}, task_part, joint_task)``, leading axis seeds;
            ``joint.outputs_of`` makes one. None: the kind is not for several tasks.
        by_modality: Whether the head treats face and sound apart. It is then refused
            without sets of both, and ``mode.there`` says which frames have each.
    """

    build: Callable[..., Any]
    sequence: "Callable[[HeadSpec], Literal['windows', 'batch']] | None" = None
    carries: "Callable[[HeadSpec], bool] | None" = None
    check: "Callable[[HeadSpec], None] | None" = None
    part: Callable[[Any, TaskPart, JointTask], Any] | None = None
    by_modality: bool = False


def head_kind(name: str) -> HeadKind:
    """The kind of heads called ``name``, imported on first use.

    Raises:
        ValueError: If there is no such kind.
    """
    if name not in HEAD_KINDS:
        raise ValueError(
            f"unknown kind {name!r} of a head; expected one of "
            f"{', '.join(HEAD_KINDS)}; correct config.head.kind"
        )
    module, _, found = HEAD_KINDS[name].partition(":")
    kind: HeadKind = getattr(importlib.import_module(module), found)
    return kind


def has_temperature(task: Task) -> bool:
    """Whether logits of ``task`` may have one: those of classes and units, not values.

    Values are compared in their unit, which a temperature would change. Of several
    tasks at least one has to be of classes or units.
    """
    if isinstance(task, JointTask):
        return any(has_temperature(one) for one in task.tasks)
    return task.kind != "regression"


@dataclasses.dataclass(frozen=True)
class HeadSpec:
    """Everything that decides a head's parameters and arithmetic.

    The sizes' defaults are those of the original system. An option that does not
    belong to ``kind`` and ``task`` has no effect.

    Attributes:
        task: "EXPR", "AU", "VA", the name of one's own task, or several names joined by
            "+": one trunk with outputs for each of them.
        kind: A name of ``registry.HEAD_KINDS``: "mlp" and "linear" (one layer) see one
            frame, as does "gated", which weighs face and sound; "transformer" and
            "recurrent" see a sequence of frames, and "cross_attention" windows of them,
            in which face and sound attend to each other.
        dims: Feature lengths of the concatenated sets, in the order of the columns;
            visual and audio sets in any number.
        set_kinds: "visual" or "audio" for each of ``dims``; (): unknown, as in
            checkpoints of older versions.
        audio_flag: Whether there is one more input column, the last: 1 where the frame
            has sound.
        va_form: MLP for VA only. "affine": two branches Linear, BatchNorm, Linear.
            "shared": valence through a wide layer and a LeakyReLU, arousal affine.
            "plain": the MLP of the other tasks.
        attention: Transformer only. "window": over consecutive frames of one video.
            "batch": over the frames of the batch, whatever they are (the original).
        window: Most frames in a window, for attention "window" and recurrent heads.
        causal: Recurrent only. Whether a frame's logits depend on frames up to it
            alone; else a second recurrence runs backwards.
        standardize: Whether inputs are taken less their mean and over their deviation,
            which are among the head's statistics.
        learned_temperature: Whether logits are divided by a trained temperature, one
            for each task of classes or units; it starts at 1.
        positions: Heads with attention. How a frame's offset in the window enters; the
            frames of attention "batch" have no order, so that demands "none".
        dtype: Type of the arithmetic. With "bfloat16" the parameters, softmax, the
            statistics of norms and the logits stay float32. "float64" is for checks
            and needs jax_enable_x64.
        mlp_dim: Hidden width of the MLPs (and of their VA branches) and of "gated".
        feat_dim: Width of ``feat_fc``, the first layer of the Transformer and of the
            valence branch of "shared".
        model_dim: Width of the layers over the frames.
        ffn_dim: Hidden width of these layers' feed-forward part.
        head_dim: Hidden width of the Transformer's output head.
        num_heads: Attention heads; divides ``model_dim``.
        num_layers: Layers over the frames.
        layer_sums: Sets of which a weighted sum enters in their place, by their places
            in ``dims``: groups of hidden layers of one network.

    Raises:
        ValueError: If an option is not among its choices, a size is below 1, there
            are no features, or options contradict each other.
    """

    task: str
    kind: str
    dims: tuple[int, ...]
    set_kinds: tuple[str, ...] = ()
    audio_flag: bool = False
    standardize: bool = False
    va_form: str = "affine"
    attention: str = "window"
    window: int = 128
    positions: str = "learned"
    dtype: str = "float32"
    mlp_dim: int = 128
    feat_dim: int = 512
    model_dim: int = 128
    ffn_dim: int = 128
    head_dim: int = 32
    num_heads: int = 4
    num_layers: int = 4
    learned_temperature: bool = False
    layer_sums: tuple[tuple[int, ...], ...] = ()
    causal: bool = False

    def __post_init__(self):
        task, kind = get_task(self.task), head_kind(self.kind)
        for field, choices in CHOICES.items():
            value = getattr(self, field)
            if value not in choices:
                raise ValueError(
                    f"unknown {field} {value!r} of a head; expected one of "
                    f"{', '.join(choices)}; correct config.head.{field}"
                )
        for field in _SIZES:
            if getattr(self, field) < 1:
                raise ValueError(
                    f"head {field} is {getattr(self, field)}; expected 1 or more; "
                    f"correct config.head.{field}"
                )
        if not self.dims or min(self.dims) < 1:
            raise ValueError(
                f"head dims are {self.dims}; expected the length of each feature set; "
                "name at least one feature set in config.data.features"
            )
        if isinstance(task, JointTask) and kind.part is None:
            raise ValueError(
                f"head kind {self.kind!r} for {self.task}; expected one task, as its "
                "outputs cannot be taken apart; train the tasks alone, or set another "
                "config.head.kind"
            )
        if self.learned_temperature and not has_temperature(task):
            raise ValueError(
                f"head learned_temperature is True for {self.task}; expected False, as "
                "values have no temperature, only logits of classes and units; set "
                "config.head.learned_temperature=False"
            )
        self._check_layer_sums()
        self._check_set_kinds()
        if kind.check is not None:
            kind.check(self)

    def _check_layer_sums(self) -> None:
        """Refuses sums of one set, of sets that are not there, or of unequal ones.

        Raises:
            ValueError: If there is such a sum, or a set is in two.
        """
        places = [place for group in self.layer_sums for place in group]
        there = set(places) <= set(range(len(self.dims)))
        good = there and len(set(places)) == len(places)
        for group in self.layer_sums if good else ():
            good &= len(group) > 1 and len({self.dims[place] for place in group}) == 1
        if not good:
            raise ValueError(
                f"head layer_sums are {self.layer_sums} of dims {self.dims}; expected "
                "groups of two places or more in dims, of equal length, none in two; "
                "give layers of one network together, each set once"
            )

    def _check_set_kinds(self) -> None:
        """Refuses kinds of sets that are not those of ``dims``, or not all needed.

        Raises:
            ValueError: If there are not as many as ``dims``, one is unknown, or the
                head needs sets of both kinds and there are none of one.
        """
        found, needs = self.set_kinds, head_kind(self.kind).by_modality
        known = set(found) <= {VISUAL, AUDIO} and len(found) in (0, len(self.dims))
        if not known or (needs and not found):
            raise ValueError(
                f"head set_kinds are {found} for kind {self.kind!r}; expected "
                f"{VISUAL!r} or {AUDIO!r} for each of dims {self.dims}; give them, as "
                "training does from the store's feature sets"
            )
        if needs and len(set(found)) < 2:
            raise ValueError(
                f"head kind {self.kind!r} with {found[0]} feature sets alone; expected "
                "sets of the face and of the sound, which it fuses; name both in "
                "config.data.features, as enet_b2_8_best+wav2vec2_base, or set "
                "config.head.kind='mlp'"
            )

    @property
    def input_dim(self) -> int:
        """Columns of the head's input."""
        return sum(self.dims) + int(self.audio_flag)

    @property
    def behind_sums(self) -> "HeadSpec":
        """The head behind the sums of layers, which sees one set for each of them."""
        dropped = {place for group in self.layer_sums for place in group[1:]}
        if not dropped:
            return self
        kept = [place for place in range(len(self.dims)) if place not in dropped]
        dims = tuple(self.dims[place] for place in kept)
        kinds = tuple(self.set_kinds[place] for place in kept if self.set_kinds)
        return dataclasses.replace(self, dims=dims, set_kinds=kinds, layer_sums=())

    @property
    def num_outputs(self) -> int:
        """Number of logits per frame; 8, 12 and 2 for EXPR, AU and VA."""
        return get_task(self.task).num_outputs

    @property
    def sequence(self) -> Literal["windows", "batch"] | None:
        """Frames that the head looks over; None where it sees one frame at a time."""
        over = head_kind(self.kind).sequence
        return None if over is None else over(self)

    @property
    def takes_windows(self) -> bool:
        """Whether the input is (windows, frames, dim) and not (batch, dim)."""
        return self.sequence == "windows"

    @property
    def batch_is_sequence(self) -> bool:
        """Whether the frames of a batch see each other, as in the original."""
        return self.sequence == "batch"

    @property
    def carries(self) -> bool:
        """Whether a whole sequence can be scored part by part, with a carried state."""
        tells = head_kind(self.kind).carries
        return tells is not None and tells(self)

    def evaluation_batch(self, *, training: int, evaluation: int) -> int:
        """Frames at once when rows are scored.

        Args:
            training: Frames of a training batch. This is the result where the batch is
                the sequence, as scores then depend on how many frames see each other.
            evaluation: Frames at once that memory allows; the result otherwise.
        """
        return training if self.batch_is_sequence else evaluation

    def to_dict(self) -> dict[str, Any]:
        """The options as values that JSON takes."""
        groups = [list(group) for group in self.layer_sums]
        lists = {"dims": list(self.dims), "set_kinds": list(self.set_kinds)}
        lists["layer_sums"] = groups
        return {**dataclasses.asdict(self), **lists}

    @classmethod
    def from_dict(cls, options: Mapping[str, Any]) -> "HeadSpec":
        """The spec whose :meth:`to_dict` is ``options``.

        Raises:
            ValueError: If an option is unknown, a needed one is missing, or the class
                itself refuses a value.
        """
        fields = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(options) - fields)
        missing = sorted({"task", "kind", "dims"} - set(options))
        if unknown or missing:
            raise ValueError(
                f"head options: unknown {unknown}, missing {missing}; expected task, "
                f"kind, dims and any of {', '.join(sorted(fields))}; correct head.json "
                "or read it with the version that wrote it"
            )
        sums = tuple(tuple(group) for group in options.get("layer_sums", ()))
        kinds = tuple(options.get("set_kinds", ()))
        given = {"dims": tuple(options["dims"]), "set_kinds": kinds, "layer_sums": sums}
        return cls(**{**options, **given})
