"""Scores of a table with levels, atoms and gaps by a model in closed form. Statistical tests: false-alarm rate 1e-8."""

import json
from dataclasses import replace
from functools import cache, partial

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from backwalk.assess import assess
from backwalk.assess.representation import Representation, kinds_of
from backwalk.assess.topics import closeness, conditionals, likelihood
from backwalk.assess.topics.conditionals import predict_levels, score_levels
from backwalk.assess.topics.memorisation import measure_training_gain
from backwalk.model import log_density
from backwalk.streams import Stream
from backwalk.table import Codec, Grid, NumberColumn

from .tables import frame, log_prob, model, parameters, table

TRAINING, UNSEEN = table(400, 1), table(160, 2)


@pytest.fixture(autouse=True, scope="module")
def cheap():
    """Few draws, coarse log-densities, and a distance for the classifiers, which tests of the evaluation try."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(closeness, "c2st", lambda x, y, **_: 0.5 + abs(float(np.nanmean(x) - np.nanmean(y))))
        for module in (likelihood, conditionals):  # whose error here is that of 16 intervals, too
            patch.setattr(module, "log_density", partial(log_density, n_intervals=4))
        patch.setattr(conditionals, "N_GIVEN", 60)
        patch.setattr(conditionals, "N_DRAWN", 60)
        patch.setattr(conditionals, "N_TESTED", 60)
        yield


@cache
def assessed():
    return assess(
        model(), frame(UNSEEN), training=frame(TRAINING), stream=Stream(0), n_pairs=2, target="flag", n_rows=80
    )


def with_gaps(rows, seed):
    return np.where(Stream(seed).uniform(0, *rows.shape).numpy() < 0.15, np.nan, rows)


@pytest.mark.slow
def test_statistics_are_those_of_the_kinds():
    names = [figure.name for figure in assessed().model.figures]
    assert names[4:6] == [closeness.WORST_COLUMN, closeness.ASSOCIATIONS]
    assert [figure.name for figure in assessed().columns.figures] == ["region", "rain", "flag", "grade"]
    assert [scores.name.partition(" (")[0] for scores in assessed().baselines] == [
        "Independent columns",
        "Product mixture",
        "Trees, column by column",
    ]
    for scores in assessed().baselines:
        assert [figure.null for figure in scores.figures] == [figure.null for figure in assessed().model.figures]


def test_log_probabilities_of_mixed_rows_are_comparable():
    """The exact model loses nothing to the truth but its solver's error; independent columns lose their association."""
    fidelity = assessed()
    truth = -log_prob(UNSEEN).mean()
    assert fidelity.model.negative_log_density.value == pytest.approx(truth, abs=0.01)
    independent, mixture, trees = (scores.negative_log_density.value for scores in fidelity.baselines)
    assert truth + 0.05 < independent
    assert truth - 0.02 < mixture < independent
    assert truth - 0.02 < trees < truth + 0.5
    assert fidelity.baselines[0].advantage.value == pytest.approx(
        fidelity.model.negative_log_density.value - independent, abs=1e-9
    )


def test_conditionals_are_bayes_rule():
    p, means = parameters(0.0)
    row = np.array([[0.0, 11.0, 1.0, 1.5]])
    joint = p[:, 1, 1, 1] * np.exp(-0.5 * ((0.5 - means[:, 1, 1, 1]) / 0.6) ** 2)
    assert_allclose(predict_levels(model(), row, 0)[0], joint / joint.sum(), atol=1e-5)
    dry = p[:, 0, 1, :].sum(axis=1)
    assert_allclose(predict_levels(model(), np.array([[0.0, 0.0, 1.0, np.nan]]), 0)[0], dry / dry.sum(), atol=1e-5)


def test_an_exact_model_is_calibrated_and_agrees_with_itself():
    scores_of_table = assessed().conditionals
    assert [scores.column for scores in scores_of_table.levels] == [0, 2, 3]
    for scores in scores_of_table.levels:
        assert scores.reliability.excess < 6.0
        assert scores.loss.value < scores.frequencies.value
        assert scores.excess.value == pytest.approx(scores.loss.value - scores.trees.value)
    (number,) = scores_of_table.numbers
    assert number.column == 1
    assert number.ranks.p_value > 1e-8
    assert abs(number.coverage_90.value - 0.9) < 5.8 * (0.9 * 0.1 / 60) ** 0.5
    assert scores_of_table.self_test.halves.value < 0.02
    assert scores_of_table.self_test.single_levels.value < 0.02
    assert scores_of_table.self_test.orders.value < 1e-5
    prediction = assessed().prediction
    assert prediction.target == 2
    assert abs(prediction.excess.value) < 5.8 * prediction.excess.standard_error + 0.05


def test_levels_of_training_rows_are_scored_as_those_of_unseen_ones():
    for scores in assessed().conditionals.levels:
        gain = scores.training_gain
        assert gain.n == len(TRAINING) + len(UNSEEN)
        assert abs(gain.value) < 5.8 * gain.standard_error  # the exact model remembers nothing
    for scores in score_levels(model(), UNSEEN, UNSEEN, None, Stream(0)):
        assert scores.training_gain.value == pytest.approx(0.0, abs=1e-12)
        assert scores.training_gain.standard_error == pytest.approx(2**0.5 * scores.loss.standard_error)
    (first, *_) = score_levels(model(), UNSEEN, None, None, Stream(0))
    assert first.on_training is first.training_gain is None


def test_panels_hold_rows_given_a_level():
    panels = assessed().conditionals.panels
    assert {panel.given for panel in panels} == {panels[0].given}
    for panel in panels:
        assert len(panel.drawn) == 60
        held = UNSEEN[UNSEEN[:, panel.given] == panel.level, panel.column]
        assert_array_equal(panel.real, held)


def test_the_record_is_plain_json_without_rows():
    record = json.loads(json.dumps(assessed().to_dict(), allow_nan=False))
    assert "panels" not in record["conditionals"]
    assert record["conditionals"]["levels"][0]["n_levels"] == 3
    gain = assessed().memorisation.training_gain
    assert abs(gain.value) < 6 * gain.standard_error


@pytest.mark.slow
def test_gaps_are_those_of_training_rows_in_all_models():
    training, unseen = with_gaps(TRAINING, 3), with_gaps(UNSEEN, 4)
    fidelity = assess(
        model(), frame(unseen), training=frame(training), stream=Stream(0), n_pairs=2, n_rows=80, baselines=False
    )
    assert fidelity.columns.gaps
    generated = fidelity.generated
    patterns = {bytes(row) for row in np.isnan(training)}
    assert {bytes(row) for row in np.isnan(generated)} <= patterns
    assert all(np.isfinite(figure.value) for figure in fidelity.model.figures)
    assert np.isfinite(fidelity.model.negative_log_density.value)


def test_a_view_has_values_and_coordinates():
    representation = Representation.of_table(model().codec, TRAINING)
    represented = representation.encode(with_gaps(UNSEEN, 5))
    values, z = represented[:, representation.values], represented[:, representation.coordinates]
    assert values.shape[1] + z.shape[1] == represented.shape[1]
    assert not np.isnan(z).any()
    two_regions = np.array([[0.0, 0.0, 0.0, 1.0], [1.0, 0.0, 0.0, 1.0]])
    one, other = representation.encode(two_regions)[:, representation.coordinates]
    assert np.linalg.norm(one - other) == pytest.approx(1.0)  # of two levels
    grade = next(block for block in model().codec.blocks if block.column == 3).coordinates
    assert representation.encode(TRAINING)[:, representation.coordinates][:, grade].std() == pytest.approx(1.0)
    assert representation.with_gaps(UNSEEN, Stream(0)) is UNSEEN
    kinds = kinds_of(model().codec)
    assert kinds[0].is_category
    assert kinds[1].atoms == (0.0,)
    assert kinds[3].is_ordered


def test_integers_of_tables_are_left_to_the_bound():
    """Found by a fit: dequantised rows were refused as values that the model cannot make."""
    codec = Codec((*model().codec.columns[:3], NumberColumn(1.0, 0.5, 1.0, 2.0, grid=Grid(), dequantisation="uniform")))
    rows = np.round(TRAINING)
    gain = measure_training_gain(replace(model(), codec=codec), rows[:40], rows[40:80], Stream(0))
    assert np.isfinite(gain.value)
