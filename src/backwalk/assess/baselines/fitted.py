"""The baselines beside a diffusion model, fitted to the same training rows.

They are fitted to columns in standard deviations, integers dequantised. If columns have heavy tails, each baseline is
fitted with the model's asinh transform and without it, and the fit with the higher log-density of unseen rows is kept.
Which one suits a baseline depends on the data; this choice errs in favour of the baseline.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from backwalk.assess.baselines.numbers import Baseline, kernel_baseline, mixture_baseline
from backwalk.estimates import Rows
from backwalk.model import log_prob_of_rows
from backwalk.streams import Stream
from backwalk.table import (
    Codec,
    Column,
    ConstantColumn,
    HeavyTailedColumn,
    IntegerColumn,
    NumberColumn,
    Schema,
    Table,
)


@dataclass(frozen=True, eq=False)
class FittedBaseline:
    """A baseline with the codec and the schema of its training rows, and its log-density of unseen rows, (n,), nats.

    The density is in the user's units; of integers it is the probability.
    """

    baseline: Baseline
    codec: Codec
    schema: Schema
    log_p: Rows

    def timed_sample(self, n: int, stream: Stream) -> tuple[Rows, float]:
        """Return n rows in the user's units, and the seconds that they took."""
        started = time.perf_counter()
        rows = self.schema.clipped(self.codec.within_range(self.codec.decode(self.baseline.sample(n, stream))))
        return rows, time.perf_counter() - started

    @property
    def code(self) -> str:
        """The lines of Python that fit the baseline to rows X with scikit-learn and draw rows from it."""
        baseline = self.baseline
        asinh: dict[int, tuple[float, float]] = {}
        integers: dict[int, IntegerColumn] = {}
        constants: dict[int, float] = {}
        for j, column in enumerate(self.codec.columns):
            if column.axis.asinh:
                asinh[j] = column.axis.asinh
            if isinstance(column, IntegerColumn):
                integers[j] = column
            if isinstance(column, ConstantColumn):
                constants[j] = column.value
        uniform = [j for j, column in integers.items() if column.dequantisation == "uniform"]
        cosine = [j for j, column in integers.items() if column.dequantisation == "cosine"]
        is_mixture, is_changed = baseline.name.startswith("GaussianMixture"), bool(asinh or integers)
        is_bounded = any(_bounds(column) != (-np.inf, np.inf) for column in self.codec.columns)
        lines = [
            *(["import numpy as np"] if is_changed or is_bounded else []),
            *(["from scipy import stats"] if cosine else []),
            f"from sklearn.{'mixture' if is_mixture else 'neighbors'} import {baseline.name.partition('(')[0]}",
            "from sklearn.preprocessing import StandardScaler",
            "",
        ]
        rows = "Z" if is_changed else "X"
        if is_changed:
            lines += ["Z = np.array(X, dtype=float)"]
        if uniform:
            lines += [
                f"uniform = {uniform}  # columns of integers or of other steps, dequantised",
                f"Z[:, uniform] += {_array(integers[j].cell for j in uniform)} * "
                "np.random.default_rng(0).uniform(-0.5, 0.5, (len(Z), len(uniform)))",
            ]
        if cosine:
            lines += [
                f"cosine = {cosine}  # columns of few integers or steps, dequantised by a cosine density",
                f"Z[:, cosine] += {_array(integers[j].cell for j in cosine)} * "
                "stats.cosine.rvs(size=(len(Z), len(cosine)), random_state=0) / (2 * np.pi)",
            ]
        if asinh:
            lines += [
                f"heavy = {list(asinh)}  # columns with heavy tails",
                f"centre, scale = np.array({list(asinh.values())}).T",
                "Z[:, heavy] = np.arcsinh((Z[:, heavy] - centre) / scale)",
            ]
        lines += [
            f"scaler = StandardScaler().fit({rows})",
            f"model = {baseline.expression}.fit(scaler.transform({rows}))",
            f"X_new = scaler.inverse_transform(model.sample(10_000){'[0]' if is_mixture else ''})",
        ]
        if asinh:
            lines += ["X_new[:, heavy] = centre + scale * np.sinh(X_new[:, heavy])"]
        if integers:
            step = [column.cell for column in integers.values()]
            offset = [column.offset / column.per for column in integers.values()]
            lines += [
                f"rounded, step, offset = {list(integers)}, {_array(step)}, {_array(offset)}",
                "X_new[:, rounded] = offset + step * np.rint((X_new[:, rounded] - offset) / step)",
            ]
        bounded = {j: column for j, column in enumerate(self.codec.columns) if _bounds(column) != (-np.inf, np.inf)}
        if bounded:
            least, largest = zip(*map(_bounds, bounded.values()), strict=True)
            lines += [
                f"bounded, step = {list(bounded)}, {_array(column.cell for column in bounded.values())}",
                f"least, largest = {_array(least)}, {_array(largest)}  # beyond, new values are reflected",
                "x = X_new[:, bounded]",
                "low, high = 2 * least - step - x, 2 * largest + step - x",
                "mirrored = np.where(x < least, low, np.where(x > largest, high, x))",
                "is_inside = (mirrored >= least) & (mirrored <= largest)",
                "X_new[:, bounded] = np.where(is_inside, mirrored, np.clip(x, least, largest))",
            ]
        if constants:
            lines += [f"X_new[:, {list(constants)}] = {list(constants.values())}  # constant in X"]
        return "\n".join(lines)


def _array(numbers: Iterable[float]) -> str:
    """Return the Python of an array of numbers."""
    return f"np.array([{', '.join(map(str, numbers)).replace('inf', 'np.inf')}])"


def _bounds(column: Column) -> tuple[float, float]:
    if not isinstance(column, (NumberColumn, HeavyTailedColumn, IntegerColumn)):
        return -np.inf, np.inf
    return (
        -np.inf if column.least is None else column.least,
        np.inf if column.largest is None else column.largest,
    )


def fitted_baselines(training: Table, codec: Codec, unseen: Rows, stream: Stream) -> list[FittedBaseline]:
    """Fit a Gaussian mixture and a kernel density estimate to training rows, each in the better encoding."""
    has_heavy_tails = any(column.axis.asinh for column in codec.columns)
    codecs = [codec, *([codec.refitted(training, asinh=False)] if has_heavy_tails else [])]
    by_codec = [_fitted(training, each, unseen, stream) for each in codecs]
    return [max(kind, key=lambda fitted: float(fitted.log_p.mean())) for kind in zip(*by_codec, strict=True)]


def _fitted(training: Table, codec: Codec, unseen: Rows, stream: Stream) -> Iterator[FittedBaseline]:
    x = codec.encode(training.values, stream=stream.child("dequantisation"))
    for baseline in (
        mixture_baseline(x, stream=stream.child("mixture")),
        kernel_baseline(x, stream=stream.child("kernel")),
    ):

        def log_density(rows: Rows, baseline: Baseline = baseline) -> Rows:
            return baseline.log_prob(codec.encode(rows)) + codec.log_abs_det_jacobian(rows)

        log_p = log_prob_of_rows(log_density, codec, unseen, stream=stream.child("places"))
        yield FittedBaseline(baseline, codec, training.schema, log_p)
