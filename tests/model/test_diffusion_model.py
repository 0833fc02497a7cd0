"""The record of a fitted model: the variances of its chains, and its facts in words."""

import dataclasses

import pytest
import torch

from backwalk.diffusion import beta_tilde_variance, beta_variance, optimal_variance
from backwalk.model import (
    reverse_variances,
)


@pytest.fixture
def model(fitted):
    return fitted.model_


def test_a_short_chain_has_the_variances_of_its_own_schedule(model):
    times = [1, 4, 20, 30]
    short, error = model.schedule.respace(times), model.denoising_error[[0, *times]]
    decoder = {"decoder_variance": model.decoder_variance}
    for name, expected in (
        ("beta", beta_variance(short, **decoder)),
        ("beta_tilde", beta_tilde_variance(short, **decoder)),
        ("optimal", optimal_variance(short, error, **decoder)),
    ):
        other = dataclasses.replace(model, reverse_variance=name)
        torch.testing.assert_close(reverse_variances(other, times), expected)
        assert other.sigma_sq.shape == (31,)
    without_first = reverse_variances(model, [4, 20, 30])
    assert float(without_first[1]) == pytest.approx(float(model.denoising_error[4]))
