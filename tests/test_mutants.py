"""The seeded mistakes still apply: whether the tests catch them is for `make mutants`, which takes minutes."""

import ast
from functools import cache
from pathlib import Path

import pytest

from mutants import run
from mutants.table import MUTANTS

ROOT = Path(__file__).parents[1]


@cache
def unchanged(file):
    source = (ROOT / "src" / "backwalk" / file).read_text()
    return source, ast.dump(ast.parse(source))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_applies_and_names_tests_that_exist(mutant):
    source, tree = unchanged(mutant.file)
    assert ast.dump(ast.parse(run.mutated(source, mutant))) != tree  # valid Python, and not a comment
    assert mutant.tests
    assert all((ROOT / "tests" / name).is_file() for name in mutant.tests)


def test_the_page_has_every_mutant():
    page = (ROOT / "docs" / "mutants.md").read_text()
    missing = [m.name for m in MUTANTS if f"| {m.name} | `{m.file}` | {m.breaks} |" not in page]
    assert not missing, "run `make mutants`"
    assert page.count("\n| ") == len(MUTANTS) + 1
    caught_by = [line.split("|")[4] for line in page.splitlines() if line.startswith("| ")][1:]
    assert [cell for cell in caught_by if ".py::test_" not in cell] == []


def test_mutants_are_many_and_each_is_another():
    assert len(MUTANTS) >= 30
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    assert len({(mutant.file, mutant.text, mutant.replacement) for mutant in MUTANTS}) == len(MUTANTS)


def test_a_text_that_is_not_there_once_is_refused():
    for source in ("", MUTANTS[0].text * 2):
        with pytest.raises(ValueError, match="should occur once"):
            run.mutated(source, MUTANTS[0])


def test_the_test_that_caught_a_mutant_last_time_is_known_if_it_still_exists():
    name, file = MUTANTS[0].name, "test_mutants.py"
    row = f"| {name} | `{MUTANTS[0].file}` | {MUTANTS[0].breaks} | `{file}::{{}}` |\n"
    known = "test_mutants_are_many_and_each_is_another"
    assert run.last_catchers(row.format(f"{known}[linear-2]")) == {name: f"{file}::{known}"}
    assert run.last_catchers(row.format("test_long_gone")) == {}
    assert len(run.last_catchers(run.PAGE.read_text())) > 0.8 * len(MUTANTS)


@pytest.mark.parametrize("test", ["test_x.py::test_y", "a/test_x.py::test_y[two words]", "test_x.py::test_y[[0, 1]-a]"])
@pytest.mark.parametrize("more", ["", " - assert 1 == 2", " - ValueError: [a] - b"])
def test_a_failed_test_is_read_with_all_of_its_parameters(test, more):
    assert run.failed_test(f"1 failed\nFAILED tests/{test}{more}\nFAILED tests/test_z.py::test_z\n") == test
    assert run.failed_test("1 passed\n") is None


def test_the_page_tells_survivors():
    page = run.table_of([run.Outcome(MUTANTS[0], "diffusion/test_x.py::test_y"), run.Outcome(MUTANTS[1], None)])
    assert "1 of 2 mistakes" in page
    assert "`diffusion/test_x.py::test_y`" in page
    assert "**survived**" in page
