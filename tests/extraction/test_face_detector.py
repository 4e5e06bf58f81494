"""The face detector with its weights, and the facts that files keep of it."""

import hashlib
import json
import shutil

import numpy as np
import pytest
from made.weights import made_detector, made_weights, small_networks

from avemo_jax.convert.conversion import convert
from avemo_jax.embed.weights import WeightsError, default_weights_path, write_weights
from avemo_jax.extraction.face_detector import (
    DETECTION_VERSION,
    detector_facts,
    earlier_fingerprints,
    load_face_detector,
)
from avemo_jax.faces.keyframes import INTERVAL_S
from avemo_jax.media.video import open_video


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("AVEMO_CACHE", str(tmp_path / "cache"))


def test_weights_that_are_not_there(cache, tmp_path):
    message = r"yunet_n.safetensors: no such file; expected .*'avemo fetch yunet_n'"
    with pytest.raises(WeightsError, match=message):
        load_face_detector()
    with pytest.raises(WeightsError, match=message):
        detector_facts()
    with pytest.raises(WeightsError, match=r"mine.*: no such file"):
        load_face_detector(tmp_path / "mine.safetensors")


def test_fetched_weights_are_taken(cache, tmp_path):
    path = made_detector(tmp_path)
    default = default_weights_path("yunet_n")
    default.parent.mkdir(parents=True)
    shutil.copy(path, default)
    assert detector_facts() == detector_facts(path)
    load_face_detector()


def test_weights_of_another_network(tmp_path):
    with small_networks():
        path = made_weights(tmp_path, "enet_b0_8_va_mtl")
    with pytest.raises(WeightsError, match="of 'enet_b0_8_va_mtl'; expected yunet_n"):
        load_face_detector(path)
    path = tmp_path / "narrow.safetensors"
    write_weights(path, {"x": np.zeros(1)}, {"extractor": "yunet_n"})
    with pytest.raises(WeightsError, match=r"narrow.*'avemo fetch yunet_n --overwrite"):
        load_face_detector(path)
    whole = made_detector(tmp_path)
    whole.write_bytes(whole.read_bytes()[:-100])
    with pytest.raises(WeightsError, match=whole.name):
        load_face_detector(whole)


def test_facts_tell_weights_and_settings(tmp_path):
    first, second = made_detector(tmp_path, 0), made_detector(tmp_path, 1)
    facts = detector_facts(first)
    assert json.loads(json.dumps(facts)) == facts
    assert facts == detector_facts(first, interval_s=INTERVAL_S)
    assert facts["name"] == "yunet_n"
    others = (detector_facts(second), detector_facts(first, interval_s=0.0))
    prints = {one["fingerprint"] for one in (facts, *others)}
    assert len(prints) == 3
    assert facts["weights_sha256"] != others[0]["weights_sha256"]
    assert facts["settings"] != others[1]["settings"]


def test_earlier_versions_are_known_by_what_decided_them(tmp_path):
    path = made_detector(tmp_path)
    earlier = earlier_fingerprints(path, interval_s=0.5)
    assert list(earlier) == [*range(1, DETECTION_VERSION)]
    facts = detector_facts(path, interval_s=0.5)
    assert len({facts.pop("fingerprint"), *earlier.values()}) == DETECTION_VERSION

    def digest(**others) -> str:
        text = json.dumps(facts | others, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    # Up to the fourth version one box could not be claimed by two faces, and the first
    # looked at small faces once only.
    settings = dict(facts["settings"])
    for name in ("unsure_gap_s", "rival_share"):
        del settings[name]
    assert earlier[4] == digest(settings=settings, version=4)
    first = {
        name: value
        for name, value in settings.items()
        if not name.startswith(("patch", "sharp"))
    }
    assert earlier[1] == digest(settings=first, version=1)


@pytest.mark.slow
def test_the_published_weights_find_faces(shared_data, tmp_path):
    path = tmp_path / "yunet_n.safetensors"
    convert("yunet_n", shared_data / "weights" / "yunet_n.pth", path)
    root = shared_data / "affwild2_mini"
    file = sorted(root.glob("videos/*/*"))[0]
    picture = next(iter(open_video(file).pictures()))
    [faces] = load_face_detector(path)([picture])
    assert faces.scores[0] > 0.8
