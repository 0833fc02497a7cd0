"""The codec: maps between rows in the user's units and encoded rows, column by column.

Column j of the table has the coordinates `slices[j]` of an encoded row: none if it is constant, one for a number, the
code of its level for a column with levels. `columns.py` lists the kinds. NaN marks a missing value, in the user's rows
and in all coordinates of its column. At an atom, the coordinate of the column's number alone is NaN: it does not apply.

The density p of dequantised integers, integrated over a cell, is the probability P of the integer. The mean of
ln (p / q) at x + u over u ~ q is at most ln P (Jensen).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from backwalk.errors import InvalidInput
from backwalk.streams import Stream
from backwalk.table.columns import Block, Column
from backwalk.table.dequantisation import place_in_cell
from backwalk.table.maps import Affine, BoolArray, Chain
from backwalk.table.records import column_from_record, to_record
from backwalk.table.schema import FloatArray, Schema

_TILE_ROWS = 4_096  # whose columns stay in a processor's cache
_AS_IT_IS = Chain((Affine(0.0, 1.0),))


@dataclass(frozen=True)
class Codec:
    """The map between rows in the user's units (n, d) and encoded rows (n, k), k the sum of the columns' widths."""

    columns: tuple[Column, ...]

    def __post_init__(self) -> None:
        if not self.n_encoded:
            raise InvalidInput(
                f"At least one column should vary, but all {len(self.columns)} are constant: give rows that differ."
            )

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
    def plottable(self) -> tuple[int, ...]:
        """The indices of the numeric columns, or of all varying ones if none is numeric."""
        with_levels = {block.column for block in self.blocks if block.number is None}
        return tuple(j for j in self.varying if j not in with_levels) or self.varying

    @cached_property
    def continuous(self) -> tuple[int, ...]:
        """The numbers of the columns without levels whose values are not rounded."""
        with_levels = {block.column for block in self.blocks}
        return tuple(j for j, column in enumerate(self.columns) if not column.cell_width and j not in with_levels)

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The levels of each column that has some, in the order of the columns."""
        blocks = (column.block(j, at) for j, (column, at) in enumerate(zip(self.columns, self.slices, strict=True)))
        return tuple(block for block in blocks if block is not None)

    @cached_property
    def block_numbers(self) -> dict[int, int]:
        """The number among `blocks` of each column that has levels."""
        return {block.column: i for i, block in enumerate(self.blocks)}

    def block_of(self, column: int) -> Block | None:
        """Return the levels of a column, or None if it has none."""
        i = self.block_numbers.get(column)
        return None if i is None else self.blocks[i]

    @cached_property
    def missing_levels(self) -> tuple[int, ...]:
        """The numbers of the columns that have a missing value among their levels, which is generated."""
        return tuple(
            block.column
            for block in self.blocks
            if np.isnan(block.values if block.number is None else block.atoms).any()
        )

    @cached_property
    def numbers(self) -> npt.NDArray[np.intp]:
        """The coordinates that are numbers, and not part of the code of a level."""
        is_number = np.ones(self.n_encoded, dtype=bool)
        for block in self.blocks:
            is_number[block.coordinates] = False
        return np.flatnonzero(is_number)

    @cached_property
    def date_columns(self) -> tuple[int, ...]:
        """The columns of numbers with periods, which are drawn before all others; not of those with atoms."""
        return tuple(j for j, column in enumerate(self.columns) if column.comes_first)

    @cached_property
    def dates(self) -> npt.NDArray[np.intp]:
        """The coordinates of the `date_columns`."""
        return np.array([self.slices[j].start for j in self.date_columns], dtype=np.intp)

    @cached_property
    def first_of_part(self) -> npt.NDArray[np.intp]:
        """The first coordinate of each code of a level and of each number: a number with atoms has both."""
        return np.sort(np.array([*self.numbers, *(block.coordinates.start for block in self.blocks)], dtype=np.intp))

    def column_of(self, coordinate: int) -> int:
        """Return the number of the column that has a coordinate."""
        return int(self._columns_of[coordinate])

    @property
    def is_scaled(self) -> bool:
        """Whether coordinates have mean 0 and variance 1, rather than the units of the values."""
        return any(self.columns[j].chain != _AS_IT_IS for j in self.varying)

    def expand_mask(self, cells: BoolArray) -> BoolArray:
        """Return a mask of cells, (n, d), repeated over each column's coordinates: (n, k)."""
        return np.repeat(cells, [column.width for column in self.columns], axis=1)

    def encode(self, values: npt.ArrayLike, *, stream: Stream | None = None, first_row: int = 0) -> FloatArray:
        """Return encoded rows.

        Rounded numbers are dequantised if a `stream` is given, of which row i takes the draws of row `first_row` + i,
        and otherwise encoded as the centres of their cells. `values` is (n, d) in the user's units; all coordinates of
        a missing value are NaN, and at an atom that of the number. Returns (n, k). Raises InvalidInput for another
        shape, for a value that is no level of a column with levels, and for one so large that a coordinate overflows.
        """
        x = self._rows(values, self.n_columns, "values")
        z = np.empty((len(x), self.n_encoded))  # in row order: the bits of a row's sums depend on it
        for rows in _tiles(len(x)):
            places = dict[int, FloatArray]()
            if stream is not None:
                v = stream.uniform(first_row + rows.start, first_row + rows.stop, self.n_uniforms).numpy()
                places = self._places(v)
            for j in self.varying:
                z[rows, self.slices[j]] = self.columns[j].encode(x[rows, j], places.get(j))
        far = np.isinf(z)
        if far.any():
            row, i = divmod(int(far.argmax()), self.n_encoded)
            j = self.column_of(i)
            raise InvalidInput(
                f"Values should {self.columns[j].requirement}, but got {x[row, j]} at row {first_row + row}, column "
                f"{j} (rows count from 0): drop the row."
            )
        return z

    @property
    def n_uniforms(self) -> int:
        """The number of uniform draws that encoding a row takes."""
        return len(self._dequantised)

    def redraw(self, values: FloatArray) -> Redraw | None:
        """Return the `Redraw` of rows, (n, d), or None if no coordinate depends on draws."""
        if not self._dequantised:
            return None
        coordinates = np.concatenate([np.arange(self.n_encoded)[self.slices[j]] for j in self._dequantised])
        columns = tuple((values[:, j].copy(), self.columns[j]) for j in self._dequantised)
        return Redraw(coordinates, columns, self._cosine)

    def dequantise(self, values: npt.ArrayLike, *, stream: Stream) -> FloatArray:
        """Return rows, (n, d) in the user's units, with random places in the cells of rounded numbers."""
        rows = self._rows(values, self.n_columns, "values")
        return self.dequantised_at(rows, stream.uniform(0, len(rows), self.n_uniforms).numpy())

    def dequantised_at(self, values: npt.ArrayLike, v: FloatArray, *, sharpness: float = 1.0) -> FloatArray:
        """Return rows as `dequantise` does, with the places given by uniforms v in (0, 1), (n, `n_uniforms`).

        A `sharpness` below 1 gives wider densities than q: see `Cells.log_density`.
        """
        rows = self._rows(values, self.n_columns, "values").copy()
        for j, place in self._places(v, sharpness).items():
            rows[:, j] = self.columns[j].dequantise(rows[:, j], place, sharpness)
        return rows

    def decode(self, z: npt.ArrayLike) -> FloatArray:
        """Return rows in the user's units, with levels of the nearest code, numbers rounded, and constants restored.

        `z` is (n, k). Returns (n, d); numbers beyond the range of float64 are clipped. Raises InvalidInput for another
        shape.
        """
        encoded = self._rows(z, self.n_encoded, "z")
        x = np.empty((len(encoded), self.n_columns))
        for rows in _tiles(len(x)):
            for j, (column, coordinates) in enumerate(zip(self.columns, self.slices, strict=True)):
                x[rows, j] = column.decode(encoded[rows, coordinates])
        return x

    def within_range(self, rows: FloatArray) -> FloatArray:
        """Return new rows, (n, d) in the user's units, within the bounds of their columns.

        Numbers beyond are reflected at the bound; dequantised ones are rounded to it.
        """
        return self._moved(rows, lambda column, x: column.within_range(x))

    def log_abs_det_jacobian(self, values: npt.ArrayLike) -> FloatArray:
        """Return log |det dz/dx| of rows, (n, d), over the numbers of each row: (n,), nats.

        Missing values, levels and atoms count as 0.
        """
        x = self._rows(values, self.n_columns, "values")
        total = np.zeros(len(x))
        for j in self._with_numbers:
            total += np.where(np.isnan(x[:, j]), 0.0, self.columns[j].log_slope(x[:, j]))
        return total

    def log_dequantisation(self, places: npt.ArrayLike, values: npt.ArrayLike, *, sharpness: float = 1.0) -> FloatArray:
        """Return ln q of places in the cells of rows `values`, both (n, d): (n,), nats; see `Cells.log_density`.

        It is 0 for the uniform density of integers within their range. `integers.py` of `model` uses it to estimate
        probabilities of integers.
        """
        at, x = self._rows(places, self.n_columns, "places"), self._rows(values, self.n_columns, "values")
        total = np.zeros(len(x))
        for j in self._dequantised:
            log_q = self.columns[j].log_dequantisation(at[:, j], x[:, j], sharpness)
            total += np.where(np.isnan(x[:, j]), 0.0, log_q)
        return total

    def deviation_in_user_units(self, deviation: npt.ArrayLike, z: npt.ArrayLike) -> FloatArray:
        """Return a small deviation of encoded rows z, both (n, k), in the user's units: (n, d), 0 for constants."""
        encoded, deviations = self._rows(z, self.n_encoded, "z"), self._rows(deviation, self.n_encoded, "deviation")
        x = np.zeros((len(encoded), self.n_columns))
        for rows in _tiles(len(x)):
            for j in self._with_numbers:
                at = rows, self.slices[j]
                x[rows, j] = self.columns[j].deviation_in_user_units(deviations[at], encoded[at])
        return x

    def supports(self, values: npt.ArrayLike, dtypes: Sequence[str] | None = None) -> BoolArray:
        """Return which values of rows a model can make: (n, d).

        It is False for another value than the fitted one in a constant column, and for other numbers than integers in a
        column of integers, and for values that are no level. Rows with such values have a log-density of -inf. Missing
        values are True. `dtypes` are those in which the columns were fitted: numbers that round to a constant in
        float32 equal it.
        """
        x = self._rows(values, self.n_columns, "values")
        can_be = np.isnan(x)
        for j, column in enumerate(self.columns):
            can_be[:, j] |= column.supports(x[:, j], None if dtypes is None else dtypes[j])
        return can_be

    def check_schema(self, schema: Schema) -> None:
        """Raise InvalidInput unless the columns are those of a schema: as many, with labels for levels of texts."""
        if self.n_columns != schema.n_columns:
            raise InvalidInput(f"The codec has {self.n_columns} columns, but the schema {schema.n_columns}.")
        for j, (column, labels) in enumerate(zip(self.columns, schema.labels, strict=True)):
            if labels is None:
                continue
            ends = column.value_range
            codes = (*column.levels, *ends)
            if column.chain is not None or not all(code.is_integer() and 0 <= code < len(labels) for code in codes):
                raise InvalidInput(
                    f"Levels of {schema.label(j)} should be the numbers of its {len(labels):,} labels, but lie in "
                    f"{ends[0]:.6g}..{ends[1]:.6g}."
                )

    def to_dict(self) -> dict[str, Any]:
        """Return the codec as plain JSON values, exactly."""
        return {"columns": list(map(to_record, self.columns))}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Codec:
        """Return the codec that `to_dict` wrote. Raises InvalidInput for any other record."""
        if not isinstance(record, Mapping) or set(record) != {"columns"} or not isinstance(record["columns"], list):
            raise InvalidInput("A codec should have one key, columns, with a list of columns.")
        return cls(tuple(map(column_from_record, record["columns"])))

    @cached_property
    def _columns_of(self) -> npt.NDArray[np.intp]:
        """The number of the column of each coordinate, (k,)."""
        return np.repeat(np.arange(self.n_columns), [column.width for column in self.columns])

    @cached_property
    def _with_numbers(self) -> tuple[int, ...]:
        """The numbers of the columns that hold numbers, of which some may equal atoms."""
        return tuple(j for j, column in enumerate(self.columns) if column.chain is not None)

    @cached_property
    def _dequantised(self) -> tuple[int, ...]:
        """The numbers of the columns whose encoding takes a uniform draw."""
        return tuple(j for j, column in enumerate(self.columns) if column.cosine_weight is not None)

    @cached_property
    def _cosine(self) -> FloatArray:
        """The weight of the cosine in the density of each dequantised column, (`n_uniforms`,)."""
        return np.array([self.columns[j].cosine_weight for j in self._dequantised], dtype=np.float64)

    def _places(self, v: FloatArray, sharpness: float = 1.0) -> dict[int, FloatArray]:
        """Return the places in cells, (n,), of each dequantised column, given uniforms v, (n, `n_uniforms`)."""
        return dict(zip(self._dequantised, place_in_cell(v, sharpness * self._cosine).T, strict=True))

    def _moved(self, values: FloatArray, move: Callable[[Column, FloatArray], FloatArray]) -> FloatArray:
        """Return rows, (n, d), whose numbers are moved column by column."""
        x = values.copy()
        for rows in _tiles(len(x)):
            for j in self._with_numbers:
                x[rows, j] = move(self.columns[j], values[rows, j])
        return x

    @staticmethod
    def _rows(values: npt.ArrayLike, width: int, name: str) -> FloatArray:
        rows = np.asarray(values, dtype=np.float64)
        if rows.ndim != 2 or rows.shape[1] != width:
            raise InvalidInput(f"{name} should have shape (n, {width}), but got {rows.shape}.")
        return rows


@dataclass(frozen=True, eq=False)
class Redraw:
    """Draws again the encoded coordinates that depend on random draws, those of rounded numbers, for each batch.

    `coordinates`, (m,), are their numbers.
    """

    coordinates: npt.NDArray[np.intp]
    _columns: tuple[tuple[FloatArray, Column], ...]
    _cosine: FloatArray

    @property
    def n_uniforms(self) -> int:
        """The number of uniform draws that a row takes."""
        return len(self._columns)

    def take(self, rows: npt.NDArray[np.intp]) -> Redraw:
        """Return the `Redraw` of some of the rows."""
        return replace(self, _columns=tuple((x[rows], column) for x, column in self._columns))

    def __call__(self, rows: npt.NDArray[np.intp], v: FloatArray) -> FloatArray:
        """Return the coordinates of some rows, (b, m), given uniforms v in (0, 1), (b, `n_uniforms`)."""
        places = place_in_cell(v, self._cosine)
        return np.concatenate(
            [column.encode(x[rows], place) for (x, column), place in zip(self._columns, places.T, strict=True)], axis=1
        )


def _tiles(n: int) -> Iterator[slice]:
    return (slice(start, min(start + _TILE_ROWS, n)) for start in range(0, n, _TILE_ROWS))
