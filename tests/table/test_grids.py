"""The grid of rounded numbers is found exactly, from some of them with all, in memory or by a query."""

import numpy as np
import pytest

from backwalk.table import Grid, Relation, Schema
from backwalk.table import relation as relations
from backwalk.table.grids import find_grid


@pytest.mark.parametrize(
    ("x", "dtype", "grid"),
    [
        ([39.1, 46.7, -3.2], "float64", Grid(per=10.0)),
        (np.float64(np.float32([39.1, 46.7, -3.2])), "float32", Grid(per=10.0)),
        (np.arange(-30.0, 30.0) * 25.0, "int64", Grid(step=25.0)),
        (np.arange(60.0) * 25.0 + 10.0, "int64", Grid(step=25.0, offset=10.0)),
        (np.arange(60) * 5 / 100, "float64", Grid(step=5.0, per=100.0)),
        (np.arange(60) / 4, "float64", Grid(step=25.0, per=100.0)),
        ([0.0, 25.0, 75.0], "float64", Grid()),  # too few to tell
        ([0.1, 1.0 / 3.0], "float64", None),
        (np.random.default_rng(0).random(5), "float64", None),
        (np.float64(np.random.default_rng(0).random(100, dtype=np.float32)), "float32", None),
        ([0.1 + 0.2, 0.5], "float64", None),
        ([1e300, 2.0], "float64", None),
        ([2.0**53 - 1.0, 0.0], "float64", Grid()),
    ],
    ids=str,
)
def test_the_coarsest_grid_is_found_exactly(x, dtype, grid):
    x = np.asarray(x)
    assert find_grid(x, dtype) == grid
    if grid is not None:
        again = grid.values(np.rint(grid.places(x)))
        same = again.astype(np.float32) == x.astype(np.float32) if dtype == "float32" else again == x
        assert same.all()


def test_a_grid_that_some_rows_suggest_is_that_of_all(monkeypatch):
    monkeypatch.setattr(relations, "_ROWS_LOOKED_AT", 8)
    rng = np.random.default_rng(5)
    for dtype in ("float64", "float32"):
        columns, n = list[np.ndarray](), 60
        for _ in range(50):
            per = 10.0 ** rng.integers(0, 5)
            x = rng.choice([1, 5, 25, 1000]) * rng.integers(-50, rng.choice([60, 10**6]), size=n) / per
            if rng.random() < 0.3:
                x[rng.integers(n)] = rng.choice([1e17, 0.1234567, np.pi, 2.0**53, 1e-9])
            columns.append(x.astype(dtype).astype(np.float64))
        x = np.array(columns).T
        rows = Relation.of_rows(x, Schema(None, (dtype,) * x.shape[1], "numpy"))
        found = rows.numbers({j: np.empty(0) for j in range(x.shape[1])}, range(x.shape[1]))
        for j, column in enumerate(columns):
            assert found[j].grid == find_grid(column, dtype), column
