"""The record of a fitted model: schedule, denoiser, codec, and measurements of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from backwalk.denoiser import Architecture, Embedding, EmbeddingDenoiser, described
from backwalk.diffusion import (
    Denoiser,
    NoiseSchedule,
    beta_tilde_variance,
    beta_variance,
    optimal_variance,
)
from backwalk.errors import InvalidInput
from backwalk.formatting import listed
from backwalk.limits import REVERSE_VARIANCES
from backwalk.sampling import Sampler
from backwalk.table import Codec, Schema
from backwalk.training import History

MISMATCH_THAT_MATTERS = 0.01  # nats per row
_SHORT_GAIN, _SHORT = 0.1, 100  # nats per row of the last third of the steps, and steps: more should follow
Conditions: TypeAlias = Literal["any"] | tuple[tuple[int, ...], ...] | None
"""Which columns may be given: any, one of some sets of column numbers, or none."""


@dataclass(frozen=True, eq=False, repr=False)
class DiffusionModel:
    """A fitted model: schedule, denoiser, codec, and measurements of them. It is `Diffusion.model_`.

    Encoded rows have a coordinate for each number that varies and several for a column of levels.

    Parameters
    ----------
    schedule : NoiseSchedule
        Noise levels of the chain.
    architecture : Residual, Textbook, torch.nn.Module or None
        Sizes of the network; None for a denoiser that was given.
    denoiser : Denoiser
        The trained network, or any other denoiser of encoded points.
    codec : Codec
        The map between the user's columns and encoded rows.
    schema : Schema
        Names, dtypes and labels of the columns.
    reverse_variance : {"optimal", "beta", "beta_tilde"}
        The variance sigma_t^2 of p_theta.
    denoising_error : Tensor, (n_steps + 1,)
        Mean squared error m_t of x_0_hat per coordinate, measured on held-out rows, or on training rows where
        there are none. "optimal" reverse variances follow from it.
    decoder_variance : float
        Variance of p(x_0 | x_1), in squared encoded units.
    sampler : Sampler
        The default sampler.
    prior_mismatch : float
        Nats per row that the end of the chain costs, from the moments of the fitted rows.
    history : History
        Losses of the training.
    card : dict
        Plain JSON: parameters, versions, seed, sizes.
    conditions : "any", tuple of tuples of int, or None, default="any"
        Columns that may be given: any, one of some sets of their numbers, or none.
    gaps : tuple of int, default=()
        Numbers of the columns in which fitted rows had missing cells.
    embedding : CNNEmbedding, FCEmbedding or torch.nn.Module, default=None
        The network by which the denoiser reads the only set of `conditions`, which have to be given.
    held_out_distances : tuple of tuples of float, default=()
        Distances of up to 1,000 held-out rows from the others, increasing, for each set of `conditions`.
    accepted_share : float, default=1.0
        Share of the rows drawn with nothing given that obey the rules between columns, before any is drawn again.
    fit_seconds : float, default=None
        Time of the fit. None for a model from a file, which holds no times, so that equal fits are equal files.

    See Also
    --------
    backwalk.Diffusion : The estimator, whose methods draw and score.

    Examples
    --------
    >>> import numpy as np
    >>> from backwalk import Diffusion
    >>> X = np.random.default_rng(0).normal(size=(200, 2))
    >>> model = Diffusion(max_steps=20, random_state=0, verbose=False).fit(X).model_
    >>> model.schedule.n_steps, model.sigma_sq.shape, model.blur.shape
    (1000, torch.Size([1001]), (2,))
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
    conditions: Conditions = "any"
    gaps: tuple[int, ...] = ()
    embedding: Embedding | None = None
    held_out_distances: tuple[tuple[float, ...], ...] = ()
    accepted_share: float = 1.0
    fit_seconds: float | None = None

    @property
    def may_be_missing(self) -> tuple[int, ...]:
        """The numbers of the columns whose cells may be missing in rows to score.

        They are all columns if any may be given, and otherwise those with gaps in the fit, generated or not.
        """
        if self.conditions == "any":
            return tuple(range(self.codec.n_columns))
        return tuple(sorted({*self.gaps, *self.codec.missing_levels}))

    def check_pattern(self, given: Sequence[int], *, left_out: Sequence[int] = (), missing: Sequence[int] = ()) -> None:
        """Raise InvalidInput unless the model was trained for these given, left-out and missing columns.

        Parameters
        ----------
        given : sequence of int
            Numbers of the given columns.
        left_out : sequence of int, default=()
            Numbers of columns that are neither given nor free.
        missing : sequence of int, default=()
            Numbers of columns that have gaps in some rows.
        """
        if self.conditions == "any":
            return
        if self.has_embedding:
            self._check_all_given(given)
        names, varying = self.schema.names, set(self.codec.varying)
        given = [j for j in given if j in varying]
        strange = sorted({*left_out, *missing} - set(self.may_be_missing))
        left_out = [j for j in left_out if j in varying]
        sets = self.conditions or ()
        if not strange and not left_out and (not given or set(given) in (varying.intersection(each) for each in sets)):
            return
        wanted = f"{listed(names[j] for j in given)} given"
        if left_out or strange:
            wanted = f"{listed(names[j] for j in left_out or strange)} {'left out' if left_out else 'missing'}"
        if not sets:
            raise InvalidInput(
                f'The model was fitted for whole rows, but got {wanted}: fit again with conditions="any" '
                "(--conditions any)."
            )
        fitted = "; ".join(", ".join(names[j] for j in columns) for columns in sets)
        raise InvalidInput(
            f"The model was fitted with conditions on {fitted}, but got {wanted}: give all columns of one of these "
            'sets, or fit again with conditions="any".'
        )

    @property
    def has_embedding(self) -> bool:
        """Whether the denoiser reads the given columns through an embedding; then they have to be given."""
        return isinstance(self.denoiser, EmbeddingDenoiser)

    def _check_all_given(self, given: Sequence[int]) -> None:
        """Raise InvalidInput unless all columns that the embedding reads are given, and no others."""
        names, varying = self.schema.names, set(self.codec.varying)
        columns = self.conditions[0] if isinstance(self.conditions, tuple) else ()
        if set(given) & varying == set(columns) & varying:
            return
        others = [j for j in range(len(names)) if j not in columns]
        wanted = listed(names[j] for j in given) or "nothing"
        raise InvalidInput(
            f"The model has an embedding of {listed(names[j] for j in columns)}, so that it answers for "
            f"{listed(names[j] for j in others)} given all of these alone, but got {wanted} given: give them, or fit "
            "without an embedding."
        )

    @property
    def sigma_sq(self) -> Tensor:
        """The reverse variances of the whole chain, (n_steps + 1,); entry 1 is the decoder's."""
        return reverse_variances(self, list(range(1, self.schedule.n_steps + 1)))

    @property
    def blur(self) -> NDArray[np.float64]:
        """The blur of the ODE's density in the middle of the data: a standard deviation for each column, (d,).

        The probability-flow ODE stops at the least noise level s_min = SNR_1^(-1/2). With a perfect denoiser, its
        density is that of the data with noise of standard deviation s_min added in encoded units. In the user's units
        this is s_min times a column's scale (`Codec.deviation_in_user_units`), more in the tails of heavy-tailed
        columns, and 0 for constant columns.
        """
        middle = np.zeros((1, self.codec.n_encoded))
        noise = middle + float(self.schedule.noise_level[1])
        return np.asarray(self.codec.deviation_in_user_units(noise, middle)[0])

    def __repr__(self) -> str:
        """Return a summary: the network, its training, the reverse variance, the sampler and the blur."""
        network = type(self.denoiser).__name__ if self.architecture is None else described(self.architecture)
        network += "" if self.embedding is None else f", {described(self.embedding)}"
        trained = f"  training: {training_words(self)};\n" if self.history.n_steps else ""
        return (
            f"DiffusionModel({network}, {self.codec.n_columns} columns, {self.schedule!r},\n{trained}"
            f"  reverse variance: {self.reverse_variance}; prior mismatch: {self.prior_mismatch:.2g} nats,\n"
            f"  sampler: {self.sampler.describe(self.schedule)},\n"
            f"  log-density: the probability-flow ODE's, blurred by {blur_words(self)})"
        )


def default_decoder_variance(reverse_variance: str, schedule: NoiseSchedule, denoising_error: Tensor) -> float:
    """Return the default variance of p(x_0 | x_1): m_1 for the reverse variance "optimal", beta_1 for the others."""
    return float(denoising_error[1] if reverse_variance == "optimal" else schedule.beta[1])


def reverse_variances(
    model: DiffusionModel,
    times: list[int],
    *,
    reverse_variance: str | None = None,
    decoder_variance: float | None = None,
) -> Tensor:
    """Return sigma_t^2 for the chain that visits only `times`: (len(times) + 1,).

    `reverse_variance` defaults to the model's own. `decoder_variance` defaults to the model's own if both the kind is
    the model's and the chain keeps the first step; otherwise to m_t of the first step ("optimal") or its beta_1.
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


def check_reverse_variance(name: str) -> None:
    """Raise InvalidInput unless the name is one of the reverse variances."""
    if name not in REVERSE_VARIANCES:
        raise InvalidInput(f"reverse_variance should be one of {', '.join(REVERSE_VARIANCES)}, but got {name!r}.")


def blur_words(model: DiffusionModel, names: Sequence[str] | None = None) -> str:
    """Describe the blur of a model's log-density, in the units of each column."""
    columns = zip(names or model.schema.names, model.codec.columns, model.blur, strict=True)
    blur = [
        f"{size:.2g} in {name}{' (more in its tails)' if column.asinh else ''}"
        for name, column, size in columns
        if size
    ]
    return f"noise of standard deviation {listed(blur)}"


def training_words(model: DiffusionModel) -> str:
    """Describe the training of a model: steps, rows per step, precision, and the weights that were kept."""
    plan = model.card.get("settings", {}).get("training")  # a file's card may hold anything
    plan = plan if isinstance(plan, dict) else {}
    words = f"{model.history.n_steps:,} steps"
    if model.card.get("stopped_by") == "time limit":
        words = time_limit_words(model.history.n_steps, model.card.get("last_gain", 0.0))
    if isinstance(plan.get("batch_size"), int):
        words += f" of {plan['batch_size']:,} rows"
    words += ", products in bfloat16" if plan.get("bfloat16") is True else ""
    kept = model.history.chosen_step
    if kept == model.history.n_steps:
        return words
    return f"{words}; kept: the weights {f'of step {kept:,}' if kept else 'before training'}, better on held-out rows"


def time_limit_words(n_steps: int, last_gain: float) -> str:
    """Describe a training that a time limit ended, a third of whose steps still gained so many nats a row."""
    words = f"stopped by the time limit after {n_steps:,} steps"
    return f"{words}, of which a third still gained {last_gain:.2g} nats a row" if last_gain > 0.0 else words


def short_training(n_steps: int, stopped_by: str, last_gain: float) -> str | None:
    """Describe a training that a time limit ended too soon; None for any other."""
    if stopped_by != "time limit" or (n_steps >= _SHORT and last_gain <= _SHORT_GAIN):
        return None
    return time_limit_words(n_steps, last_gain)


def mismatch_warning(prior_mismatch: float, schedule: NoiseSchedule) -> str | None:
    """Describe the cost of a prior mismatch; None below 0.01 nats per row."""
    if prior_mismatch < MISMATCH_THAT_MATTERS:
        return None
    return (
        f"prior mismatch: alpha_bar_N = {float(schedule.alpha_bar[-1]):.4f} after {schedule.n_steps} steps, so x_N "
        f"still holds signal (SNR {float(schedule.snr[-1]):.2f}), while sampling starts from pure noise. That costs "
        f"the bound at least {prior_mismatch:.3f} nats per row, whatever the network. Use more steps or larger betas, "
        "or leave the schedule to Diffusion()."
    )
