"""What paths name, and how inputs are called."""

import pathlib

import pytest

from avemo_jax.prediction.inputs import find_inputs, safe_name


def touch(folder: pathlib.Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def found(*paths: pathlib.Path, **options) -> dict[str, str]:
    """Kind and path by name."""
    inputs = find_inputs(paths, **options).inputs
    return {one.name: f"{one.kind} {one.path.name}" for one in inputs}


def test_videos_come_before_pictures_and_the_rest_is_passed_over(tmp_path):
    touch(
        tmp_path, "b.mp4", "a.MOV", "thumb.jpg", "talk.wav", "notes.txt", ".hidden.mp4"
    )
    assert found(tmp_path) == {"a": "video a.MOV", "b": "video b.mp4"}
    (note,) = find_inputs([tmp_path]).notes
    assert note.endswith("3 other files passed over (notes.txt, talk.wav, thumb.jpg)")
    touch(tmp_path / "shots", "2.png", "10.png", "anim.gif")
    pictures = find_inputs([tmp_path / "shots"], fps=5.0).inputs[0]
    assert [file.name for file in pictures.files] == ["anim.gif", "2.png", "10.png"]


def test_folders_within_are_looked_into_only_if_asked_for(tmp_path):
    touch(tmp_path, "P1/clip.mp4", "P2/clip.mp4", "P2/face.png", "out/film/film.mp4")
    with pytest.raises(ValueError, match="it has folders: add --recursive"):
        find_inputs([tmp_path])
    names = found(tmp_path, recursive=True, out=tmp_path / "out")
    assert names == {"P1--clip": "video clip.mp4", "P2--clip": "video clip.mp4"}


@pytest.mark.parametrize("out", [pathlib.Path("other"), pathlib.Path("predicted")])
def test_results_of_earlier_runs_are_no_inputs(out, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    touch(tmp_path, "film.mp4", "shots/1.png")
    for name in ("film", "shots--1"):
        folder = tmp_path / "predicted" / name
        touch(folder, "run.json", "predictions.csv", "annotated.mp4", "page/1.png")
    here = pathlib.Path()
    assert found(here, out=out) == {"film": "video film.mp4"}
    names = found(here, recursive=True, out=out)
    if out.name == "predicted":
        assert names == {"film": "video film.mp4", "1": "image 1.png"}
    assert "annotated" not in "".join(names)
    touch(tmp_path, "mine/annotated.mp4")  # a name alone does not make it a result
    assert "annotated" in found(here, recursive=True, out=out)


def test_names_are_unique_on_every_system(tmp_path):
    touch(tmp_path, "a/x/Clip.mp4", "b/x/clip.mp4", "a/y.mp4", "a/y.avi", "a/con.mp4")
    paths = [*sorted(tmp_path.glob("*/x/*.mp4")), *(tmp_path / "a").glob("*.*")]
    assert set(found(*paths, *paths)) == {
        *("a--x--Clip", "b--x--clip", "y.mp4", "y.avi", "_con"),
    }
    assert safe_name('a:b*c?"<d>|') == "a_b_c___d__"
    assert safe_name("..dots. ") == "_dots_"
    assert len(safe_name("x" * 300)) == 120
    assert safe_name("x" * 300) != safe_name("x" * 299 + "y")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("none.mp4", "no such file or folder; expected a video, an image"),
        ("talk.wav", "is sound, without faces; expected a video or an image"),
        ("empty", "no videos and no images in it, nothing of the kind; expected"),
        ("texts", "no videos and no images in it, only a.txt; expected files"),
    ],
)
def test_what_is_no_input_is_told_in_one_line(name, said, tmp_path):
    touch(tmp_path, "talk.wav", "texts/a.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=said) as error:
        find_inputs([tmp_path / name])
    assert "\n" not in str(error.value)


def test_a_changed_file_has_another_digest(tmp_path):
    touch(tmp_path, "a.mp4")
    (one,) = find_inputs([tmp_path / "a.mp4"]).inputs
    before = one.digest()
    assert one.digest() == before
    one.path.write_bytes(b"longer")
    assert one.digest() != before
