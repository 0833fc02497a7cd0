"""The balance of noise levels: losses of equal shares, measured on rows that are not trained on."""

import math
from itertools import pairwise

import pytest
import torch

from backwalk.denoiser import Residual, build_denoiser
from backwalk.diffusion import NoiseSchedule
from backwalk.streams import Stream
from backwalk.table import Codec, LevelsColumn, NumberColumn
from backwalk.training import LogNormalLevels, Training, TrainingRows
from backwalk.training.balance import N_BATCHES, N_RANGES, Balance
from backwalk.training.batches import Batches
from backwalk.training.patterns import Patterns, Shares

SCHEDULE = NoiseSchedule.log_snr_uniform(20, log_snr_max=8.0, log_snr_min=-6.0)
LEVELS = LogNormalLevels(math.exp(-4.0), math.exp(3.0), centre=-1.0)
STREAM = Stream(7)
X_0 = STREAM.child("x_0").normal(0, 400, 3, torch.float32) * torch.tensor([1.0, 0.2, 0.05])
PLAN = Training(batch_size=256, learning_rate=0.01, max_steps=9, levels="balanced")


def denoiser():
    return build_denoiser(Residual(8, 1, 1), 3, schedule=SCHEDULE, floor=0.1, stream=STREAM.child("weights"))


def test_all_levels_have_equal_shares_of_the_loss_on_new_batches():
    network, balance = denoiser(), Balance(TrainingRows(x_0=X_0), LEVELS, PLAN, STREAM)
    log_snr = torch.linspace(-5.0, 7.0, 50)
    assert torch.equal(balance.factor(log_snr), torch.ones(50))  # before any measurement
    balance.measure(network)
    assert not torch.allclose(balance.factor(log_snr), torch.ones(50), rtol=0.5)
    batches = Batches(TrainingRows(x_0=X_0), LEVELS, PLAN, STREAM.child("new"))
    losses, levels = [], []
    for step in range(40):
        x_0, eps, log_snr, weight = (part[0] for part in batches.at(step, balance.factor))
        losses.append(network.losses(x_0, eps, log_snr, weight).detach())
        levels.append(log_snr)
    losses, levels = torch.cat(losses), torch.cat(levels)
    edges = levels.quantile(torch.linspace(0.0, 1.0, 6))
    of_fifths = [losses[(low <= levels) & (levels < high)] for low, high in pairwise(edges)]
    for loss in of_fifths:
        # means of 64 rows a range, of relative deviation about 1, within four of their standard errors
        assert float(loss.mean() / losses.mean()) == pytest.approx(1.0, abs=4.0 / math.sqrt(N_BATCHES * 256 / 5))


def test_the_mean_loss_over_all_levels_is_kept():
    network, balance = denoiser(), Balance(TrainingRows(x_0=X_0), LEVELS, PLAN, STREAM)
    balance.measure(network)
    batches = Batches(TrainingRows(x_0=X_0), LEVELS, PLAN, STREAM.child("balance"))
    plain, balanced = (
        sum(network.losses(*(part[0] for part in batches.at(step, factor))).sum().item() for step in range(N_BATCHES))
        for factor in (None, balance.factor)
    )
    assert balanced == pytest.approx(plain, rel=0.05)


def test_losses_are_measured_on_held_out_rows():
    """As rows that were learnt by heart have no loss left at little noise."""
    seen, held_out = [], torch.full((9, 3), 5.0)
    network = denoiser()

    def losses(x_0, *_):
        seen.append(x_0)
        return torch.ones(len(x_0))

    network.losses = losses
    Balance(TrainingRows(x_0=X_0, x_validation=held_out), LEVELS, PLAN, STREAM).measure(network)
    assert all(bool((x_0 == 5.0).all()) for x_0 in seen)
    assert sum(map(len, seen)) == N_BATCHES * 256


@pytest.mark.parametrize("loss", [0.0, math.nan, math.inf])
def test_losses_that_tell_nothing_change_nothing(loss):
    network, balance = denoiser(), Balance(TrainingRows(x_0=X_0), LEVELS, PLAN, STREAM)
    network.losses = lambda x_0, *_: torch.full((len(x_0),), loss)
    balance.measure(network)
    assert torch.equal(balance.factor(torch.zeros(3)), torch.ones(3))


@pytest.mark.parametrize("rows", [1, 3])
def test_fewer_noisy_rows_than_ranges_have_a_factor_each(rows):
    plan, network = Training(batch_size=rows, learning_rate=0.01, max_steps=9), denoiser()
    assert rows * N_BATCHES < N_RANGES
    balance = Balance(TrainingRows(x_0=X_0[:rows]), LEVELS, plan, STREAM)
    balance.measure(network)
    factor = balance.factor(torch.linspace(-5.0, 7.0, 50))
    assert bool((factor.isfinite() & (factor > 0.0)).all())


def test_levels_and_what_is_given_or_absent_have_no_factor():
    of_levels, number = LevelsColumn((0.0, 1.0), (0.5, 0.5), "one-hot"), NumberColumn(0.0, 1.0)
    x_0 = torch.cat([torch.eye(2)[torch.arange(400) % 2], X_0[:, :1]], dim=1)
    patterns = Patterns.of(Codec((of_levels, number)), Shares(0.2, 0.2, 0.2, 0.2, 0.2), "any")
    batches = Batches(TrainingRows(x_0=x_0), LEVELS, PLAN, STREAM, patterns)
    plain, doubled = batches.at(0), batches.at(0, lambda log_snr: torch.full_like(log_snr, 2.0))
    is_noisy = patterns.is_noisy_number(plain.log_snr)
    assert 0 < int(is_noisy.sum()) < is_noisy[..., 2].numel()
    assert torch.equal(doubled.weight, torch.where(is_noisy, 2.0 * plain.weight, plain.weight))
    alone = Patterns.of(Codec((of_levels,)), Shares(1.0, 0.0, 0.0))
    balance = Balance(TrainingRows(x_0=x_0[:, :2]), LEVELS, PLAN, STREAM, alone)
    balance.measure(denoiser())  # nothing is measured of levels alone
    assert torch.equal(balance.factor(torch.zeros(3)), torch.ones(3))
