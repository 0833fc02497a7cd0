"""`posterior` and `Posterior`: parameters given observations, in the manner of the package `sbi`.

For one observation x, p(theta | x) is a conditional of the model: draws are those of `Diffusion.sample(given=...)`, and
the log-density is that of `Diffusion.score_samples(given=..., columns=...)`. `pooled.py` has the product for several
observations.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from backwalk.errors import FewEffectiveDrawsWarning, InvalidInput
from backwalk.formatting import MOST_NAMED, html_table, listed
from backwalk.inference.check import ObservationCheck, check_observations
from backwalk.inference.conditionals import ParameterConditional, Prior
from backwalk.inference.gradients import attached
from backwalk.inference.importance import Weighted
from backwalk.inference.pooled import Product
from backwalk.inference.truncated import TruncatedPrior, truncate
from backwalk.inference.values import as_tensor, asks_for_gradient, read_observations, read_parameters, read_shape
from backwalk.limits import is_number, is_whole
from backwalk.model import DiffusionModel, column_numbers, refuse_without_gradient, user_terms, warn_of_far
from backwalk.sampling import Sampler, SolverName
from backwalk.streams import RandomState, Stream, as_stream

Array = NDArray[np.float64]
_N_EACH, _LEAST_SIZE = 500, 400.0  # weighted draws of a round, and the effective sample size at which rounds end
_MOST_SIZE, _DRAWS_PER_SIZE = 2_000.0, 4.0  # of `sample`: a quarter of the draws asked for, at most 2,000
_FEW = 100.0  # effective draws


@dataclass(frozen=True, eq=False, repr=False)
class WeightedDraws:
    """Weighted draws of a posterior given several observations.

    `Posterior.weighted_draws` makes them.

    Parameters
    ----------
    theta : Tensor, (n, k)
        Parameters.
    log_weights : Tensor, (n,)
        Logarithms of the weights, which add up to 1.
    effective_sample_size : float
        Number of equally weighted draws that these are worth, 1 / sum of the squared weights.
    log_integral : float
        Logarithm of the integral of p(theta | x_1) ... p(theta | x_n) / p(theta)^(n - 1). It is not the evidence, but
        ln p(x_1..x_n) - ln p(x_1) - ... - ln p(x_n).
    standard_error : float
        That of `log_integral`.

    See Also
    --------
    Posterior.weighted_draws : Makes them, with an example.
    Posterior.sample : Draws without weights.

    Examples
    --------
    >>> import torch
    >>> from backwalk.inference import WeightedDraws
    >>> draws = WeightedDraws(torch.zeros(4, 1), torch.full((4,), 0.25).log(), 4.0, 0.0, 0.1)
    >>> (draws.log_weights.exp()[:, None] * draws.theta).sum(0)  # the mean
    tensor([0.])
    """

    theta: Tensor
    log_weights: Tensor
    effective_sample_size: float
    log_integral: float
    standard_error: float

    def __repr__(self) -> str:
        """Return how many draws there are, and what they are worth."""
        return (
            f"WeightedDraws({len(self.theta):,} draws, effective sample size {self.effective_sample_size:,.0f}; "
            f"log_integral {self.log_integral:.4f} +- {self.standard_error:.4f})"
        )


def posterior(model: Any, given: Sequence[str | int], *, prior: Prior | None = None) -> Posterior:
    """Return the posterior of some columns given the others, in the manner of the package `sbi`.

    Fit a model to rows of parameters, drawn from their prior, with the simulator's data beside them:
    `conditions=[given]` trains this posterior alone, and is more accurate for it than "any". A prior with bounds is
    `columns={"theta": Number(bounds=(low, high))}`: no draw lies beyond, none is rejected, and the density within
    integrates to 1 as it is.

    Parameters
    ----------
    model : Diffusion
        A fitted model.
    given : list of columns
        The observed columns, by name or number; all others are parameters.
    prior : object with log_prob, default=None
        The distribution that the simulations' parameters were drawn from, such as one of torch, with the parameters in
        the order of `parameter_names`. It serves several observations of the same parameters, and is not used for one.
        None takes the model's own marginal of the parameters, if it was fitted with `conditions="any"`.

    Returns
    -------
    backwalk.inference.Posterior
        With `sample`, `log_prob`, `map`, `check` and more.

    Raises
    ------
    InvalidInput
        A ValueError: the model is not fitted, or was not trained for these columns.

    See Also
    --------
    Diffusion.sample : Draws of some columns given others, as rows.
    Diffusion.conditional : The distribution of one column given others.

    Examples
    --------
    >>> import numpy as np
    >>> from backwalk import Diffusion, posterior
    >>> theta = np.random.default_rng(0).normal(size=(300, 1))
    >>> rows = np.hstack([theta, theta + 0.1 * np.random.default_rng(1).normal(size=(300, 1))])
    >>> model = Diffusion(max_steps=20, conditions=[[1]], random_state=0, verbose=False).fit(rows)
    >>> of_theta = posterior(model, given=[1]).set_default_x([0.5])
    >>> draws = of_theta.sample(100, random_state=1)
    >>> draws.shape, of_theta.log_prob(draws).shape
    (torch.Size([100, 1]), torch.Size([100]))
    """
    fitted = getattr(model, "model_", model)
    if not isinstance(fitted, DiffusionModel):
        raise InvalidInput(f"model should be a fitted Diffusion, but got {type(model).__name__}: call fit first.")
    columns = column_numbers(fitted.schema, given)
    if not 0 < len(columns) < fitted.schema.n_columns:
        raise InvalidInput(
            f"given should name some of the {fitted.schema.n_columns} columns, but names {len(columns)}: the others "
            "are the parameters."
        )
    if prior is not None:
        _check_prior(prior)
    fitted.check_pattern(columns)
    return Posterior(fitted, columns, prior)


class Posterior:
    """The posterior of the parameters of a simulator, given its data; `posterior` makes it.

    Its methods are named as those of the package `sbi`. They take an observation `x`, or the default that
    `set_default_x` sets. Tensors are float64, on the CPU.

    Parameters
    ----------
    model : backwalk.model.DiffusionModel
        A fitted model, `model_` of a `Diffusion`.
    given : list of int
        Numbers of the observed columns.
    prior : object with log_prob or None
        The distribution that the simulations' parameters were drawn from.

    Attributes
    ----------
    parameter_names : tuple of str
        Names of the parameters, in the order of the columns of their tensors.
    observation_names : tuple of str
        Names of the observed columns, in the order of those of `x`.

    See Also
    --------
    backwalk.posterior : Makes it from a fitted `Diffusion`.

    Notes
    -----
    For one observation the density is p(theta | x), a conditional of the model. For several it is proportional to
    p(theta | x_1) ... p(theta | x_n) / p(theta)^(n - 1).

    Examples
    --------
    >>> import numpy as np
    >>> from backwalk import Diffusion, posterior
    >>> theta = np.random.default_rng(0).normal(size=(300, 1))
    >>> rows = np.hstack([theta, theta + 0.1 * np.random.default_rng(1).normal(size=(300, 1))])
    >>> model = Diffusion(max_steps=20, conditions=[[1]], random_state=0, verbose=False).fit(rows)
    >>> of_theta = posterior(model, given=[1])
    >>> of_theta.set_default_x([0.5]).sample(100, random_state=1).shape
    torch.Size([100, 1])
    >>> of_theta.parameter_names, of_theta.observation_names
    (('x1',), ('x2',))
    """

    def __init__(self, model: DiffusionModel, given: Sequence[int], prior: Prior | None) -> None:
        names, others = model.schema.names, [j for j in range(model.schema.n_columns) if j not in given]
        self._conditional = ParameterConditional(model, list(given), others, prior)
        self._default_x: Any = None
        self._default_rows: Array | None = None
        self._last = b""  # the last x, which is not warned of again
        self._kept: tuple[tuple[bytes, Any] | None, Weighted] | None = None  # those of the last observations and seed
        self.parameter_names: tuple[str, ...] = tuple(names[j] for j in others)
        self.observation_names: tuple[str, ...] = tuple(names[j] for j in given)

    @property
    def default_x(self) -> Any:
        """The observation of calls without `x`, or None. To assign it is to call `set_default_x`."""
        return self._default_x

    @default_x.setter
    def default_x(self, x: Any) -> None:
        self.set_default_x(x)

    def set_default_x(self, x: Any) -> Self:
        """Set the observation of calls without `x`, and return the posterior itself.

        Parameters
        ----------
        x : tensor, array, table or mapping
            The observation: see `sample`.

        Returns
        -------
        Posterior
            The posterior itself.

        Examples
        --------
        >>> import numpy as np
        >>> from backwalk import Diffusion, posterior
        >>> theta = np.random.default_rng(0).normal(size=(300, 1))
        >>> rows = np.hstack([theta, theta + 0.1 * np.random.default_rng(1).normal(size=(300, 1))])
        >>> model = Diffusion(max_steps=20, conditions=[[1]], random_state=0, verbose=False).fit(rows)
        >>> of_theta = posterior(model, given=[1])
        >>> of_theta.set_default_x([0.5]).default_x
        [0.5]
        """
        self._default_rows = self._observed(x)
        self._default_x = x.detach().clone() if isinstance(x, Tensor) else copy.deepcopy(x)
        return self

    def check(self, x: Any = None, simulations: Any = None, *, random_state: RandomState = 0) -> ObservationCheck:
        """Return whether observations are like the simulations, and whether the posterior lies at a bound of the prior.

        The distance of x from the fitted rows, which follows their curves, is ranked among those of simulations that
        the fit did not train on. A posterior given an x that the simulator cannot make is an extrapolation. Calls with
        such an x warn, too.

        Parameters
        ----------
        x : tensor, array, table or mapping, default=None
            See `sample`. Several rows are checked one by one.
        simulations : tensor or array, (n, k), or table with n rows, default=None
            Data of unseen simulations, with the columns `observation_names`. None takes the held-out rows of a fit with
            `conditions=[data]`.
        random_state : int, numpy.random.Generator or RandomState, default=0
            Seed of the draws that may lie at bounds.

        Returns
        -------
        ObservationCheck
            With `fits`, `p_value`, and the columns and parameters at the ends of their ranges.

        Raises
        ------
        InvalidInput
            A ValueError: the model has no held-out rows for these data, and there are no simulations; or it has an
            embedding.

        See Also
        --------
        backwalk.Diffusion.assess : Whether posteriors are calibrated, over many observations.

        Examples
        --------
        >>> import numpy as np
        >>> from backwalk import Diffusion, posterior
        >>> theta = np.random.default_rng(0).normal(size=(400, 1))
        >>> rows = np.hstack([theta, theta + 0.1 * np.random.default_rng(1).normal(size=(400, 1))])
        >>> model = Diffusion(max_steps=20, conditions=[[1]], random_state=0, verbose=False).fit(rows[:300])
        >>> of_theta, unseen = posterior(model, given=[1]), rows[300:, 1:]
        >>> of_theta.check([0.5], unseen).fits, of_theta.check([50.0], unseen).fits
        (True, False)
        """
        rows = self._observed(x, warns=False)
        if simulations is not None:
            simulations = read_observations(self._conditional.model, self._conditional.given, simulations)
        return check_observations(self._conditional, rows, simulations, stream=_stream(random_state))

    def sample(
        self,
        sample_shape: int | Sequence[int] = (),
        x: Any = None,
        *,
        sampler: Sampler | SolverName | None = None,
        random_state: RandomState = None,
        show_progress_bars: bool = False,  # noqa: ARG002 - functions of sbi give it
    ) -> Tensor:
        """Draw parameters given an observation, or given several observations of the same parameters.

        Parameters
        ----------
        sample_shape : int or tuple of int, default=()
            The shape of the draws; () is a single one.
        x : tensor or array, (k,) or (m, k); table with m rows; or mapping, default=None
            Observations, with the columns `observation_names`. m > 1 rows are independent observations of the same
            parameters: see `weighted_draws` for the method and its limits. Draws then repeat, in proportion to their
            weights. The aim is an effective sample size of a quarter of their number, between 400 and 2,000; after
            eight rounds it may be less. A missing value is integrated out. None is the default.
        sampler : Sampler or str, default=None
            See `Diffusion.sample`.
        random_state : int, numpy.random.Generator or RandomState, default=None
            Seed of the draws.
        show_progress_bars : bool, default=False
            Ignored: functions of sbi, such as `run_sbc`, give it.

        Returns
        -------
        Tensor, (..., k)
            Parameters in their own units; the leading axes are `sample_shape`.

        Raises
        ------
        InvalidInput
            A ValueError: the shape, the observation or the sampler cannot be used.

        Warns
        -----
        FewEffectiveDrawsWarning
            Draws given several observations have an effective sample size below 100.
        UnseenValuesWarning
            Less than 1 in 1,000 unseen simulations lie as far from the fitted ones as x: see `check`. `log_prob` and
            `set_default_x` warn as well.

        See Also
        --------
        Posterior.sample_batched : Draws given each of many observations.
        Posterior.weighted_draws : Draws given several observations, with their weights.
        Posterior.log_prob : The log-density of parameters.

        Examples
        --------
        >>> import numpy as np
        >>> from backwalk import Diffusion, posterior
        >>> theta = np.random.default_rng(0).normal(size=(300, 1))
        >>> rows = np.hstack([theta, theta + 0.1 * np.random.default_rng(1).normal(size=(300, 1))])
        >>> model = Diffusion(max_steps=20, conditions=[[1]], random_state=0, verbose=False).fit(rows)
        >>> of_theta = posterior(model, given=[1])
        >>> of_theta.sample((2, 50), x=[0.5], random_state=1).shape
        torch.Size([2, 50, 1])
        """
        shape, rows, stream = read_shape(sample_shape), self._observed(x), _stream(random_state)
        n = math.prod(shape)
        if len(rows) == 1:
            drawn = self._conditional.draw(rows, n, stream=stream, sampler=sampler)[0]
        else:
            least_size = min(max(n / _DRAWS_PER_SIZE, _LEAST_SIZE), _MOST_SIZE)
            weighted = Product(self._conditional, rows).draw(
                n_each=max(_N_EACH, math.ceil(least_size)), least_size=least_size, stream=stream, sampler=sampler
            )
            _warn_of_few(weighted, len(rows))
            drawn = weighted.points[weighted.resample(n, stream=stream.child("resampled"))]
        return as_tensor(drawn.reshape(*shape, len(self.parameter_names)))

    def sample_batched(
        self,
        sample_shape: int | Sequence[int],
        x: Any,
        *,
        sampler: Sampler | SolverName | None = None,
        random_state: RandomState = None,
        show_progress_bars: bool = False,  # noqa: ARG002 - functions of sbi give it
    ) -> Tensor:
        """Draw parameters given each of a batch of observations.

        Parameters
        ----------
        sample_shape : int or tuple of int
            Number of draws for each observation, or their shape.
        x : tensor or array, (b, k), or table with b rows
            One observation per row, each with other parameters.
        sampler : Sampler or str, default=None
            See `Diffusion.sample`.
        random_state : int, numpy.random.Generator or RandomState, default=None
            Seed of the draws.
        show_progress_bars : bool, default=False
            Ignored: functions of sbi give it.

        Returns
        -------
        Tensor, (..., b, k)
            Parameters in their own units; the leading axes are `sample_shape`.

        See Also
        --------
        Posterior.log_prob_batched : The log-density of these draws.

        Examples
        --------
        >>> import numpy as np
        >>> from backwalk import Diffusion, posterior
        >>> theta = np.random.default_rng(0).normal(size=(300, 1))
        >>> rows = np.hstack([theta, theta + 0.1 * np.random.default_rng(1).normal(size=(300, 1))])
        >>> model = Diffusion(max_steps=20, conditions=[[1]], random_state=0, verbose=False).fit(rows)
        >>> of_theta = posterior(model, given=[1])
        >>> of_theta.sample_batched(50, [[0.5], [0.6], [-1.0]], random_state=1).shape
        torch.Size([50, 3, 1])
        """
        shape, rows = read_shape(sample_shape), self._observed(x, warns=False)
        drawn = self._conditional.draw(rows, math.prod(shape), stream=_stream(random_state), sampler=sampler)
        return as_tensor(drawn.swapaxes(0, 1).reshape(*shape, len(rows), len(self.parameter_names)))

    def log_prob(self, theta: Any, x: Any = None, *, random_state: RandomState = 0) -> Tensor:
        """Return the log-density of parameters given an observation, or given several of the same parameters.

        It is normalised within the declared bounds of the parameters, beyond which it is -inf. Given several
        observations, the normalising constant is that of `weighted_draws`, an estimate; that of the last observations
        is kept, as it takes long.

        Where theta asks for a gradient, autograd goes back through the steps of the ODE, which takes two to three times
        as long: the gradient is that of the log-density returned, up to rounding, and 0 beyond the bounds. It is
        differentiated once.

        Parameters
        ----------
        theta : tensor or array, (..., k), or table with n rows
            Parameters; (k,) is one row.
        x : tensor, array, table or mapping, default=None
            See `sample`.
        random_state : int, numpy.random.Generator or RandomState, default=0
            Seed of the weighted draws given several observations. Unused otherwise.

        Returns
        -------
        Tensor, (...) or (n,)
            Nats, in the units of the parameters.

        Raises
        ------
        InvalidInput
            A ValueError: theta cannot be used; or it asks for a gradient, and there are several observations, or
            parameters that are not on a continuous scale.

        Warns
        -----
        FewEffectiveDrawsWarning
            The normalising constant is that of draws with an effective sample size below 100.

        See Also
        --------
        Posterior.score : The gradient by theta, from one evaluation of the network.
        Posterior.map : The parameters of largest density.

        Examples
        --------
        >>> import numpy as np
        >>> from backwalk import Diffusion, posterior
        >>> theta = np.random.default_rng(0).normal(size=(300, 1))
        >>> rows = np.hstack([theta, theta + 0.1 * np.random.default_rng(1).normal(size=(300, 1))])
        >>> model = Diffusion(max_steps=20, conditions=[[1]], random_state=0, verbose=False).fit(rows)
        >>> of_theta = posterior(model, given=[1])
        >>> of_theta.log_prob([[0.4], [0.5]], x=[0.5]).shape
        torch.Size([2])
        """
        conditional, rows = self._conditional, self._observed(x)
        if len(rows) == 1:
            return self._log_prob_paired(theta, rows)
        if asks_for_gradient(theta):
            _refuse_several(rows)
        theta = read_parameters(conditional.model, conditional.parameters, theta)
        weighted = self._weighted(rows, random_state)
        _warn_of_few(weighted, len(rows))
        product, _ = Product(conditional, rows).log_prob(theta.reshape(-1, theta.shape[-1]))
        log_p = product - weighted.log_integral
        return as_tensor(log_p.reshape(theta.shape[:-1]))

    def log_prob_batched(self, theta: Any, x: Any) -> Tensor:
        """Return the log-density of parameters given each of a batch of observations.

        Parameters
        ----------
        theta : tensor or array, (..., b, k), or table with b rows
            Parameters, as `sample_batched` draws them. They may ask for a gradient, as in `log_prob`.
        x : tensor or array, (b, k), or table with b rows
            One observation per row.

        Returns
        -------
        Tensor, (..., b)
            Nats, in the units of the parameters.

        See Also
        --------
        Posterior.sample_batched : Draws given each of many observations.

        Examples
        --------
        >>> import numpy as np
        >>> from backwalk import Diffusion, posterior
        >>> theta = np.random.default_rng(0).normal(size=(300, 1))
        >>> rows = np.hstack([theta, theta + 0.1 * np.random.default_rng(1).normal(size=(300, 1))])
        >>> model = Diffusion(max_steps=20, conditions=[[1]], random_state=0, verbose=False).fit(rows)
        >>> of_theta = posterior(model, given=[1])
        >>> theta = of_theta.sample_batched(5, [[0.5], [0.6]], random_state=1)
        >>> of_theta.log_prob_batched(theta, [[0.5], [0.6]]).shape
        torch.Size([5, 2])
        """
        rows, k = self._observed(x, warns=False), len(self.parameter_names)
        read = read_parameters(self._conditional.model, self._conditional.parameters, theta)
        if read.shape[-2:] != (len(rows), k):
            raise InvalidInput(
                f"theta should be of shape (..., {len(rows)}, {k}), but has {read.shape}: give parameters for each "
                "observation."
            )
        return self._log_prob_paired(theta, rows)

    def potential(self, theta: Any, x: Any = None) -> Tensor:
        """Return `log_prob` of theta given one observation, under the name that samplers of MCMC call.

        That of sbi may lack a constant; this one is normalised. Samplers of Pyro and of sbi call it at a tensor that
        asks for a gradient: see `log_prob`.

        Parameters
        ----------
        theta : tensor or array, (..., k)
            Parameters.
        x : tensor, array, table or mapping, default=None
            One observation.

        Returns
        -------
        Tensor, (...)
            Nats.

        See Also
        --------
        Posterior.log_prob : The same for several observations too.

        Notes
        -----
        `NUTS(potential_fn=lambda p: -of_theta.potential(p["theta"]))` is a kernel of Pyro, and
        `MCMCPosterior(lambda theta, x_o: of_theta.potential(theta, x_o), proposal=prior, method="nuts_pyro")` of sbi.

        Examples
        --------
        >>> import torch
        >>> import numpy as np
        >>> from backwalk import Diffusion, posterior
        >>> theta = np.random.default_rng(0).normal(size=(300, 1))
        >>> rows = np.hstack([theta, theta + 0.1 * np.random.default_rng(1).normal(size=(300, 1))])
        >>> model = Diffusion(max_steps=20, conditions=[[1]], random_state=0, verbose=False).fit(rows)
        >>> of_theta = posterior(model, given=[1])
        >>> theta = torch.tensor([[0.5]], dtype=torch.float64, requires_grad=True)
        >>> of_theta.potential(theta, x=[0.5]).sum().backward()
        >>> theta.grad.shape
        torch.Size([1, 1])
        """
        rows = self._observed(x)
        _refuse_several(rows)
        return self._log_prob_paired(theta, rows)

    def score(self, theta: Any, x: Any = None) -> Tensor:
        """Return the score, the gradient by theta of ln p(theta | x), given one observation.

        It is that of the denoiser at the least noise level, from one evaluation of the network: for Langevin steps,
        Fisher scores and other uses of many gradients. That of `log_prob` takes about a hundred times as long, and is a
        little more accurate.

        Parameters
        ----------
        theta : tensor or array, (..., k), or table with n rows
            Parameters on a continuous scale.
        x : tensor, array, table or mapping, default=None
            One observation.

        Returns
        -------
        Tensor, (..., k)
            Nats per unit of each parameter; 0 beyond the declared bounds.

        Raises
        ------
        InvalidInput
            A ValueError: there are several observations, or parameters that are not on a continuous scale.

        See Also
        --------
        Posterior.log_prob : Its gradient follows from autograd.

        Examples
        --------
        >>> import numpy as np
        >>> from backwalk import Diffusion, posterior
        >>> theta = np.random.default_rng(0).normal(size=(300, 1))
        >>> rows = np.hstack([theta, theta + 0.1 * np.random.default_rng(1).normal(size=(300, 1))])
        >>> model = Diffusion(max_steps=20, conditions=[[1]], random_state=0, verbose=False).fit(rows)
        >>> of_theta = posterior(model, given=[1])
        >>> of_theta.score([[0.5], [2.0]], x=[0.5]).shape
        torch.Size([2, 1])
        """
        conditional, rows = self._conditional, self._observed(x)
        _refuse_several(rows)
        theta = read_parameters(conditional.model, conditional.parameters, theta)
        points = theta.reshape(-1, theta.shape[-1])
        return as_tensor(conditional.scores(points, np.repeat(rows, len(points), axis=0)).reshape(theta.shape))

    def map(self, x: Any = None, *, random_state: RandomState = 0) -> Tensor:
        """Return the parameters where the density given one observation is largest (maximum a posteriori).

        The density is that in the units of the parameters, as `log_prob` returns it: another one, such as that of a
        parameter's logarithm, has its maximum elsewhere. The best of some draws is improved by L-BFGS in encoded
        coordinates. Of several maxima the one beside this draw is found. Beside a bound densities are rough, and so are
        maxima there.

        Parameters
        ----------
        x : tensor, array, table or mapping, default=None
            One observation.
        random_state : int, numpy.random.Generator or RandomState, default=0
            Seed of the draws.

        Returns
        -------
        Tensor, (k,)
            Parameters in their own units.

        Raises
        ------
        InvalidInput
            A ValueError: there are several observations, or parameters that are not on a continuous scale.

        See Also
        --------
        Posterior.sample : Draws, which show more than their maximum.

        Examples
        --------
        >>> import numpy as np
        >>> from backwalk import Diffusion, posterior
        >>> theta = np.random.default_rng(0).normal(size=(300, 1))
        >>> rows = np.hstack([theta, theta + 0.1 * np.random.default_rng(1).normal(size=(300, 1))])
        >>> model = Diffusion(max_steps=20, conditions=[[1]], random_state=0, verbose=False).fit(rows)
        >>> of_theta = posterior(model, given=[1])
        >>> of_theta.map([0.5]).shape
        torch.Size([1])
        """
        rows = self._observed(x)
        _refuse_several(rows)
        refuse_without_gradient(self._conditional.model, self._conditional.parameters)
        return as_tensor(self._conditional.highest(rows, _N_EACH, stream=_stream(random_state)))

    def weighted_draws(
        self,
        x: Any = None,
        *,
        n_each: int = _N_EACH,
        effective_sample_size: float = _LEAST_SIZE,
        random_state: RandomState = None,
    ) -> WeightedDraws:
        """Draw weighted parameters given several observations of the same parameters.

        Observations that are independent given the parameters have the product of p(theta | x_i) over p(theta)^(n - 1).
        Draws come from mixtures of Student's t distributions in encoded coordinates. The first mixture is fitted to
        draws of the p(theta | x_i), later ones to the weighted draws so far. All draws are weighted by this product: a
        poor mixture costs effective draws, but a mode that no mixture reaches is missed. The model's own errors add up:
        those of n observations are n times those of ln p(theta | x) and of ln p(theta), so that this serves a few tens
        of observations. A known `prior` avoids the second.

        Parameters
        ----------
        x : tensor or array, (m, k), or table with m rows, default=None
            Observations, which are independent given the parameters.
        n_each : int, default=500
            Draws of each round, of up to eight. Each takes a log-density for every observation.
        effective_sample_size : float, default=400
            Rounds end where it is reached.
        random_state : int, numpy.random.Generator or RandomState, default=None
            Seed of the draws.

        Returns
        -------
        WeightedDraws
            With `theta`, `log_weights`, `effective_sample_size` and `log_integral`.

        Raises
        ------
        InvalidInput
            A ValueError: a parameter is not on a continuous scale; no draw is possible under all observations and the
            prior; or the prior is neither given nor known to the model, which was fitted without `conditions="any"`.

        See Also
        --------
        Posterior.sample : Draws without weights, which are resampled from these.

        Examples
        --------
        >>> import numpy as np
        >>> import torch
        >>> from backwalk import Diffusion, posterior
        >>> theta = np.random.default_rng(0).normal(size=(300, 1))
        >>> rows = np.hstack([theta, theta + np.random.default_rng(1).normal(size=(300, 1))])
        >>> model = Diffusion(max_steps=20, conditions=[[1]], random_state=0, verbose=False).fit(rows)
        >>> of_theta = posterior(model, given=[1], prior=torch.distributions.Normal(0.0, 1.0))
        >>> of_theta.weighted_draws([[0.5], [0.8]], n_each=50, random_state=1).theta.shape[1]
        1
        """
        if not is_whole(n_each) or n_each < 10:
            raise InvalidInput(f"n_each should be an integer >= 10, but got {n_each!r}: {_N_EACH} is usual.")
        if not is_number(effective_sample_size) or not effective_sample_size > 0.0:
            raise InvalidInput(
                f"effective_sample_size should be a number > 0, but got {effective_sample_size!r}: {_LEAST_SIZE:g} is "
                "usual."
            )
        weighted = Product(self._conditional, self._observed(x)).draw(
            n_each=int(n_each), least_size=effective_sample_size, stream=_stream(random_state)
        )
        return WeightedDraws(
            as_tensor(weighted.points),
            as_tensor(weighted.log_weights),
            weighted.effective_sample_size,
            weighted.log_integral,
            weighted.standard_error,
        )

    def truncated(
        self, prior: Prior, x: Any = None, *, epsilon: float = 1e-3, random_state: RandomState = None
    ) -> TruncatedPrior:
        """Return the prior within the region of highest posterior density, from which a further round is simulated.

        The region holds 1 - epsilon of the posterior. Within it draws are proportional to the prior. So fit a new model
        to the rows of all rounds, without any correction: for this x, and within the region, the posterior is then that
        of the prior. For other x it is not, where their posteriors reach beyond the region.

        Parameters
        ----------
        prior : object with log_prob
            The prior of the first round, in every round, such as a distribution of torch, with the parameters in the
            order of `parameter_names`.
        x : tensor, array, table or mapping, default=None
            One observation: see `sample`.
        epsilon : float, default=1e-3
            The share of the posterior beyond the region, from 1e-4 to 0.5.
        random_state : int, numpy.random.Generator or RandomState, default=None
            Seed of the draws that the region follows from.

        Returns
        -------
        TruncatedPrior
            With `sample`, `log_prob` and `prior_share`, the share of the prior in the region.

        Raises
        ------
        InvalidInput
            A ValueError: there are several observations, a parameter is not on a continuous scale, or the prior has no
            mass where the posterior has.

        See Also
        --------
        TruncatedPrior : What is returned.

        Notes
        -----
        Source: Deistler, Goncalves & Macke 2022, "Truncated proposals for scalable and hassle-free simulation-based
        inference".

        Examples
        --------
        >>> import numpy as np
        >>> import torch
        >>> from backwalk import Diffusion, Number, posterior
        >>> theta = np.random.default_rng(0).uniform(size=(300, 1))
        >>> rows = np.hstack([theta, theta + 0.1 * np.random.default_rng(1).normal(size=(300, 1))])
        >>> options = {"conditions": [[1]], "columns": {"x1": Number(bounds=(0, 1))}, "max_steps": 20, "verbose": False}
        >>> model = Diffusion(**options, random_state=0).fit(rows)
        >>> prior = torch.distributions.Uniform(0.0, 1.0)
        >>> second = posterior(model, given=[1]).truncated(prior, [0.5], epsilon=0.01, random_state=0)
        >>> second.sample(100, random_state=1).shape
        torch.Size([100, 1])
        """
        _check_prior(prior)
        conditional, rows = replace(self._conditional, prior=prior), self._observed(x)
        return truncate(conditional, rows, epsilon=epsilon, stream=_stream(random_state))

    def to_arviz_dict(self, theta: Any, x: Any = None) -> dict[str, dict[str, Array]]:
        """Return draws and their observation as the nested dictionary that `arviz.from_dict` takes.

        Before arviz 1.0, `arviz.from_dict` takes its parts by name: `from_dict(**dictionary)`.

        Parameters
        ----------
        theta : tensor or array, (n, k) or (chains, n, k), or table with n rows
            Draws of `sample`; without an axis of chains they are one chain.
        x : tensor, array, table or mapping, default=None
            See `sample`.

        Returns
        -------
        dict
            Two dictionaries: "posterior", with an array (chains, n) for each parameter, and "observed_data", with an
            array (m,) for each observed column.

        Examples
        --------
        >>> import numpy as np
        >>> from backwalk import Diffusion, posterior
        >>> theta = np.random.default_rng(0).normal(size=(300, 1))
        >>> rows = np.hstack([theta, theta + 0.1 * np.random.default_rng(1).normal(size=(300, 1))])
        >>> model = Diffusion(max_steps=20, conditions=[[1]], random_state=0, verbose=False).fit(rows)
        >>> of_theta = posterior(model, given=[1])
        >>> draws = of_theta.sample(100, [0.5], random_state=1)
        >>> found = of_theta.to_arviz_dict(draws, [0.5])
        >>> found["posterior"]["x1"].shape, found["observed_data"]["x2"].shape
        ((1, 100), (1,))
        """
        conditional, rows, k = self._conditional, self._observed(x, warns=False), len(self.parameter_names)
        theta = read_parameters(conditional.model, conditional.parameters, theta, may_miss=True)
        if theta.ndim > 3 or (theta.ndim == 3 and 1 < len(rows) == theta.shape[1]):
            raise InvalidInput(
                f"theta should have shape (n, {k}), or (chains, n, {k}), but has {theta.shape}: give draws of sample, "
                "or those of one observation, theta[:, i], of sample_batched."
            )
        chains = theta.reshape(-1, *theta.shape[-2:])
        return {
            "posterior": {name: chains[..., i] for i, name in enumerate(self.parameter_names)},
            "observed_data": {
                name: rows[:, j] for name, j in zip(self.observation_names, self._conditional.given, strict=True)
            },
        }

    def __repr__(self) -> str:
        """Return the names of parameters and observations."""
        return f"Posterior({listed(self.parameter_names)} given {listed(self.observation_names)})"

    def _repr_html_(self) -> str:
        """Return the columns and the default observation as a table, for notebooks."""
        model, rows = self._conditional.model, self._default_rows
        x = [""] * len(self.observation_names)
        if rows is not None:
            x = [listed(user_terms(model.schema, j, row[j], digits=4) for row in rows) for j in self._conditional.given]
        parameters = [(name, "parameter", "") for name in self.parameter_names]
        observations = [(name, "observed", value) for name, value in zip(self.observation_names, x, strict=True)]
        more = len(observations) - MOST_NAMED
        shown = [*observations[:MOST_NAMED], *([(f"{more} more", "observed", "")] if more > 0 else [])]
        return html_table("Posterior", ["column", "role", "default x"], [*parameters, *shown])

    def _observed(self, x: Any, *, warns: bool = True) -> Array:
        """Return observations as rows, (m, d), and warn of such that are far from the fitted rows, once for each x."""
        if x is not None:
            model, given = self._conditional.model, self._conditional.given
            rows = read_observations(model, given, x)
            if warns and rows.tobytes() != self._last:
                self._last = rows.tobytes()
                warn_of_far(model, rows, given, "x")
            return rows
        if self._default_rows is None:
            raise InvalidInput("x should be given, as there is no default: give it here, or by set_default_x.")
        return self._default_rows

    def _log_prob_paired(self, theta: Any, rows: Array) -> Tensor:
        """Return ln p(theta | x) of parameters, (..., k), of which each (b, k) belong to observations, (b, d)."""
        conditional = self._conditional
        read = read_parameters(conditional.model, conditional.parameters, theta)
        points, shape = read.reshape(-1, read.shape[-1]), read.shape[:-1]
        observed = np.tile(rows, (len(points) // len(rows), 1))
        if asks_for_gradient(theta):
            return attached(theta, *conditional.log_prob_and_gradient(points, observed)).reshape(shape)
        return as_tensor(conditional.log_prob_paired(points, observed).reshape(shape))

    def _weighted(self, rows: Array, random_state: RandomState) -> Weighted:
        """Return weighted draws given several observations; those of the last ones are kept."""
        key = (rows.tobytes(), random_state) if is_whole(random_state) else None
        if self._kept is None or key is None or key != self._kept[0]:
            stream, product = _stream(random_state), Product(self._conditional, rows)
            weighted = product.draw(n_each=_N_EACH, least_size=_LEAST_SIZE, stream=stream)
            self._kept = key, weighted
        return self._kept[1]


def _check_prior(prior: Any) -> None:
    if not hasattr(prior, "log_prob"):
        raise InvalidInput(f"prior should have log_prob, but got {type(prior).__name__}: give a torch distribution.")


def _refuse_several(rows: Array) -> None:
    if len(rows) > 1:
        raise InvalidInput(
            f"x should be one observation for gradients and maxima, but has {len(rows)} rows: give one, or ask for "
            "log_prob(theta.detach())."
        )


def _warn_of_few(weighted: Weighted, n_observations: int) -> None:
    if weighted.effective_sample_size < _FEW and weighted.standard_error:  # 0 where all labels were evaluated
        text = (
            f"Draws given {n_observations} observations have an effective sample size of "
            f"{weighted.effective_sample_size:.0f}: take weighted_draws(x, n_each={10 * _N_EACH}), which has "
            "log_integral as well."
        )
        warnings.warn(text, FewEffectiveDrawsWarning, stacklevel=3)


def _stream(random_state: RandomState) -> Stream:
    return as_stream(random_state).child("posterior")
