"""Frame times that are kept: those of another file, or damaged ones, are not taken."""

import json

import numpy as np
import pytest
from made.trees import write_video

from avemo_jax.extraction.frame_times import FOLDER, KeptFrameTimes

DAMAGES = {
    "a list": lambda facts: [1],
    "nothing": lambda facts: {},
    "a text for a number": lambda facts: {**facts, "fps": "25"},
    "notes of numbers": lambda facts: {**facts, "notes": [1]},
    "of another file": lambda facts: {**facts, "digest": "0"},
    "unknown facts": lambda facts: {**facts, "more": 1},
}


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("videos") / "v.mp4"
    write_video(path, 12)
    return path


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_facts_that_do_not_fit_are_decoded_again(video, tmp_path, damage):
    kept = KeptFrameTimes(tmp_path)
    times = kept.of("v", video)
    assert kept.stands("v", video)
    file = tmp_path / FOLDER / "v.npz"
    with np.load(file) as stored:
        facts = json.loads(str(stored["facts"]))
    text = json.dumps(damage(facts))
    np.savez(file, times_s=times.times_s, facts=np.array(text))
    assert not kept.stands("v", video)
    again = kept.of("v", video)
    np.testing.assert_array_equal(again.times_s, times.times_s)
    assert kept.stands("v", video)


def test_times_that_are_no_times(video, tmp_path):
    kept = KeptFrameTimes(tmp_path)
    times = kept.of("v", video)
    file = tmp_path / FOLDER / "v.npz"
    with np.load(file) as stored:
        facts = stored["facts"]
    for wrong in (times.times_s[:, None], times.times_s.astype(np.float32)):
        np.savez(file, times_s=wrong, facts=facts)
        assert not kept.stands("v", video)
    np.savez(file, facts=facts)
    assert not kept.stands("v", video)
    file.write_bytes(b"[" * 1000)
    assert not kept.stands("v", video)
