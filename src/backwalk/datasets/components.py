"""The numbers of a mixed density before their maps: Gaussian in each of K components."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from backwalk.estimates import Rows

_LOG_2_PI = float(np.log(2.0 * np.pi))


@dataclass(frozen=True, eq=False)
class GaussianComponents:
    """z ~ N(mu_k, S_k) in component k: `means` (K, m), `covariances` (K, m, m). `chosen` are some of 0..m-1."""

    means: Rows
    covariances: Rows

    def draw(self, k: NDArray[np.intp], eps: Rows) -> Rows:
        """Return z, (n, m), of the components k, (n,), from standard normal numbers, (n, m)."""
        z = self.means[k]
        for i in range(self.means.shape[1]):  # not by a product, which may round a row differently in a larger batch
            z = z + self._roots[k][:, :, i] * eps[:, i, None]
        return z

    def log_prob(self, z: Rows, chosen: NDArray[np.intp]) -> Rows:
        """Return the log-density of the chosen numbers at z, (n, len(chosen)), in every component, (n, K)."""
        roots = np.linalg.cholesky(self._covariance(chosen, chosen))
        inverse = np.linalg.inv(roots)
        whitened = z @ inverse.transpose(2, 0, 1).reshape(len(chosen), -1)  # one product for all components
        centres = np.einsum("kij,kj->ki", inverse, self.means[:, chosen])
        white = whitened.reshape(len(z), *centres.shape) - centres
        log_det = np.log(np.diagonal(roots, axis1=1, axis2=2)).sum(-1)
        return np.asarray(-0.5 * (np.square(white).sum(-1) + len(chosen) * _LOG_2_PI) - log_det)

    def conditional(self, number: int, z: Rows, chosen: NDArray[np.intp]) -> tuple[Rows, Rows]:
        """Return mean and standard deviation of a number given the chosen ones, (n, K) and (K,)."""
        own = np.array([number])
        gain = np.linalg.solve(self._covariance(chosen, chosen), self._covariance(chosen, own))[..., 0]
        mean = self.means[:, number] + np.einsum("kj,nkj->nk", gain, z[:, None] - self.means[:, chosen])
        explained = (gain * self._covariance(chosen, own)[..., 0]).sum(-1)
        return np.asarray(mean), np.sqrt(self.covariances[:, number, number] - explained)

    def _covariance(self, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> Rows:
        return self.covariances[:, rows[:, None], columns]

    @cached_property
    def _roots(self) -> Rows:
        return np.asarray(np.linalg.cholesky(self.covariances), dtype=np.float64)
