"""Whose sound is used, and in which rows, by heads that hear."""

import csv
import pathlib

import pytest
from made.colour_network import NAME, colour_network
from made.coloured_faces import write_film
from made.plugins import install
from made.sounds import write_wav
from made.untrained_heads import untrained_head

from avemo_jax.models.card import UNKNOWN
from avemo_jax.prediction import command

HEARD = "loud"
_SOUND = """
takes = SoundInput(1000, hop_s=0.04, receptive_field_s=0.1)

def apply(params, x):
    return x.reshape(x.shape[0], -1).std(1, keepdims=True) * params["scale"]
"""


@pytest.fixture(scope="module")
def head(tmp_path_factory) -> pathlib.Path:
    """A head of expressions over colours and sound."""
    folder = tmp_path_factory.mktemp("network")
    with colour_network(folder):
        install(folder / "site", HEARD, _SOUND)
        sets = [
            (f"{NAME}@cropped-16", "visual", 4, UNKNOWN),
            (f"{HEARD}@0.1s", "audio", 4, UNKNOWN),
        ]
        yield untrained_head(folder / "head", "EXPR", "mlp", sets)


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> pathlib.Path:
    return write_film(tmp_path_factory.mktemp("films") / "film.mp4")


def heard_in(head, film, out, *flags) -> dict[str, list[int]]:
    """Frames in which sound was used, by face."""
    words = [str(film), "--out", str(out), "--model", str(head), "--quiet", *flags]
    assert command.main(words) == 0
    frames: dict[str, list[int]] = {}
    with (out / "film" / "predictions.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["audio_used"] == "1":
                frames.setdefault(row["face_id"], []).append(int(row["frame"]))
    return frames


@pytest.mark.slow
def test_sound_is_that_of_the_face_that_is_alone(head, film, tmp_path, capsys):
    wav = str(write_wav(tmp_path / "talk.wav", 2.4))
    frames = heard_in(head, film, tmp_path / "out", f"--audio={wav}")
    assert frames == {"1": [*range(1, 20), *range(45, 51)]}
    said = capsys.readouterr().out
    assert "sound of talk.wav used for face 1, in 50 % of its frames" in said


@pytest.mark.slow
def test_a_film_without_sound_is_predicted_without(head, film, tmp_path, capsys):
    assert heard_in(head, film, tmp_path / "out") == {}
    assert "sound not used: the file has no sound track" in capsys.readouterr().out
    assert heard_in(head, film, tmp_path / "none", "--audio=none") == {}
    assert "sound not used, as asked for (--audio none)" in capsys.readouterr().out
