"""A head on given crops and on others of the same frames."""

import pathlib

import numpy as np
import pytest
from made.untrained_heads import untrained_head

from avemo_jax.embed import Embeddings
from avemo_jax.extraction.crop_check import CropRows
from avemo_jax.models.card import UNKNOWN
from avemo_jax.prediction.crop_scores import CropScores, head_over_crops

SET = "face_hog@cropped_aligned-32"
TIMES_S = np.arange(60) / 30
FRAMES = np.array([*range(1, 21), *range(41, 56)], np.int32)  # with a long gap


def embeddings(seed: int) -> Embeddings:
    draws = np.random.default_rng(seed)
    return Embeddings(draws.normal(0, 1, (len(FRAMES), 8)).astype(np.float32))


def head(folder: pathlib.Path, task: str = "VA", **card) -> pathlib.Path:
    return untrained_head(folder, task, "linear", ((SET, "visual", 8, "made"),), **card)


def annotations(root: pathlib.Path, name: str, lines: list[str]) -> pathlib.Path:
    folder = root / "VA_Estimation_Challenge" / "Validation_Set"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.txt").write_text("\n".join(["valence,arousal", *lines]))
    return root


def test_a_head_is_scored_on_the_same_frames_by_both_crops(tmp_path):
    model, wanted = head_over_crops(str(head(tmp_path / "head")))
    assert wanted.name == SET
    given, ours = embeddings(0), embeddings(1)
    rows = CropRows(FRAMES, given, ours)
    blank = annotations(tmp_path / "blank", "v", ["-5,-5"] * 50)
    unlabelled = CropScores(model, SET, blank)
    unlabelled.add("v", rows, TIMES_S)
    assert unlabelled.scores()[0].given is None
    # Labels that are what the head says of the given crops, up to frame 50; some are
    # invalid.
    said = unlabelled._decided(rows, given, TIMES_S)["VA"]
    lines = ["-5,-5"] * 50
    for number, (valence, arousal) in zip(FRAMES, said, strict=True):
        if number <= 50 and number % 7:
            lines[number - 1] = f"{valence:.6f},{arousal:.6f}"
    counted = sum(line != "-5,-5" for line in lines)
    root = annotations(tmp_path / "labels", "v", lines)
    annotations(root, "w", lines)
    found = CropScores(model, SET, root)
    found.add("v", rows, TIMES_S)
    found.add("nobody", rows, TIMES_S)
    (score,) = found.scores()
    assert (score.task, score.score) == ("VA", "ccc_mean")
    assert (score.frames, score.videos) == (counted, 1)
    assert score.given == pytest.approx(1, abs=1e-4)
    assert abs(score.ours) < 0.9
    assert score.alike > 0.05
    found.add("w", CropRows(FRAMES, ours, given), TIMES_S)
    (both,) = found.scores()
    assert both.given == pytest.approx(both.ours)
    assert (both.frames, both.videos) == (2 * counted, 2)


def test_videos_of_the_training_are_left_out(tmp_path):
    root = annotations(tmp_path, "v", ["0.1,0.2"] * 60)
    rows = CropRows(FRAMES, embeddings(0), embeddings(1))
    for videos, count, said in (
        (("v",), 0, "1 subject-videos that the head was trained on"),
        (UNKNOWN, len(FRAMES), "it is not known which videos"),
    ):
        folder = head(tmp_path / str(count), training_videos=videos)
        scores = CropScores(head_over_crops(str(folder))[0], SET, root)
        scores.add("v", rows, TIMES_S)
        assert scores.scores()[0].frames == count
        (note,) = scores.notes
        assert note.startswith(said)


def test_models_of_something_else_are_refused(tmp_path):
    sound = ("acoustic@1.5s", "audio", 4, "made")
    faces = (SET, "visual", 8, "made")
    tight = ("face_hog@cropped-32", "visual", 8, "made")
    for number, sets in enumerate(((faces, sound), (tight,))):
        folder = untrained_head(tmp_path / str(number), "VA", "linear", sets)
        with pytest.raises(ValueError, match="expected a model of one set of aligned"):
            head_over_crops(str(folder))
