"""The bounds that can be asked of a model: which chain, which variance; laws on a mixture whose density is known.

All bounds of a test share their noise, so differences between them are taken row by row. Statistical statements have a
false-alarm rate of 1e-8 each.
"""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from backwalk.denoiser import Residual
from backwalk.diffusion import (
    GaussianMixtureDenoiser,
    NoiseSchedule,
    denoising_error,
    variational_bound,
)
from backwalk.errors import InvalidInput
from backwalk.estimator import Diffusion
from backwalk.limits import REVERSE_VARIANCES
from backwalk.model import (
    bound,
    measure_denoising_error,
    reverse_variances,
)
from backwalk.streams import Stream

STREAM = Stream(31)
Z = stats.norm.isf(0.5e-8)
N = 40
SCHEDULE = NoiseSchedule.log_snr_uniform(N, log_snr_max=9.0, log_snr_min=-8.0)
WEIGHTS = torch.tensor([0.35, 0.65], dtype=torch.float64)
MEANS = torch.tensor([[-0.9, 0.5], [0.5, -0.3]], dtype=torch.float64)
COVARIANCES = torch.tensor([[[0.3, 0.0], [0.0, 0.01]], [[0.6, 0.4], [0.4, 0.3]]], dtype=torch.float64)
MIXTURE = MixtureSameFamily(Categorical(WEIGHTS), MultivariateNormal(MEANS, COVARIANCES))
CENTRE, SCALE = torch.tensor([3.0, -100.0]).double(), torch.tensor([0.5, 20.0]).double()


def draws(n, name):
    which = (STREAM.child(name, "which").uniform(0, n, 1)[:, 0] > WEIGHTS[0]).long()
    roots = torch.linalg.cholesky(COVARIANCES)
    return MEANS[which] + torch.einsum("nij,nj->ni", roots[which], STREAM.child(name, "x").normal(0, n, 2))


Z_ROWS = draws(1500, "rows")
ROWS = (CENTRE + SCALE * Z_ROWS).numpy()
LOG_P = MIXTURE.log_prob(Z_ROWS) - SCALE.log().sum()


def test_the_bound_of_levels_alone_is_their_probability():
    """Found by trying: a report of such a table ended in an error, as there are no patterns of no numbers."""
    frame = pd.DataFrame({"a": list("xyxz") * 10, "b": list("uuvv") * 10})
    model = Diffusion(max_steps=3, denoiser=Residual(8, 1), random_state=0, verbose=False).fit(frame)
    for kind in REVERSE_VARIANCES:
        terms = model.bound(frame[:8], reverse_variance=kind, random_state=0)
        np.testing.assert_allclose(terms.per_row, -model.score_samples(frame[:8]), rtol=1e-6)
        assert terms.total == pytest.approx(terms.levels)


@pytest.fixture(scope="module")
def model(oracle_in_units):
    exact = GaussianMixtureDenoiser(WEIGHTS, MEANS, COVARIANCES)
    return oracle_in_units(exact, SCHEDULE, draws(2048, "validation"), centre=CENTRE, scale=SCALE)


@pytest.fixture(scope="module")
def bounds(model):
    """The bound of a chain, each computed once."""
    known = {}

    def get(kind):
        if kind not in known:
            known[kind] = bound(model, ROWS, stream=STREAM, reverse_variance=kind)
        return known[kind]

    return get


def clearly_above(upper, lower):
    """Whether one bound lies above another, by more than the error of the difference."""
    off = upper.per_row - lower.per_row
    return float(off.mean()) > Z * float(off.std()) / len(off) ** 0.5


@pytest.mark.parametrize("kind", REVERSE_VARIANCES)
def test_a_bound_lies_above_the_truth(bounds, kind):
    excess = bounds(kind).per_row + LOG_P
    assert float(excess.mean()) > -Z * float(excess.std()) / len(excess) ** 0.5


def test_the_fitted_variances_lie_below_the_textbook_s(bounds):
    for kind in ("beta", "beta_tilde"):
        assert clearly_above(bounds(kind), bounds("optimal"))


@pytest.mark.parametrize("kind", REVERSE_VARIANCES)
def test_the_decoder_s_variance_is_a_choice(model, kind):
    for variance in (1e-4, 1e-2):
        got = bound(model, ROWS[:50], stream=STREAM, reverse_variance=kind, decoder_variance=variance)
        eps = STREAM.child("bound", 1, 0).normal(0, 50, 2)
        x_1 = SCHEDULE.alpha_bar[1].sqrt() * Z_ROWS[:50] + SCHEDULE.one_minus_alpha_bar[1].sqrt() * eps
        x_0_hat = model.denoiser(x_1, SCHEDULE.log_snr[1])
        expected = torch.distributions.Normal(x_0_hat, variance**0.5).log_prob(Z_ROWS[:50]).sum(1)
        assert got.reconstruction == pytest.approx(float(SCALE.log().sum() - expected.mean()), rel=2e-3)


def test_the_model_s_own_decoder_goes_with_its_own_variance(model):
    own = dataclasses.replace(model, decoder_variance=0.5)
    assert float(reverse_variances(own, [1, N])[1]) == 0.5
    assert float(reverse_variances(own, [1, N], reverse_variance="beta")[1]) == float(SCHEDULE.beta[1])
    assert float(reverse_variances(own, [3, N])[1]) == pytest.approx(float(model.denoising_error[3]))
    assert float(reverse_variances(own, [1, N], decoder_variance=0.1)[1]) == 0.1


def test_tiles_change_neither_the_terms_nor_their_errors(model, n_threads):
    got = bound(model, ROWS, stream=STREAM)
    z = torch.from_numpy(model.codec.encode(ROWS)).float()
    whole = variational_bound(model.denoiser, z, SCHEDULE, model.sigma_sq, stream=STREAM)
    shift = SCALE.log().sum()
    torch.testing.assert_close(got.per_row, whole.per_row + shift, rtol=1e-6, atol=1e-6)
    assert got.prior == pytest.approx(whole.prior)
    assert got.reconstruction == pytest.approx(whole.reconstruction + float(shift), rel=1e-6)
    torch.testing.assert_close(got.transitions, whole.transitions, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(
        got.transitions_standard_error, whole.transitions_standard_error, rtol=1e-5, atol=1e-9, equal_nan=True
    )
    for name in ("prior_standard_error", "reconstruction_standard_error", "total_standard_error"):
        assert getattr(got, name) == pytest.approx(getattr(whole, name), rel=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reverse_variance": "learned"}, "reverse_variance should be one of beta, beta_tilde, optimal"),
        ({"decoder_variance": -1.0}, "decoder_variance should be"),
        ({"decoder_variance": math.nan}, "decoder_variance should be"),
        ({"n_draws": 0}, "n_draws should be an integer >= 1, but got 0"),
    ],
)
def test_refused(fitted, rows, options, message):
    with pytest.raises(InvalidInput, match=message):
        fitted.bound(rows[:5], **options)


def test_the_bound_is_the_chain_s_plus_the_units(fitted, rows):
    """The rows are bounded in two pieces, in which each has its own noise."""
    model = fitted.model_
    terms = bound(model, rows, stream=STREAM)
    z = torch.from_numpy(model.codec.encode(rows)).float()
    plain = variational_bound(model.denoiser, z, model.schedule, model.sigma_sq, stream=STREAM)
    shift = math.log(model.codec.columns[0].scale * model.codec.columns[2].scale)
    torch.testing.assert_close(terms.per_row, plain.per_row + shift, rtol=1e-4, atol=1e-4)
    assert terms.reconstruction == pytest.approx(plain.reconstruction + shift)
    assert terms.prior + float(terms.transitions.sum()) + terms.reconstruction == pytest.approx(terms.total)


def test_denoising_error_is_measured_at_some_steps_and_interpolated(fitted):
    model = fitted.model_
    z = STREAM.normal(0, 400, 2, torch.float32)
    options = {"stream": STREAM, "n_levels": 30}
    every = measure_denoising_error(model.denoiser, z, model.schedule, **options)
    exact = denoising_error(model.denoiser, z.repeat(6, 1), model.schedule, stream=STREAM)
    torch.testing.assert_close(every, exact)
    some = measure_denoising_error(model.denoiser, z, model.schedule, stream=STREAM, n_levels=10)
    assert some.shape == every.shape
    torch.testing.assert_close(some, every, rtol=0.2, atol=0.0)


def test_rows_that_are_all_at_atoms_leave_nothing_to_denoise():
    """Four of 304 rows have a price of their own, and none of the held-out rows: the fit ended in an error."""
    generator = np.random.default_rng(0)
    prices = generator.choice(10**6, 34, replace=False)
    rows = pd.DataFrame(
        {"price": np.append(np.repeat(prices[:30], 10), prices[30:]), "red": generator.random(304) < 0.5}
    )
    model = Diffusion(max_steps=20, random_state=0, verbose=False).fit(rows)
    assert model.columns_["price"] == "atoms"
    torch.testing.assert_close(model.model_.denoising_error, model.model_.schedule.one_minus_alpha_bar)
    assert len(model.sample(100, random_state=0)) == 100
