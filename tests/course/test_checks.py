"""The checks of the exercises: right solutions of every style pass, and no seeded mistake does."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from backwalk.course import EXERCISES, check
from backwalk.errors import InvalidInput
from tests.course.mistakes import MISTAKES
from tests.course.solutions import SOLUTIONS, Torch


@pytest.mark.parametrize("style", SOLUTIONS)
@pytest.mark.parametrize("name", EXERCISES)
def test_right_solutions_pass(name, style):
    checked = check(name, getattr(SOLUTIONS[style], name))
    assert checked, checked
    assert checked.state == "passed"
    assert f"all {len(EXERCISES[name].laws)} laws hold" in repr(checked)


@pytest.mark.parametrize(("name", "mistake"), [(name, mistake) for name in EXERCISES for mistake in MISTAKES[name]])
def test_mistakes_are_found(name, mistake):
    checked = check(name, MISTAKES[name][mistake])
    assert not checked
    assert checked.state == "failed"
    assert re.search("Hint: |Your function |The variance should", checked.fault)  # on the law, or what comes before it


def test_the_teachers_page_counts_the_mistakes():
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "teach-the-course.md").read_text(encoding="utf-8")
    assert f"and {sum(map(len, MISTAKES.values()))} wrong ones" in page


def test_a_stub_is_not_written_yet():
    def q_sample(x_0, t, eps, alpha_bar):
        raise NotImplementedError

    checked = check("q_sample", q_sample)
    assert (checked.state, bool(checked)) == ("unwritten", False)
    assert "not written yet" in repr(checked)

    def other(x_0, t, eps, alpha_bar):
        raise NotImplementedError("no square roots of integers")

    assert "raised NotImplementedError: no square roots" in check("q_sample", other).fault


def test_noise_of_its_own_is_named_before_any_law():
    checked = check("q_sample", MISTAKES["q_sample"]["noise of its own"])
    assert "draws random numbers: take the noise from the argument eps" in checked.fault


def test_an_error_of_the_function_is_named():
    checked = check("q_sample", lambda x_0, t, _, alpha_bar: sqrt(alpha_bar[t]) * x_0)  # noqa: F821
    assert "raised NameError: name 'sqrt' is not defined." in checked.fault
    assert "Hint" not in checked.fault
    checked = check("eps_to_x0", lambda x_t, eps, *_: x_t @ eps)
    assert "Your function raised " in checked.fault
    assert "takes 1 positional argument" in check("snr", lambda alpha_bar: alpha_bar).fault


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (None, "returned nothing"),
        ("x_0", "no number"),
        ([[1.0], [1.0, 2.0]], "different lengths"),
        (np.zeros((2, 3)), "yours has the shape (2, 3), it should have (3, 2)"),
        (
            np.full((3, 2), np.nan),
            "row 0 of yours is (nan, nan), it should be (0.6, 1.4), where x_t = (0.6, 1.4), eps = (0.4, -1.1)",
        ),
        (1.0, "yours has the shape () of a single number, it should have (3, 2)"),
    ],
)
def test_a_result_that_is_no_answer(result, words):
    assert words in check("eps_to_x0", lambda *_: result).fault


def test_checks_neither_draw_nor_change_arguments():
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    for name in EXERCISES:
        check(name, getattr(Torch, name))
        check(name, MISTAKES[name][next(iter(MISTAKES[name]))])
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == np.random.get_state()[1].tolist()  # noqa: NPY002
    assert "changed one of its arguments" in check("eps_to_x0", MISTAKES["eps_to_x0"]["in place"]).fault


def test_what_cannot_be_checked_is_refused():
    with pytest.raises(InvalidInput, match=r"name should be one of q_sample, snr, .*'q_forward'"):
        check("q_forward", Torch.q_sample)
    with pytest.raises(InvalidInput, match="mine should be your function, but got Tensor"):
        check("q_sample", torch.zeros(2))
