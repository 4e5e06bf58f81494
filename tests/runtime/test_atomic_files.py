"""Whole files: names that cannot be guessed, no link followed, rights by the umask."""

import os
import stat

import numpy as np
import pytest

from avemo_jax.embed.weights import write_weights
from avemo_jax.runtime import atomic_files
from avemo_jax.runtime.atomic_files import (
    LEFTOVER,
    temporary_name,
    whole_file,
    write_json,
)


def test_names_cannot_be_guessed_and_are_known_again(tmp_path):
    names = set()
    for _ in range(20):
        with whole_file(tmp_path / "a.json") as temporary:
            names.add(temporary.name)
            assert temporary.parent == tmp_path
    assert len(names) == 20
    assert all(LEFTOVER.fullmatch(name)[1] == "a.json" for name in names)
    assert LEFTOVER.fullmatch(temporary_name("best_model", "old", 2**31 - 1))
    for name in (".frame_times", ".a.tmp", "a.17.tmp", ".run.lock", ".x.npz"):
        assert not LEFTOVER.fullmatch(name)


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_a_link_in_the_way_is_not_followed(tmp_path, monkeypatch):
    """Neither at the temporary name, could it be guessed, nor at the last one."""
    (tmp_path / "other").write_text("of another")
    monkeypatch.setattr(atomic_files, "random_number", lambda: 7)
    link = tmp_path / temporary_name("a.json")
    link.symlink_to(tmp_path / "other")
    with pytest.raises(FileExistsError):
        write_json(tmp_path / "a.json", {})
    assert link.is_symlink()  # of another: not removed
    link.unlink()
    (tmp_path / "a.json").symlink_to(tmp_path / "other")
    write_json(tmp_path / "a.json", {})
    assert (tmp_path / "a.json").read_text() == "{}\n"
    assert not (tmp_path / "a.json").is_symlink()
    assert (tmp_path / "other").read_text() == "of another"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o007, 0o660)])
def test_others_may_read_what_the_umask_says(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        write_json(tmp_path / "a.json", {})
        tensors = {"w": np.ones(3, np.float32)}
        write_weights(tmp_path / "w.safetensors", tensors, {"extractor": "x"})
    finally:
        os.umask(before)
    for name in ("a.json", "w.safetensors"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == mode


def test_after_an_error_nothing_is_left(tmp_path):
    (tmp_path / "a").write_text("before")
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a", float("nan"))
    with pytest.raises(IsADirectoryError), whole_file(tmp_path / "a") as temporary:
        (tmp_path / "..").write_text(temporary.name)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "before"
