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
    """The bound's terms as means over rows, with their standard errors over rows: nats per row.

    `transitions` and its error are (n_steps + 1,): entry t is L_{t-1} for t = 2..n_steps, and entries 0 and 1 are 0.
    `per_row` is (n,), the bound of each row. A standard error is NaN for a single row, or where its term is infinite.
    `levels` is -ln P of the levels of a table's rows, and the other terms are those of the numbers given the levels.
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
    """Return the terms over all rows from those of pieces of them, as if all had been computed at once.

    Means are weighted by their numbers of rows. The squared deviations from a piece's own mean, n (n - 1) times the
    squared standard error, and n times the squared distance of that mean from the whole's add up.

    Source: Chan, Golub & LeVeque 1983, for the sums.
    """
    n = torch.tensor([[float(piece.n_rows)] for piece in pieces], dtype=torch.float64)
    means, errors = torch.stack([_means(piece) for piece in pieces]), torch.stack([_errors(piece) for piece in pieces])
    mean = (n * means).sum(0) / n.sum()
    within = torch.where(n == 1.0, 0.0, n * (n - 1.0) * errors.square())  # the error of a single row is NaN
    variance = (within + n * (means - mean).square()).sum(0) / (n.sum() - 1.0)
    error = (variance / n.sum()).sqrt()
    error[2:4] = 0.0  # the transitions' entries 0 and 1 stand for no step
    return BoundTerms(
        prior=float(mean[0]),
        prior_standard_error=float(error[0]),
        transitions=mean[2:],
        transitions_standard_error=error[2:],
        reconstruction=float(mean[1]),
        reconstruction_standard_error=float(error[1]),
        per_row=torch.cat([piece.per_row for piece in pieces]),
    )


def _means(terms: BoundTerms) -> Tensor:
    return torch.cat([torch.tensor([terms.prior, terms.reconstruction], dtype=torch.float64), terms.transitions])


def _errors(terms: BoundTerms) -> Tensor:
    ends = torch.tensor([terms.prior_standard_error, terms.reconstruction_standard_error], dtype=torch.float64)
    return torch.cat([ends, terms.transitions_standard_error])


def _standard_error(values: Tensor) -> Tensor:
    """Return the standard error of the means over the last axis: NaN for a single row."""
    n = values.shape[-1]
    return values.std(-1) / math.sqrt(n) if n > 1 else torch.full_like(values[..., 0], math.nan)
