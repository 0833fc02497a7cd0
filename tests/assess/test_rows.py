"""Whole rows: the statistics are those that they are named after, and one null serves all models."""

import numpy as np
import pytest

from backwalk.assess import assess
from backwalk.assess.representation import Representation, kinds_of
from backwalk.streams import Stream

from .moons import UNSEEN, assessed, fitted
from .tables import frame, model, table


@pytest.mark.usefixtures("cheap_scores")
def test_all_models_are_compared_with_the_same_nulls():
    names = [figure.name for figure in assessed().model.figures]
    assert len(names) == len(set(names)) == 6
    assert all(figure.purpose and figure.explanation and figure.margin for figure in assessed().model.figures)
    for scores in assessed().models:
        assert [figure.name for figure in scores.figures] == names
        for own, other in zip(scores.figures, assessed().model.figures, strict=True):
            assert own.null == other.null
            assert own.difference == pytest.approx(own.value - own.null, abs=1e-12)


@pytest.mark.usefixtures("cheap_scores")
def test_the_rows_of_the_pictures_are_those_that_are_compared():
    fidelity = assess(fitted(), UNSEEN, stream=Stream(0), n_pairs=2, n_rows=50)
    assert fidelity.rows.real_rows == "2 pairs of 50 unseen rows, none of them used twice"
    assert set(map(bytes, fidelity.rows.real)) <= set(map(bytes, UNSEEN))
    halves = assess(fitted(), UNSEEN[:100], stream=Stream(0), n_pairs=2)
    assert halves.rows.real_rows == "2 random splits of the unseen rows into halves of 50"


@pytest.mark.slow
@pytest.mark.usefixtures("cheap_scores")
def test_gaps_are_those_of_training_rows():
    training, unseen = (
        np.where(Stream(seed).uniform(0, *rows.shape).numpy() < 0.15, np.nan, rows)
        for seed, rows in ((3, table(400, 1)), (4, table(160, 2)))
    )
    fidelity = assess(
        model(), frame(unseen), training=frame(training), stream=Stream(0), n_pairs=2, n_rows=80, baselines=False
    )
    assert fidelity.columns.gaps
    patterns = {bytes(row) for row in np.isnan(training)}
    assert {bytes(row) for row in np.isnan(fidelity.rows.generated)} <= patterns
    assert all(np.isfinite(figure.value) for figure in fidelity.model.figures)


def test_a_representation_has_values_and_coordinates():
    training = table(400, 1)
    representation = Representation.of_table(model().codec, training)
    gaps = np.where(Stream(5).uniform(0, 160, 4).numpy() < 0.15, np.nan, table(160, 2))
    assert not np.isnan(representation.encode(gaps)[:, representation.coordinates]).any()
    two_regions = np.array([[0.0, 0.0, 0.0, 1.0], [1.0, 0.0, 0.0, 1.0]])
    one, other = representation.encode(two_regions)[:, representation.coordinates]
    assert np.linalg.norm(one - other) == pytest.approx(1.0)  # of two levels
    grade = next(block for block in model().codec.blocks if block.column == 3).coordinates
    assert representation.encode(training)[:, representation.coordinates][:, grade].std() == pytest.approx(1.0)
    kinds = kinds_of(model().codec)
    assert (kinds[0].is_category, kinds[1].atoms, kinds[3].is_ordered) == (True, (0.0,), True)
