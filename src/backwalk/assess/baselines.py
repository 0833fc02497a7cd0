"""The simple models that stand beside a diffusion model, fitted to the same rows.

They are fitted in standard deviations, whole numbers spread over their cells. Where columns have heavy tails, each is
fitted with these bent, as for the model, and without, and the one stands that gives the unseen rows more density. Which
suits a simple model depends on the data, and it should rather look a little better than it is than worse.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from backwalk.evaluation.baselines import Baseline, kernel_baseline, mixture_baseline
from backwalk.evaluation.rows import Rows
from backwalk.streams import Stream
from backwalk.table import Codec, ConstantColumn, Schema, Table


@dataclass(frozen=True, eq=False)
class Rival:
    """A baseline, codec and schema of the rows that it was fitted to, and its log-density of unseen rows, (n,), nats.

    The density is in the user's units, of whole numbers that are spread over their cells.
    """

    baseline: Baseline
    codec: Codec
    schema: Schema
    log_p: Rows

    def sample(self, n: int, stream: Stream) -> Rows:
        """Return n rows in the user's units."""
        return self.schema.clipped(self.codec.within_range(self.codec.decode(self.baseline.sample(n, stream))))

    @property
    def code(self) -> str:
        """The lines that fit a baseline to rows X with scikit-learn, and draw from it."""
        baseline, codec = self.baseline, self.codec
        heavy, whole, constants = codec.heavy_tailed_columns, codec.whole_columns, codec.constants
        even, bell = [j for j in whole if not codec.bells[j]], [j for j in whole if codec.bells[j]]
        is_mixture, is_changed = baseline.name.startswith("GaussianMixture"), bool(heavy or whole)
        lines = [
            *(["import numpy as np"] if is_changed else []),
            *(["from scipy import stats"] if bell else []),
            f"from sklearn.{'mixture' if is_mixture else 'neighbors'} import {baseline.name.partition('(')[0]}",
            "from sklearn.preprocessing import StandardScaler",
            "",
        ]
        rows = "Z" if is_changed else "X"
        if is_changed:
            lines += ["Z = np.array(X, dtype=float)"]
        if even:
            lines += [
                f"even = {even}  # columns of whole numbers, spread over their cells",
                "Z[:, even] += np.random.default_rng(0).uniform(-0.5, 0.5, (len(Z), len(even)))",
            ]
        if bell:
            lines += [
                f"bell = {bell}  # columns of few whole numbers, spread over their cells by a bell",
                "Z[:, bell] += stats.cosine.rvs(size=(len(Z), len(bell)), random_state=0) / (2 * np.pi)",
            ]
        if heavy:
            lines += [
                f"heavy = {list(heavy)}  # columns with heavy tails",
                f"middle = np.array([{', '.join(f'{column.middle!r}' for column in heavy.values())}])",
                f"core = np.array([{', '.join(f'{column.core!r}' for column in heavy.values())}])",
                "Z[:, heavy] = np.arcsinh((Z[:, heavy] - middle) / core)",
            ]
        lines += [
            f"scaler = StandardScaler().fit({rows})",
            f"model = {baseline.expression}.fit(scaler.transform({rows}))",
            f"X_new = scaler.inverse_transform(model.sample(10_000){'[0]' if is_mixture else ''})",
        ]
        if heavy:
            lines += ["X_new[:, heavy] = middle + core * np.sinh(X_new[:, heavy])"]
        if whole:
            least, largest = np.array(list(whole.values())).T.tolist()
            lines += [
                f"whole = {list(whole)}",
                f"least, largest = np.array({least}), np.array({largest})  # beyond, new numbers are reflected",
                "x = np.rint(X_new[:, whole])",
                "mirrored = np.where(x < least, 2 * least - 1 - x, np.where(x > largest, 2 * largest + 1 - x, x))",
                "is_inside = (mirrored >= least) & (mirrored <= largest)",
                "X_new[:, whole] = np.where(is_inside, mirrored, np.clip(x, least, largest))",
            ]
        if constants:
            lines += [f"X_new[:, {list(constants)}] = {list(constants.values())}  # constant in X"]
        return "\n".join(lines)


def fitted_rivals(training: Table, codec: Codec, unseen: Rows, stream: Stream) -> list[Rival]:
    """Return a Gaussian mixture and a kernel density, fitted to training rows, of the encoding that suits each best."""
    codecs = [codec, *([_unbent(codec, training)] if codec.heavy_tailed_columns else [])]
    by_codec = [_fitted(training, each, unseen, stream) for each in codecs]
    return [max(kind, key=lambda rival: float(rival.log_p.mean())) for kind in zip(*by_codec, strict=True)]


def _unbent(codec: Codec, training: Table) -> Codec:
    """Return the codec without its bends: all other columns stay, so that densities are over the same."""
    plain = Codec.fit(training, bend=False, whole=codec.bells).columns
    heavy = codec.heavy_tailed_columns
    return Codec(
        tuple(
            other if j in heavy and not isinstance(other, ConstantColumn) else own
            for j, (own, other) in enumerate(zip(codec.columns, plain, strict=True))
        )
    )


def _fitted(training: Table, codec: Codec, unseen: Rows, stream: Stream) -> Iterator[Rival]:
    x, z = codec.encode(training.values, stream=stream.child("cells")), codec.encode(unseen)
    volume = codec.log_abs_det_jacobian(unseen) - codec.log_spread(unseen)
    for baseline in (
        mixture_baseline(x, stream=stream.child("mixture")),
        kernel_baseline(x, stream=stream.child("kernel")),
    ):
        yield Rival(baseline, codec, training.schema, baseline.log_prob(z) + volume)
