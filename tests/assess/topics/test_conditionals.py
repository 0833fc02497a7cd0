"""Assessments of fits with levels in an order of the user's, with gaps that are generated, and with conditions."""

from functools import cache, partial

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from backwalk import Diffusion, Levels
from backwalk.assess import assess
from backwalk.assess.baselines import FeatureMap
from backwalk.assess.representation import Representation, kinds_of
from backwalk.assess.topics import conditionals, likelihood
from backwalk.assess.topics.conditionals import measure_consistency, predict_levels, score_levels
from backwalk.assess.topics.posteriors import score_posteriors
from backwalk.denoiser import Residual
from backwalk.inference import ParameterConditional
from backwalk.model import log_density
from backwalk.streams import Stream
from backwalk.table import as_table

ORDER = (5.0, 1.0, 2.0, 4.0)
SMALL = {"max_steps": 2, "denoiser": Residual(8, 1), "random_state": 0, "verbose": False}


def frame(n, seed, gaps=()):
    draw = np.random.default_rng(seed)
    table = pd.DataFrame(
        {"size": draw.normal(size=n), "rating": draw.choice(ORDER, n), "weight": draw.normal(size=n) + 2.0}
    )
    for name in gaps:
        table.loc[draw.random(n) < 0.3, name] = np.nan
    return table


@pytest.fixture(autouse=True, scope="module")
def coarse():
    with pytest.MonkeyPatch.context() as patch:
        for module in (likelihood, conditionals):
            patch.setattr(module, "log_density", partial(log_density, n_intervals=4))
        patch.setattr(conditionals, "N_GIVEN", 40)
        yield


@cache
def ordered():
    """A model of ratings in another order than that of their values."""
    return Diffusion(columns={"rating": Levels(order=list(ORDER))}, **SMALL).fit(frame(200, 0)).model_


@cache
def with_generated_gaps():
    """A model of ratings, sizes and weights, whose ratings and sizes may be missing."""
    return Diffusion(missing="generate", conditions="any", **SMALL).fit(frame(200, 0, ("rating", "size"))).model_


def values(model, *args):
    return as_table(frame(*args)).values[:, [list(frame(1, 0)).index(name) for name in model.schema.names]]


@pytest.mark.slow
@pytest.mark.usefixtures("cheap_scores")
def test_levels_in_the_order_of_the_user_are_assessed():
    model = ordered()
    assert kinds_of(model.codec)[1].levels == ORDER
    found = assess(model, frame(60, 1), training=frame(200, 0), stream=Stream(0), n_pairs=2, n_rows=40)
    assert [scores.column for scores in found.conditionals.levels] == [1]
    rows = values(model, 60, 1)
    features = FeatureMap(model.codec)
    assert_array_equal(features.decode(features.encode(rows))[:, 1], rows[:, 1])


@pytest.mark.slow
def test_generated_gaps_of_levels_are_compared_and_not_laid_over():
    model = with_generated_gaps()
    rows = values(model, 200, 0, ("rating", "size"))
    rating = kinds_of(model.codec)[1]
    assert rating.generates_gaps
    assert not np.isnan(rating.levels).any()
    assert Representation.of_table(model.codec, rows).gaps is None
    features = FeatureMap(model.codec)
    assert_array_equal(features.decode(features.encode(rows))[:, 1], rows[:, 1])


def test_predictions_of_levels_leave_out_the_missing_one():
    model, rows = with_generated_gaps(), values(with_generated_gaps(), 50, 1, ("rating", "size"))
    block = next(i for i, block in enumerate(model.codec.blocks) if block.column == 1)
    p = predict_levels(model, rows, block)
    assert p.shape == (50, 4)
    assert_allclose(p.sum(axis=1), 1.0)
    (own,) = score_levels(model, rows, rows, None, Stream(0))
    assert own.n_levels == 4


@pytest.mark.slow
def test_ranks_are_those_of_parameters_that_always_have_a_value():
    model, rows = with_generated_gaps(), values(with_generated_gaps(), 30, 2, ("rating", "size"))
    found = score_posteriors(model, rows, [1], stream=Stream(0), n_draws=3)
    assert found.parameters == (2,)
    assert len(found.ranks) == 1
    assert found.n_pairs == 30


@pytest.mark.slow
def test_missing_data_are_integrated_out_of_densities_as_of_draws():
    """A model of gaps that are generated conditioned densities on the gap, and draws on nothing."""
    model, rows = with_generated_gaps(), values(with_generated_gaps(), 30, 2, ("rating",))
    found = ParameterConditional(model, [1, 2], [0], None).log_prob_paired(rows[:, :1], rows)
    gap = np.isnan(rows[:, 1])
    assert 0 < gap.sum() < 30
    for at, given in ((gap, [2]), (~gap, [1, 2])):
        own = log_density(model, rows[at], given=given, columns=[0], with_error=False).log_prob.numpy()
        assert_allclose(found[at], own, rtol=1e-5)


@pytest.mark.slow
def test_rows_with_a_gap_in_a_fixed_set_of_given_columns_are_left_out():
    fitted = Diffusion(conditions=[["size", "rating"]], **SMALL).fit(frame(200, 0, ("size",)))
    rows = values(fitted.model_, 30, 2, ("size",))
    found = score_posteriors(fitted.model_, rows, [0, 1], stream=Stream(0), n_draws=3)
    assert found.n_pairs == (~np.isnan(rows[:, 0])).sum() < 30


@pytest.mark.slow
def test_rows_go_to_the_device_of_the_denoiser(monkeypatch):
    """The meta device stands for any other: what arrives there is not on the CPU."""
    model, seen = with_generated_gaps(), []
    monkeypatch.setattr(type(model.denoiser), "device", property(lambda _: torch.device("meta")))

    def levels(_denoiser, codec, z, known, block):
        seen.extend([z.device.type, known.device.type])
        return torch.zeros(len(z), codec.blocks[block].n_levels)

    monkeypatch.setattr(conditionals, "level_log_probs", levels)
    rows = values(model, 20, 1, ("rating",))
    predict_levels(model, rows, 0)
    assert seen == ["meta", "meta"]


@pytest.mark.slow
def test_the_self_test_sees_probabilities_of_levels_that_are_wrong(monkeypatch):
    """Found by review: one random split was 0 by construction where one half had all levels."""
    fitted = Diffusion(conditions="any", **SMALL).fit(frame(200, 0)).model_
    found = measure_consistency(fitted, values(fitted, 80, 1), Stream(0))
    assert found.single_levels.value < 0.05  # almost untrained, of independent columns
    given_numbers = conditionals.log_density

    def wrong(model, rows, *, given=(), **options):
        found = given_numbers(model, rows, given=given, **options)
        found.log_prob.sub_(0.4 if 1 in options.get("columns", ()) and given else 0.0)
        return found

    monkeypatch.setattr(conditionals, "log_density", wrong)
    worse = measure_consistency(fitted, values(fitted, 80, 1), Stream(0))
    assert worse.single_levels.value > 0.3
    assert worse.halves.value > 0.3
    assert worse.orders is None
