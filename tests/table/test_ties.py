"""Numbers that were set repeat; numbers that were measured do not, however they are rounded."""

import numpy as np
import pandas as pd
import pytest

from backwalk.table import Codec, as_table
from backwalk.table.ties import is_tied

RNG = np.random.default_rng(5)
DESIGN = RNG.normal(size=150).round(3)  # settings of an experiment, each used in several rows


@pytest.mark.parametrize("n", [60, 600, 6_000, 60_000])
@pytest.mark.parametrize("digits", [0, 1, 2, 3])
@pytest.mark.parametrize("draw", ["normal", "exponential", "uniform"])
def test_rounded_measurements_are_not_tied(n, digits, draw):
    x = getattr(np.random.default_rng(n + digits), draw)(size=n).round(digits)
    assert not is_tied(x, 10.0**-digits)


def test_measurements_that_some_rounded_to_half_of_the_digits_are_not_tied():
    x = RNG.normal(size=20_000)
    assert not is_tied(np.where(RNG.random(20_000) < 0.3, x.round(2), x.round(3)), 1e-3)


@pytest.mark.parametrize("n", [300, 600, 6_000])
@pytest.mark.parametrize("cell", [0.0, 1e-3])
def test_the_points_of_a_design_are_tied(n, cell):
    assert is_tied(RNG.choice(DESIGN, size=n), cell)


def test_fewer_than_two_rows_for_each_value_are_not_enough():
    assert not is_tied(RNG.permutation(np.repeat(DESIGN, 2))[:-1], 1e-3)
    assert not is_tied(np.empty(0), 1.0)


def test_more_than_half_of_the_rows_with_one_value_are_tied():
    """Then no distance says how dense the values are; such a number has levels or an atom before it comes here."""
    assert is_tied(np.append(np.zeros(100), np.linspace(1.0, 2.0, 40)), 0.0)


def test_a_codec_names_the_coordinates_of_tied_numbers():
    n = 1_000
    spikes = np.where(RNG.random(n) < 0.4, 0.0, RNG.choice(DESIGN, size=n))
    frame = pd.DataFrame(
        {
            "class": RNG.choice(["a", "b", "c"], size=n),
            "measured": RNG.normal(size=n).round(2),
            "design": RNG.choice(DESIGN, size=n),
            "with gaps": np.where(RNG.random(n) < 0.5, np.nan, RNG.choice(DESIGN, size=n)),
            "with an atom": spikes,
            "measured with an atom": np.where(spikes == 0.0, 0.0, RNG.normal(size=n).round(2)),
        }
    )
    table = as_table(frame)
    codec = Codec.fit(table, levels=True)
    assert [codec.blocks[i].column for i in range(3)] == [0, 4, 5]
    expected = [codec.slices[2].start, codec.slices[3].start, codec.blocks[1].number]
    assert codec.tied_numbers(table.values) == tuple(expected)
