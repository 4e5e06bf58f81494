"""The last frames of videos, by which labels of whole videos are dense."""

import dataclasses

import numpy as np
import pytest
from made.stores import save_original, source, vectors

from avemo_jax.data.features.files import write_feature_file
from avemo_jax.data.features.folders import find_feature_sources
from avemo_jax.packing.row_rates import last_frames


def unread(video: str):
    raise AssertionError(f"the vectors of {video} were read")


def test_faces_tell_a_videos_end_where_there_are_some():
    faces = source("look", "visual", vectors("look", {"a": [1, 7], "none": []}, 2))
    sound = source("hum", "audio", vectors("hum", {"a": [1, 8], "b": [5, 9]}, 2))
    last = last_frames([sound, faces])
    assert [last(video) for video in ("a", "b", "none", "unknown")] == [7, 9, 0, 0]


def test_of_feature_files_only_the_frame_numbers_are_read(tmp_path):
    folder = tmp_path / "look@cropped-8"
    folder.mkdir()
    rows = vectors("look", {"a": [2, 3, 11]}, 4)["a"]
    write_feature_file(folder / "a.npz", rows, {"fingerprint": "f", "kind": "visual"})
    (found,) = find_feature_sources([tmp_path], quiet=True)
    last = last_frames([dataclasses.replace(found, read=unread)])
    assert last("a") == 11
    (folder / "a.npz").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(ValueError, match=r"a\.npz cannot be read"):
        last("a")
    np.savez(folder / "a.npz", frame=np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"a\.npz cannot be read \(frame float64"):
        last("a")


def test_the_originals_files_tell_theirs_too(tmp_path):
    one = np.ones(128, np.float32)
    content = {f"a/{number:05d}.jpg": one for number in (5, 2)}
    save_original(tmp_path / "audiofeat_vggish" / "a.npy", content)
    (found,) = find_feature_sources([tmp_path], quiet=True)
    assert last_frames([found])("a") == 5
