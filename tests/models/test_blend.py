"""Blends of head checkpoints: chosen, written, moved, and evaluated."""

import csv
import json
import pathlib
import shutil

import numpy as np
import pytest
from made.several_sets import FRAMES, SILENT, VIDEOS, several_config

from avemo_jax import experiment, main
from avemo_jax.data.features.names import full_name
from avemo_jax.evaluation.evaluate import evaluate
from avemo_jax.models.blend import (
    blend_fingerprint,
    check_trust,
    load_heads,
    scores_by_head,
    write_blend,
)
from avemo_jax.models.card import CheckpointError
from avemo_jax.models.head import row_scores
from avemo_jax.tasks import AU, EXPR

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_plots")]

FACE, SOUND = map(full_name, ("enet_b0_8_va_mtl", "wav2vec2_base"))
BUDGET = 10**9
DEV, VALIDATION, LOST = VIDEOS[6:9], VIDEOS[9:12], SILENT[1]


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


def change_json(path, **changes):
    path.write_text(json.dumps(read_json(path) | changes), encoding="utf-8")


def copied(head: pathlib.Path, to: pathlib.Path, **changes) -> pathlib.Path:
    """A head checkpoint with another card."""
    shutil.copytree(head, to)
    change_json(to / "head.json", **changes)
    return to


def evaluated(directory, data, workdir, **how):
    workdir.mkdir()
    return evaluate(load_heads(directory), data, workdir, **how)


# --- A run of a blend -----------------------------------------------------------------


def test_a_run_says_what_it_blended(blend_run):
    found = read_json(blend_run / "results.json")
    assert found["features"] == [FACE, SOUND]
    assert found["head"] == "mlp + mlp"
    assert found["heads"] == [
        {"features": [FACE], "head": "mlp"},
        {"features": [SOUND], "head": "mlp"},
    ]
    assert (found["chosen_on"], found["num_seeds"]) == ("dev", 2)
    np.testing.assert_allclose(np.sum(found["weights"], axis=1), 1, atol=1e-6)
    assert np.shape(found["weights"]) == (2, 2)
    assert np.shape(found["temperatures"]) == np.shape(found["confidences"]) == (2,)
    assert np.shape(found["offsets"]) == (2, 8)
    assert len(found["per_seed"]) == 2
    stored = read_json(blend_run / "best_model" / "blend.json")
    paths = ["../head_0/best_model", "../head_1/best_model"]
    assert stored["head_paths"] == paths
    assert stored["selection"]["weights"] == found["weights"]
    assert stored["scores"] == found["metrics"]
    assert stored["best_seed"] in (0, 1)
    names = {path.name for path in blend_run.iterdir()}
    expected = {"config.json", "environment.json", "results.json", "predictions.csv"}
    expected |= {"resamples.npz", "plots", "best_model", "head_0", "head_1"}
    expected |= {"report.html"}
    assert names == expected


def test_predictions_have_every_frame(blend_run):
    """Of the silent video too, and those without a face."""
    with (blend_run / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    frames = [(row["video"], int(row["frame"])) for row in rows]
    expected = [(v, f) for v in VALIDATION for f in range(1, FRAMES + 1)]
    assert frames == expected
    assert all(row["expression"] in EXPR.columns for row in rows)


def test_a_moved_run_is_the_same(blend_run, data, tmp_path):
    """Its best model and its heads go together; two evaluations give equal bytes."""
    moved = tmp_path / "elsewhere"
    shutil.copytree(blend_run, moved)
    hidden = blend_run.rename(blend_run.with_name("hidden"))
    try:
        evaluated(moved / "best_model", data, tmp_path / "once")
        evaluated(moved / "best_model", data, tmp_path / "twice")
    finally:
        hidden.rename(blend_run)
    for name in ("results.json", "predictions.csv"):
        expected = (blend_run / name).read_bytes()
        assert (tmp_path / "once" / name).read_bytes() == expected
        assert (tmp_path / "twice" / name).read_bytes() == expected


def test_a_split_without_labels_is_predicted(blend_run, data, tmp_path):
    found = evaluated(blend_run / "best_model", data, tmp_path / "test", split="test")
    assert "metrics" not in found
    assert found["chosen_on"] == "dev"
    rows = (tmp_path / "test" / "predictions.csv").read_text().splitlines()
    assert len(rows) == 1 + FRAMES
    assert "label" not in rows[0]


# --- Heads --------------------------------------------------------------------------


def test_seeds_are_paired_and_the_first_stands_in_for_what_is_silent(
    heads, data, tmp_path
):
    write_blend(tmp_path / "blend", heads)
    model = load_heads(tmp_path / "blend")
    found = scores_by_head(model, data, "validation", BUDGET)
    table = found.table
    _, face = row_scores(model.heads[0], data, "validation", BUDGET)
    other, sound = row_scores(model.heads[1], data, "validation", BUDGET)
    np.testing.assert_array_equal(found.scores[0], face)
    assert (face[0] != face[1]).any()
    assert (sound[0] != sound[1]).any()

    def frames(one):
        videos = np.repeat(one.videos, np.diff(one.row_offsets))
        return list(zip(videos.tolist(), one.frame.tolist(), strict=True))

    heard = {frame: i for i, frame in enumerate(frames(other))}
    silent = 0
    for row, (video, frame) in enumerate(frames(table)):
        if video == LOST:
            expected, silent = face[:, row], silent + 1
        else:
            expected = sound[:, heard[video, frame]]
        np.testing.assert_array_equal(found.scores[1, :, row], expected)
    assert table.report[f"without {SOUND}"] == silent > 0
    result = evaluated(tmp_path / "blend", data, tmp_path / "out")
    assert result["joined"][f"without {SOUND}"] == silent


def test_a_first_member_without_sound_leaves_its_video_neutral(
    heads, data, tmp_path, caplog
):
    """Rows are those of the first head; the report names the video."""
    write_blend(tmp_path / "blend", heads[::-1])
    found = evaluated(tmp_path / "blend", data, tmp_path / "out")
    assert found["joined"]["videos_without_features"] == [LOST]
    with (tmp_path / "out" / "predictions.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["video"] == LOST]
    assert len(rows) == FRAMES
    for row in rows:
        assert [float(row[name]) for name in EXPR.columns] == [1 / 8] * 8
    messages = [record.getMessage() for record in caplog.records]
    assert any(f"neutral scores: {LOST}" in message for message in messages)


def test_all_weight_on_one_member_is_that_head(heads, data, tmp_path):
    write_blend(tmp_path / "blend", heads)
    chosen = read_json(heads[0] / "head.json")["selection"]
    chosen["weights"] = [[1, 0], [1, 0]]
    change_json(tmp_path / "blend" / "blend.json", selection=chosen)
    found = evaluated(tmp_path / "blend", data, tmp_path / "out")
    alone = read_json(heads[0].parent / "results.json")
    assert found["metrics"] == alone["metrics"]
    for one, other in zip(found["per_seed"], alone["per_seed"], strict=True):
        for name in ("seed", "raw", "smoothed", "tuned_on_reported"):
            assert one[name] == other[name]
    own = (heads[0].parent / "predictions.csv").read_bytes()
    assert (tmp_path / "out" / "predictions.csv").read_bytes() == own


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"task": "AU"}, "task of {0} is EXPR, of {1} AU"),
        ({"protocol": "original"}, "protocol of {0} is ours, of {1} original"),
        ({"seeds": [0, 1, 2]}, "number of seeds of {0} is 2, of {1} 3"),
    ],
)
def test_members_that_differ_are_named(heads, tmp_path, changes, said):
    """Before anything is written."""
    other = copied(heads[1], tmp_path / "other", **changes)
    expected = said.format(heads[0], other)
    with pytest.raises(
        CheckpointError, match="blend heads that were trained alike"
    ) as e:
        write_blend(tmp_path / "blend", [heads[0], other])
    assert expected in str(e.value)
    assert not (tmp_path / "blend").exists()


@pytest.mark.release
def test_a_member_whose_training_is_unknown_makes_the_choice_fixed(
    heads, data, tmp_path
):
    other = copied(heads[1], tmp_path / "other", training_videos="unknown")
    write_blend(tmp_path / "blend", [heads[0], other])
    found = evaluated(tmp_path / "blend", data, tmp_path / "out")
    assert found["chosen_on"] is None
    assert found["chosen_on_reason"] == (
        "the videos that it was trained on are unknown"
    )
    assert found["weights"] == [[0.5, 0.5], [0.5, 0.5]]
    assert found["metrics"]["smoothed"]["mode"] == EXPR.fixed_smoothing[0]


@pytest.mark.release
def test_dev_videos_that_any_member_saw_make_the_choice_fixed(heads, data, tmp_path):
    saw = [*read_json(heads[1] / "head.json")["training_videos"], DEV[0], VALIDATION[0]]
    other = copied(heads[1], tmp_path / "other", training_videos=saw)
    assert data.store.split_videos("EXPR", "dev") == DEV
    write_blend(tmp_path / "blend", [heads[0], other])
    found = evaluated(tmp_path / "blend", data, tmp_path / "out")
    assert found["chosen_on_reason"] == "1 of 3 dev videos were trained on"
    assert found["trained_on_this_split"]


def test_folders_that_are_no_blend(heads, blend_run, tmp_path):
    with pytest.raises(CheckpointError, match=r"no head checkpoint: it has no head"):
        write_blend(tmp_path / "blend", [heads[0], blend_run / "best_model"])
    own = copied(heads[0], tmp_path / "own")
    with pytest.raises(CheckpointError, match=r"own is a head checkpoint, which a "):
        write_blend(own, heads)
    assert not (own / "blend.json").exists()
    write_blend(tmp_path / "blend", heads)
    path = tmp_path / "blend" / "blend.json"
    path.write_text('{"schema": 1,\n "head_paths": [')
    with pytest.raises(CheckpointError, match=r"blend\.json: line 2: .*: blend anew"):
        load_heads(path.parent)
    for text in ('{"schema": 9}', "[1]"):
        path.write_text(text)
        with pytest.raises(
            CheckpointError, match=r"blend\.json: .* expected (1|an object).*: blend"
        ):
            load_heads(path.parent)
    with pytest.raises(ValueError, match="1 checkpoint to blend; expected two or more"):
        experiment.blend_checkpoints(
            heads[:1], data_dir=None, split="dev", workdir=tmp_path / "w"
        )
    assert not (tmp_path / "w").exists()


# --- The extractor's own word ---------------------------------------------------------


def test_what_may_be_trusted(data):
    def resolved(*names):
        return data.store.resolve(names)

    check_trust(EXPR, resolved("enet_b2_8_best", "wav2vec2_base"))
    check_trust(EXPR, resolved("enet_b0_8_va_mtl"))
    with pytest.raises(ValueError, match=r"for AU with \(outputs\) .*expected EXPR"):
        check_trust(AU, resolved("enet_b2_8_best"))
    with pytest.raises(ValueError, match=r"for EXPR with .*vggish@\S+ \(0\); exp"):
        check_trust(EXPR, resolved("wav2vec2_base", "vggish"))


def test_an_extractor_without_outputs_is_not_trusted(heads, data, tmp_path):
    """The sound's head is the first one here."""
    config = read_json(heads[1] / "head.json")["config"]
    config["blend"] = {"trust_extractor": True}
    write_blend(tmp_path / "blend", heads[::-1], config)
    with pytest.raises(ValueError, match=r"trust_extractor for EXPR with .*wav2vec2"):
        evaluated(tmp_path / "blend", data, tmp_path / "out")


# --- What a configuration asks of the store -------------------------------------------

UNFIT = {
    "outputs of sound": (
        {"data__features": "enet_b2_8_best+vggish", "data__inputs": "outputs"},
        r"no outputs of vggish@\S+ \(audio\)",
    ),
    "outputs of a later head's sound": (
        {"blend__features": ("wav2vec2_base",), "data__inputs": "outputs"},
        r"no outputs of wav2vec2_base@16k \(audio\)",
    ),
    "a later head's set is none": (
        {"blend__features": ("wav2vec2_base", "nonesuch@16k")},
        r"nonesuch",
    ),
    "trust in sound": (
        {"data__features": "vggish", "blend__trust_extractor": True},
        r"trust_extractor for EXPR with \(outputs\) vggish",
    ),
}


@pytest.mark.parametrize("name", UNFIT)
def test_unfit_sets_end_a_run_before_it_begins(store, tmp_path, name):
    """Of every head: nothing is trained, and no folder claimed."""
    fields, message = UNFIT[name]
    config = several_config(store, tmp_path / "run", **fields)
    with pytest.raises(ValueError, match=message):
        experiment.run_experiment(config)
    assert not (tmp_path / "run").exists()


# --- Cards and options ----------------------------------------------------------------


def test_a_card_that_lacks_a_field_is_refused(heads, tmp_path):
    config = read_json(heads[0] / "head.json")["config"]
    del config["postprocess"]["gaussian"]
    short = copied(heads[0], tmp_path / "short", config=config)
    with pytest.raises(ValueError, match=r"lacks a field: .*gaussian.*; expected"):
        load_heads(short)


def model_priors(directory):
    return load_heads(directory).priors


def test_priors_are_those_of_training_with_one_more_of_each(heads):
    counts = np.array(read_json(heads[0] / "head.json")["class_counts"])
    assert counts.shape == (8,)
    np.testing.assert_allclose(
        model_priors(heads[0]), (counts + 1) / (counts.sum() + 8), rtol=1e-12
    )


@pytest.mark.release
def test_causal_windows_are_told_in_seconds_of_the_past(heads, data, tmp_path):
    """And where no intervals are asked for, there are none."""
    config = read_json(heads[0] / "head.json")["config"]
    config["postprocess"]["causal"] = True
    config["evaluate"]["num_resamples"] = 0
    selection = read_json(heads[0] / "head.json")["selection"]
    selection["smoothing"] = [
        {"mode": mode, "half_width_frames": 5} for mode in ("mean", "median")
    ]
    own = copied(heads[0], tmp_path / "own", config=config, selection=selection)
    block = evaluated(own, data, tmp_path / "out")["metrics"]["smoothed"]
    assert block["window_s"] == [0.2, 0.2]
    alone = read_json(heads[0].parent / "results.json")["metrics"]["smoothed"]
    assert "f1_macro_ci95" in alone["with_crop"]
    assert "f1_macro_ci95" not in block["with_crop"]
    widths = np.atleast_1d(alone["half_width_frames"])
    seconds = np.atleast_1d(alone["window_s"])
    np.testing.assert_allclose(seconds, (2 * widths + 1) / 30, atol=1e-3)


# --- The command line -----------------------------------------------------------------


def test_heads_side_by_side_do_not_overwrite_each_other(
    heads, store, tmp_path, no_plots, capsys
):
    names = dict(zip("ab", heads, strict=True))
    for name, head in names.items():
        shutil.copytree(head, tmp_path / name)
        flags = [f"--checkpoint={tmp_path / name}", f"--data-dir={store}"]
        assert main.evaluate(flags) == 0
    places = [tmp_path / f"evaluation-{name}-validation" for name in names]
    assert sorted(tmp_path.glob("eval*")) == places
    kept = (places[0] / "results.json").read_bytes()
    # b into the folder of a; and a once more, which is of the same checkpoint.
    assert main.evaluate([*flags, f"--workdir={places[0]}"]) == 1
    told = capsys.readouterr().err
    assert f"{places[0]} has results of another checkpoint" in told
    assert "--workdir DIR" in told
    flags[0] = f"--checkpoint={names['a']}"
    assert main.evaluate([*flags, f"--workdir={places[0]}"]) == 0
    assert (places[0] / "results.json").read_bytes() == kept
    # Nor does a blend take the place of a head, or of another blend.
    two = [f"--checkpoint={tmp_path / 'a'},{tmp_path / 'b'}", flags[1]]
    assert main.blend([*two, f"--workdir={places[0]}"]) == 1
    assert "has results of another checkpoint" in capsys.readouterr().err
    assert not (places[0] / "best_model").exists()


def test_a_blend_of_other_heads_is_not_overwritten(heads, blend_run, tmp_path):
    """Blends of the same heads are the same, wherever these lie."""
    both = [*heads, heads[0]]
    own = read_json(blend_run / "results.json")["checkpoint"]
    assert (
        blend_fingerprint(heads)
        == own
        == load_heads(blend_run / "best_model").fingerprint
    )
    copies = [shutil.copytree(one, tmp_path / str(i)) for i, one in enumerate(heads)]
    assert blend_fingerprint(copies) == own
    assert blend_fingerprint(both) != own
    (tmp_path / "theirs.csv").write_text("video,frame\n")
    assert blend_fingerprint([heads[0], tmp_path / "theirs.csv"]) != own


def test_checkpoints_are_blended_from_the_command_line(
    heads, store, data, tmp_path, capsys
):
    """Evaluated again, the same comes out."""
    out = tmp_path / "blend"
    names = ",".join(map(str, heads))
    flags = [f"--checkpoint={names}", "--trust-extractor"]
    assert main.blend([*flags, f"--data-dir={store}", f"--workdir={out}"]) == 0
    said = capsys.readouterr().out
    assert "weights of the 2 heads" in said
    assert "the extractor's own probabilities are taken " in said
    best = out / "best_model"
    stored = read_json(best / "blend.json")
    assert stored["head_paths"] == [str(path) for path in heads]
    assert stored["selection"]["chosen_on"] == "dev"
    again = tmp_path / "again"
    evaluated(best, data, again)
    for name in ("results.json", "predictions.csv"):
        assert (again / name).read_bytes() == (out / name).read_bytes()
