"""Scores of faces by heads: those that evaluation gives the same features."""

import dataclasses
import pathlib

import jax.numpy as jnp
import numpy as np
import pytest
from made.embedded_faces import embedded_face
from made.several_sets import FRAMES, SETS, build_several_sets
from made.untrained_heads import untrained_head

from avemo_jax.batches.tables import Data, open_data
from avemo_jax.data.features.names import full_name
from avemo_jax.data.predictions.reading import read_frame_predictions
from avemo_jax.evaluation.evaluate import evaluate
from avemo_jax.evaluation.finished import dense_at
from avemo_jax.models.blend import Model, load_heads, write_blend
from avemo_jax.models.card import Evaluated
from avemo_jax.models.certainty import Certainty
from avemo_jax.models.ensembles import split_scores
from avemo_jax.models.frame_scores import corrected_rows, smoothable
from avemo_jax.models.selection import fixed_selection
from avemo_jax.postprocess.seconds import SECONDS_MODE
from avemo_jax.prediction import head_rows
from avemo_jax.prediction.embedded_face import EmbeddedFace
from avemo_jax.prediction.face_scores import predicted_faces
from avemo_jax.prediction.models import load_models
from avemo_jax.tasks import EXPR, own_task, register

BUDGET = 10**9
TIMES = np.arange(FRAMES) / 30
SPLIT = "validation"
B0 = ("enet_b0_8_va_mtl",)
HEARING = (*B0, "wav2vec2_base")


def sets_of(*names: str):
    return tuple((full_name(n), SETS[n][0], SETS[n][1], f"made {n}") for n in names)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Data:
    return open_data(str(build_several_sets(tmp_path_factory.mktemp("several"))))


@pytest.fixture(scope="module")
def faces(data) -> dict[str, EmbeddedFace]:
    """The videos of the split as faces that are seen in every frame."""
    found: dict[str, EmbeddedFace] = {}
    for number, video in enumerate(data.store.split_videos("EXPR", SPLIT), start=1):
        features, outputs = {}, {}
        only = {video: SPLIT}
        others = dict.fromkeys(data.store.split_of("EXPR"), "none")
        for name, (kind, _, _) in SETS.items():
            if kind == "audio":
                continue
            table = data.store.load_table(
                "EXPR", SPLIT, [name, "wav2vec2_base"], splits=others | only
            )
            dim = SETS[name][1]
            features[full_name(name)] = table.features[:, :dim]
            features[full_name("wav2vec2_base")] = table.features[:, dim:]
            outputs[full_name(name)] = table.outputs
        if not table.has_audio.any():
            del features[full_name("wav2vec2_base")]
        found[video] = embedded_face(
            range(1, FRAMES + 1),
            face_id=number,
            frame=table.frame.tolist(),
            features=features,
            outputs=outputs,
            has_audio=table.has_audio,
        )
    return found


def chosen(folder: pathlib.Path, **changes) -> Model:
    """The model with other smoothings than predictions usually have in its card."""
    model = load_heads(folder)
    count, units = len(model.card.seeds), model.task.num_outputs
    selection = fixed_selection(model.task, count, "", len(model.heads))
    limits = np.linspace(0.2, 0.7, count * units, dtype=np.float32)
    if model.task.kind == "multilabel":
        limits = limits.reshape(count, units)
        changes |= {"raw_thresholds": limits, "thresholds": limits[::-1]}
    smoothings = (("mean", 5), ("mean", 2))[:count]
    changes = {"on": "dev", "smoothings": smoothings, **changes}
    model.keep(Evaluated(selection=dataclasses.replace(selection, **changes)))
    return model


def check_equal(folder, data, faces, *, seeds: int = 1, models=None) -> None:
    """Predicted scores are means over the seeds that evaluation finishes."""
    model = load_models([str(folder)])
    found = predicted_faces(
        model, list(faces.values()), TIMES, fps=30.0, smooth="as-trained"
    )
    short = predicted_faces(model, list(faces.values()), TIMES, fps=30.0)
    for one in models or [load_heads(folder)]:
        task = one.task.name
        selection = one.card.selection
        predicted = split_scores(one, data, SPLIT, BUDGET)
        rows = corrected_rows(predicted, selection)
        unsmoothed = smoothable(one.task, rows, selection.raw_thresholds, one.options)

        def at_smoothings(rows, smoothings, one=one, predicted=predicted):
            selection = one.card.selection
            options = one.options
            return np.asarray(dense_at(options, predicted, selection, rows, smoothings))

        smoothed = at_smoothings(unsmoothed, selection.smoothings)
        raw = at_smoothings(rows, (("none", 0),) * seeds)
        half = at_smoothings(rows, ((SECONDS_MODE, 7),) * seeds)
        videos = predicted.table.videos
        for i, video in enumerate(faces):
            own = videos.index(video)
            at = slice(*predicted.table.dense_offsets[own:][:2])
            dense = smoothed[:, at]
            scores = found[i].scores[task]
            np.testing.assert_allclose(scores, dense.mean(0), atol=2e-6)
            expected = raw[:, at].mean(0)
            np.testing.assert_allclose(found[i].raw[task], expected, atol=2e-6)
            expected = half[:, at].mean(0)
            np.testing.assert_allclose(short[i].scores[task], expected, atol=2e-6)
            assert (task in found[i].spread) == (seeds > 1)
            if seeds > 1:
                deviation = dense.std(0, ddof=1)
                np.testing.assert_allclose(found[i].spread[task], deviation, atol=2e-6)
    assert model.with_spread == (tuple(t.name for t in model.tasks) * (seeds > 1))


def test_a_head_of_two_seeds_that_hears(data, faces, tmp_path):
    folder = untrained_head(
        tmp_path / "head",
        "AU",
        "mlp",
        sets_of(*HEARING),
        seeds=2,
        spec={"audio_flag": True},
    )
    chosen(folder)
    check_equal(folder, data, faces, seeds=2)
    model = load_models([str(folder)])
    assert model.hears
    found = predicted_faces(model, list(faces.values()), TIMES, fps=30.0)
    silent = [not face.has_audio.any() for face in faces.values()]
    assert silent == [not one.audio_used.any() for one in found]
    assert any(silent)
    assert not all(silent)


@pytest.mark.slow
def test_seeds_disagree_and_sets_and_calibration_change_no_class(data, faces, tmp_path):
    folder = untrained_head(tmp_path / "head", "EXPR", "mlp", sets_of(*B0), seeds=2)
    limit = np.array([0.2], np.float32)
    fitted = {"short": Certainty(np.array([[3.0]], np.float32), None, 9, limit)}
    chosen(folder, certainty=fitted, set_level=0.9)
    model = load_models([str(folder)])
    assert model.with_sets == model.with_disagreement == ("EXPR",)
    plain, calibrated = (
        predicted_faces(
            model, list(faces.values()), TIMES, fps=30.0, calibrated=calibrated
        )
        for calibrated in (False, True)
    )
    one = load_heads(folder)
    predicted = split_scores(one, data, SPLIT, BUDGET)
    rows, half = corrected_rows(predicted, one.card.selection), ((SECONDS_MODE, 7),) * 2
    dense = np.asarray(dense_at(one.options, predicted, one.card.selection, rows, half))
    others = dense.argmax(axis=-1) != dense.mean(axis=0).argmax(axis=-1)
    assert len(np.unique(others.mean(axis=0))) > 1
    for video, before, after in zip(faces, plain, calibrated, strict=True):
        probs, more = before.scores["EXPR"], after.scores["EXPR"]
        decided = probs.argmax(axis=1)
        np.testing.assert_array_equal(more.argmax(axis=1), decided)
        assert (more.max(axis=1) > probs.max(axis=1)).all()
        expected = probs >= limit
        expected[np.arange(len(probs)), decided] = True
        for one in (before, after):
            np.testing.assert_array_equal(one.sets["EXPR"], expected)
            own = predicted.table.videos.index(video)
            at = slice(*predicted.table.dense_offsets[own:][:2])
            shares = others[:, at].mean(axis=0)
            np.testing.assert_array_equal(one.disagreement["EXPR"], shares)
        assert (after.raw["EXPR"].max(axis=1) > before.raw["EXPR"].max(axis=1)).all()


@pytest.mark.slow
def test_the_table_that_evaluation_writes(data, faces, tmp_path):
    """With all that it chooses on dev."""
    folder = untrained_head(tmp_path / "head", "EXPR", "mlp", sets_of(*HEARING))
    evaluate(load_heads(folder), data, tmp_path, split=SPLIT, update_card=True)
    model = load_models([str(folder)])
    found = predicted_faces(
        model, list(faces.values()), TIMES, fps=30.0, smooth="as-trained"
    )
    written = read_frame_predictions(tmp_path / "predictions.csv", EXPR)
    assert written.videos == tuple(faces)
    scores = np.concatenate([one.scores["EXPR"] for one in found])
    np.testing.assert_allclose(scores, written.scores, atol=2e-6)
    filled = np.concatenate([one.filled for one in found])
    np.testing.assert_array_equal(filled, written.filled)


@pytest.mark.release
def test_joint_tasks_by_a_transformer(data, faces, tmp_path):
    folder = untrained_head(
        tmp_path / "joint",
        "EXPR+AU+VA",
        "transformer",
        sets_of(*B0),
        spec={"window": 16, "num_layers": 1, "model_dim": 8, "feat_dim": 8},
        config={"head__window": 16},
    )
    models = [chosen(folder / name) for name in ("EXPR", "AU", "VA")]
    check_equal(folder, data, faces, models=models)
    model = load_models([str(folder)], tasks=["VA", "EXPR"])
    assert [task.name for task in model.tasks] == ["EXPR", "VA"]


@pytest.mark.slow
def test_a_blend_with_a_correction_that_trusts_the_extractor(data, faces, tmp_path):
    heads = [
        untrained_head(
            tmp_path / name,
            "EXPR",
            "mlp",
            sets_of(*names),
            seeds=2,
            config={"blend__trust_extractor": True},
            missing_audio=missing,
        )
        for name, names, missing in (
            ("face", B0, "zeros"),
            ("both", HEARING, "drop"),
        )
    ]
    write_blend(tmp_path / "blend", heads)
    offsets = np.linspace(-1, 1, 16, dtype=np.float32).reshape(2, 8)
    chosen(
        tmp_path / "blend",
        weights=np.array([[0.3, 0.7], [0.6, 0.4]], np.float32),
        temperatures=np.array([1, 0.5], np.float32),
        offsets=offsets,
        confidences=np.array([0.6, 1], np.float32),
    )
    check_equal(tmp_path / "blend", data, faces, seeds=2)


@pytest.mark.release
def test_heads_over_the_batch_do_not_see_other_faces(data, faces, tmp_path):
    """As the original's, with its way of filling and smoothing."""
    folder = untrained_head(
        tmp_path / "original",
        "AU",
        "transformer",
        sets_of(*B0),
        spec={"attention": "batch", "positions": "none", "num_layers": 1},
        config={"postprocess__faithful_gaps": True},
        protocol="original",
        evaluation_batch_size=16,
    )
    chosen(folder)
    model = load_models([str(folder)])
    both = predicted_faces(model, list(faces.values()), TIMES, fps=30.0)
    for face, found in zip(faces.values(), both, strict=True):
        (alone,) = predicted_faces(model, [face], TIMES, fps=30.0)
        np.testing.assert_allclose(found.scores["AU"], alone.scores["AU"], atol=2e-6)
    # Of the first face the batches are those of evaluation.
    one = load_heads(folder)
    predicted = split_scores(one, data, SPLIT, BUDGET)
    assert predicted.table.videos[0] == next(iter(faces))
    rows = predicted.scores[0, 0, :48]
    first = next(iter(faces.values()))
    np.testing.assert_allclose(both[0].raw["AU"][first.frame[:48] - 1], rows, atol=2e-6)


@pytest.mark.slow
def test_a_task_of_ones_own_by_hand(faces, tmp_path):
    register(own_task("pain_level", "regression", ("pain_level",), (0.0, 10.0)))
    folder = untrained_head(tmp_path / "own", "pain_level", "mlp", sets_of(*B0))
    model = load_models([str(folder)])
    assert any("nothing was chosen" in note for note in model.notes)
    head = load_heads(folder).heads[0]
    face = next(iter(faces.values()))
    (found,) = predicted_faces(model, [face], TIMES, fps=30.0, smooth="none")
    variables = head.variables
    logits, _ = head.head.apply(
        {n: {k: v[0] for k, v in d.items()} for n, d in variables.params.items()},
        {},
        jnp.asarray(face.features[full_name(*B0)]),
        train=False,
    )
    np.testing.assert_allclose(
        found.scores["pain_level"][found.embedded], np.tanh(logits), atol=2e-6
    )


@pytest.mark.slow
def test_a_recurrent_head_that_carries_its_state(data, faces, tmp_path):
    folder = untrained_head(
        tmp_path / "live",
        "AU",
        "recurrent",
        sets_of(*B0),
        spec={"window": 16, "num_layers": 1, "model_dim": 8, "causal": True},
    )
    chosen(folder)
    check_equal(folder, data, faces)


@pytest.mark.parametrize(
    "kind",
    [
        "mlp",
        pytest.param("transformer", marks=pytest.mark.slow),
        pytest.param("recurrent", marks=pytest.mark.release),
    ],
)
def test_parts_give_the_scores_of_the_whole(kind, tmp_path, monkeypatch):
    small = {"window": 16, "num_layers": 1, "model_dim": 8, "feat_dim": 8}
    folder = untrained_head(
        tmp_path / kind,
        "VA",
        kind,
        sets_of(*B0),
        spec={} if kind == "mlp" else small | {"causal": kind == "recurrent"},
    )
    rng = np.random.default_rng(0)
    seen = np.flatnonzero(rng.random(1000) > 0.2) + 1
    long = embedded_face(
        seen.tolist(),
        features={full_name(*B0): rng.normal(size=(len(seen), 10))},
    )
    short = embedded_face(
        range(301, 400),
        face_id=2,
        features={full_name(*B0): rng.normal(size=(99, 10))},
    )
    model = load_models([str(folder)])

    def scores():
        found = predicted_faces(
            model, [long, short], np.arange(1000) / 30, fps=30.0, smooth="none"
        )
        return [one.scores["VA"] for one in found]

    whole = scores()
    for rows in (64, 150):
        monkeypatch.setattr(head_rows, "_PART_BYTES", rows * 20)
        for part, one in zip(scores(), whole, strict=True):
            np.testing.assert_allclose(part, one, atol=1e-6)
    assert len(model.programs) == 1
    (program,) = model.programs.values()
    assert program._cache_size() <= 3


@pytest.mark.slow
def test_without_sound_a_head_trained_with_sound_alone_has_no_scores(
    data, faces, tmp_path
):
    folder = untrained_head(
        tmp_path / "drop", "VA", "mlp", sets_of(*HEARING), missing_audio="drop"
    )
    model = load_models([str(folder)])
    silent = [one for one in faces.values() if not one.has_audio.any()]
    (found,) = predicted_faces(model, silent, TIMES, fps=30.0)
    assert np.isnan(found.scores["VA"]).all()
    assert not found.filled.any()
    assert not found.audio_used


def test_features_that_do_not_fit(faces, tmp_path):
    folder = untrained_head(
        tmp_path / "wide",
        "VA",
        "mlp",
        (("enet_b0_8_va_mtl@cropped-224", "visual", 9, "x"),),
    )
    model = load_models([str(folder)])
    with pytest.raises(ValueError, match="no vectors of enet_b0_8_va_mtl@cropped"):
        predicted_faces(model, list(faces.values()), TIMES, fps=30.0)
