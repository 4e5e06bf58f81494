"""Pages in one file: modules put together, texts that stay texts."""

import base64
import hashlib
import html.parser
import json
import re

import pytest

from avemo_jax.runtime.html_pages import bundled, data_element, escaped, html_page

HOSTILE = "</script><script>alert(1)</script><!-- \"'&\u202e\n"


class Scripts(html.parser.HTMLParser):
    """The texts of a page's scripts, by their type."""

    def __init__(self):
        super().__init__()
        self.found, self._type = [], None

    def handle_starttag(self, tag, attrs):
        self._type = dict(attrs).get("type", "") if tag == "script" else None

    def handle_data(self, data):
        if self._type is not None:
            self.found.append((self._type, data))

    def handle_endtag(self, tag):
        self._type = None


def scripts_of(page: str) -> list[tuple[str, str]]:
    reader = Scripts()
    reader.feed(page)
    return reader.found


def test_texts_stay_texts():
    body = f"<p title='x'>{escaped(HOSTILE)}</p>" + data_element("d", {"n": HOSTILE})
    page = html_page(title=HOSTILE, body=body, module="let a = 1;")
    (kind, data), (other, module) = scripts_of(page)
    assert (kind, other, module) == ("application/json", "module", "let a = 1;")
    assert json.loads(data) == {"n": HOSTILE}
    assert "\u202e" not in page
    assert escaped("a\udcff") == "a\\udcff"


def test_no_other_script_is_allowed():
    page = html_page(title="t", body="", scripts=["var a = 1;"], module="a + 1;")
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    hashes = [
        base64.b64encode(hashlib.sha256(text).digest()).decode()
        for text in (b"var a = 1;", b"a + 1;")
    ]
    assert rules["script-src"] == " ".join(f"'sha256-{one}'" for one in hashes)
    assert rules["default-src"] == "'none'"
    without = html_page(title="t", body="")
    assert "script-src 'none'" in without


@pytest.mark.parametrize("text", ["a</SCRIPT>", "/* </style */", "<!-- a"])
def test_a_script_that_ends_itself_is_refused(text):
    with pytest.raises(ValueError, match="which ends it; expected none"):
        html_page(title="t", body="", module=text)


def write(folder, **modules):
    for name, text in modules.items():
        (folder / f"{name}.js").write_text(text)
    return folder / "main.js"


def test_modules_come_after_those_that_they_import(tmp_path):
    imports = 'import { one } from "./one.js";\nimport { two } from "./two.js";\n'
    main = write(
        tmp_path,
        main=imports + "one();\n",
        one='import {\n  two,\n} from "./two.js";\nexport function one() {}\n',
        two="export const two = 2;\nexport async function three() {}\n",
    )
    assert bundled(main) == (
        "const two = 2;\nasync function three() {}\n\nfunction one() {}\n\none();\n"
    )


@pytest.mark.parametrize(
    ("other", "match"),
    [
        ("function f() {}\n", "both have f at the top"),
        ("export default 3;\n", "export default 3.*is not understood"),
        ('import * as a from "./x.js";\n', "import .* is not understood"),
        ('import { f } from "./main.js";\n', "imports itself by others"),
    ],
)
def test_modules_that_cannot_be_put_together(tmp_path, other, match):
    text = 'import { a } from "./other.js";\nfunction f() {}\n'
    with pytest.raises(ValueError, match=match):
        bundled(write(tmp_path, main=text, other=other))
