"""The calibration of posteriors in an assessment and its page, for an exact model and for one that is too narrow.

Statistical tests have a false-alarm rate of 1e-8.
"""

import json
from dataclasses import replace
from functools import cache, partial

import numpy as np
import pytest
import torch

from backwalk.assess import assess, posteriors, render_report
from backwalk.assess.posteriors import choose_given, find_references
from backwalk.diffusion import GaussianDenoiser, NoiseSchedule
from backwalk.errors import InvalidInput
from backwalk.fit.oracle import oracle_model
from backwalk.inference import conditionals
from backwalk.model import log_density
from backwalk.streams import Stream
from backwalk.table import Codec, ConstantColumn, NumberColumn

COVARIANCE = np.array([[1.0, 0.2, 0.9], [0.2, 1.0, 0.5], [0.9, 0.5, 1.5]])  # two parameters and a datum
ROWS = np.random.default_rng(0).multivariate_normal(np.zeros(3), COVARIANCE, 300)


@cache
def model(kind="exact"):
    """An exact model; a narrow one, of a third of the variance of the parameters that the datum leaves open; or one
    whose posterior is the prior."""
    covariance = COVARIANCE.copy()
    if kind == "narrow":
        gain = COVARIANCE[:2, 2:] @ COVARIANCE[2:, :2] / COVARIANCE[2, 2]
        covariance[:2, :2] = gain + (COVARIANCE[:2, :2] - gain) / 3.0
    if kind == "prior":
        covariance[:2, 2] = covariance[2, :2] = 0.0
    denoiser = GaussianDenoiser(torch.zeros(3).double(), torch.from_numpy(covariance))
    schedule = NoiseSchedule.log_snr_uniform(50, log_snr_max=12.0, log_snr_min=-14.0)
    return oracle_model(denoiser, ROWS, schedule)


@cache
def scores(kind="exact", n_pairs=100):
    return posteriors.score(model(kind), ROWS, [2], stream=Stream(0), n_pairs=n_pairs, n_draws=19)


@pytest.fixture(autouse=True, scope="module")
def coarse_densities():
    """Densities by a quarter of the solver's intervals: ranks of densities need no more."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conditionals, "log_density", partial(log_density, n_intervals=4))
        yield


@pytest.mark.slow
def test_an_exact_model_is_calibrated():
    found = scores()
    assert (found.parameters, found.given, found.n_pairs, found.n_draws) == ((0, 1), (2,), 100, 19)
    assert min(found.expected_coverage.p_value, found.tarp.p_value, *(r.p_value for r in found.ranks)) > 1e-8


def test_data_far_from_the_fitted_rows_are_warned_of_where_there_are_too_many():
    schema, found = model().schema, scores(n_pairs=20)
    assert found.n_far == 0
    assert not any("far" in text for text in replace(found, n_far=1, n_pairs=400).warnings(schema))
    assert any("5 lie far" in text for text in replace(found, n_far=5, n_pairs=400).warnings(schema))


def test_references_are_the_parameters_of_the_row_before_with_the_nearest_data():
    data, parameters = np.array([[0.0], [5.0], [4.5], [0.1]]), np.arange(8.0).reshape(4, 2) + 1.0
    nearest = [[0, 0], [1, 2], [3, 4], [1, 2]]
    np.testing.assert_array_equal(find_references(parameters, data, may_repeat=False), nearest)
    in_other_units = np.hstack([data, [[0.0], [0.0], [1e-9], [0.0]]])  # as far in deviations as the first column is
    np.testing.assert_array_equal(find_references(parameters, in_other_units, may_repeat=False)[3], [1, 2])
    np.testing.assert_array_equal(
        find_references(parameters, 0.0 * data, may_repeat=False)[1:], np.tile([1, 2], (3, 1))
    )
    twice, at = np.repeat(parameters, 2, axis=0), np.repeat(data, 2, axis=0)
    assert (find_references(twice, at, may_repeat=False) != twice).any(axis=1).all()
    np.testing.assert_array_equal(find_references(twice, at, may_repeat=True)[1::2], parameters)


def test_constant_columns_may_be_given():
    codec = Codec((*(NumberColumn(0.0, 1.0) for _ in range(2)), ConstantColumn(2.0)))
    denoiser = GaussianDenoiser(torch.zeros(2).double(), torch.from_numpy(COVARIANCE[:2, :2]))
    schedule = NoiseSchedule.log_snr_uniform(50, log_snr_max=12.0, log_snr_min=-14.0)
    rows = np.hstack([ROWS[:40, :2], np.full((40, 1), 2.0)])
    constant = oracle_model(denoiser, rows, schedule, codec=codec)
    found = posteriors.score(constant, rows, [2], stream=Stream(0), n_pairs=40, n_draws=19)
    assert found.tarp.p_value > 1e-8


def test_the_declared_columns_are_those_given_or_the_only_set_of_the_fit():
    free = model()
    assert choose_given(free, None) is None
    assert choose_given(free, [2]) == (2,)
    one = replace(free, conditions=((1, 2),))
    assert choose_given(one, None) == (1, 2)
    assert choose_given(replace(free, conditions=((1,), (2,))), None) is None
    with pytest.raises(InvalidInput, match="given"):
        choose_given(free, [0, 1, 2])
    with pytest.raises(InvalidInput, match="conditions"):
        choose_given(one, [2])


@pytest.mark.slow
@pytest.mark.usefixtures("cheap_scores", "undrawn")
def test_an_assessment_has_them_as_json_on_its_page_and_among_its_warnings():
    narrow = model("narrow")
    fidelity = assess(narrow, ROWS[:50], given=["x3"], stream=Stream(0), n_pairs=2, n_rows=50)
    record = json.loads(json.dumps(fidelity.to_dict(), allow_nan=False))["posteriors"]
    assert record["given"] == [2]
    assert len(record["expected_coverage"]["coverage"]) == len(record["tarp"]["levels"]) == 41
    assert any("not calibrated" in warning and "x₃" in warning for warning in fidelity.warnings)
    page = render_report(fidelity, narrow, stream=Stream(1))
    assert "Are posteriors given x₃ calibrated?" in page
