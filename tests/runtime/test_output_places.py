"""Nothing is written among what is read, by any command."""

import pytest

from avemo_jax import cli
from avemo_jax.runtime.output_places import check_out


def test_outputs_and_inputs(tmp_path):
    read = tmp_path / "read"
    (read / "a").mkdir(parents=True)
    (tmp_path / "link").symlink_to(read / "a")
    (tmp_path / "file.pkl").touch()
    for out in (tmp_path / "other", tmp_path, tmp_path / "read2", tmp_path / "x" / "y"):
        check_out("--out", out, read, None, tmp_path / "file.pkl")
    for out in (read, read / "a" / "new", tmp_path / "link" / "b", f"{read}/../read/a"):
        with pytest.raises(ValueError, match=r"^--out \S+ .*is read; expected a place"):
            check_out("--out", out, None, read)
    with pytest.raises(ValueError, match="is what is read"):
        check_out("--csv", tmp_path / "file.pkl", tmp_path / "file.pkl")


COMMANDS = {
    "extract": ("--crops", "IN", "--visual=face_hog", "--out=IN/out"),
    "prepare": ("--root", "IN", "--visual=face_hog", "--out=IN"),
    "import-features": ("IN", "--as=x@y", "--kind=visual", "--out=IN/out"),
    "build-store": ("--annotations=A", "--features=IN", "--out=IN/out"),
    "convert": ("vggish", "IN/a.safetensors", "--out=IN/a.safetensors", "--overwrite"),
    "submit": ("--predictions=IN", "--test-list=EXPR=l.txt", "--out=IN/out"),
    "score": ("IN/a.csv", "--task=expr", "--annotations=A", "--csv=IN/a.csv"),
    "evaluate": ("--checkpoint=B/best_model", "--data-dir=IN", "--workdir=IN/out"),
    "blend": ("--checkpoint=B/best_model,IN", "--workdir=IN"),
    "train": ("--config=expr_mlp", "--data-dir=IN", "--workdir=IN/run"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_refuse_an_output_among_their_inputs(
    tmp_path, capsys, monkeypatch, command
):
    place = tmp_path / "given"
    place.mkdir()
    for name in ("a.safetensors", "a.csv"):
        (place / name).write_bytes(b"")
    before = sorted(place.iterdir())
    arguments = [text.replace("IN", str(place)) for text in COMMANDS[command]]
    monkeypatch.setattr("sys.argv", ["avemo", command, *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 1
    assert "what is read; expected a place outside of it" in capsys.readouterr().err
    assert sorted(place.iterdir()) == before
