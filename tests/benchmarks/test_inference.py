"""The benchmarks of posteriors and of pooled regressions: exact posteriors against their likelihoods, judges, pages.

Statistical tests have a false-alarm rate of 1e-8 each.
"""

import bz2
import zipfile

import numpy as np
import pytest
from scipy import stats
from sklearn.ensemble import RandomForestClassifier

from benchmarks import inference, inference_methods, rubin
from benchmarks.hard_simulators import HARD_TASKS, Model
from benchmarks.record import Store
from benchmarks.simulators import TASKS

Z = stats.norm.isf(1e-8 / 2)


@pytest.fixture
def wheel_of_sbibm(tmp_path, monkeypatch):
    """A folder with a wheel of the first observation of two moons, with 60 exact draws as references."""
    task, x = TASKS["two_moons"](), np.array([-0.6, -0.6])
    draws = task.posterior(60, x, np.random.default_rng(0))
    lines = "\n".join(["parameter_1,parameter_2", *(f"{a!r},{b!r}" for a, b in draws.tolist())])
    with zipfile.ZipFile(tmp_path / "sbibm-1.1.0-py2.py3-none-any.whl", "w") as archive:
        folder = "sbibm/tasks/two_moons/files/num_observation_1"
        archive.writestr(f"{folder}/observation.csv", f"data_1,data_2\n{x[0]},{x[1]}\n")
        archive.writestr(f"{folder}/reference_posterior_samples.csv.bz2", bz2.compress(lines.encode()))
    monkeypatch.setenv("BACKWALK_WHEELS", str(tmp_path))
    return draws


def test_two_moons_posterior_has_the_radius_and_the_angles_of_its_likelihood():
    task, x = TASKS["two_moons"](), np.array([-0.3, 0.2])
    theta = task.posterior(4000, x, np.random.default_rng(1))
    assert (np.abs(theta) <= 1.0).all()
    along, across = theta.sum(axis=1) / np.sqrt(2.0), (theta[:, 1] - theta[:, 0]) / np.sqrt(2.0)
    u, v = x[0] + np.abs(along) - 0.25, x[1] - across
    assert stats.kstest(np.hypot(u, v), stats.norm(0.1, 0.01).cdf).pvalue > 1e-8
    assert stats.kstest(np.arctan2(v, u) / np.pi + 0.5, "uniform").pvalue > 1e-8
    assert abs(np.mean(along > 0.0) - 0.5) < Z * np.sqrt(0.25 / 4000)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(TASKS))
def test_draws_of_exact_posteriors_given_simulated_data_follow_the_prior(name):
    """theta ~ p, x | theta, theta' | x: theta' has the distribution of theta."""
    task = TASKS[name]()
    rows = task.simulations(600, 0)
    generator = np.random.default_rng(2)
    again = np.array([task.posterior(1, x, generator)[0] for x in rows[:, task.d :]])
    prior = (
        stats.norm(0.0, np.sqrt(0.1)) if task.bounds is None else stats.uniform(low := task.bounds[0][0], -2.0 * low)
    )
    for j in range(2):
        assert stats.kstest(again[:, j], prior.cdf).pvalue > 1e-8
        assert np.corrcoef(again[:, j], rows[:, j])[0, 1] > 0.2 or name == "two_moons"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gaussian_mixture", "gaussian_linear"])
@pytest.mark.parametrize("given", [(0,), (1, -1), (-1,), (0, -2, -1)])
def test_exact_conditionals_leave_the_joint_distribution_as_it_is(name, given):
    """Rows of which all but a few values are drawn anew have the distribution of simulations."""
    task = TASKS[name]()
    rows, generator = task.simulations(500, 1), np.random.default_rng(3)
    again = np.array([task.conditional(1, keep(row, given), generator)[0] for row in rows])
    np.testing.assert_array_equal(again[:, given], rows[:, given])
    fresh = task.simulations(4000, 2)
    for each in (
        lambda z: z[:, 0],
        lambda z: z[:, -1],
        lambda z: z[:, -1] - z[:, task.d - 1],
        lambda z: z[:, :2].sum(1),
    ):
        assert stats.ks_2samp(each(again), each(fresh)).pvalue > 1e-8
    spread = [np.abs(z[:, task.d :] - z[:, : task.d]) for z in (again, fresh)]  # of one deviation in the mixture
    assert stats.ks_2samp(spread[0].min(axis=1), spread[1].min(axis=1)).pvalue > 1e-8


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
    draws = model.posterior(4000, x, np.random.default_rng(0))
    deviation = np.sqrt(0.01 / 1.01)
    assert np.abs(draws.mean(axis=0) - x / 1.01).max() < Z * deviation / np.sqrt(800)
    assert np.abs(draws.std(axis=0) / deviation - 1.0).max() < Z / np.sqrt(1600)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["scales", "angle", "sphere", "ridge", "funnel", "poisson"])
def test_exact_draws_of_hard_tasks_surround_the_truth(name):
    """The truth is one more draw: its coordinates' ranks among 40 draws of 30 simulations are seldom extreme."""
    task = HARD_TASKS[name]()
    rows = task.simulations(3, 0)
    assert rows.shape == (3, task.d + task.m)
    draws = np.array([task.posterior(200, x, np.random.default_rng(1)) for x in rows[:1, task.d :]])
    below = (draws < rows[:1, None, : task.d]).mean(axis=1)
    assert ((below > 0.0) & (below < 1.0)).all()  # by chance at an end: 2 / 201 for each of at most ten parameters
    assert task.observation(2).shape == (task.m,)


def keep(row, given):
    """Return a row with NaN for all but some values."""
    kept = np.full(len(row), np.nan)
    kept[list(given)] = row[list(given)]
    return kept


def test_rows_with_gaps_have_both_and_are_simulations():
    task = TASKS["gaussian_mixture"]()
    for number in range(1, 21):
        row = task.row_with_gaps(number)
        assert 0 < np.isnan(row).sum() < 4
        np.testing.assert_array_equal(row, task.row_with_gaps(number))


@pytest.mark.slow
def test_any_values_given_are_judged_against_exact_draws():
    task = TASKS["gaussian_mixture"]()
    sizes = inference.Sizes(((100, 1.0),), 1, 2, 100, 20)

    def exact(n, row, seed):
        return task.conditional(n, row, np.random.default_rng(seed))

    good = inference.against_exact_conditionals(task, exact, sizes)["c2st_any"]
    bad = inference.against_exact_conditionals(task, lambda *a: exact(*a) + 5.0, sizes)["c2st_any"]
    assert max(good) < 0.75  # a forest of 100 rows of each; .5 + 5.7 sqrt(.25 / 200) = .70 for independent rows
    assert min(bad) > 0.9


@pytest.mark.slow
def test_references_are_read_from_the_wheel_and_judged(wheel_of_sbibm):
    task = TASKS["two_moons"]()
    np.testing.assert_array_equal(task.observation(1), [-0.6, -0.6])
    np.testing.assert_array_equal(task.reference(1), wheel_of_sbibm)
    sizes = inference.Sizes(((100, 1.0),), 1, 1, 60, 20, ("two_moons",), ("Diffusion",))
    figures = inference.exact_figures(task, sizes, 0)
    assert 0.3 < figures["c2st_forest"][0] < 0.75
    moved = inference.c2st(wheel_of_sbibm, wheel_of_sbibm + 3.0, RandomForestClassifier(10, random_state=1))
    assert moved > 0.95


@pytest.mark.slow
def test_intervals_without_gaps_hold_the_truth_in_95_per_cent():
    sizes = rubin.Sizes(100, 1.0, 2, 1)
    covered = np.array([rubin.repetition("no gaps", 0.2, sizes, seed)["covered"] for seed in range(800)])
    assert abs(covered[:, 1].mean() - 0.95) < Z * np.sqrt(0.95 * 0.05 / 800)  # less than 0.05: 100 % would fail


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_gaps_have_their_share_and_depend_on_observed_cells(share):
    rows = rubin.drawn_table(4000, 0)
    gaps = rubin.gaps_of(rows, share, 0)
    assert not gaps[["x1", "y"]].to_numpy().any()
    assert gaps["x2"].mean() == pytest.approx(share, abs=Z * np.sqrt(share * (1.0 - share) / 4000))
    drive = rows["x1"] + rows["y"]
    assert drive[gaps["x2"]].mean() > drive[~gaps["x2"]].mean() + 0.5


@pytest.mark.slow
def test_complete_cases_are_biased_and_pooled_imputations_of_the_true_model_are_not():
    sizes = rubin.Sizes(1000, 1.0, 3, 1)
    by_method = {
        method: np.mean([rubin.repetition(method, 0.5, sizes, seed)["errors"] for seed in range(4)], axis=0)
        for method in ("complete cases", "chained ridge")
    }
    assert np.abs(by_method["complete cases"][1:]).max() > 0.1
    assert np.abs(by_method["chained ridge"][1:]).max() < 0.1


@pytest.mark.slow
def test_both_parts_go_from_data_to_page(tmp_path, wheel_of_sbibm):
    tables = rubin.Sizes(80, 1.0, 2, 2, (0.2,), ("complete cases", "mean imputation"))
    rubin.run(Store(tmp_path / "rubin.csv"), tables)
    page = rubin.told(Store(tmp_path / "rubin.csv").results, tmp_path)
    assert "| complete cases | 20% | 2 |" in page
    result = {
        "key": {
            "task": "two_moons",
            "method": "Diffusion",
            "simulations": 1000,
            "budget": 5.0,
            "seed": 0,
            "observations": 2,
            "pairs": 300,
        },
        "c2st_mlp": [0.51, 0.52],
        "c2st_forest": [0.53, 0.54],
        "coverage": [0.02],
        "coverage_by_chance": [0.078],
        "fit_seconds": [5.0],
        "sample_seconds": [1.0, 1.2],
    }
    words = inference.told([result], tmp_path)
    assert "| Diffusion, 5 s | 1,000 | 1 | 2 | 0.5150 ± 0.0050 |" in words
    assert "| 0.02 | 0.078 | 300 |" in words
    with pytest.raises(SystemExit, match="SNPE"):
        inference.Sizes(((100, 1.0),), 1, 1, 60, 20, methods=("SNPE",))


def test_sbi_is_imported_before_the_first_timed_fit(tmp_path, monkeypatch):
    events = []
    monkeypatch.setattr(inference_methods.importlib, "import_module", events.append)
    monkeypatch.setattr(inference, "exact_figures", lambda *_: {})
    monkeypatch.setattr(inference, "fitted_figures", lambda *_: events.append("fit") or {})
    sizes = inference.Sizes(((100, 1.0),), 1, 1, 60, 20, ("two_moons",), ("sbi NPE",))
    inference.run(Store(tmp_path / "inference.csv"), sizes)
    assert events == ["sbi.inference", "sbi.utils", "fit"]
