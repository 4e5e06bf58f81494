"""Faces that are embedded while they are searched, against another decoding."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest
from made.colour_network import colour_network
from made.coloured_faces import NUM_FRAMES, write_film

import avemo_jax
from avemo_jax.media.video import VideoFile
from avemo_jax.prediction import many_inputs


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    with colour_network(tmp_path_factory.mktemp("network")) as name:
        yield name


def shows(number: int) -> dict[str, tuple[int, int]]:
    """The blue face comes first and goes, for a short and for a long time."""
    shown = {}
    if number not in range(25, 30) and number not in range(36, 57):
        shown["blue"] = (200 - number, 150)
    if number > 5:
        shown["red"] = (10 + 2 * number, 40)
    return shown


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return write_film(tmp_path_factory.mktemp("films") / "film.mp4", shows)


@pytest.fixture
def decoded(monkeypatch) -> Iterator[list[int]]:
    """How many pictures each decoding gave."""
    counts: list[int] = []
    pictures = VideoFile.pictures

    def counted(self):
        counts.append(0)
        for picture in pictures(self):
            counts[-1] += 1
            yield picture

    monkeypatch.setattr(VideoFile, "pictures", counted)
    return counts


def in_two_decodings(monkeypatch, film, model, **asked):
    """The table as it is when all faces are found before the first is cut out."""
    with monkeypatch.context() as patch:
        patch.setattr(many_inputs, "_search_job", lambda *_: None)
        return avemo_jax.predict(film, model=model, **asked)


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param({"every": 1}, marks=pytest.mark.slow),
        {"every": 4},
        pytest.param(
            {"every": 7, "start_s": 0.3, "end_s": 1.7}, marks=pytest.mark.slow
        ),
        pytest.param({"every": 100, "batch_size": 3}, marks=pytest.mark.release),
    ],
)
def test_one_decoding_gives_the_same_table(asked, film, model, decoded, monkeypatch):
    found = avemo_jax.predict(film, model=model, **asked)
    assert len(decoded) == 1
    expected = in_two_decodings(monkeypatch, film, model, **asked)
    assert len(decoded) == 3
    assert found.arrow.equals(expected.arrow)
    (one,), (other,) = found.inputs, expected.inputs
    assert len(one.faces) >= 2
    assert one.notes == other.notes


def test_some_faces_are_known_only_when_all_are_found(film, model, decoded):
    found = avemo_jax.predict(film, model=model, faces="largest")
    assert len(found.inputs[0].faces) == 1
    assert len(decoded) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "faces"),
    [
        ("later", "all"),
        pytest.param("later", "largest", marks=pytest.mark.release),
        pytest.param("fewer", "all", marks=pytest.mark.release),
        pytest.param("fewer", "largest", marks=pytest.mark.slow),
        pytest.param("more", "all", marks=pytest.mark.slow),
        pytest.param("more", "largest", marks=pytest.mark.release),
    ],
)
def test_packets_that_told_wrong_times_are_not_believed(
    change, faces, film, model, monkeypatch
):
    asked = {"every": 4, "faces": faces}
    expected = avemo_jax.predict(film, model=model, **asked)
    packet_times = VideoFile.packet_times

    def wrong(self):
        times = packet_times(self)
        assert times.num_frames == NUM_FRAMES
        shown_s = times.times_s
        if change == "later":
            shown_s = np.append(shown_s[:-1], shown_s[-1] + 0.01)
        elif change == "fewer":
            shown_s = shown_s[:-1]
        else:
            shown_s = np.append(shown_s, shown_s[-1] + 0.04)
        return dataclasses.replace(times, times_s=shown_s)

    monkeypatch.setattr(VideoFile, "packet_times", wrong)
    found = avemo_jax.predict(film, model=model, **asked)
    assert found.arrow.equals(expected.arrow)


@pytest.mark.slow
def test_where_other_frames_are_wanted_they_are_embedded(film, model, monkeypatch):
    expected = avemo_jax.predict(film, model=model, every=4)
    seen = many_inputs.SearchJob.took
    monkeypatch.setattr(
        many_inputs.SearchJob, "took", lambda *args: seen(*args) and False
    )
    found = avemo_jax.predict(film, model=model, every=4)
    assert found.arrow.equals(expected.arrow)
