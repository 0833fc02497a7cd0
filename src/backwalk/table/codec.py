"""From the user's units to encoded units and back, column by column.

Each column is brought to mean 0 and variance 1 on its own, by a straight line or, where its tails are heavy, by a bent
one (`columns.py`). A column that never varies has no density; it is set aside and put back exactly. A column of whole
numbers has no density either, and a model could gain without end by putting spikes on the numbers; each value is
therefore spread over its cell [x - 1/2, x + 1/2], by a density q, before encoding, and rounded after decoding. The
density p of spread values, integrated over a cell, is the probability P of the whole number in it, and ln (p / q) at a
spread value is no more than ln P on average (Jensen). (New rows that lie beyond the range of the fitted numbers are
reflected into it: see `within_range`.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from backwalk.errors import InvalidInput
from backwalk.streams import Stream
from backwalk.table.column_choice import fitted_columns, rows_looked_at
from backwalk.table.columns import (
    LARGEST,
    Column,
    ConstantColumn,
    HeavyTailedColumn,
    ScaledColumn,
    bent,
    column_from_dict,
    log_bell,
    log_slope,
    spread_over_cell,
    unbent,
)
from backwalk.table.frame import Table
from backwalk.table.schema import FloatArray, numpy_dtype

_SHARE_THAT_TELLS = 3  # one row in so many
_FEW = 10  # rows, which may be alike by chance


@dataclass(frozen=True)
class Codec:
    """The map between rows in the user's units (n, d) and encoded rows (n, k), k the number of columns that vary.

    >>> from backwalk.table import as_table
    >>> table = as_table([[1.0, 7.0], [3.0, 7.0]])
    >>> codec = Codec.fit(table)
    >>> codec.encode(table.values)
    array([[-1.],
           [ 1.]])
    >>> codec.decode([[0.0]])
    array([[2., 7.]])
    """

    columns: tuple[Column, ...]

    def __post_init__(self) -> None:
        if not self.encoded_columns:
            raise InvalidInput(
                f"At least one column should vary, but all {len(self.columns)} are constant: give rows that differ."
            )

    @classmethod
    def fit(
        cls, table: Table, *, scale: bool = True, bend: bool = True, whole: Mapping[int, bool] | None = None
    ) -> Codec:
        """Return the codec that gives each column of a table mean 0 and variance 1.

        Columns with heavy tails are bent first (`fitted_tails`), unless `bend` is False. A column of a DataFrame that
        holds whole numbers alone, whatever its dtype, counts with the variance of its spread; or it is these columns
        that do, `whole`, by number, with whether they are spread by a bell. With `scale=False` centres are 0 and scales
        1, and nothing is bent, as in code that trains on the raw points; constant columns are set aside all the same.
        Raises InvalidInput for a single row, for columns none of which varies, and for a spread too small for float64.
        """
        return cls(fitted_columns(table, scale=scale, bend=bend, whole=whole))

    @property
    def n_columns(self) -> int:
        """The number of columns in the user's rows, d."""
        return len(self.columns)

    @property
    def n_encoded(self) -> int:
        """The number of columns in encoded rows, k."""
        return len(self.encoded_columns)

    @cached_property
    def encoded_columns(self) -> tuple[int, ...]:
        """The numbers of the columns that vary, in order: encoded column i is the user's `encoded_columns[i]`."""
        return tuple(j for j, column in enumerate(self.columns) if not isinstance(column, ConstantColumn))

    @cached_property
    def heavy_tailed_columns(self) -> dict[int, HeavyTailedColumn]:
        """The columns that are bent before they are scaled, by their number among the user's."""
        return {j: column for j, column in enumerate(self.columns) if isinstance(column, HeavyTailedColumn)}

    @property
    def is_scaled(self) -> bool:
        """Whether columns were brought to mean 0 and variance 1, rather than left as they are."""
        return bool((self._centre != 0.0).any() or (self._scale != 1.0).any())

    @cached_property
    def whole_columns(self) -> dict[int, tuple[float, float]]:
        """The least and the largest number of the columns of whole numbers, by the column's number among the user's."""
        whole = [j for j, cell in zip(self.encoded_columns, self._cell, strict=True) if cell]
        return {j: (float(a), float(b)) for j, a, b in zip(whole, *self._range, strict=True)}

    @cached_property
    def bells(self) -> dict[int, bool]:
        """Whether whole numbers are spread by a bell, or evenly, by the column's number among the user's."""
        return {j: bool(self._bell[self.encoded_columns.index(j)]) for j in self.whole_columns}

    @cached_property
    def constants(self) -> dict[int, float]:
        """The values of the columns that never vary, by their number among the user's."""
        return {j: column.value for j, column in enumerate(self.columns) if isinstance(column, ConstantColumn)}

    def units(self, z: npt.ArrayLike) -> FloatArray:
        """Return dx/dz, what one encoded unit is in the user's units, at encoded rows z: (n, k).

        scale where a column is scaled; scale core cosh(centre + scale z), more and more outwards, where it is bent.
        What float64 cannot hold is clipped to its largest number.
        """
        encoded = self._rows(z, self.n_encoded, "z")
        units = np.broadcast_to(self._scale, encoded.shape).copy()
        heavy, _, core = self._tails
        w = self._centre[heavy] + self._scale[heavy] * encoded[:, heavy]
        with np.errstate(over="ignore"):
            log_cosh = np.logaddexp(w, -w) - np.log(2.0)
            units[:, heavy] = np.exp(np.log(self._scale[heavy]) + np.log(core) + log_cosh)
        return np.clip(units, 0.0, LARGEST)

    def log_abs_det_jacobian(self, values: npt.ArrayLike) -> FloatArray:
        """Return log |det dz/dx| = - sum_j log dx_j/dz_j of rows, (n, d), over the columns that vary: (n,), nats."""
        x = self._rows(values, self.n_columns, "values")[:, self.encoded_columns]
        heavy, middle, core = self._tails
        log_det: FloatArray = log_slope(x[:, heavy], middle, core).sum(axis=1) - np.log(self._scale).sum()
        return log_det

    def log_spread(self, values: npt.ArrayLike) -> FloatArray:
        """Return ln q of the places in their cells where rows, (n, d), have whole numbers that were spread: (n,), nats.

        Of evenly spread numbers it is 0. Against q a density of rows is one of whole numbers: see `columns.py`.
        """
        place = self._rows(values, self.n_columns, "values")[:, self.encoded_columns][:, self._bell]
        place /= self._cell[self._bell]
        log_q: FloatArray = log_bell(place - np.rint(place)).sum(axis=1)
        return log_q

    def encode(self, values: npt.ArrayLike, *, stream: Stream | None = None) -> FloatArray:
        """Return rows in encoded units.

        Whole numbers are spread over their cells where a `stream` is given, and taken where they stand otherwise: at
        the centres. `values` is (n, d) in the user's units; NaN stays NaN. Returns (n, k). Raises InvalidInput for
        another shape, and for a value so far out that its encoded number overflows.
        """
        # Row by row in memory: picked columns lie column by column, and the bits of a row's sums depend on that.
        given = self._rows(values, self.n_columns, "values")
        x = np.ascontiguousarray(given[:, self.encoded_columns])
        if stream is not None:
            self._spread(x, stream)
        heavy, middle, core = self._tails
        x[:, heavy] = bent(x[:, heavy], middle, core)
        with np.errstate(over="ignore"):
            # Halves, so that the difference of two numbers near the limits of float64 stays finite.
            z: FloatArray = (0.5 * x - 0.5 * self._centre) / (0.5 * self._scale)
        far = np.isinf(z)
        if far.any():
            row, i = divmod(int(far.argmax()), self.n_encoded)
            column = self.encoded_columns[i]
            raise InvalidInput(
                f"Values should lie within 1e308 scales of the fitted ones, but got {given[row, column]} at row {row}, "
                f"column {column} (rows count from 0), where one scale is {self._scale[i]}: drop the row."
            )
        return z

    def spread(self, values: npt.ArrayLike, *, stream: Stream) -> FloatArray:
        """Return rows, (n, d) in the user's units, whose whole numbers are spread over their cells."""
        rows = self._rows(values, self.n_columns, "values").copy()
        varying = rows[:, self.encoded_columns]
        self._spread(varying, stream)
        rows[:, self.encoded_columns] = varying
        return rows

    def _spread(self, varying: FloatArray, stream: Stream) -> None:
        """Spread whole numbers in place: `varying` is (n, k), in the user's units."""
        whole = np.flatnonzero(self._cell)
        if len(whole):
            draws = stream.uniform(0, len(varying), len(whole)).numpy()
            varying[:, whole] += self._cell[whole] * spread_over_cell(draws, self._bell[whole])

    def decode(self, z: npt.ArrayLike) -> FloatArray:
        """Return rows in the user's units, whole numbers rounded, constants put back.

        `z` is (n, k) in encoded units. Returns (n, d); what float64 cannot hold is clipped to its largest number.
        Raises InvalidInput for another shape.
        """
        encoded = self._rows(z, self.n_encoded, "z")
        with np.errstate(over="ignore"):
            half = 0.5 * self._centre + 0.5 * self._scale * encoded
        x = 2.0 * np.clip(half, -0.5 * LARGEST, 0.5 * LARGEST)
        heavy, middle, core = self._tails
        x[:, heavy] = unbent(x[:, heavy], middle, core)
        whole = np.flatnonzero(self._cell)
        x[:, whole] = np.rint(x[:, whole] / self._cell[whole]) * self._cell[whole]
        rows = np.empty((len(x), self.n_columns))
        rows[:, self.encoded_columns] = x
        positions, constants = self._constants
        rows[:, positions] = constants
        return rows

    def within_range(self, rows: FloatArray) -> FloatArray:
        """Return new rows, (n, d) in the user's units, whose whole numbers are within the range of the fitted ones.

        What lies beyond is reflected at the edge of the last cell, as clipping would heap it up at the last number;
        what is too far out for that becomes the last number.
        """
        if not self.whole_columns:
            return rows
        places, (least, largest) = list(self.whole_columns), self._range
        cell, x = self._cell[self._cell > 0.0], rows[:, places]
        mirrored = np.where(x < least, 2.0 * least - cell - x, np.where(x > largest, 2.0 * largest + cell - x, x))
        is_inside = (mirrored >= least) & (mirrored <= largest)
        kept = rows.copy()
        kept[:, places] = np.where(is_inside, mirrored, np.clip(x, least, largest))
        return kept

    def holds_constants(self, values: npt.ArrayLike, dtypes: Sequence[str] | None = None) -> npt.NDArray[np.bool_]:
        """Return, for each row and each of `constants`, whether the row holds it: (n, k).

        The fitted density is over the columns that vary. A row whose constant column differs cannot come from the
        model: its log-density is -inf. The same table may come in float32 and in float64: a constant is met by its
        rounding to float32, and by what rounds to it in the dtype that its column was fitted in.
        """
        positions, constants = self._constants
        given = self._rows(values, self.n_columns, "values")[:, positions]
        with np.errstate(over="ignore"):
            same = (given == constants) | (given == constants.astype(np.float32))
            for j, position in enumerate(positions):
                dtype = None if dtypes is None else numpy_dtype(dtypes[position])
                if dtype in ("float16", "float32"):
                    same[:, j] |= given[:, j].astype(dtype) == constants[j]
        return np.asarray(same)

    def repeated_values(self, values: FloatArray, blur: float) -> dict[int, tuple[float, float]]:
        """Return the columns that hold one number in a third of the rows or more: that number and its share of rows.

        Left out are numbers whose cell is wider than what the model blurs them by, `blur` encoded units to either side:
        rounding brings them back. `values` is (n, d); of more than 10,000 rows so many are looked at.
        """
        some, found = rows_looked_at(values, "repeated"), {}
        for i, (j, cell) in enumerate(zip(self.encoded_columns, self._cell, strict=True)):
            numbers, counts = np.unique(some[:, j], return_counts=True)
            most = int(counts.argmax())
            if counts[most] < max(len(some) / _SHARE_THAT_TELLS, _FEW):
                continue
            row = some[[int((some[:, j] == numbers[most]).argmax())]]
            if cell == 0.0 or 0.5 * cell < blur * self.units(self.encode(row))[0, i]:
                found[j] = float(numbers[most]), float(counts[most] / len(some))
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return the codec as plain JSON values, exactly."""
        return {"columns": [{"kind": column.kind, **asdict(column)} for column in self.columns]}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Codec:
        """Return the codec that `to_dict` wrote. Raises InvalidInput where the record is not one."""
        if not isinstance(record, Mapping) or set(record) != {"columns"} or not isinstance(record["columns"], list):
            raise InvalidInput("A codec should have one key, columns, with a list of columns.")
        return cls(tuple(column_from_dict(column) for column in record["columns"]))

    @cached_property
    def _varying(self) -> tuple[ScaledColumn | HeavyTailedColumn, ...]:
        return tuple(column for column in self.columns if not isinstance(column, ConstantColumn))

    @cached_property
    def _centre(self) -> FloatArray:
        return np.array([column.centre for column in self._varying])

    @cached_property
    def _scale(self) -> FloatArray:
        return np.array([column.scale for column in self._varying])

    @cached_property
    def _cell(self) -> FloatArray:
        return np.array([column.cell for column in self._varying])

    @cached_property
    def _bell(self) -> npt.NDArray[np.bool_]:
        return np.array([isinstance(column, ScaledColumn) and column.bell for column in self._varying])

    @cached_property
    def _range(self) -> tuple[FloatArray, FloatArray]:
        """The ends of the columns of whole numbers, infinite where there is none: two of as many as there are such."""
        whole = [column for column in self._varying if column.cell]
        return (
            np.array([-np.inf if column.least is None else column.least for column in whole]),
            np.array([np.inf if column.largest is None else column.largest for column in whole]),
        )

    @cached_property
    def _tails(self) -> tuple[npt.NDArray[np.intp], FloatArray, FloatArray]:
        """The encoded columns that are bent, with the middle and the core of each."""
        found = [(i, column) for i, column in enumerate(self._varying) if isinstance(column, HeavyTailedColumn)]
        places = np.array([i for i, _ in found], dtype=np.intp)
        return places, np.array([column.middle for _, column in found]), np.array([column.core for _, column in found])

    @cached_property
    def _constants(self) -> tuple[npt.NDArray[np.intp], FloatArray]:
        return np.array(list(self.constants), dtype=np.intp), np.array(list(self.constants.values()))

    @staticmethod
    def _rows(values: npt.ArrayLike, width: int, name: str) -> FloatArray:
        rows = np.asarray(values, dtype=np.float64)
        if rows.ndim != 2 or rows.shape[1] != width:
            raise InvalidInput(f"{name} should have shape (n, {width}), but got {rows.shape}.")
        return rows
