"""A fitted model: the schedule, the denoiser and the codec introduced to each other, and what can be asked of them.

Rows go in and come out in the user's units; between, everything is encoded. A sample is a function of the model, the
stream and the row's number: `sample_rows(model, start, stop)` is the unit of all generation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache, partial
from numbers import Integral
from threading import Lock
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from backwalk import diffusion
from backwalk.accepted import FARTHEST_TO_SCORE
from backwalk.denoiser import Architecture, Residual, ResidualDenoiser
from backwalk.diffusion import (
    BoundTerms,
    Denoiser,
    LogDensity,
    NoiseSchedule,
    best_steps,
    beta_tilde_variance,
    beta_variance,
    denoising_error,
    full_covariance_bound,
    merged_terms,
    optimal_variance,
    variational_bound,
)
from backwalk.errors import InvalidInput, SamplingDiverged
from backwalk.sampling import (
    N_PILOT,
    TILE_ROWS,
    Ancestral,
    ChainState,
    Ddim,
    DpmSolver,
    Multistep,
    Sampler,
    Step,
    fitted_times,
    last_state,
    over_tiles,
    padded_tile,
    walk_back,
)
from backwalk.streams import Stream
from backwalk.table import Codec, Schema
from backwalk.threads import single_threads
from backwalk.training import History

REVERSE_VARIANCES = ("beta", "beta_tilde", "optimal")
MOST_EXACT_COLUMNS, DEFAULT_PROBES = 32, 16  # how the divergence of a log-density is found
BOUND_VARIANCES = (*REVERSE_VARIANCES, "full")
N_MEASURED_LEVELS = 64  # noise levels at which a fit measures its denoising error
_NUMBERS_TOGETHER = 64  # of noise, a row, drawn for several steps of the chain
_FITTING = Lock()
_MOST_NAMED = 8  # columns that are put into words
MOST_FULL_COLUMNS = 64  # of a full covariance: a tile's take 32 MiB, and their eigenvectors seconds a step


@dataclass(frozen=True, eq=False)
class Student:
    """A network that has learnt the way of a model's probability-flow ODE from x_N to x_0 (`backwalk.distillation`).

    `denoiser` is used at the chain's last log-SNR alone, where it returns not E[x_0 | x_N] but the ODE's x_0. `error`
    is the root mean square of the difference to the model's own x_0, a coordinate, in encoded units, on draws of x_N
    that it was not trained on.
    """

    architecture: Residual
    denoiser: ResidualDenoiser
    error: float


@dataclass(frozen=True, eq=False, repr=False)
class DiffusionModel:
    """Everything that a fit leaves behind.

    `denoiser` is the network, of the sizes that `architecture` names, or any other `Denoiser` of encoded points, which
    has no architecture (`backwalk.oracle.oracle_model`).
    `denoising_error` holds m_t, (n_steps + 1,), measured on rows that the weights were not trained on; it gives the
    "optimal" reverse variances. `decoder_variance` is that of p(x_0 | x_1), in squared encoded units.
    `prior_mismatch` is in nats a point, from the moments of the rows that were fitted. `card` is plain JSON: settings,
    versions, seed, sizes, seconds. `student` serves the sampler "distilled", and nothing else.
    """

    schedule: NoiseSchedule
    architecture: Architecture | None
    denoiser: Denoiser
    codec: Codec
    schema: Schema
    reverse_variance: str
    denoising_error: Tensor
    decoder_variance: float
    sampler: Sampler
    prior_mismatch: float
    history: History
    card: dict[str, Any]
    student: Student | None = None

    @cached_property
    def _fitted_times(self) -> dict[int, list[int]]:
        """The times of `visited_times`, by their number."""
        return {}

    @property
    def sigma_sq(self) -> Tensor:
        """The reverse variances of the whole chain, (n_steps + 1,); entry 1 is the decoder's."""
        return reverse_variances(self, list(range(1, self.schedule.n_steps + 1)))

    @property
    def blur(self) -> NDArray[np.float64]:
        """The blur of the ODE's density in the middle of the data: a standard deviation for each column, (d,).

        The probability-flow ODE stops at the least noise level s_min = SNR_1^(-1/2), so that its model is, for a
        perfect denoiser, the data with noise of standard deviation s_min added in encoded units: s_min times a column's
        scale, in the user's units; in a heavy-tailed column it grows outwards with `Codec.units`. 0 for constant ones.
        """
        by_column = np.zeros(self.codec.n_columns)
        middle = self.codec.decode(np.zeros((1, self.codec.n_encoded)))
        by_column[list(self.codec.encoded_columns)] = float(self.schedule.noise_level[1]) * self.codec.units(middle)[0]
        return by_column

    def __repr__(self) -> str:
        """Return in a few lines what the model is, and which of its parts say what."""
        kind = type(self.denoiser if self.architecture is None else self.architecture).__name__
        return (
            f"DiffusionModel({kind}, {self.codec.n_columns} columns, {self.schedule!r},\n"
            f"  reverse variance: {self.reverse_variance}; prior mismatch: {self.prior_mismatch:.2g} nats,\n"
            f"  sampler: {self.sampler.describe(self.schedule)},\n"
            f"  log-density: the probability-flow ODE's, blurred by {blur_words(self)}"
            + (f",\n  student: {student_words(self.student)})" if self.student else ")")
        )


def blur_words(model: DiffusionModel) -> str:
    """Return the blur of a model's log-density in words: a column's standard deviation in its own units."""
    heavy = model.codec.heavy_tailed_columns
    blur = [
        f"{model.blur[j]:.2g} in {model.schema.label(j)}{' (more in its tails)' if j in heavy else ''}"
        for j in model.codec.encoded_columns
    ]
    shown = ", ".join(blur[:_MOST_NAMED])
    more = f" and so on for {len(blur) - _MOST_NAMED} more" if len(blur) > _MOST_NAMED else ""
    return f"noise of standard deviation {shown}{more}"


def heavy_tailed_words(model: DiffusionModel) -> str:
    """Return which columns have heavy tails, in words: nothing where none has."""
    labels = [model.schema.label(j) for j in model.codec.heavy_tailed_columns]
    more = f" and {len(labels) - _MOST_NAMED} more" if len(labels) > _MOST_NAMED else ""
    return ", ".join(labels[:_MOST_NAMED]) + more


def student_words(student: Student) -> str:
    """Return what a student is and how far it errs, in words."""
    return f"{student.architecture}, with a root mean square error of {student.error:.2g} of a column's scale"


def reverse_variances(
    model: DiffusionModel,
    times: list[int],
    *,
    reverse_variance: str | None = None,
    decoder_variance: float | None = None,
) -> Tensor:
    """Return sigma_t^2 for the chain that visits only `times`: (len(times) + 1,).

    `reverse_variance` is the model's own unless named. So is `decoder_variance` for the model's own kind on a chain
    that keeps the first step; for others it is m_t of their first step ("optimal") or their beta_1.
    """
    kind = model.reverse_variance if reverse_variance is None else reverse_variance
    schedule = model.schedule.respace(times)
    if decoder_variance is None and kind == model.reverse_variance and times[0] == 1:
        decoder_variance = model.decoder_variance
    if kind == "beta":
        return beta_variance(schedule, decoder_variance=decoder_variance)
    if kind == "beta_tilde":
        return beta_tilde_variance(schedule, decoder_variance=decoder_variance)
    return optimal_variance(schedule, model.denoising_error[[0, *times]], decoder_variance=decoder_variance)


def sample_rows(
    model: DiffusionModel, start: int, stop: int, *, stream: Stream, sampler: Sampler | None = None
) -> NDArray[np.float64]:
    """Return rows start..stop-1 of the sample that `stream` names: (stop - start, d), the user's units.

    A row is the same whatever range it is asked for in. Raises InvalidInput for more rows than memory can hold.
    """
    pieces = sample_pieces(model, start, stop, stream=stream, sampler=sampler)
    return gathered(pieces, stop - start, model.codec.n_columns)


def gathered(pieces: Iterable[NDArray[np.float64]], n: int, d: int) -> NDArray[np.float64]:
    """Return pieces of rows as one array, (n, d).

    Raises InvalidInput, before any piece is made, where memory does not hold so many.
    """
    try:
        rows = np.empty((n, d))
    except (MemoryError, ValueError) as error:
        raise InvalidInput(
            f"Samples should fit into memory, but {n:,} rows of {d} columns take {8 * n * d / 2**30:,.0f} GiB: draw "
            "them in pieces, or into a file by `backwalk sample`."
        ) from error
    first = 0
    for piece in pieces:
        rows[first : first + len(piece)] = piece
        first += len(piece)
    return rows


def sample_pieces(
    model: DiffusionModel, start: int, stop: int, *, stream: Stream, sampler: Sampler | None = None
) -> Iterator[NDArray[np.float64]]:
    """Yield what `sample_rows` returns in pieces of at most 2,048 rows, so that memory does not grow with the rows.

    Raises SamplingDiverged in the place of rows that are not finite.
    """
    chain = _chain(model, sampler or model.sampler)

    @torch.inference_mode()  # in which a network may write over what has served
    def tile(first: int, last: int) -> Tensor:
        return last_state(_walk(model, chain, first, last, stream)).x_t

    first = start
    for piece in over_tiles(tile, start, stop):
        z = piece.double().cpu().numpy()
        broken = np.flatnonzero(~np.isfinite(z).all(axis=1))
        if len(broken):
            raise SamplingDiverged(
                f"Samples should be finite, but row {first + broken[0]} (rows count from 0) is not: take more "
                "evaluations or another sampler; if that does not help, fit anew with a lower learning_rate."
            )
        first += len(z)
        yield model.codec.decode(z)


@torch.no_grad()  # not a `with` block, which would stay in force in the caller between two states
def walk(
    model: DiffusionModel, start: int, stop: int, *, stream: Stream, sampler: Sampler | None = None
) -> Iterator[ChainState]:
    """Yield the chain's states on the way to rows start..stop-1 of a sample, from x_N to x_0, in encoded units."""
    yield from _walk(model, _chain(model, sampler or model.sampler), start, stop, stream)


def bound(
    model: DiffusionModel,
    values: NDArray[np.float64],
    *,
    stream: Stream,
    reverse_variance: str | None = None,
    steps: int | Sequence[int] | None = None,
    decoder_variance: float | None = None,
    n_draws: int = 1,
) -> BoundTerms:
    """Return the bound on -log p of a chain, term by term, for rows in the user's units: nats a point.

    The chain is the model's own unless said otherwise: `reverse_variance` is one of `BOUND_VARIANCES`, `steps` the
    times that are visited or the number of them (then those of `chosen_times`), and
    `decoder_variance`, in squared encoded units, defaults as in `reverse_variances`, or with "full" to the covariance
    that the denoiser's Jacobian gives. The codec's log |det J| is part of the reconstruction term, and of every row's
    total. Rows go through in tiles, so that memory does not grow with them.
    """
    kind = model.reverse_variance if reverse_variance is None else reverse_variance
    check_reverse_variance(kind, BOUND_VARIANCES)
    if kind == "full" and model.codec.n_encoded > MOST_FULL_COLUMNS:
        raise InvalidInput(
            f'reverse_variance="full" should be asked for at most {MOST_FULL_COLUMNS} columns, but the model has '
            f'{model.codec.n_encoded}: use "optimal".'
        )
    z, times = encode_for_scoring(model, values), chosen_times(model, steps, decoder_variance=decoder_variance)
    log_volume = torch.from_numpy(-model.codec.log_abs_det_jacobian(values))
    schedule = model.schedule.respace(times)
    bound_of: Callable[..., BoundTerms]
    if kind == "full":
        bound_of = partial(full_covariance_bound, schedule=schedule, decoder_variance=decoder_variance)
    else:
        sigma_sq = reverse_variances(model, times, reverse_variance=kind, decoder_variance=decoder_variance)
        bound_of = partial(variational_bound, schedule=schedule, sigma_sq=sigma_sq)

    def of_tile(first: int) -> BoundTerms:
        rows = slice(first, first + TILE_ROWS)
        return bound_of(
            model.denoiser, z[rows], stream=stream, n_draws=n_draws, first_row=first, log_volume=log_volume[rows]
        )

    with single_threads(z.device.type == "cpu") as side_by_side:
        return merged_terms(list(side_by_side(of_tile, range(0, len(z), TILE_ROWS))))


def chosen_times(
    model: DiffusionModel, steps: int | Sequence[int] | None, *, decoder_variance: float | None = None
) -> list[int]:
    """Return the times of the chain that `bound`'s `steps` means, increasing and ending at n_steps.

    None is the whole chain. K is the K steps whose bound is least with the best scalar variance in each, by the
    denoising errors that were fitted on validation rows, and with the decoder's variance where it is given. All kinds
    of variance are given these same steps; for the others than "optimal" another K might be a little better.

    Raises InvalidInput for any other thing than these and a list of times.
    """
    if steps is None:
        return list(range(1, model.schedule.n_steps + 1))
    if isinstance(steps, Integral) and not isinstance(steps, bool):
        return best_steps(model.schedule, model.denoising_error, int(steps), decoder_variance=decoder_variance)
    if isinstance(steps, Sequence) and all(isinstance(t, Integral) for t in steps):
        return [int(t) for t in steps]
    raise InvalidInput(f"steps should be a number of steps, a list of times or None, but got {steps!r}.")


def log_density(
    model: DiffusionModel,
    values: NDArray[np.float64],
    *,
    n_intervals: int = 16,
    n_probes: int | None = None,
    stream: Stream | None = None,
) -> LogDensity:
    """Return the log-density of rows under the probability-flow ODE, in the user's units: nats a point.

    The divergence is exact up to 32 encoded columns, at the cost of d + 1 evaluations each time; beyond, or where
    `n_probes` is given, so many random sign vectors a row (16) estimate it, with the standard error that the result
    holds. They come from `stream`, by default always the same, and from the row's own content. Rows are integrated in
    tiles. So a row's result does not depend on the others, and equal rows have equal results; the probes of different
    rows are independent, and their errors average out in a mean. The density is blurred by `model.blur`.
    """
    z = encode_for_scoring(model, values)
    level = model.schedule.noise_level
    if n_probes is None and z.shape[1] > MOST_EXACT_COLUMNS:
        n_probes = DEFAULT_PROBES
    if n_probes is not None and (not isinstance(n_probes, Integral) or isinstance(n_probes, bool) or n_probes < 1):
        raise InvalidInput(f"n_probes should be an integer >= 1 or None, but got {n_probes!r}: 16 is usual.")
    probes = Stream(0) if stream is None else stream

    def tile(first: int, last: int) -> Tensor:
        rows = padded_tile(z[first:last])
        result = diffusion.log_density(
            model.denoiser,
            rows,
            level_min=float(level[1]),
            level_max=float(level[-1]),
            n_intervals=n_intervals,
            divergence="exact" if n_probes is None else _signs(probes, rows, int(n_probes)),
        )
        return torch.stack([result.log_prob, result.solver_error, result.standard_error], dim=1)

    pieces = list(over_tiles(tile, 0, len(z)))
    log_prob, solver_error, standard_error = torch.cat([torch.empty(0, 3, dtype=torch.float64), *pieces]).unbind(dim=1)
    in_units = log_prob + torch.from_numpy(model.codec.log_abs_det_jacobian(values))
    return LogDensity(in_units, solver_error, standard_error)


def encode_for_scoring(model: DiffusionModel, values: NDArray[np.float64]) -> Tensor:
    """Return rows in encoded units, as the network's float32, on its device. Raises InvalidInput beyond its range."""
    z = model.codec.encode(values)
    far = np.flatnonzero(np.abs(z).max(axis=1) > FARTHEST_TO_SCORE)
    if len(far):
        raise InvalidInput(
            f"Rows should lie within {FARTHEST_TO_SCORE:.0e} scales of the fitted ones, but row {far[0]} (rows count "
            "from 0) does not: drop it."
        )
    return torch.from_numpy(z).float().to(device_of(model.denoiser))


def device_of(denoiser: Denoiser) -> torch.device:
    """Return where a denoiser wants its points: where its parameters are, or on the CPU where it has none."""
    first = next(denoiser.parameters(), None) if isinstance(denoiser, nn.Module) else None
    return torch.device("cpu") if first is None else first.device


def measured_denoising_error(
    denoiser: Denoiser, z: Tensor, schedule: NoiseSchedule, *, stream: Stream, n_levels: int = N_MEASURED_LEVELS
) -> Tensor:
    """Return m_t for every step of a chain, from about `n_levels` of its steps: (n_steps + 1,), float64.

    m_t is smooth in the log-SNR, and so is ln m_t, which is interpolated.
    """
    n = schedule.n_steps
    times = sorted({1 + round(i * (n - 1) / max(n_levels - 1, 1)) for i in range(n_levels)})
    rows = z.repeat(-(-2048 // len(z)), 1)  # copies and not draws, which would be thousands of calls on a few rows
    with single_threads(rows.device.type == "cpu") as side_by_side:
        chain = schedule.respace(times)
        measured = denoising_error(denoiser, rows, chain, stream=stream, side_by_side=side_by_side)[1:]
    every = np.arange(1, n + 1)
    return torch.from_numpy(np.concatenate([[0.0], np.exp(np.interp(every, times, measured.clamp(min=1e-30).log()))]))


def mismatch_warning(model: DiffusionModel) -> str | None:
    """Return what a wrong start of the reverse chain costs, in words, or None where it costs less than 0.01 nats."""
    if model.prior_mismatch < 0.01:
        return None
    alpha_bar = float(model.schedule.alpha_bar[-1])
    return (
        f"prior mismatch: alpha_bar_N = {alpha_bar:.4f} after {model.schedule.n_steps} steps, so x_N still holds "
        f"signal (SNR {float(model.schedule.snr[-1]):.2f}), while sampling starts from pure noise. That costs at least "
        f"{model.prior_mismatch:.3f} nats a point, in every sample, whatever the network. Use more steps or larger "
        "betas, or leave the schedule to Diffusion()."
    )


def visited_times(model: DiffusionModel, sampler: Sampler) -> list[int]:
    """Return the steps of the chain that a sampler visits on its way through this model: increasing, ending at n_steps.

    Those of a few evaluations by "multistep" are fitted to the denoiser at their first use (some tenths of a second for
    ten of them in the plane, a second or two beyond), on noise of their own: they follow from the model alone.
    """
    k, schedule = sampler.n_evaluations, model.schedule
    if sampler.solver != "multistep" or k is None or not 1 < k < schedule.n_steps:
        return sampler.times(schedule)
    with _FITTING:  # several threads may come for the same
        if k not in model._fitted_times:
            device = device_of(model.denoiser)
            x_N = Stream(0).child("pilot").normal(0, N_PILOT, model.codec.n_encoded, torch.float32).to(device)
            model._fitted_times[k] = fitted_times(model.denoiser, schedule, Multistep(), k, x_N)
        return model._fitted_times[k]


def _chain(model: DiffusionModel, sampler: Sampler) -> tuple[Denoiser, NoiseSchedule, Step]:
    times = visited_times(model, sampler)
    denoiser = model.denoiser
    if sampler.solver == "distilled":
        if model.student is None:
            raise InvalidInput(
                'A model should have a student to be sampled by "distilled", but this one has none: call distil() '
                "first, or `backwalk distil`."
            )
        denoiser = model.student.denoiser
    steps: dict[str, Callable[[], Step]] = {
        "ancestral": lambda: Ancestral(reverse_variances(model, times)),
        "ddim": lambda: Ddim(sampler.eta),
        "dpm++2m": DpmSolver,
        "dpm++2m-sde": lambda: DpmSolver(sde=True),
        "multistep": Multistep,
        "distilled": Ddim,  # whose one step returns x_0_hat
    }
    return denoiser, model.schedule.respace(times), steps[sampler.solver]()


def _walk(
    model: DiffusionModel, chain: tuple[Denoiser, NoiseSchedule, Step], start: int, stop: int, stream: Stream
) -> Iterator[ChainState]:
    (denoiser, schedule, step), width = chain, model.codec.n_encoded
    device = device_of(denoiser)

    @lru_cache(maxsize=1)
    def drawn(*names: str | int, steps: int = 1) -> Tensor:
        eps = stream.child(*names).normal(start, stop, steps * width, torch.float32)
        return eps.reshape(stop - start, steps, width).transpose(0, 1).contiguous().to(device)

    together = max(1, _NUMBERS_TOGETHER // width)  # for a call takes as long as some numbers

    def noise(t: int) -> Tensor:
        group, place = divmod(t - 1, together)
        return drawn("eps", group, steps=together)[place]

    return walk_back(denoiser, schedule, step, drawn("x_N")[0], noise=noise)


def _signs(stream: Stream, z: Tensor, n_probes: int) -> Tensor:
    """Return random signs for rows z, (n, d): (n_probes, n, d), float32.

    A row's signs come from a stream that its bits name. Its place, which would do for samples, says nothing about a
    row that is scored: the same row may stand anywhere.
    """
    d, probes = z.shape[1], stream.child("probes")

    @cache  # a tile is filled up with copies
    def of_row(bits: bytes) -> Tensor:
        return probes.child(bits.hex()).uniform(0, n_probes, d)

    rows = (z + 0.0).cpu().numpy()  # -0 becomes 0, the same number
    draws = torch.stack([of_row(row.tobytes()) for row in rows], dim=1)
    return torch.where(draws < 0.5, -1.0, 1.0)


def check_reverse_variance(name: str, names: Sequence[str] = REVERSE_VARIANCES) -> None:
    """Raise InvalidInput unless the name is one of the reverse variances."""
    if name not in names:
        raise InvalidInput(f"reverse_variance should be one of {', '.join(names)}, but got {name!r}.")
