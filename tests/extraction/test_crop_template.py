"""Files of templates of aligned crops."""

import json

import numpy as np
import pytest

from avemo_jax.extraction.crop_template import read_template, write_template
from avemo_jax.faces.crops import ARCFACE_TEMPLATE


def test_what_was_written_is_read(tmp_path):
    path = tmp_path / "template.json"
    write_template(path, ARCFACE_TEMPLATE + 1, detector="f00", crops=7)
    np.testing.assert_allclose(read_template(path), ARCFACE_TEMPLATE + 1, atol=6e-4)
    stored = json.loads(path.read_text())
    assert (stored["detector"], stored["crops"], stored["size_px"]) == ("f00", 7, 112)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"points": [[1, 2]] * 4}, "points is .*; expected a list of 5"),
        ({"points": [[1.0, 2.0]] * 5}, "expected five places of a face"),
        (
            {"points": [[1.0, 2.0], [300.0, 4.0], *[[5.0, 6.0]] * 3]},
            "expected 0 to 112",
        ),
        ({"schema": 9}, "schema 9 and size_px 112; expected 1 and 112"),
        ({"points": [[1, 2], ["a", 4], [5, 6], [7, 8], [9, 9]]}, "expected a number"),
        ({"more": 1}, "unknown more"),
        (None, "the file holds 3"),
    ],
)
def test_other_files_are_refused(change, said, tmp_path):
    path = tmp_path / "template.json"
    write_template(path, ARCFACE_TEMPLATE, detector="f00", crops=7)
    content = 3 if change is None else json.loads(path.read_text()) | change
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=said) as told:
        read_template(path)
    assert "avemo check-crops --write-template FILE" in str(told.value)
