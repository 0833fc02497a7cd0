"""Noise levels of training: their distribution, and the losses that their weights make."""

import math

import pytest
import torch
from scipy import stats

from backwalk.diffusion import GaussianDenoiser, NoiseSchedule, q_sample, scales, simple_loss, v_from_eps, v_from_x_0
from backwalk.streams import Stream
from backwalk.training import ChainLevels, LogNormalLevels

STREAM = Stream(3)
CHAIN = ChainLevels(NoiseSchedule.linear(20))
EVEN = LogNormalLevels(0.002, 20.0, centre=-1.0)


def test_chain_levels_are_uniform_over_the_steps():
    log_snr = CHAIN.draw(2, 40_000, stream=STREAM)
    steps = CHAIN.schedule.log_snr[1:].float()
    counts = (log_snr.flatten()[:, None] == steps).sum(0)
    assert int(counts.sum()) == 80_000
    assert stats.chisquare(counts.numpy()).pvalue > 1e-8
    assert not torch.equal(log_snr[0], log_snr[1])


def test_loss_with_chain_weights_is_simple_loss():
    schedule, denoiser = CHAIN.schedule, GaussianDenoiser(torch.zeros(2), torch.eye(2) * 0.3)
    x_0, eps = STREAM.child("x").normal(0, 100, 2), STREAM.child("e").normal(0, 100, 2)
    t = torch.arange(100) % 20 + 1
    error = x_0 - denoiser(q_sample(x_0, t, eps, schedule), schedule.log_snr[t])
    loss = CHAIN.weight(schedule.log_snr[t]) * error.square().sum(-1)
    torch.testing.assert_close(loss, simple_loss(denoiser, x_0, t, eps, schedule))


def test_loss_with_log_normal_weights_is_the_square_of_the_error_in_v():
    log_snr = EVEN.draw(1, 100, stream=STREAM)[0].double()
    denoiser = GaussianDenoiser(torch.zeros(2), torch.eye(2) * 0.3)
    x_0, eps = STREAM.child("x").normal(0, 100, 2), STREAM.child("e").normal(0, 100, 2)
    a, b = scales(log_snr, x_0)
    x_t = a * x_0 + b * eps
    x_0_hat = denoiser(x_t, log_snr)
    v, v_theta = v_from_eps(x_t, eps, log_snr), v_from_x_0(x_t, x_0_hat, log_snr)
    loss = EVEN.weight(log_snr) * (x_0 - x_0_hat).square().sum(-1)
    torch.testing.assert_close(loss, (v - v_theta).square().sum(-1), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("rows", [1, 20, 1000])
@pytest.mark.parametrize("share", [0.0, 0.15, 1.0])
def test_every_batch_has_one_level_in_each_quantile(rows, share):
    levels = LogNormalLevels(1e-6, 1e6, centre=0.5, uniform_share=share)
    log_level = -0.5 * levels.draw(3, rows, stream=STREAM).double()
    uniform = share * (log_level / math.log(1e6) + 1) / 2
    normal = share + (1 - share) * torch.special.ndtr((log_level - 0.5) / 1.5)
    row = torch.arange(rows)
    shift = torch.where(row < round(share * rows), uniform, normal) * rows - row
    # One random shift a batch and member: every row lies as far into its own stratum.
    torch.testing.assert_close(shift, shift[:, :1].expand(3, rows), rtol=0, atol=0.02)
    assert bool(((shift > -0.02) & (shift < 1.02)).all())
    assert len(set(shift[:, 0].tolist())) == 3


def test_levels_stay_within_their_range():
    log_level = -0.5 * EVEN.draw(5, 1000, stream=STREAM)
    assert float(log_level.min()) == pytest.approx(math.log(0.002), abs=0.05)
    assert float(log_level.max()) == pytest.approx(math.log(20.0), abs=1e-5)
