"""The benchmarks keep, judge and write as they say, and their notebook is the notebook. No time is asserted."""

import doctest

import numpy as np
import pytest
import torch
from scipy import stats

from backwalk.diffusion import NoiseSchedule, beta_variance, mu_from_eps
from benchmarks import __main__ as command
from benchmarks import compare, job, record
from benchmarks.hard_simulators import HARD_TASKS
from benchmarks.notebook import Notebook, notebook_points
from benchmarks.record import Store
from benchmarks.simulators import TASKS


@pytest.mark.parametrize("module", [record, compare, job], ids=lambda module: module.__name__)
def test_examples_hold(module):
    found = doctest.testmod(module)
    assert found.attempted > 0
    assert found.failed == 0


def test_a_result_is_kept_at_once_and_measured_once_and_a_failure_again(tmp_path):
    path, calls = tmp_path / "results.jsonl", []

    def measured():
        calls.append(1)
        return {"gap": 0.5}

    def fails():
        raise ImportError("no module")

    for _ in range(2):
        store = Store(path)
        store.once("p", "moons", "ours", "7 s", 0, measured)
        store.once("p", "moons", "peer", "7 s", 0, fails)
    assert len(calls) == 1
    assert store.results["p", "moons", "peer", "7 s", 0]["failed"] == "ImportError: no module"
    store = Store(path)
    store.once("p", "moons", "peer", "7 s", 0, measured)
    assert store.results["p", "moons", "peer", "7 s", 0]["gap"] == 0.5


@pytest.mark.slow
def test_notebook_walks_back_by_the_formula_of_the_library():
    model = Notebook(notebook_points(1_000), seed=0)
    schedule = NoiseSchedule.linear(100, beta_min=0.001, beta_max=0.02)
    sigma = beta_variance(schedule).sqrt()
    generator = torch.Generator().manual_seed(0)  # the model's own, at the same place
    x = torch.randn(50, 2, generator=generator).double()
    for t in range(100, 0, -1):
        with torch.no_grad():
            eps = model.network(torch.cat([x.float(), torch.full((50, 1), t / 100)], dim=1)).double()
        x = mu_from_eps(x, eps, t, schedule)
        if t > 1:
            x = x + sigma[t] * torch.randn(50, 2, generator=generator)
    np.testing.assert_allclose(model.sample(50), x.numpy(), atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(TASKS))
def test_draws_of_exact_posteriors_given_simulated_data_follow_the_prior(name):
    """theta ~ p, x | theta, theta' | x: theta' has the distribution of theta."""
    task, generator = TASKS[name](), np.random.default_rng(2)
    rows = task.simulations(600, 0)
    again = np.array([task.posterior(1, x, generator)[0] for x in rows[:, task.d :]])
    prior = stats.norm(0.0, np.sqrt(0.1))
    if task.bounds is not None:
        low, high = task.bounds[0]
        prior = stats.uniform(low, high - low)
    for j in range(2):
        assert stats.kstest(again[:, j], prior.cdf).pvalue > 1e-8


@pytest.mark.slow
@pytest.mark.parametrize("name", ["scales", "angle", "sphere", "ridge", "funnel", "poisson"])
def test_exact_draws_of_hard_tasks_surround_the_truth(name):
    task = HARD_TASKS[name]()
    row = task.simulations(1, 0)[0]
    below = (task.posterior(200, row[task.d :], np.random.default_rng(1)) < row[: task.d]).mean(axis=0)
    assert ((below > 0.0) & (below < 1.0)).all()  # by chance at an end: 2 / 201 for each parameter


@pytest.mark.campaign
@pytest.mark.filterwarnings("ignore")  # tiny fits warn
def test_parts_without_downloads_run_and_are_written(tmp_path, monkeypatch):
    parts = ("densities", "gaps", "rubin", "cost")
    monkeypatch.setattr("sys.argv", ["benchmarks", *parts, "--size", "quick", "--out", str(tmp_path)])
    command.main()
    page = (tmp_path / "benchmarks.md").read_text()
    assert all(f"## {part.capitalize()}" in page for part in parts)
    assert "Failed" not in page
