"""The models that need no training: their tasks, data, scores, licences and weights.

The scores are those that the models' makers report, as they report them; none was
measured here. Nothing here loads a network.
"""

import dataclasses

from avemo_jax.extractors import EXTRACTORS
from avemo_jax.extractors.published import THESIS_HEADS, THESIS_LICENCE

HSEMOTION = "hsemotion"
THESIS = "thesis"
DEFAULT = HSEMOTION


@dataclasses.dataclass(frozen=True)
class ReportedScore:
    """A score that others report of a model.

    Attributes:
        task: Name of the task.
        score: The score in words, with its measure and data.
        by: Who reports it, and where; "": nobody is known to.
    """

    task: str
    score: str = "not reported"
    by: str = ""


@dataclasses.dataclass(frozen=True)
class TaskHead:
    """The published head of a task.

    Attributes:
        task: Name of the task.
        name: Name of the head.
        silent: Name of the head in its place where there is no sound; None: the head
            takes no sound.
    """

    task: str
    name: str
    silent: str | None = None

    def names(self, *, sound: bool = True) -> tuple[str, ...]:
        """Names of the heads that are needed, the one that is used with sound first.

        Args:
            sound: Whether sound is used, where there is some.
        """
        if self.silent is None:
            return (self.name,)
        return (self.name, self.silent) if sound else (self.silent,)


@dataclasses.dataclass(frozen=True)
class PublishedModel:
    """A model whose weights others publish.

    Attributes:
        name: Name on the command line.
        what: What it is, in words.
        limits: What it cannot do, and which model can, in words; "": nothing known.
        data: What it was trained on, in words.
        scores: What its makers report.
        licence: Licence of its weights, as their makers state it.
        outputs_of: Extractor whose own outputs are the scores; None: heads give them.
        heads: The heads, one for each task; none: an extractor's outputs are the
            scores.
    """

    name: str
    what: str
    limits: str
    data: str
    scores: tuple[ReportedScore, ...]
    licence: str
    outputs_of: str | None = None
    heads: tuple[TaskHead, ...] = ()

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of its tasks, in the order of a table's columns."""
        return tuple(dict.fromkeys(score.task for score in self.scores))

    @property
    def head_names(self) -> tuple[str, ...]:
        """Names of all its heads, those for silence too."""
        names = [name for head in self.heads for name in head.names()]
        return tuple(dict.fromkeys(names))

    @property
    def extractors(self) -> tuple[str, ...]:
        """Names of the extractors that it takes, each once, visual ones first."""
        if self.outputs_of is not None:
            return (self.outputs_of,)
        features = [
            name
            for head in THESIS_HEADS
            if head.name in self.head_names
            for name in head.features
        ]
        return tuple(
            sorted(
                dict.fromkeys(features),
                key=lambda name: EXTRACTORS[name].kind != "visual",
            )
        )

    @property
    def hears(self) -> bool:
        """Whether it takes sound."""
        return any(EXTRACTORS[name].kind == "audio" for name in self.extractors)

    def weights(self, *, sound: bool = True) -> tuple[str, ...]:
        """Names of all that is fetched for it, but for the face detector.

        Args:
            sound: Whether sound is used.
        """
        heads = [name for head in self.heads for name in head.names(sound=sound)]
        networks = [
            name
            for name in self.extractors
            if sound or EXTRACTORS[name].kind != "audio"
        ]
        return tuple(dict.fromkeys((*networks, *heads)))


# github.com/av-savchenko/face-emotion-recognition at
# 012691eb9eaa6f835df4b518d7c67512be76bc1e: the table of accuracies in its README.
_HSEMOTION = "HSEmotion's authors (README of face-emotion-recognition)"
_ORIGINAL = "the original system's author, of such heads"
_ON = "Aff-Wild2's official validation set"
# Of the original's single heads those with the best scores in its table before any
# smoothing, which alone is reported of all: EXPR .394 and VA .459 with wav2vec2 (.379,
# .444 with VGGish), .327 and .415 without sound. Of action units the head without sound
# has the best, .521 (.520 with VGGish, .513 with wav2vec2). All are MLPs, which are
# better there than the Transformers of the same features.
_HEADS = (
    TaskHead("EXPR", "best_EXPR_mlp_visual_wav2vec2", "best_EXPR_mlp_visual"),
    TaskHead("AU", "best_AU_mlp_visual"),
    TaskHead("VA", "best_VA_mlp_visual_wav2vec2", "best_VA_mlp_visual"),
)

_ALL = (
    PublishedModel(
        name=HSEMOTION,
        what="the network enet_b0_8_va_mtl of HSEmotion (A. Savchenko) with its own "
        "outputs: AffectNet's eight expressions (with Contempt, without Other), "
        "valence and arousal",
        limits="it has no action units and hears nothing: --model thesis has them, "
        "and hears",
        data="AffectNet (pictures), after faces of VGGFace2",
        scores=(
            ReportedScore("EXPR", "accuracy .619 on AffectNet's 8 classes", _HSEMOTION),
            ReportedScore("VA"),
        ),
        licence=EXTRACTORS["enet_b0_8_va_mtl"].licence,
        outputs_of="enet_b0_8_va_mtl",
    ),
    PublishedModel(
        name=THESIS,
        what="the published heads of the original system over HSEmotion's "
        "enet_b2_8_best and, where sound is used, wav2vec 2.0: the benchmark's eight "
        "expressions, twelve action units, valence and arousal",
        limits="",
        data="Aff-Wild2 (videos; which ones is not known, so nothing is chosen on dev)",
        scores=(
            ReportedScore(
                "EXPR",
                f"macro F1 .394 with sound, .327 without, on {_ON}; .457 with sound "
                "and a median of 401 frames chosen on that set",
                _ORIGINAL,
            ),
            ReportedScore(
                "AU",
                f"mean F1 .521 on {_ON}, thresholds chosen on that set",
                _ORIGINAL,
            ),
            ReportedScore(
                "VA",
                f"mean CCC .459 with sound, .415 without, on {_ON}; .493 with sound "
                "and smoothing chosen on that set",
                _ORIGINAL,
            ),
        ),
        licence=THESIS_LICENCE,
        heads=_HEADS,
    ),
)
PUBLISHED: dict[str, PublishedModel] = {model.name: model for model in _ALL}
