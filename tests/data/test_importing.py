"""Features made elsewhere become feature files, and a store."""

import hashlib
import pickle

import numpy as np
import pytest
from made.features import (
    DIM,
    FORMS,
    FRAMES,
    by_image,
    folder_of_videos,
    pickled,
    scores_of,
    vectors,
    with_scores,
    write_labels,
)

from avemo_jax.data.features.files import read_feature_file
from avemo_jax.data.importing.command import main
from avemo_jax.data.store.store import open_store
from avemo_jax.packing import command

NAME = "dinov2@cropped-224"
LINES = {"1-30-64x48": 40, "video3_left": 33, "360": 25}


def imported(source, out, *more, name=NAME, kind="visual"):
    """Runs the command, which must end well."""
    arguments = [source, "--as", name, "--kind", kind, "--out", out, *more]
    assert main([*map(str, arguments), "--quiet"]) == 0
    return out / name


def fails(capsys, source, out, *more, name=NAME, kind="visual"):
    """The error that the command ends with; nothing is left in ``out``."""
    arguments = [source, "--as", name, "--kind", kind, "--out", out, *more]
    assert main([*map(str, arguments), "--quiet"]) == 1
    assert not list(out.rglob("*")) if out.exists() else True
    return capsys.readouterr().err


def contents_of(made, *, scored=False) -> str:
    """The digest of imported rows, whatever file they came from."""
    total = b""
    for video in sorted(made):
        rows = FRAMES[video].astype(np.int32).tobytes()
        rows += made[video].astype(np.float16).tobytes()
        if scored:
            rows += scores_of(made)[video].astype(np.float32).tobytes()
        total += video.encode() + b"\0" + hashlib.sha256(rows).digest()
    return hashlib.sha256(total).hexdigest()


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_files(tmp_path, form):
    made = vectors()
    folder = imported(FORMS[form](tmp_path / "given", made), tmp_path / "out")
    assert sorted(path.stem for path in folder.iterdir()) == sorted(FRAMES)
    for video, frame in FRAMES.items():
        rows, meta = read_feature_file(folder / f"{video}.npz")
        np.testing.assert_array_equal(rows.frame, frame)
        np.testing.assert_array_equal(rows.features, made[video].astype(np.float16))
        assert meta["kind"] == "visual"
        assert meta["settings"] == {
            "imported": True,
            "made_by": "",
            "contents": contents_of(made, scored=form == "pickle with scores"),
        }
        if form == "pickle with scores":
            expected = scores_of(made)[video].astype(np.float32)
            np.testing.assert_array_equal(rows.outputs, expected)
        else:
            assert rows.outputs is None


def test_a_store_of_them_is_read(tmp_path, capsys):
    """Of any name and length."""
    root = write_labels(tmp_path / "Annotations", LINES)
    write_labels(root, {"other": 9}, "Validation_Set")
    source = FORMS["pickle with scores"](tmp_path / "given", vectors())
    imported(source, tmp_path / "features", "--annotations", root)
    printed = capsys.readouterr().out
    assert "EXPR train: 3 of 3 videos, 78 of 98 labelled frames (79.59 %)" in printed
    assert "EXPR validation: 0 of 1 videos, 0 of 9" in printed
    assert "annotated, but without features: 1 videos (other)" in printed
    where = ["--annotations", root, "--features", tmp_path / "features"]
    arguments = [*where, "--out", tmp_path / "store", "--quiet"]
    assert command.main([str(each) for each in arguments]) == 0
    store = open_store(tmp_path / "store")
    table = store.load_table("EXPR", "train+dev", ["dinov2"])
    assert table.num_rows == 78
    assert table.feature_sets[0].dim == DIM
    assert table.outputs is not None
    assert table.outputs.shape == (78, 8)


def test_an_unknown_name_needs_no_input(tmp_path, capsys):
    given = FORMS["pickle with scores"](tmp_path / "given", vectors())
    arguments = [given, "--as", "dinov2", "--kind", "visual", "--out", tmp_path / "out"]
    assert main([*map(str, arguments), "--quiet"]) == 0
    assert "dinov2 is called dinov2@imported" in capsys.readouterr().err
    files = sorted(p.stem for p in (tmp_path / "out" / "dinov2@imported").iterdir())
    assert files == sorted(FRAMES)


def test_probabilities_are_kept_as_logits(tmp_path, capsys):
    made = vectors()
    soft = {v: np.exp(s) for v, s in scores_of(made).items()}
    soft = {
        v: (s / s.sum(1, keepdims=True)).astype(np.float32) for v, s in soft.items()
    }
    keyed = by_image(soft)
    path = tmp_path / "given.pkl"
    path.write_bytes(
        pickle.dumps({k: (v, keyed[k]) for k, v in by_image(made).items()})
    )
    folder = imported(path, tmp_path / "out")
    assert "probabilities; their logarithms" in capsys.readouterr().out
    for video, expected in soft.items():
        outputs = read_feature_file(folder / f"{video}.npz")[0].outputs
        np.testing.assert_allclose(np.exp(outputs), expected, rtol=1e-5)
    folder = imported(path, tmp_path / "other", "--outputs", "drop")
    assert read_feature_file(folder / "360.npz")[0].outputs is None


def test_frames_from_0(tmp_path, capsys):
    path = tmp_path / "given.pkl"
    path.write_bytes(pickle.dumps(by_image(vectors(), first=0)))
    message = fails(capsys, path, tmp_path / "out")
    assert "frame 0; expected numbers from 1" in message
    assert "--first-frame 0" in message
    folder = imported(path, tmp_path / "out", "--first-frame", 0)
    rows, _ = read_feature_file(folder / "360.npz")
    np.testing.assert_array_equal(rows.frame, FRAMES["360"])


@pytest.mark.parametrize("offset", [1, -1])
def test_rows_that_are_off_by_one_are_refused(tmp_path, capsys, offset):
    """Row i is frame i + 1, and nearly all videos have a row too many, or too few."""
    lengths = {f"video{i}": 20 + i for i in range(6)}
    root = write_labels(tmp_path / "Annotations", lengths)
    folder = tmp_path / "given"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for video, count in lengths.items():
        np.save(folder / f"{video}.npy", rng.normal(size=(count + offset, 4)))
    where = ["--annotations", root]
    message = fails(capsys, folder, tmp_path / "out", *where)
    words = "after" if offset == 1 else "before"
    assert f"the last row of 6 of 6 videos lies one {words} the last label" in message
    assert "nothing was written" in message
    imported(folder, tmp_path / "out", *where, "--accept-offsets")
    assert "accepted, although it looks off by one" in capsys.readouterr().out


def test_a_few_longer_videos_are_usual(tmp_path):
    lengths = {f"video{i}": 20 + i for i in range(6)}
    root = write_labels(tmp_path / "Annotations", lengths)
    folder = tmp_path / "given"
    folder.mkdir()
    for i, (video, count) in enumerate(lengths.items()):
        np.save(folder / f"{video}.npy", np.ones((count + (i < 3), 4)))
    imported(folder, tmp_path / "out", "--annotations", root)


def test_keys_that_begin_with_2_are_refused(tmp_path, capsys):
    lengths = {f"video{i}": 20 + i for i in range(6)}
    root = write_labels(tmp_path / "Annotations", lengths)
    path = tmp_path / "given.pkl"
    keyed = {
        f"{video}/{number:05d}.jpg": np.ones(3)
        for video, count in lengths.items()
        for number in range(2, count + 2)
    }
    path.write_bytes(pickle.dumps(keyed))
    message = fails(capsys, path, tmp_path / "out", "--annotations", root)
    assert "lies one after the last label" in message


def test_sound_at_its_native_rate(tmp_path, capsys):
    """50 hops a second beside 30 frames; both faces take the sound of their video."""
    lines = {"7-30-64x48_left": 30, "7-30-64x48_right": 30, "8": 20}
    root = write_labels(tmp_path / "Annotations", lines)
    folder = tmp_path / "given"
    folder.mkdir()
    hops = np.arange(50, dtype=np.float32)[:, None] * np.ones(3, np.float32)
    np.save(folder / "7-30-64x48.npy", hops)
    np.save(folder / "8.npy", hops[:40])
    how = {"name": "wavlm@16k", "kind": "audio"}
    where = ["--rate-hz", 50, "--annotations", root]
    message = fails(capsys, folder, tmp_path / "out", *where, **how)
    assert "frames per second of 1 videos (8) are not known" in message
    rates = tmp_path / "fps.csv"
    rates.write_text("video,fps\n8,25\n")
    out = imported(folder, tmp_path / "out", *where, "--fps-file", rates, **how)
    printed = capsys.readouterr().out
    assert "annotated faces that take the sound of their video: 2" in printed
    rows, meta = read_feature_file(out / "7-30-64x48.npz")
    assert meta["alignment"] == {"rule": "time", "rate_hz": 50.0}
    np.testing.assert_array_equal(rows.frame, np.arange(1, 31))
    # Frame f at (f - 1) / 30 s; hop i has its middle at (i + .5) / 50 s. In 300ths,
    # so that of two equally near ones the earlier is found.
    times = 10 * np.arange(30)
    nearest = np.abs(3 * (2 * np.arange(50) + 1) - times[:, None]).argmin(axis=1)
    np.testing.assert_array_equal(rows.features[:, 0], nearest)
    rows, _ = read_feature_file(out / "8.npz")
    assert len(rows.frame) == 20


def test_it_goes_on_where_it_was_killed(tmp_path):
    path = FORMS["pickle, protocol 4"](tmp_path / "given", vectors())
    folder = imported(path, tmp_path / "out")
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    (folder / "360.npz").unlink()
    imported(path, tmp_path / "out")
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def fingerprint_of(folder) -> str:
    (one,) = {read_feature_file(p)[1]["fingerprint"] for p in folder.iterdir()}
    return one


def test_another_network_does_not_mix(tmp_path, capsys):
    one = with_scores(tmp_path / "one", vectors())
    other = pickled(4)(tmp_path / "other", vectors(1))
    out = tmp_path / "out"
    first = fingerprint_of(imported(one, out))
    arguments = ["--as", NAME, "--kind", "visual", "--out", str(out), "--quiet"]
    for more in ([], ["--made-by", "another"]):
        assert main([str(other), *arguments, *more]) == 1
        said = capsys.readouterr().err
        assert "another fingerprint than what is imported" in said
        assert "pass --overwrite" in said
    # All videos are replaced, so that nothing is mixed.
    assert fingerprint_of(imported(other, out, "--overwrite")) != first
    fewer = vectors(2)
    del fewer["360"]
    some = pickled(4)(tmp_path / "some", fewer)
    assert main([str(some), *arguments, "--overwrite"]) == 1
    assert "360.npz has another fingerprint" in capsys.readouterr().err


def test_parts_of_one_network_mix_by_its_words(tmp_path, capsys):
    whole = vectors()
    words = ("--made-by", "dinov2 of 2024")
    out = tmp_path / "out"
    for number, video in enumerate(whole):
        part = pickled(4)(tmp_path / f"part{number}", {video: whole[video]})
        folder = imported(part, out, *words)
    by_words = fingerprint_of(folder)
    # The contents are no part of it: other videos of the network are to fit later.
    assert by_words == fingerprint_of(
        imported(pickled(4)(tmp_path / "all", vectors(1)), tmp_path / "new", *words)
    )
    meta = read_feature_file(folder / "360.npz")[1]
    assert meta["settings"] == {"imported": True, "made_by": words[1]}


def test_rows_that_are_not_finite_are_left_out_and_told(tmp_path, capsys):
    made = vectors()
    made["360"][1, 2] = np.nan
    folder = imported(folder_of_videos(tmp_path / "given", made), tmp_path / "out")
    assert "nonfinite rows: 1" in capsys.readouterr().out
    rows, _ = read_feature_file(folder / "360.npz")
    assert rows.frame.tolist() == [2, 5, 9, 25]
