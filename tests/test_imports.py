"""What src imports: by statements that the check of layers sees, and from packages that pyproject.toml names."""

import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import backwalk

ROOT = Path(backwalk.__file__).parent
PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text() for path in ROOT.rglob("*.py")}
BY_NAME = re.compile(r"(?:import_module|__import__)\([^)\n]*(?:backwalk|__name__)")
IMPORTED = re.compile(r"^ *(?:from (\w+)[\w.]* import |import (\w+)[\w.]*(?: as \w+)?$)", re.MULTILINE)


def test_no_module_of_the_package_is_imported_by_its_name():
    """`backwalk/__init__.py`, which imports public names when they are asked for, is above all layers."""
    assert [path for path, text in TEXTS.items() if BY_NAME.search(text)] == ["__init__.py"]


def test_every_imported_package_is_a_dependency_or_one_of_an_extra():
    texts = [*PROJECT["dependencies"], *(text for extra in PROJECT["optional-dependencies"].values() for text in extra)]
    named = {re.match(r"[\w.-]+", text)[0].lower().replace("_", "-") for text in texts}
    imported = {one or other for text in TEXTS.values() for one, other in IMPORTED.findall(text)}
    distributions = packages_distributions()
    homes = {name: distributions.get(name, [name]) for name in imported - sys.stdlib_module_names - {"backwalk"}}
    assert {"torch", "sklearn", "duckdb"} <= set(homes)
    missing = {name for name, of in homes.items() if not {home.lower().replace("_", "-") for home in of} & named}
    assert missing == set()
