"""Changed files of every reader read or are refused in one line; the fuzzer works."""

import json
import pathlib
import random
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "scripts"))
import fuzz_readers
import mutations
from made.foreign_files import READERS, Reader

SCRIPT = pathlib.Path(fuzz_readers.__file__)
LEAST, MOST = 20, 400  # inputs
# Whole folders of files, of which others have one each.
DEAR = ("store-affwild2-videos-annotations", "store-affwild2-videos", "pca")
DEAR += ("import-pkl", "torch")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.release) if name in DEAR else name
        for name in READERS
    ],
)
def test_changed_files_read_or_are_refused(tmp_path, name):
    trial = fuzz_readers.Trial(READERS[name], tmp_path, seed=1)
    outcomes: set[bool] = set()
    for number in range(MOST):
        outcomes.add(trial.outcome(trial.content(number)))
        if number > LEAST and len(outcomes) == 2:
            break
    # The changes are neither too small nor too great to reach all of the reader.
    assert outcomes == {True, False}


def test_the_same_seed_gives_the_same_changes(tmp_path):
    trial = fuzz_readers.Trial(READERS["manifest"], tmp_path, seed=1)
    assert trial.content(3) == trial.content(3) != trial.content(4)


@pytest.mark.slow
def test_files_inside_an_archive_are_changed_with_right_checksums(tmp_path):
    originals = READERS["pca"].prepare(tmp_path)
    rng = random.Random(0)
    made = [mutations.mutated(originals[1], originals, rng, "binary") for _ in range(9)]
    assert len(set(made)) == 9


def misread(path: pathlib.Path) -> None:
    """Reads wrong: fails, tells no name, or forgets what it was asked."""
    content = path.read_bytes()
    if b"fail" in content:
        raise KeyError("x")
    if b"nameless" in content:
        raise ValueError("wrong; expected right")
    if b"lines" in content:
        raise ValueError(f"{path}\nwrong")
    if b"much" in content:
        try:
            raise MemoryError
        except MemoryError as error:
            raise ValueError(f"{path}: wrong") from error


@pytest.mark.parametrize(
    ("content", "where"),
    [
        (b"fail", "KeyError"),
        (b"nameless", "without the file's name"),
        (b"lines", "several lines"),
        (b"much", "memory asked for"),
    ],
)
def test_what_is_found(tmp_path, content, where):
    reader = Reader("made", "made", misread, "text", lambda folder: [b"right"])
    trial = fuzz_readers.Trial(reader, tmp_path, seed=0)
    with pytest.raises(fuzz_readers.Finding) as found:
        trial.outcome(b"12345" + content + b"67890")
    assert found.value.where.startswith(where)
    assert trial.reduced(b"12345" + content + b"67890", found.value.where) == content


@pytest.mark.release
@pytest.mark.skipif(sys.platform != "linux", reason="for Linux")
def test_the_script(tmp_path):
    numbers = tmp_path / "rows.json"
    command = [sys.executable, SCRIPT, "--reader", "torch", "manifest", "--check"]
    command += ["--inputs", "3000", "--json", numbers, "--kept", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    for row in json.loads(numbers.read_text()):
        assert row["inputs"] == row["read"] + row["refused"] == 3000
        assert min(row["read"], row["refused"]) > 100
