"""The denoiser of tables: its exact start, its derivatives, and its loss at any pattern."""

import math

import numpy as np
import pytest
import torch

from backwalk.denoiser import Residual, TableLayout, build_denoiser
from backwalk.diffusion import JointGaussian, level_log_posterior, scales
from backwalk.streams import Stream
from backwalk.table import Codec, LevelsColumn
from backwalk.training import Patterns, Shares
from tests.denoiser.tables import CODEC, SCHEDULE, N, denoiser, rows


@pytest.fixture(scope="module")
def batch():
    """Rows, noise, log-SNRs and weights of all patterns, (N, k)."""
    x_0, patterns = rows(N), Patterns.of(CODEC, Shares(0.3, 0.15, 0.2, 0.2, 0.15))
    x_0[::5, 0:3], x_0[1::5, 4] = math.nan, math.nan  # missing levels, which have no loss
    level = torch.linspace(-5.0, 7.0, N, dtype=torch.float64)
    states = patterns.draw(N, stream=Stream(3))
    log_snr, weight = patterns.by_coordinate(x_0, level, 1.0 + level.exp(), states)
    eps = Stream(4).normal(0, N, CODEC.n_encoded)
    return torch.where(x_0.isnan(), eps.roll(1, 0), x_0), eps, log_snr, weight


def noisy(batch):
    x_0, eps, log_snr, _ = batch
    a, b = scales(log_snr, x_0)
    return a * x_0 + b * eps, log_snr


def test_its_losses_are_those_of_its_answers(batch):
    """The squared error of x_0_hat on numbers, and the cross-entropy of p(l | x_t) on levels, with their weights.

    p follows from x_0_hat, the mean of the codes, where these are affinely independent; others have no weight here.
    """
    made, (x_0, eps, log_snr, weight) = denoiser(), batch
    x_t, _ = noisy(batch)
    weight, n_counted = weight.clone(), 0
    with torch.no_grad():
        x_0_hat = made(x_t, log_snr)
        expected = (weight * (x_0 - x_0_hat).square())[:, CODEC.numbers].sum(1)
        for i, block in enumerate(CODEC.blocks):
            codes = torch.cat([torch.from_numpy(block.codes).T, torch.ones(1, block.n_levels).double()])
            if int(torch.linalg.matrix_rank(codes)) < block.n_levels:
                weight[:, block.coordinates] = 0.0
                continue
            n_counted += 1
            p = (
                torch.cat([x_0_hat[:, block.coordinates], torch.ones(N, 1).double()], dim=1)
                @ torch.linalg.pinv(codes).T
            )
            log_p = p.gather(1, made.layout.level_of(i, x_0)[:, None])[:, 0].log()
            of_block = weight[:, block.coordinates.start]
            expected -= torch.where(of_block > 0.0, of_block * log_p, 0.0)
        torch.testing.assert_close(made.losses(x_0, eps, log_snr, weight), expected)
    assert n_counted >= 3


def test_its_gradients_are_the_slopes_of_its_loss(batch):
    """Along random directions of all weights, by central differences in float64."""
    made = denoiser()
    of_members = [part.expand(2, *part.shape) for part in batch]
    loss, gradients = made.loss_and_gradients(*of_members)
    torch.testing.assert_close(loss, made.loss(*of_members).detach())
    parameters = [parameter.detach() for parameter in made.parameters()]
    for seed in range(3):
        stream = Stream(seed)
        directions = [stream.child(i).normal(0, p.numel(), 1).reshape(p.shape) for i, p in enumerate(parameters)]
        values = []
        for step in (1e-5, -2e-5, 1e-5):  # forth, back, and home
            torch._foreach_add_(parameters, directions, alpha=step)
            values.append(made.loss(*of_members).item())
        slope = sum(float((g * v).sum()) for g, v in zip(gradients, directions, strict=True))
        assert (values[0] - values[1]) / 2e-5 == pytest.approx(slope, rel=1e-6)


def test_its_losses_are_those_of_a_single_member(batch):
    made = denoiser(members=1)
    alone, _ = made.loss_and_gradients(*(part.expand(1, *part.shape) for part in batch))
    with torch.no_grad():
        torch.testing.assert_close(made.losses(*batch).sum(), alone)


def test_a_basis_of_unit_vectors_is_no_basis(monkeypatch):
    """Losses and gradients at all patterns are those of a column whose levels have a function each."""
    found = []
    for basis in (None, np.eye(20)):
        monkeypatch.setattr("backwalk.table.level_column.level_basis", lambda *_, basis=basis: basis)
        codec = Codec((LevelsColumn(tuple(map(float, range(20))), (0.05,) * 20, "ordered"), *CODEC.columns[1:3:2]))
        patterns = Patterns.of(codec, Shares(0.3, 0.15, 0.2, 0.2, 0.15))
        layout = TableLayout(codec, JointGaussian.standard(codec.n_encoded))
        layout.input_scale.fill_(1.0)
        made = build_denoiser(
            Residual(8, 1), codec.n_encoded, schedule=SCHEDULE, floor=0.05, stream=Stream(1), layout=layout
        ).double()
        for i, parameter in enumerate(made.parameters()):
            parameter.data += 0.3 * Stream(2).child(i).normal(0, parameter.numel(), 1).reshape(parameter.shape)
        x_0, eps = Stream(3).normal(0, 2 * N, codec.n_encoded).chunk(2)
        x_0[:, 0] = torch.from_numpy(codec.blocks[0].codes[np.arange(N) % 20, 0])
        level = torch.linspace(-5.0, 7.0, N, dtype=torch.float64)
        levels = patterns.by_coordinate(x_0, level, 1.0 + level.exp(), patterns.draw(N, stream=Stream(4)))
        with torch.no_grad():
            losses = made.losses(x_0, eps, *levels)
        found.append((losses, *made.loss_and_gradients(*(part[None] for part in (x_0, eps, *levels)))))
    torch.testing.assert_close(*(each[0] for each in found))
    torch.testing.assert_close(*(each[1] for each in found))
    for one, other in zip(*(each[2] for each in found), strict=True):
        torch.testing.assert_close(one, other)


def test_levels_alone_take_every_operation():
    codec = Codec(
        (LevelsColumn((0.0, 1.0), (0.4, 0.6), "one-hot"), LevelsColumn((0.0, 1.0, 5.0), (0.5, 0.3, 0.2), "ordered"))
    )
    layout = TableLayout(codec)
    made = build_denoiser(Residual(12, 2, 2), 3, schedule=SCHEDULE, floor=0.05, stream=Stream(1), layout=layout)
    x, level = Stream(5).normal(0, 4, 3, torch.float32), torch.tensor([0.3, 1.0, -1.0, 2.0])
    with torch.no_grad():
        log_p = made.given_levels(x, torch.zeros(4, 3, dtype=torch.bool)).level_log_probs(1)
    torch.testing.assert_close(log_p.exp().sum(1), torch.ones(4))
    batch = [part.expand(2, 4, 3) for part in (x, x, level[:, None].expand(4, 3), torch.ones(4, 3))]
    loss, gradients = made.loss_and_gradients(*batch)
    assert bool(loss.isfinite())
    assert len(gradients) == len(list(made.parameters()))


@pytest.mark.parametrize("level", [-math.inf, 0.3, math.inf])
def test_a_number_at_its_atom_is_absent_whatever_its_own_log_snr(level):
    """Rows are drawn with it noisy, and scored with it absent: the other columns must not tell."""
    made, x_0 = denoiser(), rows(N)
    block = next(block for block in CODEC.blocks if block.number is not None)
    at_atom = x_0[x_0[:, block.number].isnan()].nan_to_num()
    log_snr = torch.full_like(at_atom, 1.2)
    log_snr[:, block.coordinates] = math.inf
    with torch.no_grad():
        expected = made(at_atom, log_snr.index_fill(1, torch.tensor([block.number]), -math.inf))
        found = made(
            at_atom + 2.0 * (torch.arange(CODEC.n_encoded) == block.number),
            log_snr.index_fill(1, torch.tensor([block.number]), level),
        )
    others = torch.arange(CODEC.n_encoded) != block.number
    torch.testing.assert_close(found[:, others], expected[:, others])


def test_known_coordinates_come_back_and_absent_ones_are_not_read(batch):
    made, (x_t, log_snr) = denoiser(), noisy(batch)
    with torch.no_grad():
        x_0_hat = made(x_t, log_snr)
        known = log_snr.isposinf() & ~rows(N).isnan()
        torch.testing.assert_close(x_0_hat[known], x_t[known], atol=1e-5, rtol=0.0)
        other = torch.where(log_snr.isneginf(), 7.0 * x_t + 3.0, x_t)
        torch.testing.assert_close(made(other, log_snr), x_0_hat)


def test_untrained_it_is_exact_for_independent_levels():
    made = denoiser(trained=False)
    x_t, level = Stream(5).normal(0, 20, CODEC.n_encoded), torch.tensor(-0.7, dtype=torch.float64)
    a, b = scales(level, x_t)
    with torch.no_grad():
        for i, block in enumerate(CODEC.blocks):
            codes, pi = torch.from_numpy(block.codes), torch.from_numpy(block.frequencies)
            fit = -(x_t[:, None, block.coordinates] - a * codes).square().sum(-1) / (2.0 * b.square())
            expected = torch.softmax(fit + pi.log(), dim=1) @ codes
            torch.testing.assert_close(made(x_t, level)[:, block.coordinates], expected, atol=1e-5, rtol=1e-5)
            absent = made.given_levels(x_t, torch.zeros_like(x_t, dtype=torch.bool)).level_log_probs(i)
            torch.testing.assert_close(absent, pi.log().expand_as(absent), atol=1e-6, rtol=1e-6)


def test_a_number_does_not_apply_where_its_level_is_known_to_be_an_atom():
    """It is an independent N(0, 1) coordinate there, and tells the other columns nothing."""
    made, block = denoiser(), CODEC.blocks[2]
    x_t, log_snr = Stream(6).normal(0, 10, CODEC.n_encoded), torch.full((10, CODEC.n_encoded), 0.5).double()
    log_snr[:, block.coordinates] = math.inf
    x_t[:, block.coordinates] = torch.from_numpy(block.codes[1 - block.other])
    a, _ = scales(log_snr, x_t)
    moved = x_t.clone()
    moved[:, block.number] += 2.0
    with torch.no_grad():
        value, other = made(x_t, log_snr), made(moved, log_snr)
    torch.testing.assert_close(value[:, block.number], (a * x_t)[:, block.number])
    rest = torch.arange(CODEC.n_encoded) != block.number
    torch.testing.assert_close(value[:, rest], other[:, rest])


@pytest.mark.parametrize("coding", ["one-hot", "ordered"])
def test_posteriors_of_levels_obey_bayes_rule(coding):
    pi = torch.tensor([[0.2, 0.5, 0.3]], dtype=torch.float64)
    codes = torch.eye(3)[None].double() if coding == "one-hot" else torch.tensor([[[-1.0], [0.1], [2.0]]]).double()
    x_t = Stream(7).normal(0, 5, codes.shape[-1])[:, None]
    a, b = torch.tensor(0.8), torch.tensor(0.6)
    law = torch.distributions.Normal(a * codes, b)
    joint = law.log_prob(x_t.unsqueeze(-2)).sum(-1) + pi.log()
    found = level_log_posterior(
        x_t, a.expand(1, 1), b.square().expand(1, 1), None if coding == "one-hot" else codes, pi.log()
    )
    torch.testing.assert_close(found, joint - joint.logsumexp(-1, keepdim=True))


def test_levels_whose_codes_are_neighbours_in_float32_are_told_apart():
    rare = 2e-8
    column = LevelsColumn(tuple(map(float, range(10))), (0.3, *8 * (rare,), 0.7 - 8 * rare), "ordered")
    layout = TableLayout(Codec((column,)))
    codes = layout.codes_of(0)
    assert bool((codes[1:] > codes[:-1]).all())
    assert layout.levels_of(codes.T)[0].tolist() == list(range(10))
