"""The loop back: which states it yields, what it asks for, and where it refuses to go."""

import math
from itertools import pairwise

import pytest
import torch

from backwalk.diffusion import GaussianDenoiser, NoiseSchedule
from backwalk.errors import InvalidInput
from backwalk.sampling import Ancestral, Ddim, StochasticMultistep, walk_back

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
    ("step", "asked"),
    [
        (Ddim(), []),
        (Ddim(0.1), [7, 6, 5, 4, 3, 2]),
        (StochasticMultistep(), [7, 6, 5, 4, 3, 2]),
        (Ancestral(SCHEDULE.beta), [7, 6, 5, 4, 3, 2]),
    ],
)
def test_noise_is_drawn_for_random_steps_alone_and_never_for_the_last(step, asked):
    times = []
    list(walk_back(DENOISER, SCHEDULE, step, START, noise=lambda t: times.append(t) or torch.zeros(3, 2)))
    assert times == asked


def test_a_denoiser_is_not_used_where_it_is_not_valid():
    class Narrow:
        log_snr_range = (0.0, 5.0)

    with pytest.raises(InvalidInput, match="log-SNR should stay within"):
        next(walk_back(Narrow(), SCHEDULE, Ddim(), START, noise=lambda _: START))
