"""The terms of a bound: means over rows with standard errors, collected step by step and merged from pieces of rows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from backwalk.formatting import html_table


@dataclass(frozen=True, eq=False)
class BoundTerms:
    """The terms of a bound, as means over rows with their standard errors, in nats per row.

    A standard error is NaN for a single row, or where its term is infinite.

    Parameters
    ----------
    prior : float
        L_N, the divergence of q(x_N | x_0) from N(0, I).
    prior_standard_error : float
        Its standard error.
    transitions : Tensor of shape (n_steps + 1,)
        L_{t-1} at t = 2..n_steps. Entries 0 and 1 are 0.
    transitions_standard_error : Tensor of shape (n_steps + 1,)
        Their standard errors.
    reconstruction : float
        L_0, the mean of -log p_theta(x_0 | x_1).
    reconstruction_standard_error : float
        Its standard error.
    per_row : Tensor of shape (n,)
        The bound of each row.
    levels : float, default=0.0
        -ln P of the levels of a table's rows. The other terms are then those of the numbers given the levels.
    levels_standard_error : float, default=0.0
        Its standard error.

    See Also
    --------
    variational_bound : The function that computes them.
    merge_terms : The terms over all rows from those of pieces.

    Examples
    --------
    >>> import torch
    >>> from backwalk import NoiseSchedule
    >>> from backwalk.diffusion import GaussianDenoiser, beta_variance, variational_bound
    >>> denoiser, schedule = GaussianDenoiser(torch.zeros(1), torch.eye(1)), NoiseSchedule.linear(100)
    >>> x_0 = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    >>> terms = variational_bound(denoiser, x_0, schedule, beta_variance(schedule), eps=torch.tensor([[-1.0], [1.0]]))
    >>> terms
    BoundTerms(1.4189 +- 0.0000 nats per row over 2 rows: prior 0.2134, transitions 3.2404, reconstruction -2.0349)
    """

    prior: float
    prior_standard_error: float
    transitions: Tensor
    transitions_standard_error: Tensor
    reconstruction: float
    reconstruction_standard_error: float
    per_row: Tensor
    levels: float = 0.0
    levels_standard_error: float = 0.0

    def __repr__(self) -> str:
        """Return the terms in one line."""
        levels = f"levels {self.levels:.4f}, " if self.levels else ""
        return (
            f"BoundTerms({self.total:.4f} +- {self.total_standard_error:.4f} nats per row over {self.n_rows:,} rows: "
            f"{levels}prior {self.prior:.4f}, transitions {float(self.transitions.sum()):.4f}, reconstruction "
            f"{self.reconstruction:.4f})"
        )

    def _repr_html_(self) -> str:
        """Return the terms as a table, for notebooks."""
        terms = [
            *([("levels", self.levels, self.levels_standard_error)] if self.levels else []),
            ("prior, L_N", self.prior, self.prior_standard_error),
            ("transitions, the sum of L_{t-1} over t", float(self.transitions.sum()), None),
            ("reconstruction, L_0", self.reconstruction, self.reconstruction_standard_error),
            ("bound, L", self.total, self.total_standard_error),
        ]
        rows = [(name, f"{value:.4f}", "" if error is None else f"{error:.4f}") for name, value, error in terms]
        caption = f"Bound on -log p, the mean over {self.n_rows:,} rows"
        return html_table(caption, ["term", "nats per row", "standard error"], rows)

    @property
    def n_rows(self) -> int:
        """The number of rows that the means are over."""
        return len(self.per_row)

    @property
    def total(self) -> float:
        """The bound L, the mean over rows."""
        return float(self.per_row.mean())

    @property
    def total_standard_error(self) -> float:
        """The standard error of the bound, which includes the covariance of the terms."""
        return float(_standard_error(self.per_row))


def add_levels(terms: BoundTerms, of_levels: Tensor) -> BoundTerms:
    """Return the terms of numbers given levels with -ln P of the levels added, (n,)."""
    return replace(
        terms,
        levels=float(of_levels.mean()),
        levels_standard_error=float(_standard_error(of_levels)),
        per_row=terms.per_row + of_levels,
    )


def collect_terms(
    prior: Tensor, reconstruction: Tensor, transitions: Iterable[Tensor], log_volume: Tensor | None = None
) -> BoundTerms:
    """Return the BoundTerms of the terms row by row: two of (n,), and those of steps 2, 3, ... as blocks (steps, n).

    `log_volume`, (n,), is added to the reconstruction. Blocks are consumed one at a time.
    """
    if log_volume is not None:
        reconstruction = reconstruction + log_volume
    total = prior + reconstruction
    means, errors = [no_steps := torch.zeros(2, dtype=torch.float64)], [no_steps]
    for block in transitions:
        total += block.sum(0)
        means.append(block.mean(1))
        errors.append(_standard_error(block))
    return BoundTerms(
        prior=float(prior.mean()),
        prior_standard_error=float(_standard_error(prior)),
        transitions=torch.cat(means),
        transitions_standard_error=torch.cat(errors),
        reconstruction=float(reconstruction.mean()),
        reconstruction_standard_error=float(_standard_error(reconstruction)),
        per_row=total,
    )


def merge_terms(pieces: Sequence[BoundTerms]) -> BoundTerms:
    """Return the terms over all rows from those of pieces of them.

    Parameters
    ----------
    pieces : sequence of BoundTerms
        The terms of each piece of the rows.

    Returns
    -------
    BoundTerms
        The terms, as if all rows had been computed at once.

    See Also
    --------
    variational_bound : The bound of rows or of a piece of them.

    Notes
    -----
    Means are weighted by their numbers of rows. The squared deviations from a piece's own mean, n (n - 1) times the
    squared standard error, and n times the squared distance of that mean from the whole's add up.

    Source: Chan, Golub & LeVeque 1983, for the sums.

    Examples
    --------
    >>> import torch
    >>> from backwalk import NoiseSchedule
    >>> from backwalk.diffusion import GaussianDenoiser, beta_variance, merge_terms, variational_bound
    >>> from backwalk.streams import Stream
    >>> denoiser, schedule = GaussianDenoiser(torch.zeros(1), torch.eye(1)), NoiseSchedule.linear(10)
    >>> pieces = [
    ...     variational_bound(denoiser, x_0, schedule, beta_variance(schedule), stream=Stream(0), first_row=first_row)
    ...     for first_row, x_0 in ((0, torch.zeros(3, 1)), (3, torch.ones(2, 1)))
    ... ]
    >>> merge_terms(pieces).n_rows
    5
    """
    n = torch.tensor([[float(piece.n_rows)] for piece in pieces], dtype=torch.float64)
    means, errors = torch.stack([_means(piece) for piece in pieces]), torch.stack([_errors(piece) for piece in pieces])
    mean = (n * means).sum(0) / n.sum()
    within = torch.where(n == 1.0, 0.0, n * (n - 1.0) * errors.square())  # the error of a single row is NaN
    variance = (within + n * (means - mean).square()).sum(0) / (n.sum() - 1.0)
    error = (variance / n.sum()).sqrt()
    error[3:5] = 0.0  # the transitions' entries 0 and 1 stand for no step
    return BoundTerms(
        prior=float(mean[0]),
        prior_standard_error=float(error[0]),
        transitions=mean[3:],
        transitions_standard_error=error[3:],
        reconstruction=float(mean[1]),
        reconstruction_standard_error=float(error[1]),
        per_row=torch.cat([piece.per_row for piece in pieces]),
        levels=float(mean[2]),
        levels_standard_error=float(error[2]),
    )


def _means(terms: BoundTerms) -> Tensor:
    others = [terms.prior, terms.reconstruction, terms.levels]
    return torch.cat([torch.tensor(others, dtype=torch.float64), terms.transitions])


def _errors(terms: BoundTerms) -> Tensor:
    others = [terms.prior_standard_error, terms.reconstruction_standard_error, terms.levels_standard_error]
    return torch.cat([torch.tensor(others, dtype=torch.float64), terms.transitions_standard_error])


def _standard_error(values: Tensor) -> Tensor:
    """Return the standard error of the means over the last axis: NaN for a single row."""
    n = values.shape[-1]
    return values.std(-1) / math.sqrt(n) if n > 1 else torch.full_like(values[..., 0], math.nan)
