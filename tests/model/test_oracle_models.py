"""Models around closed-form denoisers: everything that is asked of a fitted model, against what is known.

Also what any model says of itself: its blur, and the probes of rows that are scored. Statistical statements have a
false-alarm rate of 1e-8 each.
"""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from scipy import stats

from backwalk.assess import assess, report_record, write_report
from backwalk.denoiser import Residual
from backwalk.diffusion import GaussianDenoiser, GaussianMixtureDenoiser, NoiseSchedule, prior_mismatch
from backwalk.errors import InvalidInput, ModelFileError
from backwalk.estimator import Diffusion
from backwalk.fit.oracle import oracle_model
from backwalk.model import bound, log_density, sample_rows
from backwalk.model_file import save
from backwalk.sampling import Sampler
from backwalk.streams import Stream
from backwalk.table import Codec, ConstantColumn, NumberColumn
from tests.empirical import EmpiricalDenoiser

STREAM = Stream(71)


Z = stats.norm.isf(0.5e-8)


SCHEDULE = NoiseSchedule.log_snr_uniform(40, log_snr_max=8.0, log_snr_min=-8.0)


MEAN, COVARIANCE = torch.tensor([0.5, -1.0]).double(), torch.tensor([[1.0, 0.5], [0.5, 0.4]]).double()


ROWS = MEAN + STREAM.child("rows").normal(0, 300, 2) @ torch.linalg.cholesky(COVARIANCE).T


WEIGHTS = torch.tensor([0.4, 0.6]).double()


DENOISERS = [
    GaussianDenoiser(MEAN, COVARIANCE),
    GaussianMixtureDenoiser(WEIGHTS, torch.stack([MEAN, -MEAN]), torch.stack([COVARIANCE, 0.1 * COVARIANCE])),
    EmpiricalDenoiser(ROWS[:20]),
]


def test_a_perfect_denoiser_of_points_draws_the_points():
    points = torch.tensor([[0.0, 1.0], [2.0, -1.0], [-1.0, -1.0]])  # far apart beside the least level, e^-4
    model = oracle_model(EmpiricalDenoiser(points), points, SCHEDULE)
    rows = sample_rows(model, 0, 200, stream=STREAM, sampler=Sampler("ddim", SCHEDULE.n_steps))
    distances = np.abs(rows[:, None] - points.numpy()).max(axis=2)
    assert distances.min(axis=1).max() < 1e-5
    assert set(distances.argmin(axis=1)) == {0, 1, 2}


@pytest.mark.slow
def test_the_model_of_a_gaussian_has_its_density_and_its_bound():
    model = oracle_model(DENOISERS[0], ROWS, NoiseSchedule.log_snr_uniform(40, log_snr_max=10.0, log_snr_min=-10.0))
    expected = torch.distributions.MultivariateNormal(MEAN, COVARIANCE).log_prob(ROWS)
    endless = NoiseSchedule(torch.cat([model.schedule.log_snr, torch.tensor([-math.inf]).double()]))
    density = log_density(dataclasses.replace(model, schedule=endless), ROWS.numpy(), n_intervals=32)
    blurred = torch.distributions.MultivariateNormal(MEAN, COVARIANCE + math.exp(-10.0) * torch.eye(2).double())
    torch.testing.assert_close(density.log_prob, blurred.log_prob(ROWS), rtol=0, atol=1e-4)
    excess = bound(model, ROWS.numpy(), stream=STREAM).per_row + expected
    # Along each axis of the covariance a step costs (r - 1 - ln r) / 2, where r is the true reverse variance over ours.
    schedule, axes = model.schedule, torch.linalg.eigvalsh(COVARIANCE)
    noisy = schedule.alpha_bar[:, None] * axes + schedule.one_minus_alpha_bar[:, None]
    ratio = schedule.beta[1:, None] * noisy[:-1] / noisy[1:] / model.sigma_sq[1:, None]
    least = prior_mismatch(MEAN, COVARIANCE, schedule) + float(0.5 * (ratio - 1.0 - ratio.log()).sum())
    assert abs(float(excess.mean()) - least) < Z * float(excess.std()) / len(ROWS) ** 0.5


def test_an_oracle_has_no_file(tmp_path):
    with pytest.raises(ModelFileError, match="networks only, but the denoiser is a Gaussian"):
        save(oracle_model(DENOISERS[0], ROWS, SCHEDULE), tmp_path / "m.safetensors")
    with pytest.raises(InvalidInput, match="reverse_variance should be one of"):
        oracle_model(DENOISERS[0], ROWS, SCHEDULE, reverse_variance="full")


def wide(d):
    """Return a model of d columns, a mixture with a different covariance in each direction."""
    scale = torch.linspace(0.3, 1.2, d).double()
    means = torch.stack([torch.zeros(d), torch.ones(d)]).double()
    exact = GaussianMixtureDenoiser(WEIGHTS, means, torch.stack([torch.diag(scale**2)] * 2))
    return oracle_model(exact, STREAM.child("wide").normal(0, 100, d), SCHEDULE)


def test_a_row_of_many_columns_scores_the_same_alone_and_in_any_batch():
    """Beyond 32 columns probes estimate the divergence: the row's own content gives them, and not its place."""
    model, x = wide(34), STREAM.child("x").normal(0, 8, 34).numpy()
    options = {"n_intervals": 2, "n_probes": 3}
    together = log_density(model, x, **options)
    for some in ([7], [6, 7, 0], [7, 7, 3]):
        alone = log_density(model, x[some], **options)
        torch.testing.assert_close(alone.log_prob, together.log_prob[some], rtol=1e-6, atol=1e-5)
        torch.testing.assert_close(alone.standard_error, together.standard_error[some], rtol=1e-4, atol=1e-5)
    other = log_density(model, x, **options, stream=Stream(5))
    assert not torch.allclose(other.log_prob, together.log_prob, atol=1e-3)


@pytest.mark.slow
def test_beyond_32_columns_sixteen_probes_take_the_place_of_the_exact_divergence():
    for d, exact in ((32, True), (33, False)):
        model, x = wide(d), STREAM.child("x").normal(0, 1, d).numpy()
        usual = log_density(model, x, n_intervals=2)
        assert bool((usual.standard_error == 0).all()) is exact
        assert torch.equal(usual.log_prob, log_density(model, x, n_intervals=2, n_probes=16).log_prob) is not exact


def test_numbers_that_are_given_do_not_count_among_the_32():
    model, x = wide(34), STREAM.child("x").normal(0, 1, 34).numpy()
    some = log_density(model, x, given=range(2, 34), n_intervals=2)
    assert float(some.standard_error) == 0.0
    assert torch.equal(some.log_prob, log_density(model, x, given=range(2, 34), columns=[0, 1], n_intervals=2).log_prob)
    assert float(log_density(model, x, given=[0], n_intervals=2).standard_error) > 0.0


def test_the_errors_of_different_rows_are_independent():
    """Probes that all rows shared would err alike: the mean's error would be a row's own, and not less by sqrt(n)."""
    model, x = oracle_model(DENOISERS[0], ROWS, SCHEDULE), ROWS.numpy()
    exact = log_density(model, x, n_intervals=4).log_prob
    error = log_density(model, x, n_intervals=4, n_probes=1).log_prob - exact
    # The Jacobian is the same everywhere, so that a row's error is + or - the same number, by a sign of its own.
    assert float(error.abs().std()) < 1e-3 * float(error.abs().mean())
    assert abs(float(error.sign().mean())) < Z / len(x) ** 0.5


def test_the_blur_is_the_least_level_in_the_user_s_units():
    """Scored in its own units, N(c, S) has the density of N(c, S + blur^2)."""
    codec = Codec((NumberColumn(3.0, 0.5), ConstantColumn(7.0), NumberColumn(-100.0, 20.0)))
    schedule = NoiseSchedule.log_snr_uniform(40, log_snr_max=2.0, log_snr_min=-12.0)  # a blur that tells
    rows = codec.decode(STREAM.normal(0, 200, 2))
    model = oracle_model(GaussianDenoiser(torch.zeros(2), torch.eye(2)), rows, schedule, codec=codec)
    np.testing.assert_allclose(model.blur, math.exp(-1.0) * np.array([0.5, 0.0, 20.0]))
    spread = np.hypot([0.5, 20.0], model.blur[[0, 2]])
    expected = stats.norm.logpdf(rows[:, [0, 2]], [3.0, -100.0], spread).sum(axis=1)
    np.testing.assert_allclose(log_density(model, rows).log_prob.numpy(), expected, atol=1e-3)
    assert "standard deviation 0.18 in x1, 7.4 in x3" in repr(model)


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_a_chain_that_ends_in_noise_alone_can_be_scored_carried_assessed_and_reported(tmp_path):
    schedule = NoiseSchedule(torch.cat([SCHEDULE.log_snr, torch.tensor([-math.inf]).double()]))
    estimator = Diffusion(schedule=schedule, denoiser=Residual(8, 1), max_steps=20, random_state=0, verbose=False).fit(
        ROWS.numpy()
    )
    model, x = estimator.model_, ROWS[:40].numpy()
    near = dataclasses.replace(model, schedule=NoiseSchedule(schedule.log_snr[:-1]))
    scores = estimator.log_density(x)
    torch.testing.assert_close(scores.log_prob, log_density(near, x).log_prob, atol=0.05, rtol=0)
    np.testing.assert_allclose(estimator.from_latent(estimator.to_latent(x)), x, atol=1e-2)
    fidelity = assess(model, x, training=ROWS[40:].numpy(), stream=STREAM, n_pairs=2, baselines=False)
    write_report(tmp_path / "r.html", fidelity, model, stream=STREAM)
    assert json.dumps(report_record(fidelity, model), allow_nan=False)


def test_what_is_no_denoiser_is_refused():
    for denoiser in (lambda x_t, _: x_t, GaussianDenoiser, 5):
        with pytest.raises(InvalidInput, match="with a log_snr_range and a device"):
            oracle_model(denoiser, ROWS, SCHEDULE)
