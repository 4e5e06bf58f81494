"""The demo corpus: pinned, the same everywhere, with all its oddities, a real store."""

import dataclasses
import hashlib
import json
import os
import pathlib
import threading
import time
import types

import numpy as np
import pytest

from avemo_jax.data.corpus.splits import base_video, draw_splits, source_video
from avemo_jax.data.store.store import open_store
from avemo_jax.packing.demo import demo
from avemo_jax.packing.demo.corpus import DemoCorpus, demo_videos
from avemo_jax.packing.demo.parameters import PARAMETERS, Parameters
from avemo_jax.tasks import EXPR, TASKS

B2 = "enet_b2_8_best@cropped_aligned-224"
B0 = "enet_b0_8_va_mtl@cropped_aligned-224"
WAV2VEC2 = "wav2vec2_base@16k"
VGGISH = "vggish@0.96s"
# Scores on the corpus are compared over years: these change only with DEMO_VERSION,
# and never to make a bar pass.
PARAMETERS_SHA256 = "7410f63be49e4656c3421218106932af64270b05aeb3d1052194912e970697b7"
PLAN_SHA256 = "57beff4ab09742b5007fcedc70215ec68fe2cf56f03f9005c7844bbfc2806433"
LABELS_SHA256 = "efa237e100b9190dd058d7c36db0762c8560b5d5d45acc0930324218bedd4742"
FEATURES_SHA256 = "01ea4cea7708c2ac3bfa60ba34162bdf95ecbbe19092cd6abbf44d3a7e167961"
# With this no sampled feature is within 0.005 of where the rounding would change.
EDGE = 0.027


@pytest.fixture(scope="module")
def corpus() -> DemoCorpus:
    return DemoCorpus()


def sha256(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def sample(corpus: DemoCorpus) -> tuple[list[object], list[object]]:
    """Labels whole; features in steps of 0.5, where no rounding of a CPU shows."""
    labels: list[object] = []
    features: list[object] = []
    for name in list(corpus.videos)[::24]:
        for task, values in sorted(corpus.annotations(name).labels.items()):
            scaled = np.nan_to_num(values * 1000.0, nan=-5000.0)
            labels.append([name, task, np.rint(scaled).astype(int).tolist()])
        for source in corpus.sources("pinned"):
            if name in source.videos:
                made = source.read(name).features[10:200:80, ::120].astype(np.float64)
                features.append([name, source.name, np.rint(2 * made + EDGE).tolist()])
    return labels, features


def test_parameters_and_data_are_pinned(corpus: DemoCorpus) -> None:
    labels, features = sample(corpus)
    assert demo.DEMO_VERSION == 1
    assert sha256(dataclasses.asdict(PARAMETERS)) == PARAMETERS_SHA256
    assert sha256([dataclasses.asdict(v) for v in demo_videos()]) == PLAN_SHA256
    assert sha256(labels) == LABELS_SHA256
    assert sha256(features) == FEATURES_SHA256


def test_a_video_is_the_same_however_it_is_asked_for(corpus: DemoCorpus) -> None:
    name = list(corpus.videos)[7]
    for other in list(corpus.videos)[5:8]:
        corpus.features(other, B2)
    fresh = DemoCorpus()
    for source in fresh.sources("again"):
        if name in source.videos:
            a, b = source.read(name), corpus.features(name, source.name)
            np.testing.assert_array_equal(a.features, b.features)
            np.testing.assert_array_equal(a.frame, b.frame)
    again = fresh.annotations(name).labels
    for task, values in corpus.annotations(name).labels.items():
        np.testing.assert_array_equal(values, again[task])


def test_other_parameters_make_another_corpus() -> None:
    other = dataclasses.replace(PARAMETERS, seed=1)
    assert demo.demo_fingerprint(other) != demo.demo_fingerprint()
    a, b = DemoCorpus().signals(0), DemoCorpus(other).signals(0)
    assert not np.array_equal(a.face[:200], b.face[:200])


def test_sizes() -> None:
    plan = demo_videos()
    lengths = [video.num_frames for video in plan]
    assert len({video.name for video in plan}) == len(plan) == 96
    assert min(lengths) >= 200
    assert max(lengths) <= 1200
    assert 34_000 <= sum(lengths) <= 38_000


def test_expressions_dwell(corpus: DemoCorpus) -> None:
    for video in corpus.videos.values():
        expr = corpus.signals(video.number).expr
        changes = np.flatnonzero(np.diff(expr)) + 1
        inner = np.diff(changes)
        assert ((inner >= 100) & (inner <= 600)).all()


def test_splits(corpus: DemoCorpus) -> None:
    plan = corpus.videos.values()
    assert {v.splits["EXPR"] for v in plan} == {"train", "validation", "test"}
    for task in TASKS:
        subjects = {
            split: {v.subject for v in plan if v.splits[task] == split}
            for split in ("train", "validation", "test")
        }
        assert not subjects["train"] & subjects["validation"]
        assert not subjects["train"] & subjects["test"]
        by_source = {(source_video(v.name), v.splits[task]) for v in plan}
        assert len(by_source) == len({source for source, _ in by_source})
    assert any(v.splits["EXPR"] != v.splits["VA"] for v in plan)
    assert any(set(v.splits.values()) == {"test"} for v in plan)


def test_every_expression_is_in_every_labelled_split(corpus: DemoCorpus) -> None:
    official = {"EXPR": {n: v.splits["EXPR"] for n, v in corpus.videos.items()}}
    split_of = draw_splits(official)["EXPR"]
    counts = {s: np.zeros(8, int) for s in ("train", "dev", "validation")}
    for name, split in split_of.items():
        if split != "test":
            expr = corpus.annotations(name).labels["EXPR"]
            counts[split] += np.bincount(expr[expr >= 0], minlength=8)
    for count in counts.values():
        assert count.min() >= 150
    train = counts["train"] + counts["dev"]
    rare = [EXPR.columns.index(name) for name in ("Anger", "Disgust", "Fear")]
    assert train[rare].max() < train[[0, 4, 5, 7]].min()
    assert train.max() > 4 * train.min()


def test_oddities(corpus: DemoCorpus) -> None:
    names = list(corpus.videos)
    pairs = [n for n in names if base_video(n) != n]
    assert len(pairs) == 8
    assert any(source_video(n) != base_video(n) for n in names)  # parts
    left, right = (corpus.features(f"video5_{s}", VGGISH) for s in ("left", "right"))
    np.testing.assert_array_equal(left.features, right.features)
    silent = [n for n, v in corpus.videos.items() if not v.has_sound]
    assert 2 <= len(silent) <= 8
    assert {corpus.videos[n].splits["EXPR"] for n in silent} >= {"train", "validation"}
    lost = [~corpus.has_crop(n) for n in names]
    longest = [
        max(map(len, "".join(" x"[int(b)] for b in m).split()), default=0) for m in lost
    ]
    assert sum(run >= 10 for run in longest) >= 10
    assert 0.005 < np.concatenate(lost).mean() < 0.05
    records = {n: corpus.annotations(n) for n in names}
    lengths = {
        len(y) - r.num_frames for r in records.values() for y in r.labels.values()
    }
    assert lengths == {-1, 0, 1, 2}
    au = np.concatenate([r.labels["AU"] for r in records.values() if "AU" in r.labels])
    missing = (au < 0).sum(axis=1)
    assert (missing == 12).any()
    assert (missing == 1).any()
    for task in TASKS.values():
        valid = np.concatenate(
            [
                task.valid(r.labels[task.name])
                for r in records.values()
                if task.name in r.labels
            ]
        )
        assert 0.01 < 1 - valid.mean() < 0.1
    assert any(not r.labels for r in records.values())


def test_labels_and_features_are_in_range(corpus: DemoCorpus) -> None:
    for name in list(corpus.videos)[::9]:
        labels = corpus.annotations(name).labels
        if "VA" in labels:
            va = labels["VA"][np.isfinite(labels["VA"])]
            assert np.abs(va).max() <= 1
        if "AU" in labels:
            assert set(np.unique(labels["AU"])) <= {-1, 0, 1}
        for source in corpus.sources("range"):
            if name not in source.videos:
                continue
            made = source.read(name)
            assert made.features.dtype == np.float16
            assert made.features.shape == (len(made.frame), source.dim)
            assert np.isfinite(made.features).all()
            assert made.features.astype(np.float32).std() > 0.1
            assert (made.outputs is not None) == (source.output_dim > 0)


def test_vggish_is_8_bit_and_steps(corpus: DemoCorpus) -> None:
    name = next(n for n, v in corpus.videos.items() if v.has_sound)
    made = corpus.features(name, VGGISH).features.astype(np.float64)
    assert made.min() >= 0
    assert made.max() <= 1
    np.testing.assert_allclose(made * 255, np.rint(made * 255), atol=0.07)
    steps = np.flatnonzero(np.abs(np.diff(made, axis=0)).any(axis=1))
    assert np.diff(steps).min() >= 20


def test_own_outputs_are_in_affectnet_order(corpus: DemoCorpus) -> None:
    ours = [5, 0, 2, 3, 4, 6, 7, 1]  # Neutral, Anger, ... in AffectNet's order
    outputs, expr = [], []
    for name, video in list(corpus.videos.items())[::3]:
        made = corpus.features(name, B2)
        assert made.outputs is not None
        assert made.outputs.shape[1] == 8
        outputs.append(made.outputs)
        expr.append(corpus.signals(video.number).expr[made.frame - 1])
    logits, truth = np.concatenate(outputs)[:, ours], np.concatenate(expr)
    for number in range(8):
        mean = logits[truth == number].mean(axis=0) - logits.mean(axis=0)
        assert mean[number] > 0
    assert (logits.argmax(axis=1) == truth).mean() > 0.2  # chance: 0.125


def test_outputs_of_valence_and_arousal_follow_the_labels(corpus: DemoCorpus) -> None:
    outputs, labels = [], []
    for name, video in list(corpus.videos.items())[::4]:
        made = corpus.features(name, B0)
        assert made.outputs is not None
        assert made.outputs.shape[1] == 10
        outputs.append(made.outputs[:, 8:])
        labels.append(corpus.signals(video.number).va[made.frame - 1])
    seen, truth = np.concatenate(outputs), np.concatenate(labels)
    assert np.abs(seen).max() <= 1
    for k in range(2):
        assert np.corrcoef(seen[:, k], truth[:, k])[0, 1] > 0.3


def test_store(demo_store_dir: pathlib.Path, corpus: DemoCorpus) -> None:
    store = open_store(demo_store_dir)
    assert store.synthetic
    assert set(store.feature_sets) == {B2, B0, WAV2VEC2, VGGISH}
    files = [p for p in demo_store_dir.rglob("*") if p.is_file()]
    assert sum(p.stat().st_size for p in files) <= 300 * 2**20
    expected = {t: {n: v.splits[t] for n, v in corpus.videos.items()} for t in TASKS}
    for task, splits in draw_splits(expected).items():
        assert store.split_of(task) == splits
    assert demo.demo_store(demo_store_dir.parent) == demo_store_dir


def fake_store(out_dir, annotations, feature_sources, **kwargs) -> None:
    assert kwargs["synthetic"]
    (out_dir / "affwild2").mkdir(parents=True)
    (out_dir / "affwild2" / "data").write_bytes(b"records")


@pytest.fixture
def quick(monkeypatch) -> None:
    """Some bytes stand for the store, and no corpus is computed for them."""
    empty = types.SimpleNamespace(videos={}, sources=lambda fingerprint: [])
    monkeypatch.setattr(demo, "DemoCorpus", lambda: empty)
    monkeypatch.setattr(demo, "build_store", fake_store)


@pytest.mark.usefixtures("quick")
def test_store_is_written_once(tmp_path, monkeypatch) -> None:
    calls = []
    monkeypatch.setattr(
        demo, "build_store", lambda *a, **k: (calls.append(1), fake_store(*a, **k))
    )
    monkeypatch.setenv("AVEMO_CACHE", str(tmp_path / "from_environment"))
    place = demo.demo_store()
    assert place.parent == tmp_path / "from_environment"
    assert demo.demo_store() == place
    assert len(calls) == 1
    assert [p.name for p in place.parent.iterdir()] == [place.name]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("damage", ["cut", "gone", "manifest", "no manifest"])
def test_damaged_store_is_written_anew(tmp_path, damage) -> None:
    place = demo.demo_store(tmp_path)
    data, manifest = place / "affwild2" / "data", place / "demo_files.json"
    match damage:
        case "cut":
            data.write_bytes(b"rec")
        case "gone":
            data.unlink()
        case "manifest":
            manifest.write_text("{")
        case _:
            manifest.unlink()
    assert demo.demo_store(tmp_path) == place
    assert data.read_bytes() == b"records"
    assert json.loads(manifest.read_text()) == {"affwild2/data": 7}
    assert [p.name for p in tmp_path.iterdir()] == [place.name]


@pytest.mark.usefixtures("quick")
def test_failed_write_leaves_nothing(tmp_path, monkeypatch) -> None:
    def fails(out_dir, *args, **kwargs) -> None:
        fake_store(out_dir, *args, **kwargs)
        raise OSError("disk full")

    monkeypatch.setattr(demo, "build_store", fails)
    with pytest.raises(OSError, match="disk full"):
        demo.demo_store(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("quick")
def test_losers_of_a_race_discard_theirs(tmp_path, monkeypatch) -> None:
    together = threading.Barrier(3)

    def slow(out_dir, *args, **kwargs) -> None:
        fake_store(out_dir, *args, **kwargs)
        together.wait(timeout=60)

    monkeypatch.setattr(demo, "build_store", slow)
    places: list[pathlib.Path] = []
    threads = [
        threading.Thread(target=lambda: places.append(demo.demo_store(tmp_path)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert len(places) == 3
    assert len(set(places)) == 1
    assert [p.name for p in tmp_path.iterdir()] == [places[0].name]


@pytest.mark.usefixtures("quick")
def test_old_leftovers_are_removed(tmp_path) -> None:
    for name, age_s in ((".demo-old", 2 * 86400), (".demo-new", 60)):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() - age_s,) * 2)
    place = demo.demo_store(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {".demo-new", place.name}


def test_parameters_say_what_they_need() -> None:
    p = Parameters()
    for values in (p.shares, p.dwell_mean, p.moving, p.valence, p.arousal):
        assert len(values) == len(EXPR.columns)
    assert sum(p.shares) == pytest.approx(1.0)
