"""People's own videos: their faces, their sound, their labels, and a head of these."""

import functools
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from made.coloured_faces import ByColour, write_film
from made.trees import make_weights_dir

from avemo_jax.config.fields import base_config
from avemo_jax.convert import command as convert
from avemo_jax.data.store.store import open_store
from avemo_jax.experiment import run_experiment
from avemo_jax.extraction import command as extraction
from avemo_jax.extraction import extractor_choice, video_faces
from avemo_jax.packing import command as packing
from avemo_jax.tasks import registry

FRAMES = 60
HOG = "face_hog@cropped_aligned-32"


@pytest.fixture(autouse=True)
def no_tasks_of_others(monkeypatch):
    """Own tasks that other tests have registered are forgotten."""
    monkeypatch.setattr(registry, "_OWN", {})


def extract(videos: pathlib.Path, out: pathlib.Path, *flags: str) -> None:
    places = [f"--videos={videos}", f"--out={out}", "--quiet"]
    assert extraction.main([*places, "--compilation-cache=off", *flags]) == 0


def store_of(folder: pathlib.Path, split_of: dict[str, str], labels: list[str]):
    manifest = [f"{video},{split}" for video, split in split_of.items()]
    for name, lines in (
        ("manifest", ["video,split", *manifest]),
        ("labels", ["video,frame,mood", *labels]),
    ):
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
    files = [f"--{name}={folder / name}.csv" for name in ("manifest", "labels")]
    places = [f"--features={folder / 'features'}", f"--out={folder / 'store'}"]
    assert packing.main([*files, *places, "--quiet"]) == 0
    return open_store(folder / "store")


def trained(folder: pathlib.Path, sets: str):
    config = base_config("own", "mlp", sets)
    config.data.dir = str(folder / "store")
    config.workdir = str(folder / "run")
    config.num_epochs = 3
    config.learning_rate = 0.01
    config.evaluate.num_resamples = 20
    config.log.progress = config.log.tensorboard = False
    return run_experiment(config)


@pytest.fixture
def by_colour(monkeypatch):
    """Squares of two colours are found as faces."""
    monkeypatch.setattr(video_faces, "detector", lambda weights: ByColour())
    monkeypatch.setattr(
        video_faces, "detector_facts", lambda *_, **__: {"fingerprint": "by colour"}
    )
    cached = functools.cache(extractor_choice.load_extractor)
    monkeypatch.setattr(extractor_choice, "load_extractor", cached)


@pytest.mark.slow
def test_two_faces_of_each_video_are_named_and_share_its_sound(by_colour, tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    for name in ("a", "b", "c"):
        write_film(videos / f"{name}.mkv", sound_hz=200.0 * (1 + ord(name) - ord("a")))
    flags = ("--faces=2", "--visual=face_hog", "--size-px=32", "--audio=acoustic")
    extract(videos, tmp_path / "features", *flags)
    splits = {"a": "train", "b": "train", "c": "validation"}
    split_of = {f"{v}--face{i}": s for v, s in splits.items() for i in (1, 2)}
    labels = [
        f"{video},{frame},{'calm' if video.endswith('1') else 'keen'}"
        for video in split_of
        for frame in range(1, FRAMES + 1)
    ]
    store = store_of(tmp_path, split_of, labels)
    table = store.load_table("mood", "validation", [HOG, "acoustic"])
    assert table.videos == ("c--face1", "c--face2")
    assert table.source_videos == ("c", "c")
    assert len(table.frame) == 50 + 25
    assert table.has_audio.all()
    # One person, or recording, is on one side.
    dev = store.split_videos("mood", "dev")
    assert {video.partition("--")[0] for video in dev} in ({"a"}, {"b"})
    assert len(dev) == 2
    found = trained(tmp_path, "face_hog@cropped_aligned-32+acoustic")
    frames = found["metrics"]["smoothed"]["all_labelled"]["num_frames"]
    assert frames == 2 * FRAMES
    assert not found["joined"]["videos_without_audio"]


@pytest.mark.release
def test_real_videos_become_a_head_that_is_evaluated(shared_data, tmp_path):
    """With the real detector, and networks of random weights."""
    videos = shared_data / "affwild2_mini" / "videos"
    weights = make_weights_dir(tmp_path, ["enet_b0_8_va_mtl"])
    detector = shared_data / "weights" / "yunet_n.pth"
    out = tmp_path / "yunet_n.safetensors"
    assert convert.main(["yunet_n", str(detector), "--out", str(out)]) == 0
    flags = ("--faces=largest", "--visual=enet_b0_8_va_mtl", "--size-px=64")
    more = ("--audio=acoustic", f"--weights={weights}", "--detect=0.2")
    extract(videos, tmp_path / "features", *flags, *more)
    names = sorted(path.stem for path in videos.rglob("*.*") if path.is_file())
    split_of = dict.fromkeys(names, "train")
    split_of |= dict.fromkeys(names[:2], "validation")
    moods = ("calm", "keen")
    labels = [
        f"{video},{frame},{moods[frame // 24 % 2]}"
        for video in names
        for frame in range(1, 73)
    ]
    store_of(tmp_path, split_of, labels)
    found = trained(tmp_path, "enet_b0_8_va_mtl@cropped_aligned-64+acoustic")
    assert found["metrics"]["smoothed"]["all_labelled"]["num_frames"] == 144
    rows = found["metrics"]["smoothed"]["with_crop"]["num_frames"]
    assert rows == 144  # the largest face of both videos is in each labelled frame
    done = subprocess.run(
        [
            *(sys.executable, "-m", "avemo_jax.cli", "evaluate"),
            *("--checkpoint", str(tmp_path / "run" / "best_model")),
            *("--data-dir", str(tmp_path / "store"), "--split", "validation"),
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert np.isfinite(found["metrics"]["raw"]["with_crop"]["f1_macro"])
