"""A known density of a table: P(species, sex) and, given these, two Gaussian numbers; each answer is exact."""

import numpy as np
import pandas as pd
from scipy import stats
from scipy.special import log_softmax, logsumexp, softmax

SPECIES, SEXES = ("Adelie", "Chinstrap", "Gentoo"), ("f", "m")


class Penguins:
    """Rows are (species, x, sex, y), with labels as codes. A sum over species and sex gives each marginal."""

    names = ("species", "x", "sex", "y")

    def __init__(self):
        rng = np.random.default_rng(3)
        factors = rng.normal(size=(3, 2, 2, 2))
        self.probabilities = rng.dirichlet(np.full(6, 2.0)).reshape(3, 2)
        self.means = rng.normal(size=(3, 2, 2))
        self.covariances = 0.3 * np.eye(2) + 0.2 * factors @ factors.swapaxes(-1, -2)

    def sample(self, n, random_state):
        rng = np.random.default_rng(random_state)
        species, sex = np.divmod(rng.choice(6, size=n, p=self.probabilities.ravel()), 2)
        roots = np.linalg.cholesky(self.covariances)[species, sex]
        x, y = (self.means[species, sex] + np.einsum("nij,nj->ni", roots, rng.normal(size=(n, 2)))).T
        return np.column_stack([species, x, sex, y])

    def as_frame(self, rows):
        species, x, sex, y = np.asarray(rows).T
        labels = np.array(SPECIES)[species.astype(int)], np.array(SEXES)[sex.astype(int)]
        return pd.DataFrame({"species": labels[0], "x": x, "sex": labels[1], "y": y})

    def from_frame(self, frame):
        codes = frame.assign(species=frame["species"].map(SPECIES.index), sex=frame["sex"].map(SEXES.index))
        return codes[list(self.names)].to_numpy(dtype=float)

    def marginal_log_prob(self, rows, columns):
        """Return ln p of some columns of rows, (n, 4): (n,)."""
        return logsumexp(self._log_joint(rows, columns), axis=(1, 2))

    def level_log_probs(self, rows, column, given=None):
        """Return ln P(each level | given columns), (n, levels); all others are given by default."""
        given = [name for name in self.names if name != column] if given is None else given
        summed = logsumexp(self._log_joint(rows, given), axis=2 if column == "species" else 1)
        return log_softmax(summed, axis=1)

    def conditional_cdf(self, rows, column):
        """Return P(a number <= its value | all other columns), (n,)."""
        others, i = [name for name in self.names if name != column], ("x", "y").index(column)
        weights = softmax(self._log_joint(rows, others), axis=(1, 2))
        z, cross = self._deviations(rows), self.covariances[..., 0, 1] / self.covariances[..., 1 - i, 1 - i]
        variance = self.covariances[..., i, i] - cross * self.covariances[..., 0, 1]
        return (weights * stats.norm.cdf((z[..., i] - cross * z[..., 1 - i]) / np.sqrt(variance))).sum((1, 2))

    def _deviations(self, rows):
        return np.asarray(rows)[:, None, None, [1, 3]] - self.means

    def _log_joint(self, rows, columns):
        """Return ln p(species, sex, the columns), (n, 3, 2), and -inf for another species or sex than a given one."""
        rows = np.asarray(rows)
        log_p = np.broadcast_to(np.log(self.probabilities), (len(rows), 3, 2)).copy()
        at = [i for i, name in enumerate(("x", "y")) if name in columns]
        if at:
            z, some = self._deviations(rows)[..., at], self.covariances[..., at, :][..., at]
            squares = np.einsum("nabi,abij,nabj->nab", z, np.linalg.inv(some), z)
            log_p += -0.5 * (squares + np.linalg.slogdet(2 * np.pi * some)[1])
        if "species" in columns:
            log_p[rows[:, 0, None] != np.arange(3)] = -np.inf
        if "sex" in columns:
            log_p.swapaxes(1, 2)[rows[:, 2, None] != np.arange(2)] = -np.inf
        return log_p
