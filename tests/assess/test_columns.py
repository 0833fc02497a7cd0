"""Columns one by one, and the associations of pairs. The false-alarm rates of the warnings are 1 %."""

from dataclasses import replace

import numpy as np
import pytest

from backwalk.assess import columns
from backwalk.assess.columns import WORST_COLUMN
from backwalk.assess.representation import Representation
from backwalk.assess.sets import RowSets
from backwalk.assess.statistics import RealPairs
from backwalk.assess.statistics.columns import column_distance
from backwalk.streams import Stream

from .tables import model, table

REPRESENTATION = Representation.of_table(model().codec, table(400, 1))


def sets(*generated):
    rows = REPRESENTATION.encode(table(4000, 7))
    pairs = RealPairs(tuple((rows[k : k + 250], rows[k + 250 : k + 500]) for k in range(0, 4000, 500)), 0.0)
    represented = [REPRESENTATION.encode(each) for each in generated]
    return RowSets(table(160, 2), generated[0], None, None, REPRESENTATION, pairs, represented[0]), represented


def shuffled():
    """Rows whose flags follow no other column."""
    rows = table(2000, 8).copy()
    rows[:, 2] = rows[Stream(0).permutation(2000), 2]
    return rows


def test_each_column_and_the_worst_are_means_over_pairs():
    these, represented = sets(table(2000, 8))
    found = columns.score(these, represented, model().schema)
    assert [figure.name for figure in found.figures] == ["region", "rain", "flag", "grade"]
    by_hand = np.array(
        [
            [
                column_distance(a[:, k], represented[0][250 * i : 250 * i + 250, k], kind)
                for k, kind in enumerate(REPRESENTATION.kinds)
            ]
            for i, (a, _) in enumerate(these.pairs.pairs)
        ]
    )
    assert [figure.value for figure in found.figures] == pytest.approx(by_hand.mean(axis=0).tolist())
    worst, _ = found.of_models[0]
    assert (worst.name, worst.value) == (WORST_COLUMN, pytest.approx(by_hand.max(axis=1).mean()))


def test_differences_beyond_chance_are_marked_and_no_others():
    own = columns.score(*sets(table(2000, 8)), model().schema)
    assert not own.associations.matters.any()
    assert not list(own.warnings(model().schema))
    other = columns.score(*sets(shuffled()), model().schema)
    assert other.associations.matters[0, 2]
    assert other.associations.difference[0, 2] == pytest.approx(-other.associations.real[0, 2], abs=0.1)
    assert not list(other.warnings(model().schema))  # each column alone is right
    moved = table(2000, 8).copy()
    moved[:, 1] = np.where(moved[:, 1] == 0.0, 0.0, moved[:, 1] + 4.0)
    (warning,) = columns.score(*sets(moved), model().schema).warnings(model().schema)
    assert "rain" in warning


def test_telling_pairs_are_those_that_differ_most():
    found = columns.score(*sets(shuffled()), model().schema)
    figures = tuple(
        replace(figure, difference=d) for figure, d in zip(found.figures, (0.1, 0.0, 0.0, 0.2), strict=True)
    )
    assert replace(found, figures=figures).telling_pairs((0, 1, 2, 3), (0, 1, 2, 3)) == ((0, 3), (0, 2))
    assert found.telling_pairs((0, 1, 2, 3), (1,)) == ()
