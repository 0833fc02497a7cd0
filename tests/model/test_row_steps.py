"""The chain of single rows: its states are those of `walk` and `sample`, and its sums add up."""

import numpy as np
import pytest
import torch

from backwalk.diffusion import mu_from_eps
from backwalk.model import row_steps, sample_rows, visited_times, walk
from backwalk.sampling import Sampler
from backwalk.streams import Stream

SAMPLERS = [Sampler("ancestral"), Sampler("ddim", 7, 0.5), Sampler("ddim", 7), Sampler("multistep", 9), Sampler()]
STREAM = Stream(5).child("sample")


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda sampler: f"{sampler.solver} {sampler.eta:g}")
def test_a_row_has_the_states_of_the_chain(fitted, sampler):
    model, row = fitted.model_, 2100
    whole = list(walk(model, 2000, 2200, stream=STREAM, sampler=sampler))
    last = model.codec.decode(whole[-1].x_t.double().numpy())
    np.testing.assert_allclose(last, sample_rows(model, 2000, 2200, stream=STREAM, sampler=sampler), atol=1e-4)
    steps = row_steps(model, whole, row - 2000, sampler=sampler)
    assert [step.t for step in steps] == visited_times(model, sampler)[::-1]
    assert [step.t_next for step in steps] == [*(step.t for step in steps[1:]), 0]
    for step, before, after in zip(steps, whole, whole[1:], strict=False):
        assert torch.equal(step.x_t, before.x_t[row - 2000])
        assert torch.equal(step.x_0_hat, after.x_0_hat[row - 2000])
        assert torch.equal(step.x_next, after.x_t[row - 2000])
        assert after.eps is None or torch.equal(step.noise, after.eps[row - 2000])
        total = step.mean + step.sigma * step.noise.double()
        torch.testing.assert_close(total.float(), step.x_next, rtol=1e-5, atol=1e-5)


def test_the_ancestral_step_is_the_paper_s(fitted):
    """mu_theta by Eq. 11 from eps_theta, and sigma_t from the reverse variances; no noise at t = 1."""
    model = fitted.model_
    states = list(walk(model, 3, 4, stream=STREAM, sampler="ancestral"))
    for step in row_steps(model, states, sampler="ancestral"):
        mean = mu_from_eps(step.x_t.double()[None], step.eps_theta[None], step.place, step.schedule)[0]
        torch.testing.assert_close(step.mean, mean, rtol=1e-9, atol=1e-7)
        assert step.sigma**2 == pytest.approx(float(model.sigma_sq[step.t]) if step.t > 1 else 0.0)
        assert bool((step.noise == 0).all()) == (step.t == 1)


def test_rows_of_tables_have_steps_of_their_numbers(penguins):
    sampler = Sampler("ddim", 5, 1.0)
    steps = row_steps(
        penguins.model_, list(walk(penguins.model_, 0, 3, stream=STREAM, sampler=sampler)), 1, sampler=sampler
    )
    codes = steps[0].x_t[:3]
    numbers = list(penguins.model_.codec.numbers)
    for step in steps:
        assert torch.equal(step.x_t[:3], codes)  # levels are drawn before
        total = step.mean + step.sigma * step.noise.double()
        torch.testing.assert_close(total[numbers].float(), step.x_next[numbers], rtol=1e-5, atol=1e-5)
