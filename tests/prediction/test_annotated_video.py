"""The annotated copy of an input: its frames, their times, its sound."""

import os
import pathlib
from fractions import Fraction

import av
import numpy as np
import pytest
from made.predicted import made_face, made_predicted
from made.videos import brightness, encode
from PIL import Image

from avemo_jax.media.video import open_video
from avemo_jax.prediction.annotated_video import write_annotated_video
from avemo_jax.prediction.overlay_patches import colour_of
from avemo_jax.prediction.predicted import Predicted
from avemo_jax.prediction.views import write_views

SIZE = (320, 240)
BOX = (150.0, 100.0, 60.0, 60.0)


def film(
    path: pathlib.Path, count: int = 30, sound: str | None = "aac"
) -> pathlib.Path:
    """A video of 25 frames a second, with as many seconds of noise."""
    random = np.random.default_rng(0)
    with av.open(os.fspath(path), "w") as out:
        video = out.add_stream("libx264", rate=25)
        video.width, video.height = SIZE
        track = None if sound is None else out.add_stream(sound, rate=16_000)
        for number in range(count):
            picture = np.full((*SIZE[::-1], 3), brightness(number), np.uint8)
            out.mux(video.encode(av.VideoFrame.from_ndarray(picture)))
        out.mux(video.encode(None))
        if track is not None:
            wave = random.integers(-9000, 9000, (1, 640 * count), np.int16)
            frame = av.AudioFrame.from_ndarray(wave, "s16", "mono")
            frame.sample_rate = 16_000
            out.mux(track.encode(frame))
            out.mux(track.encode(None))
    return path


def predicted_of(path: pathlib.Path, **changes) -> Predicted:
    """A face in all frames of a video but the first two, not found in some."""
    video = open_video(path)
    times = video.frame_times()
    first = changes.pop("first_frame", 1)
    count = changes.pop("count", times.num_frames - first + 1)
    boxes = np.tile(BOX, (count - 2, 1))
    boxes[5:8] = np.nan
    face = made_face(1, first + 2, first + count - 1, boxes=boxes)
    values = {
        "path": path,
        "times_s": times.times_s[first - 1 : first - 1 + count],
        "fps": times.fps,
        "width": video.width,
        "height": video.height,
        "first_frame": first,
    }
    return made_predicted(count, [face], **(values | changes))


def annotated(predicted: Predicted, folder: pathlib.Path) -> tuple[str, ...]:
    folder.mkdir(exist_ok=True)
    return write_views(predicted, folder, ["video", "picture"])


def sound_of(path: pathlib.Path) -> list[bytes]:
    with av.open(os.fspath(path)) as container:
        return [
            bytes(packet)
            for packet in container.demux(container.streams.audio[0])
            if packet.size
        ]


def has_box(picture: np.ndarray) -> bool:
    """Whether the left side of the box is drawn."""
    line = picture[100:160, 148:150].astype(int)
    return bool((abs(line - colour_of(1)).max(axis=-1) < 60).mean() > 0.3)


def test_frames_times_and_sound_are_those_of_the_video(tmp_path):
    path = film(tmp_path / "film.mp4")
    assert annotated(predicted_of(path), tmp_path / "out") == ()
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["annotated.mp4"]
    found = open_video(tmp_path / "out" / "annotated.mp4")
    times, before = found.frame_times(), open_video(path).frame_times()
    assert np.array_equal(times.times_s, before.times_s)
    assert times.losses == ()
    pictures = list(found.pictures())
    assert [has_box(picture) for picture in pictures] == [False, False] + [True] * 28
    for number, picture in enumerate(pictures):  # inside of the box nothing is drawn
        assert abs(picture[120:140, 170:190].mean() - brightness(number)) < 3
    assert sound_of(tmp_path / "out" / "annotated.mp4") == sound_of(path)


def test_a_part_begins_at_0_with_its_sound(tmp_path):
    path = film(tmp_path / "film.mp4", 50)
    predicted = predicted_of(path, first_frame=21, count=20, settings={"end_s": 1.6})
    annotated(predicted, tmp_path / "out")
    found = open_video(tmp_path / "out" / "annotated.mp4")
    assert found.frame_times().times_s.tolist() == pytest.approx(np.arange(20) / 25)
    for number, picture in enumerate(found.pictures()):
        assert abs(picture[120:140, 170:190].mean() - brightness(20 + number)) < 3
    assert found.sound_s == pytest.approx(0.8, abs=0.07)


@pytest.mark.parametrize("ending", ["mkv", "avi"])
def test_a_varying_rate_without_sound(ending, tmp_path):
    stamps = [0, 40, 120, 160, 480, 520, 560]
    base = {"avi": 25}.get(ending, 1000)
    ticks = [stamp * base // 1000 for stamp in stamps]
    path = encode(
        tmp_path / f"film.{ending}", "mpeg4", stamps=ticks, ticks=base, size=SIZE
    )
    assert annotated(predicted_of(path), tmp_path / "out") == ()
    found = open_video(tmp_path / "out" / "annotated.mp4")
    assert found.num_sound_tracks == 0
    assert found.frame_times().times_s.tolist() == pytest.approx(
        [stamp / 1000 for stamp in stamps]
    )


def test_turned_and_odd_videos_are_upright_and_even(tmp_path):
    path = encode(
        tmp_path / "film.mp4",
        "libx264",
        6,
        size=(240, 320),
        turned={"degrees": 90},
    )
    predicted = predicted_of(path)
    assert (predicted.width, predicted.height) == SIZE
    assert annotated(predicted, tmp_path / "out") == ()
    found = open_video(tmp_path / "out" / "annotated.mp4")
    assert (found.width, found.height) == SIZE
    last = list(found.pictures())[-1]
    assert last.shape == (240, 320, 3)
    assert has_box(last)
    odd = encode(tmp_path / "odd.mkv", "ffv1", 3, size=(321, 241))
    (note,) = annotated(predicted_of(odd), tmp_path / "odd")
    assert note.startswith("annotated video: 321 x 241 pixels made even")


def test_sound_that_mp4_has_not_is_encoded(tmp_path):
    path = film(tmp_path / "film.mkv", sound="pcm_s16le")
    (note,) = annotated(predicted_of(path), tmp_path / "out")
    assert "sound encoded as AAC" in note
    found = open_video(tmp_path / "out" / "annotated.mp4")
    assert found.sound_s == pytest.approx(1.2, abs=0.07)


def test_sound_that_cannot_be_decoded_is_left_out(tmp_path):
    path = film(tmp_path / "film.mkv", sound="mp2")
    data = path.read_bytes()
    for packet in sound_of(path):
        data = data.replace(packet, bytes(len(packet)))
    path.write_bytes(data)
    (note,) = annotated(predicted_of(path), tmp_path / "out")
    assert note.startswith("annotated video: without sound: ")
    assert "cannot be decoded" in note
    found = open_video(tmp_path / "out" / "annotated.mp4")
    assert (found.num_sound_tracks, found.frame_times().num_frames) == (0, 30)


def test_pictures_become_a_picture_or_a_video(tmp_path):
    files = []
    for number in range(4):
        files.append(tmp_path / f"{number}.png")
        picture = np.full((*SIZE[::-1], 3), brightness(number), np.uint8)
        Image.fromarray(picture).save(files[-1])
    size = {"width": SIZE[0], "height": SIZE[1]}
    face = made_face(1, 1, 1, boxes=np.array([BOX]))
    image = made_predicted(
        1,
        [face],
        path=files[0],
        files=(files[0],),
        fps=0.0,
        times_s=np.zeros(1),
        **size,
    )
    assert annotated(image, tmp_path / "image") == ()
    assert [p.name for p in (tmp_path / "image").iterdir()] == ["annotated.png"]
    with Image.open(tmp_path / "image" / "annotated.png") as picture:
        assert has_box(np.asarray(picture))
    sequence = made_predicted(
        4,
        path=tmp_path,
        files=tuple(files),
        fps=12.5,
        times_s=np.arange(4) / 12.5,
        **size,
    )
    assert annotated(sequence, tmp_path / "sequence") == ()
    found = open_video(tmp_path / "sequence" / "annotated.mp4")
    assert found.frame_times().times_s.tolist() == pytest.approx(np.arange(4) / 12.5)
    assert found.tick_s is not None
    assert Fraction(2, 25) % found.tick_s == 0


def test_an_input_that_has_changed_or_is_gone(tmp_path):
    path = film(tmp_path / "film.mp4", sound=None)
    predicted = predicted_of(path)
    film(path, 20, sound=None)
    with pytest.raises(ValueError, match=r"20 pictures, 30 when it was predicted"):
        annotated(predicted, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
    encode(path, "libx264", 30, size=(64, 48))
    with pytest.raises(ValueError, match="64 x 48 pixels, 320 x 240 when it was"):
        annotated(predicted, tmp_path / "out")
    path.unlink()
    with pytest.raises(ValueError, match="no such file"):
        annotated(predicted, tmp_path / "out")


def test_progress_is_shown_where_asked_for(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("avemo_jax.runtime.progress.LINE_EVERY_S", 0.0)
    predicted = predicted_of(film(tmp_path / "film.mp4", 8, sound=None))
    write_annotated_video(predicted, tmp_path / "a.mp4", True)
    assert "annotate interview: " in capsys.readouterr().err
    write_annotated_video(predicted, tmp_path / "a.mp4", False)
    assert capsys.readouterr().err == ""
