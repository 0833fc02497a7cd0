"""The page as one file: modules in an import map, answers inside, nothing from elsewhere."""

import base64
import hashlib
import json
import re

import pytest

from backwalk.cli import main
from backwalk.web import export
from backwalk.web.export import write_page
from backwalk.web.plane import unpack
from backwalk.web.requests import BoundRequest


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
    (import_map,) = re.findall(r'<script type="importmap">(.*?)</script>', exported, flags=re.DOTALL)
    for text in (style, script, import_map):
        assert f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" in policy
    assert len(exported) < 4 * 2**20
    modules = {name: base64.b64decode(url.partition(",")[2]) for name, url in json.loads(import_map)["imports"].items()}
    imported = {name.decode() for text in modules.values() for name in re.findall(rb'from "([^"]*)"', text)}
    assert imported | {"main.js"} == set(modules)


def test_the_answers_are_those_of_the_server(exported, page):
    (text,) = re.findall(r'<script type="application/json" id="answers">(.*?)</script>', exported, flags=re.DOTALL)
    answers = json.loads(text)
    card = page.get("/api/models/start").json()
    assert {name: answers["model"][name] for name in ("title", "columns", "sampler")} == {
        name: card[name] for name in ("title", "columns", "sampler")
    }
    header, arrays = unpack(base64.b64decode(answers["chain"]))
    assert header["n"] == arrays["backward"].shape[1] == 1500
    assert answers["particles"]["3"] == page.answer(
        "/api/models/start/particle", {"row": 3, "sampler": "ancestral", "n_evaluations": 50}
    )
    assert header["sampler"]["solver"] == "ancestral"
    assert "ancestral" in answers["code"]["python"]
    assert {field["what"] for field in answers["fields"]} == {"score", "x_0_hat"}
    assert unpack(base64.b64decode(answers["density"]))[1]["log_p"].shape == (40, 40)
    assert [step["name"] for step in answers["bound"]["ladder"]] == ["entropy", "ode", "bound"]
    assert "two_moons()" in answers["code"]["python"]
    assert answers["schedule"] == page.answer("/api/models/start/schedule")


@pytest.mark.slow
def test_the_server_gives_the_file_of_any_model(page, moons, monkeypatch):
    monkeypatch.setattr(export, "BoundRequest", lambda: BoundRequest(n=20))
    monkeypatch.setattr(export, "N_PARTICLES", 2)
    monkeypatch.setattr(export.fields, "_N_COMPARED", 20)
    answered = page.get(f"/api/models/{moons['model']}/page")
    assert answered.status == 200
    assert 'filename="backwalk.html"' in answered.headers["content-disposition"]
    text = answered.content.decode()
    answers = json.loads(re.findall(r'id="answers">(.*?)</script>', text, flags=re.DOTALL)[0])
    assert answers["model"]["model"] == moons["model"]
    assert unpack(base64.b64decode(answers["chain"]))[0]["sampler"]["solver"] == "ancestral"


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
