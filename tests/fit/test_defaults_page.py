"""The maintainers' table of the defaults says what the source says, and has each number of the rooms of a fit."""

import ast
import importlib
import re
from operator import attrgetter
from pathlib import Path

import pytest

import backwalk

PAGE = Path(__file__).parents[2] / "docs" / "maintainers" / "defaults.md"
SOURCE = Path(backwalk.__file__).parent
ROW = re.compile(r"^\| `([\w.]+)` \| ([^|]+) \| `([\w/]+)\.py` \| ([^|]+) \|$", re.MULTILINE)
ROWS = ROW.findall(PAGE.read_text(encoding="utf-8"))


def number_names(path):
    """The names of a module's constants whose values are single numbers."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.Assign):
            continue
        for target in node.targets:
            pairs = [(target, node.value)]
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = zip(target.elts, node.value.elts, strict=True)
            for name, value in pairs:
                is_number = any(isinstance(part, ast.Constant) for part in ast.walk(value)) and not any(
                    isinstance(part, (ast.Call, ast.List, ast.Tuple, ast.JoinedStr)) for part in ast.walk(value)
                )
                if isinstance(name, ast.Name) and name.id.isupper() and is_number and _is_number(path, name.id):
                    yield name.id


def _is_number(path, name):
    module = importlib.import_module(".".join(["backwalk", *path.relative_to(SOURCE).with_suffix("").parts]))
    return isinstance(getattr(module, name), (int, float))


@pytest.mark.parametrize(("name", "value", "where", "why"), ROWS, ids=[f"{row[2]}:{row[0]}" for row in ROWS])
def test_a_stated_default_is_that_of_the_source(name, value, where, why):
    module = importlib.import_module(f"backwalk.{where.replace('/', '.')}")
    assert eval(value, {}) == attrgetter(name)(module)
    assert why.strip()


def test_each_number_of_a_fit_is_stated():
    stated = {(where, name) for name, _, where, _ in ROWS}
    missing = [
        (f"{room}/{path.stem}", name)
        for room in ("fit", "training", "denoiser")
        for path in sorted((SOURCE / room).glob("*.py"))
        for name in number_names(path)
        if (f"{room}/{path.stem}", name) not in stated
    ]
    assert not missing
