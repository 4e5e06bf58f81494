"""Acoustic features in files: names, columns and rows, with no weights anywhere."""

import numpy as np
import pytest
from made.sounds import write_wav
from made.trees import SILENT

from avemo_jax.data.features.files import read_feature_file
from avemo_jax.embed import load_extractor
from avemo_jax.extraction import command
from avemo_jax.extractors import EXTRACTORS
from avemo_jax.media.audio import open_sound

COLUMNS = [
    {"name": column.name, "unit": column.unit}
    for column in EXTRACTORS["acoustic"].columns
]


@pytest.fixture
def extracted(tmp_path, monkeypatch):
    """Runs the command without weights; its status."""
    monkeypatch.setenv("AVEMO_CACHE", str(tmp_path / "empty"))

    def run(*flags):
        out = ["--audio", "acoustic", "--out", str(tmp_path / "out"), "--quiet"]
        return command.main([*map(str, flags), *out])

    return run


def test_frames_of_videos_take_the_nearest_hop(tree, tmp_path, extracted):
    assert extracted("--videos", tree / "videos") == 0
    folder = tmp_path / "out" / "acoustic@1.5s"
    found, meta = read_feature_file(folder / "1-25-64x48.npz")
    assert meta["columns"] == COLUMNS
    assert (meta["kind"], meta["alignment"]) == ("audio", "time")
    assert meta["settings"] == {"hop_s": 0.25, "context_s": 1.5, "algorithm": 1}
    (path,) = tree.glob("videos/*/1-25-64x48.mp4")
    whole = load_extractor("acoustic").extract(open_sound(path))
    assert found.frame.tolist() == list(range(1, 32))
    for row, frame in zip(found.features, found.frame, strict=True):
        hop = np.argmin(np.abs(whole.times_s - (frame - 1) / 25))
        assert np.array_equal(row, whole.features[hop].astype(np.float16))
    silent, _ = read_feature_file(folder / f"{SILENT}.npz")
    assert len(silent.frame) == 0


def test_settings_are_in_the_name(tmp_path, extracted):
    path = write_wav(tmp_path / "wavs" / "a.wav", 2.0, hz=220)
    same = ["--audio-dir", path.parent]
    assert extracted(*same) == 0
    assert extracted(*same, "--hop-s", 0.25, "--context-s", 1.5) == 0
    assert extracted(*same, "--hop-s", 0.1, "--context-s", 1) == 0
    assert extracted(*same, "--context-s", 2.5) == 0
    out = tmp_path / "out"
    sets = {folder.name for folder in out.glob("acoustic*")}
    assert sets == {"acoustic@1.5s", "acoustic@1s-hop0.1s", "acoustic@2.5s"}
    found, meta = read_feature_file(out / "acoustic@1s-hop0.1s" / "a.npz")
    assert (len(found.frame), meta["fps"]) == (20, 10)
    pitch = [column["name"] for column in meta["columns"]].index("f0_mean")
    np.testing.assert_allclose(found.features[:, pitch], 220, atol=1)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--audio", "vggish", "--hop-s", "0.5"], "--hop-s 0.5 without --aud"),
        (
            ["--audio", "vggish", "--context-s", "2", "--hop-s", "0.5"],
            "--hop-s 0.5 --context-s 2 without",
        ),
        (["--audio", "acoustic", "--hop-s", "0"], "hop_s 0.0 for acoustic; expected"),
        (["--audio", "acoustic", "--sound", "original"], "the original system lacks"),
        (["--audio", "acoustic", "--dtype", "bfloat16"], "expected float32"),
    ],
)
def test_wrong_flags(tmp_path, capsys, flags, message):
    path = write_wav(tmp_path / "wavs" / "a.wav", 0.1)
    same = ["--audio-dir", str(path.parent), "--out", str(tmp_path / "out")]
    assert command.main([*same, *flags]) == 1
    assert message in capsys.readouterr().err
