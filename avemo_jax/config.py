"""The configuration: every field with its default, unit and choices.

A file in ``configs/`` calls :func:`base_config` and changes what differs. Fields are
overridden on the command line: ``--config.learning_rate=3e-4``.
"""

import hashlib
import json
from typing import Any

from ml_collections import ConfigDict, config_dict

from avemo_jax.tasks import get_task, known_tasks

OWN = "own"  # the only task of the store
DEFAULT_FEATURES = "enet_b2_8_best+wav2vec2_base"

HEARTBEAT_S = 30

# Fields that do not change what is computed: where it runs and how it is shown.
_NOT_IDENTITY = (
    *("workdir", "log", "distributed"),
    *("data.device_budget_gb", "data.cache_dir"),
)


def base_config(task: str, head: str, features: str | None = None) -> ConfigDict:
    """A locked configuration with the defaults of ``head`` for ``task``.

    Args:
        task: "EXPR", "AU", "VA", one's own, or "own": the store's only task.
        head: "mlp", "linear" or "transformer".
        features: Feature sets joined by "+"; None means :data:`DEFAULT_FEATURES`.
    """
    if task != OWN:
        get_task(task)
    temporal = head == "transformer"
    config = ConfigDict()
    config.task = task  # EXPR | AU | VA | a name of the store's | own: its only task
    config.seed = 0  # of the parameters and dropout; model i of num_seeds has seed + i
    config.num_seeds = 1  # models trained together in one program
    config.protocol = "ours"  # ours | original: named in results.json
    config.batch_size = 2048 if temporal else 1024  # frames, over all devices
    # Passes over the training frames; on the demo corpus the Transformer is best on dev
    # after 3 to 7.
    config.num_epochs = 6 if temporal else 10
    # Peak, AdamW. Of 1e-4 .. 3e-3 (MLP) and 1e-4 .. 1e-3 (Transformer), with and
    # without dropout, within noise of the best on the demo corpus' dev.
    config.learning_rate = 3e-4 if temporal else 1e-3
    if (task, head) == ("VA", "mlp"):
        # Of 3e-4, 1e-3, 3e-3 the best on that dev: .571, .571, .607 (2 seeds).
        config.learning_rate = 3e-3
    config.weight_decay = 1e-4  # decoupled, AdamW
    config.dropout = 0.3 if temporal else 0.0  # rate in [0, 1)
    config.workdir = config_dict.placeholder(str)  # None: runs/<config>-<identity>
    config.data = _data_config(features or DEFAULT_FEATURES)
    config.head = _head_config(head)
    config.train = _train_config()
    config.loss = _loss_config()
    config.sweep = ConfigDict()  # each combination of what is listed x seeds, at once
    config.sweep.learning_rate = ()  # e.g. (1e-4, 1e-3)
    config.sweep.weight_decay = ()
    config.sweep.dropout = ()
    config.evaluate = _evaluate_config()
    config.postprocess = _postprocess_config()
    config.blend = _blend_config()
    config.distributed = ConfigDict()
    # Seconds without a word of a process until it counts as lost, which ends all
    config.distributed.heartbeat_s = HEARTBEAT_S
    config.log = ConfigDict()
    config.log.progress = True  # progress bars
    config.log.tensorboard = True  # event files, where a writer is installed
    return config.lock()


def original_config(task: str, head: str, features: str | None = None) -> ConfigDict:
    """The original system's recipe, with those of its faults that have a switch.

    Its learning rates and decays by task and head; its schedule, stepped with the dev
    loss as if that were an epoch, stays near the peak and is a constant here.
    """
    rates = {
        ("EXPR", "mlp"): (1e-5, 5e-5),
        ("EXPR", "transformer"): (1e-5, 5e-5),
        ("AU", "mlp"): (1e-4, 5e-5),
        ("AU", "transformer"): (1e-5, 5e-5),
        ("VA", "mlp"): (5e-4, 1e-4),
        ("VA", "transformer"): (5e-5, 1e-5),
    }
    config = base_config(task, head, features)
    config.protocol = "original"
    config.batch_size = 32
    config.num_epochs = 8 if task == "AU" else 10
    config.learning_rate, config.weight_decay = rates[task, head]
    config.dropout = 0.0  # its dropout layers were never in train mode
    config.data.missing_audio = "drop"
    config.head.va_form = "shared"
    config.head.attention = "batch"
    config.head.positions = "none"
    config.train.warmup = 0.0
    config.train.schedule = "constant"
    config.train.clip_norm = 0.0
    config.train.early_stop_epochs = 0
    config.train.eval_mode = True
    config.train.select_by = "ccc_valence" if task == "VA" else "loss"
    config.loss.va_on = "logits"
    config.postprocess.faithful_gaps = True
    config.postprocess.gaussian = False
    return config


def _data_config(features: str) -> ConfigDict:
    data = ConfigDict()
    data.dir = config_dict.placeholder(str)  # of the store; None: the demo corpus
    data.features = features  # names joined by "+", visual ones first
    # features | outputs: the visual extractors' own logits (and valence, arousal)
    data.inputs = "features"
    data.train_on = "train"  # train | train+dev (then nothing is chosen on dev)
    data.folds = 0  # k: dev is each of k parts of the official train videos in turn
    data.fold = -1  # one fold, 0 .. folds-1; -1 runs them all
    data.fold_seed = 0  # of the draw of folds
    data.missing_audio = "zeros"  # zeros | drop: frames without sound
    data.order_seed = 0  # of the order of examples; the same for all seeds
    data.device_budget_gb = config_dict.placeholder(float)  # None: from the device
    data.cache_dir = config_dict.placeholder(str)  # None: AVEMO_CACHE or the user's
    return data


def _head_config(kind: str) -> ConfigDict:
    head = ConfigDict()
    head.kind = kind  # mlp | linear | transformer
    head.audio_flag = False  # an input that says whether the frame has sound
    head.va_form = "affine"  # VA MLP: affine | shared, two forms of the original
    head.attention = "window"  # transformer: window | batch (the original's)
    head.window = 128  # frames; transformer over windows
    head.num_layers = 4  # transformer
    head.positions = "learned"  # learned | sinusoidal | none
    head.dtype = "float32"  # of the arithmetic: float32 | bfloat16
    return head


def _train_config() -> ConfigDict:
    train = ConfigDict()
    train.warmup = 0.05  # share of all steps
    train.schedule = "cosine"  # cosine | constant, after the warm-up
    train.clip_norm = 1.0  # of the gradient; 0 is off
    train.select_by = "metric"  # on dev: metric | loss | ccc_valence
    train.early_stop_epochs = 5  # without a better dev; 0 is off
    train.eval_mode = False  # the original's: no dropout, BatchNorm frozen at 0 and 1
    train.frames_per_video = 0  # drawn per video and epoch; 0 takes all
    train.window_stride = 64  # frames between training windows
    train.seed_mode = "auto"  # auto | map (bit-equal to a solo run) | vmap
    train.scan_steps = 0  # steps per compiled scan; 0 chooses by batch_size
    return train


def _loss_config() -> ConfigDict:
    loss = ConfigDict()
    loss.class_weights = "balanced"  # balanced | sqrt | none; EXPR and AU
    loss.focal_gamma = 0.0  # 0 is off
    loss.label_smoothing = 0.0  # 0 is off
    loss.logit_adjustment = 0.0  # tau of the log prior, EXPR; 0 is off
    loss.va_on = "tanh"  # CCC loss on: tanh | logits (the original's)
    return loss


def _evaluate_config() -> ConfigDict:
    evaluate = ConfigDict()
    evaluate.split = "validation"  # validation | dev | train | test
    evaluate.windows = "average"  # of overlapping windows: average | centre
    evaluate.batch_size = 8192  # frames at once
    evaluate.num_resamples = 1000  # of videos, for intervals; 0 gives none
    return evaluate


def _postprocess_config() -> ConfigDict:
    post = ConfigDict()
    post.faithful_gaps = False  # the original's swapped weights
    post.half_widths = ()  # frames, of the windows tried on dev; () the standard ones
    post.gaussian = True  # also try Gaussian windows (ours only)
    # Gaps and windows over past frames only, for live use; the Transformer over windows
    # looks ahead all the same.
    post.causal = False
    post.thresholds = "grid"  # AU, on dev: grid (.1 .. .9) | exact (any score) | fixed
    # EXPR: none | prior: temperature and class-prior offsets chosen on dev
    post.correction = "none"
    return post


def _blend_config() -> ConfigDict:
    blend = ConfigDict()
    # More heads, one for each of these, blended late: e.g. ("wav2vec2_base",)
    blend.features = ()
    # Take the extractor's own probabilities where they are confident (EXPR)
    blend.trust_extractor = False  # level chosen on dev
    return blend


_CHOICES: dict[str, tuple[str, ...]] = {
    "protocol": ("ours", "original"),
    "data.train_on": ("train", "train+dev"),
    "data.missing_audio": ("zeros", "drop"),
    "data.inputs": ("features", "outputs"),
    "head.kind": ("mlp", "linear", "transformer"),
    "head.va_form": ("affine", "shared"),
    "head.attention": ("window", "batch"),
    "head.positions": ("learned", "sinusoidal", "none"),
    "head.dtype": ("float32", "bfloat16"),
    "train.schedule": ("cosine", "constant"),
    "train.select_by": ("metric", "loss", "ccc_valence"),
    "train.seed_mode": ("auto", "map", "vmap"),
    "loss.class_weights": ("balanced", "sqrt", "none"),
    "loss.va_on": ("tanh", "logits"),
    "evaluate.split": ("validation", "dev", "train", "test"),
    "evaluate.windows": ("average", "centre"),
    "postprocess.thresholds": ("grid", "exact", "fixed"),
    "postprocess.correction": ("none", "prior"),
}
_AT_LEAST: dict[str, float] = {
    "num_seeds": 1,
    "batch_size": 1,
    "num_epochs": 1,
    "learning_rate": 0,
    "weight_decay": 0,
    "dropout": 0,
    "head.window": 2,
    "head.num_layers": 1,
    "train.warmup": 0,
    "train.clip_norm": 0,
    "train.early_stop_epochs": 0,
    "train.frames_per_video": 0,
    "train.window_stride": 1,
    "train.scan_steps": 0,
    "loss.focal_gamma": 0,
    "loss.label_smoothing": 0,
    "evaluate.batch_size": 1,
    "evaluate.num_resamples": 0,
    "distributed.heartbeat_s": 5,
    "data.folds": 0,
    "data.fold": -1,
}


def check_config(config: ConfigDict) -> None:
    """Refuses values that make no sense, before any work is done.

    Raises:
        ValueError: Names the field, its value and what it may be.
    """
    if config.data.dir is None and config.task != OWN:
        get_task(config.task)  # those of a store are known once it is open
    values = flatten(config)
    for name, choices in _CHOICES.items():
        if values[name] not in choices:
            raise ValueError(
                f"config.{name} is {values[name]!r}; it may be {', '.join(choices)}"
            )
    for name, least in _AT_LEAST.items():
        if not values[name] >= least:
            raise ValueError(f"config.{name} is {values[name]}; it is to be >= {least}")
    for rate in (config.dropout, *config.sweep.dropout):
        if not 0 <= rate < 1:
            raise ValueError(f"dropout is {rate}; it is to be in [0, 1)")
    if config.data.folds == 1 or config.data.fold >= config.data.folds:
        raise ValueError(
            f"config.data.folds is {config.data.folds} and config.data.fold "
            f"{config.data.fold}; use at least 2 folds, numbered from 0, or 0 for none"
        )
    if config.data.folds and config.data.train_on != "train":
        raise ValueError("config.data.folds needs config.data.train_on='train'")
    if config.train.select_by == "ccc_valence" and config.task != "VA":
        raise ValueError("config.train.select_by='ccc_valence' is for task VA only")
    if config.head.kind == "transformer" and config.head.attention == "batch":
        if config.head.positions != "none":
            raise ValueError(
                f"config.head.positions is {config.head.positions!r}; attention over "
                "the batch has no positions: set it to 'none'"
            )
    _check_postprocess(config)


def _check_postprocess(config: ConfigDict) -> None:
    """The part of :func:`check_config` on what comes after the heads."""
    post, blend = config.postprocess, config.blend
    for half in post.half_widths:
        if not isinstance(half, int) or half < 1:
            raise ValueError(
                f"config.postprocess.half_widths has {half!r}; expected whole frames, "
                "each >= 1; () takes the standard ones"
            )
    sets = [config.data.features, *blend.features]
    if not all(isinstance(s, str) and s for s in sets) or len(set(sets)) < len(sets):
        raise ValueError(
            f"config.blend.features is {tuple(blend.features)!r} beside "
            f"config.data.features {sets[0]!r}; expected names of feature sets, each "
            "head with other ones, e.g. ('wav2vec2_base',)"
        )
    task = known_tasks().get(config.task)
    if task is None:
        return  # of a store that is not open yet: checked again then
    wrong = post.correction != "none" and task.kind != "multiclass"
    if wrong or (blend.trust_extractor and config.task != "EXPR"):
        raise ValueError(
            f"config.postprocess.correction is {post.correction!r} and config.blend."
            f"trust_extractor {blend.trust_extractor} for task {config.task}; both are "
            "for EXPR only (the first for classes): set 'none' and False"
        )


def flatten(config: ConfigDict | dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted names of all leaf fields to their values."""
    leaves: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, ConfigDict | dict):
            leaves |= flatten(value, f"{prefix}{name}.")
        else:
            leaves[prefix + name] = value
    return leaves


def to_plain(config: ConfigDict) -> dict[str, Any]:
    """The configuration as JSON knows it: nested dicts, lists for tuples."""
    plain: dict[str, Any] = json.loads(json.dumps(config.to_dict()))
    return plain


def _identity_fields(plain: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in flatten(plain).items()
        if not any(name == n or name.startswith(n + ".") for n in _NOT_IDENTITY)
    }


def identity(config: ConfigDict) -> str:
    """8 hex digits that differ where a field differs that changes the result."""
    text = json.dumps(_identity_fields(to_plain(config)), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def difference(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Lines ``name: old -> new`` for fields that change the result."""
    before, after = _identity_fields(old), _identity_fields(new)
    names = sorted(before.keys() | after.keys())
    return [
        f"{name}: {before.get(name, 'absent')!r} -> {after.get(name, 'absent')!r}"
        for name in names
        if before.get(name, "absent") != after.get(name, "absent")
    ]
