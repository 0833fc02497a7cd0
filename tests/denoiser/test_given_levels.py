"""A table's denoiser at given levels: equal to the denoiser of whole rows, whatever is given and in which order."""

import math

import pytest
import torch

from backwalk.diffusion import ConditionalDenoiser
from backwalk.model import level_of
from backwalk.streams import Stream
from tests.denoiser.tables import CODEC, N, denoiser, rows

NUMBERS = torch.from_numpy(CODEC.numbers)


def given_at_random(seed=0):
    """Rows, and a pattern of given columns that differs from row to row; some rows are alike."""
    x_0 = rows(N, seed)
    known = torch.zeros_like(x_0, dtype=torch.bool)
    draws = Stream(seed).uniform(0, N, len(CODEC.slices)) < 0.5
    for column, place in enumerate(CODEC.slices):
        known[:, place] = draws[:, column, None]
    known &= ~x_0.isnan()
    x_0[N // 2 :], known[N // 2 :] = x_0[: N // 2], known[: N // 2]
    return x_0.nan_to_num(), known


def mean_codes(state, i, piece=slice(None)):
    """The means of a block's codes by the probabilities of its levels."""
    return state.level_log_probs(i, piece).exp() @ torch.from_numpy(CODEC.blocks[i].codes)


def estimates(made, x_0, known):
    """x_0_hat of whole rows of which some coordinates are known and all others absent."""
    return made(x_0.masked_fill(~known, 0.0), torch.where(known, math.inf, -math.inf).double())


def test_its_probabilities_are_those_of_whole_rows():
    made, (x_0, known) = denoiser(), given_at_random()
    with torch.no_grad():
        state, expected = made.given_levels(x_0, known), estimates(made, x_0, known)
        for i, block in enumerate(CODEC.blocks):
            absent = ~known[:, block.coordinates.start]
            torch.testing.assert_close(
                state.level_log_probs(i).exp().sum(1)[absent], torch.ones(int(absent.sum())).double()
            )
            torch.testing.assert_close(mean_codes(state, i)[absent], expected[absent][:, block.coordinates])
            piece = slice(5, 20)
            found = mean_codes(state, i, piece)[absent[piece]]
            torch.testing.assert_close(found, expected[piece][absent[piece]][:, block.coordinates])


def test_no_level_is_impossible_however_sure_the_network_is():
    """Found on a real table: sums of probabilities round exp(-104) to 0, so a row had the log-probability -inf."""
    made, (x_0, known) = denoiser().float(), given_at_random()
    with torch.no_grad():
        made.network.in_order[-2].mul_(3_000.0)
        state = made.given_levels(x_0.float(), known)
        log_p = [state.level_log_probs(i)[~known[:, block.coordinates.start]] for i, block in enumerate(CODEC.blocks)]
    assert min(float(each.min()) for each in log_p) < -104.0
    assert all(bool(each.isfinite().all()) for each in log_p)


@pytest.mark.parametrize("order", [range(5), range(4, -1, -1)])
def test_levels_given_one_after_another_are_levels_given_at_once(order):
    made, (x_0, known) = denoiser(), given_at_random(1)
    last = order[-1]
    with torch.no_grad():
        state, at_the_end = made.given_levels(x_0, known), known.clone()
        for i in order[:-1]:
            block = CODEC.blocks[i]
            unknown = ~at_the_end[:, block.coordinates.start]
            state.give(i, level_of(block, x_0), unknown)
            at_the_end[:, block.coordinates] = True
        expected = made.given_levels(x_0, at_the_end)
        torch.testing.assert_close(state.level_log_probs(last), expected.level_log_probs(last))
        torch.testing.assert_close(state._entered, expected._entered)
        assert torch.equal(state._at_atom, expected._at_atom)


@pytest.mark.parametrize("copies", [1, 2])
def test_its_numbers_and_their_derivatives_are_those_of_whole_rows(copies):
    made, (x_0, known) = denoiser(), given_at_random(2)
    absent = ~known
    absent[:, NUMBERS] = Stream(3).uniform(0, N, len(NUMBERS)) < 0.2
    absent &= ~known
    of_levels = known.clone()
    of_levels[:, NUMBERS] = False
    x_t = Stream(4).normal(0, copies * N, len(NUMBERS))
    level, tangents = torch.tensor(0.7).double(), Stream(5).normal(0, 3 * copies * N, len(NUMBERS))
    tangents = tangents.reshape(3, copies * N, -1)
    plain = ConditionalDenoiser(made, x_0, known, absent, NUMBERS)
    fast = ConditionalDenoiser(made.given_levels(x_0, of_levels), x_0, known, absent, NUMBERS)
    with torch.no_grad():
        torch.testing.assert_close(fast(x_t, level), plain(x_t, level))
        value, push = fast.linearize(x_t, level)
        torch.testing.assert_close(value, fast(x_t, level))
        for tangent, derivative in zip(tangents, push(tangents), strict=True):
            slope = (fast(x_t + 1e-5 * tangent, level) - fast(x_t - 1e-5 * tangent, level)) / 2e-5
            torch.testing.assert_close(derivative, slope, atol=1e-6, rtol=1e-6)


def test_autograd_follows_its_numbers_and_their_derivatives():
    made, (x_0, known) = denoiser(), given_at_random(2)
    x_0, known = x_0[:4], known[:4]
    fast = ConditionalDenoiser(made.given_levels(x_0, known), x_0, known, torch.zeros_like(known), NUMBERS)
    tangents = Stream(5).normal(0, 8, len(NUMBERS)).reshape(2, 4, -1)

    def values_and_derivatives(x_t):
        value, push = fast.linearize(x_t, torch.tensor(0.7).double())
        return fast(x_t, torch.tensor(0.7).double()), value, push(tangents)

    assert torch.autograd.gradcheck(
        values_and_derivatives, (Stream(4).normal(0, 4, len(NUMBERS)).requires_grad_(),), fast_mode=True
    )


def test_rows_alike_have_one_computation_and_the_same_bits():
    made, (x_0, known) = denoiser(), given_at_random()
    x_0, known = x_0[:1].repeat(300, 1), known[:1].repeat(300, 1)
    known[:, CODEC.blocks[0].coordinates] = False
    with torch.no_grad():
        state = made.given_levels(x_0, known)
        assert len(state._different(slice(None))[0]) == 64
        log_p = state.level_log_probs(0)
        assert torch.equal(log_p, log_p[:1].expand_as(log_p))
        expected = estimates(made, x_0[:1], known[:1])[:, CODEC.blocks[0].coordinates]
        torch.testing.assert_close(mean_codes(state, 0)[:1], expected)
