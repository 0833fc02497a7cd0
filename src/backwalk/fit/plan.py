"""The plan of a fit: parameters that the settings leave open follow from the rows."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

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
from backwalk.fit.rules import (
    default_architecture,
    default_training,
    default_validation_fraction,
    fit_rules,
    usual_steps,
)
from backwalk.fit.settings import Settings, check_length, choose_device
from backwalk.fit.structure import STRUCTURE, complete_cases, default_schedule, finest_scale
from backwalk.fit.table_rules import default_evaluations, default_shares, table_rules
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


@dataclass(frozen=True, kw_only=True, eq=False)
class FitRows:
    """The encoded rows to train on, (n, k), and those that are held out, (m, k), with their weights of mean 1.

    `redraw` dequantises x_0 anew.
    """

    x_0: Tensor
    x_validation: Tensor | None
    weight: Tensor | None
    validation_weight: Tensor | None
    redraw: Redraw | None

    @property
    def n_held_out(self) -> int:
        """The number of held-out rows."""
        return 0 if self.x_validation is None else len(self.x_validation)


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """The rows, the noise, the untrained network and its training.

    `patterns` make columns of a table given or absent; without them rows are numbers alone. `covariance` is that of all
    rows, in tables that of the numbers in up to 100,000 training rows, `usual_steps` the number of training steps
    without a time limit, and `sound_steps` that below which a fit warns.
    """

    rows: FitRows
    codec: Codec
    patterns: Patterns | None
    conditions: Conditions

    schedule: NoiseSchedule
    levels: NoiseLevels
    covariance: Tensor
    prior_mismatch: float

    architecture: Architecture
    denoiser: EnsembleDenoiser

    training: Training
    usual_steps: int
    sound_steps: int

    def measured(self, denoiser: EnsembleDenoiser) -> tuple[Denoiser, Tensor]:
        """Return what the denoising errors of a denoiser are measured with: held-out rows, if there are any.

        For tables the first is the denoiser of the numbers with all levels given.
        """
        rows = self.rows.x_0 if self.rows.x_validation is None else self.rows.x_validation
        if self.patterns is None:
            return denoiser, rows[:_MOST_MEASURED]
        return given_all_levels(denoiser, self.codec, rows[:_MOST_MEASURED])

    @property
    def sampler(self) -> Sampler:
        """The default sampler of the model."""
        return default_sampler(self.schedule, default_evaluations(self.codec, self.conditions))


def plan_fit(
    z: NDArray[Any],
    settings: Settings,
    *,
    codec: Codec,
    stream: Stream,
    split: Stream | None = None,
    before: DiffusionModel | None = None,
    slowness: float = 1.0,
    conditions: Conditions = None,
    redraw: Redraw | None = None,
    weights: NDArray[np.float64] | None = None,
    tied: Callable[[], Collection[int]] = tuple,
) -> Plan:
    """Plan a fit to encoded rows, (n, k); the rows drawn by `split`, or by `stream`, are held out for validation.

    The network starts from the weights of the model `before`, if given. `slowness` is the time of a training step here,
    relative to the reference machine; with a time limit, network and training follow from it. `conditions` are the
    columns that may be given, and `weights`, (n,), those of the rows; `tied` returns the coordinates of a table's tied
    numbers (`table.tied_numbers`).

    Raises InvalidInput before any long work.
    """
    n, k = z.shape
    is_table = bool(codec.blocks) or bool(np.isnan(z).any()) or conditions is not None
    device = torch.device(choose_device(settings.device))
    held_out, trained = split_rows(n, _n_held_out(n, k, settings), stream=split or stream)
    rows = FitRows(
        x_0=torch.from_numpy(z[trained]).float().to(device),
        x_validation=torch.from_numpy(z[held_out]).float().to(device) if len(held_out) else None,
        weight=None if weights is None else torch.from_numpy(weights[trained]).float().to(device),
        validation_weight=None if weights is None or not len(held_out) else _of_mean_one(weights[held_out]),
        redraw=None if redraw is None else redraw.of(trained),
    )

    from_noise = z[:, codec.numbers] if is_table else z  # the coordinates that the chain makes from noise
    from_noise = from_noise.astype(np.float64, copy=False)
    floor = finest_scale(complete_cases(from_noise), stream=stream.child("floor"))
    start = None
    if is_table:
        start, mean, covariance = _fit_gaussian(z, trained, codec, weights, stream.child("start"))
    else:
        mean, covariance = moments(torch.from_numpy(z))
    schedule = settings.schedule or default_schedule(mean, covariance, floor, settings.n_steps)
    if not settings.scale:
        _refuse_narrow(z, float(schedule.noise_level[1]))
        refuse_lost_noise(torch.from_numpy(z).float(), schedule)
        if settings.schedule is None:
            _refuse_wide(z)

    has_patience = len(held_out) >= _FEWEST_FOR_PATIENCE
    rules = table_rules(codec, len(trained), conditions if has_patience else None) if is_table else fit_rules(k)
    if not has_patience:
        rules = replace(rules, patience=None, patient_steps=0)
    max_steps, max_time = settings.max_steps, settings.max_time
    architecture = settings.denoiser or (None if before is None else before.architecture)
    if architecture is None:
        architecture = default_architecture(len(trained), k, max_time, max_steps, slowness=slowness, rules=rules)
    training = settings.training or default_training(
        len(trained), k, max_steps, max_time, architecture, device, slowness=slowness, rules=rules
    )
    check_length(training, len(trained))
    only_time_ends_it = max_time is not None and max_steps is None and settings.training is None
    layout = TableLayout(codec, start, tied=tied()) if is_table else None
    denoiser = build_denoiser(
        architecture, k, schedule=schedule, floor=floor, stream=stream.child("weights"), layout=layout
    )
    if before is not None:
        _start_from(denoiser, before)

    return Plan(
        rows=rows,
        codec=codec,
        patterns=Patterns.of(codec, default_shares(codec, conditions), conditions) if is_table else None,
        conditions=conditions,
        schedule=schedule,
        levels=_noise_levels(training, schedule, floor),
        covariance=covariance,
        prior_mismatch=prior_mismatch(mean, covariance, schedule),
        architecture=architecture,
        denoiser=denoiser.to(device),
        training=training,
        usual_steps=usual_steps(len(trained), k, rules) if only_time_ends_it else training.steps_for(len(trained)),
        sound_steps=rules.sound_steps,
    )


def encode_rows(codec: Codec, values: NDArray[np.float64], *, stream: Stream) -> NDArray[Any]:
    """Return the encoded rows of a table, (n, k), in float64, or in float32 where they would take more than 512 MiB."""
    n, k = len(values), codec.n_encoded
    if n * k <= _MOST_IN_DOUBLE:
        return codec.encode(values, stream=stream)
    z = np.empty((n, k), dtype=np.float32)
    for first in range(0, n, _ROWS_ENCODED_AT_ONCE):
        piece = slice(first, first + _ROWS_ENCODED_AT_ONCE)
        z[piece] = codec.encode(values[piece], stream=stream, first_row=first)
    return z


def _n_held_out(n: int, k: int, settings: Settings) -> int:
    fraction = settings.validation_fraction
    fraction = default_validation_fraction(n, k) if fraction is None else fraction
    n_held_out = round(fraction * n)
    if fraction and not n_held_out:
        raise InvalidInput(
            f"validation_fraction should hold out at least one of {n} rows, but {fraction:g} holds out none: give "
            "more, or 0."
        )
    return n_held_out


def _fit_gaussian(
    z: NDArray[Any], trained: NDArray[np.intp], codec: Codec, weights: NDArray[np.float64] | None, stream: Stream
) -> tuple[JointGaussian | None, Tensor, Tensor]:
    """Return the Gaussian from which a table's network starts, and the mean and the covariance of its numbers."""
    numbers = codec.numbers
    if not len(numbers):
        return None, torch.zeros(0, dtype=torch.float64), torch.zeros(0, 0, dtype=torch.float64)
    some = trained[:_MOST_FOR_MOMENTS]  # the order of `trained` is random
    of_all = moments_with_gaps(
        z[some].astype(np.float64, copy=False), weights=None if weights is None else weights[some], stream=stream
    )
    mean = torch.from_numpy(of_all.mean[numbers])
    return JointGaussian.of_moments(of_all), mean, torch.from_numpy(of_all.covariance[np.ix_(numbers, numbers)])


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
