"""Kinds of columns that a user asks for, in place of those chosen from the data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, Literal, TypeAlias, get_args

from backwalk.errors import InvalidInput
from backwalk.formatting import listed
from backwalk.table.schema import Schema, shown


@dataclass(frozen=True)
class Levels:
    """A column whose values have probabilities, rather than a density.

    It stands in `columns` of `Diffusion`.

    Parameters
    ----------
    order : sequence, default=None
        The levels, texts or numbers, from the least to the largest: their ranks are their codes. None leaves numbers in
        their own order, and texts in none unless their dtype has one.

    See Also
    --------
    Number : A column with a density.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from backwalk import Diffusion, Levels
    >>> table = pa.table({"size": ["small", "medium", "large", "medium"] * 50})
    >>> model = Diffusion(max_steps=20, columns={"size": Levels(order=["small", "medium", "large"])}, random_state=0)
    >>> sorted(set(model.fit(table).sample(50, random_state=1)["size"].to_pylist()))
    ['large', 'medium', 'small']
    """

    order: Sequence[Any] | None = None

    def __post_init__(self) -> None:
        if self.order is not None:
            if isinstance(self.order, (str, bytes)) or not isinstance(self.order, Sequence):
                raise InvalidInput(f"order of Levels should be a list of levels, but got {shown(self.order)}.")
            if len(set(self.order)) < len(self.order):
                raise InvalidInput(f"order of Levels should have each level once, but got {shown(self.order)}.")
            object.__setattr__(self, "order", tuple(self.order))


@dataclass(frozen=True)
class Number:
    """A column with a density.

    It stands in `columns` of `Diffusion`.

    Parameters
    ----------
    bounds : tuple of two floats, default=None
        Least and largest value: new values lie within, densities are 0 beyond, and no draw is rejected. None in place
        of one is no bound. Without `bounds`, new values of a table lie within the range of the fitted ones, and those
        of an array anywhere.
    map : bool, default=None
        Whether the number is mapped to a normal through its quantiles; None leaves it to the data.

    See Also
    --------
    Levels : A column whose values have probabilities.

    Examples
    --------
    >>> import numpy as np
    >>> from backwalk import Diffusion, Number
    >>> X = np.random.default_rng(0).uniform(size=(200, 1))
    >>> model = Diffusion(max_steps=20, columns={0: Number(bounds=(0, 1))}, random_state=0).fit(X)
    >>> rows = model.sample(50, random_state=1)
    >>> bool(((rows >= 0.0) & (rows <= 1.0)).all())
    True
    """

    bounds: tuple[float | None, float | None] | None = None
    map: bool | None = None

    def __post_init__(self) -> None:
        if self.map not in (None, True, False):
            raise InvalidInput(f"map of Number should be True, False or None, but got {shown(self.map)}.")
        if self.bounds is None:
            return
        try:
            low, high = (None if bound is None else float(bound) for bound in self.bounds)
        except (TypeError, ValueError) as error:
            raise InvalidInput(
                f"bounds of Number should be two numbers, or None for no bound, but got {shown(self.bounds)}."
            ) from error
        given = [bound for bound in (low, high) if bound is not None]
        if not all(map(math.isfinite, given)) or (len(given) == 2 and given[0] >= given[1]):
            raise InvalidInput(
                f"bounds of Number should be finite and increase, but got {shown(self.bounds)}: use None for no bound."
            )
        object.__setattr__(self, "bounds", (low, high))


KindName = Literal["number", "integer", "levels", "constant", "clock"]
Option: TypeAlias = Levels | Number | KindName
_NAMES: tuple[str, ...] = get_args(KindName)
_SHORT: dict[str, Option] = {"levels": Levels(), "number": Number()}


def column_options(columns: Mapping[str, Option] | None, schema: Schema) -> dict[int, Option]:
    """Return the kinds that a user asks for, by the numbers of the columns.

    Columns are given by their names; those without names by x1, x2, ... Raises InvalidInput for a column that the table
    does not have, and for another kind.
    """
    if columns is not None and not isinstance(columns, Mapping):
        raise InvalidInput(f"columns should be a mapping from names to kinds, but got {shown(columns)}.")
    numbers, found = {name: j for j, name in enumerate(schema.names)}, dict[int, Option]()
    for name, option in (columns or {}).items():
        if name not in numbers:
            nearest_first = sorted(schema.names, key=lambda own: -SequenceMatcher(None, own, str(name)).ratio())
            raise InvalidInput(
                f"columns should name columns of the table, but got {shown(name)}: there are "
                f"{listed(map(shown, nearest_first))}."
            )
        if not isinstance(option, (Levels, Number)) and (not isinstance(option, str) or option not in _NAMES):
            raise InvalidInput(
                f"The kind of {schema.label(numbers[name])} should be one of {', '.join(_NAMES)}, Levels(...) or "
                f"Number(...), but got {shown(option)}."
            )
        found[numbers[name]] = _SHORT.get(option, option) if isinstance(option, str) else option
    return found
