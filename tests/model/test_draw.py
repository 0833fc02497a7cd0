"""Rows of a stream: what a row depends on, and the chain that draws it."""

import numpy as np
import pytest
import torch

from backwalk.model import sample_pieces, sample_rows, walk
from backwalk.sampling import TILE_ROWS, Sampler, StochasticMultistep, Visit
from backwalk.streams import Stream

STREAM = Stream(11)


FEW = Sampler("multistep-sde", 4)


@pytest.fixture
def model(fitted):
    return fitted.model_


@pytest.fixture(scope="module")
def long_sample(fitted):
    return sample_rows(fitted.model_, 0, 3000, stream=STREAM, sampler=FEW)


@pytest.mark.parametrize(
    ("start", "stop"),
    [
        (0, 1),
        (0, 300),
        (200, 1100),
        (TILE_ROWS - 50, TILE_ROWS + 50),
        (TILE_ROWS - 1, TILE_ROWS + 1),
        (TILE_ROWS, 3000),
        (7, 7),
    ],
)
def test_a_row_is_the_same_in_whatever_range_it_is_drawn(model, long_sample, n_threads, start, stop):
    rows = sample_rows(model, start, stop, stream=STREAM, sampler=FEW)
    np.testing.assert_array_equal(rows, long_sample[start:stop])


@pytest.mark.parametrize("solver", ["ancestral", "ddim", "multistep", "multistep-sde"])
def test_every_solver_draws_rows_by_their_numbers(model, solver):
    sampler = Sampler(solver, 5)
    whole = sample_rows(model, 1000, 1040, stream=STREAM, sampler=sampler)
    np.testing.assert_array_equal(sample_rows(model, 1020, 1030, stream=STREAM, sampler=sampler), whole[20:30])
    assert np.isfinite(whole).all()
    assert (whole[:, 1] == 7.25).all()
    assert len(np.unique(whole[:, 0])) == 40


def test_pieces_are_the_rows_in_order(model, long_sample):
    pieces = list(sample_pieces(model, 900, 2500, stream=STREAM, sampler=FEW))
    assert [len(piece) for piece in pieces] == [TILE_ROWS - 900, 2500 - TILE_ROWS]
    np.testing.assert_array_equal(np.concatenate(pieces), long_sample[900:2500])


def test_the_walk_ends_at_the_sample_and_keeps_no_gradients_to_itself(model, long_sample):
    states = walk(model, 0, TILE_ROWS, stream=STREAM, sampler=FEW)
    next(states)
    assert torch.is_grad_enabled()  # between two states the caller's own setting holds
    *_, last = states
    assert (last.t, last.x_t.requires_grad) == (0, False)
    np.testing.assert_array_equal(model.codec.decode(last.x_t.double().numpy()), long_sample[:TILE_ROWS])


def test_the_default_solver_adds_half_of_the_reverse_sdes_noise(model):
    """The residual of its first step is N(0, 1) where the weights are those of the half: a false alarm in 10^7."""
    sampler = Sampler(n_evaluations=15)
    schedule = model.schedule.respace(sampler.times(model.schedule))
    first, second, *_ = walk(model, 0, TILE_ROWS, stream=STREAM, sampler=sampler)
    mean, sigma = StochasticMultistep(noise=0.5).step([Visit(first.x_t, second.x_0_hat)], 15, schedule)
    eps = (second.x_t - mean) / sigma
    assert float(eps.std()) == pytest.approx(1.0, abs=0.06)
