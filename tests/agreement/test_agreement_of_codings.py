"""``avemo score --against``: how far two codings agree."""

import csv
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from made.face_tables import write_openface, write_pyfeat
from made.predicted import made_face, made_predicted
from sklearn.metrics import cohen_kappa_score, f1_score

from avemo_jax.agreement.compare import Options, compare
from avemo_jax.challenge.score.command import main
from avemo_jax.prediction.writing import write_predicted

LENGTHS = {"a": 60, "b": 45, "c": 80}


@pytest.fixture(scope="module")
def predicted(tmp_path_factory):
    """The folder of three inputs, the last of which shows two faces."""
    out = tmp_path_factory.mktemp("predicted")
    for seed, (name, length) in enumerate(LENGTHS.items()):
        faces = [made_face(1, 3, length - 2, lost=[9], filled=[12, 13], seed=seed)]
        if name == "c":
            faces.append(made_face(2, 20, 50, seed=9))
        write_predicted(made_predicted(length, faces, name=name), out / name)
    return out


def table(path, header, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def variables(report):
    return {one["name"]: one for one in report["variables"]}


def test_segments_are_the_predictions_that_they_were_made_of(predicted, tmp_path):
    """Of every face; frames without scores have no segment, and units are absent."""
    for name in LENGTHS:
        source = predicted / name / "segments.csv"
        shutil.copy(source, tmp_path / f"{name}.csv")
    found = compare(predicted, tmp_path)
    own = variables(found)
    assert [*own] == [
        "expression",
        *(f"AU{n:02d}" for n in (1, 2, 4, 6, 7, 10, 12, 15, 23, 24, 25, 26)),
    ]
    for one in own.values():
        assert (one["agreement"], one["kappa"], one["num_videos"]) == (1, 1, 3)
        assert one["kappa_ci95"] == one["kappa_bca95"] == [1, 1]
    assert own["AU12"]["agreement_present"] == 1
    assert own["expression"]["num_frames"] == 56 - 1 + 41 - 1 + 76 - 1 + 31
    assert own["expression"]["frames_only_first"] == 0
    assert own["expression"]["frames_only_second"] == 0


def test_what_tells_how_sure_a_class_is_is_no_variable(tmp_path):
    """Sets and shares of seeds that disagree stand beside the class of predictions."""
    for seed, out in enumerate(("one", "two")):
        beside = {"sets": ["EXPR"], "disagreement": ["EXPR"]}
        face = made_face(1, 1, 60, seed=seed, **beside)
        beside = {f"with_{name}": tuple(tasks) for name, tasks in beside.items()}
        write_predicted(made_predicted(60, [face], **beside), tmp_path / out)
    found = compare(*(tmp_path / out / "predictions.csv" for out in ("one", "two")))
    names = [*variables(found)]
    assert "expression" in names
    assert not [name for name in names if "set" in name or "disagreement" in name]


def test_a_frame_counts_where_its_time_lies_in_the_interval(tmp_path):
    """To the millisecond, in which times are rounded; by loops and scikit-learn."""
    rng = np.random.default_rng(0)
    times = np.round(np.arange(90) / 30, 6)
    moods = np.array(["calm", "glad", "sad"])[rng.integers(0, 3, 90)]
    frames = table(
        tmp_path / "one.csv",
        "frame,timestamp,mood",
        *(
            f"{i + 1},{t:.6f},{m}"
            for i, (t, m) in enumerate(zip(times, moods, strict=True))
        ),
    )
    cuts = [0, 7, 20, 21, 40, 66, 90]
    labels = ["glad", "", "sad", "calm", "Glad", "sad"]
    rows = []
    second = np.full(90, "", dtype="U9")
    for start, end, label in zip(cuts, cuts[1:], labels, strict=False):
        if label:
            rows.append(f"{start / 30:.3f},{end / 30:.3f},mood,{label}")
            second[start:end] = label.lower()
    spans = table(tmp_path / "two.csv", "onset_s,offset_s,tier,label", *rows)
    (one,) = compare(frames, spans)["variables"]
    both = second != ""
    assert one["num_frames"] == both.sum()
    assert (one["frames_only_first"], one["frames_only_second"]) == (13, 0)
    assert one["agreement"] == pytest.approx((moods == second)[both].mean())
    assert one["kappa"] == pytest.approx(cohen_kappa_score(moods[both], second[both]))
    for label, value in one["kappa_per_class"].items():
        pair = moods[both] == label, second[both] == label
        assert value == pytest.approx(cohen_kappa_score(*pair))
        assert one["agreement_per_class"][label] == pytest.approx(f1_score(*pair))
        counts = one["frames_first"][label], one["frames_second"][label]
        assert counts == (pair[0].sum(), pair[1].sum())
    assert "kappa_ci95" not in one
    (swapped,) = compare(spans, frames)["variables"]
    assert swapped["kappa"] == pytest.approx(one["kappa"])
    assert swapped["frames_first"] == one["frames_second"]
    filled = np.where(both, second, "calm")
    (gaps,) = compare(frames, spans, Options(gaps="Calm"))["variables"]
    assert gaps["num_frames"] == 90
    assert gaps["kappa"] == pytest.approx(cohen_kappa_score(moods, filled))
    (part,) = compare(frames, spans, Options(span_s=(1.0, 2.0)))["variables"]
    assert part["num_frames"] == 30


def test_two_coders_of_intervals(tmp_path, capsys):
    """Their spans of units are absent elsewhere, up to the last end of both."""
    first = table(
        tmp_path / "coder1.csv",
        "video,onset_s,offset_s,label",
        "a,1,3,AU12",
        "a,2,4,AU6",
        "b,0,1,AU12",
        "b,0,5,AU06",
    )
    second = table(
        tmp_path / "coder2.csv",
        "video,start,end,label",
        "a.mp4,1.5,3,au 12",
        "a.mp4,2,3,AU06",
        "a.mp4,3.5,6,AU06",
        "b.mp4,0,2,AU12",
        "c.mp4,0,1,AU12",
    )
    out = tmp_path / "out.json"
    flags = [str(first), f"--against={second}", "--fps=10", f"--json={out}"]
    assert main([*flags, f"--csv={tmp_path / 'out.csv'}", "--per-video"]) == 0
    printed = capsys.readouterr().out
    report = json.loads(out.read_text())
    own = variables(report)
    assert report["videos_only_in_second"] == ["c"]
    assert "videos that only" in printed
    assert "intervals are compared at 10 moments a second" in printed
    grid = {"a": np.arange(60) / 10, "b": np.arange(50) / 10}

    def inside(video, *spans):
        t = grid[video]
        return sum((t >= s) & (t < e) for s, e in spans).astype(int)

    of_12 = (
        np.concatenate([inside("a", (1, 3)), inside("b", (0, 1))]),
        np.concatenate([inside("a", (1.5, 3)), inside("b", (0, 2))]),
    )
    assert own["AU12"]["num_frames"] == 110
    assert own["AU12"]["kappa"] == pytest.approx(cohen_kappa_score(*of_12))
    assert own["AU12"]["agreement_present"] == pytest.approx(f1_score(*of_12))
    assert own["AU12"]["share_first"] == pytest.approx(of_12[0].mean())
    low, high = own["AU12"]["kappa_ci95"]
    each = [one["kappa"] for one in own["AU12"]["per_video"]]
    assert [low, high] == pytest.approx([min(each), max(each)], abs=0.2)
    assert low <= own["AU12"]["kappa"] <= high
    # Only the first coder saw AU06 in b, all the time: kappa is 0 there.
    assert own["AU6"]["per_video"][1]["kappa"] == 0
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    (row,) = (
        r
        for r in rows
        if (r["variable"], r["score"], r["video"]) == ("AU12", "kappa", "")
    )
    assert float(row["value"]) == own["AU12"]["kappa"]
    assert [float(row["ci95_low"]), float(row["ci95_high"])] == [low, high]
    ends = own["AU12"]["kappa_bca95"]
    assert [float(row["bca95_low"]), float(row["bca95_high"])] == ends


def test_many_different_numbers(tmp_path):
    """They are read as numbers, not as labels one by one."""
    values = np.random.default_rng(0).uniform(-1, 1, 3000).round(6)
    rows = [f"{i + 1},{v}," for i, v in enumerate(values)]
    one = table(tmp_path / "a.csv", "frame,valence,remark", *rows)
    rows[7] = "8,NA,x"
    two = table(tmp_path / "b.csv", "frame,valence,remark", *rows)
    own = variables(compare(one, two))
    assert (own["valence"]["num_frames"], own["valence"]["icc"]) == (2999, 1)
    rows[9] = "10,high,x"
    table(two, "frame,valence,remark", *rows)
    with pytest.raises(ValueError, match=r"b.csv, line 11, column 'valence': 'high'"):
        compare(one, two)


def test_words_for_nothing_and_columns_beside_labels(tmp_path):
    """Both are said or compared, never dropped in silence."""
    one = table(tmp_path / "a.csv", "frame,label,AU12", "1,x,1", "2,None,0", "3,y,1")
    two = table(tmp_path / "b.csv", "frame,label,AU12", "1,x,1", "2,x,0", "3,x,NA")
    found = compare(one, two)
    own = variables(found)
    assert (own["label"]["num_frames"], own["AU12"]["num_frames"]) == (2, 2)
    assert f"{one}, column 'label': taken as no label: 1 'None'" in found["notes"]
    assert f"{two}, column 'AU12': taken as no label: 1 'NA'" in found["notes"]


def test_undefined_scores_are_none(tmp_path):
    """Both coders see one class alone: there is no kappa, and no 0 in its place."""
    for name in ("one", "two"):
        table(
            tmp_path / f"{name}.csv",
            "video,frame,mood",
            *(f"{video},{n},calm" for video in "ab" for n in (1, 2, 3)),
        )
    (one,) = compare(tmp_path / "one.csv", tmp_path / "two.csv")["variables"]
    assert (one["agreement"], one["kappa"]) == (1, None)
    assert one["kappa_ci95"] is one["kappa_bca95"] is None
    assert one["agreement_ci95"] == [1, 1]


ELAN = (
    "Tier\tParticipant\tBegin Time - hh:mm:ss.ms\tBegin Time - ss.msec\t"
    "End Time - hh:mm:ss.ms\tEnd Time - ss.msec\tDuration - ss.msec\tAnnotation"
)
ELAN_ROWS = (
    "mood\tP1\t00:00:00.000\t0.0\t00:00:01.200\t1.2\t1.2\tglad, very",
    "mood\tP1\t00:00:01.200\t1.2\t00:01:00.500\t60.5\t59.3\tsad",
    "AU12\tP1\t00:00:00.500\t0.5\t00:00:01.000\t1.0\t0.5\tB",
)


@pytest.mark.parametrize("form", ["named", "unnamed", "seconds", "ms", "clock"])
def test_exports_of_elan(tmp_path, form):
    """With a line of names and without, in each form of time."""
    plain = table(
        tmp_path / "plain.csv",
        "onset_s,offset_s,tier,label",
        '0,1.2,mood,"glad, very"',
        "1.2,60.5,mood,sad",
        "0.5,1,AU12,AU12",
    )
    rows = [row.split("\t") for row in ELAN_ROWS]
    names = ELAN.split("\t")
    kept = {
        "named": range(8),
        "unnamed": range(8),
        "seconds": (0, 1, 3, 5, 6, 7),
        "ms": (0, 1, 3, 5, 7),
        "clock": (0, 1, 2, 4, 7),
    }[form]
    if form == "ms":
        for row in rows:
            row[3], row[5] = (f"{float(row[i]) * 1000:.0f}" for i in (3, 5))
    lines = ["\t".join(row[i] for i in kept) for row in rows]
    head = ["\t".join(names[i] for i in kept)] if form in ("named", "clock") else []
    path = tmp_path / "elan.txt"
    path.write_text("\n".join([*head, *lines]) + "\n")
    own = variables(compare(plain, path))
    assert [*own] == ["mood", "AU12"]
    assert own["mood"]["num_frames"] == 1513
    assert own["AU12"]["share_second"] == pytest.approx(12 / 1513)
    assert own["mood"]["kappa"] == own["AU12"]["kappa"] == 1


def test_ratings_at_a_rate_of_their_own(predicted, tmp_path):
    """A frame gets the rating nearest in time, at most half a step away."""
    seconds = np.arange(0, 1.3, 0.25)
    ratings = np.sin(seconds)
    coding = table(
        tmp_path / "a.csv",
        "time,Valence,note",
        *(f"{t},{v:.6f}," for t, v in zip(seconds, ratings, strict=True)),
    )
    report = compare(predicted / "a" / "predictions.csv", coding)
    (one,) = report["variables"]
    with (predicted / "a" / "predictions.csv").open(newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["valence"]]
    times = np.array([float(r["timestamp"]) for r in rows])
    near = np.abs(times[:, None] - seconds).argmin(axis=1)
    kept = np.abs(times - seconds[near]) <= 0.1263
    first = np.array([float(r["valence"]) for r in rows])[kept]
    second = ratings.round(6)[near][kept]
    assert (one["name"], one["kind"]) == ("valence", "values")
    assert one["num_frames"] == kept.sum()
    assert one["frames_only_first"] == len(rows) - kept.sum()
    n, both = len(first), np.stack([first, second])
    between = 2 * both.mean(axis=0).var(ddof=1)
    raters = n * both.mean(axis=1).var(ddof=1)
    rest = (both - both.mean(axis=0) - both.mean(axis=1)[:, None] + both.mean()).ravel()
    residual = (rest**2).sum() / (n - 1)
    icc = (between - residual) / (between + residual + 2 * (raters - residual) / n)
    assert one["icc"] == pytest.approx(icc)
    assert one["difference"] == pytest.approx(first.mean() - second.mean())
    assert one["mean_second"] == pytest.approx(second.mean())
    assert report["notes"] == []


def test_names_that_differ_are_mapped(predicted, tmp_path, capsys):
    coding = table(
        tmp_path / "a.csv",
        "onset_s,offset_s,tier,label",
        "0,1,mine,happy",
        "1,1.5,mine,Sadness",
        "1.5,2,mine,unsure",
        "0,1,mouth,smiling",
    )
    source = predicted / "a" / "predictions.csv"
    flags = [str(source), f"--against={coding}"]
    assert main(flags) == 1
    error = capsys.readouterr().err
    assert f"{coding}, line 2, column 'label': 'happy'; expected one of" in error
    assert "--map 'happy=LABEL', or leave such frames out, --map 'happy='" in error
    flags += ["--map=happy=Happiness", "--map=unsure=", "--map=mine=expression"]
    out = tmp_path / "out.json"
    assert main([*flags, "--map=smiling=AU12", f"--json={out}"]) == 0
    own = variables(json.loads(out.read_text()))
    assert [*own] == ["expression", "AU12"]
    seconds = own["expression"]["frames_second"]
    assert {name for name, n in seconds.items() if n} == {"Happiness", "Sadness"}
    assert own["expression"]["num_frames"] == 38 - 2 - 1
    assert "no intervals: they are over videos" in capsys.readouterr().out


def test_a_tier_of_another_name_whose_labels_are_those_predicted(predicted, tmp_path):
    coding = table(
        tmp_path / "a.csv",
        "onset_s,offset_s,tier,label",
        "0,1,Emotion,Happiness",
        "1,2,Emotion,Contempt",
    )
    with pytest.raises(ValueError, match="line 3, column 'label': 'Contempt'"):
        compare(predicted / "a" / "predictions.csv", coding, Options())
    options = Options(mapped={"contempt": "Other"})
    found = compare(predicted / "a" / "predictions.csv", coding, options)
    assert [*variables(found)] == ["expression"]
    (note,) = found["notes"]
    assert "the tier 'Emotion' is compared with 'expression'" in note


def test_which_face(predicted, tmp_path):
    source = predicted / "c" / "predictions.csv"
    rows = ["0,2,Happiness", "2,3,Fear"]
    coding = table(tmp_path / "c.csv", "onset_s,offset_s,label", *rows)
    with pytest.raises(ValueError, match=r"faces 1, 2 of 'c', .* pass --face 1"):
        compare(source, coding)
    one = compare(source, coding, Options(face=1))["variables"][0]
    two = compare(source, coding, Options(face=2))["variables"][0]
    assert (one["num_frames"], two["num_frames"]) == (72, 31)
    ids = table(
        tmp_path / "ids.csv",
        "onset_s,offset_s,face_id,label",
        *(f"{row.rsplit(',', 1)[0]},2,{row.rsplit(',', 1)[1]}" for row in rows),
    )
    found = compare(source, ids)
    by_id = found["variables"][0]
    assert by_id["agreement"] == two["agreement"]
    assert by_id["num_frames"] == 31
    assert found["videos_only_in_first"] == ["c, face 1"]
    tiers = table(
        tmp_path / "tiers.csv",
        "onset_s,offset_s,tier,label",
        *(
            f"{row.rsplit(',', 1)[0]},face2_mood,{row.rsplit(',', 1)[1]}"
            for row in rows
        ),
        "0,1,face1_mood,Anger",
    )
    by_tier = variables(compare(source, tiers))["expression"]
    assert by_tier["num_frames"] == 31 + 25 - 2 - 1
    mixed = table(tmp_path / "mixed.csv", tiers.read_text()[:-1], "1,2,mood,Fear")
    with pytest.raises(ValueError, match="without a face beside rows of faces 1, 2"):
        compare(source, mixed)


def test_openface_and_py_feat_against_a_coding(tmp_path):
    """OpenFace by its times; py-feat tells none, so the rate is asked for."""
    active = np.array([0, 0, 1, 1, 1, 0, 0, 0, 0, 0])
    rows = ["0.04,0.2,AU12"]
    coding = table(tmp_path / "coding.csv", "onset_s,offset_s,label", *rows)
    expected = cohen_kappa_score(active[:9], [0, 1, 1, 1, 1, 0, 0, 0, 0])
    source = write_openface(tmp_path / "talk.csv", {"AU12": active}, lost=(10,))
    (one,) = compare(source, coding)["variables"]
    assert (one["name"], one["num_frames"]) == ("AU12", 9)
    assert one["kappa"] == pytest.approx(expected)
    values = {
        "AU12": active * 0.8,
        "happiness": active * 0.5,
        "anger": 0.01 * active,
        "sadness": 0.2 + 0 * active,
    }
    source = write_pyfeat(tmp_path / "feat.csv", values, lost=(9,))
    with pytest.raises(ValueError, match=r"without times; expected .* --fps"):
        compare(source, coding)
    (one,) = compare(source, coding, Options(fps=25.0))["variables"]
    assert one["kappa"] == pytest.approx(expected)
    emotions = table(
        tmp_path / "words.csv", "frame,expression", "1,Sadness", "3,happiness"
    )
    (one,) = compare(source, emotions)["variables"]
    assert (one["num_frames"], one["agreement"]) == (2, 1)


def test_kinds_of_numbers(tmp_path):
    """0 and 1 against probabilities or intensities; scales; codes of classes."""
    one = table(
        tmp_path / "one.csv",
        "frame,smile,pain,code",
        *(f"{i},{i % 2},{i},{1 + i % 2}" for i in range(1, 9)),
    )
    two = table(
        tmp_path / "two.csv",
        "frame,smile,pain,code",
        *(
            f"{i},{0.9 if i % 2 else 0.5 - i / 100},{i + 1},{1 + i % 3}"
            for i in range(1, 9)
        ),
    )
    found = compare(one, two)
    own = variables(found)
    assert (own["smile"]["kind"], own["smile"]["kappa"]) == ("unit", 1)
    assert own["pain"]["kind"] == own["code"]["kind"] == "values"
    assert own["pain"]["difference"] == -1
    assert "smile: numbers from 0.5 on count as present" in found["notes"]
    assert any(note.startswith("code: whole numbers") for note in found["notes"])
    named = {"1": "calm", "2": "glad", "3": "sad"}
    own = variables(
        compare(one, two, Options(mapped=named | {"pain": "", "smile": ""}))
    )
    assert (own["code"]["kind"], own["code"]["num_frames"]) == ("classes", 8)
    words = table(tmp_path / "words.csv", "frame,code", "1,calm")
    with pytest.raises(ValueError, match="a number, where the other coding has words"):
        compare(one, words)
    much = table(tmp_path / "much.csv", "frame,smile", "1,7")
    with pytest.raises(ValueError, match=r"much.csv, line 2.* an intensity up to 5"):
        compare(one, much)


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        ("onset_s,offset_s,label", ["1,1,a"], "line 2, column 'offset_s': 1 to 1 s"),
        ("onset_s,offset_s,label", ["0,2,a", "1,3,b"], "'b' while 'a' lasts .line 2.;"),
        ("onset_s,offset_s,tier,label", ["0,1,AU12,q"], "'q' in the tier of 'AU12'"),
        ("onset_s,label", ["1,a"], "expected onset_s and offset_s, or frame, or time"),
        ("frame,label", ["0,a"], "0; expected 1 to .* frames count from 1"),
        ("onset_s,offset_s", ["0,1"], "no column of labels among onset_s, offset_s"),
        ("frame,other", ["1,0.5"], "expected a variable that both have: name one"),
        ("video,frame,label", ["y,1,a", "z,1,a"], "expected the same videos"),
        ("frame,timestamp,label", ["3,9.5,a"], "9.500 s; expected 0.080 s, as the"),
    ],
)
def test_codings_that_are_wrong(tmp_path, header, rows, message):
    first = table(
        tmp_path / "first.csv",
        "video,frame,timestamp,label,AU12",
        *(f"x,{i},{(i - 1) / 25},a," for i in range(1, 100)),
    )
    second = table(tmp_path / "second.csv", header, *rows)
    with pytest.raises(ValueError, match=message):
        compare(first, second)


def test_flags_that_do_not_fit(tmp_path, capsys):
    def error(*flags):
        with pytest.raises(SystemExit) as stop:
            main([str(tmp_path / "a.csv"), *flags])
        assert stop.value.code == 2
        return capsys.readouterr().err

    assert "required: --task, --annotations; or --against FILE" in error()
    assert "--task with --against" in error("--task=au", "--against=b.csv")
    assert "--map without --against" in error(
        "--map=a=b", "--task=au", "--annotations=x"
    )
    assert "2 files and --against" in error("b.csv", "--against=c.csv")
    assert "expected NAME=OTHER" in error("--map=a", "--against=b.csv")
    assert "expected START,END" in error("--span=5,2", "--against=b.csv")
    assert "expected a number over 0" in error("--fps=0", "--against=b.csv")
    assert main([str(tmp_path / "a.csv"), f"--against={tmp_path}"]) == 1
    assert "a.csv; expected a coding" in capsys.readouterr().err


def test_jax_is_not_loaded():
    code = "import sys, avemo_jax.agreement.report\nsys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
