import math

import pytest
import torch

from backwalk.diffusion.schedule import NoiseSchedule, at_time, evenly_spaced
from backwalk.errors import InvalidInput

ZERO_TERMINAL = NoiseSchedule(torch.tensor([math.inf, 5.0, 0.0, -math.inf], dtype=torch.float64))
SCHEDULES = {
    "linear": NoiseSchedule.linear(100),
    "linear-1000": NoiseSchedule.linear(1000, beta_min=1e-4),
    "cosine": NoiseSchedule.cosine(50),
    "log_snr_uniform": NoiseSchedule.log_snr_uniform(40, log_snr_max=12.0, log_snr_min=-9.0),
    "karras": NoiseSchedule.from_noise_levels([0.002, 0.05, 0.7, 3.0, 80.0]),
    "one step": NoiseSchedule.from_beta([0.3]),
    "zero terminal SNR": ZERO_TERMINAL,
}


@pytest.fixture(params=SCHEDULES, ids=str)
def schedule(request):
    return SCHEDULES[request.param]


def test_arrays_agree_with_their_definitions(schedule):
    ab, beta = schedule.alpha_bar, schedule.beta
    close = {"rtol": 1e-9, "atol": 1e-12}
    torch.testing.assert_close(torch.cumprod(1 - beta, 0), ab, **close)
    torch.testing.assert_close(schedule.alpha, 1 - beta, **close)
    torch.testing.assert_close(schedule.one_minus_alpha_bar, 1 - ab, **close)
    torch.testing.assert_close(schedule.snr[1:], (ab / (1 - ab))[1:], rtol=1e-8, atol=0)
    torch.testing.assert_close(schedule.noise_level, schedule.snr**-0.5, **close)
    torch.testing.assert_close(schedule.beta_tilde[1:], beta[1:] * (1 - ab[:-1]) / (1 - ab[1:]), **close)
    x_0_weight = ab[:-1].sqrt() * beta[1:] / (1 - ab[1:])
    x_t_weight = schedule.alpha[1:].sqrt() * (1 - ab[:-1]) / (1 - ab[1:])
    torch.testing.assert_close(schedule.x_0_weight[1:], x_0_weight, **close)
    torch.testing.assert_close(schedule.x_t_weight[1:], x_t_weight, **close)
    torch.testing.assert_close(schedule.snr_drop[2:], schedule.snr[1:-1] - schedule.snr[2:], rtol=1e-9, atol=0)


def test_squared_x_0_weight_is_snr_drop_times_beta_tilde(schedule):
    product = (schedule.snr_drop * schedule.beta_tilde)[2:]
    torch.testing.assert_close(schedule.x_0_weight[2:] ** 2, product, rtol=1e-12, atol=0)


def test_both_ends_are_exact(schedule):
    assert schedule.alpha_bar[0] == 1
    assert schedule.one_minus_alpha_bar[0] == 0
    assert schedule.noise_level[0] == 0
    assert schedule.beta[0] == 0
    assert schedule.beta_tilde[1] == 0
    assert schedule.x_0_weight[1] == 1
    assert schedule.x_t_weight[1] == 0
    assert all(array.dtype == torch.float64 for array in (schedule.beta, schedule.beta_tilde, schedule.snr))


def test_zero_terminal_snr_is_finite_where_it_can_be():
    assert ZERO_TERMINAL.alpha_bar[3] == 0
    assert ZERO_TERMINAL.one_minus_alpha_bar[3] == 1
    assert ZERO_TERMINAL.beta[3] == 1
    assert ZERO_TERMINAL.alpha[3] == 0
    assert ZERO_TERMINAL.snr_drop[3] == ZERO_TERMINAL.snr[2]


def test_tiny_noise_keeps_its_digits():
    # A naive 1 - cumprod(1 - beta) has lost them all at 1e-17.
    schedule = NoiseSchedule.from_beta([1e-17, 1e-3])
    assert float(schedule.beta[1]) == pytest.approx(1e-17, rel=1e-12)
    assert float(schedule.one_minus_alpha_bar[1]) == pytest.approx(1e-17, rel=1e-12)


@pytest.mark.parametrize("beta", [[0.1, 0.2, 0.05], [0.999] * 5, torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)])
def test_beta_round_trip(beta):
    expected = torch.as_tensor(beta, dtype=torch.float64)
    torch.testing.assert_close(NoiseSchedule.from_beta(beta).beta[1:], expected, rtol=1e-10, atol=0)


def test_linear_is_the_notebooks_schedule_in_full():
    schedule = NoiseSchedule.linear(100)
    torch.testing.assert_close(schedule.beta[1:], torch.linspace(1e-3, 0.02, 100, dtype=torch.float64))
    assert round(float(schedule.alpha_bar[-1]), 4) == 0.3475


def test_linear_betas_do_not_depend_on_the_number_of_steps():
    torch.testing.assert_close(NoiseSchedule.linear(7).beta[[1, 7]], NoiseSchedule.linear(500).beta[[1, 500]])


def test_cosine_follows_its_formula_but_for_the_cap():
    n_steps, schedule = 50, NoiseSchedule.cosine(50)
    f = torch.cos((torch.arange(51, dtype=torch.float64) / n_steps + 0.008) / 1.008 * math.pi / 2) ** 2
    torch.testing.assert_close(schedule.alpha_bar[:-1], (f / f[0])[:-1], rtol=1e-10, atol=0)
    assert float(schedule.beta[-1]) == pytest.approx(0.999)


def test_log_snr_uniform_and_noise_levels_are_as_given():
    schedule = NoiseSchedule.log_snr_uniform(3, log_snr_max=4.0, log_snr_min=-2.0)
    assert schedule.log_snr.tolist() == [math.inf, 4.0, 1.0, -2.0]
    torch.testing.assert_close(
        NoiseSchedule.from_noise_levels([0.1, 2.0]).noise_level, torch.tensor([0.0, 0.1, 2.0], dtype=torch.float64)
    )


def test_respacing_to_all_steps_changes_nothing(schedule):
    assert schedule.respace(range(1, schedule.n_steps + 1)) == schedule
    assert schedule.respace(evenly_spaced(schedule.n_steps, schedule.n_steps)) == schedule


def test_respacing_keeps_the_marginals_and_composes_the_steps():
    schedule = NoiseSchedule.linear(100)
    short = schedule.respace([10, 40, 100])
    torch.testing.assert_close(short.alpha_bar, schedule.alpha_bar[[0, 10, 40, 100]], rtol=1e-15, atol=0)
    torch.testing.assert_close(short.alpha[2], schedule.alpha[11:41].prod(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("n_steps", [1, 2, 7, 100])
def test_evenly_spaced_ends_at_n_and_never_repeats(n_steps):
    for k in range(1, n_steps + 1):
        times = evenly_spaced(n_steps, k)
        gaps = [b - a for a, b in zip([0, *times], times, strict=False)]
        assert times[-1] == n_steps
        assert len(times) == k
        assert min(gaps) >= 1
        assert max(gaps) - min(gaps) <= 1


def test_equality_and_hash_are_by_value():
    assert NoiseSchedule.linear(5) == NoiseSchedule.linear(5)
    assert len({NoiseSchedule.linear(5), NoiseSchedule.linear(5), NoiseSchedule.linear(6)}) == 2
    assert NoiseSchedule.linear(5) != "linear"


def test_schedule_is_a_copy():
    log_snr = torch.tensor([math.inf, 1.0, 0.0])
    schedule = NoiseSchedule(log_snr)
    log_snr[1] = -5.0
    assert schedule.log_snr[1] == 1.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NoiseSchedule.linear(40, beta_max=1.2), r"but got 1.01554 at t = 34: .*beta_max"),
        (lambda: NoiseSchedule.linear(40, beta_min=0.0), r"got 0 at t = 1: .*beta_min"),
        (lambda: NoiseSchedule.from_beta([0.1, math.nan]), r"got nan at t = 2"),
        (lambda: NoiseSchedule.linear(0), "n_steps should be at least 1"),
        (lambda: NoiseSchedule.cosine(10, offset=-0.1), "offset should be >= 0"),
        (lambda: NoiseSchedule.log_snr_uniform(1, log_snr_max=1.0, log_snr_min=0.0), "at least 2"),
        (lambda: NoiseSchedule.log_snr_uniform(9, log_snr_max=0.0, log_snr_min=1.0), "below log_snr_max"),
        (lambda: NoiseSchedule.from_noise_levels([0.0, 1.0]), "should be > 0"),
        (lambda: NoiseSchedule.from_noise_levels([[1.0, 2.0]]), r"one row of numbers, but got shape \(1, 2\)"),
        (lambda: NoiseSchedule.from_noise_levels([]), r"one row of numbers, but got shape \(0,\)"),
        (lambda: NoiseSchedule.from_noise_levels(1.0), r"one row of numbers, but got shape \(\)"),
        (lambda: NoiseSchedule.from_noise_levels([2.0, 1.0]), "decrease strictly, but got .* at t = 2"),
        (lambda: NoiseSchedule(torch.tensor([1.0, 0.0])), r"should be \+inf"),
        (lambda: NoiseSchedule(torch.tensor([math.inf, 0.0, 0.0])), "decrease strictly, but got 0 at t = 2"),
        (lambda: NoiseSchedule(torch.tensor([math.inf, math.nan])), "decrease strictly"),
        (lambda: NoiseSchedule(torch.zeros(2, 2)), r"but got shape \(2, 2\)"),
        (lambda: NoiseSchedule.linear(5).respace([1, 3]), "end at 5"),
        (lambda: NoiseSchedule.linear(5).respace([0, 5]), "within 1..5"),
        (lambda: NoiseSchedule.linear(5).respace([3, 3, 5]), "increase"),
        (lambda: evenly_spaced(5, 6), "k should lie in 1..5"),
    ],
)
def test_errors_give_rule_value_and_remedy(make, message):
    with pytest.raises(InvalidInput, match=message):
        make()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_at_time_gathers_in_the_points_dtype(dtype):
    schedule, x = NoiseSchedule.linear(5), torch.zeros(3, 2, dtype=dtype)
    gathered = at_time(schedule.beta, torch.tensor([5, 0, 1]), x)
    assert gathered.dtype == dtype
    assert gathered.shape == (3, 1)
    assert gathered[:, 0].tolist() == schedule.beta[[5, 0, 1]].to(dtype).tolist()
    assert at_time(schedule.beta, 5, x) == gathered[0]


@pytest.mark.parametrize("t", [-1, 6, torch.tensor([1, -1]), torch.tensor([6, 2])])
def test_times_outside_the_chain_are_refused(t):
    with pytest.raises(InvalidInput, match=r"t should lie in 0..5, but got"):
        at_time(NoiseSchedule.linear(5).beta, t, torch.zeros(2, 1))


def test_betas_are_one_row():
    with pytest.raises(InvalidInput, match="beta should be one row"):
        NoiseSchedule.from_beta(torch.tensor([[0.1, 0.2]]))


def test_a_ratio_that_float64_cannot_hold_is_refused():
    """Found by review: such a chain was fitted, and sampling ended in an OverflowError."""
    assert NoiseSchedule.log_snr_uniform(20, log_snr_max=10.0, log_snr_min=-700.0).n_steps == 20
    with pytest.raises(InvalidInput, match=r"within 700 of 0, .* but got -752.* at t = 10"):
        NoiseSchedule.log_snr_uniform(20, log_snr_max=10.0, log_snr_min=-1600.0)


def test_the_last_beta_may_be_one_which_is_zero_terminal_snr():
    schedule = NoiseSchedule.from_beta([0.1, 0.5, 1.0])
    assert schedule.log_snr[-1] == -math.inf
    torch.testing.assert_close(schedule.beta, torch.tensor([0.0, 0.1, 0.5, 1.0]).double())
    assert NoiseSchedule.linear(10, beta_max=1.0).alpha_bar[-1] == 0
    with pytest.raises(InvalidInput, match="but got 1 at t = 2"):
        NoiseSchedule.from_beta([0.1, 1.0, 0.5])


def test_the_ends_of_a_line_follow_the_number_of_steps():
    assert NoiseSchedule.linear(100, 1e-3, 0.02) == NoiseSchedule.linear(100, beta_min=1e-3, beta_max=0.02)
