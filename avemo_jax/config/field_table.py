"""The table of every field of the configuration: defaults, ranges, words."""

from typing import get_args

from avemo_jax.config.field import Field
from avemo_jax.heads.registry import HEAD_KINDS
from avemo_jax.heads.spec import CHOICES
from avemo_jax.metrics.intervals import MOST_RESAMPLES
from avemo_jax.postprocess.names import MAX_HALF_WIDTH, RuleName, ThresholdRule, Unit
from avemo_jax.tasks import TASKS

OWN = "own"  # the only task of the store
DEFAULT_FEATURES = "enet_b2_8_best+wav2vec2_base"

HEARTBEAT_S = 30
# Bounds that no run comes near; what memory there is bounds more (training/plan/).
_SEED = 2**31 - 1
_MANY = 1_000_000


# The groups that the first parts of names make, in words.
GROUPS = {
    "": "The run",
    "data": "Data",
    "head": "Head",
    "train": "Training",
    "loss": "Loss",
    "sweep": "Sweep: each combination of the listed values is trained with each seed, "
    "all together",
    "evaluate": "Evaluation",
    "postprocess": "Post-processing",
    "blend": "Blend of heads",
    "distributed": "Several processes",
    "log": "Logs",
}

FIELDS = (
    Field(
        "task",
        "EXPR",
        f"{', '.join(TASKS)}, several joined by '+', the name of a task of the "
        f"store's, or {OWN}: the store's only task",
    ),
    Field(
        "seed",
        0,
        "Of the parameters and dropout; model i of num_seeds has seed + i",
        least=-_SEED,
        most=_SEED,
    ),
    Field(
        "num_seeds",
        1,
        "Models trained together in one program",
        least=1,
        most=100_000,
    ),
    Field(
        "protocol",
        "ours",
        "A label that results.json keeps; it changes no number",
        choices=("ours", "original"),
    ),
    Field(
        "batch_size",
        None,
        "Frames of a step, over all devices; none: by the number of training frames, "
        "1024 (2048 in windows) of large tables",
        least=1,
        most=_MANY * 1000,
        kind=int,
    ),
    Field(
        "num_epochs",
        None,
        "Epochs, each ended by a score on dev; none: by the number of training frames, "
        "10 (6 in windows) of large tables",
        least=1,
        most=_MANY,
        kind=int,
    ),
    Field("learning_rate", 1e-3, "Peak of the schedule, AdamW", least=0),
    Field("weight_decay", 1e-4, "Decoupled, AdamW", least=0),
    Field("dropout", 0.0, "Rate at which values are set to zero", least=0, below=1),
    Field(
        "workdir",
        None,
        "Folder of what the run writes; none: runs/CONFIG-IDENTITY",
        kind=str,
        counts=False,
    ),
    Field("data.dir", None, "Folder of the store; none: the demo corpus", kind=str),
    Field(
        "data.features",
        DEFAULT_FEATURES,
        "Names of feature sets joined by '+', visual ones first",
    ),
    Field(
        "data.inputs",
        "features",
        "What heads see: features, or the visual extractors' own outputs: logits (and "
        "valence, arousal)",
        choices=("features", "outputs"),
    ),
    Field(
        "data.train_on",
        "train",
        "Videos that are trained on; with train+dev nothing is chosen on dev",
        choices=("train", "train+dev"),
    ),
    Field(
        "data.folds",
        0,
        "k: each of k parts of the official train videos is dev in turn; 0: none",
        least=0,
        most=1000,
    ),
    Field(
        "data.protocol",
        None,
        "Folds of speakers that the store has, as ravdess_5: each is reported in turn, "
        "by a model that saw none of them; none: the store's splits",
        kind=str,
        later=True,
    ),
    Field("data.fold", -1, "One fold, from 0; -1 runs them all", least=-1),
    Field("data.fold_seed", 0, "Of the draw of folds", least=0, most=_SEED),
    Field(
        "data.missing_audio",
        "zeros",
        "Frames without sound: features of zeros, or dropped",
        choices=("zeros", "drop"),
    ),
    Field(
        "data.order_seed",
        0,
        "Of the order of rows in an epoch; the same for all seeds",
        least=-_SEED,
        most=_SEED,
    ),
    Field(
        "data.device_budget_gb",
        None,
        "Memory for tables on a device, 10^9 bytes; none: a share of the device's",
        least=0,
        kind=float,
        counts=False,
    ),
    Field(
        "data.cache_dir",
        None,
        "Folder for the demo corpus and streamed tables; none: AVEMO_CACHE or the "
        "user's",
        kind=str,
        counts=False,
    ),
    Field("head.kind", "mlp", "Kind of the fusion head", choices=HEAD_KINDS),
    Field(
        "head.audio_flag",
        False,
        "Whether an input more says that the frame has sound",
    ),
    Field(
        "head.va_form",
        "affine",
        "MLP for VA: affine and shared are the original's; plain: as for other tasks",
        choices=CHOICES["va_form"],
    ),
    Field(
        "head.attention",
        "window",
        "Transformer: over windows of frames in a row, or the batch (the original's)",
        choices=CHOICES["attention"],
    ),
    Field(
        "head.standardize",
        False,
        "Whether inputs are taken less their mean and over their deviation, of the "
        "training frames; kept in the checkpoint",
    ),
    Field(
        "head.layer_sum",
        False,
        "Whether hidden layers of one network enter as their sum, with trained weights",
        later=True,
    ),
    Field(
        "head.window",
        128,
        "Frames of a window; heads over windows",
        least=2,
        most=16_384,
    ),
    Field("head.num_layers", 4, "Layers of heads over windows", least=1, most=256),
    Field(
        "head.positions",
        "learned",
        "How a frame's place in the window enters; heads with attention",
        choices=CHOICES["positions"],
    ),
    Field(
        "head.causal",
        False,
        "Recurrent: whether a frame is scored from frames up to it alone, for live "
        "use; else from those after it too",
        later=True,
    ),
    Field(
        "head.dtype",
        "float32",
        "Of the arithmetic; parameters and sums stay float32",
        choices=tuple(d for d in CHOICES["dtype"] if d != "float64"),  # for checks
    ),
    Field(
        "head.learned_temperature",
        False,
        "Whether logits are divided by a trained temperature, which starts at 1; "
        "classes and units",
        later=True,
    ),
    Field(
        "train.warmup",
        0.05,
        "Share of all steps in which the learning rate rises",
        least=0,
        most=1,
    ),
    Field(
        "train.schedule",
        "cosine",
        "The learning rate after the warm-up",
        choices=("cosine", "constant"),
    ),
    Field(
        "train.clip_norm", 1.0, "Largest norm of the gradient; 0: not clipped", least=0
    ),
    Field(
        "train.select_by",
        "metric",
        "What the best epoch on dev has the best of; ccc_valence: VA only",
        choices=("metric", "loss", "ccc_valence"),
    ),
    Field(
        "train.least_steps",
        None,
        "Steps of a run, the least; smaller batches and more passes make them; none: "
        "2,000 (1,000 in windows) of tables under 10,000 training frames",
        least=0,
        most=_MANY * 1000,
        kind=int,
    ),
    Field(
        "train.passes_per_epoch",
        None,
        "Passes over the training frames in an epoch; none: 1, more of small tables "
        "where num_epochs is none too",
        least=1,
        most=_MANY,
        kind=int,
    ),
    Field(
        "train.early_stop_epochs",
        None,
        "Epochs without a better score on dev after which a seed stops; 0: none do; "
        "none: 5, or as many as 1,000 steps take of a run with a least number of steps",
        least=0,
        most=_MANY,
        kind=int,
    ),
    Field(
        "train.ema",
        0.0,
        "Decay of a moving mean of the parameters, which is scored and kept in their "
        "place; 0: off",
        least=0,
        below=1,
        later=True,
    ),
    Field(
        "train.mixup",
        0.0,
        "Alpha of Beta(alpha, alpha), the share of a frame that is mixed with another "
        "of the same label; classes and units, heads that see one frame; 0: off",
        least=0,
        most=1000,
        later=True,
    ),
    Field(
        "train.eval_mode",
        False,
        "The original's: no dropout, BatchNorm frozen at mean 0 and variance 1",
    ),
    Field(
        "train.modality_dropout",
        0.0,
        "Rate at which frames, or whole windows, lose the sound in training, or else "
        "the face, as if it were missing; needs sets of both; 0: off",
        least=0,
        below=1,
        later=True,
    ),
    Field(
        "train.modality_dropout_face",
        0.25,
        "Share of what modality_dropout takes that is the face, of frames with sound",
        least=0,
        most=1,
        later=True,
    ),
    Field(
        "train.frames_per_video",
        0,
        "Frames drawn from each video in a pass; 0: all",
        least=0,
        most=_MANY * 1000,
    ),
    Field(
        "train.window_stride",
        64,
        "Frames from the start of a window to that of the next",
        least=1,
        most=_MANY,
    ),
    Field(
        "train.seed_mode",
        "auto",
        "Seeds one after the other (map: bit-equal to a run alone), or at once (vmap)",
        choices=("auto", "map", "vmap"),
    ),
    Field(
        "train.scan_steps",
        0,
        "Steps in one compiled scan; 0: chosen by batch_size",
        least=0,
        most=_MANY,
    ),
    Field(
        "loss.class_weights",
        "balanced",
        "By the classes' numbers of frames; classes and units",
        choices=("balanced", "sqrt", "none"),
    ),
    Field("loss.focal_gamma", 0.0, "Exponent of the focal loss; 0: off", least=0),
    Field(
        "loss.label_smoothing",
        0.0,
        "Share of the label spread over all classes; 0: off",
        least=0,
        most=1,
    ),
    Field(
        "loss.logit_adjustment",
        0.0,
        "Factor of the classes' log prior, added to logits; classes; 0: off",
        least=0,
    ),
    Field(
        "loss.task_weights",
        (),
        "Of the losses of several tasks, in order, each above 0; (): 1 each",
        least=0,
        kind=float,
    ),
    Field(
        "loss.va_on",
        "tanh",
        "What the loss of values compares: scores, or logits (the original's)",
        choices=("tanh", "logits"),
    ),
    Field(
        "loss.va_variance",
        "population",
        "(Co)variances in the loss of values divide by n, or by n - 1 (sample: the "
        "original's)",
        choices=("population", "sample"),
    ),
    Field(
        "loss.va_mse",
        0.0,
        "Share s of squared errors in the loss of values: (1 - s) * sum(1 - CCC) + s * "
        "sum(mean squared error); 0: off",
        least=0,
        most=1,
        later=True,
    ),
    Field("sweep.learning_rate", (), "As (1e-4, 1e-3)", least=0, kind=float),
    Field("sweep.weight_decay", (), "As (1e-4, 1e-2)", least=0, kind=float),
    Field("sweep.dropout", (), "As (0.0, 0.3)", least=0, below=1, kind=float),
    Field(
        "evaluate.split",
        "validation",
        "What is reported on",
        choices=("validation", "dev", "train", "test"),
    ),
    Field(
        "evaluate.windows",
        "average",
        "Scores of a frame that is in several windows: their mean, or those of the "
        "window in whose centre it is",
        choices=("average", "centre"),
    ),
    Field("evaluate.batch_size", 8192, "Frames at once", least=1, most=_MANY * 1000),
    Field(
        "evaluate.num_resamples",
        1000,
        "Resamples of videos, for intervals; 0: no intervals",
        least=0,
        most=MOST_RESAMPLES,
    ),
    Field(
        "evaluate.unit",
        "auto",
        "What smoothing, thresholds, weights and frame rate are chosen by on dev: "
        "frames, or whole videos; auto: whole videos where each has one label",
        choices=get_args(Unit),
    ),
    Field(
        "postprocess.faithful_gaps",
        False,
        "The original's swapped weights in gaps between frames with a crop",
    ),
    Field(
        "postprocess.half_widths",
        (),
        "Frames on each side, of the smoothings tried on dev; (): the standard ones",
        least=1,
        most=MAX_HALF_WIDTH,
        kind=int,
    ),
    Field("postprocess.gaussian", True, "Whether Gaussian smoothing is tried too"),
    Field(
        "postprocess.causal",
        False,
        "Gaps and smoothing from past frames only, for live use; heads that look ahead "
        "(all over windows but recurrent with head.causal) do all the same",
    ),
    Field(
        "postprocess.thresholds",
        "grid",
        "Of units, on dev: of .1 to .9, exact: any score, fixed: .5",
        choices=get_args(ThresholdRule),
    ),
    Field(
        "postprocess.correction",
        "none",
        "EXPR, prior: a temperature and offsets by the classes' priors, chosen on dev",
        choices=("none", "prior"),
    ),
    Field(
        "postprocess.calibration",
        "none",
        "Of the probabilities that are written, as the last step. scaling: as often as "
        "they say on dev: one temperature of classes, a slope and an intercept of each "
        "unit; it changes no decision. none: as they are, with the error both ways in "
        "results.json",
        choices=("none", "scaling"),
        later=True,
    ),
    Field(
        "postprocess.set_level",
        0.0,
        "Share of the frames whose set of classes is to hold the right one, as 0.9, by "
        "videos of dev; 0: no sets",
        least=0,
        below=1,
        later=True,
    ),
    Field(
        "postprocess.frame_rate.rule",
        "all",
        "Frames whose scores are used; those between are interpolated, so that a video "
        "need not be embedded whole. stride: every n-th; sliding: every n-th entry of "
        "each median, as the original, so that all are embedded; sequential: few "
        "entries of each median first, more where it is not sure (EXPR); refine: a "
        "coarse grid, finer where in doubt. Chosen on dev, at most .002 below all "
        "frames; for heads that see one frame at a time",
        choices=get_args(RuleName),
    ),
    Field(
        "postprocess.frame_rate.stride",
        0,
        "Frames from one embedded frame, or entry, to the next. stride, sliding: 0 "
        "chooses on dev among 1, 2, 5, 10, 25, 50, 100 and 200; sequential, refine: "
        "the coarsest that may be chosen, at least 50 and 5, 0: any; all: 0",
        least=0,
        most=_MANY,
    ),
    Field(
        "blend.features",
        (),
        "More heads, one for each of these feature sets, blended late: as "
        "('wav2vec2_base',)",
        kind=str,
    ),
    Field(
        "blend.trust_extractor",
        False,
        "EXPR: the extractor's own probabilities where they are confident, a level "
        "chosen on dev",
    ),
    Field(
        "distributed.heartbeat_s",
        HEARTBEAT_S,
        "Seconds of silence after which a process counts as lost, which ends all",
        least=5,
        most=86_400,
        counts=False,
    ),
    Field("log.progress", True, "Progress bars", counts=False),
    Field("log.report", True, "report.html, after each evaluation", counts=False),
    Field(
        "log.tensorboard",
        True,
        "Event files, where a writer is installed",
        counts=False,
    ),
)
