"""Heads of the original system: from their state dicts to head checkpoints."""

import dataclasses
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from avemo_jax.config.fields import original_config, to_plain
from avemo_jax.convert.rules import (
    IDENTITY,
    ConversionError,
    Ignored,
    Renaming,
    failure,
    rename,
)
from avemo_jax.convert.source_file import SourceFile
from avemo_jax.extractors import EXTRACTORS, Extractor
from avemo_jax.extractors.published import THESIS_HEADS, THESIS_LICENCE, ThesisHead
from avemo_jax.heads import HeadSpec, Variables, build_head
from avemo_jax.models.card import UNKNOWN, Card, CardData, CardFeatures, Provenance
from avemo_jax.runtime.versions import VERSION

_NUM_HEADS = 4  # heads of attention, which the tensors do not tell
# Frames that the original scored at once; its Transformer attends among them.
_ORIGINAL_BATCH = 32
_EVALUATION_BATCH = 8192
_TASK_OF_OUTPUTS = {8: "EXPR", 12: "AU"}
# Extractors that the original system combined, by the length of the features.
_COMBINATIONS = (
    ("enet_b2_8_best",),
    ("enet_b2_8_best", "vggish"),
    ("enet_b2_8_best", "wav2vec2_base"),
    ("enet_b0_8_va_mtl", "vggish"),
)
# The tensors whose number of outputs is a size of the head, by the size.
_MLP_SIZES = {
    "mlp_dim": ("fc1.weight", "ahead.0.weight"),
    "feat_dim": ("feat_fc.weight",),
}
_TRANSFORMER_SIZES = {
    "feat_dim": ("feat_fc.weight",),
    "model_dim": ("conv1.weight",),
    "ffn_dim": ("transformer_encoder.layers.0.linear1.weight",),
    "head_dim": ("head.0.weight", "vhead.0.weight"),
}
_RULES = (Renaming(r"(feat_fc|conv1)\.weight", r"\1.weight", squeeze=1), IDENTITY)
_IGNORED = (
    Ignored(r".+\.num_batches_tracked", "BatchNorm's counter of training batches"),
)


@dataclasses.dataclass(frozen=True)
class FeatureInput:
    """A feature set that a head takes.

    Attributes:
        name: Name of the set, ``EXTRACTOR@INPUT``.
        extractor: The extractor that gives it.
    """

    name: str
    extractor: Extractor


def infer_spec(
    state: Mapping[str, np.ndarray],
    dims: tuple[int, ...],
    set_kinds: tuple[str, ...],
    *,
    file: str,
) -> HeadSpec:
    """The head that tensors belong to, with the original's attention among a batch.

    Args:
        state: Tensors by the original's names.
        dims: Lengths of the head's feature sets, in order.
        set_kinds: "visual" or "audio" for each of them.
        file: Name of the source, for errors.

    Raises:
        ConversionError: If they belong to none of the original's heads.
    """
    shapes = {name: array.shape for name, array in state.items()}
    task = _task(shapes, file)
    options: dict[str, Any] = {}
    layers = [
        int(match[1])
        for name in shapes
        if (match := re.match(r"transformer_encoder\.layers\.(\d+)\.", name))
    ]
    if layers or "conv1.weight" in shapes:
        kind, sizes = "transformer", _TRANSFORMER_SIZES
        options |= {"attention": "batch", "positions": "none"}
        options |= {"num_heads": _NUM_HEADS, "num_layers": 1 + max(layers, default=0)}
    else:
        kind, sizes = "mlp", _MLP_SIZES
        if task == "VA" and "feat_fc.weight" in shapes:
            options["va_form"] = "shared"
    # A size that no tensor tells keeps its default; renaming finds missing tensors.
    for size, names in sizes.items():
        found = [shapes[name][0] for name in names if len(shapes.get(name, ())) > 1]
        if found:
            options[size] = int(found[0])
    return HeadSpec(task, kind, dims, set_kinds, **options)


def input_dim(state: Mapping[str, np.ndarray], *, file: str) -> int:
    """Length of the features that a head takes.

    Raises:
        ConversionError: If the tensors belong to none of the original's heads.
    """
    for name in ("feat_fc.weight", "fc1.weight", "ahead.0.weight"):
        if name in state and state[name].ndim >= 2:
            return int(state[name].shape[1])
    raise _no_head(file, state)


def published_head(source: SourceFile) -> ThesisHead | None:
    """The released head that a file is, by content or else by name; None: none."""
    for head in THESIS_HEADS:
        if source.is_published(head.source):
            return head
    named = {head.source.file: head for head in THESIS_HEADS}
    return named.get(source.path.name)


def choose_features(
    dim: int,
    given: Sequence[str] | None,
    published: ThesisHead | None,
    *,
    file: str,
) -> tuple[FeatureInput, ...]:
    """The feature sets of a head.

    Args:
        dim: Length of the features that the head takes.
        given: Names of extractors or feature sets, in the order of the input; None:
            those of ``published``, or the only combination of the original system that
            has the length ``dim``.
        published: The released head that the file is; None: it is none.
        file: Name of the source, for errors.

    Raises:
        ConversionError: If names are unknown, of another length or in another order,
            or cannot be inferred.
    """
    if given is None and published is not None:
        given = published.features
    if given is None:
        fitting = [names for names in _COMBINATIONS if _length(names) == dim]
        if len(fitting) != 1:
            might = " or ".join(",".join(names) for names in fitting) or "none known"
            raise ConversionError(
                f"{file} takes features of length {dim}; expected to know of which "
                f"extractors ({might}); name them with --features"
            )
        given = fitting[0]
    names = [name.partition("@")[0] for name in given]
    unknown = sorted(set(names) - set(EXTRACTORS))
    if unknown or not names:
        raise ConversionError(
            f"--features {','.join(given)!r}; expected names among "
            f"{', '.join(EXTRACTORS)}, joined by commas; correct them"
        )
    kinds = [EXTRACTORS[name].kind for name in names]
    if _length(names) != dim or kinds != sorted(kinds, reverse=True):
        listed = " + ".join(f"{n} {EXTRACTORS[n].dim}" for n in names)
        raise ConversionError(
            f"{file} takes features of length {dim}, and they are to be {listed}; "
            "expected their sum to be that length, visual ones first; name others "
            "with --features"
        )
    return tuple(
        FeatureInput(
            full if "@" in full else f"{name}@{EXTRACTORS[name].default_input}",
            EXTRACTORS[name],
        )
        for name, full in zip(names, given, strict=True)
    )


def check_published(spec: HeadSpec, published: ThesisHead, *, file: str) -> None:
    """Check that a head has the task and kind of the released head of its name.

    Raises:
        ConversionError: If it has another.
    """
    expected = (published.task, published.head)
    if (spec.task, spec.kind) != expected:
        raise ConversionError(
            f"{file} holds a head for {spec.task}, {spec.kind}; expected "
            f"{' '.join(expected)}, as the original's file of that name; rename it"
        )


def variables_of(
    state: Mapping[str, np.ndarray], spec: HeadSpec, *, file: str
) -> Variables:
    """Parameters and statistics for a head checkpoint, with one seed.

    Raises:
        ConversionError: If the tensors do not fit; all faults are named.
    """
    trees = jax.eval_shape(build_head(spec).init, jax.random.key(0))
    places = [flatten_dict(tree, sep=".") for tree in trees]
    shapes = {n: tuple(leaf.shape) for tree in places for n, leaf in tree.items()}
    wanted = f"a head for {spec.task}, {spec.kind}, of {spec.input_dim} features"
    found = rename(
        state, shapes, _RULES, file=file, wanted=wanted, ignored=_IGNORED
    ).tensors
    params, stats = (
        unflatten_dict({name: found[name][None] for name in tree}, sep=".")
        for tree in places
    )
    return Variables(params=params, stats=stats)


def card_of(
    spec: HeadSpec,
    features: Sequence[FeatureInput],
    source: SourceFile,
    *,
    faithful: bool,
) -> Card:
    """The card of a converted head.

    Args:
        spec: Kind and sizes of the head.
        features: Its feature sets, in the order of the input.
        source: The file that it was converted from.
        faithful: Whether it is evaluated as by the original system, with its filling
            of gaps and its smoothing of decisions.
    """
    known = [head.source for head in THESIS_HEADS]
    return Card(
        task=spec.task,
        head=spec.to_dict(),
        features=tuple(
            CardFeatures(one.name, one.extractor.kind, one.extractor.dim, UNKNOWN)
            for one in features
        ),
        data=CardData("unknown data", synthetic=False, fingerprint=UNKNOWN),
        protocol="original" if faithful else "ours",
        inputs="features",
        missing_audio="drop",  # the original trained on frames with sound only
        windows="average",
        evaluation_batch_size=spec.evaluation_batch(
            training=_ORIGINAL_BATCH, evaluation=_EVALUATION_BATCH
        ),
        train_on=UNKNOWN,
        training_videos=UNKNOWN,
        dev_videos=(),
        class_counts=None,
        counts={},
        config=_config(spec, faithful=faithful),
        version=VERSION,
        candidates=(0, 1),
        seeds=(0,),
        setting={},
        sweep=(),
        best_epochs=(None,),
        dev_scores=None,
        provenance=Provenance(**source.provenance(known), licence=THESIS_LICENCE),
    )


def _config(spec: HeadSpec, *, faithful: bool) -> dict[str, Any]:
    """The evaluation's part of the original's recipe; training is not known."""
    config = original_config(spec.task, spec.kind)
    config.postprocess.faithful_gaps = faithful
    plain = to_plain(config)
    return {name: plain[name] for name in ("postprocess", "blend", "evaluate")}


def is_head_checkpoint(directory: pathlib.Path) -> bool:
    """Whether ``directory`` holds a head checkpoint, which another may replace."""
    return (directory / "head.json").is_file() and (directory / "params").is_dir()


def _task(shapes: Mapping[str, tuple[int, ...]], file: str) -> str:
    if "vhead.0.weight" in shapes and "ahead.0.weight" in shapes:
        return "VA"
    for name in ("fc2.bias", "head.3.bias", "head.2.bias"):
        if name in shapes:
            outputs = shapes[name][0] if shapes[name] else 0
            if outputs in _TASK_OF_OUTPUTS:
                return _TASK_OF_OUTPUTS[outputs]
            raise failure(
                file, "a head", [f"source {name}: {outputs} outputs, expected 8 or 12"]
            )
    raise _no_head(file, shapes)


def _length(names: Sequence[str]) -> int:
    return sum(EXTRACTORS[name].dim for name in names)


def _no_head(file: str, names: Mapping[str, Any]) -> ConversionError:
    some = ", ".join(sorted(names)[:6]) or "none"
    return ConversionError(
        f"{file} has tensors {some}, ...; expected a head of the original system: "
        "fc1 and fc2, vhead and ahead, or feat_fc, conv1, transformer_encoder and "
        "head; see whether it is the right file"
    )
