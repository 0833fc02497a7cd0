"""Models around a given denoiser, to study samplers, schedules and bounds without the errors of a network.

The denoiser is one in closed form (`backwalk.diffusion.closed_forms`), or any other `Denoiser`: a function (x_t,
log_snr) -> x_0_hat with a `log_snr_range` and a `device`.
"""

from __future__ import annotations

import torch
from numpy.typing import ArrayLike

from backwalk.diffusion import Denoiser, NoiseSchedule, check_denoiser, moments, prior_mismatch, refuse_lost_noise
from backwalk.model import (
    DiffusionModel,
    check_reverse_variance,
    default_decoder_variance,
    given_all_levels,
    measure_denoising_error,
)
from backwalk.sampling import Sampler, default_sampler
from backwalk.streams import Stream
from backwalk.table import Codec, NumberColumn, Schema, as_table, complete, only_numbers
from backwalk.training import History


def oracle_model(
    denoiser: Denoiser,
    rows: ArrayLike,
    schedule: NoiseSchedule,
    *,
    codec: Codec | None = None,
    reverse_variance: str = "optimal",
    sampler: Sampler | None = None,
    stream: Stream | None = None,
) -> DiffusionModel:
    """Return a model around a denoiser of your own.

    It is drawn from and scored as any fitted model. It cannot be saved, as a function is no data.

    Parameters
    ----------
    denoiser : Denoiser
        The denoiser of encoded points.
    rows : array-like of shape (n, d)
        Draws of the data, in the user's units. The denoising errors, and so the "optimal" reverse variances, are
        measured on them, and their moments give the prior mismatch.
    schedule : NoiseSchedule
        The noise levels of the chain.
    codec : Codec, optional
        The map between the user's units and the denoiser's. They are the same by default.
    reverse_variance : str, default="optimal"
        The reverse variances, as in `Diffusion`.
    sampler : Sampler, optional
        The sampler, as in `Diffusion`.
    stream : Stream, optional
        The noise in the denoising errors, and the places of dequantised integers.

    Returns
    -------
    DiffusionModel
        The model.

    Raises
    ------
    InvalidInput
        For a denoiser without a log_snr_range or a device, for rows that are no table of numbers or have another number
        of columns than the codec, and for rows so far from 0 that float32 rounds away the chain's first noise.

    See Also
    --------
    backwalk.model.sample_rows : Rows of a model.
    backwalk.model.log_density : Log-densities of rows.
    backwalk.model.bound : The bound on -log p.

    Examples
    --------
    >>> import torch
    >>> from backwalk import NoiseSchedule
    >>> from backwalk.diffusion import GaussianMixtureDenoiser
    >>> from backwalk.fit import oracle_model
    >>> from backwalk.model import bound, log_density, sample_rows
    >>> from backwalk.streams import Stream
    >>> weights, means = torch.tensor([0.5, 0.5]), torch.tensor([[-1.0, 0.0], [1.0, 0.0]])
    >>> exact = GaussianMixtureDenoiser(weights, means, 0.01 * torch.eye(2).expand(2, 2, 2))
    >>> rows = means[torch.arange(400) % 2] + 0.1 * Stream(0).normal(0, 400, 2)
    >>> schedule = NoiseSchedule.log_snr_uniform(100, log_snr_max=9.0, log_snr_min=-9.0)
    >>> model = oracle_model(exact, rows, schedule)
    >>> sample_rows(model, 0, 3, stream=Stream(1)).shape
    (3, 2)
    >>> log_density(model, rows[:50]).log_prob.shape, bound(model, rows[:50], stream=Stream(2)).n_rows
    (torch.Size([50]), 50)
    """
    check_denoiser(denoiser)
    values = complete(only_numbers(as_table(rows))).values
    d = values.shape[1]
    check_reverse_variance(reverse_variance)
    units = Codec((NumberColumn(0.0, 1.0),) * d) if codec is None else codec
    noise = Stream(0).child("oracle") if stream is None else stream
    z = torch.from_numpy(units.encode(values, stream=noise.child("cells"))).float().to(denoiser.device)
    of_noise, points, is_free = given_all_levels(denoiser, units, z) if units.blocks else (denoiser, z, None)
    refuse_lost_noise(points, schedule)
    error = measure_denoising_error(of_noise, points, schedule, stream=noise, is_free=is_free)
    return DiffusionModel(
        schedule=schedule,
        architecture=None,
        denoiser=denoiser,
        codec=units,
        schema=Schema(None, ("float64",) * d, "numpy"),
        reverse_variance=reverse_variance,
        denoising_error=error,
        decoder_variance=default_decoder_variance(reverse_variance, schedule, error),
        sampler=sampler or default_sampler(schedule),
        prior_mismatch=prior_mismatch(*moments(points.double().cpu()), schedule),
        history=History((), (), (), (), "none", 0, 0),
        card={"description": f"{type(denoiser).__name__}, a denoiser of {d} columns that was not learned"},
    )
