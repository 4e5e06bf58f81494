"""Files for ELAN, Praat and players, read back by programs that are not ours."""

import html
import itertools
import pathlib

import numpy as np
import pytest
import webvtt
from made.predicted import made_face, made_predicted
from praatio import textgrid
from pympi import Elan

from avemo_jax.prediction.predicted import Predicted
from avemo_jax.prediction.segments import segments
from avemo_jax.prediction.subtitles import cues
from avemo_jax.prediction.tiers import NO_FACE, Span, Tier, tiers
from avemo_jax.prediction.views import write_views
from avemo_jax.tasks import AU, EXPR, VA, own_task

NAMES = ["elan", "praat", "subtitles"]
ODD = ("<calm> & x -->", "ärgerlich's", "笑顔")


def made(folder: pathlib.Path, **changes) -> Predicted:
    """Two people over each other in time, labels that formats take for their own."""
    tasks = (EXPR, AU, VA, own_task("mood", "multiclass", ODD))
    faces = [
        made_face(1, 3, 60, tasks, lost=[9, 10, 11]),
        made_face(2, 20, 75, tasks, filled=[30]),
    ]
    for face in faces:  # labels that last
        for task in ("EXPR", "AU", "mood"):
            face.scores[task][:] = np.repeat(face.scores[task][::4], 4, axis=0)[
                : len(face.frame)
            ]
        face.scores["EXPR"][6:9] = np.nan
    path = folder / "films" / "Étude 1 & 2.mp4"
    return made_predicted(80, faces, tasks, path=path, **changes)


@pytest.fixture
def written(tmp_path: pathlib.Path) -> tuple[Predicted, pathlib.Path]:
    predicted = made(tmp_path)
    folder = tmp_path / "predicted" / "interview"
    folder.mkdir(parents=True)
    assert write_views(predicted, folder, NAMES) == ()
    return predicted, folder


def expected(predicted: Predicted) -> dict[str, list[tuple[float, float, str]]]:
    """What segments.csv has, by tier."""
    found: dict[str, list[tuple[float, float, str]]] = {}
    for one in segments(predicted):
        span = (one.onset_s, one.offset_s, one.label)
        found.setdefault(one.tier, []).append(span)
    return found


def test_elan_reads_the_segments(written):
    predicted, folder = written
    eaf = Elan.Eaf(str(folder / "annotations.eaf"))
    wanted = expected(predicted)
    found = {name: eaf.get_annotation_data_for_tier(name) for name in wanted}
    assert len(wanted) == 2 * 14
    for tier, spans in wanted.items():
        told = [
            (begin / 1000, end / 1000, label) for begin, end, label, *_ in found[tier]
        ]
        assert [label for *_, label in told] == [label for *_, label in spans]
        np.testing.assert_allclose(
            [times for *times, _ in told], [times for *times, _ in spans], atol=5.1e-4
        )
    values = {"face1_valence", "face1_arousal", "face2_valence", "face2_arousal"}
    assert set(eaf.get_tier_names()) == wanted.keys() | values
    assert eaf.get_parameters_for_tier("face2_AU12")["PARTICIPANT"] == "face2"
    assert sorted(eaf.get_controlled_vocabulary_names()) == ["expression", "mood"]
    entries = eaf.get_cv_entries("mood").values()
    assert [entry[0][0][0] for entry in entries] == list(ODD)


def test_elan_finds_the_video(written, tmp_path):
    predicted, folder = written
    (media,) = Elan.Eaf(str(folder / "annotations.eaf")).get_linked_files()
    assert media["MIME_TYPE"] == "video/mp4"
    assert media["MEDIA_URL"] == f"file://{predicted.path.resolve()}"
    assert (folder / media["RELATIVE_MEDIA_URL"]).resolve() == predicted.path.resolve()
    sequence = made(tmp_path, files=(tmp_path / "1.png",))
    (note,) = write_views(sequence, folder, ["elan"])
    assert note == "annotations.eaf links no video, for there are pictures only"
    assert Elan.Eaf(str(folder / "annotations.eaf")).get_linked_files() == []


def test_praat_reads_the_segments(written):
    predicted, folder = written
    grid = textgrid.openTextgrid(
        str(folder / "annotations.TextGrid"), includeEmptyIntervals=True
    )
    assert grid.maxTimestamp == pytest.approx(80 / 25)
    wanted = expected(predicted)
    for name in grid.tierNames:
        found = grid.getTier(name).entries
        # From the start to the end, without a gap.
        assert found[0].start == 0
        assert found[-1].end == pytest.approx(3.2)
        for one, two in itertools.pairwise(found):
            assert one.end == two.start
            assert one.start < one.end
        if name.endswith(("valence", "arousal")):
            continue
        told = [tuple(one) for one in found if one.label]
        assert [one[2] for one in told] == [one[2] for one in wanted[name]]
        np.testing.assert_allclose(
            [one[:2] for one in told], [one[:2] for one in wanted[name]], atol=5.1e-4
        )


def test_players_show_what_faces_show(written):
    predicted, folder = written
    captions = webvtt.read(folder / "annotations.vtt").captions
    wanted = expected(predicted)
    ends = [one.end_in_seconds for one in captions]
    starts = [one.start_in_seconds for one in captions]
    assert all(a <= b for a, b in zip(ends, starts[1:], strict=False))
    for at_s in np.arange(0.02, 3.2, 0.04):  # in the middle of each frame
        shown: dict[str, list[str]] = {}
        for tier, spans in wanted.items():
            for begin, end, label in spans:
                if begin < at_s < end:
                    shown.setdefault(tier.split("_")[0][4:], []).append(label)
        now = [
            one
            for one in captions
            if one.start_in_seconds + one_ms(one.start) <= at_s
            and at_s < one.end_in_seconds + one_ms(one.end)
        ]
        lines = [line for one in now for line in html.unescape(one.text).split("\n")]
        assert lines == [
            f"{face}: {' '.join(labels)}" for face, labels in shown.items()
        ]


def one_ms(stamp: str) -> float:
    """The milliseconds that webvtt-py's whole seconds lack."""
    return int(stamp[-3:]) / 1000


def test_values_are_means_of_seconds():
    face = made_face(1, 11, 80, (VA,), lost=[40])
    face.scores["VA"][:15, 0] = 0.25
    face.scores["VA"][15:, 0] = -0.5
    face.scores["VA"][29] = np.nan
    valence, _ = tiers(made_predicted(80, [face], (VA,)))
    assert valence.name == "face1_valence"
    assert [tuple(span) for span in valence.spans] == [
        (400, 1000, "0.25"),
        (1000, 1560, "-0.50"),
        (1600, 2000, "-0.50"),
        (2000, 3000, "-0.50"),
        (3000, 3200, "-0.50"),
    ]


def test_no_face_and_no_time(tmp_path):
    assert tiers(made_predicted(5)) == [Tier(NO_FACE, 0, NO_FACE, (), ())]
    notes = write_views(made_predicted(5), tmp_path, NAMES)
    assert notes == ("annotations.vtt is empty: there is nothing to show",)
    assert Elan.Eaf(str(tmp_path / "annotations.eaf")).get_tier_names() is not None
    grid = textgrid.openTextgrid(str(tmp_path / "annotations.TextGrid"), True)
    assert (grid.tierNames, grid.maxTimestamp) == ((NO_FACE,), 0.2)
    assert webvtt.read(tmp_path / "annotations.vtt").captions == []
    image = tmp_path / "image"
    image.mkdir()
    notes = write_views(
        made_predicted(1, [made_face(1, 1, 1)], fps=0.0, times_s=np.zeros(1)),
        image,
        NAMES,
    )
    assert [note.split(",")[0] for note in notes] == [
        f"no annotations.{ending} of an image" for ending in ("eaf", "TextGrid", "vtt")
    ]
    assert list(image.iterdir()) == []


def test_cues_end_where_nothing_is_shown():
    one = Tier("face1_AU01", 1, "AU01", ("AU01",), (Span(0, 100, "AU01"),))
    two = Tier("face2_AU01", 2, "AU01", ("AU01",), (Span(200, 300, "AU01"),))
    assert [tuple(cue) for cue in cues([one, two])] == [
        (0, 100, "1: AU01"),
        (200, 300, "2: AU01"),
    ]


def test_equal_tables_make_equal_files(tmp_path):
    contents = []
    for _ in range(2):
        write_views(made(tmp_path), tmp_path, NAMES)
        contents.append([path.read_bytes() for path in sorted(tmp_path.glob("*.*"))])
    assert contents[0] == contents[1]
    assert len(contents[0]) == 3
