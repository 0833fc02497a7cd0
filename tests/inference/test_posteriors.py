"""Posteriors of a linear Gaussian simulator, whose denoiser, and conditionals are in closed form.

theta ~ N(m, V) in two dimensions, x = A theta + b + noise of covariance R in two: everything is Gaussian. Statistical
tests have a false-alarm rate of 1e-8.
"""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from backwalk import Diffusion, Number, Residual, posterior
from backwalk.diffusion import GaussianDenoiser, NoiseSchedule
from backwalk.errors import InvalidInput
from backwalk.fit.oracle import oracle_model
from backwalk.sampling import Sampler
from backwalk.table import Codec

MEAN, V = np.array([0.5, -0.3]), np.array([[1.0, 0.3], [0.3, 0.8]])
A, B, R = np.array([[1.0, 0.5], [-0.4, 1.2]]), np.array([0.1, 0.2]), np.array([[0.3, 0.1], [0.1, 0.5]])
JOINT_MEAN = np.concatenate([MEAN, A @ MEAN + B])
JOINT = np.block([[V, V @ A.T], [A @ V, A @ V @ A.T + R]])
X = np.array([0.7, -0.9])
SEVERAL = np.array([[0.7, -0.9], [0.2, -0.1], [1.4, -0.6], [0.1, -1.5], [0.9, 0.2]])


def law(observations):
    """Return the mean and the covariance of theta given independent observations, (n, 2)."""
    precision = np.linalg.inv(V) + len(observations) * A.T @ np.linalg.inv(R) @ A
    weighted = np.linalg.inv(V) @ MEAN + A.T @ np.linalg.inv(R) @ (observations - B).sum(axis=0)
    return np.linalg.solve(precision, weighted), np.linalg.inv(precision)


@pytest.fixture(scope="module")
def model():
    denoiser = GaussianDenoiser(torch.from_numpy(JOINT_MEAN), torch.from_numpy(JOINT))
    schedule = NoiseSchedule.log_snr_uniform(100, log_snr_max=14.0, log_snr_min=-18.0)
    rows = np.random.default_rng(0).multivariate_normal(JOINT_MEAN, JOINT, 200)
    return oracle_model(denoiser, rows, schedule)


@pytest.fixture(scope="module")
def of_theta(model):
    return posterior(model, given=[2, 3])


def test_log_prob_is_the_closed_form(of_theta):
    theta = np.random.default_rng(1).multivariate_normal(*law(X[None]), 30)
    found = of_theta.log_prob(torch.from_numpy(theta), X)
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found, stats.multivariate_normal(*law(X[None])).logpdf(theta), atol=5e-4)


@pytest.mark.slow
def test_draws_have_the_shape_asked_for_and_follow_the_closed_form(of_theta):
    drawn = of_theta.sample((50, 40), torch.from_numpy(X), random_state=2)
    assert drawn.shape == (50, 40, 2)
    mean, covariance = law(X[None])
    z = np.linalg.solve(np.linalg.cholesky(covariance), (drawn.reshape(-1, 2).numpy() - mean).T)
    for coordinate in z:
        assert stats.kstest(coordinate, "norm").pvalue > 1e-8
    assert of_theta.sample(x=X).shape == (2,)
    assert of_theta.sample(7, X).shape == (7, 2)
    assert of_theta.sample((0,), X).shape == (0, 2)
    assert torch.equal(
        of_theta.sample(3, torch.from_numpy(X).bfloat16(), random_state=0),
        of_theta.sample(3, torch.from_numpy(X).bfloat16().double(), random_state=0),
    )
    again = of_theta.sample((50, 40), X, random_state=2)
    assert torch.equal(again, drawn)


@pytest.mark.slow
def test_a_batch_holds_each_observation_s_own_posterior(of_theta):
    drawn = of_theta.sample_batched((400,), SEVERAL, random_state=3)
    assert drawn.shape == (400, 5, 2)
    for j, x in enumerate(SEVERAL):
        mean, covariance = law(x[None])
        z = np.linalg.solve(np.linalg.cholesky(covariance), (drawn[:, j].numpy() - mean).T)
        assert all(stats.kstest(coordinate, "norm").pvalue > 1e-8 for coordinate in z)
    assert torch.equal(of_theta.sample_batched(9, X[None], random_state=3)[:, 0], of_theta.sample(9, X, random_state=3))
    log_p = of_theta.log_prob_batched(drawn[:3], SEVERAL)
    assert log_p.shape == (3, 5)
    torch.testing.assert_close(log_p[:, 2], of_theta.log_prob(drawn[:3, 2], SEVERAL[2]))


def test_functions_of_sbi_can_call_it(of_theta):
    """sbi's `run_sbc` and `run_tarp` give this keyword."""
    expected = of_theta.sample_batched((4,), SEVERAL, random_state=0)
    assert torch.equal(of_theta.sample_batched((4,), x=SEVERAL, random_state=0, show_progress_bars=True), expected)
    assert of_theta.sample((4,), x=X, show_progress_bars=False).shape == (4, 2)


def test_a_missing_datum_is_integrated_out(of_theta):
    precision = np.linalg.inv(V) + np.outer(A[0], A[0]) / R[0, 0]
    covariance = np.linalg.inv(precision)
    mean = covariance @ (np.linalg.inv(V) @ MEAN + A[0] * (X[0] - B[0]) / R[0, 0])
    theta = np.random.default_rng(4).multivariate_normal(mean, covariance, 20)
    expected = stats.multivariate_normal(mean, covariance).logpdf(theta)
    np.testing.assert_allclose(of_theta.log_prob(theta, [X[0], np.nan]), expected, atol=5e-4)
    drawn = of_theta.sample(1000, [X[0], np.nan], random_state=0).numpy()
    z = np.linalg.solve(np.linalg.cholesky(covariance), (drawn - mean).T)
    assert all(stats.kstest(coordinate, "norm").pvalue > 1e-8 for coordinate in z)


def test_several_observations_have_the_closed_form_of_their_product(of_theta):
    """The sum of their log-densities less the prior's is, up to a constant, that of all, and so are the gradients."""
    theta = torch.from_numpy(np.random.default_rng(5).multivariate_normal(*law(SEVERAL), 6)).requires_grad_()
    prior = torch.distributions.MultivariateNormal(torch.from_numpy(MEAN), torch.from_numpy(V))
    log_p = of_theta.log_prob_batched(theta[:, None].expand(-1, 5, -1), SEVERAL).sum(1) - 4 * prior.log_prob(theta)
    (slope,) = torch.autograd.grad(log_p.sum(), theta)
    mean, covariance = law(SEVERAL)
    excess = log_p.detach().numpy() - stats.multivariate_normal(mean, covariance).logpdf(theta.detach())
    np.testing.assert_allclose(excess, excess.mean(), atol=3e-3)
    np.testing.assert_allclose(slope, np.linalg.solve(covariance, (mean - theta.detach().numpy()).T).T, atol=2e-2)


@pytest.mark.slow
def test_the_default_observation_serves_calls_without_one(model):
    made = posterior(model, given=[2, 3])
    with pytest.raises(InvalidInput, match="set_default_x"):
        made.sample(3)
    assert made.set_default_x(X) is made
    assert torch.equal(made.sample(5, random_state=0), made.sample(5, X, random_state=0))
    np.testing.assert_array_equal(made.default_x, X)
    changing = X.copy()
    made.set_default_x(changing)
    changing += 5.0
    assert torch.equal(made.sample(5, random_state=0), made.sample(5, X, random_state=0))
    made.default_x = changing = torch.from_numpy(X.copy())
    changing += 5.0
    np.testing.assert_array_equal(made.default_x, X)
    assert repr(made) == "Posterior(x1, x2 given x3, x4)"


def test_draws_become_the_dictionary_of_arviz(of_theta):
    drawn = of_theta.sample((3, 10), X, random_state=0)
    found = of_theta.to_arviz_dict(drawn, X)
    assert set(found) == {"posterior", "observed_data"}
    np.testing.assert_array_equal(found["posterior"]["x2"], drawn[..., 1])
    assert found["posterior"]["x1"].shape == (3, 10)
    np.testing.assert_array_equal(found["observed_data"]["x4"], [X[1]])
    assert of_theta.to_arviz_dict(drawn[0], X)["posterior"]["x1"].shape == (1, 10)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda p: p.sample(3, [1.0]), "2 columns"),
        (lambda p: p.sample(3, SEVERAL), "one observation, but has 5 rows"),
        (lambda p: p.log_prob(np.zeros(2), SEVERAL), "one observation, but has 5 rows"),
        (lambda p: p.set_default_x(SEVERAL), "one observation, but has 5 rows"),
        (lambda p: p.sample(-1, X), "sample_shape"),
        (lambda p: p.sample(5.0, X), "sample_shape"),
        (lambda p: p.sample(True, X), "sample_shape"),
        (lambda p: p.sample("ab", X), "sample_shape"),
        (lambda p: p.log_prob([1.0, np.nan], X), "theta"),
        (lambda p: p.log_prob_batched(np.zeros((2, 2)), SEVERAL), r"\(\.\.\., 5, 2\)"),
        (lambda p: p.log_prob_batched(np.full((5, 2), np.nan), SEVERAL), "missing"),
        (lambda p: p.log_prob_batched("a", SEVERAL), "2 columns"),
        (lambda p: p.log_prob(np.zeros((4, 3, 3)), X), r"\(4, 3, 3\)"),
        (lambda p: p.to_arviz_dict(p.sample_batched(4, SEVERAL), SEVERAL), "sample_batched"),
        (lambda p: p.sample(3, {"x3": [1.0, 2.0], "x4": 1.0}), "one value"),
        (lambda p: p.to_arviz_dict(np.zeros(3), X), "theta"),
        (lambda p: p.sample(3, {"x3": 1.0}), "x4"),
    ],
)
def test_what_cannot_be_used_is_refused(of_theta, call, words):
    with pytest.raises(InvalidInput, match=words):
        call(of_theta)


def test_a_posterior_needs_a_fitted_model_and_some_columns(model):
    with pytest.raises(InvalidInput, match="fitted"):
        posterior(Diffusion(), given=[0])
    with pytest.raises(InvalidInput, match="given"):
        posterior(model, given=[0, 1, 2, 3])
    with pytest.raises(InvalidInput, match=r"\['x1'\]"):
        posterior(model, given="x1")


@pytest.mark.slow
def test_labels_and_tables_are_taken_by_name(penguins):
    """Levels among parameters are codes; observations of labels are texts in tables and mappings."""
    of_species = posterior(penguins, given=["x", "y", "sex"])
    assert of_species.parameter_names == ("species",)
    one = pd.DataFrame({"sex": [True], "y": [0.2], "x": [0.4]})
    log_p = of_species.log_prob([[0.0], [1.0], [2.0]], one)
    assert float(log_p.exp().sum()) == pytest.approx(1.0, abs=1e-6)
    torch.testing.assert_close(log_p, of_species.log_prob([[0.0], [1.0], [2.0]], {"x": 0.4, "y": 0.2, "sex": True}))
    torch.testing.assert_close(
        log_p, of_species.log_prob(pd.DataFrame({"species": ["Adelie", "Chinstrap", "Gentoo"]}), one)
    )
    by_label = pd.Series({"y": 0.2, "species": "Gentoo", "sex": True, "x": 0.4}, dtype=object)  # a row of the table
    torch.testing.assert_close(log_p, of_species.log_prob([[0.0], [1.0], [2.0]], by_label))
    torch.testing.assert_close(log_p[2:], of_species.log_prob(by_label, one))
    drawn = of_species.sample(2000, one, random_state=0)[:, 0]
    counts = [int((drawn == level).sum()) for level in range(3)]
    p = log_p.exp().numpy()
    assert stats.chisquare(counts, 2000 * p / p.sum()).pvalue > 1e-8
    of_numbers = posterior(penguins, given=["species", "sex"])
    assert of_numbers.sample(4, {"species": "Gentoo", "sex": None}).shape == (4, 2)
    for code in (-1.0, 3.0):
        with pytest.raises(InvalidInput, match=r"0\.\.2"):
            of_numbers.sample(4, [code, 0.0])
    with pytest.raises(InvalidInput, match="Emperor"):
        of_numbers.sample(4, {"species": "Emperor", "sex": True})
    two = pd.DataFrame({"sex": [True, False], "species": ["Gentoo", "Adelie"]})
    by_name = pd.DataFrame({"y": [0.3, -0.5], "x": [0.1, 1.2]})
    log_p = of_numbers.log_prob_batched(by_name, two)
    torch.testing.assert_close(log_p, of_numbers.log_prob_batched(by_name[["x", "y"]].to_numpy(), two))
    torch.testing.assert_close(log_p[1], of_numbers.log_prob([1.2, -0.5], two[1:])[0])
    as_dictionary = of_numbers.to_arviz_dict(by_name, two[1:])
    np.testing.assert_array_equal(as_dictionary["posterior"]["x"], [by_name["x"]])


@pytest.mark.slow
def test_data_that_are_only_given_may_have_any_finite_value():
    """Found by trying: log1p of counts were 69 levels, and 65 that no simulation had were refused."""
    rng = np.random.default_rng(3)
    theta = rng.normal(size=500)
    counts = rng.poisson(np.exp(1.0 + theta))
    data = {"log": np.log1p(counts), "whole": counts, "flag": rng.random(500) < 0.5, "side": np.sign(theta)}
    rows = pd.DataFrame({"theta": theta, **data})
    model = Diffusion(
        conditions=[[*data]], max_steps=20, denoiser=Residual(width=16, n_blocks=1), random_state=0, verbose=False
    ).fit(rows)
    codec, of_theta = model.model_.codec, posterior(model, given=[*data])
    assert [rows.columns[block.column] for block in codec.blocks] == ["flag"]
    assert model.model_.sampler.n_evaluations == 60
    x = [[0.3, 2.5, 1.0, 0.0], [9.0, 1e4, 0.0, -7.5], [1.0, 2.0, 1.0, 0.0], [1.0, 2.5, 1.0, 0.0]]
    drawn = of_theta.sample_batched((1,), x, sampler=Sampler("ddim", 3), random_state=0)
    assert bool(of_theta.log_prob_batched(drawn, x).isfinite().all())
    assert drawn[0, 2] != drawn[0, 3]  # 2.5 is not rounded to a value of the fit
    assert np.isfinite(model.score_samples(rows.assign(log=rows["log"] + 0.01).head(8))).all()  # ln p(theta, x)
    whole = model.sample(5, sampler=Sampler("ddim", 3), random_state=1)
    assert whole["whole"].dtype == rows["whole"].dtype


@pytest.mark.slow
def test_a_bounded_prior_has_no_leakage_and_needs_no_rejection():
    """theta ~ U(0, 1), x = theta + noise: draws beside the bound lie within, and the density integrates to one."""
    theta = np.random.default_rng(0).uniform(size=400)
    rows = pd.DataFrame({"theta": theta, "x": theta + 0.3 * np.random.default_rng(1).normal(size=400)})
    bounds = {"theta": Number(bounds=(0.0, 1.0))}
    tiny, quiet = Residual(width=16, n_blocks=1), {"random_state": 0, "verbose": False}
    model = Diffusion(max_steps=40, denoiser=tiny, conditions=[["x"]], columns=bounds, **quiet).fit(rows)
    made = posterior(model, given=["x"])
    drawn = made.sample(500, [-0.4], random_state=1)
    assert float(drawn.min()) >= 0.0
    assert float(drawn.max()) <= 1.0
    grid = Codec(model.codec_.columns[:1]).decode(np.linspace(-4.0, 4.0, 801)[:, None])
    p = made.log_prob(grid, [0.2]).exp().numpy()  # at -0.4 this hardly trained model has 4 % within 1e-16 of the bound
    assert np.trapezoid(p, grid[:, 0]) == pytest.approx(1.0, abs=5e-3)
    assert torch.isneginf(made.log_prob([[-0.01], [1.01]], [-0.4])).all()
