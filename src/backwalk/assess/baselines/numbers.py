"""Baselines of complete numbers: a Gaussian mixture and a kernel density estimate.

Both are fitted in seconds, have an exact density, and are hard to beat in two columns. Points should have mean 0 and
variance 1 in each column: the mixture's starting values and the kernel's single bandwidth assume it.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence
from copy import copy

import numpy as np
from numpy.typing import ArrayLike
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import KFold
from sklearn.neighbors import KernelDensity

from backwalk.assess.baselines.features import FittedDensity
from backwalk.estimates import Rows, as_rows, random_rows
from backwalk.streams import Stream

_MOST_ROWS = 20_000  # more rows take minutes and hardly change either model
_HELD_OUT_ROWS = 500  # of a fold that scores the bandwidth
_N_COMPONENTS = (1, 2, 3, 5, 8, 12, 20, 30)
_ROWS_A_COMPONENT = 10
_RELATIVE_TOLERANCE = 1e-6  # of the kernel sum: far below any standard error


def fit_gaussian_mixture(x: ArrayLike, *, stream: Stream) -> FittedDensity:
    """Fit the Gaussian mixture, with full covariances, whose number of components has the least BIC.

    BIC = -2 log p(x) + (number of parameters) ln n. Source: Schwarz 1978. The numbers are tried in order, up to one for
    every ten rows, until BIC has risen twice in succession. x is (n, d) in one scale; of more than 20,000 rows, a
    random 20,000 are used. Raises InvalidInput for points that are not finite rows.

    >>> import numpy as np
    >>> from backwalk.assess.baselines.numbers import fit_gaussian_mixture
    >>> from backwalk.streams import Stream
    >>> x = Stream(0).normal(0, 500, 2).numpy() + np.repeat([[0.0], [9.0]], 250, axis=0)
    >>> fit_gaussian_mixture(x, stream=Stream(1)).name
    'GaussianMixture(2)'
    """
    started = time.perf_counter()
    rows = _rows_to_fit(x, stream)
    seed = stream.child("mixture").integer()
    best, least, risen = None, np.inf, 0
    for k in _N_COMPONENTS:
        if best is not None and (k > len(rows) // _ROWS_A_COMPONENT or risen == 2):
            break
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # its BIC decides, converged or not
            mixture = GaussianMixture(min(k, len(rows)), random_state=seed).fit(rows)
        bic = mixture.bic(rows)
        risen = 0 if bic < least else risen + 1
        if best is None or bic < least:
            best, least = mixture, bic
    assert best is not None

    def sample(n: int, stream: Stream) -> Rows:
        points, _ = copy(best).set_params(random_state=stream.integer()).sample(n)
        return np.asarray(points[stream.child("order").permutation(n)])  # scikit-learn sorts them by component

    name = f"GaussianMixture({best.n_components})"
    return FittedDensity(name, time.perf_counter() - started, best.score_samples, sample)


def fit_kernel_density(
    x: ArrayLike,
    *,
    bandwidths: Sequence[float] = (0.02, 0.03, 0.045, 0.07, 0.1, 0.15, 0.22, 0.33, 0.5, 0.75),
    stream: Stream,
) -> FittedDensity:
    """Fit the Gaussian kernel density whose bandwidth gives held-out rows the largest log-density.

    The bandwidth is chosen by five folds, from 2,500 rows on by one of them. At most 500 rows of a fold are scored, by
    all rows of the others, so that the bandwidth suits the number of rows. x is (n, d) in one scale; of more than
    20,000 rows, a random 20,000 are used. Raises InvalidInput for points that are not finite rows.

    >>> from backwalk.assess.baselines.numbers import fit_kernel_density
    >>> from backwalk.streams import Stream
    >>> fit_kernel_density(Stream(0).normal(0, 500, 1).numpy(), stream=Stream(1)).name
    'KernelDensity(0.33)'
    """
    started = time.perf_counter()
    rows = _rows_to_fit(x, stream, at_least=5)
    folds = list(_folds(rows, stream))
    scores = [np.mean([_kernel(fit, width).score_samples(rest).mean() for fit, rest in folds]) for width in bandwidths]
    bandwidth = bandwidths[int(np.argmax(scores))]
    kernel = _kernel(rows, bandwidth)

    def sample(n: int, stream: Stream) -> Rows:
        return np.asarray(kernel.sample(n, random_state=stream.integer()))

    name = f"KernelDensity({bandwidth:g})"
    return FittedDensity(name, time.perf_counter() - started, kernel.score_samples, sample)


def _folds(rows: Rows, stream: Stream) -> Iterator[tuple[Rows, Rows]]:
    splits = KFold(5, shuffle=True, random_state=stream.child("folds").integer()).split(rows)
    for fit, rest in list(splits)[: 1 if len(rows) >= 5 * _HELD_OUT_ROWS else 5]:
        yield rows[fit], rows[rest[:_HELD_OUT_ROWS]]


def _kernel(rows: Rows, bandwidth: float) -> KernelDensity:
    return KernelDensity(bandwidth=bandwidth, rtol=_RELATIVE_TOLERANCE).fit(rows)


def _rows_to_fit(x: ArrayLike, stream: Stream, at_least: int = 2) -> Rows:
    return random_rows(as_rows(x, at_least=at_least), _MOST_ROWS, stream=stream.child("rows"))
