"""What a package index, a citation and an archive show of a release."""

import doctest
import importlib.util
import json
import re
import tomllib
from pathlib import Path

import pytest

import backwalk

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RECIPE = (ROOT / "conda" / "meta.yaml").read_text()
HOME = PROJECT["urls"]["Source"]


@pytest.fixture(scope="module")
def setup():
    spec = importlib.util.spec_from_file_location("backwalk_setup", ROOT / "setup.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_package_index_shows_links_to_files_of_the_tag(setup):
    page = setup.absolute_links((ROOT / "README.md").read_text(), HOME, "1.2")
    links = [one or other for one, other in re.findall(r"\]\(([^)]+)\)|src=\"([^\"]+)\"", page)]
    assert len(links) > 15
    for link in links:
        assert link.startswith("https://"), link
        if file := re.fullmatch(rf"{HOME}/(blob|raw)/v1\.2/([^#]+)(#.*)?", link):
            assert (ROOT / file[2]).exists(), link
            assert (file[1] == "raw") == file[2].endswith((".png", ".gif")), link
    assert doctest.testmod(setup).failed == 0


def test_the_version_is_the_same_everywhere():
    citation = (ROOT / "CITATION.cff").read_text()
    assert re.search(r"^version: (.+)$", citation, flags=re.MULTILINE)[1] == backwalk.__version__
    assert json.loads((ROOT / ".zenodo.json").read_text())["version"] == backwalk.__version__
    assert f'version = "{backwalk.__version__}"' in RECIPE
    assert (ROOT / "CHANGELOG.md").read_text().split("## ")[1].startswith(backwalk.__version__)


def test_the_home_is_the_same_everywhere():
    assert all(address.startswith(HOME) for address in PROJECT["urls"].values())
    assert f"repository-code: {HOME}\n" in (ROOT / "CITATION.cff").read_text()


def test_the_recipe_has_the_requirements_of_the_package():
    names = {"torch": "pytorch", "matplotlib": "matplotlib-base", "duckdb": "python-duckdb", "Jinja2": "jinja2"}
    wanted = [re.fullmatch(r"([\w-]+)(>=[\d.]+)", line).groups() for line in PROJECT["dependencies"]]
    run = RECIPE.split("  run:\n")[1].split("\ntest:")[0]
    assert [line.strip(" -") for line in run.splitlines() if line.strip()] == [
        f"python {PROJECT['requires-python']}",
        *(f"{names.get(name, name)} {floor}" for name, floor in wanted),
    ]
