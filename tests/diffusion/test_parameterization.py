import math

import pytest
import torch

from backwalk import diffusion as p
from backwalk.diffusion import GaussianDenoiser, NoiseSchedule, q_posterior
from backwalk.errors import InvalidInput
from backwalk.streams import Stream

X_0, EPS, V = (Stream(3).child(i).normal(0, 4, 3) for i in range(3))
LEVELS = [-30.0, -3.0, 0.0, 3.0, 30.0]


def at_level(log_snr):
    log_snr = torch.tensor(log_snr, dtype=torch.float64)
    a, b = p.scales(log_snr, X_0)
    return log_snr, a, b, a * X_0 + b * EPS


@pytest.mark.parametrize("log_snr", [*LEVELS, [-9.0, -1.0, 2.0, 9.0]])
def test_scales_are_a_point_on_the_unit_circle_with_the_right_ratio(log_snr):
    level, a, b, _ = at_level(log_snr)
    torch.testing.assert_close(a**2 + b**2, torch.ones_like(a), rtol=1e-14, atol=0)
    torch.testing.assert_close((a / b).flatten(), torch.exp(level / 2).flatten(), rtol=1e-14, atol=0)


def test_scales_are_exact_at_both_ends():
    a, b = p.scales(torch.tensor([-math.inf, math.inf]), torch.zeros(2, 1))
    assert a.flatten().tolist() == [0.0, 1.0]
    assert b.flatten().tolist() == [1.0, 0.0]


@pytest.mark.parametrize("log_snr", [-3.0, 0.0, 3.0, [-4.0, -1.0, 2.0, 4.0]])
def test_every_conversion_recovers_its_definition(log_snr):
    level, a, b, x_t = at_level(log_snr)
    v, score = a * EPS - b * X_0, -EPS / b
    recovered = {
        "x_0 from eps": (p.x_0_from_eps(x_t, EPS, level), X_0),
        "eps from x_0": (p.eps_from_x_0(x_t, X_0, level), EPS),
        "x_0 from v": (p.x_0_from_v(x_t, v, level), X_0),
        "v from x_0": (p.v_from_x_0(x_t, X_0, level), v),
        "eps from v": (p.eps_from_v(x_t, v, level), EPS),
        "v from eps": (p.v_from_eps(x_t, EPS, level), v),
        "score from eps": (p.score_from_eps(EPS, level), score),
        "score from x_0": (p.score_from_x_0(x_t, X_0, level), score),
    }
    for name, (got, expected) in recovered.items():
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("log_snr", [-60.0, -30.0, 30.0, 60.0])
def test_conversions_are_stable_in_their_own_end(log_snr):
    level, a, b, x_t = at_level(log_snr)
    v = a * EPS - b * X_0
    torch.testing.assert_close(p.x_0_from_v(x_t, v, level), X_0, rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(p.eps_from_v(x_t, v, level), EPS, rtol=1e-14, atol=1e-14)
    if log_snr > 0:
        torch.testing.assert_close(p.x_0_from_eps(x_t, EPS, level), X_0, rtol=1e-14, atol=1e-14)
    else:
        torch.testing.assert_close(p.eps_from_x_0(x_t, X_0, level), EPS, rtol=1e-14, atol=1e-14)


def test_zero_snr_allows_v_and_refuses_eps():
    level, _, _, x_t = at_level(-math.inf)
    assert torch.equal(p.x_0_from_v(x_t, -X_0, level), X_0)
    assert torch.equal(p.eps_from_x_0(x_t, X_0, level), EPS)
    for convert in (p.x_0_from_eps, p.v_from_eps):
        with pytest.raises(InvalidInput, match="zero SNR"):
            convert(x_t, EPS, level)


def test_clean_data_refuse_a_division_by_the_noise():
    level, _, _, x_t = at_level(math.inf)
    for convert in (p.eps_from_x_0, p.v_from_x_0, p.score_from_x_0):
        with pytest.raises(InvalidInput, match="no noise"):
            convert(x_t, X_0, level)


@pytest.mark.parametrize("t", [1, 2, 50, 100, torch.tensor([1, 2, 50, 100])])
def test_reverse_mean_is_the_same_from_x_0_and_from_eps(t):
    schedule = NoiseSchedule.linear(100)
    a, b = schedule.alpha_bar[t].sqrt().reshape(-1, 1), schedule.one_minus_alpha_bar[t].sqrt().reshape(-1, 1)
    x_t = a * X_0 + b * EPS
    mu = p.mu_from_x_0(x_t, X_0, t, schedule)
    torch.testing.assert_close(p.mu_from_eps(x_t, EPS, t, schedule), mu, rtol=1e-12, atol=1e-12)
    assert torch.equal(mu, q_posterior(x_t, X_0, t, schedule).mean)


@pytest.mark.parametrize("t", [3, torch.tensor([1, 2, 3, 4])])
def test_denoise_at_time_passes_the_schedules_level(t):
    schedule, seen = NoiseSchedule.linear(4), []

    class Spy(GaussianDenoiser):
        def __call__(self, x_t, log_snr):
            seen.append(log_snr)
            return super().__call__(x_t, log_snr)

    p.denoise_at_time(Spy(torch.zeros(3), torch.eye(3)), X_0.float(), t, schedule)
    assert torch.equal(seen[0], schedule.log_snr[t].float())


def test_a_level_outside_the_denoisers_range_is_refused():
    class Narrow(GaussianDenoiser):
        log_snr_range = (-2.0, 2.0)

    denoiser = Narrow(torch.zeros(1), torch.eye(1))
    p.check_log_snr_range(denoiser, -2.0, 2.0)
    for low, high in ((-2.1, 1.0), (0.0, 2.1), (-math.inf, 0.0)):
        with pytest.raises(InvalidInput, match=r"log-SNR should stay within -2\.\.2"):
            p.check_log_snr_range(denoiser, low, high)
