"""Ranges of a sample, and parts of a table whose gaps are filled: together they are the whole, bit for bit."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backwalk import Diffusion
from backwalk.denoiser import Residual
from backwalk.errors import IncompatibleArguments, InvalidInput

N = 3000  # more than a tile of 2,048 rows, and than the first smaller ones


@pytest.fixture(scope="module")
def frame():
    """Numbers, one of them a whole one, and labels that depend on each other, with gaps in a tenth of the cells."""
    rng = np.random.default_rng(0)
    kind = rng.integers(3, size=N)
    rows = pd.DataFrame({"x": rng.normal(kind), "kind": np.array(["a", "b", "c"])[kind], "n": rng.poisson(3 + kind)})
    rows["y"] = rows["x"] + rng.normal(size=N)
    return rows.astype({"n": "Int64"}).mask(rng.random(rows.shape) < 0.1)


@pytest.fixture(scope="module")
def model(frame):
    network = Residual(width=16, n_blocks=1, n_members=2)
    return Diffusion(n_steps=30, max_steps=20, denoiser=network, random_state=0, verbose=False).fit(frame)


def split(n, places):
    """Return the ranges between places of n rows."""
    ends = [0, *sorted(set(places)), n]
    return list(pairwise(ends))


SPLITS = st.lists(st.integers(1, N - 1), max_size=3)
CONDITIONS = {
    "nothing": None,
    "a value": {"kind": "b", "n": 4},
    "ranges": {"x": (0.0, None), "n": (1, 6)},
    "a set and a value": {"kind": {"a", "c"}, "y": 0.5},
    "a row for each": ["kind", "x"],
}


@pytest.mark.slow
@pytest.mark.parametrize("conditions", CONDITIONS.values(), ids=CONDITIONS)
def test_ranges_of_a_sample_are_together_the_sample(model, frame, conditions):
    def drawn(start, stop, **which):
        known = frame[conditions][start:stop] if isinstance(conditions, list) else conditions
        return model.sample(**which, given=known, n_evaluations=2, random_state=7)

    whole = drawn(0, N, n_samples=N)

    @settings(max_examples=3, deadline=None, derandomize=True, database=None)
    @given(SPLITS)
    def is_whole(places):
        parts = [drawn(start, stop, rows=(start, stop)) for start, stop in split(N, places)]
        pd.testing.assert_frame_equal(pd.concat(parts, ignore_index=True), whole, check_exact=True)

    is_whole()


@pytest.mark.slow
@pytest.mark.parametrize("n_draws", [None, 2])
def test_parts_of_a_table_are_filled_as_the_whole(model, frame, n_draws):
    whole = model.impute(frame, n_draws=n_draws, random_state=7)

    @settings(max_examples=3, deadline=None, derandomize=True, database=None)
    @given(SPLITS)
    def is_whole(places):
        parts = [
            model.impute(frame[start:stop], n_draws=n_draws, first_row=start, random_state=7)
            for start, stop in split(N, places)
        ]
        together = [pd.concat(of_draw) for of_draw in zip(*parts, strict=True)] if n_draws else pd.concat(parts)
        for one, other in zip(together, whole, strict=True) if n_draws else [(together, whole)]:
            pd.testing.assert_frame_equal(one, other, check_exact=True)

    is_whole()


def test_a_range_is_read_like_the_pair_of_a_slice(model):
    how = {"n_evaluations": 2, "random_state": 7}
    rows = model.sample(5, **how)
    assert model.sample(rows=[2, 5], **how).to_dict("list") == rows[2:].to_dict("list")
    pieces = np.concatenate(list(model.sample_pieces(rows=(0, N), **how)))
    assert pieces.shape == (N, 4)


@pytest.mark.parametrize("wrong", [(3, 3), (-1, 3), (0, 1.5), (0,), 5, "0:5", (True, 2)])
def test_what_is_no_range_is_refused(model, wrong):
    with pytest.raises(InvalidInput, match="start < stop"):
        model.sample(rows=wrong, random_state=0)


def test_a_range_needs_a_seed_and_no_number_of_rows(model, frame):
    with pytest.raises(IncompatibleArguments, match="n_samples and rows"):
        model.sample(5, rows=(0, 5), random_state=0)
    for no_seed in (None, np.random.default_rng(0)):
        with pytest.raises(IncompatibleArguments, match="random_state"):
            model.sample(rows=(0, 5), random_state=no_seed)
    with pytest.raises(InvalidInput, match="one for each of 5 rows"):
        model.sample(rows=(100, 105), given=frame[:105], random_state=0)
    for wrong in (-1, 1.5, True):
        with pytest.raises(InvalidInput, match="first_row"):
            model.impute(frame[:5], first_row=wrong, random_state=0)
