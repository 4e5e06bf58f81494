"""Our crops against given ones, on real faces."""

import json
import pathlib
import shutil

import numpy as np
import pytest
from made.untrained_heads import untrained_head
from PIL import Image

from avemo_jax.convert.conversion import convert
from avemo_jax.extraction.crop_check import (
    CropCheck,
    measured_template,
    summary,
    together,
)
from avemo_jax.extraction.crop_template import read_template
from avemo_jax.extraction.face_crops import face_crops
from avemo_jax.extraction.face_detector import load_face_detector
from avemo_jax.extraction.face_tracks import find_faces
from avemo_jax.faces.crops import ARCFACE_TEMPLATE
from avemo_jax.media.video import open_video
from avemo_jax.models.card import UNKNOWN
from avemo_jax.prediction import check_crops_command

OTHER = ARCFACE_TEMPLATE * 0.97 + [3.0, 1.0]  # smaller, and shifted


def check(likeness, shifts, cosine=(), faults=()) -> CropCheck:
    given = np.array(shifts, float).reshape(-1, 1, 1)
    shifts = np.zeros((len(shifts), 5, 2)) + given
    return CropCheck("v", np.array(likeness), shifts, np.array(cosine, float), faults)


def test_numbers_of_a_comparison():
    one = check([0.9, 0.7, np.nan, 1.0], [3, 4, 5], [0.5, 0.7], ("gone",))
    told = summary(one)
    assert (told["crops"], told["found"], told["matching"]) == (4, 3, 2)
    assert told["likeness_median"] == 0.9
    assert told["points_px"] == pytest.approx(4 * 2**0.5, abs=1e-3)
    assert told["cosine_median"] == 0.6
    assert told["unreadable"] == 1
    nothing = summary(together([]))
    assert (nothing["crops"], nothing["likeness_median"]) == (0, None)
    both = together([one, check([0.1], [])])
    assert len(both.likeness) == 5
    assert both.faults == ("gone",)


def test_a_template_is_the_mean_over_videos_of_their_medians():
    checks = [check([1.0], [1, 1, 30]), check([1.0], [3]), check([], [])]
    np.testing.assert_allclose(measured_template(checks), ARCFACE_TEMPLATE + 2)
    with pytest.raises(ValueError, match="no crop in which the detector found"):
        measured_template(checks[2:])


@pytest.fixture(scope="module")
def weights(shared_data, tmp_path_factory) -> pathlib.Path:
    out = tmp_path_factory.mktemp("weights") / "yunet_n.safetensors"
    convert("yunet_n", shared_data / "weights" / "yunet_n.pth", out)
    return out


@pytest.fixture(scope="module")
def tree(shared_data, weights, tmp_path_factory) -> pathlib.Path:
    """A real video whose crops were made with another template."""
    root = tmp_path_factory.mktemp("tree")
    (file,) = shared_data.glob("affwild2_mini/videos/*/video3.mp4")
    (root / "videos").mkdir()
    shutil.copy(file, root / "videos")
    video = open_video(file)
    tracks = find_faces(
        video, load_face_detector(weights), video.frame_times().times_s, interval_s=0.4
    )
    folder = root / "cropped_aligned" / "video3"
    folder.mkdir(parents=True)
    for crop in face_crops(video, tracks, None, ["aligned"], template=OTHER):
        if crop.frame % 6 == 0:
            Image.fromarray(crop.picture).save(folder / f"{crop.frame:05d}.jpg")
    return root


def run(tree, weights, *flags) -> int:
    given = ["--root", tree, "--detector-weights", weights, "--quiet", *flags]
    return check_crops_command.main([str(word) for word in given])


@pytest.mark.slow
def test_the_template_of_given_crops_is_found(tree, weights, tmp_path, capsys):
    """And with it, crops are like the given ones."""
    template, out = tmp_path / "template.json", tmp_path / "numbers.json"
    assert run(tree, weights, "--write-template", template) == 0
    assert np.abs(read_template(template) - OTHER).max() < 1
    said = capsys.readouterr().out
    assert "video3" in said
    assert "1 of 1 videos" in said
    before = json.loads(template.read_text())
    assert before["crops"] > 5
    assert run(tree, weights, "--template", template, "--out", out) == 0
    told = json.loads(out.read_text())
    assert told["all"] == told["videos"]["video3"]
    assert told["all"]["likeness_median"] > 0.97
    assert told["all"]["matching"] == told["all"]["crops"] == 12


@pytest.mark.release
def test_a_head_is_scored_on_both_crops(tree, weights, tmp_path, capsys):
    root = shutil.copytree(tree, tmp_path / "tree")
    folder = root / "VA_Estimation_Challenge" / "Validation_Set"
    folder.mkdir(parents=True)
    lines = ["valence,arousal", *(f"{i / 72:.3f},{-i / 90:.3f}" for i in range(72))]
    (folder / "video3.txt").write_text("\n".join(lines))
    sets = (("face_hog@cropped_aligned-32", "visual", 1984, UNKNOWN),)
    head = untrained_head(tmp_path / "head", "VA", "linear", sets)
    out = tmp_path / "numbers.json"
    flags = ("--checkpoint", head, "--out", out)
    assert run(root, weights, *flags) == 0
    assert "VA: ccc_mean" in capsys.readouterr().out
    told = json.loads(out.read_text())
    (score,) = told["scores"]
    assert (score["frames"], score["videos"]) == (told["all"]["found"], 1)
    assert score["given"] != score["ours"]
    assert told["all"]["cosine_median"] > 0.5
    assert run(tree, weights, *flags) == 1
    assert "no annotations in it; expected those of VA" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run(root, weights, "--extractor", "face_hog", *flags)
    assert "--extractor with --checkpoint; expected one" in capsys.readouterr().err


@pytest.mark.slow
def test_crops_that_cannot_be_compared_are_listed(tree, weights, tmp_path, capsys):
    root = shutil.copytree(tree, tmp_path / "tree")
    crops = root / "cropped_aligned"
    (crops / "video3" / "00006.jpg").write_bytes(b"no picture")
    (crops / "video9_left").mkdir()
    shutil.copy(crops / "video3" / "00012.jpg", crops / "video9_left")
    assert run(root, weights) == 3
    said = capsys.readouterr().out
    assert "not compared: video9_left: crops without a video video9" in said
    assert "00006.jpg" in said
    assert run(root, weights, "--out", root / "numbers.json") == 1
    assert "lies in" in capsys.readouterr().err
    shutil.rmtree(crops / "video3")
    assert run(root, weights) == 1
    assert "1 folders of crops and 1 videos, none of" in capsys.readouterr().err
