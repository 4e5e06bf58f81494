"""``avemo score`` on tables of OpenFace and py-feat."""

import json

import numpy as np
import pytest
from made.face_tables import OPENFACE_UNITS, write_openface, write_pyfeat
from made.predictions import as_csv, labels_of, predicted_of, write_annotations
from sklearn.metrics import f1_score

from avemo_jax.challenge.score.command import main
from avemo_jax.challenge.score.scores import score
from avemo_jax.data.predictions.reading import read_frame_predictions
from avemo_jax.tasks import AU, EXPR, VA

LENGTHS = {"a": 60, "b": 45}
ACTIVE = {
    video: np.random.default_rng(length).integers(0, 2, (length, 12))
    for video, length in LENGTHS.items()
}


@pytest.fixture
def truth(tmp_path):
    """Annotations of the units, each with a rate of its own."""
    labels = labels_of(AU, lengths=LENGTHS)
    for values in labels.values():
        values[values < 0] = 0
    return write_annotations(tmp_path / "truth", AU, labels), labels


def by_unit(labels, active, kept=lambda video: slice(None)) -> np.ndarray:
    """F1 of each unit over all frames, by scikit-learn."""
    truth = np.concatenate([labels[v][kept(v)] for v in LENGTHS])
    guess = np.concatenate([active[v][kept(v)] for v in LENGTHS])
    return np.array([f1_score(truth[:, i], guess[:, i]) for i in range(12)])


def test_openface_over_the_units_that_it_has(truth, tmp_path, capsys):
    """AU24 is left out of the mean and said, not scored as 0."""
    root, labels = truth
    for video, active in ACTIVE.items():
        table = tmp_path / "openface" / f"{video}.csv"
        write_openface(table, dict(zip(AU.columns, active.T, strict=True)))
        (table.parent / f"{video}_of_details.txt").write_text("Input:x\n")
    flags = [str(tmp_path / "openface"), "--task=au", f"--annotations={root}", "--ci"]
    out = tmp_path / "scores.json"
    assert main([*flags, f"--json={out}", f"--csv={tmp_path / 's.csv'}"]) == 0
    printed = capsys.readouterr().out
    assert "2 tables of OpenFace" in printed
    told = "over 11 of 12, as the file has no AU24, which is left out of the mean"
    assert told in printed
    assert "ignored in" in printed
    assert "OpenFace's own decisions, AU01_c and so on, are scored" in printed
    (found,) = json.loads(out.read_text())["files"]
    assert (found["num_outputs"], found["lacking"]) == (11, ["AU24"])
    each = by_unit(labels, ACTIVE)
    has = [i for i, name in enumerate(AU.columns) if name in OPENFACE_UNITS]
    block = found["scores"]["all_labelled"]
    assert [*block["f1_per_unit"]] == [AU.columns[i] for i in has]
    assert [*block["f1_per_unit"].values()] == pytest.approx(each[has])
    assert block["f1_mean"] == pytest.approx(each[has].mean())
    assert block["f1_mean_ci95"][0] < block["f1_mean"] < block["f1_mean_ci95"][1]
    one = found["per_video"][0]["all_labelled"]
    assert len(one["f1_per_unit"]) == 11
    assert "AU24" not in (tmp_path / "s.csv").read_text()


def test_frames_are_counted_as_each_program_does(tmp_path):
    """OpenFace's first frame is 1, py-feat's 0; rows without a face are left out."""
    active = dict(zip(AU.columns, ACTIVE["a"].T, strict=True))
    table = write_openface(tmp_path / "a.csv", active, lost=(3, 4))
    found = read_frame_predictions(table, AU, partial=True)
    assert (found.videos, found.form) == (("a",), "table of OpenFace")
    assert found.frame.tolist() == [n for n in range(1, 61) if n not in (3, 4)]
    kept = np.delete(ACTIVE["a"], [2, 3], axis=0)
    no_24 = [i for i, name in enumerate(AU.columns) if name != "AU24"]
    np.testing.assert_array_equal(found.decided[:, no_24], kept[:, no_24])
    assert "rows of a.csv without a face, left out: 2" in found.notes
    table = write_pyfeat(tmp_path / "feat.csv", active, lost=(2, 3))
    same = read_frame_predictions(table, AU)
    assert (same.videos, same.form) == (("talk",), "table of py-feat")
    assert same.frame.tolist() == found.frame.tolist()
    assert same.lacking == ()
    np.testing.assert_array_equal(same.decided, kept)
    again = read_frame_predictions(table, AU, first_frame=0)
    np.testing.assert_array_equal(again.frame, same.frame)


def test_values_of_py_feat_are_active_from_a_half_on(truth, tmp_path, capsys):
    root, labels = truth
    values = {v: (0.3 + 0.4 * a).round(3) for v, a in ACTIVE.items()}
    for video, each in values.items():
        columns = dict(zip(AU.columns, each.T, strict=True))
        write_pyfeat(
            tmp_path / "feat" / f"{video}.csv", columns, name=f"C:\\{video}.avi"
        )
    block = score(tmp_path / "feat", root, "AU")
    assert block["threshold"] == 0.5
    assert "lacking" not in block
    found = block["scores"]["all_labelled"]["f1_per_unit"]
    assert [*found.values()] == pytest.approx(by_unit(labels, ACTIVE))


@pytest.mark.parametrize("last", ["", "Contempt"])
def test_emotions_of_py_feat(tmp_path, last):
    """Version 2 calls two otherwise; a class that it has not is left out and said."""
    labels = labels_of(EXPR, lengths=LENGTHS)
    names = "Neutral Anger Disgust Fear Happy Sad Surprise".split()
    probs = predicted_of(EXPR, labels)
    for video, each in probs.items():
        columns = {
            n.lower() if not last else n: each[:, i] for i, n in enumerate(names)
        }
        columns |= {last: each[:, 7]} if last else {}
        write_pyfeat(tmp_path / "feat" / f"{video}.csv", columns, name=f"{video}.mp4")
    root = write_annotations(tmp_path / "truth", EXPR, labels)
    block = score(tmp_path / "feat", root, "EXPR")
    count = 8 if last else 7
    truth = np.concatenate([labels[v][:, 0] for v in sorted(labels)])
    guess = np.concatenate([probs[v][:, :count].argmax(axis=1) for v in sorted(labels)])
    each = f1_score(
        truth[truth >= 0], guess[truth >= 0], labels=range(count), average=None
    )
    found = block["scores"]["all_labelled"]
    assert [*found["f1_per_class"].values()] == pytest.approx(each, abs=1e-6)
    assert found["f1_macro"] == pytest.approx(each.mean(), abs=1e-6)
    if last:
        assert "Contempt counts as Other, which the file lacks" in block["notes"]
    else:
        assert (block["num_outputs"], block["lacking"]) == (7, ["Other"])


def test_of_several_faces(tmp_path, capsys):
    """1 is the face of most frames, whatever the program calls it."""
    frame = np.array([1, 2, 3, 2, 3])
    active = {"AU12": np.array([0, 0, 0, 1, 1])}
    active["AU12"][0] = 1
    table = write_openface(
        tmp_path / "a.csv", active, frame=frame, face=np.array([0, 7, 7, 0, 0])
    )
    with pytest.raises(ValueError, match=r"several faces in 'a'; expected .* --face 1"):
        read_frame_predictions(table, AU, partial=True)
    one = read_frame_predictions(table, AU, face=1, partial=True)
    unit = AU.columns.index("AU12")
    assert (one.videos, one.frame.tolist()) == (("a",), [1, 2, 3])
    assert one.decided[:, unit].tolist() == [1, 1, 1]
    every = read_frame_predictions(table, AU, face="all", partial=True)
    assert every.videos == ("a--face1", "a--face2")
    assert every.frame[every.video == 1].tolist() == [2, 3]
    assert not every.decided[every.video == 1, unit].any()
    table = write_pyfeat(
        tmp_path / "f.csv",
        {"AU12": np.array([0.1, 0.9, 0.8])},
        frame=np.array([0, 0, 1]),
        identity=["Person_0", "Person_1", "Person_1"],
    )
    found = read_frame_predictions(table, AU, face=1, partial=True)
    assert found.scores[:, unit].tolist() == [0.9, 0.8]


def test_two_files_are_compared_over_the_units_of_both(truth, tmp_path, capsys):
    root, labels = truth
    table = tmp_path / "of" / "a.csv"
    for video, active in ACTIVE.items():
        columns = dict(zip(AU.columns, active.T, strict=True))
        write_openface(table.with_name(f"{video}.csv"), columns)
    mine = as_csv(tmp_path / "mine", AU, predicted_of(AU, labels))
    out = tmp_path / "scores.json"
    flags = [str(mine), str(table.parent), "--task=au", f"--annotations={root}"]
    assert main([*flags, f"--json={out}"]) == 0
    report = json.loads(out.read_text())
    both = report["difference"]["all_labelled"]
    first, second = (one["scores"]["all_labelled"] for one in report["files"])
    assert len(first["f1_per_unit"]) == 12
    per_unit = {
        name: first["f1_per_unit"][name] - value
        for name, value in second["f1_per_unit"].items()
    }
    assert both["f1_per_unit"] == pytest.approx(per_unit)
    assert both["f1_mean"] == pytest.approx(np.mean([*per_unit.values()]))


def test_what_such_tables_are_not_for(tmp_path):
    active = {"AU12": np.array([0, 1, 1])}
    table = write_openface(tmp_path / "a.csv", active)
    with pytest.raises(ValueError, match="OpenFace, without AU24; expected all"):
        read_frame_predictions(table, AU)
    with pytest.raises(ValueError, match=r"no expressions; expected .* pass --task au"):
        read_frame_predictions(table, EXPR)
    with pytest.raises(ValueError, match=r"--first-frame 0 and a table of OpenFace"):
        read_frame_predictions(table, AU, first_frame=0, partial=True)
    text = table.read_text()
    table.write_text(text.replace("\n1, ", "\n0, ", 1))
    with pytest.raises(ValueError, match=r"line 2, column 'frame': frame 0 in a table"):
        read_frame_predictions(table, AU, partial=True)
    feat = write_pyfeat(tmp_path / "f.csv", active, frame=np.array([0, 0, 1]))
    with pytest.raises(ValueError, match="several rows of frame 1 of 'talk', and no"):
        read_frame_predictions(feat, AU, partial=True)
    with pytest.raises(ValueError, match="py-feat without outputs of VA; expected val"):
        read_frame_predictions(feat, VA)
