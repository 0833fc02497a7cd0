"""Whether an observation is like the simulations, and whether its posterior lies at the bounds of the prior."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backwalk.errors import InvalidInput
from backwalk.formatting import listed
from backwalk.inference.conditionals import ParameterConditional
from backwalk.model import FEWEST_UNSEEN, RARE, beyond_range, held_out_given, measure_distances, rarity
from backwalk.streams import Stream

Array = NDArray[np.float64]
_N_DRAWS, _AT_BOUND, _MOST = 200, 0.02, 0.5  # draws, of which more than half lie in 2 % of the prior


@dataclass(frozen=True, eq=False, repr=False)
class ObservationCheck:
    """How observations lie among unseen simulations.

    `Posterior.check` makes it.

    Parameters
    ----------
    p_value : ndarray, (m,)
        Probability that an unseen simulation lies at least as far from the fitted ones as each observation. For exact
        simulators p-values are uniform.
    distance : ndarray, (m,)
        Distance of each observation from the fitted rows, along their curves.
    n_simulations : int
        Number of unseen simulations, among whose distances these are ranked.
    beyond : tuple of str
        Columns in which x lies outside the range of the fitted rows.
    p_beyond : float
        Probability that an unseen simulation lies outside that range, in each column.
    at_bounds : tuple of str
        Parameters of which more than half of the draws given all observations lie beside a declared bound, where 2 % of
        the prior do.

    See Also
    --------
    Posterior.check : Makes it, with an example.

    Examples
    --------
    >>> import numpy as np
    >>> from backwalk.inference import ObservationCheck
    >>> ObservationCheck(np.array([0.0]), np.array([7.0]), 1000, ("rain",), 0.002, ()).fits
    False
    """

    p_value: Array
    distance: Array
    n_simulations: int
    beyond: tuple[str, ...]
    p_beyond: float
    at_bounds: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """Whether no p-value is below 1 in 1,000, for all observations together."""
        return bool(self.p_value.min() * len(self.p_value) >= RARE)

    def __repr__(self) -> str:
        """Return the least p-value, and what is unusual."""
        parts = [] if self.fits else ["x does not fit the simulations"]
        parts += [f"{listed(self.beyond)} beyond the fitted range"] if self.beyond else []
        parts += [f"{listed(self.at_bounds)} at the bound of the prior"] if self.at_bounds else []
        words = f": {'; '.join(parts)}" if parts else ""
        return f"ObservationCheck(p = {self.p_value.min():.2g} among {self.n_simulations:,} unseen simulations{words})"


def check_observations(
    conditional: ParameterConditional, rows: Array, simulations: Array | None, *, stream: Stream
) -> ObservationCheck:
    """Return the check of observations, (m, d), among unseen simulations, (n, d), or the held-out rows of the fit."""
    model, given = conditional.model, conditional.given
    if model.has_embedding:
        raise InvalidInput("A check needs the data themselves, but the model reads an embedding: fit without one.")
    if simulations is None:
        reference = np.array(held_out_given(model, given))
    else:
        reference = measure_distances(model, simulations, given)
    if len(reference) < FEWEST_UNSEEN:
        raise InvalidInput(
            f"A check needs at least {FEWEST_UNSEEN} unseen simulations, but has {len(reference):,}: give check(x, "
            "simulations) more. A fit with conditions=[data] keeps the distances of its held-out rows."
        )
    distance = measure_distances(model, rows, given)
    names, is_beyond = model.schema.names, np.asarray(beyond_range(model, rows).any(axis=0))
    n_rows = sum(model.card.get(part, 0) for part in ("n_rows", "n_validation_rows"))
    return ObservationCheck(
        rarity(distance, reference),
        distance,
        len(reference),
        tuple(names[j] for j in given if is_beyond[j]),
        2.0 / (1.0 + n_rows),
        tuple(
            names[j] for j in _at_bounds(conditional, conditional.draw(rows, -(-_N_DRAWS // len(rows)), stream=stream))
        ),
    )


def _at_bounds(conditional: ParameterConditional, drawn: Array) -> list[int]:
    """Return the parameters most of whose draws, (m, n, k), lie beside a declared bound."""
    found = list[int]()
    for i, j in enumerate(conditional.parameters):
        number = conditional.model.codec.columns[j].number_column
        if number is None or number.bounds is None:
            continue
        scaled = number.before_bounds.encode(drawn[..., i].reshape(-1))
        if any((share < _AT_BOUND).mean() > _MOST for share in number.bounds.rows_beside(scaled)):
            found.append(j)
    return found
