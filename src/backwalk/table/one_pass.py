"""One pass over a table in files: facts of all rows, and some rows, chosen by their number."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from backwalk import limits
from backwalk.errors import InvalidInput, TableFileError
from backwalk.formatting import byte_words, one_line
from backwalk.table.chosen_rows import ChosenRows, share_of
from backwalk.table.dtypes import is_text
from backwalk.table.file_blocks import Block, Seen, Source
from backwalk.table.frame import Table
from backwalk.table.gaps import (
    almost_numbers_error,
    is_plain_text,
    no_complete_row,
    other_words,
    others_than_numbers,
)
from backwalk.table.matching import PER_DAY
from backwalk.table.running_facts import FactsOfPass, RunningLabels, RunningNumbers
from backwalk.table.schema import FloatArray, Schema, shown
from backwalk.table.selection import Selection
from backwalk.table.sources import SourceFile, changed
from backwalk.table.whole import MOST_VALUES

_BYTES_A_LABEL = 150
_EXACT = 2.0**53


@dataclass(frozen=True, eq=False)
class RowsThatFit:
    """The rows of a table that fit into memory, `table`; all of them, or some that were chosen by their number.

    - `whole`: facts of all rows, where not all are in `table`.
    - `n_rows`: the number of all rows, without those left out for their gaps; `n_read` with these.
    - `priorities`: those of the rows in `table`, (m,), by which fewer can be chosen (`chosen_rows.py`).
    - `n_files`, `columns_left_out`.
    """

    table: Table
    whole: FactsOfPass | None
    n_rows: int
    n_read: int
    priorities: FloatArray
    n_files: int
    columns_left_out: tuple[str, ...]

    def chosen(self, most: int) -> npt.NDArray[np.bool_]:
        """Return which rows of `table`, (m,), are in a choice of about `most` rows of all."""
        return np.asarray(self.priorities < share_of(self.n_read, most))

    def least(self, n: int) -> RowsThatFit:
        """Return the n rows of the least priority, or all: those that a choice has which comes to n."""
        if n >= len(self.priorities):
            return self
        kept = self.priorities <= np.partition(self.priorities, n - 1)[n - 1]
        return replace(self, table=Table(self.table.values[kept], self.table.schema), priorities=self.priorities[kept])


class TablePass:
    """One pass over a source: the running facts of its columns, and about `most_rows` rows, chosen by their number.

    `seen` returns, for the name of an activity, what is told the progress.
    """

    def __init__(
        self,
        source: Source,
        files: Sequence[SourceFile],
        selection: Selection,
        most_rows: int,
        memory: int,
        seen: Callable[[str], Seen],
    ) -> None:
        self._source, self._files, self._selection, self._memory, self._seen = source, files, selection, memory, seen
        self._chosen = ChosenRows(source.n_rows, most_rows, len(source.names))
        self._columns = list[RunningNumbers | RunningLabels]()
        self._units = list[str | None]()
        self._schema: Schema | None = None
        self._n_rows, self._gaps = 0, np.zeros(len(source.names), dtype=np.int64)

    def run(self) -> RowsThatFit:
        """Read all blocks."""
        names, seen = self._source.names, self._seen("reading")
        n_read = 0
        for block in self._source.blocks(names, seen):
            self._gaps += block.gaps
            n_read += len(block.is_taken)
            if block.table is not None:
                self._take(block, block.table)
        if n_read != self._source.n_rows:
            raise changed(self._files[0].path)
        try:
            if not n_read:
                raise TableFileError("a table should have rows, but has none: give some")
            if self._schema is None:
                raise no_complete_row(n_read, dict(zip(map(shown, names), self._gaps.tolist(), strict=True)))
            table, facts = self._finished(self._schema)
        except (InvalidInput, TableFileError) as error:  # about the columns of all files
            more = f" and {len(self._files) - 1:,} more" if len(self._files) > 1 else ""
            raise TableFileError(f"{self._files[0].path}{more}: {one_line(error)}.") from error
        return RowsThatFit(
            table=table,
            whole=None if self._chosen.is_all else facts,
            n_rows=self._n_rows,
            n_read=n_read,
            priorities=self._chosen.priorities,
            n_files=len(self._files),
            columns_left_out=self._source.left_out,
        )

    def _take(self, block: Block, table: Table) -> None:
        if self._schema is None:
            self._begin(table.schema)
        is_chosen, priorities = self._chosen.choose(block.first_row, block.is_taken)
        values = table.values[is_chosen]
        for j, column in enumerate(self._columns):
            x = np.ascontiguousarray(table.values[:, j])
            if isinstance(column, RunningLabels):
                own = column.add(x, table.schema.labels[j] or ())
                values[:, j] = own[is_chosen]
            else:
                factor = self._in_one_unit(j, table.schema.units[j])
                column.add(x, factor)
                values[:, j] *= factor
        self._chosen.add(values, priorities)
        self._n_rows += len(table.values)
        self._bound_labels()

    def _begin(self, schema: Schema) -> None:
        self._schema, self._units = schema, list(schema.units)
        for name, dtype, labels in zip(schema.names, schema.dtypes, schema.labels, strict=True):
            most = limits.LEVELS_OF_A_PASS if name in self._selection.texts else MOST_VALUES
            self._columns.append(RunningNumbers(dtype, most=most) if labels is None else RunningLabels())

    def _in_one_unit(self, j: int, unit: str | None) -> float:
        """Return the factor that brings times of a block into the unit of all rows so far.

        Where a block has a finer unit, which its times need, all times so far are converted.
        """
        before, column = self._units[j], self._columns[j]
        if unit is None or before is None or unit == before:
            return 1.0
        factor = PER_DAY[unit] / PER_DAY[before]
        if factor < 1.0:
            return PER_DAY[before] / PER_DAY[unit]
        assert isinstance(column, RunningNumbers)
        column.scale(factor)
        self._chosen.values[:, j] *= factor
        self._units[j] = unit
        return 1.0

    def _bound_labels(self) -> None:
        """Forget the labels of columns with too many, and refuse those that take too much memory."""
        if self._chosen.is_all:
            return
        of_labels = [column for column in self._columns if isinstance(column, RunningLabels)]
        for column in of_labels:
            if len(column.labels) > limits.LEVELS_OF_A_PASS:
                column.forget()
        held = sum(column.n_bytes + _BYTES_A_LABEL * len(column.labels) for column in of_labels)
        if held > self._memory / 4:
            n, name = max(
                (len(column.labels), name)
                for column, name in zip(self._columns, self._source.names, strict=True)
                if isinstance(column, RunningLabels)
            )
            raise TableFileError(
                f"Texts should take at most a quarter of the memory, {byte_words(self._memory // 4)}, but take "
                f"{byte_words(held)}, with {n:,} different ones in {shown(name)}: leave it out (--drop), or give more "
                "memory (--memory)."
            )

    def _finished(self, schema: Schema) -> tuple[Table, FactsOfPass]:
        """Return the chosen rows and the facts of all rows, with labels in their final order."""
        labels, counts = list[tuple[str, ...] | None](), list[npt.NDArray[np.int64] | None]()
        values = self._chosen.values
        for j, column in enumerate(self._columns):
            if isinstance(column, RunningNumbers):
                if schema.units[j] is not None and max(-column.least, column.largest) > _EXACT:
                    raise InvalidInput(
                        f"Times should be exact in float64, but {schema.label(j)} has some that are not in the unit "
                        f"{self._units[j]}, which others need: round them."
                    )
                labels.append(None)
                counts.append(None)
                continue
            if column.is_lost:
                values[:, j] = np.nan
                labels.append(())
                counts.append(column.counts)
                continue
            order = column.ordered(by_text=is_text(schema.types[j]))
            own = tuple(column.labels[i] for i in order)
            self._refuse_almost_numbers(schema, j, own, column.counts[order])
            codes = np.full(len(column.labels) + 1, np.nan)
            codes[order] = np.arange(len(order))
            values[:, j] = codes[np.where(np.isnan(values[:, j]), -1, values[:, j]).astype(np.intp)]
            labels.append(own)
            counts.append(column.counts[order])
        whole = replace(schema, labels=tuple(labels), units=tuple(self._units))
        facts = FactsOfPass(self._n_rows, schema.names, tuple(self._columns), tuple(counts), self._again)
        return Table(values, whole), facts

    def _refuse_almost_numbers(
        self, schema: Schema, j: int, labels: tuple[str, ...], rows: npt.NDArray[np.int64]
    ) -> None:
        name, of_type = schema.names[j], schema.types[j]
        if name in self._selection.texts or not labels or not is_plain_text(of_type):
            return
        texts = pa.array(labels, pa.large_string())
        is_other = others_than_numbers(texts, rows)
        if is_other is not None:
            raise almost_numbers_error(name, other_words(texts, rows, is_other, int(is_other.argmax())))

    def _again(self, atoms: Mapping[str, FloatArray]) -> dict[str, RunningNumbers]:
        """Read some columns of numbers again, and return their facts without atoms."""
        assert self._schema is not None
        names = [name for name in self._source.names if name in atoms or self._selection.complete]
        place = {name: j for j, name in enumerate(self._source.names)}
        found = {
            name: RunningNumbers(self._schema.dtypes[place[name]], but=of_column) for name, of_column in atoms.items()
        }
        for block in self._source.blocks(names, self._seen("reading columns with spikes")):
            if block.table is None:
                continue
            for name, column in found.items():
                at = names.index(name)
                unit, last = block.table.schema.units[at], self._units[place[name]]
                factor = 1.0 if unit is None or last is None else PER_DAY[last] / PER_DAY[unit]
                column.add(np.ascontiguousarray(block.table.values[:, at]), factor)
        for file in self._files:
            file.refuse_changed()
        for name, column in found.items():
            before = self._columns[place[name]]
            if isinstance(before, RunningNumbers) and before.checksum != column.checksum:
                raise changed(self._files[0].path)
        return found
