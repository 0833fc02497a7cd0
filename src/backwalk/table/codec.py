"""The codec: maps between rows in the user's units and encoded rows, column by column.

Column j of the table has the coordinates `slices[j]` of an encoded row: none if it is constant, one for a number or
an integer, the code of its level for a column with levels. `columns.py` and `level_columns.py` have the kinds,
`maps.py` and `level_maps.py` their maps. NaN marks a missing value, in the user's rows and in all coordinates of its
column. At an atom, the coordinate of the column's number alone is NaN: it does not apply.

The density p of dequantised integers, integrated over a cell, is the probability P of the integer. The mean of
ln (p / q) at x + u over u ~ q is at most ln P (Jensen).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from backwalk.errors import InvalidInput
from backwalk.streams import Stream
from backwalk.table.blocks import Block
from backwalk.table.column_choice import Missing, fitted_columns, refitted_columns
from backwalk.table.column_kinds import column_from_dict
from backwalk.table.column_options import Option
from backwalk.table.column_statistics import rows_looked_at, some_rows
from backwalk.table.columns import Column
from backwalk.table.families import Family, Redraw, families_of, size
from backwalk.table.frame import Table
from backwalk.table.maps import BoolArray
from backwalk.table.schema import FloatArray
from backwalk.table.ties import distinct_rows, is_tied
from backwalk.table.whole import WholeTable

_ROWS_PER_REPEAT = 3  # a number counts as repeated from one row in three on
_FEWEST_REPEATS = 10  # rows; fewer may be equal by chance


@dataclass(frozen=True)
class Codec:
    """The map between rows in the user's units (n, d) and encoded rows (n, k), k the sum of the columns' widths.

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
        if not self.n_encoded:
            raise InvalidInput(
                f"At least one column should vary, but all {len(self.columns)} are constant: give rows that differ."
            )

    @classmethod
    def fit(
        cls,
        table: Table,
        *,
        scale: bool = True,
        asinh: bool = True,
        levels: bool = False,
        columns: Mapping[str, Option] | None = None,
        missing: Missing = "absent",
        weights: npt.ArrayLike | None = None,
        whole: WholeTable | None = None,
    ) -> Codec:
        """Return the codec that gives each number of a table's rows mean 0 and variance 1.

        Numbers with heavy tails are transformed by asinh first (`fitted_tails`), unless `asinh` is False. With
        `scale=False` numbers are not scaled. Constant columns are never encoded. Missing values do not count.

        The columns of a DataFrame, of any dtype, may be rounded, and new values lie within the range of the fitted
        ones. Numbers that all lie on a grid, such as integers, are dequantised, unless the grid is too fine for a
        model; their variance includes that of the places in the cells. Texts have levels. With `levels`, numbers with
        few distinct values have levels too, and those that equal some values in many rows have atoms. Numbers are
        mapped to a normal through their quantiles where this clearly raises the log-density of held-out rows.

        `columns` has the kinds of some columns: "number", "integer", "levels", "constant", `Levels` or `Number`.
        `missing` is "absent" for missing values that are not generated; with "generate", a column with gaps has the
        level "missing". `weights`, (n,), are those of the rows in moments and frequencies. Where the rows of
        `table` are some of a larger one, `whole` has the facts of all rows. Raises InvalidInput for a single row, a
        column without values, if no column varies, and for a spread too small for float64.
        """
        by_row = None if weights is None else np.asarray(weights, dtype=np.float64)
        return cls(
            fitted_columns(
                table,
                scale=scale,
                asinh=asinh,
                levels=levels,
                columns=columns,
                missing=missing,
                weights=by_row,
                whole=whole,
            )
        )

    def refitted(self, table: Table, *, asinh: bool = True) -> Codec:
        """Return a codec fitted to other rows of the same table, with densities over the same coordinates.

        Numbers are fitted again, with the same steps, dequantisation and bounds, and without maps through quantiles;
        `asinh` is as for `fit`. Columns with levels keep their encoding, and so does a column that is constant in one
        of the two tables.
        """
        return Codec(refitted_columns(table, self.columns, asinh=asinh))

    @property
    def n_columns(self) -> int:
        """The number of columns in the user's rows, d."""
        return len(self.columns)

    @property
    def n_encoded(self) -> int:
        """The number of coordinates of encoded rows, k."""
        return self.slices[-1].stop if self.slices else 0

    @cached_property
    def slices(self) -> tuple[slice, ...]:
        """The coordinates of each column."""
        ends = accumulate((column.width for column in self.columns), initial=0)
        return tuple(slice(start, stop) for start, stop in pairwise(ends))

    @cached_property
    def varying(self) -> tuple[int, ...]:
        """The numbers of the columns that have coordinates, in order."""
        return tuple(j for j, column in enumerate(self.columns) if column.width)

    @property
    def drawable(self) -> tuple[int, ...]:
        """The numbers of the columns that hold numbers, or of all that vary if none does."""
        with_levels = {block.column for block in self.blocks if block.number is None}
        return tuple(j for j in self.varying if j not in with_levels) or self.varying

    @cached_property
    def continuous(self) -> tuple[int, ...]:
        """The numbers of the columns without levels whose values are not rounded."""
        with_levels = {block.column for block in self.blocks}
        return tuple(j for j, column in enumerate(self.columns) if not column.cell and j not in with_levels)

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The levels of each column that has some, in the order of the columns."""
        blocks = (column.block(j, at) for j, (column, at) in enumerate(zip(self.columns, self.slices, strict=True)))
        return tuple(block for block in blocks if block is not None)

    @cached_property
    def missing_levels(self) -> tuple[int, ...]:
        """The numbers of the columns that have a missing value among their levels, which is generated."""
        found = []
        for block in self.blocks:
            is_missing = np.isnan(block.values)
            if block.continuous is not None:
                is_missing[block.continuous] = False
            found += [block.column] if is_missing.any() else []
        return tuple(found)

    @cached_property
    def numbers(self) -> npt.NDArray[np.intp]:
        """The coordinates that are numbers, and not part of the code of a level."""
        is_number = np.ones(self.n_encoded, dtype=bool)
        for block in self.blocks:
            is_number[block.coordinates] = False
        return np.flatnonzero(is_number)

    @cached_property
    def parts(self) -> npt.NDArray[np.intp]:
        """The first coordinate of each code of a level and of each number: a number with atoms has both."""
        return np.sort(np.array([*self.numbers, *(block.coordinates.start for block in self.blocks)], dtype=np.intp))

    def column_of(self, coordinate: int) -> int:
        """Return the number of the column that has a coordinate."""
        return int(self._columns_of[coordinate])

    @property
    def is_scaled(self) -> bool:
        """Whether coordinates have mean 0 and variance 1, rather than the units of the values."""
        return any(column.is_scaled for column in self.columns)

    def observed(self, observed: BoolArray) -> BoolArray:
        """Return which coordinates belong to the columns that are marked in rows: (n, k) from (n, d)."""
        return np.repeat(observed, [column.width for column in self.columns], axis=1)

    def encode(self, values: npt.ArrayLike, *, stream: Stream | None = None, first_row: int = 0) -> FloatArray:
        """Return encoded rows.

        Integers are dequantised if a `stream` is given, of which row i takes the draws of row `first_row` + i, and
        otherwise encoded as the centres of their cells. `values` is (n, d) in the user's units; all coordinates of a
        missing value are NaN, and at an atom that of the number. Returns (n, k). Raises InvalidInput for another shape,
        for a value that is no level of a column with levels, and for one so large that a coordinate overflows.
        """
        x = self._rows(values, self.n_columns, "values")
        z = np.empty((len(x), self.n_encoded))  # in row order: the bits of a row's sums depend on it
        v = None if stream is None else stream.uniform(first_row, first_row + len(x), self.n_uniforms).numpy()
        for family in self._varying_families:
            draws = None if v is None else v[:, family.uniforms]
            z[:, family.coordinates] = family.maps.encode(x[:, family.columns], draws)
        far = np.isinf(z)
        if far.any():
            row, i = divmod(int(far.argmax()), self.n_encoded)
            j = self.column_of(i)
            raise InvalidInput(
                f"Values should {self.columns[j].accepted}, but got {x[row, j]} at row {first_row + row}, column {j} "
                "(rows count from 0): drop the row."
            )
        return z

    @property
    def n_uniforms(self) -> int:
        """The number of uniform draws that encoding a row takes."""
        return sum(column.n_uniforms for column in self.columns)

    def redraw(self, values: FloatArray) -> Redraw | None:
        """Return the `Redraw` of rows, (n, d), or None if no coordinate depends on draws."""
        drawn = self._drawn_families
        if not drawn:
            return None
        coordinates = np.concatenate([np.arange(self.n_encoded)[family.coordinates] for family in drawn])
        parts = tuple((values[:, family.columns], family.uniforms, family.maps) for family in drawn)
        return Redraw(coordinates, self.n_uniforms, parts)

    def dequantise(self, values: npt.ArrayLike, *, stream: Stream) -> FloatArray:
        """Return rows, (n, d) in the user's units, with random places in the cells of integers."""
        rows = self._rows(values, self.n_columns, "values")
        return self.dequantised_at(rows, stream.uniform(0, len(rows), self.n_uniforms).numpy())

    def dequantised_at(self, values: npt.ArrayLike, v: FloatArray, *, weight: float = 1.0) -> FloatArray:
        """Return rows as `dequantise` does, with the places given by uniforms v in (0, 1), (n, `n_uniforms`).

        `weight` multiplies the cosine in the densities; below 1, fewer places are in the middle of their cells.
        """
        rows = self._rows(values, self.n_columns, "values").copy()
        for family in self._drawn_families:
            columns, draws = family.columns, v[:, family.uniforms]
            rows[:, columns] = family.maps.dequantise(rows[:, columns], draws, weight)
        return rows

    def decode(self, z: npt.ArrayLike) -> FloatArray:
        """Return rows in the user's units, with levels of the nearest code, integers rounded, and constants restored.

        `z` is (n, k). Returns (n, d); numbers beyond the range of float64 are clipped. Raises InvalidInput for another
        shape.
        """
        encoded = self._rows(z, self.n_encoded, "z")
        rows = np.empty((len(encoded), self.n_columns))
        for family in self._families:
            rows[:, family.columns] = family.maps.decode(encoded[:, family.coordinates])
        return rows

    def within_range(self, rows: FloatArray) -> FloatArray:
        """Return new rows, (n, d) in the user's units, within the bounds of their columns.

        Numbers beyond are reflected at the bound, and integers at the edge of the last cell.
        """
        kept = rows.copy()
        for family in self._varying_families:
            kept[:, family.columns] = family.maps.within_range(rows[:, family.columns])
        return kept

    def log_abs_det_jacobian(self, values: npt.ArrayLike) -> FloatArray:
        """Return log |det dz/dx| of rows, (n, d), over the numbers of each row: (n,), nats.

        Missing values, levels and atoms count as 0.
        """
        x = self._rows(values, self.n_columns, "values")
        log_det = np.zeros(len(x))
        for family in self._varying_families:
            log_det += _sum_of_observed(family.maps.log_slope(x[:, family.columns]), x[:, family.columns])
        return log_det

    def log_dequantisation(self, values: npt.ArrayLike, *, weight: float = 1.0) -> FloatArray:
        """Return ln q of the places of dequantised integers in their cells, of rows (n, d): (n,), nats.

        It is 0 for the uniform density. `integers.py` of `model` uses it to estimate probabilities of integers.
        """
        x = self._rows(values, self.n_columns, "values")
        log_q = np.zeros(len(x))
        for family in self._drawn_families:
            columns = x[:, family.columns]
            log_q += _sum_of_observed(family.maps.log_dequantisation(columns, weight), columns)
        return log_q

    def in_user_units(self, deviation: npt.ArrayLike, z: npt.ArrayLike) -> FloatArray:
        """Return a small deviation of encoded rows z, both (n, k), in the user's units: (n, d), 0 for constants."""
        encoded, deviations = self._rows(z, self.n_encoded, "z"), self._rows(deviation, self.n_encoded, "deviation")
        rows = np.empty((len(encoded), self.n_columns))
        for family in self._families:
            at, by = encoded[:, family.coordinates], deviations[:, family.coordinates]
            rows[:, family.columns] = family.maps.in_user_units(by, at)
        return rows

    def off_bounds(self, values: npt.ArrayLike) -> FloatArray:
        """Return rows, (n, d), with values within three tenths of the margin of a bound moved inwards to this distance.

        Values beyond the bounds stay where they are.
        """
        x = self._rows(values, self.n_columns, "values").copy()
        for family in self._varying_families:
            x[:, family.columns] = family.maps.off_bounds(x[:, family.columns])
        return x

    def supports(self, values: npt.ArrayLike, dtypes: Sequence[str] | None = None) -> BoolArray:
        """Return which values of rows a model can make: (n, d).

        It is False for another value than the fitted one in a constant column, and for other numbers than integers in a
        column of integers, and for values that are no level. Rows with such values have a log-density of -inf. Missing
        values are True. `dtypes` are those in which the columns were fitted: numbers that round to a constant in
        float32 equal it.
        """
        x = self._rows(values, self.n_columns, "values")
        held = np.ones(x.shape, dtype=bool)
        for family in self._families:
            of_family = None if dtypes is None else [dtypes[j] for j in np.arange(self.n_columns)[family.columns]]
            held[:, family.columns] = family.maps.supports(x[:, family.columns], of_family)
        return np.asarray(held | np.isnan(x))

    def repeated_values(self, values: FloatArray, blur: float) -> dict[int, tuple[float, float]]:
        """Return the columns in which a third of the rows or more hold the same number, with it and its share of rows.

        Numbers whose cell is wider than the model's blur, `blur` encoded units to either side, are left out, because
        rounding restores them, and so are columns with levels. `values` is (n, d), of which at most 10,000 random rows
        are used; missing values do not count.
        """
        some, found = rows_looked_at(values, "repeated"), {}
        with_levels = {block.column for block in self.blocks}
        for j in self.varying:
            if j in with_levels:
                continue
            observed = some[~np.isnan(some[:, j]), j]
            numbers, counts = np.unique(observed, return_counts=True)
            most = int(counts.argmax()) if len(counts) else 0
            if not len(counts) or counts[most] < max(len(observed) / _ROWS_PER_REPEAT, _FEWEST_REPEATS):
                continue
            maps, number = self.columns[j].maps, numbers[[[most]]]
            z = maps.encode(number)
            if 0.5 * self.columns[j].cell <= float(maps.in_user_units(np.full_like(z, blur), z)[0, 0]):
                found[j] = float(numbers[most]), float(counts[most] / len(observed))
        return found

    def tied_numbers(self, values: FloatArray) -> tuple[int, ...]:
        """Return the coordinates of the numbers that are tied in rows, (n, d) in the user's units: see `ties.py`.

        Repeated rows count once, and at most 10,000 random rows are looked at: among more values than these show,
        waves could not tell one from the next. Missing values and atoms do not count.
        """
        some, found = distinct_rows(some_rows(values, "ties")), []
        at_atoms = {block.column: block.values for block in self.blocks if block.number is not None}
        for coordinate in self.numbers.tolist():
            j = self.column_of(coordinate)
            x = some[~np.isnan(some[:, j]), j]
            if is_tied(x[~np.isin(x, at_atoms[j])] if j in at_atoms else x):
                found.append(coordinate)
        return tuple(found)

    def to_dict(self) -> dict[str, Any]:
        """Return the codec as plain JSON values, exactly."""
        return {"columns": [column.to_dict() for column in self.columns]}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Codec:
        """Return the codec that `to_dict` wrote. Raises InvalidInput for any other record."""
        if not isinstance(record, Mapping) or set(record) != {"columns"} or not isinstance(record["columns"], list):
            raise InvalidInput("A codec should have one key, columns, with a list of columns.")
        return cls(tuple(column_from_dict(column) for column in record["columns"]))

    @cached_property
    def _columns_of(self) -> npt.NDArray[np.intp]:
        """The number of the column of each coordinate, (k,)."""
        return np.repeat(np.arange(self.n_columns), [column.width for column in self.columns])

    @cached_property
    def _families(self) -> tuple[Family, ...]:
        return families_of(self.columns)

    @cached_property
    def _varying_families(self) -> tuple[Family, ...]:
        return tuple(family for family in self._families if size(family.coordinates))

    @cached_property
    def _drawn_families(self) -> tuple[Family, ...]:
        """The families whose encoding takes random draws."""
        return tuple(family for family in self._families if size(family.uniforms))

    @staticmethod
    def _rows(values: npt.ArrayLike, width: int, name: str) -> FloatArray:
        rows = np.asarray(values, dtype=np.float64)
        if rows.ndim != 2 or rows.shape[1] != width:
            raise InvalidInput(f"{name} should have shape (n, {width}), but got {rows.shape}.")
        return rows


def _sum_of_observed(by_column: FloatArray, x: FloatArray) -> FloatArray:
    """Return the sum over columns of numbers (n, m) or (m,), without those of missing values in x, (n, m)."""
    missing = np.isnan(x)
    return np.asarray(np.where(missing, 0.0, by_column).sum(axis=1) if missing.any() else by_column.sum(axis=-1))
