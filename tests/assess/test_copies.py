"""Copies: an overfitted model is found, and one that knows nothing of its training rows is within its null.

Statistical tests have a false-alarm rate of 1e-8, where no other is stated.
"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import roc_auc_score

from backwalk.assess import assess, copies, fit_baseline
from backwalk.assess.copies import area_under_roc, nearest_row_share, score_halves
from backwalk.diffusion import NoiseSchedule
from backwalk.errors import InvalidInput
from backwalk.fit import trained_rows
from backwalk.fit.oracle import oracle_model
from backwalk.streams import Stream
from tests.empirical import EmpiricalDenoiser

from .moons import MOONS, TRAINING, UNSEEN, assessed, fitted

pytestmark = pytest.mark.usefixtures("cheap_scores")
Z = stats.norm.isf(0.5e-8)


def normal(seed, n, d=2):
    return Stream(seed).normal(0, n, d).numpy()


def test_the_area_is_that_of_scikit_learn_and_its_error_delong_s():
    """With ties and infinite scores on both sides."""
    x = np.append(np.round(normal(0, 40)[:, 0] + 0.5, 1), [-1e9, 1e9])
    y = np.append(np.round(normal(1, 30)[:, 0], 1), [-1e9, -1e9])
    infinite = [np.where(scores > 1e8, np.inf, np.where(scores < -1e8, -np.inf, scores)) for scores in (x, y)]
    found = area_under_roc(*infinite)
    assert found.value == pytest.approx(roc_auc_score(np.repeat([1, 0], [len(x), len(y)]), np.append(x, y)))
    wins = (x[:, None] > y).astype(float) + 0.5 * (x[:, None] == y)
    error = (wins.mean(axis=1).var(ddof=1) / len(x) + wins.mean(axis=0).var(ddof=1) / len(y)) ** 0.5
    assert found.standard_error == pytest.approx(error, abs=1e-12)
    with pytest.raises(InvalidInput, match="none of them NaN"):
        area_under_roc([1.0, 2.0], [np.nan, 1.0])


def test_exchangeable_rows_are_beyond_two_errors_as_often_as_a_normal():
    """Of 400 pairs of sets 4.6 % on average; the bounds have a false-alarm rate of 1e-6."""
    areas = [area_under_roc(scores[:60], scores[60:]) for scores in np.random.default_rng(0).normal(size=(400, 150))]
    beyond = sum(abs(area.value - 0.5) > 2.0 * area.standard_error for area in areas)
    low, high = stats.binom.ppf([5e-7, 1 - 5e-7], 400, 0.0455)
    assert low <= beyond <= high


def test_copies_are_found():
    training = normal(0, 60)
    near = training[:40] + 1e-9
    assert nearest_row_share(near, training, normal(1, 500), stream=Stream(0)).value == 1.0
    assert nearest_row_share(near, normal(1, 60), training, stream=Stream(0)).value == 0.0
    same = nearest_row_share(normal(1, 100), training[:30], training[29::-1], stream=Stream(0))
    assert (same.value, same.standard_error) == (0.5, 0.0)  # ties count half, whatever the labels


def test_the_error_of_the_share_is_that_of_repeating_the_study():
    """600 generated rows, 20 + 20 real ones: which real rows lie where decides, not the number of generated rows."""
    studies = [
        nearest_row_share(normal(3 * k, 600), normal(3 * k + 1, 20), normal(3 * k + 2, 25), stream=Stream(k))
        for k in range(200)
    ]
    deviation = np.array([study.value - 0.5 for study in studies])
    error = np.array([study.standard_error for study in studies])
    assert abs(deviation.mean()) < Z * deviation.std() / 200**0.5
    assert abs(np.mean((deviation / error) ** 2) - 1.0) < Z * (2.0 / 200) ** 0.5
    assert np.mean(deviation**2) > 5.0 * 0.25 / 600


def test_many_training_rows_are_no_memory():
    """Rows of a density lie nearest to the larger of two sets of it: here in some ten of eleven cases."""
    study = nearest_row_share(normal(0, 500), normal(1, 5000), normal(2, 500), stream=Stream(0))
    assert abs(study.value - 0.5) < Z * study.standard_error


def test_a_denoiser_of_the_training_rows_is_found():
    schedule = NoiseSchedule.log_snr_uniform(40, log_snr_max=8.0, log_snr_min=-8.0)
    model = oracle_model(EmpiricalDenoiser(torch.from_numpy(TRAINING[:80])), TRAINING[:80], schedule)
    found = assess(model, UNSEEN[:60], training=TRAINING[:80], stream=Stream(0), n_pairs=2, baselines=False)
    assert found.copies.repeats
    assert found.copies.strongest.area.value > 0.9
    repeated, recognised = found.copies.warnings(model.schema)
    assert "repeats training rows" in repeated
    assert "can be recognised: ln p is higher" in recognised
    assert found.answers[-2].text.startswith("It repeats training rows")


@pytest.mark.slow
def test_a_short_fit_is_within_its_null():
    found = assessed().copies
    assert len(found.tests) == 2
    share = found.nearest_row_share
    assert abs(share.value - 0.5) < 5.0 * share.standard_error
    for test in found.tests:
        assert abs(test.area.value - 0.5) < 5.0 * test.area.standard_error
    assert not list(found.warnings(fitted().schema))
    trained = trained_rows(fitted().card, TRAINING)
    assert found.n_trained == trained.sum() == assessed().checks.n_training < len(TRAINING)


def scored(trained, unseen, score=MOONS.log_prob):
    of_trained, of_unseen = (np.asarray(score(rows), dtype=float) for rows in (trained, unseen))
    return SimpleNamespace(trained=trained, log_p_trained=of_trained, rows=unseen, log_p_model=of_unseen)


def row_sets(trained, unseen):
    whole = SimpleNamespace(encode=lambda rows: rows, coordinates=slice(None))
    return SimpleNamespace(
        trained=trained, unseen=unseen, representation=whole, represented=MOONS.sample(60, random_state=9)
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gaussian-mixture", "kernel"])
def test_the_ratio_of_a_density_that_saw_no_row_has_its_null(kind):
    """Fitted to the tested training rows, a kernel density would have an area of about .3, which hides a memory."""
    best, z = fit_baseline(kind, TRAINING, fitted()), []
    for k in range(10):
        rows = MOONS.sample(160, random_state=100 + k)
        sets = row_sets(rows[:80], rows[80:])
        _, test = copies.score(fitted(), sets, scored(rows[:80], rows[80:]), best, Stream(k)).tests
        z.append((test.area.value - 0.5) / test.area.standard_error)
    assert abs(np.mean(z)) < 5.0 / 10**0.5
    assert np.std(z) == pytest.approx(1.0, abs=0.9)


def test_no_row_is_scored_by_a_baseline_that_was_fitted_to_it():
    class Noted:
        def refit(self, rows, *_):
            known = set(map(tuple, rows))
            return SimpleNamespace(
                log_prob_of_rows=lambda scored, **_: np.array([tuple(row) in known for row in scored], dtype=float)
            )

    rows = np.concatenate([TRAINING[:31], UNSEEN[:18]])
    assert not score_halves(Noted(), fitted(), rows, 31, Stream(0)).any()
