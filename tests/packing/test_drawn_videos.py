import hashlib

import numpy as np
import pytest

from avemo_jax.data.corpus.annotations import read_annotations
from avemo_jax.extraction.given_faces import read_given_faces
from avemo_jax.media.audio import open_sound
from avemo_jax.media.video import open_video
from avemo_jax.packing.demo.drawn_videos import FPS, write_drawn_videos


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    videos = write_drawn_videos(folder, count=2, num_validation=1, duration_s=2.0)
    return folder, videos


def test_videos_boxes_and_labels_are_of_the_same_frames(drawn):
    folder, videos = drawn
    corpus = {one.video: one for one in read_annotations(folder / "Annotations")}
    assert [video.path.stem for video in videos] == ["drawn1", "drawn2"]
    for video, split in zip(videos, ("train", "validation"), strict=True):
        opened = open_video(video.path)
        times = opened.frame_times()
        assert times.num_frames == 2 * FPS
        (face,) = read_given_faces(
            video.faces, times_s=times.times_s, size=(opened.height, opened.width)
        )
        assert face.frame.tolist() == list(range(1, 2 * FPS + 1))
        labels = corpus[video.path.stem]
        assert labels.splits["VA"] == split
        both = np.stack([video.valence, video.arousal], axis=1)
        np.testing.assert_allclose(labels.labels["VA"], both, atol=1e-4)


def test_the_face_is_in_its_box(drawn):
    _, (video, _) = drawn
    opened = open_video(video.path)
    (face,) = read_given_faces(
        video.faces,
        times_s=opened.frame_times().times_s,
        size=(opened.height, opened.width),
    )
    for picture, (left, top, width, height) in zip(
        opened.pictures(), face.boxes, strict=True
    ):
        wall = picture[2, 2].astype(int)
        # The chin is the lowest that differs from the wall, the cheeks the outermost.
        is_face = (np.abs(picture.astype(int) - wall) > 40).any(axis=2)
        y, x = np.nonzero(is_face)
        assert abs(x.min() - left) < 4
        assert abs(x.max() - left - width) < 4
        assert abs(y.max() - top - height) < 4


@pytest.mark.slow
def test_mouth_follows_valence_and_sound_follows_arousal(tmp_path):
    (video,) = write_drawn_videos(tmp_path, count=1, num_validation=0, duration_s=8.0)
    assert np.abs(video.valence).max() <= 1
    pictures = list(open_video(video.path).pictures())
    for number, is_smile in (
        (video.valence.argmax(), True),
        (video.valence.argmin(), False),
    ):
        assert abs(video.valence[number]) > 0.7
        red, green, _ = np.moveaxis(pictures[number].astype(int), 2, 0)
        y, x = np.nonzero(red - green > 80)
        edges = (x < x.min() + 8) | (x > x.max() - 8)
        middle = np.abs(x - (x.min() + x.max()) / 2) < 4
        assert (y[edges].mean() < y[middle].mean()) == is_smile  # y counts downwards
    samples = np.concatenate(list(open_sound(video.path).blocks(16_000))).mean(axis=1)
    frames = samples[: 16_000 * 8].reshape(8 * FPS, -1)
    loudness = np.log(np.sqrt((frames**2).mean(axis=1)) + 1e-4)
    assert np.corrcoef(loudness, video.arousal)[0, 1] > 0.9


@pytest.mark.slow
def test_the_same_arguments_give_the_same_files(drawn, tmp_path):
    folder, _ = drawn

    def digests(root):
        return {
            str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in root.rglob("*.*")
            if path.is_file()
        }

    write_drawn_videos(tmp_path / "a", count=2, num_validation=1, duration_s=2.0)
    assert digests(tmp_path / "a") == digests(folder)
    write_drawn_videos(
        tmp_path / "b", count=2, num_validation=1, seed=1, duration_s=1.0
    )
    assert not set(digests(tmp_path / "b").values()) & set(digests(folder).values())


@pytest.mark.parametrize(
    "wrong", [{"count": 0}, {"count": 2, "num_validation": 3}, {"duration_s": 0.0}]
)
def test_nothing_to_draw_is_refused(wrong, tmp_path):
    with pytest.raises(ValueError, match="expected one or more"):
        write_drawn_videos(tmp_path / "x", **{"num_validation": 0, **wrong})
    assert not (tmp_path / "x").exists()
