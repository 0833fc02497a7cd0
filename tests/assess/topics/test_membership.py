"""Membership: an overfitted model is found, one that knows nothing of its training rows is within its null."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from backwalk.assess.baselines import fit_baseline
from backwalk.assess.topics.likelihood import score_likelihood
from backwalk.assess.topics.membership import score_halves, score_membership
from backwalk.diffusion import NoiseSchedule
from backwalk.estimator import Diffusion
from backwalk.fit.oracle import oracle_model
from backwalk.streams import Stream
from tests.empirical import EmpiricalDenoiser

from ..moons import MOONS, SMALL, TRAINING, UNSEEN, assessed, fitted

pytestmark = pytest.mark.usefixtures("cheap_scores")


def scored(trained, unseen, score=MOONS.log_prob):
    of_trained, of_unseen = (np.asarray(score(rows), dtype=float) for rows in (trained, unseen))
    return SimpleNamespace(trained=trained, log_p_trained=of_trained, rows=unseen, log_p_model=of_unseen)


def test_a_denoiser_of_the_training_rows_is_found():
    schedule = NoiseSchedule.log_snr_uniform(40, log_snr_max=8.0, log_snr_min=-8.0)
    model = oracle_model(EmpiricalDenoiser(torch.from_numpy(TRAINING[:80])), TRAINING[:80], schedule)
    likelihood = score_likelihood(model, UNSEEN[:60], None, Stream(0), trained=TRAINING[:80])
    found = score_membership(model, likelihood, None, Stream(0))
    (test,) = found.tests
    assert test.area.value > 0.9
    assert test.found is None
    (warning,) = found.warnings()
    assert "Training rows can be recognised: ln p is higher" in warning


@pytest.mark.slow
def test_an_untrained_model_is_within_its_null():
    model = Diffusion(n_steps=40, max_steps=1, denoiser=SMALL, random_state=0, verbose=False).fit(TRAINING).model_
    likelihood = score_likelihood(model, UNSEEN, None, Stream(0), trained=TRAINING)
    best = fit_baseline("kernel", TRAINING, model)
    found = score_membership(model, likelihood, best, Stream(0))
    assert (found.n_trained, found.n_unseen, found.n_impossible) == (600, 400, 0)
    for test in found.tests:
        assert abs(test.area.value - 0.5) < 4.0 * test.area.standard_error
    assert not list(found.warnings())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gaussian-mixture", "kernel"])
def test_the_ratio_of_a_density_that_saw_no_row_has_its_null(kind):
    """Fitted to the tested training rows, a kernel density would have an area of about .3, which hides a memory."""
    best, z = fit_baseline(kind, TRAINING, fitted()), []
    for k in range(10):
        rows = MOONS.sample(160, random_state=100 + k)
        _, test = score_membership(fitted(), scored(rows[:80], rows[80:]), best, Stream(k)).tests
        z.append((test.area.value - 0.5) / test.area.standard_error)
    assert abs(np.mean(z)) < 5.0 / 10**0.5
    assert np.std(z) == pytest.approx(1.0, abs=0.9)


def test_no_row_is_scored_by_a_baseline_that_was_fitted_to_it():
    fits = []

    class Noted:
        def refit(self, rows, *_):
            known = set(map(tuple, rows))
            fits.append(len(rows))
            return SimpleNamespace(
                log_prob_of_rows=lambda scored, **_: np.array([tuple(row) in known for row in scored], dtype=float)
            )

    rows = np.concatenate([TRAINING[:31], UNSEEN[:18]])
    assert not score_halves(Noted(), fitted(), rows, 31, Stream(0)).any()
    assert fits == [16 + 9, 15 + 9]


def test_rows_that_the_model_cannot_make_are_no_training_rows():
    likelihood = scored(TRAINING[:50], UNSEEN[:40], lambda rows: np.zeros(len(rows)))
    found = score_membership(fitted(), likelihood, None, Stream(0), share_impossible=0.25)
    assert (found.n_unseen, found.n_impossible) == (50, 10)
    assert found.tests[0].area.value == pytest.approx(0.5 + 0.5 * 0.2)
    likelihood.log_p_model[:5] = -np.inf
    best = fit_baseline("kernel", TRAINING, fitted())
    assert all(np.isfinite(test.area.value) for test in score_membership(fitted(), likelihood, best, Stream(0)).tests)


def test_training_rows_are_those_that_were_trained_on():
    assert assessed().membership.n_trained == assessed().checks.n_training < len(TRAINING)
    assert len(assessed().membership.tests) == 2
    likelihood = score_likelihood(fitted(), UNSEEN[:20], None, Stream(0))
    assert score_membership(fitted(), likelihood, None, Stream(0)) is None
