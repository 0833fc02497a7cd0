"""From networks to denoisers: time, parametrisation, the mean of members, and where each is valid."""

import math
from functools import partial

import pytest
import torch
from torch import nn

from backwalk.denoiser import EnsembleDenoiser, NoiseDenoiser, Residual, ResidualDenoiser, Textbook, build_denoiser
from backwalk.diffusion import (
    GaussianDenoiser,
    NoiseSchedule,
    beta_variance,
    eps_from_x_0,
    scales,
    variational_bound,
)
from backwalk.diffusion.derivatives import linearize
from backwalk.errors import InvalidInput
from backwalk.streams import Stream

STREAM = Stream(2)
SCHEDULES = {
    "linear": NoiseSchedule.linear(100),
    "cosine": NoiseSchedule.cosine(1000),
    "even": NoiseSchedule.log_snr_uniform(37, log_snr_max=12.0, log_snr_min=-6.0),
    "one step": NoiseSchedule.linear(1),
}


class Told(nn.Module):
    """A network that remembers the second thing it is told and returns what it was made with."""

    def __init__(self, answer=0.0):
        super().__init__()
        self.answer = answer

    def forward(self, x, level):
        self.level = level
        return torch.zeros_like(x) + self.answer


def residual(n_members=1, floor=0.1):
    schedule = SCHEDULES["even"]
    denoiser = build_denoiser(Residual(8, 1, n_members), 2, schedule=schedule, floor=floor, stream=STREAM)
    with torch.no_grad():
        for i, parameter in enumerate(denoiser.parameters()):
            parameter.copy_(0.3 * STREAM.child(i).normal(0, parameter.numel(), 1).reshape(parameter.shape))
    return denoiser


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_textbook_time_is_exactly_t_over_n(schedule):
    network, n = Told(), schedule.n_steps
    NoiseDenoiser(network, 1, schedule)(torch.zeros(n, 2), schedule.log_snr[1:])
    expected = torch.arange(1, n + 1, dtype=torch.float32) / n
    assert torch.equal(network.level.flatten(), expected)


def test_textbook_denoiser_says_what_its_network_says_of_eps():
    schedule = SCHEDULES["linear"]
    denoiser = NoiseDenoiser(Told(0.7), 1, schedule).double()
    x_t = STREAM.normal(0, 10, 2)
    for t in (1, 50, 100):
        x_0_hat = denoiser(x_t, schedule.log_snr[t])
        torch.testing.assert_close(eps_from_x_0(x_t, x_0_hat, schedule.log_snr[t]), torch.full_like(x_t, 0.7))


def test_residual_denoiser_far_below_the_floor_is_s_squared_times_a_fixed_score():
    network = Told(0.7)
    denoiser = ResidualDenoiser(network, 1, 0.1, (0.0, 40.0))
    x, levels = torch.zeros(1, 2, dtype=torch.float64), []
    for s in (1e-5, 1e-7):
        log_snr = torch.tensor(-2 * math.log(s), dtype=torch.float64)
        torch.testing.assert_close(denoiser(x, log_snr) / s**2, torch.full_like(x, 7.0), rtol=1e-6, atol=0)
        levels.append(float(network.level.flatten()[0]))
    assert levels[0] == pytest.approx(0.25 * math.log(0.1), abs=1e-6)
    assert levels[1] == pytest.approx(levels[0], abs=1e-6)


def test_untrained_residual_denoiser_is_the_best_linear_one_for_unit_variance():
    denoiser = build_denoiser(Residual(8, 1, 2), 3, schedule=SCHEDULES["even"], floor=0.1, stream=STREAM)
    best = GaussianDenoiser(torch.zeros(3), torch.eye(3))
    x_t, log_snr = STREAM.normal(0, 30, 3, torch.float32), torch.linspace(-6, 12, 30)
    torch.testing.assert_close(denoiser(x_t, log_snr), best(x_t, log_snr))


def test_an_ensemble_is_the_mean_of_its_members():
    denoiser = residual(n_members=3)
    x_t, log_snr = STREAM.normal(0, 20, 2, torch.float32), torch.linspace(-6, 12, 20)
    by_member = denoiser.by_member(x_t.expand(3, 20, 2), log_snr.expand(3, 20))
    assert not torch.allclose(by_member[0], by_member[1])
    torch.testing.assert_close(denoiser(x_t, log_snr), (by_member[0] + by_member[1] + by_member[2]) / 3)


@pytest.mark.parametrize(
    "make", [residual, lambda: NoiseDenoiser(Textbook(8, 1).build(2, stream=STREAM), 1, SCHEDULES["linear"])]
)
def test_levels_of_coordinates_are_refused_by_networks(make):
    denoiser, x_t = make(), STREAM.normal(0, 9, 2, torch.float32)
    for call in (denoiser, torch.no_grad()(denoiser.forward), partial(linearize, denoiser)):
        with pytest.raises(InvalidInput, match=r"one noise level per row, but got shape \(9, 2\)"):
            call(x_t, torch.zeros(9, 2))


def test_pure_noise_is_for_the_residual_network_alone():
    schedule = NoiseSchedule(torch.tensor([math.inf, 2.0, -2.0, -math.inf]))
    denoiser = build_denoiser(Residual(8, 1), 2, schedule=schedule, floor=0.1, stream=STREAM)
    assert bool(denoiser(torch.ones(3, 2), schedule.log_snr[1:]).isfinite().all())
    for last in (-math.inf, -110.0):
        schedule = NoiseSchedule(torch.tensor([math.inf, 2.0, -2.0, last]))
        with pytest.raises(InvalidInput, match="at least -80 for a network that predicts eps"):
            build_denoiser(Textbook(8, 1), 2, schedule=schedule, floor=0.1, stream=STREAM)


@pytest.mark.parametrize("architecture", [Residual(width=8, n_blocks=2, n_members=3), Textbook(width=8, n_hidden=2)])
def test_a_denoisers_own_derivative_is_that_of_automatic_differentiation(architecture):
    stream = Stream(31)
    denoiser = build_denoiser(
        architecture, 3, schedule=SCHEDULES["even"], floor=0.05, stream=stream.child("weights")
    ).double()
    for i, parameter in enumerate(denoiser.parameters()):  # blocks and output layers start at zero
        draws = stream.child("weight", i).normal(0, parameter[..., 0].numel(), parameter.shape[-1])
        parameter.data = 0.5 * draws.reshape(parameter.shape)
    x, tangents = stream.normal(0, 7, 3), stream.child("tangents").normal(0, 14, 3).reshape(2, 7, 3)
    for log_snr in (torch.tensor(-3.0), torch.tensor(2.0), torch.linspace(-5.0, 5.0, 7)):
        at_level = partial(denoiser, log_snr=log_snr.double())
        value, push = linearize(denoiser, x, log_snr.double())
        torch.testing.assert_close(value, at_level(x))
        for tangent, got in zip(tangents, push(tangents), strict=True):
            jacobian = torch.autograd.functional.jacobian(at_level, x)
            torch.testing.assert_close(got, torch.einsum("idje,je->id", jacobian, tangent))


def gradients_by_autograd(denoiser, x_0, eps, log_snr, weight):
    a, b = scales(log_snr.unsqueeze(-1), x_0)
    error = x_0 - denoiser.by_member(a * x_0 + b * eps, log_snr)
    loss = (weight * error.square().sum(-1)).sum()
    return loss.detach(), torch.autograd.grad(loss, list(denoiser.parameters()))


@pytest.mark.parametrize("architecture", [Residual(8, 2, 3), Residual(16, 1, 1), Residual(8, 3, 2), Textbook(8, 2)])
def test_gradients_of_training_are_those_of_automatic_differentiation(architecture):
    denoiser = build_denoiser(architecture, 3, schedule=SCHEDULES["even"], floor=0.05, stream=STREAM).double()
    for i, parameter in enumerate(denoiser.parameters()):
        draws = STREAM.child("weight", i).normal(0, parameter[..., 0].numel(), parameter.shape[-1])
        parameter.data = 0.5 * draws.reshape(parameter.shape)
    m = architecture.n_members
    x_0, eps = (STREAM.child(name).normal(0, 11 * m, 3).reshape(m, 11, 3) for name in ("x_0", "eps"))
    log_snr = torch.linspace(-5.0, 8.0, 11, dtype=torch.float64).expand(m, 11)
    weight = STREAM.child("w").uniform(0, m, 11)
    loss, gradients = denoiser.loss_and_gradients(x_0, eps, log_snr, weight)
    expected_loss, expected = gradients_by_autograd(denoiser, x_0, eps, log_snr, weight)
    torch.testing.assert_close(loss, expected_loss)
    for got, want in zip(gradients, expected, strict=True):
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize("asked_before", [False, True])
def test_joined_members_are_the_denoiser_with_weights_of_its_own(asked_before):
    denoiser = residual(n_members=3)
    x, log_snr = STREAM.normal(0, 5, 2, torch.float32), torch.linspace(-2.0, 4.0, 5)
    if asked_before:
        denoiser(x, log_snr)
    members = [denoiser.member(k) for k in range(3)]
    together = denoiser.by_member(x.expand(3, 5, 2), log_snr.expand(3, 5))
    for member, one in zip(members, together, strict=True):
        torch.testing.assert_close(member(x, log_snr), one)
    joined = EnsembleDenoiser.joined(members)
    expected = denoiser(x, log_snr)
    torch.testing.assert_close(joined(x, log_snr), expected)
    with torch.no_grad():
        for parameter in [*members[1].parameters(), *denoiser.parameters()]:
            parameter.mul_(1.1)
    torch.testing.assert_close(joined(x, log_snr), expected)


def test_bfloat16_changes_gradients_by_their_rounding_alone():
    denoiser = residual(n_members=2)
    x_0, eps = (STREAM.child(name).normal(0, 400, 2, torch.float32).reshape(2, 200, 2) for name in ("x_0", "eps"))
    log_snr, weight = torch.linspace(-5.0, 5.0, 200).expand(2, 200), torch.full((2, 200), 1 / 200)
    (loss, whole), (half_loss, half) = (
        denoiser.loss_and_gradients(x_0, eps, log_snr, weight, bfloat16=given) for given in (False, True)
    )
    assert half_loss != loss
    torch.testing.assert_close(half_loss, loss, rtol=0.01, atol=0)
    for got, want in zip(half, whole, strict=True):
        # A bfloat16 number has 8 bits: each product is off by at most 2^-8 of its size, in 8 units and 200 rows.
        assert float((got - want).norm()) < 0.03 * float(want.norm()) + 1e-6


def test_the_bound_of_the_mean_is_no_more_than_that_of_its_members_on_average():
    """Row by row, on the same noise: the squared error is convex in x_0_hat."""
    whole, x_0 = residual(n_members=3), STREAM.child("rows").normal(0, 40, 2, torch.float32)
    schedule = NoiseSchedule.log_snr_uniform(12, log_snr_max=10.0, log_snr_min=-5.0)

    def by_row(denoiser):
        return variational_bound(denoiser, x_0, schedule, beta_variance(schedule), stream=Stream(4)).per_row

    members = torch.stack([by_row(whole.member(k)) for k in range(3)])
    assert bool((by_row(whole) <= members.mean(dim=0) + 1e-9).all())
    assert bool((by_row(whole) < members.mean(dim=0)).any())


@pytest.mark.parametrize("log_snr", [50, 0.5, torch.tensor(50)])
def test_a_step_in_the_place_of_a_log_snr_is_refused(log_snr):
    for denoiser in (residual(), GaussianDenoiser(torch.zeros(2), torch.eye(2))):
        with pytest.raises(InvalidInput, match=r"for a step t give schedule\.log_snr\[t\]"):
            denoiser(torch.zeros(3, 2), log_snr)
