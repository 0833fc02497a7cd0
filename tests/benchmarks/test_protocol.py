"""The benchmarks keep, judge and write as they say, and their notebook is the notebook. No time is asserted."""

import doctest

import numpy as np
import pytest
import torch
from scipy import stats

from backwalk.datasets import two_moons
from backwalk.diffusion import NoiseSchedule, beta_variance, mu_from_eps
from benchmarks import __main__ as command
from benchmarks import compare, densities, gaps, job, record, rubin
from benchmarks.hard_simulators import HARD_TASKS, Model
from benchmarks.methods import Fitted, MixtureHeldOut, Scale
from benchmarks.notebook import Notebook, notebook_points
from benchmarks.record import Store
from benchmarks.simulators import TASKS

Z = stats.norm.isf(1e-8 / 2)  # false alarms: 1e-8 each


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
def test_notebook_repeats_learns_and_leaves_global_random_state_alone():
    before = torch.random.get_rng_state()
    first, second = (Notebook(notebook_points(), seed=1).train(8) for _ in range(2))
    assert first == second
    assert first[0] == pytest.approx(2.0, abs=0.3)  # an untrained network predicts about 0: E|eps|^2 = 2
    assert first[-1] < 1.6
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_mixture_finds_three_clusters_and_its_density_is_in_the_users_units():
    generator = np.random.default_rng(0)
    centres = np.array([[0.0, 0.0], [300.0, 0.0], [0.0, 3.0]])
    X = centres[generator.integers(3, size=3_000)] + [10.0, 0.1] * generator.normal(size=(3_000, 2))
    fitted = MixtureHeldOut(n_components=(1, 2, 3)).fit(X, 60.0, 0)
    assert fitted.choice.startswith("3 ")
    at_centre = np.log(1 / 3) - np.log(2 * np.pi * 10.0 * 0.1)
    np.testing.assert_allclose(fitted.log_prob(centres), at_centre, atol=0.15)
    scale = Scale.of(X)
    np.testing.assert_allclose(scale.decode(scale.encode(X)), X)


@pytest.mark.slow
def test_distances_and_classifiers_see_a_shift_and_nothing_else():
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(2, 2_000, 2))
    assert densities.sliced_w1(x, x[::-1], generator) == pytest.approx(0.0, abs=1e-12)
    shifted = densities.sliced_w1(x, x + np.array([1.0, 0.0]), np.random.default_rng(1))
    assert shifted == pytest.approx(2.0 / np.pi, rel=0.15)  # E|cos| of random directions
    assert abs(densities.c2st(x, y) - 0.5) < Z * np.sqrt(0.25 / 4_000)
    assert densities.c2st(x, y + 5.0) > 0.99


@pytest.mark.slow
def test_the_truth_has_no_gap():
    density = two_moons()

    class Truth:
        name = "truth"

        def fit(self, *_):
            return Fitted(lambda n, seed: density.sample(n, random_state=99 + seed), density.log_prob, "")

    sizes = densities.Sizes(n=500, n_unseen=200, n_pairs=2, n_rows=500)
    figures = densities.fitted_and_judged(density, Truth(), 1.0, 0, sizes)
    assert figures["gap, nats"] == 0.0
    assert abs(figures["C2ST minus real"]) < Z * np.sqrt(0.25 / 1_000)


def test_exact_draws_cover_as_they_say_also_where_values_repeat():
    generator = np.random.default_rng(0)
    for values in (generator.normal(size=(40, 4_000, 1)), generator.integers(3, size=(40, 4_000, 1)).astype(float)):
        truth, draws = values[0], list(values[1:])
        figures = gaps.judge(truth, draws, truth, np.ones(truth.shape, bool), generator)
        assert figures["error"] == 0.0
        for level in (0.5, 0.9):
            limit = Z * np.sqrt(level * (1.0 - level) / 4_000)
            assert abs(figures[f"coverage of {100 * level:.0f} %"] - level) < limit


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


def test_draws_by_tempering_are_those_of_a_normal_posterior():
    """With a normal likelihood of variance .01 the posterior has mean x / 1.01 and variance .01 / 1.01.

    Particles depend on each other a little: the limit is that of a fifth as many draws.
    """
    model = Model(
        lambda n, generator: generator.normal(size=(n, 3)),
        lambda theta: -0.5 * np.square(theta).sum(axis=1),
        lambda theta, x: -50.0 * np.square(theta - x).sum(axis=1),
    )
    x = np.array([0.5, -1.0, 2.0])
    draws = model.posterior(4_000, x, np.random.default_rng(0))
    deviation = np.sqrt(0.01 / 1.01)
    assert np.abs(draws.mean(axis=0) - x / 1.01).max() < Z * deviation / np.sqrt(800)
    assert np.abs(draws.std(axis=0) / deviation - 1.0).max() < Z / np.sqrt(1_600)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["scales", "angle", "sphere", "ridge", "funnel", "poisson"])
def test_exact_draws_of_hard_tasks_surround_the_truth(name):
    task = HARD_TASKS[name]()
    row = task.simulations(1, 0)[0]
    below = (task.posterior(200, row[task.d :], np.random.default_rng(1)) < row[: task.d]).mean(axis=0)
    assert ((below > 0.0) & (below < 1.0)).all()  # by chance at an end: 2 / 201 for each parameter


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_gaps_of_the_regression_have_their_share_and_depend_on_observed_cells(share):
    rows = rubin.drawn_table(20_000, 0)
    found = rubin.gaps_of(rows, share, 0)
    assert found[["x2", "x3"]].mean().to_numpy() == pytest.approx(share, abs=0.02)
    assert not found[["x1", "y"]].any(axis=None)
    drive = rows["x1"] + rows["y"]
    assert drive[found["x2"]].mean() > drive[~found["x2"]].mean() + 0.3


@pytest.mark.slow
def test_intervals_without_gaps_hold_the_truth_in_95_per_cent():
    sizes = rubin.Sizes()
    covered = [rubin.repetition("no gaps", 0.2, sizes, seed)["coverage, %"] for seed in range(300)]
    assert abs(np.mean(covered) - 95.0) < 100.0 * Z * np.sqrt(0.95 * 0.05 / 300)  # slopes depend on each other


@pytest.mark.campaign
@pytest.mark.filterwarnings("ignore")  # tiny fits warn
def test_parts_without_downloads_run_and_are_written(tmp_path, monkeypatch):
    parts = ("densities", "gaps", "rubin", "cost")
    monkeypatch.setattr("sys.argv", ["benchmarks", *parts, "--size", "quick", "--out", str(tmp_path)])
    command.main()
    page = (tmp_path / "benchmarks.md").read_text()
    assert all(f"## {part.capitalize()}" in page for part in parts)
    assert "Failed" not in page
