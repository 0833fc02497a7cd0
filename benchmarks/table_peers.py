"""The peers of `peer_child.py` as methods for data frames: texts are categories, whole numbers integers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmarks.peers_apart import run_apart
from benchmarks.table_methods import FittedTable

_TIMES_THE_BUDGET = 3.0
"""What a peer's least setting may take."""


@dataclass(frozen=True)
class PeerOnTables:
    """A peer within about the budget; its least setting may take three times as long. It has no probabilities."""

    name: str

    def fit(self, frame: pd.DataFrame, budget: float, seed: int) -> FittedTable:
        """Fit, and draw as many rows as there are. Raises RuntimeError with the reason where the peer fails."""
        levels = {
            name: pd.factorize(frame[name])[1] for name in frame if not pd.api.types.is_numeric_dtype(frame[name])
        }
        columns = [levels[name].get_indexer(frame[name]) if name in levels else frame[name] for name in frame]
        rows = np.stack([np.asarray(column, float) for column in columns], axis=1)
        drawn, _, choice = run_apart(
            rows,
            list(frame),
            {
                "method": self.name,
                "kinds": {name: _kind(frame[name], levels.get(name)) for name in frame},
                "is_class": frame.columns[-1] in levels,
                "seed": seed,
                "n_draws": 1,
                "impute": False,
                "budget": budget,
                "limit": _TIMES_THE_BUDGET * budget,
            },
        )
        decoded = pd.DataFrame(
            {
                name: levels[name][drawn[:, j].astype(int)] if name in levels else drawn[:, j].astype(frame[name].dtype)
                for j, name in enumerate(frame)
            }
        )

        def sample(n: int, seed: int) -> pd.DataFrame:  # noqa: ARG001 - the rows of the fit
            return decoded.iloc[:n]

        return FittedTable(sample, None, None, None, choice, drew_in_fit=True)


def _kind(values: pd.Series, levels: pd.Index | None) -> str:
    if levels is not None:
        return "binary" if len(levels) == 2 else "category"
    return "integer" if pd.api.types.is_integer_dtype(values) else "number"
