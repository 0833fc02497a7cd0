"""The lessons run with right solutions put in; their notebooks are valid and hold a stub for each exercise."""

import inspect
import json
import textwrap
from itertools import pairwise

import matplotlib.pyplot as plt
import nbformat
import pytest
import torch

from backwalk.course import (
    EXERCISES,
    LESSONS,
    best_eps,
    draw_moons,
    moon_centres,
    moons_log_density,
    train_network,
    write_lessons,
)
from backwalk.course.notebooks import read_lesson
from backwalk.errors import InvalidInput
from tests.course.solutions import SOLUTIONS, Torch

SMALL = {
    "N_TRAINING_STEPS = 2_000": "N_TRAINING_STEPS = 3",
    "N_PATHS = 128": "N_PATHS = 2",
    "(1, 4, 16, 64, N_PATHS)": "(1, N_PATHS)",
    "2_000": "40",
    "10_000": "1_000",
    "5_000": "200",
    "n=1_000": "n=50",
    "draw_moons(1_000, ": "draw_moons(50, ",
    "(500, 2": "(5, 2",
}
ALPHA_BAR = torch.cumprod(1 - torch.linspace(0, 0.1, 101), 0)


def name_of(source):
    return source.split("(")[0].removeprefix("def ")


@pytest.fixture
def undrawn():
    yield
    plt.close("all")


@pytest.mark.campaign
@pytest.mark.parametrize("lesson", LESSONS)
def test_a_lesson_runs_with_right_solutions(lesson, undrawn):
    plt.switch_backend("agg")
    namespace, checked = {"__name__": "__main__"}, 0
    for cell in read_lesson(lesson):
        source = cell.source
        if not cell.is_code:
            continue
        if "raise NotImplementedError" in source:
            source = textwrap.dedent(inspect.getsource(getattr(Torch, name_of(source))))
        for words, smaller in SMALL.items() if cell.is_demonstration else ():
            source = source.replace(words, smaller)
        exec(compile(source, f"<{lesson}>", "exec"), namespace)
        if source.startswith("check("):
            assert eval(source, namespace), eval(source, namespace)
            checked += 1
    assert checked == sum(f"{exercise.lesson}_" == lesson[:2] for exercise in EXERCISES.values())
    assert plt.get_fignums()


def test_every_exercise_has_its_stub_with_its_arguments():
    stubs = []
    for lesson in LESSONS:
        cells = [cell for cell in read_lesson(lesson) if cell.is_code]
        for stub, following in pairwise(cells):
            if "raise NotImplementedError" in stub.source:
                name = name_of(stub.source)
                exercise = EXERCISES[name]
                assert stub.source.startswith(f"def {name}({exercise.arguments}):\n")
                assert list(inspect.signature(getattr(Torch, name)).parameters) == exercise.arguments.split(", ")
                assert lesson.startswith(str(exercise.lesson))
                assert following.source == f'check("{name}", {name})'
                assert not stub.is_demonstration
                assert not following.is_demonstration
                stubs.append(name)
    assert stubs == list(EXERCISES)


def test_exercises_and_checks_need_no_demonstration(undrawn):
    for lesson in LESSONS:
        namespace = {}
        for cell in read_lesson(lesson):
            if cell.is_code and not cell.is_demonstration:
                exec(cell.source.replace("raise NotImplementedError", "return None"), namespace)


def test_no_lesson_holds_a_solution():
    lines = {
        line.strip()
        for style in SOLUTIONS.values()
        for name in EXERCISES
        for line in inspect.getsource(getattr(style, name)).splitlines()
        if line.strip().startswith("return ") and len(line.strip()) > 20
    }
    text = "\n".join(cell.source for lesson in LESSONS for cell in read_lesson(lesson))
    assert not [line for line in lines if line.removeprefix("return ") in text]


def test_notebooks_are_valid_and_without_outputs(tmp_path):
    paths = write_lessons(tmp_path / "course")
    assert [path.stem for path in paths] == list(LESSONS)
    for path in paths:
        notebook = nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)
        nbformat.validate(notebook)
        assert all(not cell.outputs for cell in notebook.cells if cell.cell_type == "code")
        assert any(cell.metadata.get("tags") == ["demonstration"] for cell in notebook.cells)
    first = paths[0].read_bytes()
    with pytest.raises(InvalidInput, match=r"1_noise_forward\.ipynb exists already"):
        write_lessons(tmp_path / "course")
    paths[0].write_text(json.dumps({"mine": 1}))
    write_lessons(tmp_path / "course", overwrite=True)
    assert paths[0].read_bytes() == first


def test_the_moons_are_a_density_whose_best_network_is_known():
    x = draw_moons(20_000)
    torch.testing.assert_close(x.mean(0), torch.zeros(2), atol=0.03, rtol=0)
    grid = torch.cartesian_prod(*2 * [torch.linspace(-3.6, 3.6, 145)])
    for alpha_bar_t in (1.0, 0.8):
        mass = float(moons_log_density(grid, alpha_bar_t).exp().sum()) * 0.05**2
        assert mass == pytest.approx(1.0, abs=1e-3)
    # -b times the gradient of ln q(x_t) is E[eps | x_t].
    t = 20
    x_t = x[:50].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(moons_log_density(x_t, float(ALPHA_BAR[t])).sum(), x_t)
    torch.testing.assert_close(
        best_eps(x_t.detach(), t, ALPHA_BAR), -(1 - ALPHA_BAR[t]).sqrt() * gradient, atol=1e-4, rtol=1e-4
    )
    assert moon_centres().shape == (200, 2)


@pytest.mark.slow
def test_training_lowers_the_loss_and_repeats_itself():
    points, eps = draw_moons(1_000), torch.randn(1_000, 2, generator=torch.Generator().manual_seed(1))
    x_t = ALPHA_BAR[50].sqrt() * points + (1 - ALPHA_BAR[50]).sqrt() * eps
    first, again, longer = (train_network(points, ALPHA_BAR, n_training_steps=k)(x_t, 50) for k in (3, 3, 40))
    assert torch.equal(first, again)
    losses = [float((answer - eps).square().sum(1).mean()) for answer in (first, longer)]
    best = float((best_eps(x_t, 50, ALPHA_BAR) - eps).square().sum(1).mean())
    assert best < losses[1] < losses[0]
