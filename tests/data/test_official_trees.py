"""Videos, crops and annotations are found however they are arranged."""

import contextlib
import math
import os
import pathlib
import pickle
import re
import shutil
import tempfile
import tracemalloc
import unicodedata
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avemo_jax.data.corpus.annotations import read_annotations
from avemo_jax.data.corpus.coverage import SplitCoverage, coverage_of
from avemo_jax.data.corpus.crop_folders import CropFolder
from avemo_jax.data.corpus.official_trees import (
    Corpus,
    find_corpus,
    find_crops,
    find_recordings,
    find_sounds,
    find_videos,
)
from avemo_jax.data.corpus.splits import base_video
from avemo_jax.data.records import MAX_FRAME, VideoAnnotations
from avemo_jax.media import file_endings

Arrangement = dict[str, str]  # by kind of material, the folder that it is in

OFFICIAL = {
    "batch1": "batch1",
    "batch2": "batch2",
    "new_vids": "new_vids",
    "aligned": "cropped_aligned",
    "aligned_new": "cropped_aligned_new_50_vids",
    "cropped1": "cropped/batch1",
    "cropped2": "cropped/batch2",
    "cropped_new": "cropped_new_50_vids",
    "annotations": "Annotations",
}
ARRANGEMENTS: dict[str, Arrangement] = {
    "official": OFFICIAL,
    "videos in a folder": {
        **OFFICIAL,
        **{name: f"videos/{name}" for name in ("batch1", "batch2", "new_vids")},
    },
    "crops side by side": {
        **OFFICIAL,
        "batch1": "videos/batch1",
        "batch2": "videos/batch2",
        "cropped1": "batch1",
        "cropped2": "batch2",
    },
    "crops beside videos in one folder": {
        **OFFICIAL,
        "cropped1": "batch1",
        "cropped2": "batch2",
    },
    "deep": {kind: f"data/Aff-Wild 2/{place}" for kind, place in OFFICIAL.items()},
    "annotations of a year": {**OFFICIAL, "annotations": "labels/6th_ABAW_Annotations"},
    "annotations in the root": {**OFFICIAL, "annotations": ""},
    "aligned in a folder": {
        **OFFICIAL,
        "aligned": "crops/cropped_aligned/all",
        "aligned_new": "crops/Cropped_Aligned_new_50_vids",
    },
}
VIDEOS = {
    "batch1": ["1-30-1280x720.mp4", "360.avi"],
    "batch2": ["video45_5.MP4"],
    "new_vids": ["5-60-1920x1080-4.mp4"],
}
CROPS = {
    ("aligned", "cropped1"): {"1-30-1280x720": [1, 2, 5], "360": [7]},
    ("aligned", "cropped2"): {"video45_5": [1, 3]},
    ("aligned_new", "cropped_new"): {
        "5-60-1920x1080-4_left": [2],
        "5-60-1920x1080-4_right": [12345, 100000],
    },
}
ALIGNED = {video: frames for by in CROPS.values() for video, frames in by.items()}


def touch(path: pathlib.Path, size: int = 0) -> pathlib.Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    return path


def arranged(root: pathlib.Path, places: Arrangement) -> pathlib.Path:
    """One material in an arrangement. Unaligned crops have one frame more."""
    for kind, names in VIDEOS.items():
        for name in names:
            touch(root / places[kind] / name)
    for (aligned, cropped), subjects in CROPS.items():
        for video, frames in subjects.items():
            for frame in frames:
                touch(root / places[aligned] / video / f"{frame:05d}.jpg", frame % 7)
            for frame in (*frames, 77):
                touch(root / places[cropped] / video / f"{frame:05d}.jpg")
    task = root / places["annotations"] / "VA_Estimation_Challenge"
    touch(task / "Train_Set" / "360.txt")
    return root


def crops_at(folder: pathlib.Path, *names: str, size: int = 0) -> pathlib.Path:
    for name in names or ("00001.jpg",):
        touch(folder / name, size)
    return folder


def frames_of(corpus: Corpus) -> dict[str, list[int]]:
    return {video: one.frame.tolist() for video, one in corpus.crops.items()}


def refuses(message: str, root: pathlib.Path | str, **kwargs) -> str:
    """The error, which has three parts."""
    with pytest.raises(ValueError, match=message) as caught:
        find_corpus(root, **kwargs)
    text = str(caught.value)
    assert re.search(r"; expected .+: \w", text), text
    return text


@pytest.mark.parametrize("places", ARRANGEMENTS.values(), ids=list(ARRANGEMENTS))
def test_finds_all_in_each_arrangement(places: Arrangement, tmp_path: pathlib.Path):
    root = arranged(tmp_path / "tree", places)
    corpus = find_corpus(root)
    assert corpus.root == root
    assert corpus.annotations == root / places["annotations"]
    assert corpus.videos == {
        pathlib.Path(name).stem: root / places[kind] / name
        for kind, names in VIDEOS.items()
        for name in names
    }
    assert list(corpus.videos) == sorted(corpus.videos)
    assert frames_of(corpus) == ALIGNED
    assert list(corpus.crops) == sorted(corpus.crops)
    assert len(corpus.ignored) == 1
    assert "5 folders of cropped crops" in corpus.ignored[0]
    assert "14 pictures" in corpus.ignored[0]

    other = find_corpus(root, crops="cropped")
    assert frames_of(other) == {v: sorted([*f, 77]) for v, f in ALIGNED.items()}
    assert other.videos == corpus.videos


def test_crops_are_arrays_that_tell_all_of_their_files(tmp_path: pathlib.Path):
    names = ["00003.jpg", "1.JPG", "000002.png", "100000.Jpeg"]
    folder = tmp_path / "cropped_aligned" / "X"
    for size, name in enumerate(names, start=1):
        touch(folder / name, size)
    crops = find_corpus(tmp_path).crops["X"]
    assert crops.video == "X"
    assert crops.path == folder
    assert crops.frame.dtype == np.int32
    assert crops.frame.tolist() == [1, 2, 3, 100000]
    assert crops.names.dtype.kind == "S"
    assert crops.sizes.tolist() == [2, 3, 1, 4]
    assert crops.num_bytes == 10
    order = ["1.JPG", "000002.png", "00003.jpg", "100000.Jpeg"]
    assert list(crops.paths()) == list(
        zip([1, 2, 3, 100000], [folder / name for name in order], strict=True)
    )
    assert pickle.loads(pickle.dumps(crops)).digest() == crops.digest()


def test_the_digest_is_of_names_and_sizes_alone(tmp_path: pathlib.Path):
    def digest(name: str, size: int, where: str) -> str:
        folder = crops_at(tmp_path / where / "X", "00001.jpg", name, size=size)
        return find_crops(folder)["X"].digest()

    first = digest("00002.jpg", 3, "a")
    assert first == digest("00002.jpg", 3, "b/elsewhere")
    assert first != digest("00002.jpg", 4, "c")
    assert first != digest("00003.jpg", 3, "d")
    assert first != digest("00002.png", 3, "e")
    touch(tmp_path / "a" / "X" / "00007.jpg")
    assert find_crops(tmp_path / "a")["X"].digest() != first


@settings(deadline=None, max_examples=30)
@given(
    st.permutations(sorted({**OFFICIAL, "annotations": ""})),
    st.lists(st.sampled_from(["", "x", "deep/er", "été 2"]), min_size=9, max_size=9),
    st.booleans(),
)
def test_any_arrangement_gives_the_same_names(order, prefixes, decomposed):
    places = {
        kind: f"{prefix}/{OFFICIAL[kind]}".strip("/")
        for kind, prefix in zip(order, prefixes, strict=True)
    }
    if decomposed:
        places = {k: unicodedata.normalize("NFD", p) for k, p in places.items()}
    with tempfile.TemporaryDirectory() as folder:
        root = arranged(pathlib.Path(folder), places)
        corpus = find_corpus(root)
        assert corpus.annotations == root / places["annotations"]
        assert sorted(p.name for p in corpus.videos.values()) == sorted(
            name for names in VIDEOS.values() for name in names
        )
        assert frames_of(corpus) == ALIGNED


def test_the_mini_set(shared_data: pathlib.Path):
    corpus = find_corpus(shared_data / "affwild2_mini")
    assert corpus.annotations == shared_data / "affwild2_mini" / "Annotations"
    assert len(corpus.videos) == 6
    assert len(corpus.crops) == 7
    assert sum(len(one.frame) for one in corpus.crops.values()) == 1040
    assert corpus.ignored == ()
    for one in corpus.crops.values():
        sizes = [path.stat().st_size for _, path in one.paths()]
        assert sizes == one.sizes.tolist()
    found = coverage_of(corpus, read_annotations(corpus.annotations))
    assert {(one.task, one.split, one.videos) for one in found.splits} == {
        (task, split, n)
        for task in ("EXPR", "AU", "VA")
        for split, n in (("train", 4), ("validation", 3))
    }
    assert all(one.with_crops == one.videos for one in found.splits)
    assert found.without_crops == found.without_video == ()
    refuses("7 folders of cropped_aligned", corpus.root, crops="cropped")


def test_root_may_be_the_folder_of_aligned_crops(tmp_path, monkeypatch):
    crops_at(tmp_path / "cropped_aligned" / "X")
    assert list(find_corpus(tmp_path / "cropped_aligned").crops) == ["X"]
    assert list(find_corpus(str(tmp_path / "cropped_aligned")).crops) == ["X"]
    monkeypatch.chdir(tmp_path / "cropped_aligned")
    assert list(find_corpus(".").crops) == ["X"]
    monkeypatch.chdir(tmp_path / "cropped_aligned" / "X")
    assert list(find_crops(".")) == ["X"]


def test_only_the_other_kind_of_crops(tmp_path: pathlib.Path):
    crops_at(tmp_path / "faces" / "X")
    text = refuses("no cropped_aligned face crops, but 1 folder of", tmp_path)
    assert "--crops cropped," in text
    assert "faces/X" in text
    assert "into a folder cropped_aligned" in text
    crops_at(tmp_path / "b" / "cropped_aligned" / "X")
    text = refuses("no cropped face crops", tmp_path / "b", crops="cropped")
    assert "--crops cropped_aligned" in text
    given = find_corpus(
        tmp_path / "b",
        crops="cropped",
        crop_folders=[tmp_path / "b" / "cropped_aligned" / "X"],
    )
    assert list(given.crops) == ["X"]


def test_videos_and_crops_given_one_by_one(tmp_path: pathlib.Path):
    root = arranged(tmp_path / "tree", OFFICIAL)
    video = touch(tmp_path / "anywhere" / "test 1.ts")
    crops = crops_at(tmp_path / "elsewhere" / "test 1", "00009.jpg")
    crops_at(crops / "below", "00001.jpg")
    corpus = find_corpus(root, videos=[video], crop_folders=[str(crops)])
    assert corpus.videos["test 1"] == video
    assert frames_of(corpus) == {**ALIGNED, "test 1": [9]}
    same = root / "batch1" / "360.avi", root / "cropped_aligned" / "360"
    again = find_corpus(root, videos=same[:1], crop_folders=same[1:])
    assert frames_of(again) == ALIGNED

    refuses("no-such.mp4 does not exist", root, videos=[tmp_path / "no-such.mp4"])
    refuses("is no file", root, videos=[tmp_path])
    refuses("no-such does not exist", root, crop_folders=[tmp_path / "no-such"])
    refuses("is a file", root, crop_folders=[video])
    refuses("has no pictures", root, crop_folders=[tmp_path])
    link = crops / "00010.jpg"
    link.symlink_to(root / "batch1" / "360.avi")
    refuses("1 link leads out of", root, crop_folders=[crops])
    other = touch(tmp_path / "360.mp4")
    refuses("video '360'", root, videos=[other])
    refuses("crops of 'test 1'", root, crop_folders=[
        crops_at(tmp_path / "a" / "test 1"), crops_at(tmp_path / "b" / "test 1")
    ])  # fmt: skip


def test_names_with_the_folders_on_the_way(tmp_path: pathlib.Path):
    """Cameras count their files anew on each card."""
    files = [
        touch(tmp_path / "P01" / "IMG_0001.MOV"),
        touch(tmp_path / "P02" / "day 1" / "IMG_0001.MOV"),
        touch(tmp_path / "IMG_0001.MOV"),
        touch(tmp_path / "P03" / "left.mp4"),
    ]
    with pytest.raises(ValueError, match=r"'IMG_0001' in .*, or pass --names path"):
        find_recordings(tmp_path, names="file")
    videos, sounds = find_recordings(tmp_path, names="path")
    names = ["P01--IMG_0001", "P02--day 1--IMG_0001", "IMG_0001", "P03--left"]
    assert videos == dict(zip(names, files, strict=True))
    assert sounds == {}
    assert [base_video(name) for name in names] == names
    sound = touch(tmp_path / "P01" / "IMG_0001.wav")
    assert find_sounds(tmp_path, names="path") == {"P01--IMG_0001": sound}
    crops_at(tmp_path / "P01" / "IMG_0001_left")
    crops_at(tmp_path / "P02" / "IMG_0001_left")
    crops = find_crops(tmp_path, names="path")
    assert list(crops) == ["P01--IMG_0001_left", "P02--IMG_0001_left"]
    assert list(find_crops(tmp_path / "P01" / "IMG_0001_left", names="path")) == [
        "IMG_0001_left"
    ]


@pytest.mark.parametrize("folder", ["a--b", "a-"])
def test_names_that_do_not_tell_their_folders(folder: str, tmp_path: pathlib.Path):
    touch(tmp_path / folder / "c.mp4")
    with pytest.raises(ValueError, match=rf"'{folder}--c' does not tell its folders"):
        find_recordings(tmp_path, names="path")


def test_the_same_names_that_no_folder_tells_apart(tmp_path: pathlib.Path):
    """The flag would not help, and a command without it does not name it."""
    touch(tmp_path / "P01" / "a.mov")
    touch(tmp_path / "P01" / "a.mp4")
    for names in ("file", "path"):
        with pytest.raises(ValueError, match=r"rename one of each pair$"):
            find_recordings(tmp_path, names=names)
    (tmp_path / "P01" / "a.mov").rename(tmp_path / "a.mov")
    with pytest.raises(ValueError, match=r"rename one of each pair$"):
        find_videos(tmp_path)


@pytest.mark.parametrize("ending", sorted(file_endings.VIDEO_ENDINGS))
def test_endings_of_videos(ending: str, tmp_path: pathlib.Path):
    lower = touch(tmp_path / "a" / f"one.two{ending}")
    upper = touch(tmp_path / f"other{ending.upper()}")
    touch(tmp_path / "readme.txt")
    touch(tmp_path / ending)  # a hidden file without a name
    assert find_videos(tmp_path) == {"one.two": lower, "other": upper}
    assert find_sounds(tmp_path) == {}


@pytest.mark.parametrize("ending", sorted(file_endings.SOUND_ENDINGS))
def test_endings_of_sounds(ending: str, tmp_path: pathlib.Path):
    sound = touch(tmp_path / "a" / f"X{ending.upper()}")
    touch(tmp_path / "X.mp4")
    assert find_sounds(tmp_path) == {"X": sound}
    touch(tmp_path / "b" / f"X{ending}")
    with pytest.raises(ValueError, match="video 'X' in"):
        find_sounds(tmp_path)


@pytest.mark.parametrize("ending", sorted(file_endings.PICTURE_ENDINGS))
def test_endings_of_crops(ending: str, tmp_path: pathlib.Path):
    crops_at(tmp_path / "Anna", f"1{ending}", f"00002{ending.upper()}", f"a{ending}")
    assert find_crops(tmp_path)["Anna"].frame.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("name", "video"),
    [
        ("a.mp4.wav", "a"),
        ("a.MOV.mts", "a"),
        ("a.b.wav", "a.b"),
        ("7-30-1280x720.mp4.wav", "7-30-1280x720"),
        ("mp4.wav", "mp4"),
        ("a.txt.wav", "a.txt"),
    ],
)
def test_a_name_is_without_endings_of_media(name, video, tmp_path: pathlib.Path):
    touch(tmp_path / name)
    assert [*find_videos(tmp_path), *find_sounds(tmp_path)] == [video]


def test_crops_of_a_users_own_folder(tmp_path: pathlib.Path):
    crops_at(tmp_path / "day 1" / "Anna", "1.png", "2.png")
    crops_at(tmp_path / "Bert", "1.jpeg")
    touch(tmp_path / "notes.docx")
    found = find_crops(tmp_path)
    assert {v: one.frame.tolist() for v, one in found.items()} == {
        "Anna": [1, 2],
        "Bert": [1],
    }
    assert find_crops(tmp_path / "Bert").keys() == {"Bert"}
    (tmp_path / "none").mkdir()
    assert find_crops(tmp_path / "none") == {}
    for find in (find_crops, find_videos, find_sounds):
        with pytest.raises(ValueError, match="does not exist"):
            find(tmp_path / "no-such")
    crops_at(tmp_path / "day 2" / "Anna")
    with pytest.raises(ValueError, match=r"'Anna'.*day 1.*day 2"):
        find_crops(tmp_path)


def test_pictures_of_other_names_are_told(tmp_path: pathlib.Path, caplog):
    """A folder that has both is used in part, which nobody is to find out later."""
    crops_at(tmp_path / "Anna", "1.png", "IMG_2.png", "IMG_3.png")
    for number in range(12):
        touch(tmp_path / f"day {number:02d}" / "face.jpg")
    with caplog.at_level("WARNING"):
        assert find_crops(tmp_path)["Anna"].frame.tolist() == [1]
    said = [record.getMessage() for record in caplog.records]
    assert said[0].endswith(
        "Anna: 2 files (IMG_2.png, IMG_3.png) not pictures named by numbers"
    )
    assert said[1].endswith("1 file (face.jpg) not pictures named by numbers")
    assert (len(said), said[-1]) == (11, "not used: ... (13 in all)")


def test_names_are_compared_in_one_form(tmp_path: pathlib.Path):
    name = "vidéo ü 視頻 1"
    apart = unicodedata.normalize("NFD", name)
    assert apart != name
    touch(tmp_path / "batch1" / f"{apart}.mp4")
    crops_at(tmp_path / "cropped_aligned" / apart)
    corpus = find_corpus(tmp_path)
    assert list(corpus.videos) == list(corpus.crops) == [name]
    assert all(path.is_file() for _, path in corpus.crops[name].paths())
    assert corpus.videos[name].is_file()
    touch(tmp_path / "batch2" / f"{name}.mp4")
    crops_at(tmp_path / "cropped_aligned_new_50_vids" / name)
    text = refuses("NFC", tmp_path)
    assert text.count(f"'{name}' in") == 2


def test_a_name_that_is_no_text(tmp_path: pathlib.Path):
    crops_at(tmp_path / "cropped_aligned" / "X")
    stray = os.fsencode(tmp_path) + b"/caf\xe9.doc"
    pathlib.Path(os.fsdecode(stray)).touch()
    (ignored,) = find_corpus(tmp_path).ignored
    assert r"caf\xe9.doc" in ignored
    ignored.encode()
    bad = os.fsdecode(os.fsencode(tmp_path) + b"/b/caf\xe9.mp4")
    touch(pathlib.Path(bad))
    text = refuses("not UTF-8", tmp_path)
    assert r"caf\xe9.mp4" in text
    text.encode()


def test_what_is_not_used_is_said(tmp_path: pathlib.Path):
    folder = crops_at(tmp_path / "cropped_aligned" / "X", "00001.jpg")
    for name in ("00001.txt", "frame_2.jpg", "00003 (1).jpg", "4.heic", "٣.jpg"):
        touch(folder / name)
    for name in (".DS_Store", "._00001.jpg", "Thumbs.db", "__MACOSX/X/00002.jpg"):
        touch(folder / name)
        touch(tmp_path / "videos" / name)
    touch(tmp_path / "videos" / "notes.docx")
    touch(tmp_path / "videos" / "X.mp4")
    os.mkfifo(tmp_path / "videos" / "Y.mp4")
    (tmp_path / "cropped_aligned" / "Z").mkdir()
    corpus = find_corpus(tmp_path)
    assert frames_of(corpus) == {"X": [1]}
    assert list(corpus.videos) == ["X"]
    text = "\n".join(corpus.ignored)
    assert len(corpus.ignored) == 4, text
    assert f"{folder}: 5 files (00001.txt, 00003 (1).jpg, 4.heic, ...)" in text
    assert "videos: 1 file (notes.docx) not" in text
    assert "videos: 1 file (Y.mp4) not regular" in text
    assert "Z: an empty folder" in text


@pytest.mark.parametrize("name", ["missing", "file"])
def test_a_root_that_is_no_folder(name: str, tmp_path: pathlib.Path):
    touch(tmp_path / "file")
    state = "does not exist" if name == "missing" else "is a file"
    refuses(f"{name} {state}", tmp_path / name)


def test_nothing_found(tmp_path: pathlib.Path):
    touch(tmp_path / "Annotations" / "AU_Detection_Challenge" / "Train_Set" / "X.txt")
    text = refuses("no face crops and no videos", tmp_path)
    assert str(tmp_path) in text


def test_several_roots_of_annotations(tmp_path: pathlib.Path):
    root = arranged(tmp_path / "tree", OFFICIAL)
    newer = root / "7th_ABAW_Annotations"
    touch(newer / "EXPR_Classification_Challenge" / "Train_Set" / "360.txt")
    text = refuses("has annotations in", root)
    assert str(newer) in text
    assert str(root / "Annotations") in text
    corpus = find_corpus(root, annotations=newer)
    assert corpus.annotations == newer
    assert any(f"{root / 'Annotations'}: annot" in line for line in corpus.ignored)
    beside = tmp_path / "beside"
    shutil.move(newer, beside)
    assert find_corpus(root, annotations=str(beside)).annotations == beside
    refuses("batch1 has no annotations", root, annotations=root / "batch1")
    shutil.rmtree(root / "Annotations")
    assert find_corpus(root).annotations is None


def test_a_video_twice(tmp_path: pathlib.Path):
    one = touch(tmp_path / "batch1" / "X.mp4")
    two = touch(tmp_path / "new_vids" / "X.avi")
    text = refuses("video 'X'", tmp_path)
    assert str(one) in text
    assert str(two) in text
    for i in range(8):
        touch(tmp_path / "batch1" / f"{i}.mp4")
        touch(tmp_path / "batch2" / f"{i}.mp4")
    assert "(9 in all)" in refuses("video '0'", tmp_path)


def test_a_subject_twice(tmp_path: pathlib.Path):
    one = crops_at(tmp_path / "cropped_aligned" / "X")
    two = crops_at(tmp_path / "cropped_aligned_new_50_vids" / "X")
    text = refuses("crops of 'X'", tmp_path)
    assert str(one) in text
    assert str(two) in text
    # Those that are not wanted may be there as often as they like.
    crops_at(tmp_path / "cropped" / "Y")
    assert list(find_corpus(tmp_path, crops="cropped").crops) == ["Y"]


@pytest.mark.parametrize("other", ["1.jpg", "00001.png", "00001.JPG", "0000001.jpeg"])
def test_a_frame_twice(other: str, tmp_path: pathlib.Path):
    folder = crops_at(tmp_path / "cropped_aligned" / "X", "00001.jpg", "2.jpg", other)
    text = refuses("1 such pair", tmp_path)
    assert str(folder) in text
    assert "00001.jpg" in text
    assert other in text


@pytest.mark.parametrize(
    "name", ["00000.jpg", f"{MAX_FRAME + 1}.jpg", f"{2**64}.png", f"{'9' * 240}.jpg"]
)
def test_frames_that_cannot_be(name: str, tmp_path: pathlib.Path):
    crops_at(tmp_path / "cropped_aligned" / "X", "00001.jpg", name, "00003.jpg")
    assert f"X/{name}: frame" in refuses(f"expected 1 to {MAX_FRAME}", tmp_path)


def test_the_last_frame_that_can_be(tmp_path: pathlib.Path):
    crops_at(tmp_path / "cropped_aligned" / "X", f"{MAX_FRAME}.jpg")
    assert frames_of(find_corpus(tmp_path)) == {"X": [MAX_FRAME]}


@pytest.mark.parametrize("kind", ["file", "folder", "crop", "annotation"])
@pytest.mark.parametrize("relative", [False, True])
def test_links_out_of_the_tree(kind: str, relative: bool, tmp_path: pathlib.Path):
    root = arranged(tmp_path / "tree", OFFICIAL)
    # A neighbour whose path begins like the tree's.
    outside = tmp_path / "tree2"
    link, target = {
        "file": (root / "batch1" / "Z.mp4", touch(outside / "Z.mp4")),
        "folder": (root / "cropped_aligned" / "Z", crops_at(outside / "Z")),
        "crop": (root / "cropped_aligned" / "360" / "8.jpg", touch(outside / "8.jpg")),
        "annotation": (
            root / "Annotations" / "VA_Estimation_Challenge" / "Train_Set" / "Z.txt",
            touch(outside / "Z.txt"),
        ),
    }[kind]
    link.symlink_to(os.path.relpath(target, link.parent) if relative else target)
    text = refuses("1 link leads out of", root)
    assert str(link) in text
    assert "--follow-links" in text
    followed = find_corpus(root, follow_links=True)
    assert ("Z" in followed.videos) == (kind == "file")
    assert ("Z" in followed.crops) == (kind == "folder")
    assert followed.crops["360"].frame.tolist() == ([7, 8] if kind == "crop" else [7])
    if kind == "crop":
        link.rename(link.with_name("7.jpg"))
        refuses("frame|such pair", root, follow_links=True)


def test_many_links_out_of_the_tree(tmp_path: pathlib.Path):
    target = touch(tmp_path / "one.jpg", 5)
    folder = crops_at(tmp_path / "tree" / "cropped_aligned" / "X", "00001.jpg")
    for frame in range(2, 10):
        (folder / f"{frame:05d}.jpg").symlink_to(target)
    text = refuses("8 links lead out of", tmp_path / "tree")
    assert text.count(" -> ") == 3
    assert "00002.jpg" in text
    crops = find_corpus(tmp_path / "tree", follow_links=True).crops["X"]
    assert crops.frame.tolist() == list(range(1, 10))
    assert crops.num_bytes == 40


def test_links_that_lead_nowhere(tmp_path: pathlib.Path):
    folder = crops_at(tmp_path / "cropped_aligned" / "X")
    (folder / "00002.jpg").symlink_to(folder / "gone.jpg")
    (folder / "00003.jpg").symlink_to(folder / "00003.jpg")
    for follow in (False, True):
        refuses("2 links lead nowhere", tmp_path, follow_links=follow)


def test_a_root_that_is_a_link(tmp_path: pathlib.Path):
    arranged(tmp_path / "tree", OFFICIAL)
    (tmp_path / "link").symlink_to(tmp_path / "tree")
    assert frames_of(find_corpus(tmp_path / "link")) == ALIGNED


def test_links_inside_the_tree(tmp_path: pathlib.Path):
    """A folder may have the official name by a link, and its subjects theirs."""
    crops_at(tmp_path / "raw" / "0001", "00004.jpg")
    (tmp_path / "stage").mkdir()
    (tmp_path / "stage" / "X").symlink_to(tmp_path / "raw" / "0001")
    (tmp_path / "cropped_aligned").symlink_to("stage")
    touch(tmp_path / "videos" / "X.mp4")
    (tmp_path / "batch1").symlink_to("videos")
    corpus = find_corpus(tmp_path)
    assert frames_of(corpus) == {"X": [4]}
    assert list(corpus.videos) == ["X"]


def test_links_in_and_to_the_annotations(tmp_path: pathlib.Path):
    root = arranged(tmp_path, {**OFFICIAL, "batch1": "videos/all/batch1"})
    (root / "latest").symlink_to("Annotations")
    task = root / "Annotations" / "VA_Estimation_Challenge"
    (task / "videos of these").symlink_to(root / "videos")
    corpus = find_corpus(root)
    assert corpus.annotations == root / "Annotations"
    assert corpus.videos["360"] == root / "videos" / "all" / "batch1" / "360.avi"


def test_loops_end(tmp_path: pathlib.Path):
    root = arranged(tmp_path / "tree", OFFICIAL)
    (root / "batch1" / "up").symlink_to(root)
    (root / "cropped_aligned" / "360" / "self").symlink_to(".")
    (root / "cropped_aligned" / "360" / "up").symlink_to("..")
    assert frames_of(find_corpus(root)) == ALIGNED
    # Twelve folders, each with links to all: n! ways.
    many = [root / "many" / str(i) for i in range(12)]
    for folder in many:
        folder.mkdir(parents=True)
    for folder in many:
        for other in many:
            (folder / f"to {other.name}").symlink_to(other)
    corpus = find_corpus(root)
    assert frames_of(corpus) == ALIGNED
    assert list(corpus.videos) == list(find_videos(root))


def test_a_loop_outside_of_the_tree_ends(tmp_path: pathlib.Path):
    crops_at(tmp_path / "outside" / "X")
    (tmp_path / "outside" / "back").symlink_to(tmp_path)
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "cropped_aligned").symlink_to(tmp_path / "outside")
    corpus = find_corpus(tmp_path / "tree", follow_links=True)
    assert frames_of(corpus) == {"X": [1]}


@contextlib.contextmanager
def no_root() -> Iterator[pathlib.Path]:
    """A folder that belongs to whom we are inside, who is not root."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        try:
            yield pathlib.Path(folder)
        finally:
            if root:
                os.seteuid(0)


@pytest.mark.parametrize("mode", [0o000, 0o400])
def test_a_folder_that_cannot_be_read(mode: int):
    with no_root() as root:
        crops_at(root / "cropped_aligned" / "X")
        closed = crops_at(root / "cropped_aligned" / "Y")
        closed.chmod(mode)
        try:
            text = refuses("cannot be read .*denied", root)
            assert str(closed) in text
        finally:
            closed.chmod(0o700)


def test_a_very_deep_tree(tmp_path: pathlib.Path):
    folder = str(tmp_path)
    for _ in range(1200):
        folder += "/d"
        os.mkdir(folder)
    with open(f"{folder}/X.mp4", "wb"):
        pass
    try:
        assert list(find_videos(tmp_path)) == ["X"]
    finally:
        os.remove(f"{folder}/X.mp4")
        while folder != str(tmp_path):
            os.rmdir(folder)
            folder = os.path.dirname(folder)


@pytest.fixture(scope="module")
def many_crops(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pathlib.Path]:
    """Ten folders of 1,000 empty files each; hard links, which are quickly made."""
    root = tmp_path_factory.mktemp("many") / "cropped_aligned"
    names = [f"{frame:05d}.jpg" for frame in range(2, 1001)]
    for i in range(10):
        folder = root / f"video{i}"
        first = touch(folder / "00001.jpg")
        inside = os.open(folder, os.O_RDONLY)
        for name in names:
            os.link(first, name, dst_dir_fd=inside)
        os.close(inside)
    yield root
    shutil.rmtree(root)


def test_many_crops(many_crops: pathlib.Path):
    corpus = find_corpus(many_crops)
    assert len(corpus.crops) == 10
    for one in corpus.crops.values():
        np.testing.assert_array_equal(one.frame, np.arange(1, 1001))
    other = find_corpus(many_crops.parent, crop_folders=[many_crops / "video7"])
    assert other.crops["video7"].digest() == corpus.crops["video7"].digest()


@pytest.mark.slow
def test_crops_take_little_memory(many_crops: pathlib.Path):
    """A crop's number, size and name: 21 bytes. A scan holds one folder's entries."""

    def scan() -> dict[str, CropFolder]:
        found = {}
        for i in range(10):
            found.update(find_crops(many_crops / f"video{i}"))
        return found

    scan()  # what is loaded and cached at first use is not of the scan
    tracemalloc.start()
    try:
        found = scan()
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sum(len(one.frame) for one in found.values()) == 10_000
    assert held < 10_000 * 30
    assert peak - held < 1000 * 500


def record(video: str, split: str, **labels) -> VideoAnnotations:
    return VideoAnnotations(video, labels, dict.fromkeys(labels or ["EXPR"], split))


def test_what_fits_together_and_what_is_missing(tmp_path: pathlib.Path):
    crops_at(tmp_path / "cropped_aligned" / "A_left", "1.jpg", "2.jpg", "9.jpg")
    crops_at(tmp_path / "cropped_aligned" / "B", "3.jpg")
    crops_at(tmp_path / "cropped_aligned" / "unlabelled")
    for name in ("A", "unlabelled", "C", "unused"):
        touch(tmp_path / "batch1" / f"{name}.mp4")
    va = np.float32([[0.5, 0.5], [math.nan] * 2, [0, 0], [1, 1]])
    records = [
        record("A_left", "train", EXPR=np.int8([0, -1, 3, 7]), VA=va),
        record("A_right", "train", EXPR=np.int8([0, 1])),
        record("B", "validation", EXPR=np.int8([-1, -1, 5])),
        record("C", "test"),
    ]
    corpus = find_corpus(tmp_path)
    found = coverage_of(corpus, records)
    assert found.splits == (
        SplitCoverage("EXPR", "train", 2, 1, 5, 1),
        SplitCoverage("EXPR", "validation", 1, 1, 1, 1),
        SplitCoverage("EXPR", "test", 1, 0, 0, 0),
        SplitCoverage("VA", "train", 1, 1, 3, 1),
    )
    assert [one.without_crop for one in found.splits] == [4, 0, 0, 2]
    assert found.without_crops == ("A_right", "C")
    assert found.without_video == ("B",)
    assert found.unlabelled == ("unlabelled",)
    assert found.unused == ("unused",)
    text = "\n".join(found.lines())
    assert "EXPR train: 2 subject-videos (1 with crops), 5 labelled" in text
    assert "annotated, but without crops: A_right, C" in text
    assert coverage_of(corpus, reversed(records)).unlabelled == found.unlabelled


def test_long_lists_of_names_are_cut(tmp_path: pathlib.Path):
    touch(tmp_path / "X.mp4")
    records = [record(f"v{i:04d}", "train") for i in range(1234)]
    found = coverage_of(find_corpus(tmp_path), records)
    assert len(found.without_crops) == 1234
    (line,) = [line for line in found.lines() if "without crops" in line]
    assert line.endswith("v0000, v0001, v0002, v0003, v0004, ... (1,234 in all)")
    assert "v0005" not in line
