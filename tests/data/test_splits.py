import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avemo_jax.data.corpus.splits import (
    base_video,
    draw_dev,
    draw_splits,
    fold_splits,
    grouped_folds,
    nominal_fps,
    read_split_lists,
    read_splits,
    source_video,
    write_splits,
)

NAMES = st.sets(
    st.one_of(
        st.builds(
            "{}-30-640x360{}{}".format,
            st.integers(1, 30),
            st.sampled_from(["", "-1", "-2", "-13"]),
            st.sampled_from(["", "_left", "_right"]),
        ),
        st.builds(
            "video{}{}{}".format,
            st.integers(1, 30),
            st.sampled_from(["", "_1", "_5"]),
            st.sampled_from(["", "_left", "_right"]),
        ),
        st.integers(1, 400).map(str),
    ),
    min_size=3,
    max_size=60,
)


@pytest.mark.parametrize(
    ("video", "source"),
    [
        ("360", "360"),
        ("video4", "video4"),
        ("video45_5", "video45"),
        ("video45_7_right", "video45"),
        ("5-60-1920x1080-4", "5-60-1920x1080"),
        ("5-60-1920x1080-4_left", "5-60-1920x1080"),
        ("5-60-1920x1080", "5-60-1920x1080"),
        ("10-60-1280x720_right", "10-60-1280x720"),
        ("15-60-1920x1080-4", "15-60-1920x1080"),
        ("interview_2", "interview_2"),
        ("clip-1-2", "clip-1-2"),
        ("left", "left"),
        ("_left", "_left"),
    ],
)
def test_source_video(video, source):
    assert source_video(video) == source


def test_base_video():
    assert base_video("5-60-1920x1080-4_left") == "5-60-1920x1080-4"
    assert base_video("video45_5") == "video45_5"


def test_nominal_fps():
    assert nominal_fps("5-60-1920x1080-4_left") == 60
    assert nominal_fps("24-24-640x360") == 24
    assert nominal_fps("video3") != nominal_fps("video3")


@settings(deadline=None)
@given(NAMES, st.integers(0, 5), st.booleans())
def test_dev_is_a_fifth_of_the_sources(names, seed, grouped):
    sources = {source_video(n) if grouped else n for n in names}
    if len(sources) == 1:
        return
    dev = draw_dev(names, seed=seed, grouped=grouped)
    assert dev < names
    drawn = {source_video(n) if grouped else n for n in dev}
    assert len(drawn) == max(1, int(len(sources) / 5))
    assert dev == {n for n in names if (source_video(n) if grouped else n) in drawn}
    # Neither the order of the names nor how often one is given matters.
    assert dev == draw_dev(sorted(names, reverse=True) * 2, seed=seed, grouped=grouped)


def test_draw_is_pinned():
    # A change here gives every user's store another dev set.
    videos = [f"video{i}" for i in range(1, 21)]
    assert sorted(draw_dev(videos)) == ["video11", "video13", "video18", "video5"]
    assert draw_dev(videos, seed=1) != draw_dev(videos)


def test_ungrouped_draw_may_part_a_recording():
    videos = [f"video{i}_{part}" for i in range(5) for part in (1, 2, 3)]
    parted = {
        seed
        for seed in range(10)
        for dev in [draw_dev(videos, seed=seed, grouped=False)]
        if {source_video(v) for v in dev} & {source_video(v) for v in set(videos) - dev}
    }
    assert parted
    for seed in range(10):
        dev = draw_dev(videos, seed=seed)
        rest = {source_video(v) for v in set(videos) - dev}
        assert not {source_video(v) for v in dev} & rest


def test_one_source_is_an_error():
    with pytest.raises(ValueError, match="only train source is 'video1'"):
        draw_dev(["video1_1", "video1_2"])
    with pytest.raises(ValueError, match="EXPR: the only train source"):
        draw_splits({"EXPR": {"video1": "train", "video2": "validation"}})
    assert draw_dev([]) == set()


def test_draw_splits_keeps_the_official_ones():
    official = {f"video{i}": "train" for i in range(10)}
    official |= {"video20": "validation", "video30": "test"}
    splits = draw_splits({"EXPR": official, "VA": {}})
    assert splits["VA"] == {}
    dev = {v for v, s in splits["EXPR"].items() if s == "dev"}
    assert len(dev) == 2
    for video, split in splits["EXPR"].items():
        assert split == ("dev" if video in dev else official[video])
    with_dev = {"video1": "train", "video2": "dev"}
    assert draw_splits({"AU": with_dev})["AU"] == with_dev
    with pytest.raises(ValueError, match="split 'valid'"):
        draw_splits({"AU": {"video1": "valid"}})


@settings(deadline=None)
@given(NAMES, st.integers(2, 5), st.integers(0, 3))
def test_folds_part_by_source(names, num_folds, seed):
    sources = {source_video(name) for name in names}
    if len(sources) < num_folds:
        with pytest.raises(ValueError, match="num_folds"):
            grouped_folds(names, num_folds, seed)
        return
    folds = grouped_folds(names, num_folds, seed)
    assert sorted(v for fold in folds for v in fold) == sorted(names)
    per_fold = [{source_video(v) for v in fold} for fold in folds]
    assert sum(map(len, per_fold)) == len(sources)
    assert max(map(len, per_fold)) - min(map(len, per_fold)) <= 1
    assert folds == grouped_folds(sorted(names, reverse=True), num_folds, seed)
    mapping = fold_splits(folds, 1)
    assert {v for v, s in mapping.items() if s == "dev"} == set(folds[1])
    assert set(mapping) == set(names)


def write_lists(folder, **lists):
    folder.mkdir(exist_ok=True)
    for name, videos in lists.items():
        (folder / f"{name}.txt").write_bytes("\r\n".join([*videos, ""]).encode())


def test_original_lists(tmp_path):
    write_lists(tmp_path / "o", Train=["a"], Val=["b"], Test=["c", "d"])
    splits = read_split_lists(tmp_path / "o", "abcd")
    assert splits == {"a": "train", "b": "dev", "c": "validation", "d": "validation"}


def test_plain_lists(tmp_path):
    write_lists(tmp_path / "p", train=["a"], dev=["b"], validation=["c"], test=["d"])
    splits = read_split_lists(tmp_path / "p", "abcd")
    assert splits == {"a": "train", "b": "dev", "c": "validation", "d": "test"}


def test_list_errors(tmp_path):
    write_lists(tmp_path / "u", train=["a"], test=["b"])
    with pytest.raises(ValueError, match="the original's"):
        read_split_lists(tmp_path / "u", "ab")
    write_lists(tmp_path / "b", Train=["a"], Val=["b"], dev=["b"])
    with pytest.raises(ValueError, match="the original's"):
        read_split_lists(tmp_path / "b", "ab")
    with pytest.raises(ValueError, match="no files"):
        read_split_lists(tmp_path / "nowhere", "ab")
    write_lists(tmp_path / "x", train=["a", "q"], dev=["b"])
    with pytest.raises(ValueError, match=r"train\.txt, line 2: unknown video 'q'"):
        read_split_lists(tmp_path / "x", "ab")
    write_lists(tmp_path / "t", train=["a"], dev=["b", "a"])
    with pytest.raises(ValueError, match=r"dev\.txt, line 2: video 'a' is in 'train'"):
        read_split_lists(tmp_path / "t", "ab")


def test_splits_file(tmp_path):
    splits = {"EXPR": {"b": "train", "a": "train", "c": "dev"}, "VA": {"a": "test"}}
    write_splits(tmp_path / "splits.json", splits, how={"seed": 3})
    assert read_splits(tmp_path / "splits.json") == splits
    content = json.loads((tmp_path / "splits.json").read_text())
    assert content["how"] == {"seed": 3}
    assert content["splits"]["EXPR"]["train"] == ["a", "b"]
    assert [p.name for p in tmp_path.iterdir()] == ["splits.json"]
