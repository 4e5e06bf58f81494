"""Checks that refuse a configuration which makes no sense, before any work is done.

What a field may be by itself, the table of fields says; the relations between fields
stand here.
"""

from collections.abc import Collection
from typing import get_args

from ml_collections import ConfigDict

from avemo_jax.config.field_table import FIELDS, OWN
from avemo_jax.config.fields import flatten
from avemo_jax.heads.layer_groups import layer_groups
from avemo_jax.heads.registry import HEAD_KINDS
from avemo_jax.heads.spec import AUDIO, VISUAL, HeadSpec, head_kind
from avemo_jax.postprocess.frame_rate.rules import FrameRate
from avemo_jax.postprocess.names import RuleName
from avemo_jax.tasks import EXPR, Task, get_task, known_tasks

_RATE = "config.postprocess.frame_rate"


def check_config(config: ConfigDict) -> None:
    """Refuses values that make no sense, before any work is done.

    Raises:
        ValueError: If a value makes no sense; the error names the field, its value and
            what it may be.
    """
    if config.data.dir is None and config.task != OWN:
        get_task(config.task)  # a store's own tasks are known once it is open
    _check_fields(config)
    head = config.head
    # For its checks alone, which do not depend on the features.
    known = set(config.task.split("+")) <= set(known_tasks())
    spec = HeadSpec(
        task=config.task if known else EXPR.name,
        kind=head.kind,
        dims=(1, 1),
        set_kinds=(VISUAL, AUDIO),
        attention=head.attention,
        positions=head.positions,
        learned_temperature=head.learned_temperature,
        causal=head.causal,
    )
    _check_causal(config)
    if config.data.protocol:
        _check_protocol(config)
    elif config.data.folds == 1 or config.data.fold >= config.data.folds:
        raise ValueError(
            f"config.data.folds is {config.data.folds} and config.data.fold "
            f"{config.data.fold}; use at least 2 folds, numbered from 0, or 0 for none"
        )
    if config.data.folds and config.data.train_on != "train":
        raise ValueError("config.data.folds needs config.data.train_on='train'")
    _check_tasks(config)
    _check_mixup(config, spec)
    _check_layers(config)
    if config.train.select_by == "ccc_valence" and config.task != "VA":
        raise ValueError("config.train.select_by='ccc_valence' is for task VA only")
    if config.train.modality_dropout and config.train.eval_mode:
        raise ValueError(
            f"config.train.modality_dropout is {config.train.modality_dropout} with "
            "config.train.eval_mode=True; expected 0, as the original drops nothing; "
            "set one of both to its default"
        )
    _check_postprocess(config)
    _check_probabilities(config)
    _check_frame_rate(config)


def _check_causal(config: ConfigDict) -> None:
    """Checks that a head that is to look at past frames only is one that can.

    Raises:
        ValueError: If heads of its kind look ahead in any case.
    """
    kind = head_kind(config.head.kind)
    if config.head.causal and kind.sequence is not None and kind.carries is None:
        raise ValueError(
            f"config.head.causal is True with config.head.kind={config.head.kind!r}; "
            "expected False, as such heads look ahead in any case; set "
            "config.head.kind='recurrent', or leave config.head.causal out"
        )


def _check_protocol(config: ConfigDict) -> None:
    """Checks what goes with folds of speakers.

    Raises:
        ValueError: If folds of two kinds, several tasks, or a split that the folds do
            not divide are asked for.
    """
    name = config.data.protocol
    for field, value, wanted in (
        ("data.folds", config.data.folds, 0),
        ("data.train_on", config.data.train_on, "train"),
        ("evaluate.split", config.evaluate.split, "validation"),
    ):
        if value != wanted:
            raise ValueError(
                f"config.{field} is {value!r} with config.data.protocol={name!r}; "
                f"expected {wanted!r}, as each fold of speakers is reported once, by "
                "those who train on the others: leave it out"
            )
    if "+" in config.task:
        raise ValueError(
            f"config.task is {config.task!r} with config.data.protocol={name!r}; "
            "expected one task: train each by itself"
        )


def _check_layers(config: ConfigDict) -> None:
    """Checks that there are layers to sum where they are to be.

    Raises:
        ValueError: If no head has several layers of one network.
    """
    sets = (config.data.features, *config.blend.features)
    if config.head.layer_sum and not any(layer_groups(s.split("+")) for s in sets):
        raise ValueError(
            f"config.head.layer_sum is True with config.data.features {sets[0]!r}; "
            "expected layers of one network to sum; name several, as "
            "wavlm_base_plus@16k-layer6+wavlm_base_plus@16k-layer9, or set it to False"
        )


def _check_fields(config: ConfigDict) -> None:
    """Checks each field by itself.

    Raises:
        ValueError: If a value is not in its field's range.
    """
    values = flatten(config)
    for field in FIELDS:
        value = values[field.name]
        if value is None:
            continue  # a placeholder: its default
        for one in value if field.several else (value,):
            if not field.takes(one):
                verb = f"is {value!r} with" if field.several else "is"
                each = " each" if field.several else ""
                raise ValueError(
                    f"config.{field.name} {verb} {one!r}; expected "
                    f"{field.range or field.value_type.__name__}{each}; correct "
                    f"--config.{field.name}, or leave it at {field.default!r}"
                )


def _check_postprocess(config: ConfigDict) -> None:
    """Checks smoothing, blending and the correction of scores.

    Raises:
        ValueError: If a value makes no sense.
    """
    post, blend = config.postprocess, config.blend
    sets = [config.data.features, *blend.features]
    if not all(isinstance(s, str) and s for s in sets) or len(set(sets)) < len(sets):
        raise ValueError(
            f"config.blend.features is {tuple(blend.features)!r} beside "
            f"config.data.features {sets[0]!r}; expected names of feature sets, each "
            "head with other ones, e.g. ('wav2vec2_base',)"
        )
    task = known_tasks().get(config.task)
    if task is None:
        return  # a task of a store that is not open yet: checked again then
    wrong = post.correction != "none" and task.kind != "multiclass"
    if wrong or (blend.trust_extractor and config.task != "EXPR"):
        raise ValueError(
            f"config.postprocess.correction is {post.correction!r} and config.blend."
            f"trust_extractor {blend.trust_extractor} for task {config.task}; both are "
            "for EXPR only (the first for classes): set 'none' and False"
        )


def _check_probabilities(config: ConfigDict) -> None:
    """Checks what is asked of probabilities, which not every task has.

    Raises:
        ValueError: If no task of the configuration has what is asked for.
    """
    post, known = config.postprocess, known_tasks()
    names = config.task.split("+")
    if any(name not in known for name in names):
        return  # a task of a store that is not open yet: checked again then
    kinds = {known[name].kind for name in names}
    if post.calibration != "none" and kinds == {"regression"}:
        raise ValueError(
            f"config.postprocess.calibration is {post.calibration!r} for task "
            f"{config.task}, whose values are no probabilities; expected classes or "
            "units; set 'none'"
        )
    if post.set_level and "multiclass" not in kinds:
        raise ValueError(
            f"config.postprocess.set_level is {post.set_level:g} for task "
            f"{config.task}; expected a task of classes, of which sets are made; set 0"
        )


def _check_tasks(config: ConfigDict) -> None:
    """Checks the fields that depend on several tasks being trained together.

    Raises:
        ValueError: If a value makes no sense.
    """
    count = len(config.task.split("+"))
    factors = tuple(config.loss.task_weights)
    if factors and (
        count < 2 or len(factors) != count or not all(f > 0 for f in factors)
    ):
        raise ValueError(
            f"config.loss.task_weights is {factors} for task {config.task}; expected "
            "a positive number for each of several tasks, in their order, as "
            "(1.0, 1.0, 0.5) for EXPR+AU+VA; () is 1 each"
        )
    if count < 2:
        return
    alone = {
        "blend.features": config.blend.features,
        "blend.trust_extractor": config.blend.trust_extractor,
        "postprocess.correction": config.postprocess.correction != "none",
    }
    for name, wanted in alone.items():
        if wanted:
            raise ValueError(
                f"config.{name} is {flatten(config)[name]!r} for the tasks "
                f"{config.task} together; expected its default: train together, then "
                "blend best_model/TASK with avemo blend"
            )


def _check_mixup(config: ConfigDict, spec: HeadSpec) -> None:
    """Checks that frames can be mixed with others of the same label.

    Raises:
        ValueError: If labels are values, or the head looks over a sequence of frames.
    """
    if not config.train.mixup:
        return
    begin = f"config.train.mixup is {config.train.mixup} "
    known = known_tasks()
    names = [name for name in config.task.split("+") if name in known]
    if values := [name for name in names if known[name].kind == "regression"]:
        raise ValueError(
            f"{begin}for {', '.join(values)}; expected tasks of classes or units, as "
            "frames are mixed with others of the same label, and values have none: "
            "set it to 0"
        )
    if spec.sequence is not None:
        raise ValueError(
            f"{begin}with head kind {spec.kind!r} over {spec.sequence} of frames; "
            "expected a head that sees one frame at a time, as frames of a sequence "
            "cannot be exchanged: set it to 0, or another config.head.kind"
        )


def _check_frame_rate(config: ConfigDict) -> None:
    """Checks which frames are embedded.

    Raises:
        ValueError: If the rule does not fit the rest of the configuration.
    """
    rate = config.postprocess.frame_rate
    wanted, known = FrameRate(rate.rule, rate.stride), known_tasks()
    check_frame_rate(
        wanted,
        # Tasks of a store that is not open yet are checked again then.
        [known[name] for name in config.task.split("+") if name in known],
        [config.head.kind],
        causal=config.postprocess.causal,
        trust_extractor=config.blend.trust_extractor,
    )
    if wanted.is_chosen and config.data.train_on != "train":
        raise ValueError(
            f"config.postprocess.frame_rate.rule is {wanted.rule!r} and "
            f"config.data.train_on {config.data.train_on!r}, which leaves no dev to "
            "choose on; expected a rule without a choice; set rule 'stride' with a "
            "stride of 1 or more, or train on 'train'"
        )


def check_frame_rate(
    wanted: FrameRate,
    tasks: Collection[Task],
    heads: Collection[str],
    *,
    causal: bool,
    trust_extractor: bool,
) -> None:
    """Refuses a rule for the frames to embed that does not fit a model.

    Args:
        wanted: The rule, from a configuration or from flags.
        tasks: Those of the model's tasks that are known so far.
        heads: Kinds of the model's heads.
        causal: Whether gaps and smoothing look at past frames only.
        trust_extractor: Whether the extractor's own probabilities are used.

    Raises:
        ValueError: If the rule does not fit; the error names the rule or the stride,
            and what it may be.
    """
    check_rule(wanted, tasks)
    if wanted.rule == "all":
        return
    begin = f"{_RATE}.rule is {wanted.rule!r}"
    one_frame = [kind for kind in HEAD_KINDS if head_kind(kind).sequence is None]
    if others := [kind for kind in heads if kind not in one_frame]:
        raise ValueError(
            f"{begin} with {', '.join(others)} among the heads; expected heads that "
            f"see one frame at a time ({', '.join(one_frame)}), as others use "
            "frames that would be left out; set rule 'all', or train such heads"
        )
    if causal:
        raise ValueError(
            f"{begin} with config.postprocess.causal=True; expected False, as frames "
            "between two embedded ones need the later one; set rule 'all', or causal "
            "to False"
        )
    if trust_extractor:
        raise ValueError(
            f"{begin} with config.blend.trust_extractor=True; expected False, as rules "
            "look at the heads' scores alone; set one of both to its default"
        )


def check_rule(wanted: FrameRate, tasks: Collection[Task]) -> None:
    """Refuses an unknown rule, a stride out of range, and a rule not for the tasks.

    Args:
        wanted: The rule, from a configuration or from flags.
        tasks: Tasks that the rule is to be used for.

    Raises:
        ValueError: If the rule does not fit; the error names the rule or the stride,
            and what it may be.
    """
    rule, stride = wanted
    if rule not in get_args(RuleName):
        raise ValueError(
            f"{_RATE}.rule is {rule!r}; expected one of {', '.join(get_args(RuleName))}"
            "; set one of these, 'all' for every frame"
        )
    if stride < 0 or (stride and rule == "all"):
        raise ValueError(
            f"{_RATE}.stride is {stride} with rule {rule!r}; expected 1 frame or more, "
            "or 0 to choose on dev, and 0 with 'all'; correct it, or set rule 'stride'"
        )
    if not wanted.lists:
        least = min(each[0] for each in FrameRate(rule).lists)
        raise ValueError(
            f"{_RATE}.stride is {stride} with rule {rule!r}; expected the coarsest "
            f"stride that may be chosen, at least {least}, or 0 for any; correct it, "
            "or set rule 'stride' for this one"
        )
    wrong = [task.name for task in tasks if task.kind != "multiclass"]
    if rule == "sequential" and wrong:
        raise ValueError(
            f"{_RATE}.rule is 'sequential' for {', '.join(wrong)}; expected a task of "
            "one class for each frame (EXPR), as the rule stops at a sure class; set "
            "'refine' or 'stride'"
        )
