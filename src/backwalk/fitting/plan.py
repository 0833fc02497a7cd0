"""The plan of a fit: parameters that the settings leave open follow from the rows."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backwalk.defaults import (
    STRUCTURE,
    complete_cases,
    default_architecture,
    default_evaluations,
    default_schedule,
    default_shares,
    default_training,
    default_validation_fraction,
    finest_scale,
    fit_rules,
    table_rules,
    usual_steps,
)
from backwalk.denoiser import Architecture, EnsembleDenoiser, TableLayout, build_denoiser
from backwalk.diffusion import (
    Denoiser,
    JointGaussian,
    NoiseSchedule,
    moments,
    moments_with_gaps,
    prior_mismatch,
    refuse_lost_noise,
)
from backwalk.errors import InvalidInput
from backwalk.fitting.settings import Settings, check_length, chosen_device
from backwalk.limits import GREATEST_LEVEL
from backwalk.model import Conditions, DiffusionModel, given_all_levels
from backwalk.sampling import Sampler, default_sampler
from backwalk.streams import Stream
from backwalk.table import Codec, Redraw
from backwalk.training import ChainLevels, LogNormalLevels, NoiseLevels, Patterns, Training, split_rows

_MOST_MEASURED = 1000  # rows on which the denoising errors are measured
_MOST_FOR_MOMENTS = 100_000  # rows
_MOST_IN_DOUBLE = 2**26  # numbers of encoded rows that are held in float64; training takes float32
_ROWS_ENCODED_AT_ONCE = 2**16
_FEWEST_FOR_PATIENCE = 5  # held-out rows: the standard error of fewer tells little


def encoded_in_pieces(codec: Codec, values: NDArray[np.float64], *, stream: Stream) -> NDArray[Any]:
    """Return the encoded rows of a table, (n, k), in float64, or in float32 where they would take more than 512 MiB."""
    n, k = len(values), codec.n_encoded
    if n * k <= _MOST_IN_DOUBLE:
        return codec.encode(values, stream=stream)
    z = np.empty((n, k), dtype=np.float32)
    for first in range(0, n, _ROWS_ENCODED_AT_ONCE):
        piece = slice(first, first + _ROWS_ENCODED_AT_ONCE)
        z[piece] = codec.encode(values[piece], stream=stream, first_row=first)
    return z


@dataclass(frozen=True, eq=False)
class Plan:
    """The training rows and the held-out rows, (n, k), the schedule, the untrained network, and its training.

    `covariance` is that of all rows, in tables that of the numbers in up to 100,000 training rows, `usual_steps` the
    number of training steps without a time limit, and `sound_steps` that below which a fit warns.
    """

    x_0: Tensor
    x_validation: Tensor | None
    levels: NoiseLevels
    schedule: NoiseSchedule
    architecture: Architecture
    training: Training
    denoiser: EnsembleDenoiser
    covariance: Tensor
    prior_mismatch: float
    usual_steps: int
    sound_steps: int
    codec: Codec
    redraw: Redraw | None  # of x_0
    patterns: Patterns | None = None
    conditions: Conditions = None
    row_weight: Tensor | None = None  # of x_0
    validation_weight: Tensor | None = None  # of x_validation, of mean 1

    @property
    def measured(self) -> tuple[Denoiser, Tensor]:
        """The denoiser and the rows on which the denoising errors are measured: held-out rows, if there are any.

        For tables it is the denoiser of the numbers with all levels given, which has the network's present weights.
        """
        rows = self.x_0 if self.x_validation is None else self.x_validation
        if self.patterns is None:
            return self.denoiser, rows[:_MOST_MEASURED]
        return given_all_levels(self.denoiser, self.codec, rows[:_MOST_MEASURED])

    @property
    def sampler(self) -> Sampler:
        """The default sampler of the model."""
        return default_sampler(self.schedule, default_evaluations(self.codec, self.conditions))


def planned(
    z: NDArray[Any],
    settings: Settings,
    stream: Stream,
    before: DiffusionModel | None,
    split: Stream,
    slowness: float = 1.0,
    *,
    codec: Codec,
    conditions: Conditions = None,
    redraw: Redraw | None = None,
    weights: NDArray[np.float64] | None = None,
    tied: Callable[[], Collection[int]] = tuple,
) -> Plan:
    """Plan a fit to encoded rows, (n, k); the rows drawn by `split` are held out for validation.

    `slowness` is the time of a training step here, relative to the reference machine; with a time limit, network and
    training follow from it. `conditions` are the columns that may be given, and `weights`, (n,), those of the rows;
    `tied` returns the coordinates of a table's tied numbers (`Codec.tied_numbers`).
    Raises InvalidInput before any long work.
    """
    n, k = z.shape
    fraction = settings.validation_fraction
    fraction = default_validation_fraction(n, k) if fraction is None else fraction
    n_validation = round(fraction * n)
    if fraction and not n_validation:
        raise InvalidInput(
            f"validation_fraction should hold out at least one of {n} rows, but {fraction:g} holds out none: give "
            "more, or 0."
        )
    device = torch.device(chosen_device(settings.device))
    held_out, trained = split_rows(n, n_validation, stream=split)
    x_validation, x_0 = (torch.from_numpy(z[rows]).float().to(device) for rows in (held_out, trained))
    is_table = bool(codec.blocks) or bool(np.isnan(z).any()) or conditions is not None
    of_noise = z[:, codec.numbers] if is_table else z  # the coordinates that the chain makes from noise
    of_noise = of_noise.astype(np.float64, copy=False)
    floor = finest_scale(complete_cases(of_noise), stream=stream.child("floor"))
    start = None
    if is_table and of_noise.shape[1]:
        some = trained[:_MOST_FOR_MOMENTS]  # the order of `trained` is random
        of_all = moments_with_gaps(
            z[some].astype(np.float64, copy=False),
            weights=None if weights is None else weights[some],
            stream=stream.child("start"),
        )
        start, numbers = JointGaussian.of_moments(of_all), codec.numbers
        mean = torch.from_numpy(of_all.mean[numbers])
        covariance = torch.from_numpy(of_all.covariance[np.ix_(numbers, numbers)])
    elif is_table:
        mean, covariance = torch.zeros(0, dtype=torch.float64), torch.zeros(0, 0, dtype=torch.float64)
    else:
        mean, covariance = moments(torch.from_numpy(z))
    schedule = settings.schedule or default_schedule(mean, covariance, floor, settings.n_steps)
    if not settings.scale:
        _refuse_narrow(z, float(schedule.noise_level[1]))
        refuse_lost_noise(torch.from_numpy(z).float(), schedule)
        if settings.schedule is None:
            _refuse_wide(z)
    of_before = None if before is None else before.architecture
    max_steps, max_time = settings.max_steps, settings.max_time
    shows_overfitting = n_validation >= _FEWEST_FOR_PATIENCE
    rules = table_rules(codec, len(x_0), conditions if shows_overfitting else None) if is_table else fit_rules(k)
    if not shows_overfitting:
        rules = replace(rules, patience=None, patient_steps=0)
    usual = default_architecture(len(x_0), k, max_time, max_steps, slowness=slowness, rules=rules)
    architecture = settings.denoiser or of_before or usual
    training = settings.training or default_training(
        len(x_0), k, max_steps, max_time, architecture, device, slowness=slowness, rules=rules
    )
    only_time_ends_it = max_time is not None and max_steps is None and settings.training is None
    check_length(training, len(x_0))
    layout = TableLayout(codec, start, tied=tied()) if is_table else None
    denoiser = build_denoiser(
        architecture, k, schedule=schedule, floor=floor, stream=stream.child("weights"), layout=layout
    )
    if before is not None:
        _start_from(denoiser, before)
    return Plan(
        x_0,
        x_validation if n_validation else None,
        _noise_levels(training, schedule, floor),
        schedule,
        architecture,
        training,
        denoiser.to(device),
        covariance,
        prior_mismatch(mean, covariance, schedule),
        usual_steps(len(x_0), k, rules) if only_time_ends_it else training.steps_for(len(x_0)),
        rules.sound_steps,
        codec,
        None if redraw is None else redraw.of(trained),
        Patterns.of(codec, default_shares(codec, conditions), conditions) if is_table else None,
        conditions,
        None if weights is None else torch.from_numpy(weights[trained]).float().to(device),
        None if weights is None or not n_validation else _of_mean_one(weights[held_out]),
    )


def _of_mean_one(weights: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(weights / weights.mean())


def _refuse_narrow(z: NDArray[np.float64], level: float) -> None:
    spread = np.nanstd(z, axis=0)
    if spread.min() < level:
        raise InvalidInput(
            f"Columns should have a larger standard deviation than the noise of the chain's first step, {level:.2g}, "
            f"but the smallest is {spread.min():.2g}: set scale=True (leave --ddpm out), or give larger numbers."
        )


def _refuse_wide(z: NDArray[np.float64]) -> None:
    size, most = float(np.sqrt(np.nanmean(np.square(z), axis=0).max())), GREATEST_LEVEL / STRUCTURE.last_level
    if size > most:
        raise InvalidInput(
            f"Columns that are not scaled should have a root mean square of at most {most:g}, but the largest is "
            f"{size:.3g}: set scale=True, or give smaller numbers."
        )


def _noise_levels(training: Training, schedule: NoiseSchedule, floor: float) -> NoiseLevels:
    if training.levels == "chain":
        return ChainLevels(schedule)
    level = schedule.noise_level.clamp(max=GREATEST_LEVEL)
    # In ln s, half-way between the finest scale and exp(0.3), a little above the data's scale of 1.
    centre = 0.5 * (float(np.log(floor)) + 0.3)
    return LogNormalLevels(float(level[1]), float(level[-1]), centre)


def _start_from(denoiser: torch.nn.Module, before: DiffusionModel) -> None:
    try:
        assert isinstance(before.denoiser, EnsembleDenoiser)  # of a fit
        denoiser.load_state_dict(before.denoiser.state_dict())
    except RuntimeError as error:
        raise InvalidInput(
            "warm_start needs the same network and columns as the previous fit, but the sizes differ: give the same "
            "denoiser and columns, or set warm_start=False."
        ) from error
