"""Posteriors of a linear Gaussian simulator, whose denoiser, conditionals and products are in closed form.

theta ~ N(m, V) in two dimensions, x = A theta + b + noise of covariance R in two: everything is Gaussian. Statistical
tests have a false-alarm rate of 1e-8.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from backwalk import Diffusion, FewEffectiveDrawsWarning, Number, Residual, posterior
from backwalk.diffusion import GaussianDenoiser, NoiseSchedule
from backwalk.errors import InvalidInput
from backwalk.fit.oracle import oracle_model
from backwalk.inference.conditionals import log_prior
from backwalk.inference.importance import Weighted, draw_weighted, effective_size
from backwalk.inference.pooled import Product
from backwalk.sampling import Sampler
from backwalk.streams import Stream
from backwalk.table import Boundary, Codec, NumberColumn

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


@pytest.mark.slow
def test_leading_axes_of_parameters_are_kept(of_theta):
    drawn = of_theta.sample_batched((2, 3), SEVERAL[:2], random_state=3)
    log_p = of_theta.log_prob_batched(drawn, SEVERAL[:2])
    assert log_p.shape == (2, 3, 2)
    torch.testing.assert_close(log_p[1, :, 0], of_theta.log_prob(drawn[1, :, 0], SEVERAL[0]))
    torch.testing.assert_close(of_theta.log_prob(drawn[:, :, 0], SEVERAL[0]), log_p[:, :, 0])
    torch.testing.assert_close(of_theta.log_prob_batched(drawn.requires_grad_(), SEVERAL[:2]), log_p)
    by_place = pd.Series(SEVERAL[0])  # without names
    torch.testing.assert_close(of_theta.log_prob(drawn[:, :, 0], by_place), log_p[:, :, 0])


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


@pytest.mark.slow
def test_several_observations_have_the_closed_form_of_their_product(model):
    normal = torch.distributions.MultivariateNormal(torch.from_numpy(MEAN), torch.from_numpy(V))
    of = posterior(model, given=[2, 3])._conditional
    rows = np.hstack([np.full((5, 2), np.nan), SEVERAL])
    theta = np.random.default_rng(5).multivariate_normal(*law(SEVERAL), 6)
    product, mean = Product(of, rows).log_prob(theta)
    excess = product - stats.multivariate_normal(*law(SEVERAL)).logpdf(theta)
    np.testing.assert_allclose(excess, excess.mean(), atol=3e-3)
    each = [stats.multivariate_normal(*law(x[None])).pdf(theta) for x in SEVERAL]
    np.testing.assert_allclose(mean, np.log(np.mean(each, axis=0)), atol=1e-3)
    with_prior = posterior(model, given=[2, 3], prior=normal)._conditional
    np.testing.assert_allclose(Product(with_prior, rows).log_prob(theta)[0], product, atol=3e-3)


@pytest.mark.slow
def test_draws_given_several_observations_follow_the_closed_form(model, monkeypatch):
    """In whitened coordinates their mean is 0 and their mean square 1, within 6.5 errors at the effective size."""
    monkeypatch.setattr("backwalk.inference.posteriors._N_EACH", 300)
    monkeypatch.setattr("backwalk.inference.posteriors._LEAST_SIZE", 250.0)
    normal = torch.distributions.MultivariateNormal(torch.from_numpy(MEAN), torch.from_numpy(V))
    combined, some = posterior(model, given=[2, 3], prior=normal), SEVERAL[:3]
    mean, covariance = law(some)
    factor = np.linalg.cholesky(covariance)
    weighted = combined.weighted_draws(some, n_each=300, effective_sample_size=250.0, random_state=0)
    assert weighted.effective_sample_size >= 250.0
    w = weighted.log_weights.exp().numpy()
    assert w.sum() == pytest.approx(1.0)
    error = 6.5 / np.sqrt(weighted.effective_sample_size)
    z = np.linalg.solve(factor, (weighted.theta.numpy() - mean).T)
    np.testing.assert_allclose(z @ w, 0.0, atol=error)
    np.testing.assert_allclose(z**2 @ w, 1.0, atol=error * np.sqrt(2.0))
    drawn = combined.sample((20, 40), some, random_state=0).numpy()
    assert drawn.shape == (20, 40, 2)
    z = np.linalg.solve(factor, (drawn.reshape(-1, 2) - mean).T)
    np.testing.assert_allclose(z.mean(axis=1), 0.0, atol=error)
    np.testing.assert_allclose(z.var(axis=1), 1.0, atol=error * np.sqrt(2.0))


def test_more_draws_given_several_observations_have_a_larger_effective_size(model, monkeypatch):
    of, asked = posterior(model, given=[2, 3]), []

    def weighted(self, *, least_size, **options):
        asked.append(least_size)
        return Weighted(np.zeros((500, 2)), np.full(500, -np.log(500.0)), 0.0, 0.0)

    monkeypatch.setattr(Product, "draw", weighted)
    for n in (10, 4_000, 100_000):
        assert of.sample(n, SEVERAL).shape == (n, 2)
    assert asked == [400.0, 1_000.0, 2_000.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_prior_of_torch_has_no_density_beyond_its_support(model, dtype):
    low = torch.tensor([-1.0, -1.0], dtype=dtype)
    bounded = torch.distributions.Independent(torch.distributions.Uniform(low, low + 2.5), 1)
    of = posterior(model, given=[2, 3], prior=bounded)
    inside, beyond = [0.5, 0.5], [0.5, 2.0]
    log_prior = of._conditional.log_prior(np.array([inside, beyond]))
    np.testing.assert_allclose(log_prior, [-2.0 * np.log(2.5), -np.inf], rtol=1e-6)
    rows = np.hstack([np.full((5, 2), np.nan), SEVERAL])
    log_p, _ = Product(of._conditional, rows).log_prob(np.array([inside, beyond]))
    assert np.isfinite(log_p).tolist() == [True, False]
    normal = torch.distributions.MultivariateNormal(torch.zeros(2, dtype=dtype), torch.eye(2, dtype=dtype))
    found = posterior(model, given=[2, 3], prior=normal)._conditional.log_prior(np.array([inside]))
    np.testing.assert_allclose(found, stats.multivariate_normal([0, 0]).logpdf(inside), rtol=1e-6)
    with pytest.raises(InvalidInput, match="Independent"):
        posterior(model, given=[2, 3], prior=bounded.base_dist)._conditional.log_prior(np.array([inside, inside]))
    of_three = torch.distributions.MultivariateNormal(torch.zeros(3, dtype=dtype), torch.eye(3, dtype=dtype))
    with pytest.raises(InvalidInput, match="x1, x2"):
        posterior(model, given=[2, 3], prior=of_three)._conditional.log_prior(np.array([inside]))


def test_a_prior_of_one_number_and_one_that_does_not_state_its_support():
    one = torch.tensor([[0.2], [3.0]]).double()
    np.testing.assert_allclose(log_prior(torch.distributions.Uniform(0.0, 2.0), one, ["a"]), [-np.log(2.0), -np.inf])

    class Shy(torch.distributions.Distribution):
        def log_prob(self, value):
            return -value.square().sum(dim=1)

    np.testing.assert_allclose(log_prior(Shy(validate_args=False), one, ["a"]), [-0.04, -9.0])


@pytest.mark.slow
def test_no_possible_draw_is_an_error_that_names_the_order_of_the_parameters(model):
    far = torch.distributions.Independent(
        torch.distributions.Uniform(torch.full((2,), 50.0), torch.full((2,), 51.0)), 1
    )
    with pytest.raises(InvalidInput, match="x1, x2"):
        posterior(model, given=[2, 3], prior=far).weighted_draws(SEVERAL[:2], n_each=20)


@pytest.mark.slow
def test_one_observation_needs_no_prior(model):
    known = posterior(replace(model, conditions=((2, 3),)), given=[2, 3])
    found = known.weighted_draws(X, n_each=300, effective_sample_size=250.0, random_state=0)
    assert found.log_integral == pytest.approx(0.0, abs=6.5 * found.standard_error + 0.01)
    assert found.standard_error < 0.05


@pytest.mark.slow
def test_few_effective_draws_are_warned_of(of_theta, monkeypatch):
    monkeypatch.setattr("backwalk.inference.posteriors._N_EACH", 20)
    monkeypatch.setattr("backwalk.inference.importance.MOST_ROUNDS", 1)
    far = np.array([[9.0, -9.0], [-9.0, 9.0]])
    with pytest.warns(FewEffectiveDrawsWarning, match="2 observations"):
        of_theta.sample(10, far, random_state=0)
    for _ in range(2):  # the constant is kept, and stays as uncertain
        with pytest.warns(FewEffectiveDrawsWarning, match="n_each=200"):
            of_theta.log_prob([0.0, 0.0], far)


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
    assert "<td" in made._repr_html_()
    assert f">{changing[0] - 5.0:.4g}<" in made._repr_html_()
    assert repr(made.weighted_draws(SEVERAL, n_each=50, random_state=0)).startswith("WeightedDraws(")


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
        (lambda p: p.sample(-1, X), "sample_shape"),
        (lambda p: p.sample(5.0, X), "sample_shape"),
        (lambda p: p.sample(True, X), "sample_shape"),
        (lambda p: p.sample("ab", X), "sample_shape"),
        (lambda p: p.log_prob([1.0, np.nan], X), "theta"),
        (lambda p: p.log_prob_batched(np.zeros((2, 2)), SEVERAL), r"\(\.\.\., 5, 2\)"),
        (lambda p: p.log_prob_batched(np.full((5, 2), np.nan), SEVERAL), "missing"),
        (lambda p: p.log_prob_batched("a", SEVERAL), "2 columns"),
        (lambda p: p.log_prob(np.zeros((4, 3, 3)), X), r"\(4, 3, 3\)"),
        (lambda p: p.weighted_draws(SEVERAL, n_each=1), "n_each"),
        (lambda p: p.weighted_draws(SEVERAL, effective_sample_size=np.nan), "effective_sample_size"),
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
    with pytest.raises(InvalidInput, match="log_prob"):
        posterior(model, given=[0], prior=3.0)
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
def test_labels_among_the_parameters_are_pooled_as_their_closed_form_says(penguins, penguins_density):
    """p(species, x | y_1, y_2) of a known density, by sums over labels and a grid of numbers."""
    density, y = penguins_density, np.array([0.3, -0.9])
    table = density.table[..., 0]

    def log_joint(x, y=None):
        """Return ln p(species, sex, x, y), or without y: (3, 2, n)."""
        at = [0] if y is None else [0, 1]
        values = np.column_stack([x, np.full(len(x), y)])[:, at] if y is not None else x[:, None]
        each = [
            [
                np.log(table[s, f])
                + stats.multivariate_normal(
                    density.means[s, f, 0, at], density.covariances[s, f, 0][np.ix_(at, at)]
                ).logpdf(values)
                for f in range(2)
            ]
            for s in range(3)
        ]
        return np.array(each)

    grid = np.linspace(-6.0, 6.0, 601)
    of_y = [np.logaddexp(*log_joint(grid, value).swapaxes(0, 1)) for value in y]  # sex is a missing datum
    pooled = np.exp(sum(of_y) - np.logaddexp(*log_joint(grid).swapaxes(0, 1)))
    share = np.trapezoid(pooled, grid) / np.trapezoid(pooled, grid).sum()
    rows = pd.DataFrame({"sex": [None, None], "y": y})
    found = posterior(penguins, given=["sex", "y"]).weighted_draws(
        rows, n_each=200, effective_sample_size=120.0, random_state=0
    )
    w, species = found.log_weights.exp().numpy(), found.theta[:, 0].numpy()
    assert w.sum() == pytest.approx(1.0)
    np.testing.assert_allclose([w[species == s].sum() for s in range(3)], share, atol=6.0 * found.standard_error)
    mean = np.trapezoid(pooled.sum(axis=0) * grid, grid) / np.trapezoid(pooled.sum(axis=0), grid)
    assert w @ found.theta[:, 1].numpy() == pytest.approx(mean, abs=6.0 / np.sqrt(found.effective_sample_size))


def test_labels_alone_have_the_probabilities_of_their_product(penguins):
    of_species = posterior(penguins, given=["x", "sex", "y"])
    rows = np.array([[0.4, 1.0, 0.2], [-0.3, 0.0, 0.5], [0.1, 1.0, -0.4]])
    levels = np.arange(3.0)[:, None]
    each = torch.stack([of_species.log_prob(levels, row) for row in rows])
    prior = torch.from_numpy(penguins.model_.codec.blocks[0].frequencies).log()
    expected = (each.sum(dim=0) - 2.0 * prior).softmax(dim=0)
    torch.testing.assert_close(of_species.log_prob(levels, rows).exp(), expected, rtol=1e-3, atol=1e-4)
    drawn = of_species.sample(1_000, rows, random_state=0)[:, 0]
    counts = [int((drawn == level).sum()) for level in range(3)]
    np.testing.assert_allclose(counts, 1_000 * expected, atol=1.0)  # draws are systematic


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
    with pytest.raises(InvalidInput, match="prior"):
        made.weighted_draws([[0.1], [0.2]])


@pytest.mark.slow
def test_several_observations_of_a_bounded_parameter_stay_within(monkeypatch):
    """z is the coordinate of theta > 0, and normal; x = z + N(0, 1/4): z given x_1..x_n is normal, but beside 0."""
    monkeypatch.setattr("backwalk.inference.posteriors._N_EACH", 60)
    monkeypatch.setattr("backwalk.inference.posteriors._LEAST_SIZE", 80.0)
    codec = Codec(
        (NumberColumn(1.0, 1.0, 0.0, bounds=Boundary((-0.7, 0.0, 1.0), (-0.9, 0.0, 1.0), -1.0)), NumberColumn(0.0, 1.0))
    )
    of_theta = Codec(codec.columns[:1])
    denoiser = GaussianDenoiser(torch.zeros(2).double(), torch.tensor([[1.0, 1.0], [1.0, 1.25]]).double())
    schedule = NoiseSchedule.log_snr_uniform(50, log_snr_max=14.0, log_snr_min=-14.0)
    z = np.random.default_rng(0).multivariate_normal(np.zeros(2), [[1.0, 1.0], [1.0, 1.25]], 100)

    class Prior:
        def log_prob(self, theta):
            z = torch.from_numpy(of_theta.encode(theta.numpy())[:, 0])
            return torch.distributions.Normal(0.0, 1.0).log_prob(z) + torch.from_numpy(
                of_theta.log_abs_det_jacobian(theta.numpy())
            )

    model = oracle_model(denoiser, codec.decode(z), schedule, codec=codec)
    made = posterior(model, given=[1], prior=Prior())
    x = np.array([[-1.0], [-1.2], [-0.8]])  # near the bound, where the map bends
    law = stats.norm(x.sum() / (len(x) + 0.25), np.sqrt(0.25 / (len(x) + 0.25)))
    grid = np.linspace(1e-9, 1.5, 20001)
    at_grid = grid[:, None]
    density = np.exp(law.logpdf(of_theta.encode(at_grid)[:, 0]) + of_theta.log_abs_det_jacobian(at_grid))
    density /= np.trapezoid(density, grid)
    mean, mean_square = (np.trapezoid(density * grid**power, grid) for power in (1, 2))

    weighted = made.weighted_draws(x, n_each=60, effective_sample_size=80.0, random_state=0)
    w = weighted.log_weights.exp().numpy()
    error = 6.0 * np.sqrt((mean_square - mean**2) / weighted.effective_sample_size)
    assert w @ weighted.theta[:, 0].numpy() == pytest.approx(mean, abs=error)
    at = np.array([0.0, 1e-12, 0.05, 0.1, 0.2, 0.3, 0.6])
    excess = made.log_prob(at[:, None], x, random_state=0).numpy() - np.log(np.interp(at, grid, density))
    np.testing.assert_allclose(excess, excess.mean(), atol=0.02)
    assert abs(excess.mean()) < 6.0 * weighted.standard_error
    assert float(weighted.theta.min()) >= 0.0
    assert torch.isneginf(made.log_prob([[-0.1]], x)).all()
    assert torch.isneginf(made.log_prob([[-0.1]], x[0])).all()

    vanishing = posterior(model, given=[1], prior=torch.distributions.Gamma(torch.tensor(3.0).double(), 1.0))
    nearer = np.array([[1e-2], [1e-4], [1e-6], [1e-9]])
    rows = np.column_stack([np.full(3, np.nan), x])
    product, _ = Product(vanishing._conditional, rows).log_prob(nearer)
    assert (np.diff(product) < 0.0).all()  # the product of densities over powers of the prior has its mass at the bound


@pytest.mark.slow
def test_the_normalising_constant_of_the_last_observations_is_kept(model, monkeypatch):
    monkeypatch.setattr("backwalk.inference.posteriors._N_EACH", 60)
    monkeypatch.setattr("backwalk.inference.posteriors._LEAST_SIZE", 80.0)
    monkeypatch.setattr("backwalk.inference.posteriors._FEW", 0.0)
    made, calls = posterior(model, given=[2, 3]), []
    weighted = Product.draw
    monkeypatch.setattr(Product, "draw", lambda *args, **rest: calls.append(0) or weighted(*args, **rest))
    first = made.log_prob(X, SEVERAL)
    assert torch.equal(made.log_prob(X, SEVERAL), first)
    assert len(calls) == 1
    assert not torch.equal(made.log_prob(X, SEVERAL, random_state=1), first)
    assert not torch.equal(made.log_prob(X, SEVERAL[:3]), first)
    assert torch.equal(made.log_prob(X, SEVERAL), first)
    assert len(calls) == 4


def test_weights_are_worth_their_effective_sample_size():
    log_w = np.log(np.array([0.5, 0.25, 0.25]))
    assert effective_size(log_w) == pytest.approx(1.0 / 0.375)
    assert effective_size(np.full(4, -np.inf)) == 0.0
    drawn = Weighted(np.zeros((3, 1)), log_w, 0.0, 0.0).resample(8, stream=Stream(0))
    assert np.bincount(drawn).tolist() == [4, 2, 2]


def test_adaptive_weights_find_the_integral_of_a_density_far_from_the_first_points():
    """A normal density of integral 3 at a distance of four deviations from the first points."""
    target, first = (
        stats.multivariate_normal([4.0, 0.0], [[0.04, 0.0], [0.0, 0.25]]),
        stats.multivariate_normal(np.zeros(2)),
    )
    points = first.rvs(500, random_state=0)
    found = draw_weighted(
        lambda z: target.logpdf(z) + np.log(3.0),
        points,
        target.logpdf(points) - first.logpdf(points),
        n_each=500,
        least_size=900.0,
        stream=Stream(0),
    )
    assert found.effective_sample_size >= 900.0
    assert found.log_integral == pytest.approx(np.log(3.0), abs=6.0 * found.standard_error)
    mean = np.exp(found.log_weights) @ found.points
    np.testing.assert_allclose(mean, [4.0, 0.0], atol=0.1)
