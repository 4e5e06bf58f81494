"""The comparison of recipes: sound that is removed, and a whole comparison."""

import json
import pathlib
import sys

import numpy as np
import pytest
from made.tiny_store import DIMS, build_tiny_store

from avemo_jax.config.checks import check_config
from avemo_jax.config.fields import base_config
from avemo_jax.data.store.store import open_store

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "scripts"))
import compare_recipes
from removed_sound import QuietStore, drawn_videos


@pytest.fixture(scope="module")
def store_dir(tmp_path_factory):
    return build_tiny_store(tmp_path_factory.mktemp("store"))


def test_videos_that_are_drawn_have_lost_their_sound_alone(store_dir):
    store = open_store(store_dir)
    videos = store.split_videos("EXPR", "validation")
    drawn = drawn_videos(videos, 1 / 3)
    assert drawn == drawn_videos(videos, 1 / 3)
    assert len(drawn) == 1
    quiet = QuietStore(store, drawn)
    full, found = (
        one.load_table("EXPR", "validation", list(DIMS)) for one in (store, quiet)
    )
    gone = np.isin(np.array(full.videos)[full.video_of_row], drawn)
    face = DIMS["enet_b2_8_best"][1]
    assert full.features[gone, face:].any()
    assert not found.features[gone, face:].any()
    np.testing.assert_array_equal(found.has_audio, full.has_audio & ~gone)
    np.testing.assert_array_equal(found.features[~gone], full.features[~gone])
    np.testing.assert_array_equal(found.features[:, :face], full.features[:, :face])
    np.testing.assert_array_equal(found.labels, full.labels)
    assert found.report["videos_without_audio"] == drawn


def test_faces_of_a_recording_lose_their_sound_together():
    videos = ["a", "b_left", "b_right", "c"]
    drawn = [drawn_videos(videos, share) for share in (0, 0.2, 0.5, 1)]
    assert drawn[0] == []
    assert drawn[3] == videos
    for some in drawn:
        assert ("b_left" in some) is ("b_right" in some)
        recordings = {name.split("_")[0] for name in some}
        assert len(recordings) == [0, 1, 2, 3][drawn.index(some)]


@pytest.mark.parametrize("task", ["EXPR", "AU", "VA"])
def test_every_variant_is_a_configuration(task):
    names = [variant.name for variant in compare_recipes.VARIANTS]
    assert len(set(names)) == len(names)
    of_task = compare_recipes.get_task(task)
    for variant in compare_recipes.VARIANTS:
        config = base_config(task, variant.kind)
        config.update_from_flattened_dict(variant.fields)
        if variant.is_for(of_task):
            check_config(config)


@pytest.mark.release
def test_a_comparison_goes_on_and_says_what_it_found(
    store_dir, tmp_path, monkeypatch, capsys
):
    line = ["compare_recipes.py", "--out", str(tmp_path / "out"), "--tasks", "EXPR"]
    line += ["--data-dir", str(store_dir), "--seeds", "2", "--epochs", "1"]
    line += ["--variants", "mlp + ema", "--sound-removed"]
    line += ["--json", str(tmp_path / "found.json")]
    monkeypatch.setattr(sys, "argv", line)
    compare_recipes.main()
    page = (tmp_path / "out" / "comparison.md").read_text()
    assert page in capsys.readouterr().out
    assert page.count("| mlp + ema |") == 2
    found = json.loads((tmp_path / "found.json").read_text())
    mlp, ema = found["records"]
    for way in ("full", "sound_removed"):
        for block in ("raw", "smoothed"):
            less = ema[f"{way}_less_mlp"][block]
            score, other = (one[way][block]["score"] for one in (ema, mlp))
            assert less["difference"] == score - other
            assert less["ci95"][0] <= less["ci95"][1]
            assert len(ema[way][block]["per_seed"]) == 2
    assert mlp["full"] != mlp["sound_removed"]
    monkeypatch.setattr(compare_recipes.experiment, "run_experiment", None)
    monkeypatch.setattr(compare_recipes, "evaluate", None)
    compare_recipes.main()  # from what is there
    assert json.loads((tmp_path / "found.json").read_text()) == found
