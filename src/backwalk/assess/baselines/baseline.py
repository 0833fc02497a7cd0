"""The baselines beside a diffusion model, in the units of the user's table, fitted to the model's training rows.

Complete tables of numbers have a Gaussian mixture and a kernel density estimate, of columns in standard deviations.
Where columns have heavy tails, each is fitted with the model's asinh transform and without it, and the fit with the
higher log-density of unseen rows is kept: which one suits a baseline depends on the data, and this choice errs in
favour of the baseline. Tables with levels or gaps have trees column by column, of the features of the model's own
codec. Integers are dequantised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from backwalk.assess.baselines.features import FeatureMap, FittedDensity
from backwalk.assess.baselines.numbers import fit_gaussian_mixture, fit_kernel_density
from backwalk.assess.baselines.trees import fit_trees
from backwalk.errors import InvalidInput
from backwalk.estimates import Rows
from backwalk.model import DiffusionModel, log_prob_of_rows
from backwalk.streams import RandomState, Stream, as_stream
from backwalk.table import Schema, Table, as_table, from_values, match_columns, refit_codec

_OF_NUMBERS: Mapping[str, Callable[..., FittedDensity]] = MappingProxyType(
    {"gaussian-mixture": fit_gaussian_mixture, "kernel": fit_kernel_density}
)
_OF_TABLES: Mapping[str, Callable[..., FittedDensity]] = MappingProxyType({"trees": fit_trees})


@dataclass(frozen=True, eq=False)
class Baseline:
    """A baseline fitted to the training rows of a model: a density of the features of rows of its table.

    With `asinh`, numbers with heavy tails have the model's asinh transform.
    """

    kind: str
    fitted: FittedDensity
    features: FeatureMap
    schema: Schema
    asinh: bool = True

    @property
    def name(self) -> str:
        """The name for readers, with the number of components or the bandwidth."""
        return self.fitted.name

    def log_prob_of_rows(self, rows: Rows, *, stream: Stream) -> Rows:
        """Return the log-densities of rows (n, d), nats: log-probabilities in levels and integers, as the model's.

        The stream has the places at which integers are integrated over their cells.
        """

        def log_density(values: Rows) -> Rows:
            log_p = self.fitted.log_prob(self.features.encode(values))
            return np.asarray(log_p + self.features.codec.log_abs_det_jacobian(values))

        return log_prob_of_rows(log_density, self.features.codec, rows, stream=stream)

    def sample_rows(self, n: int, stream: Stream) -> Rows:
        """Return n drawn rows, (n, d), in the user's units."""
        return np.asarray(self.schema.clipped(self.features.decode(self.fitted.sample(n, stream))))

    def sample(self, n_samples: int, *, random_state: RandomState = None) -> Any:
        """Return drawn rows as a table of the same kind as the fitted one."""
        return from_values(self.sample_rows(n_samples, as_stream(random_state)), self.schema)

    def refit(self, rows: Rows, model: DiffusionModel, stream: Stream) -> Baseline:
        """Return a baseline of the same kind and encoding, fitted to other rows (n, d) in the user's units."""
        return _fit(self.kind, rows, model, stream, asinh=self.asinh)

    def code(self, model_path: str) -> str:
        """Return the lines of Python that fit this baseline to rows X and draw rows from it."""
        asinh = "" if self.asinh else ", asinh=False"
        return (
            "from backwalk import Diffusion\nfrom backwalk.assess import fit_baseline\n\n"
            f"model = Diffusion.load({model_path!r}).model_  # for the encoding of the columns\n"
            f"X_new = fit_baseline({self.kind!r}, X, model{asinh}).sample(10_000)"
        )


def fit_baseline(
    kind: str, X: Any, model: DiffusionModel, *, asinh: bool = True, random_state: RandomState = 0
) -> Baseline:
    """Fit a simple model with an exact density to the rows of a model's fit.

    Parameters
    ----------
    kind : str
        "gaussian-mixture" or "kernel" for complete tables of numbers, "trees" for any table.
    X : array-like or table of shape (n, d)
        The rows that the model was fitted to.
    model : DiffusionModel
        The fitted model, `model_` of an estimator, which says of what kinds the columns are.
    asinh : bool, default=True
        Whether numbers with heavy tails have the model's asinh transform. Of the first two kinds only.
    random_state : int, NumPy generator or None, default=0
        As in scikit-learn.

    Returns
    -------
    Baseline
        The baseline, with `sample(n_samples, random_state=...)`.

    Raises
    ------
    InvalidInput
        For another kind, and for gaps or levels that the first two cannot take.

    See Also
    --------
    assess : The comparison of a model with its baselines.

    Examples
    --------
    >>> from backwalk import Diffusion
    >>> from backwalk.assess import fit_baseline
    >>> from backwalk.datasets import two_moons
    >>> X = two_moons().sample(100, random_state=0)
    >>> model = Diffusion(max_steps=20, random_state=0, verbose=False).fit(X)
    >>> fit_baseline("kernel", X, model.model_).sample(5, random_state=0).shape
    (5, 2)
    """
    if kind not in (*_OF_NUMBERS, *_OF_TABLES):
        raise InvalidInput(f"kind should be one of {', '.join((*_OF_NUMBERS, *_OF_TABLES))}, but got {kind!r}.")
    table = match_columns(as_table(X), model.schema)
    if kind in _OF_NUMBERS and (model.codec.blocks or np.isnan(table.values).any()):
        raise InvalidInput(f"A {kind} baseline needs complete numbers: take {', '.join(_OF_TABLES)}.")
    return _fit(kind, table.values, model, as_stream(random_state), asinh=asinh)


def fit_baselines(
    training: Rows, model: DiffusionModel, unseen: Rows, *, of_numbers: bool, stream: Stream
) -> Iterator[tuple[Baseline, Rows]]:
    """Yield the baselines for a kind of table, each with its log-densities of unseen rows (m, d): (m,), nats.

    `training` is (n, d); both are in the user's units. Of numbers with heavy tails the better encoding is kept.
    """
    has_heavy_tails = of_numbers and any(column.asinh for column in model.codec.columns)
    encodings = (True, False) if has_heavy_tails else (True,)
    for kind in _OF_NUMBERS if of_numbers else _OF_TABLES:
        fits = [_fit(kind, training, model, stream, asinh=asinh) for asinh in encodings]
        log_p = [fit.log_prob_of_rows(unseen, stream=stream.child("places")) for fit in fits]
        yield max(zip(fits, log_p, strict=True), key=lambda pair: float(pair[1].mean()))


def _fit(kind: str, training: Rows, model: DiffusionModel, stream: Stream, *, asinh: bool) -> Baseline:
    codec = model.codec
    if kind in _OF_NUMBERS:
        codec = refit_codec(codec, Table(training, model.schema), asinh=asinh)
    features = FeatureMap(codec)
    rows = features.encode(training, stream=stream.child("dequantisation"))
    purpose = stream.child("mixture" if kind.endswith("mixture") else kind)
    if kind in _OF_NUMBERS:
        fitted = _OF_NUMBERS[kind](rows, stream=purpose)
    else:
        fitted = _OF_TABLES[kind](rows, features.features, stream=purpose)
    return Baseline(kind, fitted, features, model.schema, asinh)
