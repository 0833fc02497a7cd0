"""The seeded mistakes still apply: whether the tests catch them is for `make mutants`, which takes minutes."""

import ast
from functools import cache
from pathlib import Path

import pytest

from mutants import run
from mutants.run import MUTANTS

ROOT = Path(__file__).parents[1]


@cache
def unchanged(file):
    source = (ROOT / "src" / "backwalk" / file).read_text()
    return source, ast.dump(ast.parse(source))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_applies_and_names_tests_that_exist(mutant):
    source, tree = unchanged(mutant.file)
    assert ast.dump(ast.parse(run.mutate(source, mutant))) != tree  # valid Python, and not a comment
    assert mutant.tests
    assert all((ROOT / "tests" / name).is_file() for name in mutant.tests)


def test_mutants_are_many_and_each_is_another():
    assert len(MUTANTS) >= 100
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    assert len({(mutant.file, mutant.text, mutant.replacement) for mutant in MUTANTS}) == len(MUTANTS)


def test_mistakes_are_read_with_their_lines():
    (mutant,) = run.read_mutants("# a.py: test_a.py test_b.py\n\nsign | the sum\n-x\n-+ y\n+x\n+- y\n")
    assert mutant == run.Mutant("sign", "the sum", "a.py", "x\n+ y", "x\n- y", ("test_a.py", "test_b.py"))


def test_a_text_that_is_not_there_once_is_refused():
    for source in ("", MUTANTS[0].text * 2):
        with pytest.raises(ValueError, match="should occur once"):
            run.mutate(source, MUTANTS[0])


@pytest.mark.parametrize("test", ["test_x.py::test_y", "a/test_x.py::test_y[two words]", "test_x.py::test_y[[0, 1]-a]"])
@pytest.mark.parametrize("more", ["", " - assert 1 == 2", " - ValueError: [a] - b"])
def test_a_failed_test_is_read_with_all_of_its_parameters(test, more):
    assert run.failed_test(f"1 failed\nFAILED tests/{test}{more}\nFAILED tests/test_z.py::test_z\n") == test
    assert run.failed_test("1 passed\n") is None


def test_the_page_shows_survivors():
    page = run.markdown(MUTANTS[:2], ["diffusion/test_x.py::test_y", None])
    assert "1 of 2 mistakes" in page
    assert "`diffusion/test_x.py::test_y`" in page
    assert "**survived**" in page
