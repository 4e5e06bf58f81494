"""Tasks trained together: labels, masks, loss, scores, whole runs on a real store."""

import dataclasses
import functools
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from made.compiled_heads import apply, init
from made.stores import annotated, source, vectors
from made.tables import made_table

from avemo_jax import experiment
from avemo_jax.config.checks import check_config
from avemo_jax.config.fields import base_config
from avemo_jax.data.corpus.annotations import read_annotations
from avemo_jax.data.store.store import open_store
from avemo_jax.heads import HeadSpec, Variables, build_head
from avemo_jax.heads.joint import part_spec, part_variables
from avemo_jax.heads.registry import HEAD_KINDS
from avemo_jax.metrics import scores as metrics
from avemo_jax.packing.build import build_store
from avemo_jax.postprocess.frame_rate.rules import FrameRate
from avemo_jax.tasks import AU, EXPR, VA, get_task, joint_split, joint_task
from avemo_jax.training.objective import TrainingError, configured_loss, dev_loss

NAME = "EXPR+AU+VA"
TASK = joint_task([EXPR, AU, VA])
LENGTH = 40


# --- Labels and splits ----------------------------------------------------------------


def test_labels_lie_side_by_side_and_come_back():
    labels = {
        "EXPR": np.array([7, -1, 0], np.int8),
        "AU": np.array([[1] * 12, [0] * 12, [1] * 11 + [-1]], np.int8),
        "VA": np.array([[0.5, -1], [np.nan, 0], [0, 0.25]], np.float32),
    }
    joint = TASK.join(labels, 4)
    assert joint.shape == (4, 15)
    assert np.isnan(joint[3]).all()  # a frame more than any task has labels of
    known = {"EXPR": [1, 0, 1, 0], "AU": [1, 1, 0, 0], "VA": [1, 0, 1, 0]}
    for part in TASK.parts:
        own, valid = part.labels_of(joint)
        name = part.task.name
        np.testing.assert_array_equal(valid, np.array(known[name], bool))
        assert own.dtype == part.task.label_dtype
        np.testing.assert_array_equal(own[:3][valid[:3]], labels[name][valid[:3]])
        assert np.isfinite(own).all()  # what does not count harms no gradient
    np.testing.assert_array_equal(TASK.valid(joint), [True, True, True, False])
    assert not TASK.valid(TASK.empty_labels(3)).any()


def test_task_without_labels_of_a_video_counts_nowhere():
    joint = TASK.join({"EXPR": np.array([3], np.int8)}, 2)
    assert [bool(p.labels_of(joint)[1].any()) for p in TASK.parts] == [
        True,
        False,
        False,
    ]


def test_columns_and_names():
    assert get_task(NAME) == TASK
    assert TASK.num_outputs == 22
    assert TASK.columns[0] == "EXPR_Neutral"
    assert TASK.columns[8] == "AU_AU01"
    assert TASK.columns[-1] == "VA_arousal"
    assert [part.outputs for part in get_task("VA+EXPR").parts] == [
        slice(0, 2),
        slice(2, 10),
    ]


@pytest.mark.parametrize(
    ("splits", "expected"),
    [
        (("train", "train", ""), "train"),
        (("train", "validation", "train"), "validation"),
        (("dev", "train", "train"), "dev"),
        (("dev", "validation", ""), "validation"),
        (("test", "train", "validation"), "test"),
        (("", "", ""), ""),
    ],
)
def test_video_is_trained_on_only_if_no_task_keeps_it(splits, expected):
    assert joint_split(splits) == expected


# --- Loss, scores, heads --------------------------------------------------------------


def record_of(video: str, frames: int, seed: int):
    """Labels of all tasks, some invalid; units are so for a whole frame."""
    one = annotated(video, frames, "train", seed=seed)
    rng = np.random.default_rng(seed)
    units = rng.integers(0, 2, (frames, 12)).astype(np.int8)
    units[rng.random(frames) < 0.2, 3] = -1
    return dataclasses.replace(one, labels={**one.labels, "AU": units})


def table_of(task, labels: np.ndarray):
    """A table of these labels; its features are of no account."""
    table = made_table("EXPR")
    valid = task.valid(labels)
    return dataclasses.replace(table, task=task, labels=labels, valid=valid)


def made():
    frames = made_table("EXPR").num_rows
    record = record_of("v", frames, seed=3)
    joint = TASK.join(record.labels, frames)
    logits = np.random.default_rng(1).normal(size=(frames, 22)).astype(np.float32)
    return table_of(TASK, joint), record.labels, logits


def computed(loss, *arrays):
    return jax.jit(loss)(*arrays)


@pytest.mark.parametrize("factors", [(), (1.0, 0.5, 2.0)])
def test_loss_is_the_weighted_sum_of_the_tasks_losses(factors):
    table, labels, logits = made()
    config = base_config(NAME, "mlp")
    config.loss.task_weights = factors
    found = computed(configured_loss(config, table), logits, table.labels, table.valid)
    expected = 0.0
    for part, factor in zip(TASK.parts, factors or (1, 1, 1), strict=True):
        name = part.task.name
        own = table_of(part.task, labels[name])
        alone = configured_loss(base_config(name, "mlp"), own)
        mine = np.nan_to_num(own.labels), own.valid
        expected += factor * float(computed(alone, logits[:, part.outputs], *mine))
    assert float(found) == pytest.approx(expected, rel=1e-6)


def test_gradient_is_finite_and_zero_where_a_task_has_no_label():
    table, _, logits = made()
    loss = configured_loss(base_config(NAME, "mlp"), table)
    grad = np.asarray(computed(jax.grad(loss), logits, table.labels, table.valid))
    assert np.isfinite(grad).all()
    for part in TASK.parts:
        known = part.labels_of(table.labels)[1]
        assert (grad[~known, part.outputs] == 0).all()
        assert (np.abs(grad[known, part.outputs]).max(axis=1) > 0).all()


def test_scores_are_those_of_each_task_over_its_own_frames():
    table, labels, logits = made()
    scores = np.asarray(computed(TASK.activate, logits))
    arrays = jnp.asarray(table.labels), jnp.asarray(table.valid)
    found = metrics.task_metrics(NAME, scores, *arrays)
    total = 0.0
    for part in TASK.parts:
        task = part.task
        own = labels[task.name]
        valid = task.valid(own)
        mine = jnp.asarray(np.nan_to_num(own)), jnp.asarray(valid)
        alone = metrics.task_metrics(task.name, scores[:, part.outputs], *mine)
        for name, value in alone.items():
            np.testing.assert_array_equal(found[f"{task.name}_{name}"], value)
        total += float(alone[task.criterion])
    assert float(found["p"]) == pytest.approx(total, abs=1e-6)


def test_loss_on_dev_is_the_training_loss_of_the_logits():
    table, _, logits = made()
    loss = configured_loss(base_config(NAME, "mlp"), table)
    labels, mask = jnp.asarray(table.labels), jnp.asarray(table.valid)
    scores = computed(TASK.activate, logits)
    # Logits of classes come back but for a constant, which a softmax does not see.
    of_dev = functools.partial(dev_loss, loss, NAME)
    found = computed(of_dev, scores, labels, mask)
    expected = computed(loss, logits, labels, mask)
    assert float(found) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(
            kind,
            marks=pytest.mark.release
            if kind in ("recurrent", "cross_attention")
            else [],
        )
        for kind in HEAD_KINDS
    ],
)
def test_each_tasks_head_says_what_the_joint_head_says(kind):
    sets = {"dims": (6, 3), "set_kinds": ("visual", "audio")}
    sizes = {"mlp_dim": 8, "model_dim": 16, "ffn_dim": 12, "num_layers": 1}
    spec = HeadSpec(task=NAME, kind=kind, window=8, **sets, **sizes)
    head = build_head(spec)
    params, stats = init(head)
    variables = Variables(params=params, stats=stats)
    stacked = jax.tree.map(lambda leaf: np.asarray(leaf)[None], variables)
    x = np.random.default_rng(2).normal(size=(4, 8, 9)).astype(np.float32)
    joint = np.asarray(apply(head, params, stats, x)[0])
    assert joint.shape == (4, 8, 22)
    for part in TASK.parts:
        own = jax.tree.map(
            lambda leaf: leaf[0], part_variables(spec, part, stacked, TASK)
        )
        alone = build_head(part_spec(spec, part))
        like = jax.eval_shape(alone.init, jax.random.key(1))
        shapes = jax.tree.map(jnp.shape, like)
        assert shapes == jax.tree.map(jnp.shape, (own.params, own.stats))
        logits, _ = apply(alone, own.params, own.stats, x)
        np.testing.assert_allclose(logits, joint[..., part.outputs], atol=1e-6)


# --- Whole runs -----------------------------------------------------------------------


def records() -> list:
    """Videos whose splits differ by task, as the official ones do."""
    made_videos = []
    kept = {
        "a": {}, "b": {}, "c": {}, "d": {},
        "e": {"VA": "validation"},  # trained on for EXPR and AU, kept by VA
        "f": dict.fromkeys(("EXPR", "AU", "VA"), "dev"),
        "g": {"EXPR": "dev", "AU": "train", "VA": "train"},
        "h": dict.fromkeys(("EXPR", "AU", "VA"), "validation"),
        "i": dict.fromkeys(("EXPR", "AU", "VA"), "validation"),
    }  # fmt: skip
    for seed, (video, other) in enumerate(kept.items()):
        one = record_of(video, LENGTH, seed)
        labels = one.labels
        if video == "b":  # no labels of one task
            labels = {name: labels[name] for name in ("EXPR", "VA")}
        splits = {name: other.get(name, "train") for name in labels}
        made_videos.append(dataclasses.replace(one, labels=labels, splits=splits))
    return made_videos


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    root = tmp_path_factory.mktemp("joint")
    frames = {r.video: list(range(1, LENGTH)) for r in records()}
    face = source("face@112", "visual", vectors("face", frames, 6))
    sound = source("sound@16k", "audio", vectors("sound", frames, 4))
    splits = {
        task: {r.video: r.splits[task] for r in records() if task in r.splits}
        for task in TASK.name.split("+")
    }
    build_store(root, records(), [face, sound], splits=splits, show_progress=False)
    return root


def config_of(store: pathlib.Path, workdir: pathlib.Path, kind: str = "mlp"):
    config = base_config(NAME, kind, "face+sound")
    config.data.dir, config.workdir = str(store), str(workdir)
    config.num_epochs, config.num_seeds, config.batch_size = 2, 2, 32
    config.head.window, config.train.window_stride = 16, 8
    config.head.num_layers = 1
    config.evaluate.num_resamples = 20
    config.log.progress = config.log.tensorboard = False
    return config


def read(path: pathlib.Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def test_joint_table_leaves_out_what_a_task_keeps(store):
    opened = open_store(store)
    assert opened.split_videos(NAME, "train") == ("a", "b", "c", "d")
    assert opened.split_videos(NAME, "dev") == ("f", "g")
    assert opened.split_videos(NAME, "validation") == ("e", "h", "i")
    assert opened.split_videos("EXPR", "train") == ("a", "b", "c", "d", "e")
    table = opened.load_table(NAME, "train", ["face", "sound"], show_progress=False)
    alone = opened.load_table("AU", "train", ["face", "sound"], show_progress=False)
    part = TASK.parts[1]
    for video in ("a", "c", "d"):
        rows, own = (
            slice(*t.row_offsets[t.videos.index(video) :][:2]) for t in (table, alone)
        )
        labels, known = part.labels_of(table.labels[rows])
        np.testing.assert_array_equal(known, alone.valid[own])
        np.testing.assert_array_equal(labels[known], alone.labels[own][known])


@pytest.fixture(scope="module")
def mlp_run(store, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run") / "mlp"
    returned = experiment.run_experiment(config_of(store, workdir))
    return workdir, returned


@pytest.mark.release
def test_each_task_has_its_own_rule_for_the_frames_to_embed(mlp_run, store, tmp_path):
    found = experiment.evaluate_checkpoint(
        mlp_run[0] / "best_model",
        data_dir=str(store),
        split="validation",
        workdir=tmp_path,
        frame_rate=FrameRate("stride", 4),
    )
    total = 0.0
    for name, one in found["tasks"].items():
        smoothed = one["metrics"]["smoothed"]
        assert 0 < smoothed["share_embedded"] < 0.5
        assert one["frame_rate"]["share_embedded"] == smoothed["share_embedded"]
        total += smoothed["with_crop"][get_task(name).headline]
    assert found["metrics"]["smoothed"]["with_crop"]["p"] == pytest.approx(total)


@pytest.mark.slow
def test_run_scores_every_task_and_their_sum(mlp_run):
    workdir, returned = mlp_run
    assert returned == read(workdir / "results.json")
    for block, frames in (
        *(("raw", "with_crop"), ("smoothed", "with_crop")),
        ("smoothed", "all_labelled"),
    ):
        alone = [
            read(workdir / task.name / "results.json")["metrics"][block][frames]
            for task in TASK.tasks
        ]
        total = sum(
            one[task.headline] for one, task in zip(alone, TASK.tasks, strict=True)
        )
        found = returned["metrics"][block][frames]
        assert found["p"] == pytest.approx(total, abs=1e-6)
        assert found["p_std"] >= 0
    for task in TASK.tasks:
        result = read(workdir / task.name / "results.json")
        assert result["chosen_on"] == "dev"
        assert not result["trained_on_this_split"]
        lines = (workdir / task.name / "predictions.csv").read_text().splitlines()
        videos = {"EXPR": 2, "AU": 2, "VA": 3}[task.name]
        assert len(lines) == 1 + videos * LENGTH
        card = read(workdir / "best_model" / task.name / "head.json")
        assert card["training_videos"] == ["a", "b", "c", "d"]
        assert card["trained_with"] == NAME
    assert (workdir / "plots" / "learning_curves.png").is_file()
    lines = [
        json.loads(x) for x in (workdir / "metrics.jsonl").read_text().splitlines()
    ]
    for line in lines:
        parts = line["dev_EXPR_f1_macro"] + line["dev_AU_f1_mean_at_0.5"]
        assert line["dev_p"] == pytest.approx(parts + line["dev_VA_ccc_mean"], abs=1e-5)


@pytest.mark.release
def test_finished_run_is_evaluated_again_not_trained(mlp_run, store):
    workdir, returned = mlp_run
    before = (workdir / "metrics.jsonl").stat().st_mtime_ns
    again = experiment.run_experiment(config_of(store, workdir))
    assert again["metrics"] == returned["metrics"]
    assert (workdir / "metrics.jsonl").stat().st_mtime_ns == before


@pytest.mark.release
def test_checkpoint_of_all_and_of_one_task_can_be_evaluated(mlp_run, store, tmp_path):
    workdir, returned = mlp_run
    options = {"data_dir": str(store), "split": "validation"}
    joint = experiment.evaluate_checkpoint(
        workdir / "best_model", workdir=tmp_path / "all", **options
    )
    assert joint["metrics"] == returned["metrics"]
    alone = experiment.evaluate_checkpoint(
        workdir / "best_model" / "AU", workdir=tmp_path / "au", **options
    )
    assert alone["metrics"] == returned["tasks"]["AU"]["metrics"]


@pytest.mark.release
def test_transformer_over_two_tasks_and_folds(store, tmp_path):
    config = config_of(store, tmp_path / "run", "transformer")
    config.task, config.num_seeds, config.num_epochs = "VA+EXPR", 1, 1
    config.data.folds = 2
    config.loss.task_weights = (0.5, 1.0)
    found = experiment.run_experiment(config)
    assert found["num_folds"] == 2
    assert len(found["folds"]) == 2
    assert found["metrics"]["raw"]["with_crop"]["p_std"] >= 0
    cards = [read(tmp_path / f"run/fold_{i}/best_model/joint.json") for i in range(2)]
    trained = [set(card["training_videos"]) for card in cards]
    assert trained[0] != trained[1]
    # "e" is VA's validation and "g" EXPR's dev, but both are EXPR's official training.
    assert all("e" not in one for one in trained)


@pytest.mark.release
def test_multi_task_files_are_trained_on_as_they_come(tmp_path):
    """The challenge's files, one row an image, -5 and -1 where a task has no label."""
    folder = tmp_path / "Annotations" / "MTL_Challenge"
    folder.mkdir(parents=True)
    header = "image,valence,arousal,expression,aus"
    made_videos = {name: record_of(name, LENGTH, i) for i, name in enumerate("abcdef")}
    for split, names in (("train", "abcd"), ("validation", "ef")):
        lines = [header]
        for name in names:
            labels = made_videos[name].labels
            for i in range(0, LENGTH, 2):  # not every frame is in the files
                va = np.nan_to_num(labels["VA"][i], nan=-5)
                units = labels["AU"][i] if (labels["AU"][i] >= 0).all() else [-1] * 12
                values = [*map(float, va), labels["EXPR"][i], *units]
                lines.append(f"{name}/{i + 1:05d}.jpg,{','.join(map(str, values))}")
        (folder / f"{split}_set.txt").write_text("\n".join(lines) + "\n")
    frames = {name: list(range(1, LENGTH + 1)) for name in made_videos}
    face = source("face@112", "visual", vectors("face", frames, 6))
    found = read_annotations(tmp_path / "Annotations", mtl=True)
    build_store(tmp_path / "store", found, [face], show_progress=False)
    config = config_of(tmp_path / "store", tmp_path / "run")
    config.data.features = "face"
    result = experiment.run_experiment(config)
    assert result["metrics"]["smoothed"]["all_labelled"]["p"] != 0
    for task in TASK.tasks:
        frames_scored = result["tasks"][task.name]["metrics"]["smoothed"]
        own = [made_videos[name].labels[task.name][::2] for name in "ef"]
        valid = sum(int(task.valid(labels).sum()) for labels in own)
        assert frames_scored["all_labelled"]["num_frames"] == valid


# --- Mistakes -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["EXPR+EXPR", "EXPR+", "EXPR+emotion", "+"])
def test_wrong_names(name):
    with pytest.raises(ValueError, match=r"config\.task"):
        base_config(name, "mlp")


@pytest.mark.parametrize(
    ("task", "weights"),
    [(NAME, (1.0, 2.0)), (NAME, (1.0, 0.0, 1.0)), ("EXPR", (1.0,))],
)
def test_wrong_weights(task, weights):
    config = base_config(task, "mlp")
    config.loss.task_weights = weights
    with pytest.raises(ValueError, match=r"config\.loss\.task_weights is"):
        check_config(config)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("blend.features", ("sound",)),
        ("blend.trust_extractor", True),
        ("postprocess.correction", "prior"),
        ("train.select_by", "ccc_valence"),
    ],
)
def test_what_one_task_alone_can_have(field, value):
    config = base_config(NAME, "mlp")
    group, name = field.split(".")
    setattr(config[group], name, value)
    with pytest.raises(ValueError, match=rf"config\.{field}"):
        check_config(config)


def test_tasks_without_a_common_video_to_train_on(tmp_path):
    videos = []
    for i, task in enumerate(("EXPR", "EXPR", "VA", "VA")):
        one = record_of(f"v{i}", LENGTH, i)
        labels = {task: one.labels[task]}
        splits = {task: "train" if i < 2 else "validation"}
        videos.append(dataclasses.replace(one, labels=labels, splits=splits))
    splits = {
        "EXPR": {"v0": "train", "v1": "dev"},
        "AU": {},
        "VA": {"v2": "validation"},
    }
    frames = {r.video: list(range(1, LENGTH)) for r in videos}
    face = source("face@112", "visual", vectors("face", frames, 6))
    build_store(tmp_path / "s", videos, [face], splits=splits, show_progress=False)
    config = config_of(tmp_path / "s", tmp_path / "run")
    config.task, config.data.features = "EXPR+VA", "face"
    with pytest.raises(TrainingError, match=r"no frame .* VA label"):
        experiment.run_experiment(config)


def test_unknown_schema(tmp_path):
    (tmp_path / "joint.json").write_text('{"schema": 9}')
    with pytest.raises(ValueError, match=r"joint\.json: schema 9; expected 1"):
        experiment.evaluate_checkpoint(
            tmp_path, data_dir=None, split="validation", workdir=tmp_path / "w"
        )
