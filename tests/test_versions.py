"""The script that tests the lowest and newest versions of dependencies reads pyproject.toml as it should."""

import doctest
import importlib.util
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def versions():
    spec = importlib.util.spec_from_file_location("ci_versions", ROOT / ".ci" / "versions.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_requirement_has_a_floor(versions):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {versions.name_of(line) for line in versions.requirements(project)}
    assert {"torch", "numpy", "pandas", "polars", "pytest"} <= names
    for line in versions.requirements(project):
        assert "==" in versions.at_its_floor(line)
    with pytest.raises(ValueError, match="NAME>=VERSION"):
        versions.at_its_floor("numpy<3")
    assert doctest.testmod(versions).failed == 0


def test_the_tests_that_it_names_exist(versions):
    assert all((ROOT / path).exists() for path in versions.SMOKE)
