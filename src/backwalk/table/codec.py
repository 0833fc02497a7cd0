"""The codec: maps between rows in the user's units and encoded rows, column by column.

Column j of the table has the coordinates `slices[j]` of an encoded row: none if it is constant, one for a number, the
code of its level for a column with levels. `columns.py` lists the kinds. NaN marks a missing value, in the user's rows
and in all coordinates of its column. At an atom, the coordinate of the column's number alone is NaN: it does not apply.

Where there are rules between columns (`rule_system.py`), rows have further cells, the *differences* of orders, which
have coordinates behind those of the columns. The coordinates of a row are then redundant: `cell_masks` says which of
them stand for what is known, and which are drawn or scored. The others are absent, NaN in drawn rows, and computed.

The density p of dequantised integers, integrated over a cell, is the probability P of the integer. The mean of
ln (p / q) at x + u over u ~ q is at most ln P (Jensen).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
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
from backwalk.table.rule_system import CopyOfLevels, LevelRule, OrderOfLevels, RuleSystem, ordered_pairs
from backwalk.table.schema import FloatArray, Schema

_TILE_ROWS = 4_096  # whose columns stay in a processor's cache
_AS_IT_IS = Chain((Affine(0.0, 1.0),))


@dataclass(frozen=True)
class Codec:
    """The map between rows in the user's units (n, d) and encoded rows (n, k), k the sum of the columns' widths.

    - `columns`: those of the user's table.
    - `rules`: the rules between them, if there are any, and `differences` the columns of their orders' differences, and
      of their copies, 1 where a row has one.
    """

    columns: tuple[Column, ...]
    differences: tuple[Column, ...] = ()
    rules: RuleSystem | None = None

    def __post_init__(self) -> None:
        if not self.n_encoded:
            raise InvalidInput(
                f"At least one column should vary, but all {len(self.columns)} are constant: give rows that differ."
            )
        expected = (
            (self.n_columns, self.n_columns) if self.rules is None else (self.rules.n_columns, self.rules.n_cells)
        )
        if expected != (self.n_columns, len(self.all_columns)):
            raise InvalidInput("Rules should be between the columns of the codec: fit it again.")

    @property
    def n_columns(self) -> int:
        """The number of columns in the user's rows, d."""
        return len(self.columns)

    @cached_property
    def all_columns(self) -> tuple[Column, ...]:
        """The columns of all cells of a row, D: those of the user's table, and the differences."""
        return (*self.columns, *self.differences)

    @property
    def n_encoded(self) -> int:
        """The number of coordinates of encoded rows, k."""
        return self.slices[-1].stop if self.slices else 0

    @cached_property
    def slices(self) -> tuple[slice, ...]:
        """The coordinates of each cell: those of the columns, and then of the differences."""
        ends = accumulate((column.width for column in self.all_columns), initial=0)
        return tuple(slice(start, stop) for start, stop in pairwise(ends))

    @property
    def without_rules(self) -> Codec:
        """The codec of the columns alone."""
        return self if self.rules is None else Codec(self.columns)

    @cached_property
    def drawn_cells(self) -> BoolArray:
        """Which cells are drawn and scored where nothing is known, (D,): all but those that the rules determine."""
        return np.ones(len(self.all_columns), dtype=bool) if self.rules is None else self.rules.drawn

    @cached_property
    def drawn_coordinates(self) -> BoolArray:
        """Which coordinates are those of the `drawn_cells`, (k,)."""
        return np.asarray(self.expand_mask(self.drawn_cells[None])[0])

    @cached_property
    def drawn_numbers(self) -> npt.NDArray[np.intp]:
        """Those of the `numbers` that are among the `drawn_coordinates`."""
        return np.asarray(self.numbers[self.drawn_coordinates[self.numbers]])

    @cached_property
    def varying(self) -> tuple[int, ...]:
        """The numbers of the columns that have coordinates, in order."""
        return tuple(j for j, column in enumerate(self.columns) if column.width)

    @property
    def plottable(self) -> tuple[int, ...]:
        """The indices of the numeric columns, or of all varying ones if none is numeric."""
        with_levels = {block.column for block in self.blocks if block.is_category}
        numbers = tuple(j for j in self.varying if j not in with_levels)
        return tuple(j for j in numbers if self.drawn_cells[j]) or numbers or self.varying

    @cached_property
    def continuous(self) -> tuple[int, ...]:
        """The numbers of the columns without levels whose values are not rounded."""
        with_levels = {block.column for block in self.blocks}
        return tuple(j for j, column in enumerate(self.columns) if not column.cell_width and j not in with_levels)

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The levels of each column that has some, in the order of the columns."""
        blocks = (column.block(j, at) for j, (column, at) in enumerate(zip(self.all_columns, self.slices, strict=True)))
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
        return tuple(j for j, column in enumerate(self.columns) if column.comes_first and self.drawn_cells[j])

    @cached_property
    def dates(self) -> npt.NDArray[np.intp]:
        """The coordinates of the `date_columns`."""
        return np.array([self.slices[j].start for j in self.date_columns], dtype=np.intp)

    @cached_property
    def first_of_part(self) -> npt.NDArray[np.intp]:
        """The first coordinate of each code of a level and of each number: a number with atoms has both."""
        return np.sort(np.array([*self.numbers, *(block.coordinates.start for block in self.blocks)], dtype=np.intp))

    def column_of(self, coordinate: int) -> int:
        """Return the number of the column that has a coordinate; those of differences follow the user's."""
        return int(self._columns_of[coordinate])

    @cached_property
    def level_rules(self) -> tuple[LevelRule, ...]:
        """The rules that exclude levels beside others: dependencies, and orders and copies of two columns of levels."""
        if self.rules is None:
            return ()
        first, left_out = len(self.rules.relations), self.rules.left_out
        orders = [pair for i, pair in enumerate(self.rules.orders) if first + i not in left_out]
        pairs = ordered_pairs([pair for pair in orders if set(pair) <= self.rules.orders_of_levels])
        first += len(self.rules.orders)
        dependencies = [each for i, each in enumerate(self.rules.dependencies) if first + i not in left_out]
        found = list[LevelRule]()
        for pair in pairs:
            low, high = (self.block_numbers[j] for j in pair)
            values = (tuple(self.blocks[i].values.tolist()) for i in (low, high))
            found.append(LevelRule((low, high), OrderOfLevels(*values)))
        for each in dependencies:
            found.append(LevelRule(tuple(self.block_numbers[j] for j in each.columns), each))
        for copy in self.rules.active_copies.values():
            if set(copy) <= set(self.block_numbers):
                of_copy = tuple(self.block_numbers[j] for j in copy)
                source, target = (self.blocks[i] for i in of_copy[:2])
                are_all = source.number is None, target.number is None
                of_levels = CopyOfLevels(tuple(source.values.tolist()), tuple(target.values.tolist()), are_all)
                found.append(LevelRule(of_copy, of_levels))
        return tuple(found)

    def without(self, rules: Collection[int]) -> Codec:
        """Return the codec without some rules, by their numbers; its coordinates stay."""
        return self if self.rules is None else replace(self, rules=self.rules.without(rules))

    @property
    def is_scaled(self) -> bool:
        """Whether coordinates have mean 0 and variance 1, rather than the units of the values."""
        return any(self.columns[j].chain != _AS_IT_IS for j in self.varying)

    def expand_mask(self, cells: BoolArray) -> BoolArray:
        """Return a mask of cells, (n, D), repeated over each one's coordinates: (n, k)."""
        return np.repeat(cells, self._widths, axis=1)

    def cells(self, values: npt.ArrayLike) -> FloatArray:
        """Return the cells, (n, D), of rows, (n, d), with those filled that rules determine, and the differences."""
        x = self._rows(values, self.n_columns, "values")
        if self.rules is None:
            return x
        cells = self.rules.cells(x, self._on_grid)
        return self.with_computed(cells) if self.rules.copies else cells

    def with_computed(self, cells: FloatArray) -> FloatArray:
        """Return cells, (n, D), with those filled that follow from others.

        A row is no copy where a column cannot have the value of the other.
        """
        if self.rules is None:
            return cells
        cells, n_before = self.rules.solve(cells, self._on_grid), -1
        while self.rules.active_copies and n_before != (n_before := int(np.isnan(cells).sum())):
            for source, target, cell in self.rules.active_copies.values():
                for one, other in ((source, target), (target, source)):
                    at = np.isnan(cells[:, cell]) & self.is_off(other, cells[:, one])
                    cells[at, cell] = 0.0
            cells = self.rules.solve(cells, self._on_grid)
        return cells

    def is_off(self, j: int, x: FloatArray) -> BoolArray:
        """Return which values of a column, (n,), new rows cannot have, by its kind or range; missing ones they can."""
        least, largest = self.columns[j].value_range
        with np.errstate(invalid="ignore"):
            return np.asarray((x < least) | (x > largest) | ~(self.columns[j].supports(x, None) | np.isnan(x)))

    def cell_masks(
        self,
        known: BoolArray,
        in_question: BoolArray,
        has_value: BoolArray | None = None,
        cells: FloatArray | None = None,
    ) -> tuple[BoolArray, BoolArray]:
        """Return which cells, (n, D), stand for the known columns, (n, d), and which for those in question.

        `has_value`, (n, D), says which cells have a value that can be known, by default all. Which rows are known to be
        copies follows from the `cells`, (n, D).
        """
        if self.rules is None:
            return known, in_question
        none = np.zeros((len(known), len(self.differences)), dtype=bool)
        masks = (np.column_stack([mask, none]) for mask in (known, in_question))
        of_known, of_question = self.rules.basis(*masks, has_value=has_value)
        is_equal = np.full((len(known), len(self.rules.copies)), np.nan)
        return self.rules.settled(
            of_known, of_question, is_equal if cells is None else cells[:, self.rules.first_copy :]
        )

    def copied(self, z: FloatArray) -> BoolArray:
        """Return which coordinates of encoded rows, (n, k), are those of copies, which stand for nothing: (n, k)."""
        is_copy = np.zeros((len(z), len(self.all_columns)), dtype=bool)
        for _, target, cell in () if self.rules is None else self.rules.active_copies.values():
            is_copy[:, target] = z[:, self.slices[cell].stop - 1] > 0.5  # the code of level 1
        return self.expand_mask(is_copy)

    def encode(self, values: npt.ArrayLike, *, stream: Stream | None = None, first_row: int = 0) -> FloatArray:
        """Return encoded rows.

        Rounded numbers are dequantised if a `stream` is given, of which row i takes the draws of row `first_row` + i,
        and otherwise encoded as the centres of their cells. `values` is (n, d) in the user's units, or the cells,
        (n, D); all coordinates of a missing value are NaN, and at an atom that of the number. Returns (n, k). Raises
        InvalidInput for another shape, for a value that is no level of a column with levels, and for one so large that
        a coordinate overflows.
        """
        x = self._as_cells(values, "values")
        z = np.empty((len(x), self.n_encoded))  # in row order: the bits of a row's sums depend on it
        for rows in _tiles(len(x)):
            places = dict[int, FloatArray]()
            if stream is not None:
                v = stream.uniform(first_row + rows.start, first_row + rows.stop, self.n_uniforms).numpy()
                places = self._places(v)
            for j, column in enumerate(self.all_columns):
                if column.width:
                    z[rows, self.slices[j]] = column.encode(x[rows, j], places.get(j))
        far = np.isinf(z)
        if far.any():
            row, i = divmod(int(far.argmax()), self.n_encoded)
            column = self.all_columns[j := self.column_of(i)]
            raise InvalidInput(
                f"Values should {column.requirement}, but got {x[row, j]} at row {first_row + row}, column "
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
        cells = self._as_cells(values, "values")
        columns = tuple((cells[:, j].copy(), self.all_columns[j]) for j in self._dequantised)
        return Redraw(coordinates, columns)

    def dequantise(self, values: npt.ArrayLike, *, stream: Stream) -> FloatArray:
        """Return the cells of rows, (n, D) in the user's units, at random places in the cells of rounded numbers."""
        rows = self._as_cells(values, "values")
        return self.dequantised_at(rows, stream.uniform(0, len(rows), self.n_uniforms).numpy())

    def dequantised_at(self, values: npt.ArrayLike, v: FloatArray) -> FloatArray:
        """Return cells as `dequantise` does, with the places given by uniforms v in (0, 1), (n, `n_uniforms`)."""
        rows = self._as_cells(values, "values").copy()
        for j, place in self._places(v).items():
            rows[:, j] = self.all_columns[j].dequantise(rows[:, j], place)
        return rows

    def decode(self, z: npt.ArrayLike) -> FloatArray:
        """Return rows in the user's units, with levels of the nearest code, numbers rounded, and constants restored.

        `z` is (n, k). Returns (n, d); numbers beyond the range of float64 are clipped. Raises InvalidInput for another
        shape.
        """
        return self.rows_of_cells(self._decode_cells(z))

    def decode_new(self, z: npt.ArrayLike, given: FloatArray) -> FloatArray:
        """Return new rows, (n, d), as `decode` does, within the bounds of their columns.

        The cells of `given` rows, (n, d), that are not NaN stay as they are.
        """
        cells = self._moved(self._decode_cells(z), lambda column, x: column.within_range(x))
        known = self.cells(given)  # exactly, also what follows from it
        if self.rules is not None and self.rules.copies:
            first = self.rules.first_copy
            known[:, first:] = np.where(np.isnan(known[:, first:]), cells[:, first:], known[:, first:])
            known = self.with_computed(known)
        return self.rows_of_cells(np.where(np.isnan(known), cells, known))

    def within_range(self, rows: FloatArray) -> FloatArray:
        """Return new rows, (n, d) in the user's units, within the bounds of their columns.

        Numbers beyond are reflected at the bound; dequantised ones are rounded to it.
        """
        return self._moved(rows, lambda column, x: column.within_range(x))

    def log_abs_det_jacobian(self, values: npt.ArrayLike) -> FloatArray:
        """Return log |det dz/dx| of rows, (n, d), or of cells, (n, D), over the numbers of each row: (n,), nats.

        Missing values, levels and atoms count as 0.
        """
        x = self._as_cells(values, "values")
        total = np.zeros(len(x))
        for j in self._with_numbers:
            total += np.where(np.isnan(x[:, j]), 0.0, self.all_columns[j].log_slope(x[:, j]))
        return total

    def log_dequantisation(self, places: npt.ArrayLike, values: npt.ArrayLike) -> FloatArray:
        """Return ln q of places in the cells of rows `values`, both (n, D): (n,), nats; see `Cells.log_density`.

        It is 0 for steps of 1 with uniform noise, away from atoms and from the ends of the range.
        """
        at, x = self._as_cells(places, "places"), self._as_cells(values, "values")
        total = np.zeros(len(x))
        for j in self._dequantised:
            log_q = self.all_columns[j].log_dequantisation(at[:, j], x[:, j])
            total += np.where(np.isnan(x[:, j]), 0.0, log_q)
        return total

    def log_uniform(self, places: npt.ArrayLike, values: npt.ArrayLike, u: FloatArray) -> FloatArray:
        """Return ln of uniform over q at places of the cells of rows `values`, both (n, D): (n,), nats.

        u are the places within the cells, in (-1/2, 1/2), (n, `n_uniforms`).
        """
        at, x = self._as_cells(places, "places"), self._as_cells(values, "values")
        total = np.zeros(len(x))
        for j, c, of_column in zip(self._dequantised, self.cosines, u.T, strict=True):
            is_moved = ~np.isnan(x[:, j]) & (at[:, j] != x[:, j])  # but for missing numbers and atoms
            total -= np.where(is_moved, np.log1p(c * np.cos(2.0 * np.pi * of_column)), 0.0)
        return total

    @property
    def cosines(self) -> FloatArray:
        """The c of q (`dequantisation.py`) of each uniform draw, (`n_uniforms`,)."""
        numbers = (self.all_columns[j].number_column for j in self._dequantised)
        return np.array([n.dequantisation for n in numbers if n is not None], dtype=np.float64)

    def deviation_in_user_units(self, deviation: npt.ArrayLike, z: npt.ArrayLike) -> FloatArray:
        """Return a small deviation of encoded rows z, both (n, k), in the user's units: (n, d), 0 for constants."""
        encoded, deviations = self._rows(z, self.n_encoded, "z"), self._rows(deviation, self.n_encoded, "deviation")
        x = np.zeros((len(encoded), self.n_columns))
        for rows in _tiles(len(x)):
            for j in filter(lambda j: j < self.n_columns, self._with_numbers):
                at = rows, self.slices[j]
                x[rows, j] = self.columns[j].deviation_in_user_units(deviations[at], encoded[at])
        return x

    def supports(self, values: npt.ArrayLike, dtypes: Sequence[str] | None = None) -> BoolArray:
        """Return which values of rows a model can make: (n, d).

        It is False for another value than the fitted one in a constant column, and for other numbers than integers in a
        column of integers, and for values that are no level. Rows with such values have a log-density of -inf. Missing
        values are True, and so are all values of columns that rules compute. `dtypes` are those in which the columns
        were fitted: numbers that round to a constant in float32 equal it.
        """
        x = self._rows(values, self.n_columns, "values")
        can_be = np.isnan(x)
        for j, column in enumerate(self.columns):
            can_be[:, j] |= column.supports(x[:, j], None if dtypes is None else dtypes[j]) | ~self.drawn_cells[j]
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
        record: dict[str, Any] = {"columns": list(map(to_record, self.columns))}
        if self.rules is not None:
            record |= {"differences": list(map(to_record, self.differences)), "rules": self.rules.to_dict()}
        return record

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Codec:
        """Return the codec that `to_dict` wrote. Raises InvalidInput for any other record."""
        has_rules = isinstance(record, Mapping) and "rules" in record
        keys = {"columns", "differences", "rules"} if has_rules else {"columns"}
        if not isinstance(record, Mapping) or set(record) != keys or not isinstance(record["columns"], list):
            raise InvalidInput("A codec should have columns, a list, with rules their differences, and no other keys.")
        columns = tuple(map(column_from_record, record["columns"]))
        if not has_rules:
            return cls(columns)
        differences = tuple(map(column_from_record, record["differences"]))
        return cls(columns, differences, RuleSystem.from_dict(len(columns), record["rules"]))

    def _as_cells(self, values: npt.ArrayLike, name: str) -> FloatArray:
        """Return the cells, (n, D), of rows, (n, d), or cells as they are."""
        rows = np.asarray(values, dtype=np.float64)
        if rows.ndim == 2 and rows.shape[1] == len(self.all_columns):
            return rows
        return self.cells(self._rows(values, self.n_columns, name))

    def _decode_cells(self, z: npt.ArrayLike) -> FloatArray:
        """Return the cells, (n, D), of encoded rows, (n, k)."""
        encoded = self._rows(z, self.n_encoded, "z")
        x = np.empty((len(encoded), len(self.all_columns)))
        for rows in _tiles(len(x)):
            for j, (column, coordinates) in enumerate(zip(self.all_columns, self.slices, strict=True)):
                x[rows, j] = column.decode(encoded[rows, coordinates])
        return x

    def rows_of_cells(self, cells: FloatArray) -> FloatArray:
        """Return the rows, (n, d), of cells, (n, D), with those computed that are NaN and follow from others."""
        return self.with_computed(cells)[:, : self.n_columns]

    def _on_grid(self, j: int, x: FloatArray) -> FloatArray:
        return self.all_columns[j].on_grid(x)

    @cached_property
    def _widths(self) -> list[int]:
        return [column.width for column in self.all_columns]

    @cached_property
    def _columns_of(self) -> npt.NDArray[np.intp]:
        """The number of the cell of each coordinate, (k,)."""
        return np.repeat(np.arange(len(self.all_columns)), self._widths)

    @cached_property
    def _with_numbers(self) -> tuple[int, ...]:
        """The numbers of the columns that hold numbers, of which some may equal atoms."""
        return tuple(j for j, column in enumerate(self.all_columns) if column.chain is not None)

    @cached_property
    def _dequantised(self) -> tuple[int, ...]:
        """The numbers of the columns whose encoding takes a uniform draw."""
        numbers = ((j, column.number_column) for j, column in enumerate(self.all_columns))
        return tuple(j for j, number in numbers if number is not None and number.dequantisation is not None)

    def _places(self, v: FloatArray) -> dict[int, FloatArray]:
        """Return the places in cells, (n,), of each dequantised column, given uniforms v, (n, `n_uniforms`)."""
        columns = (self.all_columns[j] for j in self._dequantised)
        return dict(zip(self._dequantised, _places_in_cells(columns, v), strict=True))

    def _moved(self, values: FloatArray, move: Callable[[Column, FloatArray], FloatArray]) -> FloatArray:
        """Return rows, (n, d) or (n, D), whose numbers are moved column by column."""
        x = values.copy()
        for rows in _tiles(len(x)):
            for j in filter(lambda j: j < values.shape[1], self._with_numbers):
                x[rows, j] = move(self.all_columns[j], values[rows, j])
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

    @property
    def n_uniforms(self) -> int:
        """The number of uniform draws that a row takes."""
        return len(self._columns)

    def take(self, rows: npt.NDArray[np.intp]) -> Redraw:
        """Return the `Redraw` of some of the rows."""
        return replace(self, _columns=tuple((x[rows], column) for x, column in self._columns))

    def __call__(self, rows: npt.NDArray[np.intp], v: FloatArray) -> FloatArray:
        """Return the coordinates of some rows, (b, m), given uniforms v in (0, 1), (b, `n_uniforms`)."""
        places = _places_in_cells((column for _, column in self._columns), v)
        return np.concatenate(
            [column.encode(x[rows], place) for (x, column), place in zip(self._columns, places, strict=True)], axis=1
        )


def _places_in_cells(columns: Iterable[Column], v: FloatArray) -> Iterator[FloatArray]:
    """Yield the places in cells, (n,), of dequantised columns, given uniforms v, (n, m)."""
    for column, of_column in zip(columns, v.T, strict=True):
        number = column.number_column
        assert number is not None
        assert number.dequantisation is not None
        yield place_in_cell(of_column, number.dequantisation)


def _tiles(n: int) -> Iterator[slice]:
    return (slice(start, min(start + _TILE_ROWS, n)) for start in range(0, n, _TILE_ROWS))
