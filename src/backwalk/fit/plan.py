"""The plan of a fit: what the settings leave open follows from the rows.

`plan_fit` takes the split rows and chooses, in this order, the conditions, the finest scale, the Gaussian start, the
noise levels, the defaults of network and training, and the patterns. `Plan.new_member` builds a network.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backwalk.denoiser import (
    Architecture,
    DataColumns,
    EnsembleDenoiser,
    Residual,
    TableDenoiser,
    TableLayout,
    build_denoiser,
    choose_levels_start,
)
from backwalk.diffusion import (
    Denoiser,
    JointGaussian,
    Moments,
    NoiseSchedule,
    moments,
    moments_with_gaps,
    prior_mismatch,
    refuse_lost_noise,
)
from backwalk.errors import InvalidInput
from backwalk.fit.columns import ChosenColumns
from backwalk.fit.defaults import (
    MOST_MEMBERS,
    default_architecture,
    default_evaluations,
    default_shares,
    default_training,
    default_validation_fraction,
)
from backwalk.fit.settings import Settings, check_length, choose_device
from backwalk.fit.structure import LAST_LEVEL, default_schedule, finest_scale
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
from backwalk.table import Codec
from backwalk.training import (
    ChainLevels,
    LogNormalLevels,
    NoiseLevels,
    Patterns,
    Training,
    TrainingRows,
    split_rows,
)

FEW_LEVELS = 4  # noise levels at which denoising errors are measured where an estimate will do
_MOST_MEASURED = 1000  # rows on which the denoising errors are measured
_MOST_FOR_MOMENTS = 100_000  # rows
_MOST_IN_DOUBLE = 2**26  # numbers of encoded rows that are held in float64; training takes float32
_ROWS_ENCODED_AT_ONCE = 2**16


class Split(NamedTuple):
    """The numbers of the held-out rows, (m,), and of those to train on, (n - m,), which `stream` drew."""

    held_out: NDArray[np.intp]
    trained: NDArray[np.intp]
    stream: Stream


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """The columns and rows of a fit, the noise, the networks before training, and their training.

    `conditions` are the columns that may be given, and `stream` has the fit's random numbers.

    `patterns` make columns of a table given or absent; without them rows are numbers alone. `covariance` is that of all
    rows, in tables that of the numbers in up to 100,000 training rows. `architecture` is that of the most networks, of
    which `new_member` returns one by its number; the first `n_started` have been trained before.
    """

    settings: Settings
    chosen: ChosenColumns
    conditions: Conditions
    stream: Stream

    split: Split
    rows: TrainingRows
    patterns: Patterns | None

    schedule: NoiseSchedule
    noise_levels: NoiseLevels
    covariance: Tensor
    prior_mismatch: float

    architecture: Architecture
    new_member: Callable[[int], EnsembleDenoiser]
    n_started: int
    floor: float
    training: Training

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

    def architecture_of(self, denoiser: EnsembleDenoiser) -> Architecture:
        """Return the architecture with the number of networks that a denoiser has."""
        if isinstance(self.architecture, Residual):
            return replace(self.architecture, n_members=denoiser.n_members)
        return self.architecture

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
        rows, of_numbers, is_free = rows[:_MOST_MEASURED], cast("Denoiser", denoiser), None
        if self.patterns is not None:
            of_numbers, rows, is_free = given_all_levels(denoiser, self.codec, rows)
        stream = self.stream.child("denoising error")
        return measure_denoising_error(
            of_numbers, rows, self.schedule, stream=stream, n_levels=n_levels, is_free=is_free
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


def split_encoded(z: NDArray[Any], settings: Settings, stream: Stream) -> Split:
    """Return the split of encoded rows, (n, k), into held-out rows and those to train on."""
    n = len(z)
    fraction = settings.validation_fraction
    fraction = default_validation_fraction(n) if fraction is None else fraction
    n_held_out = round(fraction * n)
    if fraction and not n_held_out:
        raise InvalidInput(
            f"validation_fraction should hold out at least one of {n} rows, but {fraction:g} holds out none: give "
            "more, or 0."
        )
    return Split(*split_rows(n, n_held_out, stream=stream), stream)


def plan_fit(
    chosen: ChosenColumns,
    z: NDArray[Any],
    split: Split,
    settings: Settings,
    *,
    stream: Stream,
    previous_model: DiffusionModel | None = None,
    row_weights: NDArray[np.float64] | None = None,
) -> Plan:
    """Plan a fit to encoded rows, (n, k), of weights `row_weights`, (n,).

    The network starts from the weights of `previous_model`, if given.
    """
    codec, n, k = chosen.codec, len(split.trained), z.shape[1]
    has_rules = codec.rules is not None and len(codec.rules.equations) > 0
    has_gaps = any(codec.columns[j].width for j in _columns_with_gaps(chosen))
    has_patterns = bool(codec.blocks) or has_gaps or len(codec.dates) > 0 or has_rules
    conditions = settings.conditions_for(has_patterns=has_patterns, schema=chosen.table.schema)
    data = _embedded(chosen, conditions) if settings.embedding is not None else None
    # An embedding takes all that is given, and the network makes the parameters alone.
    made, conditions_of_made = (codec, conditions) if data is None else (data.codec, ((),))
    is_table = bool(codec.blocks) or bool(np.isnan(z).any()) or conditions is not None or has_rules
    device = torch.device(choose_device(settings.device))
    rows = _training_rows(chosen, z, split, row_weights, device)

    # Noise levels, from the finest scale and the moments of the coordinates that the chain makes from noise.
    from_noise = (z[:, codec.drawn_numbers] if is_table else z).astype(np.float64, copy=False)
    floor = finest_scale(from_noise, stream=stream.child("floor"))
    if previous_model is not None:  # its weights are for its own floor
        floor = getattr(previous_model.denoiser, "floor", floor)
    layout = None
    if is_table:
        some = split.trained[:_MOST_FOR_MOMENTS]  # in random order
        of_made = z[some].astype(np.float64, copy=False)[:, slice(None) if data is None else data.kept.numpy()]
        weights = None if row_weights is None else row_weights[some]
        of_rows = moments_with_gaps(of_made, weights=weights, stream=stream.child("start"))
        if previous_model is None:
            layout = _start(made, of_made, of_rows, weights, stream.child("start", "factors"))
        else:
            layout = _blank(made, previous_model)
        numbers = made.drawn_numbers
        mean = torch.from_numpy(of_rows.mean[numbers])
        covariance = torch.from_numpy(of_rows.covariance[np.ix_(numbers, numbers)])
    else:
        mean, covariance = moments(torch.from_numpy(z))
    schedule = settings.schedule or default_schedule(mean, covariance, floor, settings.n_steps)
    if not settings.scale:
        _refuse_unscaled(z, schedule, settings)

    # The defaults of network and training.
    architecture = settings.denoiser or default_architecture(n, len(made.varying))
    if settings.denoiser is None and previous_model is not None and previous_model.architecture is not None:
        architecture = previous_model.architecture
        if isinstance(architecture, Residual):
            architecture = replace(architecture, n_members=max(architecture.n_members, MOST_MEMBERS))
    if data is not None and isinstance(architecture, Residual):  # an embedding takes most of the time of a step
        architecture = replace(architecture, n_members=1)
    training = settings.training or default_training(
        n,
        codec=made if is_table else None,
        architecture=architecture,
        max_steps=settings.max_steps,
        n_held_out=len(split.held_out),
        of_whole_rows=conditions_of_made in (None, "any"),
        device=device,
    )
    check_length(training, n)
    shares = default_shares(made, conditions_of_made)
    patterns = Patterns.of(codec, shares, conditions, always_given=data is not None) if is_table else None

    previous = [] if previous_model is None else _members_of(previous_model)
    single = replace(architecture, n_members=1) if isinstance(architecture, Residual) else architecture

    def new_member(number: int) -> EnsembleDenoiser:
        denoiser = build_denoiser(
            single,
            k,
            schedule=schedule,
            floor=floor,
            stream=stream.child("weights", number),
            layout=layout,
            embedding=settings.embedding,
            data=data,
            predicts=settings.predicts,
        )
        if number < len(previous):
            _start_from(denoiser, previous[number])
        return denoiser.to(device)

    return Plan(
        settings=settings,
        chosen=chosen,
        conditions=conditions,
        stream=stream,
        split=split,
        rows=rows,
        patterns=patterns,
        schedule=schedule,
        noise_levels=_noise_levels(training, schedule, floor),
        covariance=covariance,
        prior_mismatch=prior_mismatch(mean, covariance, schedule),
        architecture=architecture,
        new_member=new_member,
        n_started=len(previous),
        floor=floor,
        training=training,
    )


def _training_rows(
    chosen: ChosenColumns,
    z: NDArray[Any],
    split: Split,
    weights: NDArray[np.float64] | None,
    device: torch.device,
) -> TrainingRows:
    held_out, trained = split.held_out, split.trained
    has_held_out, redraw = len(held_out) > 0, chosen.codec.redraw(chosen.table.values)
    of_held_out = None if weights is None or not has_held_out else weights[held_out] / weights[held_out].mean()
    return TrainingRows(
        x_0=torch.from_numpy(z[trained]).float().to(device),
        x_validation=torch.from_numpy(z[held_out]).float().to(device) if has_held_out else None,
        weight=None if weights is None else torch.from_numpy(weights[trained]).float().to(device),
        validation_weight=None if of_held_out is None else torch.from_numpy(of_held_out),
        redraw=None if redraw is None else redraw.take(trained),
    )


def _start(
    codec: Codec,
    z: NDArray[np.float64],
    of_rows: Moments,
    weights: NDArray[np.float64] | None,
    stream: Stream,
) -> TableLayout:
    """Return the layout of a table's network, with what it starts from: the Gaussian and the levels' discriminants."""
    factors, partners = choose_levels_start(codec, z, of_rows, weights=weights, stream=stream)
    return TableLayout(codec, JointGaussian.of_moments(of_rows), factors, partners)


def _blank(codec: Codec, previous_model: DiffusionModel) -> TableLayout:
    """Return a layout into which that of the previous model is loaded."""
    denoiser = previous_model.denoiser
    if not isinstance(denoiser, TableDenoiser):
        return TableLayout(codec)
    return TableLayout(codec, partners=denoiser.layout.blank_partners())


def _members_of(previous_model: DiffusionModel) -> list[EnsembleDenoiser]:
    """Return the networks of a fitted model, each as a denoiser."""
    denoiser = previous_model.denoiser
    assert isinstance(denoiser, EnsembleDenoiser)  # of a fit
    return [denoiser.member(number) for number in range(denoiser.n_members)]


def _start_from(denoiser: EnsembleDenoiser, previous: EnsembleDenoiser) -> None:
    try:
        denoiser.load_state_dict(previous.state_dict())
    except RuntimeError as error:
        raise InvalidInput(
            "warm_start needs the same network and columns as the previous fit, but the sizes differ: give the same "
            "denoiser and columns, or set warm_start=False."
        ) from error


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


def _refuse_unscaled(z: NDArray[np.float64], schedule: NoiseSchedule, settings: Settings) -> None:
    """Raise InvalidInput where columns that are not scaled do not fit the noise."""
    spread, level = np.nanstd(z, axis=0), float(schedule.noise_level[1])
    if spread.min() < level:
        raise InvalidInput(
            f"Columns should have a larger standard deviation than the noise of the chain's first step, {level:.2g}, "
            f"but the smallest is {spread.min():.2g}: set scale=True (leave --ddpm out), or give larger numbers."
        )
    refuse_lost_noise(torch.from_numpy(z).float(), schedule)
    size, most = float(np.sqrt(np.nanmean(np.square(z), axis=0).max())), GREATEST_LEVEL / LAST_LEVEL
    if settings.schedule is None and size > most:
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
