import dataclasses
import hashlib
import json
import re
import shutil
from fractions import Fraction

import av
import chex
import numpy as np
import pytest
from made.trees import SILENT, contents_of, make_weights_dir, write_video
from made.videos import encode_frames

from avemo_jax.data.corpus.official_trees import find_crops, find_videos
from avemo_jax.data.features.files import read_feature_file
from avemo_jax.data.store import folder as store_folder
from avemo_jax.extraction import command
from avemo_jax.extraction.extractor_choice import ExtractorChoice
from avemo_jax.extraction.frame_times import KeptFrameTimes
from avemo_jax.extraction.jobs import Material
from avemo_jax.extraction.outcomes import Outcomes
from avemo_jax.extraction.run import extract, held
from avemo_jax.extraction.settings import Settings
from avemo_jax.extractors import efficientnet, vggish
from avemo_jax.media.alignment import align_original
from avemo_jax.media.audio import open_sound
from avemo_jax.media.decoding import DECODING_VERSIONS, decoders
from avemo_jax.media.images import read_image

FACES, SOUND = "enet_b0_8_va_mtl", "vggish"
FACE_SET, SOUND_SET = f"{FACES}@cropped_aligned-32", f"{SOUND}@0.96s"
QUIET = Settings(show_progress=False, decode_workers=1)


@pytest.fixture(scope="module")
def choices(weights):
    faces = ExtractorChoice(
        FACES,
        str(weights / f"{FACES}.safetensors"),
        "cropped_aligned-32",
        options=(("batch_size", 16), ("size_px", 32)),
    )
    sound = ExtractorChoice(
        SOUND,
        str(weights / f"{SOUND}.safetensors"),
        "0.96s",
        options=(("batch_size", 4),),
        alignment="time",
    )
    return {"faces": faces, "sound": sound}


@pytest.fixture(scope="module")
def loaded(choices):
    """Extractors that compile once for all tests here."""
    return {choice: choice.load() for choice in choices.values()}


@pytest.fixture
def own_tree(tree, tmp_path):
    """A copy that a test may spoil."""
    return shutil.copytree(tree, tmp_path / "tree")


@pytest.fixture(scope="module")
def run(choices, loaded):
    """Extract from a tree; its summaries by set, and the failures."""

    def extracted(tree, out, kinds=("faces", "sound"), settings=QUIET):
        crops = {} if "faces" not in kinds else find_crops(tree)
        material = Material(crops, find_videos(tree / "videos"))
        with held(out, shared=settings.num_shards > 1):
            summaries, outcomes = extract(
                out,
                [choices[kind] for kind in kinds],
                material,
                settings,
                load=lambda choice: loaded[choice],
            )
        lines = outcomes.path.read_text("utf-8").splitlines()
        return {one.name: one for one in summaries}, [json.loads(x) for x in lines]

    return extracted


@pytest.fixture(scope="module")
def features(tree, run, tmp_path_factory):
    """Of an undisturbed run, whose networks compile once for videos of any length."""
    out = tmp_path_factory.mktemp("out") / "features"
    chex.clear_trace_counter()
    with pytest.MonkeyPatch.context() as patch:
        for network in (efficientnet, vggish):
            once = chex.assert_max_traces(network.apply, n=1)
            patch.setattr(network, "apply", once)
        summaries, failures = run(tree, out)
    assert not failures
    assert {name: one.made for name, one in summaries.items()} == {
        FACE_SET: 6,
        SOUND_SET: 5,
    }
    return out


# --- what comes out


def test_faces_are_as_extracted_one_by_one(tree, features, choices, loaded):
    """Whatever batches they were in, to the bit."""
    extractor = loaded[choices["faces"]]
    for video, crops in find_crops(tree).items():
        found, meta = read_feature_file(features / FACE_SET / f"{video}.npz")
        np.testing.assert_array_equal(found.frame, crops.frame)
        alone = extractor.extract([read_image(path) for _, path in crops.paths()])
        np.testing.assert_array_equal(found.features, alone.features.astype(np.float16))
        np.testing.assert_array_equal(found.outputs, alone.outputs)
        assert meta["kind"] == "visual"
        assert meta["input"] == "cropped_aligned-32"
        assert meta["settings"] == extractor.settings
        assert meta["weights_sha256"] == extractor.weights_sha256
        assert meta["source"]["crops"] == len(crops.frame)
        assert meta["decoders"] == decoders("pictures")
        assert "decoding" not in meta  # its version is 0
        assert str(tree) not in json.dumps(meta)


def test_sound_has_a_row_for_every_frame_and_one_more(tree, features, choices, loaded):
    extractor = loaded[choices["sound"]]
    for video, path in find_videos(tree).items():
        found, meta = read_feature_file(features / SOUND_SET / f"{video}.npz")
        assert meta["decoders"] == decoders("sound")
        assert meta["decoding"] == DECODING_VERSIONS["sound"]
        if video == SILENT:
            assert len(found.frame) == 0
            assert meta["notes"] == ["no sound track"]
            continue
        times = KeptFrameTimes(features).of(video, path)
        assert meta["num_frames"] == times.num_frames
        assert meta["fps"] == 25
        np.testing.assert_array_equal(found.frame, 1 + np.arange(times.num_frames + 1))
        hops = extractor.extract(open_sound(path))
        for frame, vector in zip(found.frame, found.features, strict=True):
            nearest = np.argmin(np.abs(hops.times_s - (frame - 1) / 25))
            expected = hops.features[nearest].astype(np.float16)
            np.testing.assert_array_equal(vector, expected)


def test_alignment_of_the_original(tree, tmp_path, choices, loaded):
    choice = choices["sound"]
    other = dataclasses.replace(
        choice, input_name="0.96s-original", alignment="original"
    )
    material = Material({}, find_videos(tree))
    with held(tmp_path, shared=False):
        extract(tmp_path, [other], material, QUIET, load=lambda _: loaded[choice])
    video, path = "1-25-64x48", tree / "videos/batch1/1-25-64x48.mp4"
    name = f"{SOUND}@0.96s-original"
    found, meta = read_feature_file(tmp_path / name / f"{video}.npz")
    hops = loaded[choice].extract(open_sound(path))
    expected = hops.features[align_original(len(hops.features), 31)]
    np.testing.assert_array_equal(found.features, expected.astype(np.float16))
    assert meta["alignment"] == "original"


@pytest.mark.slow
def test_frames_of_a_changing_rate_take_the_sound_of_their_time(
    tmp_path, run, choices, loaded
):
    stamps = [*range(10), *range(60, 100, 2)]
    path = tmp_path / "tree/videos/a.mp4"
    write_video(path, 30, stamps=stamps, sound_s=4)
    run(tmp_path / "tree", tmp_path / "out", ["sound"])
    found, _ = read_feature_file(tmp_path / "out" / SOUND_SET / "a.npz")
    hops = loaded[choices["sound"]].extract(open_sound(path))
    used = set()
    for row, stamp in enumerate(stamps):
        nearest = int(np.argmin(np.abs(hops.times_s - stamp / 25)))
        used.add(nearest)
        expected = hops.features[nearest].astype(np.float16)
        np.testing.assert_array_equal(found.features[row], expected)
    assert used == {0, 2, 3}


@pytest.mark.parametrize(
    ("how", "note"),
    [
        ({"sound_s": 3.0}, "3.00 s of sound to 0.80 s of pictures"),
        ({"frames": 100, "sound_s": 1.0}, "1.0[0-9] s of sound to 4.00 s of pictures"),
        ({"sound_tracks": 2}, "the first of 2 sound tracks"),
    ],
)
def test_odd_sound_is_noted(tmp_path, run, how, note):
    frames = how.pop("frames", 20)
    write_video(tmp_path / "tree/videos/a.mp4", frames, **how)
    summaries, failures = run(tmp_path / "tree", tmp_path / "out", ["sound"])
    assert not failures
    [[*texts]] = summaries[SOUND_SET].notes.values()
    assert any(re.fullmatch(note, text) for text in texts), texts
    found, _ = read_feature_file(tmp_path / "out" / SOUND_SET / "a.npz")
    assert len(found.frame) == frames + 1


@pytest.mark.slow
def test_equal_notes_of_several_videos_are_one_line(tmp_path, run, capsys):
    """Sound that ends a little early is usual; where much is missing, it is noted."""
    for number in range(7):
        path = tmp_path / f"tree/videos/v{number}.mp4"
        write_video(path, 50, sound_s=1.6 + 0.06 * number)
    for name in ("w0", "w1"):
        path = tmp_path / f"tree/videos/{name}.mp4"
        write_video(path, 70 + 5 * (name == "w1"), sound_s=0.6)
    summaries, failures = run(tmp_path / "tree", tmp_path / "out", ["sound"])
    assert not failures
    outcomes = Outcomes(tmp_path / "failures.jsonl")
    command.print_summaries(list(summaries.values()), outcomes)
    lines = capsys.readouterr().out.splitlines()[1:]
    assert len(lines) == 2, lines
    pattern = r" +{} \(others with other numbers\): w0, w1"
    note = r"\d+ frames are shown over 1\.95 s before .* and take that"
    assert re.fullmatch(pattern.format(r"0\.\d+ s of sound to 2\.80 s .*"), lines[0])
    assert re.fullmatch(pattern.format(note), lines[1])
    for video, count in (("w0", 9), ("w1", 14)):
        _, meta = read_feature_file(tmp_path / "out" / SOUND_SET / f"{video}.npz")
        assert any(text.startswith(f"{count} frames") for text in meta["notes"])


def test_whole_pictures_of_videos(tmp_path, weights):
    write_video(tmp_path / "videos/a.mp4", 20)
    flags = ["--visual", FACES, "--weights", str(weights), "--size-px", "32"]
    flags += ["--out", str(tmp_path / "out"), "--quiet", "--batch-size", "16"]
    assert command.main(["--videos", str(tmp_path / "videos"), *flags]) == 0
    path = tmp_path / "out" / f"{FACES}@full_frame-32" / "a.npz"
    found, meta = read_feature_file(path)
    np.testing.assert_array_equal(found.frame, np.arange(1, 21))
    assert meta["decoders"] == decoders("video")
    assert meta["decoding"] == DECODING_VERSIONS["video"]


def test_what_is_changed_in_pictures_is_a_note_and_no_failure(
    tmp_path, weights, capsys
):
    picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))
    path = tmp_path / "videos/a.mp4"
    path.parent.mkdir()
    frames = [picture.reformat(format="yuv420p") for _ in range(3)]
    encode_frames(path, "mpeg4", frames, aspect=Fraction(3, 2))
    flags = ["--visual", FACES, "--weights", str(weights), "--size-px", "32"]
    flags += ["--out", str(tmp_path / "out"), "--quiet", "--batch-size", "16"]
    assert command.main(["--videos", str(path.parent), *flags]) == 0
    kept = tmp_path / "out" / f"{FACES}@full_frame-32" / "a.npz"
    _, meta = read_feature_file(kept)
    note = "pixels of 3:2 made square: 32 x 32 stretched to 48 x 32"
    assert (meta["notes"], meta["losses"]) == ([note], [])
    assert (tmp_path / "out/failures.jsonl").read_text(encoding="utf-8") == ""
    assert f"{note}: a" in capsys.readouterr().out


# --- faults of the material


def test_a_corrupt_picture_costs_its_frame(own_tree, tmp_path, run, features):
    """Cut short, text, empty; all else is as without them."""
    folder = own_tree / "cropped_aligned/1-25-64x48"
    cut = (folder / "00010.jpg").read_bytes()
    (folder / "00010.jpg").write_bytes(cut[: len(cut) // 2])
    (folder / "00011.jpg").write_text("no picture")
    (folder / "00030.jpg").write_bytes(b"")
    out = tmp_path / "out"
    summaries, failures = run(own_tree, out)
    assert summaries[FACE_SET].failed_frames == 3
    expected = [("1-25-64x48", FACE_SET, frame) for frame in (10, 11, 30)]
    assert [(f["video"], f["feature_set"], f["frame"]) for f in failures] == expected
    assert failures[0]["reason"].startswith("00010.jpg: damaged or cut short")
    found, meta = read_feature_file(out / FACE_SET / "1-25-64x48.npz")
    whole, _ = read_feature_file(features / FACE_SET / "1-25-64x48.npz")
    keep = ~np.isin(whole.frame, [10, 11, 30])
    np.testing.assert_array_equal(found.frame, whole.frame[keep])
    np.testing.assert_array_equal(found.features, whole.features[keep])
    assert [frame for frame, _ in meta["failed"]] == [10, 11, 30]

    # The list stays as long as the fault does; mended files are extracted again.
    summaries, again = run(own_tree, out)
    assert again == failures
    assert summaries[FACE_SET].stood == 6
    (folder / "00010.jpg").write_bytes(cut)
    shutil.copy(folder / "00001.jpg", folder / "00011.jpg")
    summaries, failures = run(own_tree, out)
    assert [f["frame"] for f in failures] == [30]
    assert summaries[FACE_SET].made == 1


def test_failed_frames_are_tried_again_when_asked(own_tree, tmp_path, run, features):
    path = own_tree / "cropped_aligned/1-25-64x48/00010.jpg"
    whole = path.read_bytes()
    path.write_bytes(whole[:200] + bytes(len(whole) - 200))  # of the same size
    out = tmp_path / "out"
    _, failures = run(own_tree, out, ["faces"])
    path.write_bytes(whole)
    _, again = run(own_tree, out, ["faces"])
    assert again == failures != []
    retry = dataclasses.replace(QUIET, retry_failed=True)
    _, failures = run(own_tree, out, ["faces"], retry)
    assert failures == []
    assert contents_of(out / FACE_SET) == contents_of(features / FACE_SET)


@pytest.mark.parametrize("content", [b"", b"a text", b"\0" * 5000])
def test_a_video_that_cannot_be_read_is_a_failure(own_tree, tmp_path, run, content):
    (own_tree / "videos/batch1/1-25-64x48.mp4").write_bytes(content)
    out = tmp_path / "out"
    summaries, [failure] = run(own_tree, out)
    assert failure["video"] == "1-25-64x48"
    assert failure["frame"] is None
    assert failure["reason"].startswith("1-25-64x48.mp4: ")
    assert "; expected a" in failure["reason"]
    assert summaries[SOUND_SET].made == 4
    assert not (out / SOUND_SET / "1-25-64x48.npz").exists()


def test_a_cut_video_costs_its_tail(own_tree, tmp_path, run, features):
    path = own_tree / "videos/batch1/b.avi"
    write_video(path, 200)
    whole = path.read_bytes()
    run(own_tree, tmp_path / "whole", ["sound"])
    path.write_bytes(whole[: len(whole) * 2 // 3])
    summaries, failures = run(own_tree, tmp_path / "cut", ["sound"])
    assert [failure["frame"] for failure in failures] == [None, None]
    assert "cut short" in failures[0]["reason"]
    assert "packets of sound could not be decoded" in failures[1]["reason"]
    assert summaries[SOUND_SET].made == 6
    _, again = run(own_tree, tmp_path / "cut", ["sound"])
    assert again == failures
    long, _ = read_feature_file(tmp_path / "whole" / SOUND_SET / "b.npz")
    short, _ = read_feature_file(tmp_path / "cut" / SOUND_SET / "b.npz")
    assert 80 < len(short.frame) < 160 < len(long.frame)
    same = len(short.frame) // 2
    np.testing.assert_array_equal(short.features[:same], long.features[:same])


# --- going on


def test_what_is_whole_stands(tree, tmp_path, run, features):
    out = shutil.copytree(features, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in out.glob("*/*.npz")}
    summaries, _ = run(tree, out)
    assert [one.made for one in summaries.values()] == [0, 0]
    assert {path: path.stat().st_mtime_ns for path in out.glob("*/*.npz")} == before


def test_damaged_and_changed_are_made_again(own_tree, tmp_path, run, features):
    out = shutil.copytree(features, tmp_path / "out")
    path = out / FACE_SET / "1-25-64x48.npz"
    data = bytearray(path.read_bytes())
    data[5000] ^= 1
    path.write_bytes(data)
    (out / SOUND_SET / "test 5.npz").write_bytes(b"")
    (out / FACE_SET / ".x.npz.77.tmp").write_bytes(b"of a killed run")
    shutil.copy(
        own_tree / "cropped_aligned/4-25-64x48/00001.jpg",
        own_tree / f"cropped_aligned/4-25-64x48/{5:05d}.jpg",
    )
    summaries, failures = run(own_tree, out)
    assert not failures
    assert {name: one.made for name, one in summaries.items()} == {
        FACE_SET: 2,
        SOUND_SET: 1,
    }
    changed = "4-25-64x48.npz"
    kept = contents_of(out, "*/*.npz")
    for name, content in contents_of(features, "*/*.npz").items():
        assert (kept.pop(name) == content) == (name != f"{FACE_SET}/{changed}")
    assert not kept
    found, _ = read_feature_file(out / FACE_SET / changed)
    assert 5 in found.frame


def test_other_weights_never_mix(tree, tmp_path, choices, features):
    out = shutil.copytree(features, tmp_path / "out")
    before = contents_of(out)
    weights = make_weights_dir(tmp_path, [FACES], seed=1) / f"{FACES}.safetensors"
    other = dataclasses.replace(choices["faces"], weights=str(weights))
    with (
        held(out, shared=False),
        pytest.raises(ValueError, match=r"extracted otherwise \(weights_sha256"),
    ):
        extract(out, [other], Material(find_crops(tree), {}), QUIET)
    assert contents_of(out) | {"failures.jsonl": b""} == before


@pytest.mark.parametrize(("kind", "medium"), [("faces", "pictures"), ("sound",) * 2])
def test_other_decoding_never_mixes(
    kind, medium, tree, tmp_path, run, features, monkeypatch
):
    out = shutil.copytree(features, tmp_path / "out")
    was = DECODING_VERSIONS[medium] or None
    monkeypatch.setitem(DECODING_VERSIONS, medium, 7)
    how = rf"extracted otherwise \(decoding {was} there, 7 now\)"
    with pytest.raises(ValueError, match=how):
        run(tree, out, [kind])


def test_times_of_another_decoding_are_not_used(tree, features, monkeypatch):
    [path] = (tree / "videos").rglob("1-25-64x48.mp4")
    kept = KeptFrameTimes(features)
    assert kept.stands("1-25-64x48", path)
    monkeypatch.setitem(DECODING_VERSIONS, "video", 7)
    assert not kept.stands("1-25-64x48", path)


def test_crops_extracted_before_decoding_had_a_version_still_stand(
    features, choices, loaded
):
    made = choices["faces"].feature_set(loaded[choices["faces"]], features)
    facts = {
        "extractor": loaded[choices["faces"]].fingerprint,
        "input": "cropped_aligned-32",
    }
    text = json.dumps(facts, sort_keys=True)
    assert made.meta["fingerprint"] == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.slow
def test_parts_make_the_same_files(tree, tmp_path, run, features):
    videos = []
    for index in (2, 0, 1):
        part = dataclasses.replace(QUIET, num_shards=3, shard_index=index)
        summaries, failures = run(tree, tmp_path / "out", settings=part)
        assert not failures
        videos.append(summaries[FACE_SET].made)
    assert sum(videos) == 6
    assert all(videos)
    found = contents_of(tmp_path / "out", "*/*.npz")
    assert found == contents_of(features, "*/*.npz")
    summaries, _ = run(tree, tmp_path / "out")
    assert [one.made for one in summaries.values()] == [0, 0]


@pytest.mark.slow
def test_processes_that_decode_make_the_same_files(tree, tmp_path, run, features):
    settings = dataclasses.replace(QUIET, decode_in="processes", decode_workers=2)
    run(tree, tmp_path / "out", ["faces"], settings)
    assert contents_of(tmp_path / "out" / FACE_SET) == contents_of(features / FACE_SET)


def test_two_runs_at_once_are_refused(tree, tmp_path, run):
    with (
        held(tmp_path, shared=False),
        pytest.raises(RuntimeError, match="is in use by process"),
    ):
        run(tree, tmp_path)
    with store_folder.locked(tmp_path, shared=True):
        part = dataclasses.replace(QUIET, num_shards=2)
        run(tree, tmp_path, settings=part)
        with pytest.raises(RuntimeError, match="is in use by process"):
            run(tree, tmp_path)
