"""Small real tables that come with scikit-learn, as arrays with names: nothing is downloaded, no pandas needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine

from backwalk.errors import InvalidInput


@dataclass(frozen=True, eq=False)
class RealTable:
    """A table: names of `columns`, (d,), values `rows`, (n, d), and `target`, (n,): class names, or numbers."""

    name: str
    columns: tuple[str, ...]
    rows: NDArray[np.float64]
    target: NDArray[Any]


_LOADERS: Mapping[str, Callable[[], Any]] = MappingProxyType(
    {
        "iris": load_iris,
        "wine": load_wine,
        "breast_cancer": load_breast_cancer,
        "diabetes": partial(load_diabetes, scaled=False),
    }
)
TABLES = tuple(_LOADERS)


def load_table(name: str) -> RealTable:
    """Return one of the tables iris, wine, breast_cancer, diabetes, in its own units.

    >>> iris = load_table("iris")
    >>> iris.rows.shape, iris.columns[0], str(iris.target[0])
    ((150, 4), 'sepal length (cm)', 'setosa')
    """
    if name not in _LOADERS:
        raise InvalidInput(f"name should be one of {', '.join(TABLES)}, but got {name!r}.")
    bunch = _LOADERS[name]()
    target = bunch.target_names[bunch.target] if "target_names" in bunch else bunch.target
    return RealTable(name, tuple(str(column) for column in bunch.feature_names), bunch.data, target)
