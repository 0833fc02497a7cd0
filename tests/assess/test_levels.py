"""Predictions of columns by an exact model, and by trees. Statistical tests: false-alarm rate 1e-8."""

from functools import cache

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from backwalk import Diffusion, Levels
from backwalk.assess import levels
from backwalk.assess.levels import frequency_probabilities, level_probabilities, predict_levels, utility
from backwalk.assess.statistics.columns import ColumnKind
from backwalk.denoiser import Residual
from backwalk.errors import InvalidInput
from backwalk.streams import Stream
from backwalk.table import as_table

from .tables import model, parameters, table

ORDER = (5.0, 1.0, 2.0, 4.0)
SMALL = {"max_steps": 2, "denoiser": Residual(8, 1), "random_state": 0, "verbose": False}
TRAINING, UNSEEN = table(400, 1), table(160, 2)


def test_predictions_are_bayes_rule():
    p, means = parameters(0.0)
    row = np.array([[0.0, 11.0, 1.0, 1.5]])
    joint = p[:, 1, 1, 1] * np.exp(-0.5 * ((0.5 - means[:, 1, 1, 1]) / 0.6) ** 2)
    assert_allclose(predict_levels(model(), row, 0)[0], joint / joint.sum(), atol=1e-5)
    dry = p[:, 0, 1, :].sum(axis=1)
    assert_allclose(predict_levels(model(), np.array([[0.0, 0.0, 1.0, np.nan]]), 0)[0], dry / dry.sum(), atol=1e-5)


@pytest.mark.slow
def test_an_exact_model_is_calibrated():
    found = list(levels.score_levels(model(), UNSEEN, TRAINING, None, Stream(0)))
    assert [scores.column for scores in found] == [0, 2, 3]
    for scores in found:
        assert scores.reliability.excess < 6.0
        assert not scores.fails
        assert scores.loss.value < scores.frequencies.value
        assert scores.excess.value == pytest.approx(scores.loss.value - scores.trees.value)
    (number,) = levels.score_numbers(model(), UNSEEN[:60], model().codec.varying, Stream(0))
    assert number.column == 1
    assert number.ranks.p_value > 1e-8
    assert abs(number.coverage_90.value - 0.9) < 5.8 * (0.9 * 0.1 / 60) ** 0.5


def test_cells_of_rules_and_copies_are_no_columns():
    """Seen in a table of seasons and careers: cells of rules were scored as columns, and a report ended in an error."""
    rng = np.random.default_rng(0)
    season, before, price = rng.lognormal(3.0, 1.0, (3, 200))
    frame = pd.DataFrame({"season": season, "career": season + np.where(rng.random(200) < 0.3, 0.0, before)})
    frame = frame.assign(
        price=price, paid=np.where(rng.random(200) < 0.4, price, before), team=rng.choice(["a", "b"], 200)
    )
    fit = Diffusion(rules=["season <= career", "paid ?= price"], conditions="any", **SMALL).fit(frame).model_
    assert sum(block.column >= 5 for block in fit.codec.blocks) == 2
    rows = as_table(frame).values
    assert [scores.column for scores in levels.score_levels(fit, rows[:40], rows, None, Stream(0))] == [4]


@cache
def with_generated_gaps():
    """A model of ratings in an order of the user's and of sizes, which may be missing, and its rows."""
    draw = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"size": draw.normal(size=250), "rating": draw.choice(ORDER, 250), "weight": draw.normal(size=250) + 2.0}
    )
    for name in ("size", "rating"):
        frame.loc[draw.random(250) < 0.3, name] = np.nan
    fit = Diffusion(missing="generate", conditions="any", columns={"rating": Levels(order=list(ORDER))}, **SMALL)
    of_fit = fit.fit(frame[:200]).model_
    return of_fit, as_table(frame[200:][list(of_fit.schema.names)]).values


@pytest.mark.slow
def test_predictions_of_levels_leave_out_the_missing_one():
    of_fit, rows = with_generated_gaps()
    j = of_fit.schema.names.index("rating")
    block = next(i for i, block in enumerate(of_fit.codec.blocks) if block.column == j)
    p = predict_levels(of_fit, rows, block)
    assert p.shape == (50, 4)
    assert_allclose(p.sum(axis=1), 1.0)
    (own,) = levels.score_levels(of_fit, rows, rows, None, Stream(0))
    assert (own.column, own.n_levels) == (j, 4)


KINDS = (ColumnKind((0.0, 1.0, 2.0)), ColumnKind(), ColumnKind((0.0, 1.0)))


def taught(n, seed):
    u, noise = Stream(seed).uniform(0, n, 2).numpy(), Stream(seed).child("noise").normal(0, n, 1).numpy()[:, 0]
    level = np.floor(3 * u[:, 0])
    return np.column_stack([level, (level - 1.0) ** 2 + 0.3 * noise, u[:, 1] < np.where(level == 1.0, 0.9, 0.2)])


REAL, TEST = taught(300, 0), taught(200, 1)


@pytest.mark.parametrize("target", [1, 2])
def test_rows_of_the_truth_teach_as_much_as_real_rows(target):
    found = utility(taught(300, 2), REAL, TEST, KINDS, target, stream=Stream(0))
    shuffled = np.column_stack([column[Stream(5).child(j).permutation(300)] for j, column in enumerate(REAL.T)])
    useless = utility(shuffled, REAL, TEST, KINDS, target, stream=Stream(0))
    assert found.is_level == (target == 2)
    assert found.excess.value == pytest.approx(found.generated.value - found.real.value)
    assert abs(found.excess.value) < 5.7 * found.excess.standard_error + 0.05
    assert useless.is_worse
    assert useless.excess.value > 4.0 * useless.excess.standard_error
    assert found.real.value < 0.9 * found.constant.value


def test_a_rare_level_has_its_frequency():
    rows = REAL.copy()
    rows[:3, 0] = 7.0
    kinds = (ColumnKind((0.0, 1.0, 2.0, 7.0)), *KINDS[1:])
    p = level_probabilities(rows, TEST, kinds, 0, stream=Stream(0))
    assert_allclose(p.sum(axis=1), 1.0)
    assert_allclose(p[:, 3], (3 + 0.25) / 301)
    assert_allclose(frequency_probabilities(rows, 2, kinds[0], 0)[1, 3], (3 + 0.25) / 301)


def test_a_target_needs_training_rows_and_values():
    gaps = REAL.copy()
    gaps[19:, 2] = np.nan
    levels.check_target(2, REAL, TEST)
    levels.check_target(None, None, TEST)
    for trained, words in ((None, "needs training rows"), (gaps, "only 19 do")):
        with pytest.raises(InvalidInput, match=words):
            levels.check_target(2, trained, TEST)
    found = utility(gaps[:100], REAL, TEST, KINDS, 2, stream=Stream(0))
    assert (found.n_training, found.generated.n) == (19, 200)
