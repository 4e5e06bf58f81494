import dataclasses
import json
import os
import re
from collections.abc import Mapping
from typing import Any, Literal, NotRequired, TypedDict

import pytest

from avemo_jax.runtime.json_files import (
    MAX_BYTES,
    fitted,
    parsed,
    read_json,
    read_json_lines,
)


class Video(TypedDict):
    frames: int
    rate: NotRequired[float]


@dataclasses.dataclass(frozen=True)
class Part:
    kind: Literal["visual", "audio"]
    runs: Mapping[str, tuple[int, ...]]
    name: str | None = None


def test_values_that_fit():
    stored = {"kind": "audio", "runs": {"a": [1, 2]}, "name": None}
    assert fitted(Part, stored) == Part("audio", {"a": (1, 2)})
    known = {"frames": 3, "rate": 25, "more": [1]}  # an integer is a number too
    assert fitted(Video, known) == known
    assert fitted(Any, [1, {}]) == [1, {}]
    assert fitted(tuple[int, str], [1, "a"]) == (1, "a")


@pytest.mark.parametrize(
    ("kind", "value", "told"),
    [
        (Video, [1], "the file holds [1]; expected an object"),
        (Video, {}, "missing frames, unknown nothing"),
        (Video, {"frames": "3"}, "frames is '3'; expected an integer"),
        (Video, {"frames": True}, "frames is True; expected an integer"),
        (Part, {"kind": "x", "runs": {}}, "kind is 'x'; expected 'visual', 'audio'"),
        (Part, {"kind": ["x"], "runs": {}}, "kind is ['x']; expected 'visual'"),
        (Part, {"kind": "audio"}, "missing runs, unknown nothing"),
        (Part, {"kind": "audio", "runs": {}, "z": 1}, "missing nothing, unknown z"),
        (Part, {"kind": "audio", "runs": {"a": [1, 2.5]}}, "runs.a[1] is 2.5; expect"),
        (Part, {"kind": "audio", "runs": {"a": 1}}, "runs.a is 1; expected a list"),
        (tuple[int, int], [1], "holds [1]; expected a list of 2"),
    ],
)
def test_values_that_do_not_fit(kind, value, told):
    with pytest.raises(ValueError, match=re.escape(told)):
        fitted(kind, value)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "line 1: Expecting value; expected JSON"),
        (b'{"frames": 3,\n "a"}', "line 2: "),
        (b"\xff{}", "expected JSON in UTF-8"),
        (b"[" * 10**6, "values in values without end"),
        (b'{"frames": ' + b"9" * 5000 + b"}", "expected JSON"),
        (b" " * (MAX_BYTES + 1), f"over {MAX_BYTES} bytes"),
    ],
    ids=["empty", "cut", "bytes", "deep", "digits", "large"],
)
def test_damaged_files_are_named(tmp_path, data, told):
    path = tmp_path / "a.json"
    path.write_bytes(data)

    class MineError(ValueError):
        pass

    with pytest.raises(MineError) as caught:
        read_json(path, dict, remedy="write it anew", error=MineError)
    assert str(caught.value).startswith(f"{path}: ")
    assert told in str(caught.value)
    assert str(caught.value).endswith(": write it anew")


def test_texts_and_bytes_are_read_alike():
    text = json.dumps({"ä": [1, None, "é"]}, ensure_ascii=False)
    assert parsed(text) == parsed(text.encode()) == {"ä": [1, None, "é"]}


def test_lines_of_json(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"frames": 1}\n{"frames": 2, "more": 1}\n{"fra')
    assert read_json_lines(path, Video, remedy="x") == [
        {"frames": 1},
        {"frames": 2, "more": 1},
    ]
    for line in ("[1]", '{"frames": "1"}', "[" * 10**5, ""):
        path.write_text(f'{{"frames": 1}}\n{line}\n{{"frames": 3}}\n')
        told = r"a\.jsonl, line 2: .*: remove it$"
        with pytest.raises(ValueError, match=told):
            read_json_lines(path, Video, remedy="remove it")


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.json")
    with pytest.raises(ValueError, match=r"a\.json: no regular file"):
        read_json(tmp_path / "a.json", dict, remedy="write it anew")
