"""What src imports: by statements that the check of layers sees, and from packages that pyproject.toml names."""

import ast
import re
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import backwalk

ROOT = Path(backwalk.__file__).parent
PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]


@cache
def trees():
    return {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text()) for path in sorted(ROOT.rglob("*.py"))}


def test_no_module_of_the_package_is_imported_by_its_name():
    """`backwalk/__init__.py`, which imports public names when they are asked for, is above all layers."""
    by_name = [
        path
        for path, tree in trees().items()
        if path != "__init__.py"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and getattr(node.func, "attr", getattr(node.func, "id", "")) in ("import_module", "__import__")
        and any("backwalk" in ast.unparse(argument) or "__name__" in ast.unparse(argument) for argument in node.args)
    ]
    assert by_name == []


def test_every_imported_package_is_a_dependency_or_one_of_an_extra():
    texts = [*PROJECT["dependencies"], *(text for extra in PROJECT["optional-dependencies"].values() for text in extra)]
    named = {re.match(r"[\w.-]+", text)[0].lower().replace("_", "-") for text in texts}
    distributions, missing = packages_distributions(), set()
    for path, tree in trees().items():
        for node in ast.walk(tree):
            of_node = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            of_node += [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            for name in {each.partition(".")[0] for each in of_node} - sys.stdlib_module_names - {"backwalk"}:
                homes = {home.lower().replace("_", "-") for home in distributions.get(name, [name])}
                if not homes & named:
                    missing.add((path, name))
    assert missing == set()
