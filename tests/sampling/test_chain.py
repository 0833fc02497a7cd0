"""The loop back: which states it yields, what it asks for, and where it refuses to go.

Tiles: rows come out in order and cut to what was asked, whatever the n_threads, and not all at once.
"""

import math
from functools import partial
from itertools import pairwise

import pytest
import torch

from backwalk import sampling
from backwalk.diffusion import GaussianDenoiser, NoiseSchedule
from backwalk.errors import InvalidInput
from backwalk.sampling import TILE_ROWS, Ancestral, Ddim, StochasticMultistep, padded_tile, tile_of, walk_back
from backwalk.sampling.chain import TILES_AHEAD

SCHEDULE = NoiseSchedule.linear(7)
DENOISER = GaussianDenoiser(torch.zeros(2), torch.eye(2))
START = torch.ones(3, 2)


def test_every_state_from_x_n_to_x_0_is_yielded():
    states = list(walk_back(DENOISER, SCHEDULE, Ddim(), START, noise=lambda _: START))
    assert [state.t for state in states] == [7, 6, 5, 4, 3, 2, 1, 0]
    assert [state.log_snr for state in states] == SCHEDULE.log_snr.flip(0).tolist()
    assert states[-1].log_snr == math.inf
    assert states[0].x_t is START
    assert states[0].x_0_hat is None
    for before, after in pairwise(states):
        torch.testing.assert_close(after.x_0_hat, DENOISER(before.x_t, SCHEDULE.log_snr[before.t].float()))


@pytest.mark.parametrize(
    ("solver", "asked"),
    [
        (Ddim(), []),
        (Ddim(0.1), [7, 6, 5, 4, 3, 2]),
        (StochasticMultistep(), [7, 6, 5, 4, 3, 2]),
        (Ancestral(SCHEDULE.beta), [7, 6, 5, 4, 3, 2]),
    ],
)
def test_noise_is_drawn_for_random_steps_alone_and_never_for_the_last(solver, asked):
    times = []
    list(walk_back(DENOISER, SCHEDULE, solver, START, noise=lambda t: times.append(t) or torch.zeros(3, 2)))
    assert times == asked


def test_a_denoiser_is_not_used_where_it_is_not_valid():
    class Narrow:
        log_snr_range = (0.0, 5.0)
        device = torch.device("cpu")
        __call__ = None

    with pytest.raises(InvalidInput, match="log-SNR should stay within"):
        next(walk_back(Narrow(), SCHEDULE, Ddim(), START, noise=lambda _: START))


over_tiles = partial(sampling.over_tiles, width=1, device=torch.device("cpu"))


def rows(first, last):
    return torch.arange(first, last)[:, None].double()


@pytest.mark.parametrize(
    ("start", "stop"),
    [
        (0, 1),
        (0, TILE_ROWS),
        (0, TILE_ROWS + 1),
        (5, 5),
        (TILE_ROWS - 20, TILE_ROWS + 6),
        (TILE_ROWS, 2 * TILE_ROWS),
        (3000, 20_000),
        (10**9, 10**9 + 3),
    ],
)
@pytest.mark.parametrize("tile_rows", [TILE_ROWS, 300])
def test_rows_are_those_asked_for_and_tiles_are_whole(n_threads, start, stop, tile_rows):
    asked = []
    tiles = over_tiles(lambda first, last: asked.append((first, last)) or rows(first, last), start, stop, tile_rows)
    assert torch.equal(torch.cat([torch.empty(0, 1), *tiles]), rows(start, stop))
    assert all(first % tile_rows == 0 and last - first == tile_rows for first, last in asked)
    assert len(asked) == len(set(asked))
    assert torch.get_num_threads() == n_threads


def test_a_bounded_number_of_results_waits(n_threads):
    done = []
    pieces = over_tiles(lambda first, last: done.append(first) or rows(first, last), 0, 100 * TILE_ROWS)
    next(pieces)
    assert len(done) <= TILES_AHEAD
    pieces.close()
    assert torch.get_num_threads() == n_threads


def test_of_wide_rows_fewer_tiles_wait(n_threads):
    """Found by review: 64 tiles of 10,000 columns were five gigabytes."""
    done = []
    pieces = over_tiles(lambda first, last: done.append(first) or rows(first, last), 0, 100 * TILE_ROWS, width=10_000)
    next(pieces)
    assert len(done) <= 2
    pieces.close()


@pytest.mark.parametrize(("device", "first"), [("cpu", 256), ("meta", TILE_ROWS)])
def test_the_tiles_of_a_sample_follow_from_row_numbers_and_the_first_are_small(device, first):
    starts, row = [], 0
    while row < 3 * TILE_ROWS:
        start, stop = tile_of(row, torch.device(device))
        assert (start, stop) == tile_of(stop - 1, torch.device(device))
        assert row == start < stop <= start + TILE_ROWS
        starts.append(start)
        row = stop
    assert starts[1] == first
    assert {0, TILE_ROWS, 2 * TILE_ROWS} <= set(starts)


def test_between_two_results_the_caller_has_his_threads(n_threads):
    """Found by review: whoever read ten million rows in pieces worked on one thread meanwhile."""

    def threads_within(first, last):
        return torch.full((last - first, 1), torch.get_num_threads())

    for tile in over_tiles(threads_within, 0, 9 * TILE_ROWS):
        assert bool((tile == 1).all())
        assert torch.get_num_threads() == n_threads
    assert torch.get_num_threads() == n_threads


def test_inside_no_gradients_are_kept_and_one_thread_is_used(n_threads):
    def check(first, last):
        assert not torch.is_grad_enabled()
        assert torch.get_num_threads() == 1
        return rows(first, last)

    list(over_tiles(check, 0, 3000))
    assert torch.is_grad_enabled()


def test_an_error_in_a_tile_reaches_the_caller(n_threads):
    def fail(first, last):
        raise ValueError("tile")

    with pytest.raises(ValueError, match="tile"):
        list(over_tiles(fail, 0, 3000))
    assert torch.get_num_threads() == n_threads


@pytest.mark.parametrize("n", [1, TILE_ROWS - 1, TILE_ROWS])
def test_a_tile_is_filled_up_with_copies_of_its_first_row(n):
    tile = padded_tile(rows(7, 7 + n), TILE_ROWS)
    assert tile.shape == (TILE_ROWS, 1)
    assert torch.equal(tile[:n], rows(7, 7 + n))
    assert bool((tile[n:] == 7).all())
