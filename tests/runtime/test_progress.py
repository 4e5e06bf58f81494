"""Progress of long work, on a terminal and elsewhere."""

import io
import pathlib
import re
import sys

import pytest

from avemo_jax.runtime import progress
from avemo_jax.runtime.progress import Stages, clear_bars, progress_bar

ROOT = pathlib.Path(__file__).parents[2]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress_bar(4, "loading", "video", done=1) as bar:
        bar.update(3)
    drawn = sys.stderr.getvalue()
    assert re.search(r"\rloading: +100%\|.*\| 4/4 \[.*video/s\]\n$", drawn)


def test_a_pipe_gets_nothing_of_short_work(capsys):
    with progress_bar(4, "loading", "video") as bar:
        for _ in range(4):
            bar.update()
            bar.set_postfix_str("loss 1")
    assert capsys.readouterr().err == ""


def test_a_pipe_gets_lines_of_long_work(capsys, monkeypatch):
    monkeypatch.setattr(progress, "LINE_EVERY_S", 1e-9)
    with progress_bar(4, "loading", "video") as bar:
        bar.update(2)
        bar.set_postfix_str("loss 1.5")
        bar.update(2)
    lines = capsys.readouterr().err.splitlines()
    pattern = r"\d\d:\d\d:\d\d loading: {} of 4 \(video\), after 00:00{}"
    for line, told in zip(lines, [("2", ""), ("4", ", loss 1.5")], strict=False):
        assert re.fullmatch(pattern.format(*told), line)
    with progress_bar(None, "net.pt", "B", in_bytes=True) as bar:
        bar.update(3 << 20)
    assert "net.pt: 3.00M (B), after" in capsys.readouterr().err


@pytest.mark.parametrize("terminal", [True, False])
def test_quiet(monkeypatch, capsys, terminal):
    if terminal:
        monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(progress, "LINE_EVERY_S", 1e-9)
    with progress_bar(4, "loading", "video", quiet=True) as bar:
        bar.update(4)
    said = sys.stderr.getvalue() if terminal else capsys.readouterr().err
    assert said == ""


def test_stages(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    stages = Stages("evaluating", 2)
    stages.begin("dev")
    stages.begin("validation")
    stages.end()
    drawn = sys.stderr.getvalue()
    assert re.search(r"evaluating: +0%.* 0/2 \[.*, dev\]", drawn)
    assert re.search(r"evaluating: +50%.* 1/2 \[.*, validation\]", drawn)
    assert drawn.endswith("\r")  # nothing of it stays


def test_messages_stand_on_lines_of_their_own(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress_bar(2, "loading", "video"):
        clear_bars()
        assert re.search(r"0/2 .*\r +\r$", sys.stderr.getvalue())


def test_there_is_no_other_bar():
    """One that would be drawn into a pipe too."""
    places = [*ROOT.glob("avemo_jax/**/*.py"), *ROOT.glob("data_builders/**/*.py")]
    calls = [p for p in places if re.search(r"\btqdm\(", p.read_text("utf-8"))]
    assert [p.name for p in calls] == ["progress.py"]
