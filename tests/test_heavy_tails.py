"""Heavy-tailed columns, end to end: what is known of a model in encoded units, carried through a bent codec.

The exact denoiser of Gaussian data stands in for a network, so that the rows in the user's units are sinh-normal and
every figure has a closed form.
"""

import numpy as np
import pandas as pd
import pytest
import torch

from backwalk.denoiser import Residual
from backwalk.diffusion import GaussianDenoiser, NoiseSchedule
from backwalk.estimator import Diffusion
from backwalk.fit.oracle import oracle_model
from backwalk.model import bound, log_density
from backwalk.streams import Stream
from backwalk.table import Asinh, Codec, ConstantColumn, NumberColumn

pytestmark = pytest.mark.slow

STREAM = Stream(77)
MEAN, COVARIANCE = torch.tensor([0.4, -0.3]).double(), torch.tensor([[1.0, 0.72], [0.72, 0.64]]).double()
SCHEDULE = NoiseSchedule.log_snr_uniform(50, log_snr_max=8.0, log_snr_min=-9.0)
Z = (MEAN + STREAM.normal(0, 300, 2) @ torch.linalg.cholesky(COVARIANCE).T).numpy()
BENT = Codec((NumberColumn(0.2, 1.5, asinh=Asinh(3.0, 0.5)), ConstantColumn(7.0), NumberColumn(-100.0, 20.0)))
PLAIN = Codec((NumberColumn(0.0, 1.0), NumberColumn(0.0, 1.0)))


def model_of(codec):
    return oracle_model(GaussianDenoiser(MEAN, COVARIANCE), codec.decode(Z), SCHEDULE, codec=codec)


@pytest.mark.slow
def test_densities_and_bounds_are_moved_by_each_row_s_own_volume():
    rows = BENT.decode(Z)
    volume = np.log(1.5 * np.hypot(rows[:, 0] - 3.0, 0.5)) + np.log(20.0)
    bent, plain = model_of(BENT), model_of(PLAIN)
    np.testing.assert_allclose(
        log_density(bent, rows).log_prob.numpy(), log_density(plain, Z).log_prob.numpy() - volume, rtol=1e-9
    )
    for variance in ("optimal", "beta"):
        ours, theirs = (
            bound(model, x, stream=STREAM, reverse_variance=variance) for model, x in ((bent, rows), (plain, Z))
        )
        np.testing.assert_allclose(ours.per_row.numpy(), theirs.per_row.numpy() + volume, rtol=1e-9)
        assert ours.total == pytest.approx(ours.prior + float(ours.transitions.sum()) + ours.reconstruction, rel=1e-9)
        assert (ours.transitions == theirs.transitions).all()
        assert (ours.prior, ours.prior_standard_error) == (theirs.prior, theirs.prior_standard_error)


@pytest.fixture(scope="module")
def tables():
    rng = np.random.default_rng(0)

    def table(n):
        z = rng.normal(size=n)
        amount = 50.0 * np.exp(2.0 * z)
        return pd.DataFrame(
            {"amount": amount, "mood": z + rng.normal(size=n), "hits": rng.poisson(amount).astype(np.int64)}
        )

    return table(3000), table(1500)


@pytest.fixture(scope="module")
def fitted(tables):
    settings = {"n_steps": 50, "denoiser": Residual(32, 2, 1), "max_steps": 300}
    return Diffusion(**settings, random_state=0, verbose=False).fit(tables[0])


def test_a_fit_meets_the_scale_of_every_decade(fitted, tables):
    """Unbent, the whole lower half of the amounts lies within a hundredth of a standard deviation."""
    assert [bool(column.asinh) for column in fitted.codec_.columns] == [True, False, True]
    made = fitted.sample(4000, random_state=1)
    assert made["hits"].dtype == np.int64
    for share in (0.05, 0.25, 0.5, 0.75, 0.95):
        # A quantile of exp(2 z), in units of ln: 2 sqrt(q (1 - q) / n) / pdf is 0.09 at most for the two, and a fit of
        # 300 steps may err by a tenth of a standard deviation of z.
        off = np.log(made["amount"].clip(lower=1e-9).quantile(share) / tables[1]["amount"].quantile(share))
        assert abs(off) < 6 * 0.09 + 0.2, share
    assert fitted.codec_.columns[0].asinh.centre == 0.0
    assert (made["amount"] > 0).all()  # the logarithm of rows of one sign keeps it
