"""The networks that a prediction runs, loaded once for all inputs."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax

from avemo_jax.embed import AnyExtractor, ImageExtractor
from avemo_jax.extraction.extractor_choice import check_weights
from avemo_jax.extraction.face_detector import detector_facts, load_face_detector
from avemo_jax.extraction.face_tracks import Detect
from avemo_jax.faces.published import DETECTOR
from avemo_jax.media.decoding import DECODING_VERSIONS
from avemo_jax.prediction.certainty_notes import check_calibrated
from avemo_jax.prediction.embedding import VisualSet
from avemo_jax.prediction.embedding_frames import check_rules
from avemo_jax.prediction.feature_check import check_features
from avemo_jax.prediction.input_faces import no_faces
from avemo_jax.prediction.model_table import PUBLISHED
from avemo_jax.prediction.models import PredictionModel, load_models
from avemo_jax.prediction.settings import PredictSettings, digest_of
from avemo_jax.prediction.sound_rows import SoundSet
from avemo_jax.prediction.weights_at_hand import fetch_missing
from avemo_jax.runtime.versions import VERSION


@dataclasses.dataclass(frozen=True, eq=False)
class Networks:
    """The model, the detector and the extractors, ready to run.

    Attributes:
        model: The model.
        detect: Finds the faces of pictures.
        visual: The feature sets of faces.
        sound: The feature sets of sound.
        facts: What decides their results, as plain values for ``run.json``.
    """

    model: PredictionModel
    detect: Detect
    visual: tuple[VisualSet, ...]
    sound: tuple[SoundSet, ...]
    facts: dict[str, Any]

    def fingerprint(self, settings: PredictSettings) -> str:
        """Digest of all that decides the tables of an input, beside the input."""
        return digest_of(self.facts | settings.as_json())


def load_networks(
    names: Sequence[str],
    settings: PredictSettings,
    *,
    tasks: Sequence[str] | None = None,
    batch_size: int | None = None,
    offline: bool = False,
    show_progress: bool = True,
) -> Networks:
    """The networks of models, on the devices; weights that are missing are fetched.

    Args:
        names: Names of published models or extractors, and folders of trained models.
        settings: What is asked for: faces that are given are not searched, and sound
            that is not used is not embedded.
        tasks: Names of the tasks that are wanted; None: all that the models have.
        batch_size: Faces that a network sees at once; None: as suits the device.
        offline: Fetch no weights.
        show_progress: Draw bars while weights are fetched.

    Raises:
        WeightsError: If weights are missing and cannot be fetched, or are damaged.
        ValueError: If a name is unknown, the models cannot give what is asked for, or a
            head was trained on the features of another network.
    """
    is_searched = settings.boxes is None

    def fetch(weights: Sequence[str]) -> None:
        fetch_missing(
            [*weights, *([DETECTOR.name] if is_searched else [])],
            sound=settings.audio != "none",
            offline=offline,
            show_progress=show_progress,
        )

    # All at once, so that one message names all that is missing.
    if published := [name for name in names if name in PUBLISHED]:
        fetch(published)
    model = load_models(names, tasks=tasks, sound=settings.audio != "none")
    _check_asked(model, settings)
    # Faces that are given may lack the points that crops are aligned by.
    is_searched = is_searched or _takes_aligned(model)
    fetch(model.needs_weights)
    wanted = [
        one for one in model.wanted if one.kind == "visual" or settings.audio != "none"
    ]
    choices = [one.choice(batch_size=batch_size) for one in wanted]
    check_weights(choices)
    kept = _with_features(model)
    visual, sound, facts = [], [], {}
    loaded: dict[str, AnyExtractor] = {}
    for one, choice in zip(wanted, choices, strict=True):
        extractor = loaded[one.name] = choice.load()
        facts[one.name] = {
            "weights_sha256": extractor.weights_sha256,
            "fingerprint": extractor.fingerprint,
        }
        if isinstance(extractor, ImageExtractor):
            assert one.crop is not None
            has = {"has_features": one.name in kept, "has_outputs": one.has_outputs}
            visual.append(VisualSet(one.name, extractor, one.crop, **has))
        else:
            assert choice.alignment is not None
            sound.append(SoundSet(one.name, extractor, choice.alignment))
    notes = check_features(model, loaded, settings.template)
    model = dataclasses.replace(model, notes=(*model.notes, *notes))
    detect: Detect = no_faces
    detector: dict[str, Any] | None = None
    if is_searched:
        detect = load_face_detector()
        detector = detector_facts(interval_s=settings.search.interval_s)
    return Networks(
        model,
        detect,
        tuple(visual),
        tuple(sound),
        {
            "version": VERSION,
            "models": list(model.names),
            "model_fingerprint": model.fingerprint,
            "tasks": [task.name for task in model.tasks],
            "extractors": facts,
            "detector": detector,
            "decoding": dict(DECODING_VERSIONS),
        },
    )


def _check_asked(model: PredictionModel, settings: PredictSettings) -> None:
    """Check that a model can give what is asked for, before it runs.

    Args:
        model: The model.
        settings: What is asked for.

    Raises:
        ValueError: If frames are to be chosen by a rule, smoothing is to be as
            trained, or probabilities are to be calibrated, and no model says how; or a
            template is given, and no model takes crops that are aligned by it.
    """
    if settings.template is not None and not _takes_aligned(model):
        raise ValueError(
            f"--template with {'+'.join(model.names)}, whose crops are tight; expected "
            "a model of aligned crops, since a template says where the points of a "
            "face come: leave --template out, or name another --model"
        )
    if settings.every == "adaptive":
        check_rules(model)
    if settings.calibrated:
        check_calibrated(model, settings.smooth)
    if settings.smooth == "as-trained" and model.own:
        raise ValueError(
            f"--smooth as-trained with {model.own[0].name}, for which no smoothing was "
            "chosen; expected a trained head: give seconds, or none"
        )


def _takes_aligned(model: PredictionModel) -> bool:
    """Whether any feature set is of crops that are aligned by five points."""
    return any(one.crop == "aligned" for one in model.wanted)


def _with_features(model: PredictionModel) -> set[str]:
    """Names of the feature sets whose vectors heads take."""
    return {
        name
        for heads in model.heads
        for part in (heads, heads.silent)
        if part is not None
        for name in part.features
    }


def device_text() -> str:
    """What the networks run on, in words."""
    devices = jax.local_devices()
    first = devices[0]
    if first.platform == "cpu":
        return "CPU"
    kind = f"{first.platform.upper()} ({first.device_kind})"
    return kind if len(devices) == 1 else f"{len(devices)} x {kind}"
