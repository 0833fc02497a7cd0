"""The kinds of columns, and their maps.

A network learns best from columns of mean 0 and variance 1, so a column is shifted and scaled,

    z = (x - centre) / scale,

or, where its tails are so heavy that most rows would then lie in a small part of the scale, bent first,

    z = (asinh((x - middle) / core) - centre) / scale,

which is linear within `core` of the middle and logarithmic beyond; with 0 as the middle and a core far below all rows,
it is the logarithm of rows of one sign. Both maps are smooth and go on for ever, so that densities stay exact. A column
that never varies has no density.

A column of whole numbers has no density either: numbers are spread over their cells, x + cell u, u in (-1/2, 1/2),

    evenly, q(u) = 1, or, where cells are wide, by a bell, q(u) = 2 cos^2(pi u),

which is 0 at the edges of a cell: little of what a model blurs there comes out as the number next to it, and a bell is
easier to learn than a step. In a table of nine columns, four of them of 0 and 1 or of small counts, a classifier told
rows from real ones by .013 more than real ones from each other, for .031 with even spreads; log-densities were 0.03
nats lower (20,000 rows, 10 s, three draws). Where cells are narrow bells are not learnt: that would cost E ln q = 0.31
nats a column.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from scipy import stats

from backwalk.errors import InvalidInput
from backwalk.table.schema import FloatArray

LEAST_SCALE = 4.0 * float(np.finfo(np.float64).tiny)  # below this, numbers lose digits
LARGEST = float(np.finfo(np.float64).max)
EVEN_VARIANCE, BELL_VARIANCE = 1.0 / 12.0, 1.0 / 12.0 - 0.5 / math.pi**2  # of u
_SINH_RANGE = 700.0


@dataclass(frozen=True)
class ScaledColumn:
    """A column that varies: `centre` and `scale` in the user's units, `cell` the width of a rounded value's cell.

    `bell` says whether numbers are spread over it by a bell, or evenly. `least` and `largest`, where there are such,
    are the ends of a new row's whole number.
    """

    centre: float
    scale: float
    cell: float = 0.0
    bell: bool = False
    least: float | None = None
    largest: float | None = None
    kind: ClassVar[str] = "scaled"

    def __post_init__(self) -> None:
        _check(self, positive=("scale",))


@dataclass(frozen=True)
class HeavyTailedColumn:
    """A column that is bent before it is scaled: `middle`, `core` and `cell` in the user's units.

    `centre` and `scale` are the mean and the standard deviation of asinh((x - middle) / core); the rest is as of a
    `ScaledColumn`.
    """

    middle: float
    core: float
    centre: float
    scale: float
    cell: float = 0.0
    least: float | None = None
    largest: float | None = None
    kind: ClassVar[str] = "heavy-tailed"

    def __post_init__(self) -> None:
        _check(self, positive=("core", "scale"))


@dataclass(frozen=True)
class ConstantColumn:
    """A column that holds one `value` in every row."""

    value: float
    kind: ClassVar[str] = "constant"

    def __post_init__(self) -> None:
        _check(self, positive=())


Column = ScaledColumn | HeavyTailedColumn | ConstantColumn

_KINDS: dict[str, type[Column]] = {kind.kind: kind for kind in (ScaledColumn, HeavyTailedColumn, ConstantColumn)}


def bent(x: FloatArray, middle: FloatArray, core: FloatArray) -> FloatArray:
    """Return asinh((x - middle) / core), finite for every finite x, (n, k): middle and core are (k,)."""
    half = 0.5 * x - 0.5 * middle  # the difference of two numbers near the limits of float64 stays finite
    with np.errstate(over="ignore"):
        w: FloatArray = np.arcsinh(half / (0.5 * core))
    far = np.isinf(w)
    if far.any():
        w[far] = (np.sign(half) * (np.log(np.abs(half, where=far, out=np.ones_like(half))) - np.log(0.25 * core)))[far]
    return w


def unbent(w: FloatArray, middle: FloatArray, core: FloatArray) -> FloatArray:
    """Return middle + core sinh(w), (n, k); what float64 cannot hold is clipped to its largest number."""
    with np.errstate(over="ignore"):
        near = 0.5 * core * np.sinh(np.clip(w, -_SINH_RANGE, _SINH_RANGE))
        far = np.sign(w) * np.exp(np.abs(w) + np.log(0.25 * core))
        half = 0.5 * middle + np.where(np.abs(w) < _SINH_RANGE, near, far)
    return 2.0 * np.clip(half, -0.5 * LARGEST, 0.5 * LARGEST)


def log_slope(x: FloatArray, middle: FloatArray, core: FloatArray) -> FloatArray:
    """Return ln(dw/dx) for w = bent(x), (n, k): -ln sqrt((x - middle)^2 + core^2)."""
    slope: FloatArray = -np.log(np.hypot(0.25 * x - 0.25 * middle, 0.25 * core)) - math.log(4.0)
    return slope


def spread_over_cell(v: FloatArray, bell: npt.NDArray[np.bool_]) -> FloatArray:
    """Return u in (-1/2, 1/2) for uniform v in (0, 1), by a bell or evenly: v is (n, k), `bell` (k,)."""
    u = v - 0.5
    u[:, bell] = stats.cosine.ppf(v[:, bell]) / (2.0 * np.pi)
    return u


def log_bell(u: FloatArray) -> FloatArray:
    """Return ln q(u) = ln(2 cos^2(pi u)), as of u = 0.49 where u is nearer to an edge: there it would end at -inf."""
    density: FloatArray = np.log1p(np.cos(2.0 * np.pi * np.clip(u, -0.49, 0.49)))
    return density


def column_from_dict(record: Any) -> Column:
    """Return the column that a codec's record holds. Raises InvalidInput where it is none."""
    kind = record.get("kind") if isinstance(record, Mapping) else None
    made = _KINDS.get(kind) if isinstance(kind, str) else None
    if made is None or set(record) != {"kind", *(field.name for field in fields(made))}:
        raise InvalidInput(
            "A codec's column should be scaled (centre, scale, cell, bell, least, largest), heavy-tailed (middle, "
            "core, centre, scale, cell, least, largest) or constant (value), and no more."
        )
    return made(**{name: number for name, number in record.items() if name != "kind"})


def _check(column: Column, positive: tuple[str, ...]) -> None:
    for name, value in vars(column).items():
        if value is None and name in ("least", "largest"):
            continue
        if name == "bell":
            if not isinstance(value, bool) or (value and not vars(column)["cell"]):
                raise InvalidInput(f"bell should be False, or True where numbers have cells, but got {value!r}.")
            continue
        if not isinstance(value, float) or not math.isfinite(value):
            raise InvalidInput(f"A codec's numbers should be finite floats, but got {value!r}: fit the codec again.")
        if name in positive and value < LEAST_SCALE:
            raise InvalidInput(f"{name} should be at least {LEAST_SCALE:.1e}, but got {value}: fit the codec again.")
        if name == "cell" and value < 0.0:
            raise InvalidInput(f"cell should be 0 or more, but got {value}: 1 for whole numbers, 0 for others.")
    if isinstance(column, ConstantColumn) or column.least is None or column.largest is None:
        return
    if column.least > column.largest:
        raise InvalidInput(f"least should be at most largest, but got {column.least} and {column.largest}.")
