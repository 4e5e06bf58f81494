"""The page over all inputs: a row for each input and face."""

import re

import numpy as np
import pytest
from made.browsing import opened
from made.drawn_faces import acted
from made.predicted import made_predicted

from avemo_jax.prediction.page.index_page import write_index
from avemo_jax.prediction.page.page_file import write_page
from avemo_jax.prediction.writing import write_predicted

NAMES = ("b", "a10<i>", "a9", "empty")


def write_all(out):
    for seed, name in enumerate(NAMES):
        folder = out / f"input{seed}"
        made = acted(60 + 20 * seed, 2, seed=seed, name=name)
        if name == "empty":
            made = made_predicted(9, name=name)
        write_predicted(made, folder)
        if seed:
            write_page(made, folder / "page.html")
    write_index(out)
    return out / "index.html"


def test_every_input_and_face_has_a_row(tmp_path):
    text = write_all(tmp_path).read_text("utf-8")
    rows = re.findall(r"<tr>(<td.*?)</tr>", text)
    assert len(rows) == 7
    assert 'href="input0/#face=1">b</a>' in rows[0]
    assert 'href="input1/page.html#face=2">a10&lt;i&gt;</a>' in rows[3]
    assert "a10<i>" not in text
    predicted = acted(60, 2, name="b")
    tiny = re.search(r'data-tiny="([^"]*)"', rows[0])[1]
    assert len(tiny) == 180
    codes = predicted.faces[0].scores["EXPR"].argmax(axis=1)
    known = np.isfinite(predicted.faces[0].scores["EXPR"][:, 0])
    assert tiny[0] == str(codes[0])
    assert set(tiny[:90]) - {"."} == {str(code) for code in set(codes[known])}


def test_one_input_needs_no_index(tmp_path):
    write_predicted(acted(20), tmp_path / "a")
    write_index(tmp_path)
    assert not (tmp_path / "index.html").exists()


def test_a_damaged_input_is_left_out(tmp_path, caplog):
    write_all(tmp_path)
    (tmp_path / "input0" / "predictions.parquet").write_bytes(b"no table")
    write_index(tmp_path)
    assert len(re.findall("<tr><td", (tmp_path / "index.html").read_text())) == 5
    assert "input0 is not in index.html" in caplog.text


@pytest.mark.slow
def test_the_table_sorts_and_filters(browser, tmp_path):
    with opened(browser, write_all(tmp_path), width=900) as page:
        shown = "[...document.querySelectorAll('tbody tr')].filter(r => !r.hidden)"
        names = f"{shown}.map(r => r.cells[0].innerText)"
        assert page.evaluate(names)[0] == "b"
        button = page.get_by_role("button", name="input")
        button.click()
        expected = ["a9"] * 2 + ["a10<i>"] * 2 + ["b"] * 2 + ["empty"]
        assert page.evaluate(names) == expected
        button.click()
        assert page.evaluate(names) == expected[::-1]
        page.get_by_role("button", name="length").click()
        lengths = page.evaluate(f"{shown}.map(r => +r.cells[3].dataset.key)")
        assert lengths == sorted(lengths, reverse=True)
        page.get_by_label("Filter").fill("A9")
        assert page.evaluate(names) == ["a9"] * 2
        assert page.locator("#count").inner_text() == "2 of 7 rows"
