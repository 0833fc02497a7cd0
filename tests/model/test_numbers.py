"""The denoiser of the free numbers of rows, and its measured errors."""

import math

import pytest
import torch

from backwalk.diffusion import GaussianDenoiser, NoiseSchedule
from backwalk.model import given_all_levels, measure_denoising_error
from backwalk.streams import Stream
from backwalk.table import Codec, NumberColumn

SCHEDULE = NoiseSchedule.log_snr_uniform(20, log_snr_max=6.0, log_snr_min=-6.0)


@pytest.mark.parametrize("n_complete", [0, 10, 400])
def test_the_measured_errors_are_those_of_free_numbers(n_complete):
    """Of N(0, I) the error is 1 - alpha_bar_t at each free number, whatever is absent in its row."""
    z = Stream(3).normal(0, 2000, 2, torch.float32)
    z[n_complete:][torch.arange(2000 - n_complete), torch.arange(2000 - n_complete) % 2] = math.nan
    codec = Codec((NumberColumn(0.0, 1.0), NumberColumn(0.0, 1.0)))
    denoiser, rows, is_free = given_all_levels(GaussianDenoiser(torch.zeros(2), torch.eye(2)), codec, z)
    error = measure_denoising_error(denoiser, rows, SCHEDULE, stream=Stream(4), is_free=is_free)
    torch.testing.assert_close(error[1:], SCHEDULE.one_minus_alpha_bar[1:], rtol=0.25, atol=0.0)
