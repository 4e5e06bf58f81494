"""Models by name and folder: their tasks, features and mistakes."""

import shutil

import numpy as np
import pytest
from made.plugins import install
from made.untrained_heads import untrained_head

from avemo_jax.extractors.published import THESIS_HEADS
from avemo_jax.models.blend import load_heads, write_blend
from avemo_jax.models.card import UNKNOWN, CheckpointError, Evaluated
from avemo_jax.models.certainty import Certainty
from avemo_jax.models.selection import Selection
from avemo_jax.prediction.certainty_notes import certainty_notes, check_calibrated
from avemo_jax.prediction.model_table import PUBLISHED
from avemo_jax.prediction.models import load_models
from avemo_jax.prediction.wanted_sets import wanted_set
from avemo_jax.tasks import own_task, register

FACE = ("enet_b0_8_va_mtl@cropped_aligned-224", "visual", 10, "made")
SOUND = ("wav2vec2_base@16k-original", "audio", 6, "made")


def names_of(model):
    return [task.name for task in model.tasks]


def test_several_models_are_one_table(tmp_path):
    heads = untrained_head(tmp_path / "joint", "AU+VA", "mlp", (FACE, SOUND), seeds=2)
    model = load_models(["hsemotion", str(heads)], tasks=["AU", "EXPR"])
    assert names_of(model) == ["EXPR", "AU"]
    assert model.tasks[0].columns[-1] == "Contempt"
    assert [one.name for one in model.wanted] == [
        "enet_b0_8_va_mtl@cropped-224",
        FACE[0],
        SOUND[0],
    ]
    assert [one.crop for one in model.wanted] == ["tight", "aligned", None]
    assert model.needs_weights == ("enet_b0_8_va_mtl", "wav2vec2_base")
    assert model.hears
    assert model.with_spread == ("AU",)
    other = load_models(["hsemotion", str(heads)], tasks=["AU"])
    assert other.fingerprint != model.fingerprint
    assert load_models(["hsemotion"]).fingerprint != model.fingerprint


@pytest.mark.slow
def test_the_same_task_twice(tmp_path):
    heads = untrained_head(tmp_path / "va", "VA", "mlp", (FACE,))
    with pytest.raises(ValueError, match=r"both predict VA.*--tasks EXPR.*apart"):
        load_models(["hsemotion", str(heads)])
    assert names_of(load_models(["hsemotion", str(heads)], tasks=["EXPR"])) == ["EXPR"]
    with pytest.raises(ValueError, match=r"--tasks AU: no model has it.*EXPR, VA"):
        load_models(["hsemotion"], tasks=["AU"])


@pytest.mark.slow
def test_a_run_and_its_parts(tmp_path):
    best = untrained_head(tmp_path / "run" / "best_model", "EXPR", "mlp", (FACE,))
    run = load_models([str(tmp_path / "run")])
    assert run.heads[0].fingerprint == load_models([str(best)]).heads[0].fingerprint
    other = untrained_head(tmp_path / "other", "EXPR", "mlp", (FACE, SOUND))
    write_blend(tmp_path / "blend", [best, other])
    blend = load_models([str(tmp_path / "blend")])
    assert blend.heads[0].features == (FACE[0], SOUND[0])
    assert blend.heads[0].num_seeds == 1


@pytest.mark.slow
def test_folds_are_averaged(tmp_path):
    for fold in range(2):
        untrained_head(
            tmp_path / f"fold_{fold}" / "best_model",
            "VA",
            "mlp",
            (FACE,),
            seeds=2,
            config={"data__folds": 2},
        )
    model = load_models([str(tmp_path)])
    assert model.heads[0].num_seeds == 4
    assert any("means over 4 trained heads" in note for note in model.notes)


def test_what_is_no_model(tmp_path):
    with pytest.raises(ValueError, match="did you mean hsemotion"):
        load_models(["hsemotoin"])
    with pytest.raises(CheckpointError, match="has no model; expected head"):
        load_models([str(tmp_path)])
    with pytest.raises(ValueError, match="extractor of sound"):
        load_models(["vggish"])
    with pytest.raises(ValueError, match="no outputs of its own"):
        load_models(["face_hog"])
    with pytest.raises(CheckpointError, match="avemo fetch"):
        load_models(["thesis"], weights=tmp_path)


@pytest.mark.slow
def test_published_heads_without_sound(tmp_path):
    sets = {"enet_b2_8_best": ("visual", 8), "wav2vec2_base": ("audio", 6)}
    for head in THESIS_HEADS:
        if head.name in PUBLISHED["thesis"].head_names:
            features = [(name, *sets[name], UNKNOWN) for name in head.features]
            folder = tmp_path / "thesis" / head.name
            untrained_head(folder, head.task, "mlp", features)
    model = load_models(["thesis"], weights=tmp_path)
    assert model.needs_weights == ("enet_b2_8_best", "wav2vec2_base")
    assert [one.silent is not None for one in model.heads] == [True, False, True]
    for one in PUBLISHED["thesis"].heads:
        if one.silent is not None:
            shutil.rmtree(tmp_path / "thesis" / one.name)
    silent = load_models(["thesis"], weights=tmp_path, sound=False)
    assert silent.needs_weights == ("enet_b2_8_best",)
    assert [one.is_silenced for one in silent.heads] == [True, False, True]
    for used, one in zip(silent.heads, model.heads, strict=True):
        assert used.fingerprint == (one.silent or one).fingerprint
    assert silent.hears
    assert not load_models(
        ["thesis"], tasks=["AU"], weights=tmp_path, sound=False
    ).hears


def test_a_plug_in_with_outputs_is_a_model(tmp_path, monkeypatch):
    changes = 'outputs = ("happy", "sad", "neutral")'
    monkeypatch.syspath_prepend(str(install(tmp_path, "smiles", changes)))
    model = load_models(["smiles"])
    assert model.tasks[0].columns == ("Neutral", "Happiness", "Sadness")
    assert [one.name for one in model.wanted] == ["smiles@cropped-16"]
    assert model.needs_weights == ()


def test_a_blend_with_predictions_made_elsewhere(tmp_path):
    head = untrained_head(tmp_path / "head", "VA", "mlp", (FACE,))
    table = tmp_path / "theirs.csv"
    table.write_text("video,frame,valence,arousal\na,1,0.5,0.5\n")
    write_blend(tmp_path / "blend", [head, table])
    with pytest.raises(CheckpointError, match="no such predictions of other videos"):
        load_models([str(tmp_path / "blend")])


def test_thresholds_are_those_for_the_smoothing(tmp_path):
    head = untrained_head(tmp_path / "au", "AU", "mlp", (FACE,), seeds=2)
    fixed = load_models([str(head)])
    np.testing.assert_array_equal(fixed.thresholds(0.5)["AU"], np.full(12, 0.5))
    assert "no thresholds were chosen" in fixed.smoothing_notes(0.5)[0]
    trained, raw, short = (
        np.stack([np.full(12, v), np.full(12, v + 0.2)]).astype(np.float32)
        for v in (0.1, 0.3, 0.5)
    )
    smoothings = (("median", 15), ("mean", 5))
    for of_half, expected, notes in ((short, 0.6, 0), (None, 0.4, 1)):
        chosen = Selection(
            "dev", "", smoothings, trained, raw, short_thresholds=of_half
        )
        load_heads(head).keep(Evaluated(selection=chosen))
        model = load_models([str(head)])
        for smooth, value in (
            (0.5, expected),
            (2.0, expected),
            ("none", 0.4),
            ("as-trained", 0.2),
        ):
            found = model.thresholds(smooth)["AU"]
            np.testing.assert_allclose(found, value, rtol=1e-6)
        assert len(model.smoothing_notes(0.5)) == notes
        assert len(model.smoothing_notes(2.0)) == 1
        assert model.smoothing_notes("as-trained") == ()
        assert model.smoothing_notes("none") == ()


def test_what_is_fitted_is_that_for_the_smoothing(tmp_path):
    """And thresholds of calibrated scores decide as they did."""
    head = untrained_head(tmp_path / "au", "AU", "mlp", (FACE,), seeds=2)
    model = load_models([str(head)])
    assert model.heads[0].certainty(0.5) is None
    with pytest.raises(ValueError, match="of which no card says how; expected"):
        check_calibrated(model, 0.5)
    half = np.full((2, 12), 0.5, np.float32)
    by_kind = {
        kind: Certainty(np.full((1, 12), slope, np.float32), np.ones((1, 12)), 5)
        for kind, slope in (("frames", 9.0), ("mean", 3.0), ("short", 2.0))
    }
    chosen = Selection("dev", "", (("mean", 5),) * 2, half, half, (), certainty=by_kind)
    load_heads(head).keep(Evaluated(selection=chosen))
    model = load_models([str(head)])
    for smooth, slope in ((0.5, 2.0), ("none", 2.0), ("as-trained", 3.0)):
        fitted = model.heads[0].certainty(smooth)
        assert fitted.slopes[0, 0] == slope
        check_calibrated(model, smooth)
        assert model.thresholds(smooth)["AU"].tolist() == [0.5] * 12
        mapped = model.thresholds(smooth, calibrated=True)["AU"]
        np.testing.assert_allclose(mapped, 1 / (1 + np.exp(-1)), rtol=1e-6)
    assert certainty_notes(model, "as-trained", calibrated=False) == ()
    (said, fitted_for) = certainty_notes(model, "none", calibrated=True)
    assert "probabilities are calibrated, by dev" in said
    assert "fitted for a window of 0.5 s" in fitted_for


def test_folds_give_means_of_what_was_fitted_to_each():
    one = Certainty(np.float32([[1.0]]), None, 10, np.float32([0.1]))
    two = Certainty(np.float32([[4.0]]), None, 12, np.float32([0.3]))
    both = Certainty.of_several([one, two])
    assert both.slopes[0, 0] == pytest.approx(2.0)
    assert both.set_limits[0] == pytest.approx(0.2)
    assert both.num_videos == 22


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("enet_b2_8_best@cropped_aligned-260", {"size_px": 260}),
        ("enet_b0_8_best_vgaf", {"size_px": 224}),
        ("wav2vec2_base@16k", {}),
        ("wav2vec2_base@16k-original", {"stereo": "after", "chunking": "original"}),
        ("vggish@0.96s-original", {}),
        ("acoustic@1.5s", {}),
        ("acoustic@2s-hop0.5s", {"context_s": 2.0, "hop_s": 0.5}),
        ("acoustic@1.5s-hop0.5s", {"context_s": 1.5, "hop_s": 0.5}),
    ],
)
def test_options_are_read_from_names(name, options):
    found = wanted_set(name)
    assert found.options == options
    choice = found.choice(batch_size=8)
    assert f"{choice.name}@{choice.input_name}" == found.name
    assert (
        choice.alignment
        == {
            "visual": None,
            "audio": "original" if "original" in name else "time",
        }[found.kind]
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("theirs@cropped-224", "cannot be made here"),
        ("enet_b2_8_best@full_frame-224", "expected one of faces"),
        ("enet_b2_8_best@cropped_aligned", "expected one of faces"),
        ("vggish@2s", "of sound made otherwise"),
        ("wav2vec2_base@16k-theirs", "of sound made otherwise"),
    ],
)
def test_features_that_cannot_be_made(name, said):
    with pytest.raises(ValueError, match=said):
        wanted_set(name)


def test_tasks_with_columns_of_one_name_are_one_table(tmp_path):
    folders = []
    for name in ("awake", "speaks"):
        register(own_task(name, "multiclass", ("no", "yes")))
        folders.append(untrained_head(tmp_path / name, name, "linear", (FACE,)))
    model = load_models([str(folder) for folder in folders])
    assert names_of(model) == ["awake", "speaks"]
