"""The page as one file: modules as one script, answers inside, nothing from elsewhere."""

import base64
import hashlib
import json
import re

import pytest

from backwalk.cli import main
from backwalk.errors import InvalidInput
from backwalk.web import export
from backwalk.web.export import bundled, write_page
from backwalk.web.packing import unpacked
from backwalk.web.requests import BoundRequest

MODULES = {
    "main.js": 'import { two,\n  three as drei } from "./b.js";\nimport { one } from "./a.js";\none + two(drei);\n',
    "a.js": "export const one = 1;\n",
    "b.js": 'import { one } from "./a.js";\nexport function two() {\n  return one + 1;\n}\nexport const three = 3;\n',
    "unused.js": "export class Never {}\n",
}


def test_modules_become_one_script_in_the_order_of_their_imports():
    script = bundled(MODULES)
    places = [script.index(f"modules['{name}.js'] = ") for name in ("a", "b", "main")]
    assert places == sorted(places)
    assert "unused" not in script
    assert "const { two,\n  three: drei } = modules['b.js'];" in script
    assert "return { two, three };" in script
    assert not re.search(r"^(import|export)\b", script, flags=re.MULTILINE)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('import a from "./a.js";\n', "another form"),
        ('import * as a from "./a.js";\n', "another form"),
        ("export default 3;\n", "another form"),
        ('import { x } from "./nowhere.js";\n', "no module 'nowhere.js'"),
        ('import { main } from "./main.js";\nexport const main = 1;\n', "circle"),
        ("const text = '</script>';\n", "</script>"),
    ],
)
def test_modules_that_cannot_be_put_together_are_refused(text, message):
    with pytest.raises(InvalidInput, match=message):
        bundled({**MODULES, "main.js": text})


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "page.html"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "BoundRequest", lambda: BoundRequest(n=20))  # of 1,000 steps each
        write_page(path)
    return path.read_text(encoding="utf-8")


def test_the_file_needs_nothing_else(exported):
    own = re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=\"([^\"]*)\"", exported)
    assert all(address.startswith("data:") for address in own)
    (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', exported)
    assert "unsafe" not in policy
    (style,), (script,) = (
        re.findall(pattern, exported, flags=re.DOTALL)
        for pattern in (r"<style>(.*?)</style>", r'<script type="module">(.*?)</script>')
    )
    for text in (style, script):
        assert f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" in policy
    assert len(exported) < 4 * 2**20


def test_the_answers_are_those_of_the_server(exported, page):
    (text,) = re.findall(r'<script type="application/json" id="answers">(.*?)</script>', exported, flags=re.DOTALL)
    answers = json.loads(text)
    assert answers["model"] == page.get("/api/models/start").json()
    header, arrays = unpacked(base64.b64decode(answers["chain"]))
    assert header["n"] == arrays["backward"].shape[1] == 1500
    assert answers["particles"]["3"] == page.answer("/api/models/start/particle", {"row": 3})
    assert {field["what"] for field in answers["fields"]} == {"score", "x_0_hat"}
    assert unpacked(base64.b64decode(answers["density"]))[1]["log_p"].shape == (40, 40)
    assert [step["name"] for step in answers["bound"]["ladder"]] == ["entropy", "ode", "bound"]
    assert "two_moons()" in answers["code"]["python"]


def test_the_command_writes_it_and_refuses_what_it_cannot(tmp_path, capsys):
    def status(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(["web", *map(str, arguments)])
        return ended.value.code, capsys.readouterr().err

    there = tmp_path / "there.html"
    there.write_text("mine")
    for arguments, words in (
        (("--export", there), "exists already"),
        (("--export", tmp_path / "page.txt"), "should end in .html"),
        (("two_moons", "--export", tmp_path / "page.html"), "MODEL"),
        (("nowhere.csv",), "neither a file"),
        (("--port", "0"), "0"),
    ):
        code, text = status(*arguments)
        assert code in (1, 2)
        assert words in text
    assert there.read_text() == "mine"
