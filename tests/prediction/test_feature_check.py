"""Heads and the extractors that their features were made by."""

import pathlib

import pytest
from made.cards import made_card
from made.untrained_heads import untrained_head
from made.weights import made_detector

from avemo_jax.embed import load_extractor
from avemo_jax.extraction import video_faces
from avemo_jax.extraction.face_detector import DETECTION_VERSION, earlier_fingerprints
from avemo_jax.extraction.feature_set import ExtractedSet
from avemo_jax.extraction.video_faces import FaceRule
from avemo_jax.faces.crops import ARCFACE_TEMPLATE
from avemo_jax.models.card import CardData
from avemo_jax.prediction.feature_check import check_features
from avemo_jax.prediction.models import load_models

HOG, SOUND = "face_hog@cropped_aligned-112", "acoustic@1.5s"


@pytest.fixture(scope="module")
def extractors():
    return {
        HOG: load_extractor("face_hog", size_px=112),
        SOUND: load_extractor("acoustic", hop_s=None, context_s=None),
    }


def fingerprint_of(extractor, name: str, medium, alignment=None, faces=None) -> str:
    made = ExtractedSet.of(
        extractor,
        pathlib.Path("features"),
        input_name=name.partition("@")[2],
        medium=medium,
        alignment=alignment,
        faces=faces,
    )
    assert made.name == name
    return made.meta["fingerprint"]


def model_of(folder, *fingerprints: str, **card):
    sets = (
        (HOG, "visual", 1984, fingerprints[0]),
        (SOUND, "audio", 40, fingerprints[1]),
    )
    real = {"data": CardData("a store", synthetic=False, fingerprint="f")}
    untrained_head(folder, "VA", "linear", sets, **(real | card))
    return load_models([str(folder)])


def test_the_same_extractors_are_told_whatever_the_crops(extractors, tmp_path):
    sound = fingerprint_of(extractors[SOUND], SOUND, "sound", "time")
    official = fingerprint_of(extractors[HOG], HOG, "pictures")
    model = model_of(tmp_path / "official", official, sound)
    (note,) = check_features(model, extractors)
    assert "crops that were there already" in note
    own = fingerprint_of(extractors[HOG], HOG, "video")
    assert check_features(model_of(tmp_path / "own", own, sound), extractors) == ()
    # Without sound its extractor is not loaded.
    model = model_of(tmp_path / "unheard", own, "another")
    assert check_features(model, {HOG: extractors[HOG]}) == ()
    with pytest.raises(ValueError, match=r"acoustic@1\.5s with fingerprint another"):
        check_features(model, extractors)


@pytest.mark.slow
def test_faces_of_videos_are_known_by_how_they_were_found(
    extractors, tmp_path, monkeypatch
):
    def facts(weights, *, interval_s):
        return {"fingerprint": f"{weights}, {interval_s}"}

    monkeypatch.setattr(video_faces, "detector_facts", facts)
    sound = fingerprint_of(extractors[SOUND], SOUND, "sound", "time")
    for rule, said in (
        (FaceRule("all", min_face_px=5), []),
        (FaceRule(interval_s=0.0), ["in every frame"]),
        (FaceRule(are_given=True), ["found elsewhere"]),
    ):
        own = fingerprint_of(extractors[HOG], HOG, "video", faces=rule.facts())
        name = f"{rule.interval_s:g}-{rule.are_given}"
        notes = check_features(model_of(tmp_path / name, own, sound), extractors)
        assert len(notes) == len(said)
        assert all(words in note for words, note in zip(said, notes, strict=True))
    shifted = tuple((x + 1.0, y) for x, y in ARCFACE_TEMPLATE.tolist())
    facts_of = FaceRule(template=shifted).facts()
    own = fingerprint_of(extractors[HOG], HOG, "video", faces=facts_of)
    model = model_of(tmp_path / "template", own, sound)
    assert check_features(model, extractors, shifted) == ()
    with pytest.raises(ValueError, match="the extractor here gives another"):
        check_features(model, extractors)
    own = fingerprint_of(extractors[HOG], HOG, "video", faces=FaceRule().facts())
    model = model_of(tmp_path / "arcface", own, sound)
    (note,) = check_features(model, extractors, shifted)
    assert "crops by ArcFace's template" in note


def test_faces_by_an_earlier_version_of_the_detection(
    extractors, tmp_path, monkeypatch
):
    monkeypatch.setenv("AVEMO_CACHE", str(tmp_path))
    made_detector(tmp_path / "weights").rename(tmp_path / "weights/yunet_n.safetensors")
    sound = fingerprint_of(extractors[SOUND], SOUND, "sound", "time")

    def notes_of(rule: FaceRule, **others) -> tuple[str, ...]:
        facts = rule.facts() | others
        own = fingerprint_of(extractors[HOG], HOG, "video", faces=facts)
        name = own[:8]
        return check_features(model_of(tmp_path / name, own, sound), extractors)

    rule = FaceRule(interval_s=0.0)
    earlier = earlier_fingerprints(interval_s=0.0)
    assert DETECTION_VERSION - 1 in earlier
    for version, digest in earlier.items():
        (note,) = notes_of(rule, detector=digest)
        assert "in every frame; it was trained on faces by version" in note
        assert (
            f"version {version} of the detection, which is {DETECTION_VERSION}" in note
        )
    older = earlier_fingerprints()[1]
    for others in (
        {"detector": "of other weights"},
        {"detector": older, "crop": "tight"},
        {"detector": older, "template": [[1.0, 1.0]] * 5},
    ):
        with pytest.raises(ValueError, match="the extractor here gives another"):
            notes_of(FaceRule(), **others)


def test_a_converted_head_says_that_its_features_are_unknown(extractors, tmp_path):
    model = model_of(tmp_path / "head", "unknown", "unknown")
    (note,) = check_features(model, extractors)
    assert "not known which weights" in note


def test_made_features_are_no_extractors(extractors, tmp_path):
    data = made_card().data
    assert data.synthetic
    model = model_of(tmp_path / "head", "demo", "demo", data=data)
    assert any("made data" in note for note in model.notes)
    with pytest.raises(ValueError, match="trained on made features of made data"):
        check_features(model, extractors)
