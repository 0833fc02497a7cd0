"""What a package index and a citation show of a release."""

import re
import tomllib
from pathlib import Path

import backwalk

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
HOME = PYPROJECT["project"]["urls"]["Source"]


def test_a_package_index_shows_links_to_files_of_the_tag():
    page = (ROOT / "README.md").read_text()
    for each in PYPROJECT["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]:
        page = re.sub(each["pattern"], each["replacement"].replace("$HFPR_VERSION", "1.2"), page)
    links = [one or other for one, other in re.findall(r"\]\(([^)]+)\)|src=\"([^\"]+)\"", page)]
    files = [file for link in links if (file := re.fullmatch(rf"{HOME}/(blob|raw)/v1\.2/([^#]+)(#.*)?", link))]
    assert all(link.startswith("https://") for link in links)
    assert len(files) > 15
    for file in files:
        assert (ROOT / file[2]).exists(), file[2]
        assert (file[1] == "raw") == file[2].endswith((".png", ".gif")), file[2]


def test_the_version_is_the_same_everywhere():
    citation = (ROOT / "CITATION.cff").read_text()
    assert re.search(r"^version: (.+)$", citation, flags=re.MULTILINE)[1] == backwalk.__version__
    assert (ROOT / "CHANGELOG.md").read_text().split("## ")[1].startswith(backwalk.__version__)
