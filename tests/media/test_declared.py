import numpy as np
import pytest
from made.trimmed import (
    BEEP_S,
    FPS,
    ended_early,
    flash_and_beep,
    shifted,
    without_lengths,
)
from made.trimmed import RATE_HZ as RATE

from avemo_jax.media.audio import open_sound
from avemo_jax.media.video import open_video


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return flash_and_beep(tmp_path_factory.mktemp("whole") / "a.mp4")


def seen_and_heard(path) -> tuple[float, float]:
    """Seconds at which the flash is shown and the beep begins; nothing is missing."""
    video, sound = open_video(path), open_sound(path)
    times = video.frame_times()
    pictures = np.array([picture.mean() for picture in video.pictures()])
    samples = np.concatenate(list(sound.blocks(RATE)))[:, 0]
    assert times.losses == video.notes == sound.losses == ()
    assert len(pictures) == times.num_frames == video.declared_frames
    assert video.declared_s == pytest.approx(times.num_frames / FPS, abs=1 / FPS)
    assert len(samples) / RATE == pytest.approx(sound.declared_s, abs=0.1)
    beep = np.flatnonzero(np.abs(samples) > 0.3)[0] / RATE
    return float(times.times_s[pictures.argmax()]), float(beep)


@pytest.mark.parametrize("ending", ["mp4", "mov", "m4v"])
@pytest.mark.parametrize("start_s", [0.2, 0.48, 1.0])
def test_a_trimmed_start_is_not_missing(ending, start_s, whole, tmp_path):
    path = shifted(whole, tmp_path / f"a.{ending}", pictures_s=start_s, sound_s=start_s)
    flash, beep = seen_and_heard(path)
    assert flash == pytest.approx(BEEP_S - start_s, abs=1e-6)
    assert beep == pytest.approx(BEEP_S - start_s, abs=2e-3)
    assert open_video(path).declared_frames == 50 - round(start_s * FPS)


def test_a_start_within_a_picture_is_off_by_less_than_a_picture(whole, tmp_path):
    """Libav shows the first whole picture at once."""
    path = shifted(whole, tmp_path / "a.mp4", pictures_s=0.5, sound_s=0.5)
    flash, beep = seen_and_heard(path)
    assert abs(flash - beep) < 1 / FPS
    assert beep == pytest.approx(BEEP_S - 0.5, abs=2e-3)


@pytest.mark.parametrize("shown_s", [(1.4, 1.4), (1.6, 2.0), (2.0, 1.6), (1.48, 1.3)])
def test_a_trimmed_end_is_not_missing(shown_s, whole, tmp_path):
    pictures_s, sound_s = shown_s
    path = ended_early(
        whole, tmp_path / "a.mp4", pictures_s=pictures_s, sound_s=sound_s
    )
    flash, beep = seen_and_heard(path)
    assert flash == pytest.approx(BEEP_S, abs=1e-6)
    assert beep == pytest.approx(BEEP_S, abs=2e-3)
    assert open_video(path).declared_frames == round(pictures_s * FPS)
    assert open_sound(path).declared_s == pytest.approx(sound_s, abs=2e-3)


SHIFTS = [(0.0, 0.4), (0.0, -0.4), (-0.4, 0.0)]
# Only an edit list can hide pictures, so that all that are shown can be decoded.
STARTS = [(end, shift) for end in ("mp4", "mov", "mkv", "ts") for shift in SHIFTS]


@pytest.mark.parametrize(
    ("ending", "shift_s"), [*STARTS, ("mp4", (0.4, 0.0)), ("mov", (0.4, 0.0))]
)
def test_tracks_that_start_late_or_early(ending, shift_s, whole, tmp_path):
    """Times are those from the first picture, on the clock that both tracks share."""
    pictures_s, sound_s = shift_s
    path = shifted(
        whole, tmp_path / f"a.{ending}", pictures_s=pictures_s, sound_s=sound_s
    )
    video, sound = open_video(path), open_sound(path)
    times = video.frame_times()
    pictures = np.array([picture.mean() for picture in video.pictures()])
    samples = np.concatenate(list(sound.blocks(RATE)))[:, 0]
    assert times.losses == video.notes == sound.losses == ()
    flash = times.times_s[pictures.argmax()]
    beep = np.flatnonzero(np.abs(samples) > 0.3)[0] / RATE
    # What an edit list hides, or the pictures' start, is where time begins.
    hidden_s = max(pictures_s, 0)
    assert flash == pytest.approx(BEEP_S - hidden_s, abs=2e-3)
    assert beep == pytest.approx(BEEP_S - sound_s + min(pictures_s, 0), abs=3e-3)


@pytest.mark.parametrize("lengths", [(2.0, 4.0), (4.0, 2.0), (2.0, 2.0)])
@pytest.mark.parametrize(
    ("ending", "codecs"),
    [
        ("mkv", ("libx264", "aac")),
        ("flv", ("libx264", "aac")),
        ("avi", ("mpeg4", "mp2")),
    ],
)
def test_a_length_of_all_tracks_is_that_of_the_longest(
    ending, codecs, lengths, tmp_path
):
    pictures_s, sound_s = lengths
    path = flash_and_beep(
        tmp_path / f"a.{ending}", codecs, pictures_s=pictures_s, sound_s=sound_s
    )
    if ending == "mkv":
        without_lengths(path)
    video, sound = open_video(path), open_sound(path)
    times = video.frame_times()
    assert times.num_frames == len(list(video.pictures())) == pictures_s * FPS
    heard_s = sum(map(len, sound.blocks(RATE))) / RATE
    assert heard_s == pytest.approx(sound_s, abs=0.1)
    assert times.losses == video.notes == sound.losses == ()


@pytest.mark.parametrize("lengths", [(2.0, 4.0), (4.0, 2.0), (2.0, 2.0)])
@pytest.mark.parametrize("ending", ["mkv", "flv"])
def test_an_early_end_of_all_tracks_is_a_loss_of_each(ending, lengths, tmp_path):
    pictures_s, sound_s = lengths
    path = flash_and_beep(
        tmp_path / f"a.{ending}", pictures_s=pictures_s, sound_s=sound_s
    )
    if ending == "mkv":
        without_lengths(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(0.5 * len(data))])
    video, sound = open_video(path), open_sound(path)
    for _ in sound.blocks(RATE):
        pass
    of_times = video.frame_times().losses
    for _ in video.pictures():
        pass
    for losses in (of_times, video.notes, sound.losses):
        (note,) = [text for text in losses if "the file ends after" in text]
        assert "it is cut short or damaged" in note
        assert f"s where it declares {max(lengths):.1f}" in note


@pytest.mark.parametrize("kept", [0.4, 0.7])
def test_a_trimmed_file_that_is_also_cut_is_missing_pictures(kept, tmp_path):
    """Hidden pictures are no excuse for those that are to be shown."""
    source = flash_and_beep(tmp_path / "a.mp4", form={"movflags": "faststart"})
    path = tmp_path / "b.mp4"
    ended_early(source, path, pictures_s=1.6, sound_s=1.6)
    data = path.read_bytes()
    start = data.index(b"mdat")
    path.write_bytes(data[: start + int(kept * (len(data) - start))])
    video = open_video(path)
    times = video.frame_times()
    assert times.num_frames < 39
    told = f"{times.num_frames} pictures where the file declares 40; it is cut short"
    assert any(note.startswith(told) for note in times.losses)
    list(video.pictures())
    assert any(note.startswith(told) for note in video.notes)
