"""The scores of one generative model: of the diffusion model, or of a baseline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from backwalk.assess.statistics import Figure
from backwalk.estimates import Estimate


@dataclass(frozen=True)
class ModelScores:
    """The scores of one generative model: of the diffusion model, or of a baseline.

    A `Fidelity` has them as `model` and `baselines`.

    Parameters
    ----------
    name : str
        The name of the model.
    figures : tuple of Figure
        Statistics of generated rows beside their nulls.
    density_of : {"exact", "ode"}
        The density that is scored: "exact" for baselines, "ode" for the diffusion model, the density of its
        probability-flow ODE. It has the solver's error and, beyond 32 coordinates, the noise of random probes, which
        the standard error includes.
    negative_log_density : Estimate
        The mean of -log p over unseen rows, in nats and the user's units.
    advantage : Estimate or None
        The row-paired mean of log p minus the diffusion model's log p; None for the diffusion model itself.
    gap : Estimate or None
        The row-paired mean of the true log p minus this log p; None if the truth is not known.
    fit_seconds : float or None
        The time of the fit; None for a model from a file.
    sample_seconds : float
        The time of 10,000 rows.
    code : str
        Python to copy.

    See Also
    --------
    Fidelity : The record of all models.

    Examples
    --------
    >>> from backwalk.assess import ModelScores
    >>> from backwalk.assess.statistics import Estimate
    >>> ModelScores("trees", (), "exact", Estimate(1.2, 0.1, 100), None, None, 3.0, 0.1, "").negative_log_density
    Estimate(value=1.2, standard_error=0.1, n=100)
    """

    name: str
    figures: tuple[Figure, ...]
    density_of: Literal["exact", "ode"]
    negative_log_density: Estimate
    advantage: Estimate | None
    gap: Estimate | None
    fit_seconds: float | None
    sample_seconds: float
    code: str

    def figure(self, name: str) -> Figure:
        """Return the figure of a name.

        Parameters
        ----------
        name : str
            The name of the statistic.

        Returns
        -------
        Figure
            The figure.
        """
        return next(figure for figure in self.figures if figure.name == name)
