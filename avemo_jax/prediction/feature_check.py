"""Whether the features made here are those that heads were trained on."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from avemo_jax.data.features.names import split_name
from avemo_jax.embed import DTYPES, AnyExtractor
from avemo_jax.embed.identity import fingerprint
from avemo_jax.embed.weights import WeightsError
from avemo_jax.extraction.crop_template import Template
from avemo_jax.extraction.face_crops import CropKind
from avemo_jax.extraction.face_detector import DETECTION_VERSION, earlier_fingerprints
from avemo_jax.extraction.feature_set import rules_of, set_fingerprint
from avemo_jax.extraction.video_faces import FaceRule
from avemo_jax.media.alignment import AlignmentRule
from avemo_jax.media.decoding import Medium
from avemo_jax.models.blend import Model
from avemo_jax.models.card import UNKNOWN, Card, CardFeatures
from avemo_jax.models.head import TrainedHead
from avemo_jax.prediction.models import PredictionModel


def check_features(
    model: PredictionModel,
    extractors: Mapping[str, AnyExtractor],
    template: Template = None,
) -> tuple[str, ...]:
    """What a user should know of the features, in words; refuses other extractors'.

    A head may have been trained on crops that others made, on faces that an earlier
    version of the detection found, or on arithmetic of another precision: that changes
    features little, and is told. Of a converted head it is not
    known what it was trained on.

    Args:
        model: The model.
        extractors: The extractors that are loaded, by full name of the feature set;
            sets that are not made here are left out, such as those of sound where none
            is used.
        template: x and y of the five points in aligned crops here; None: ArcFace's.

    Raises:
        ValueError: If a head was trained on the features of another extractor: of other
            weights, another size of the crops, or another version.
    """
    notes: dict[str, None] = {}

    @functools.cache
    def known(name: str) -> dict[str, str]:
        return dict(_variants(extractors[name], split_name(name)[1] or "", template))

    for heads in model.heads:
        for part in (heads, heads.silent):
            for one in () if part is None else part.models:
                for words in _of_model(one, extractors, known):
                    notes[f"{heads.name}: {words}"] = None
    return tuple(notes)


def _of_model(
    model: Model,
    extractors: Mapping[str, AnyExtractor],
    known: Callable[[str], Mapping[str, str]],
) -> Iterator[str]:
    for head in model.heads:
        assert isinstance(head, TrainedHead)
        for feature in head.card.features:
            if feature.name not in extractors:
                continue
            if feature.fingerprint == UNKNOWN:
                yield (
                    "it is not known which weights made the features that it was "
                    "trained on"
                )
                continue
            told = known(feature.name)
            if feature.fingerprint not in told:
                raise ValueError(_refusal(head, feature))
            if words := told[feature.fingerprint]:
                yield words


def _variants(
    extractor: AnyExtractor, input_name: str, template: Template
) -> Iterator[tuple[str, str]]:
    """Fingerprints of the sets by this extractor, and how each differs, in words."""
    own = str(extractor.settings["dtype"]) if "dtype" in extractor.settings else ""
    for dtype in DTYPES if own else ("",):
        settings = extractor.settings | ({"dtype": dtype} if own else {})
        digest = fingerprint(extractor.extractor, extractor.weights_sha256, settings)
        said = []
        if dtype != own:
            said.append(
                f"it was trained on features in {dtype}, and they are {own} here"
            )
        for rules, words in _rules(extractor, input_name, template):
            yield (
                set_fingerprint(digest, input_name, rules),
                "; ".join([*said, *([words] if words else [])]),
            )


def _rules(
    extractor: AnyExtractor, input_name: str, template: Template
) -> Iterator[tuple[dict[str, Any], str]]:
    """By what rules a set may have been made, and how each differs, in words."""
    for medium, alignment, words in _media(extractor, input_name):
        yield rules_of(medium, alignment), words
    if extractor.extractor.kind == "visual":
        for rule, words in _face_rules(input_name, template):
            # Without the detector's weights nothing of it can have been trained on.
            with contextlib.suppress(WeightsError):
                for facts, older in _by_versions(rule):
                    said = "; ".join(filter(None, (words, older)))
                    yield rules_of("video", None, facts), said


def _by_versions(rule: FaceRule) -> Iterator[tuple[dict[str, Any], str]]:
    """What decides crops by a rule, by this detection and by earlier ones, in words.

    Raises:
        WeightsError: If the detector's weights are needed, and not there.
    """
    facts = rule.facts()
    yield facts, ""
    if "detector" in facts:
        earlier = earlier_fingerprints(rule.weights, interval_s=rule.interval_s)
        for version, digest in earlier.items():
            yield (
                facts | {"detector": digest},
                f"it was trained on faces by version {version} of the detection, which "
                f"is {DETECTION_VERSION} here, so that crops and features differ "
                "slightly",
            )


def _face_rules(input_name: str, template: Template) -> Iterator[tuple[FaceRule, str]]:
    """How faces of videos may have been found, and how each differs, in words."""
    kind: CropKind = "aligned" if input_name.startswith("cropped_aligned") else "tight"
    for own in dict.fromkeys((None, template)):
        other = (
            "" if own == template else "it was trained on crops by ArcFace's template"
        )
        for rule, words in (
            (FaceRule(kind=kind, template=own), ""),
            (
                FaceRule(kind=kind, template=own, interval_s=0.0),
                "it was trained on faces that were looked for in every frame",
            ),
            (
                FaceRule(kind=kind, template=own, are_given=True),
                "it was trained on faces that were found elsewhere",
            ),
        ):
            yield rule, "; ".join(filter(None, (words, other)))


def _media(
    extractor: AnyExtractor, input_name: str
) -> Sequence[tuple[Medium, AlignmentRule | None, str]]:
    """From what a set may have been made, and how that differs from here, in words."""
    if extractor.extractor.kind == "audio":
        rule: AlignmentRule = "time"
        if input_name.endswith("-original"):
            rule = "original"
        return [("sound", rule, "")]
    return [
        (
            "pictures",
            None,
            "it was trained on crops that were there already, and faces are found "
            "anew here, so that crops may differ a little",
        ),
        ("video", None, ""),
    ]


def _refusal(head: TrainedHead, feature: CardFeatures) -> str:
    card: Card = head.card
    if card.data.synthetic:
        return (
            f"{head.directory} was trained on made features of {card.data.name}, which "
            f"no extractor gives, {feature.name} among them; expected a head that was "
            "trained on real ones: train on a store of features of avemo extract"
        )
    return (
        f"{head.directory} was trained on {feature.name} with fingerprint "
        f"{feature.fingerprint:.12}, and the extractor here gives another; expected "
        "the same weights, size of crops and version: name the weights that its "
        "features were extracted by, or extract these anew and train on them"
    )
