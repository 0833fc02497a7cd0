"""The plan of a fit: what the settings leave open follows from the rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backwalk.denoiser import (
    Architecture,
    DataColumns,
    EnsembleDenoiser,
    Partner,
    TableDenoiser,
    TableLayout,
    build_denoiser,
    choose_levels_start,
)
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
from backwalk.fit.columns import ChosenColumns
from backwalk.fit.rules import (
    default_architecture,
    default_training,
    default_validation_fraction,
    embedding_rules,
    fit_rules,
    usual_steps,
)
from backwalk.fit.settings import Settings, check_length, choose_device
from backwalk.fit.structure import LAST_LEVEL, complete_cases, default_schedule, finest_scale
from backwalk.fit.table_rules import default_evaluations, default_shares, table_rules
from backwalk.formatting import listed
from backwalk.limits import GREATEST_LEVEL
from backwalk.model import (
    N_MEASURED_LEVELS,
    Conditions,
    DiffusionModel,
    given_all_levels,
    measure_denoising_error,
)
from backwalk.sampling import Sampler, default_sampler
from backwalk.streams import Stream
from backwalk.table import Codec, tied_numbers
from backwalk.training import (
    ChainLevels,
    LogNormalLevels,
    NoiseLevels,
    Patterns,
    Training,
    TrainingRows,
    split_rows,
)

_MOST_MEASURED = 1000  # rows on which the denoising errors are measured
_MOST_FOR_MOMENTS = 100_000  # rows
_MOST_IN_DOUBLE = 2**26  # numbers of encoded rows that are held in float64; training takes float32
_ROWS_ENCODED_AT_ONCE = 2**16
_FEWEST_FOR_PATIENCE = 5  # held-out rows: the standard error of fewer tells little


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """The columns and rows of a fit, the noise, the untrained network and its training.

    `conditions` are the columns that may be given. `stream` has the fit's random numbers, and `split` those that drew
    the `held_out` rows, by their numbers. `slowness` is the time of a training step here, relative to the reference
    machine.

    `patterns` make columns of a table given or absent; without them rows are numbers alone. `covariance` is that of all
    rows, in tables that of the numbers in up to 100,000 training rows, `usual_steps` the number of training steps
    without a time limit, and `sound_steps` that below which a fit warns.
    """

    settings: Settings
    chosen: ChosenColumns
    conditions: Conditions
    stream: Stream
    split: Stream
    slowness: float

    rows: TrainingRows
    held_out: NDArray[np.intp]
    patterns: Patterns | None

    schedule: NoiseSchedule
    noise_levels: NoiseLevels
    covariance: Tensor
    prior_mismatch: float

    architecture: Architecture
    denoiser: EnsembleDenoiser

    training: Training
    usual_steps: int
    sound_steps: int

    @property
    def codec(self) -> Codec:
        """The codec of the columns."""
        return self.chosen.codec

    @property
    def gaps(self) -> tuple[int, ...]:
        """The columns with gaps that a model can leave absent: neither levels of their own nor constant."""
        return tuple(
            j
            for j in _columns_with_gaps(self.chosen)
            if j not in self.codec.missing_levels and (self.patterns or not self.codec.columns[j].width)
        )

    @property
    def sampler(self) -> Sampler:
        """The model's sampler: that of the settings, or the default."""
        n_evaluations = default_evaluations(self.codec, self.conditions)
        return self.settings.sampler or default_sampler(self.schedule, n_evaluations)

    def denoising_error(self, denoiser: EnsembleDenoiser, n_levels: int = N_MEASURED_LEVELS) -> Tensor:
        """Return m_t, (n_steps + 1,), of a network with its present weights, measured at `n_levels` noise levels.

        It is measured on held-out rows, if there are any; for tables, of the numbers with all levels given.
        """
        rows = self.rows.x_0 if self.rows.x_validation is None else self.rows.x_validation
        rows, of_numbers = rows[:_MOST_MEASURED], cast("Denoiser", denoiser)
        if self.patterns is not None:
            of_numbers, rows = given_all_levels(denoiser, self.codec, rows)
        stream = self.stream.child("denoising error")
        return measure_denoising_error(of_numbers, rows, self.schedule, stream=stream, n_levels=n_levels)


def plan_fit(
    chosen: ChosenColumns,
    z: NDArray[Any],
    settings: Settings,
    *,
    stream: Stream,
    split: Stream | None = None,
    previous_model: DiffusionModel | None = None,
    slowness: float = 1.0,
    row_weights: NDArray[np.float64] | None = None,
) -> Plan:
    """Plan a fit to encoded rows, (n, k); the rows drawn by `split`, or by `stream`, are held out for validation.

    The network starts from the weights of `previous_model`, if given. With a time limit, network and training follow
    from `slowness`, see `Plan`. `row_weights` are (n,).

    Raises InvalidInput before any long work.
    """
    n, k = z.shape
    codec, values, split = chosen.codec, chosen.table.values, split or stream
    has_patterns = bool(codec.blocks) or any(codec.columns[j].width for j in _columns_with_gaps(chosen))
    has_rules = codec.rules is not None and len(codec.rules.equations) > 0
    has_patterns = has_patterns or len(codec.dates) > 0 or has_rules
    conditions = settings.conditions_for(has_patterns=has_patterns, schema=chosen.table.schema)
    data = _embedded(chosen, conditions) if settings.embedding is not None else None
    made, of_made = (codec, slice(None)) if data is None else (data.codec, data.kept.numpy())  # by the network
    given_of_made = conditions if data is None else ((),)  # an embedding takes all that is given
    is_table = bool(codec.blocks) or bool(np.isnan(z).any()) or conditions is not None or has_rules
    device = torch.device(choose_device(settings.device))
    held_out, trained = split_rows(n, _n_held_out(n, k, settings), stream=split)
    has_held_out, redraw = len(held_out) > 0, codec.redraw(values)
    rows = TrainingRows(
        x_0=torch.from_numpy(z[trained]).float().to(device),
        x_validation=torch.from_numpy(z[held_out]).float().to(device) if has_held_out else None,
        weight=None if row_weights is None else torch.from_numpy(row_weights[trained]).float().to(device),
        validation_weight=_of_mean_one(row_weights[held_out]) if row_weights is not None and has_held_out else None,
        redraw=None if redraw is None else redraw.take(trained),
    )

    from_noise = z[:, codec.drawn_numbers] if is_table else z  # the coordinates that the chain makes from noise
    from_noise = from_noise.astype(np.float64, copy=False)
    floor = finest_scale(complete_cases(from_noise), stream=stream.child("floor"))
    if is_table:
        start, mean, covariance = _fit_start(z[:, of_made], trained, made, row_weights, stream.child("start"))
    else:
        mean, covariance = moments(torch.from_numpy(z))
    schedule = settings.schedule or default_schedule(mean, covariance, floor, settings.n_steps)
    if not settings.scale:
        _refuse_narrow(z, float(schedule.noise_level[1]))
        refuse_lost_noise(torch.from_numpy(z).float(), schedule)
        if settings.schedule is None:
            _refuse_wide(z)

    has_patience = len(held_out) >= _FEWEST_FOR_PATIENCE
    rules = table_rules(made, len(trained), given_of_made if has_patience else None) if is_table else fit_rules(k)
    if data is not None:
        rules = embedding_rules(rules, len(trained))
    if not has_patience:
        rules = replace(rules, patience=None, patient_steps=0)
    shares = default_shares(made, given_of_made, len(trained))
    max_steps, max_time = settings.max_steps, settings.max_time
    architecture = settings.denoiser or (None if previous_model is None else previous_model.architecture)
    d = made.n_encoded
    if architecture is None:
        architecture = default_architecture(len(trained), d, max_time, max_steps, slowness=slowness, rules=rules)
    training = settings.training or default_training(
        len(trained), d, max_steps, max_time, architecture, device, slowness=slowness, rules=rules
    )
    check_length(training, len(trained))
    only_time_ends_it = max_time is not None and max_steps is None and settings.training is None
    tied = _tied_numbers(chosen, previous_model) if data is None else ()
    if previous_model is not None and is_table:
        start = (*start[:2], _partners_of(previous_model))
    denoiser = build_denoiser(
        architecture,
        k,
        schedule=schedule,
        floor=floor,
        stream=stream.child("weights"),
        layout=TableLayout(made, *start, tied=tied) if is_table else None,
        embedding=settings.embedding,
        data=data,
    )
    if previous_model is not None:
        _start_from(denoiser, previous_model)

    return Plan(
        settings=settings,
        chosen=chosen,
        conditions=conditions,
        stream=stream,
        split=split,
        slowness=slowness,
        rows=rows,
        held_out=held_out,
        patterns=Patterns.of(codec, shares, conditions, always_given=data is not None) if is_table else None,
        schedule=schedule,
        noise_levels=_noise_levels(training, schedule, floor),
        covariance=covariance,
        prior_mismatch=prior_mismatch(mean, covariance, schedule),
        architecture=architecture,
        denoiser=denoiser.to(device),
        training=training,
        usual_steps=usual_steps(len(trained), d, rules) if only_time_ends_it else training.steps_for(len(trained)),
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


def _fit_start(
    z: NDArray[Any], trained: NDArray[np.intp], codec: Codec, weights: NDArray[np.float64] | None, stream: Stream
) -> tuple[tuple[JointGaussian, NDArray[np.float64], list[Partner]], Tensor, Tensor]:
    """Return from what a table's network starts, and the mean and the covariance of the numbers.

    The start is the Gaussian, the factors of its discriminants of levels, and the partners of blocks of levels.
    """
    some = trained[:_MOST_FOR_MOMENTS]  # the order of `trained` is random
    rows, weights = z[some].astype(np.float64, copy=False), None if weights is None else weights[some]
    of_all, numbers = moments_with_gaps(rows, weights=weights, stream=stream), codec.drawn_numbers
    of_levels = choose_levels_start(codec, rows, of_all, weights=weights, stream=stream.child("factors"))
    start, mean = (JointGaussian.of_moments(of_all), *of_levels), torch.from_numpy(of_all.mean[numbers])
    return start, mean, torch.from_numpy(of_all.covariance[np.ix_(numbers, numbers)])


def _embedded(chosen: ChosenColumns, conditions: Conditions) -> DataColumns:
    """Return the columns of data that an embedding reads, and the parameters. Raises InvalidInput."""
    assert isinstance(conditions, tuple)
    codec, label = chosen.codec, chosen.table.schema.label
    (columns,) = conditions
    with_gaps = [label(j) for j in columns if chosen.gaps[j]]
    if with_gaps:
        raise InvalidInput(
            f"An embedding reads all data, but {listed(with_gaps)} have gaps: fill them, with a column that says "
            "where, or fit without an embedding."
        )
    if not set(codec.varying) - set(columns):
        raise InvalidInput("conditions should leave columns that vary, which are the parameters: leave some out.")
    return DataColumns.of(codec, columns)


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
    size, most = float(np.sqrt(np.nanmean(np.square(z), axis=0).max())), GREATEST_LEVEL / LAST_LEVEL
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


def _columns_with_gaps(chosen: ChosenColumns) -> list[int]:
    return [j for j, n_gaps in enumerate(chosen.gaps) if n_gaps]


def _tied_numbers(chosen: ChosenColumns, previous_model: DiffusionModel | None) -> tuple[int, ...]:
    """Return the coordinates of tied numbers: those that the previous model's weights read, or those of the table."""
    if previous_model is None:
        return tied_numbers(chosen.codec, chosen.table.values)
    denoiser = previous_model.denoiser
    return denoiser.layout.tied if isinstance(denoiser, TableDenoiser) else ()


def _partners_of(previous_model: DiffusionModel) -> list[Partner]:
    """Return the partners of blocks that the previous model has, whose numbers are then loaded."""
    denoiser = previous_model.denoiser
    return denoiser.layout.blank_partners() if isinstance(denoiser, TableDenoiser) else []


def _start_from(denoiser: EnsembleDenoiser, previous_model: DiffusionModel) -> None:
    try:
        assert isinstance(previous_model.denoiser, EnsembleDenoiser)  # of a fit
        denoiser.load_state_dict(previous_model.denoiser.state_dict())
    except RuntimeError as error:
        raise InvalidInput(
            "warm_start needs the same network and columns as the previous fit, but the sizes differ: give the same "
            "denoiser and columns, or set warm_start=False."
        ) from error
