"""The log-probability of rows under a fitted model, of any of their columns given any others (`given.py`).

Copies and dates come first. Then the levels take one evaluation per column (`levels.py`), the other numbers the
probability-flow ODE with the levels given (`numbers.py`), and columns of integers the integral of that density over
their cells (`integers.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backwalk.diffusion import LogDensity
from backwalk.diffusion.ode import check_intervals
from backwalk.errors import InvalidInput
from backwalk.limits import is_whole
from backwalk.model.diffusion_model import DiffusionModel
from backwalk.model.given import Given, free_columns
from backwalk.model.integers import N_PLACES
from backwalk.model.numbers import DEFAULT_PROBES, MOST_EXACT_COLUMNS, Ode
from backwalk.model.possible import possible_rows
from backwalk.streams import Stream
from backwalk.table.codec_rules import log_change
from backwalk.threads import on_one_thread
from backwalk.torch_state import in_initial_torch_state


@in_initial_torch_state
@on_one_thread
def log_density(
    model: DiffusionModel,
    values: NDArray[np.float64],
    *,
    given: Sequence[int] = (),
    columns: Sequence[int] | None = None,
    n_intervals: int = 16,
    n_probes: int | None = None,
    n_places: int = N_PLACES,
    with_error: bool = True,
    stream: Stream | None = None,
    watch: Callable[[int], object] = lambda _: None,
) -> LogDensity:
    """Return the log-probability of rows, or of some columns given others.

    Levels have probabilities, numbers a density under the probability-flow ODE. A missing cell (NaN) is integrated out:
    the result is the marginal of the observed cells.

    Parameters
    ----------
    model : DiffusionModel
        The model, `model_` of an estimator.
    values : ndarray of shape (n, d)
        The rows, in the user's units.
    given : sequence of int, default=()
        The numbers of the given columns.
    columns : sequence of int, optional
        Those that are scored: all others by default.
    n_intervals : int, default=16
        The number of intervals of the ODE's grid, even.
    n_probes : int, optional
        The number of random sign vectors per row that estimate the divergence. By default it is exact up to 32 free
        numbers, at the cost of one evaluation for each of them and one more each time, and beyond takes 16.
    n_places : int, optional
        The number of places in the joint cell at which the log-probability of integers is estimated. The estimate is
        biased downwards by about half of its squared standard error where that is well below 1.
    with_error : bool, default=True
        Whether to estimate the solver's error. Without, it is NaN, and rows without integers take two thirds of the
        time.
    stream : Stream, optional
        The random probes and places: a fixed one by default.
    watch : callable, optional
        Called with the number of rows of each tile.

    Returns
    -------
    LogDensity
        The log-probabilities with their errors, in nats per row and the user's units. Rows that the model cannot make
        have -inf. `standard_error` is that of places and probes together.

    Raises
    ------
    InvalidInput
        For a pattern for which the model was not trained.
    SamplingDiverged
        If the network returns NaN.

    See Also
    --------
    backwalk.Diffusion.score_samples : The method of the estimator.
    bound : The bound on -log p of the chain.
    backwalk.diffusion.log_density : The log-density of any denoiser.

    Notes
    -----
    The places of a cell lie close together: half of the grid gives their differences from three of them, which alone
    are computed on all of it.

    The density is blurred by `model.blur`. All places of a row share its probes: their error is then nearly the same at
    all places, and the mean of exp(log p) does not turn it into a bias. Probes and places depend only on the stream and
    the row's content: a row's result does not depend on the other rows, and equal rows have equal results, up to
    rounding. Draws of different rows are independent, so that their errors average out.

    Examples
    --------
    >>> from backwalk import Diffusion
    >>> from backwalk.datasets import two_moons
    >>> from backwalk.model import log_density
    >>> X = two_moons().sample(100, random_state=0)
    >>> model = Diffusion(max_steps=20, random_state=0, verbose=False).fit(X)
    >>> log_density(model.model_, X[:3]).log_prob.shape
    torch.Size([3])
    """
    if n_probes is not None and (not is_whole(n_probes) or n_probes < 1):
        raise InvalidInput(f"n_probes should be an integer >= 1 or None, but got {n_probes!r}: 16 is usual.")
    if not is_whole(n_places) or n_places < 1:
        raise InvalidInput(f"n_places should be an integer >= 1, but got {n_places!r}: {N_PLACES} is usual.")
    check_intervals(n_intervals)
    n_probes = n_probes_of(model, given, columns) if n_probes is None else n_probes
    ode = Ode(n_intervals, n_probes, Stream(0) if stream is None else stream, with_error)
    is_possible, values, rows = encode_possible(model, np.asarray(values), given, columns)
    result = rows.log_prob(ode, n_places=n_places, watch=watch)
    is_given, is_free = np.isin(np.arange(model.codec.n_columns), given), free_columns(model, given, columns)
    change = torch.from_numpy(log_change(model.codec, is_given, is_free, values, rows.cells))
    if columns is None and not is_given.any():  # only whole rows are drawn until they obey the rules
        change = change - math.log(model.accepted_share)
    return replace(result, log_prob=(result.log_prob + change).where(is_possible, -torch.inf))


def n_probes_of(model: DiffusionModel, given: Sequence[int], columns: Sequence[int] | None) -> int | None:
    """Return how many random sign vectors estimate a divergence; None, as it is exact, up to 32 free numbers."""
    is_free = np.append(free_columns(model, given, columns), np.ones(len(model.codec.differences), dtype=bool))
    n_numbers = int(model.codec.expand_mask(is_free[None])[0, model.codec.numbers].sum())
    return DEFAULT_PROBES if n_numbers > MOST_EXACT_COLUMNS else None


def encode_possible(
    model: DiffusionModel, values: NDArray[np.float64], given: Sequence[int], columns: Sequence[int] | None
) -> tuple[Tensor, NDArray[np.float64], Given]:
    """Return which rows, (n, d), the model can make, the rows with others in the place of impossible ones, and encoded.

    Impossible values may have no code.
    """
    is_possible = possible_rows(model, values, given, columns)
    can_be = model.codec.supports(values, model.schema.dtypes)
    can_be[:, list(given)] = True
    values = np.where(can_be, values, model.codec.decode(np.zeros((1, model.codec.n_encoded))))
    return torch.from_numpy(is_possible), values, Given.to_score(model, values, given, columns)


def rank_scores(scores: NDArray[np.float64], reference: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return, for each score, (n,), the share of the reference scores, (m,), that are no higher."""
    places = np.searchsorted(np.sort(reference), scores, side="right")
    return np.asarray(places / max(len(reference), 1))
