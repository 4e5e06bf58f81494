from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made.trees import write_video
from PIL import Image

from avemo_jax.extraction import on_beam
from avemo_jax.extraction.extractor_choice import ExtractorChoice
from avemo_jax.extraction.faces import FaceJob
from avemo_jax.extraction.flag_values import settings_of
from avemo_jax.extraction.flags import parser
from avemo_jax.extraction.frame_times import KeptFrameTimes
from avemo_jax.extraction.image_decoding import Decoders
from avemo_jax.extraction.outcomes import Outcomes, TooManyFailuresError, VideoOutcome
from avemo_jax.extraction.settings import Settings
from avemo_jax.extraction.shards import shard_of
from avemo_jax.media.video import VideoError, open_video

# --- shards

NAMES = st.text("abcé 1", min_size=1, max_size=4)
SIZES = st.dictionaries(NAMES, st.integers(0, 1000))


@given(SIZES, st.integers(1, 12))
def test_each_name_is_in_one_part(sizes, parts):
    shares = [shard_of(sizes, num_shards=parts, shard_index=i) for i in range(parts)]
    assert sorted(name for names in shares for name in names) == sorted(sizes)
    assert all(names == sorted(names) for names in shares)
    turned = dict(reversed(sizes.items()))
    again = [shard_of(turned, num_shards=parts, shard_index=i) for i in range(parts)]
    assert again == shares


@given(SIZES, st.integers(1, 6))
def test_parts_are_balanced(sizes, parts):
    loads = [
        sum(sizes[n] for n in shard_of(sizes, num_shards=parts, shard_index=i))
        for i in range(parts)
    ]
    largest = max(sizes.values(), default=0)
    assert max(loads) - min(loads) <= largest
    assert max(loads) <= max(largest, 4 / 3 * sum(sizes.values()) / parts + largest / 3)


def test_empty_videos_are_dealt_out_too():
    sizes = dict.fromkeys("abcdef", 0)
    lengths = [len(shard_of(sizes, num_shards=3, shard_index=i)) for i in range(3)]
    assert lengths == [2, 2, 2]


@pytest.mark.parametrize(("parts", "index"), [(0, 0), (2, 2), (2, -1)])
def test_no_such_part(parts, index):
    told = f"--shard-index {index} with --num-shards {parts}; expected 0 to"
    with pytest.raises(ValueError, match=told):
        shard_of({}, num_shards=parts, shard_index=index)


# --- decoding


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Paths and their pictures; the 7th of ten is no picture."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    paths, arrays = [], []
    for number in range(1, 101):
        path = folder / f"{number:05d}.png"
        array = rng.integers(0, 256, (8, 9, 3), dtype=np.uint8)
        if number % 10 == 7:
            path.write_text("no picture")
        else:
            Image.fromarray(array).save(path)
        paths.append(path)
        arrays.append(array)
    return paths, arrays


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_pictures_come_in_order_with_their_tags(pictures, kind):
    paths, arrays = pictures
    with Decoders(2, kind) as decoders:
        found = list(decoders.decode(enumerate(paths)))
    assert [tag for tag, _ in found] == list(range(100))
    for tag, decoded in found:
        if tag % 10 == 6:
            assert decoded.startswith(f"{paths[tag].name}: no picture")
        else:
            np.testing.assert_array_equal(decoded, arrays[tag])


def test_paths_are_read_a_little_ahead(pictures):
    paths, _ = pictures
    read = []

    def endless():
        while True:
            read.append(None)
            yield len(read), paths[0]

    with Decoders(1) as decoders:
        decoded = decoders.decode(endless())
        for _ in range(1000):
            next(decoded)
        assert len(read) <= 1000 + 32 * 4
        decoded.close()


# --- outcomes


def test_failures_are_on_disk_at_once_and_ordered_in_the_end(tmp_path):
    path = tmp_path / "failures.jsonl"
    path.write_text("of an earlier run\n")
    outcomes = Outcomes(path)
    outcomes.add(VideoOutcome("s", "ü", rows=3, failed=((2, "no picture"),)))
    assert path.read_text("utf-8") == (
        '{"feature_set": "s", "video": "ü", "frame": 2, "reason": "no picture"}\n'
    )
    outcomes.add(VideoOutcome("s", "a", error="no such file"))
    outcomes.add(VideoOutcome("s", "b", rows=1, notes=("no sound track",)))
    outcomes.finish()
    assert outcomes.failures == 2
    first, second = path.read_text("utf-8").splitlines()
    assert '"video": "a", "frame": null' in first
    assert '"frame": 2' in second


def test_too_many_failures_stop_the_run(tmp_path):
    outcomes = Outcomes(tmp_path / "failures.jsonl", max_failures=2)
    outcomes.add(VideoOutcome("s", "a", failed=((1, "x"), (2, "x"))))
    with pytest.raises(TooManyFailuresError, match="3 videos or frames failed"):
        outcomes.add(VideoOutcome("s", "b", error="y"))
    assert len(outcomes.path.read_text().splitlines()) == 3


def test_none_may_fail(tmp_path):
    outcomes = Outcomes(tmp_path / "failures.jsonl", max_failures=0)
    outcomes.add(VideoOutcome("s", "a", rows=4))
    with pytest.raises(TooManyFailuresError, match="expected 0 at most"):
        outcomes.add(VideoOutcome("s", "b", error="y"))


# --- frame times


def test_frame_times_are_decoded_ahead_and_kept(tmp_path):
    videos = {}
    for number in range(6):
        videos[f"v{number}"] = tmp_path / f"v{number}.mp4"
        write_video(videos[f"v{number}"], 5 + number, sound=False)
    videos["bad"] = tmp_path / "bad.mp4"
    videos["bad"].write_text("no video")
    kept = KeptFrameTimes(tmp_path / "features")
    assert not any(kept.stands(video, path) for video, path in videos.items())
    with kept.ahead(videos, workers=2):
        for number in (5, 3, 0):
            path = videos[f"v{number}"]
            assert kept.of(f"v{number}", path).num_frames == 5 + number
        with pytest.raises(VideoError, match=r"bad\.mp4"):
            kept.of("bad", videos["bad"])
    again = KeptFrameTimes(tmp_path / "features")
    assert again.stands("v5", videos["v5"])
    np.testing.assert_allclose(again.of("v5", videos["v5"]).times_s, np.arange(10) / 25)
    write_video(videos["v5"], 30, sound=False)
    assert not again.stands("v5", videos["v5"])
    assert again.of("v5", videos["v5"]).num_frames == 30
    damaged = tmp_path / "features/.frame_times/v5.npz"
    damaged.write_bytes(b"damaged")
    assert again.of("v5", videos["v5"]).num_frames == 30
    np.savez(damaged, times_s=np.zeros(3), facts=np.array('{"fps": 25}'))
    assert not again.stands("v5", videos["v5"])
    assert open_video(videos["v5"]).decoding_rate() > 0


# --- on Beam


def test_workers_on_beam_decode_as_the_flags_say(monkeypatch, tmp_path):
    used: list[Settings] = []

    def outcomes_of(extractor, feature_set, jobs, features, settings):
        used.append(settings)
        return [VideoOutcome("set", job.video) for job in jobs]

    monkeypatch.setattr(on_beam, "outcomes_of", outcomes_of)
    monkeypatch.setattr(
        on_beam, "_loaded", lambda *_: (None, SimpleNamespace(folder=tmp_path / "set"))
    )
    flags = ["--videos=v", "--out=o", "--decode-workers=3", "--decode-in=processes"]
    settings = settings_of(parser().parse_args(flags))
    choice = ExtractorChoice("enet_b0_8_va_mtl", None, "cropped-224")
    [line] = on_beam._lines_of(FaceJob("a", {}), choice, str(tmp_path), settings)
    assert on_beam._outcome(line) == VideoOutcome("set", "a")
    assert (used[0].workers, used[0].decode_in) == (3, "processes")
