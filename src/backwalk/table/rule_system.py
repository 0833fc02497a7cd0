"""Rules between columns, by the numbers of their cells: what is drawn, what follows, and which rows hold.

A row has d cells, one for each of the user's columns, and one more for each *difference*, high - low >= 0 of an order.
Each total, each function and each difference is an equation, which gives its last unknown cell where all others are
known. One loop over the cells, in an order of preference, says what is drawn: a cell that follows from known and drawn
ones by an equation is computed, and any other is drawn. What is known is reduced in the same way, so that the
network never sees a number beside all that determines it:

    known cells:  the first of what is known, until the rest of it follows;
    drawn cells:  the first of all others, until everything follows.

Levels come first, then differences, then parts, then totals and functions. A drawn difference is never negative, so
that low <= high holds. Two sums that share two cells give further ones without one of these. What only more rules
together determine is drawn, and then checked as everything else is.

A *copy* is an equation in a part of the rows: a last cell, of the levels 0 and 1, says whether target = source. Known
or drawn, it comes before what it decides: where it is 1, the target stands for nothing, and is put in the end.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backwalk.errors import InvalidInput
from backwalk.table.functions import FUNCTIONS
from backwalk.table.maps import BoolArray, check_floats
from backwalk.table.rules import Computed, Copy, Determines, Order, Rule, Total
from backwalk.table.schema import FloatArray

IntArray = NDArray[np.intp]
EXACT = 1e-13  # of the size of numbers: errors of sums in float64
_TYPED = 1e-7  # of factors: they may be typed with eight digits
_MOST_SWEEPS = 20  # of ends through all rules; chains of more rules only narrow less
OnGrid = Callable[[int, FloatArray], FloatArray]
"""Rounds computed values, (n,), of a column, by its number, to its grid or its levels."""


@dataclass(frozen=True)
class Equation:
    """An equation between cells, by their numbers: sum_j factors_j x_j = constant, or x_0 = f(x_1) of its columns.

    Its sides may differ by `absolute` + `relative` times their size. A function whose result was rounded is not
    `is_invertible`.
    """

    columns: tuple[int, ...]
    factors: tuple[float, ...] = ()
    constant: float = 0.0
    function: str | None = None
    is_invertible: bool = True
    absolute: float = 0.0
    relative: float = 0.0

    def __post_init__(self) -> None:
        check_floats({"constant": self.constant, "absolute": self.absolute, "relative": self.relative})
        check_floats({f"factor {i}": factor for i, factor in enumerate(self.factors)})
        is_complete = self.function in FUNCTIONS and len(self.columns) == 2
        is_sum = len(self.factors) == len(self.columns) > 0 and all(self.factors)
        if not (is_complete if self.function is not None else is_sum):
            raise InvalidInput("An equation should have factors, none of them 0, or a function: fit the codec again.")

    def without(self, column: int, other: Equation) -> Equation | None:
        """Return what follows from this and another sum without a cell of both; None if both say the same."""
        share = self.factors[self.columns.index(column)] / other.factors[other.columns.index(column)]
        factors = dict(zip(self.columns, self.factors, strict=True))
        for each, factor in zip(other.columns, other.factors, strict=True):
            rest = factors.get(each, 0.0) - share * factor
            factors[each] = 0.0 if abs(rest) <= _TYPED * abs(share * factor) else rest
        left = {each: factor for each, factor in factors.items() if factor and each != column}
        if not left:
            return None
        return Equation(
            tuple(left),
            tuple(left.values()),
            self.constant - share * other.constant,
            absolute=self.absolute + abs(share) * other.absolute,
            relative=self.relative + other.relative,
        )

    def residual(self, cells: FloatArray) -> FloatArray:
        """Return by how much the sides differ in rows of cells, (n, D): (n,), NaN where a cell is unknown."""
        x = cells[:, list(self.columns)]
        if self.function == "round":  # a half may have been rounded up or down
            return np.asarray(x[:, 0] - x[:, 1])
        if self.function is not None:
            y = FUNCTIONS[self.function].of(x[:, 1])
            return np.asarray(x[:, 0] - np.where(np.isnan(y) & ~np.isnan(x[:, 1]), np.inf, y))
        return np.asarray(x @ np.array(self.factors) - self.constant)

    def size(self, cells: FloatArray) -> FloatArray:
        """Return the size of what is compared in rows of cells, (n, D): (n,)."""
        x = np.abs(cells[:, list(self.columns)])
        if self.function is not None:
            return np.asarray(x[:, 0])
        return np.asarray(x @ np.abs(self.factors) + abs(self.constant))

    def breaks(self, cells: FloatArray) -> BoolArray:
        """Return which rows of cells, (n, D), break the equation: (n,). Missing values break none."""
        with np.errstate(all="ignore"):
            return np.asarray(np.abs(self.residual(cells)) > self.absolute + self.relative * self.size(cells))

    def follows(self, has: BoolArray) -> list[tuple[int, BoolArray]]:
        """Return the cells that follow, each with the rows in which it does, where rows `has`, (n, D), some cells."""
        of = has[:, list(self.columns)]
        if self.function is not None:
            y, x = self.columns
            ways = [(y, ~of[:, 0] & of[:, 1])]
            return [*ways, (x, of[:, 0] & ~of[:, 1])] if self._inverse else ways
        is_last = of.sum(axis=1) == len(self.columns) - 1
        return [(column, is_last & ~of[:, i]) for i, column in enumerate(self.columns)]

    def compute(self, column: int, cells: FloatArray) -> FloatArray:
        """Return a cell of rows of cells, (n, D), from the others: (n,)."""
        if self.function is not None:
            y, x = self.columns
            function = FUNCTIONS[self.function].of if column == y else self._inverse
            assert function is not None
            return function(cells[:, x if column == y else y])
        others = [(other, f) for other, f in zip(self.columns, self.factors, strict=True) if other != column]
        total = self.constant - sum((f * cells[:, other] for other, f in others), np.zeros(len(cells)))
        return np.asarray(total / self.factors[self.columns.index(column)])

    def slopes(self, column: int, cells: FloatArray) -> Iterator[tuple[int, FloatArray | float]]:
        """Yield the derivative of a computed cell by each of the others, in rows of cells, (n, D)."""
        if self.function is not None:
            y, x = self.columns
            slope = np.exp(FUNCTIONS[self.function].log_slope(cells[:, x]))
            yield (x, slope) if column == y else (y, 1.0 / slope)
            return
        own = self.factors[self.columns.index(column)]
        for other, factor in zip(self.columns, self.factors, strict=True):
            if other != column:
                yield other, -factor / own

    def bounds(self, column: int, low: FloatArray, high: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the ends between which a cell lies, (n,) each, where all cells lie between `low` and `high`, (n, D).

        They are as wide as the tolerance. Where a function is not monotone between its argument's ends, they are
        infinite.
        """
        if self.function is not None:
            y, x = self.columns
            other = x if column == y else y
            ends = np.stack([low[:, other], high[:, other]])
            is_monotone = np.isfinite(ends).all(axis=0)
            if self.function == "reciprocal":
                is_monotone &= low[:, other] * high[:, other] > 0.0
            if column == y:
                ends = FUNCTIONS[self.function].of(ends)
                slack = self.absolute + self.relative * np.abs(ends)
            elif self._inverse:
                wider = self.absolute + self.relative * np.abs(ends)
                ends = self._inverse(np.stack([ends[0] - wider[0], ends[1] + wider[1]]))
                slack = self.relative * np.abs(ends)
            else:
                ends, slack = np.full_like(ends, np.nan), np.zeros_like(ends)
            is_monotone &= ~np.isnan(ends).any(axis=0)
            least, largest = (ends - slack).min(axis=0), (ends + slack).max(axis=0)
            return np.where(is_monotone, least, -np.inf), np.where(is_monotone, largest, np.inf)
        own = self.factors[self.columns.index(column)]
        least = largest = np.full(len(low), self.constant / own)
        size = np.full(len(low), abs(self.constant / own))
        for other, factor in zip(self.columns, self.factors, strict=True):
            if other != column:
                ends = np.sort([-factor / own * low[:, other], -factor / own * high[:, other]], axis=0)
                least, largest = least + ends[0], largest + ends[1]
                size += np.where(np.isfinite(ends), np.abs(ends), 0.0).max(axis=0)
        slack = self.absolute / abs(own) + 2.0 * self.relative * size  # the cell is as large as all others, at most
        return least - slack, largest + slack

    @property
    def _inverse(self) -> Callable[[FloatArray], FloatArray] | None:
        assert self.function is not None
        return FUNCTIONS[self.function].inverse if self.is_invertible else None


@dataclass(frozen=True)
class Dependency:
    """A column of levels that follows from others: its number and theirs are `columns`.

    `combinations` are those that rows have, the numbers of the levels of each column, of which there are `n_levels`.
    """

    columns: tuple[int, ...]
    n_levels: tuple[int, ...]
    combinations: tuple[tuple[int, ...], ...]

    def excluded(self, levels: IntArray, i: int) -> BoolArray:
        """Return which levels of column i break the rule, (n, L), beside those of all columns, (n, m).

        An unknown level is -1. Column i counts as unknown.
        """
        excluded = np.zeros((len(levels), self.n_levels[i]), dtype=bool)
        others = [j for j in range(len(self.columns)) if j != i and j > 0]
        rows = np.flatnonzero((np.delete(levels, i, axis=1) >= 0).all(axis=1))
        if not len(rows):
            return excluded
        order, keys = self._sorted(i)
        wanted = self._keys(levels[rows], others)
        first, last = np.searchsorted(keys, wanted), np.searchsorted(keys, wanted, side="right")
        n_each = last - first
        of_row = np.repeat(np.arange(len(rows)), n_each)
        at = order[np.arange(n_each.sum()) - np.repeat(n_each.cumsum() - n_each, n_each) + np.repeat(first, n_each)]
        if i == 0:
            excluded[rows[n_each > 0]] = True
            excluded[rows[of_row], self._array[at, 0]] = False
        else:
            differs = self._array[at, 0] != levels[rows[of_row], 0]
            excluded[rows[of_row[differs]], self._array[at[differs], i]] = True
        return excluded

    def breaks(self, levels: IntArray) -> BoolArray:
        """Return which rows break the rule by their levels, (n, m), of which unknown ones are -1: (n,)."""
        is_known = (levels >= 0).all(axis=1)
        order, keys = self._sorted(0)
        wanted = self._keys(levels, range(1, len(self.columns)))
        at = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
        return np.asarray(is_known & (keys[at] == wanted) & (self._array[order[at], 0] != levels[:, 0]))

    @cached_property
    def _array(self) -> IntArray:
        return np.array(self.combinations, dtype=np.intp).reshape(-1, len(self.columns))

    def _sorted(self, i: int) -> tuple[IntArray, IntArray]:
        """Return an order of the combinations, (c,), by the determining levels but i's, and the keys of these."""
        if i not in self._orders:
            keys = self._keys(self._array, [j for j in range(1, len(self.columns)) if j != i])
            order = np.argsort(keys, kind="stable")
            self._orders[i] = order, keys[order]
        return self._orders[i]

    @cached_property
    def _orders(self) -> dict[int, tuple[IntArray, IntArray]]:
        return {}

    def _keys(self, levels: IntArray, of: Collection[int]) -> IntArray:
        """Return a number for the levels of some columns in each row, (n, m)."""
        keys = np.zeros(len(levels), dtype=np.intp)
        for j in of:
            keys = keys * self.n_levels[j] + levels[:, j]
        return keys


@dataclass(frozen=True)
class OrderOfLevels:
    """An order low <= high of two columns whose levels have these values."""

    low: tuple[float, ...]
    high: tuple[float, ...]

    def excluded(self, levels: IntArray, i: int) -> BoolArray:
        """Return which levels of column i break the order, (n, L), beside those of both columns, (n, 2)."""
        low, high = np.array(self.low), np.array(self.high)
        other = levels[:, 1 - i, None]
        broken = low > high[other] if i == 0 else high < low[other]
        is_excluded: BoolArray = broken & (other >= 0)
        return is_excluded


@dataclass(frozen=True)
class CopyOfLevels:
    """A copy between two columns whose levels have these values; the third column says whether they are equal.

    `are_all` says which of the two have no other values than those of their levels.
    """

    source: tuple[float, ...]
    target: tuple[float, ...]
    are_all: tuple[bool, bool]

    def excluded(self, levels: IntArray, i: int) -> BoolArray:
        """Return which levels of column i break the copy, (n, L), beside those of all three columns, (n, 3)."""
        if i == 2:
            return np.zeros((len(levels), 2), dtype=bool)
        values, is_equal = (np.array(self.source), np.array(self.target)), levels[:, 2, None]
        other = levels[:, 1 - i, None]
        excluded = (values[i] == values[1 - i][other]) & (other >= 0) & (is_equal == 0)
        if self.are_all[1 - i]:
            excluded |= ~np.isin(values[i], values[1 - i]) & ~np.isnan(values[i]) & (is_equal == 1)
        return np.asarray(excluded)


@dataclass(frozen=True)
class LevelRule:
    """A rule between levels, by the numbers of their blocks: an unknown level is -1 in `excluded`."""

    blocks: tuple[int, ...]
    rule: Dependency | OrderOfLevels | CopyOfLevels


def ordered_pairs(orders: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the pairs of columns, low and high, that orders put in order directly or by others between."""
    pairs, n_before = set(orders), -1
    while len(pairs) != n_before:
        n_before = len(pairs)
        pairs |= {(a, d) for a, b in pairs for c, d in pairs if b == c}
    return sorted(pairs)


@dataclass(frozen=True)
class RuleSystem:
    """The rules between the `n_columns` columns of a table, by their numbers.

    - `relations`: the equations of totals and functions.
    - `orders`: pairs (low, high). The first `n_differences` of them have differences: cell n_columns + i is that of
      order i.
    - `dependencies`: the columns of levels that follow from others.
    - `levels`: the columns of `relations` that have levels.
    - `are_found`: whether the rules were found, and not declared.
    - `copies`: pairs (source, target), each after that in which its source is the target. The last cells are theirs.
    - `left_out`: the numbers of rules that are left out, in the order of `stated`.
    """

    n_columns: int
    relations: tuple[Equation, ...] = ()
    orders: tuple[tuple[int, int], ...] = ()
    n_differences: int = 0
    dependencies: tuple[Dependency, ...] = ()
    levels: tuple[int, ...] = ()
    are_found: bool = False
    copies: tuple[tuple[int, int], ...] = ()
    left_out: frozenset[int] = field(default=frozenset())

    def __post_init__(self) -> None:
        columns = {*self.levels, *(j for pair in (*self.orders, *self.copies) for j in pair)}
        columns.update(j for each in self.relations for j in each.columns)
        columns.update(j for each in self.dependencies for j in each.columns)
        if not columns <= set(range(self.n_columns)) or not 0 <= self.n_differences <= len(self.orders):
            raise InvalidInput(f"Rules should be between {self.n_columns} columns: fit the codec again.")

    @property
    def n_cells(self) -> int:
        """The number of cells of a row, D."""
        return self.first_copy + len(self.copies)

    @property
    def first_copy(self) -> int:
        """The first of the cells of copies."""
        return self.n_columns + self.n_differences

    @property
    def n_rules(self) -> int:
        """The number of rules, R."""
        return len(self.relations) + len(self.orders) + len(self.dependencies) + len(self.copies)

    @cached_property
    def active_copies(self) -> dict[int, tuple[int, int, int]]:
        """The source, the target and the cell of each copy that is not left out, by the number of its rule."""
        first = self.n_rules - len(self.copies)
        copies = {first + i: (*pair, self.first_copy + i) for i, pair in enumerate(self.copies)}
        return {i: each for i, each in copies.items() if i not in self.left_out}

    @cached_property
    def columns_of(self) -> tuple[tuple[int, ...], ...]:
        """The cells between which each rule is, (R,), in the order of `stated`."""
        orders = (
            (low, high, *([self.n_columns + i] if i < self.n_differences else []))
            for i, (low, high) in enumerate(self.orders)
        )
        dependencies = (each.columns for each in self.dependencies)
        return (*(each.columns for each in self.relations), *orders, *dependencies, *self.copies)

    @property
    def orders_of_levels(self) -> frozenset[int]:
        """The columns of orders without differences that are in no equation: such orders say which levels go together.

        Where they are numbers, they are checked only.
        """
        columns = {j for pair in self.orders[self.n_differences :] for j in pair}
        return frozenset(columns - set(self.preference))

    @cached_property
    def equations(self) -> dict[int, Equation]:
        """The equations that hold, by the number of their rule: the relations, and high - low - difference = 0."""
        of_orders = (
            Equation((high, low, self.n_columns + i), (1.0, -1.0, -1.0), relative=EXACT)
            for i, (low, high) in enumerate(self.orders[: self.n_differences])
        )
        return {i: each for i, each in enumerate((*self.relations, *of_orders)) if i not in self.left_out}

    @cached_property
    def closing(self) -> tuple[Equation, ...]:
        """The equations that hold, and those that follow from two which share two cells, without one of these."""
        found = list(self.equations.values())
        for one, other in itertools.combinations(self.equations.values(), 2):
            shared = set(one.columns) & set(other.columns)
            if one.factors and other.factors and len(shared) == 2:
                found += [each for column in sorted(shared) if (each := one.without(column, other)) is not None]
        return tuple(found)

    def without(self, rules: Collection[int]) -> RuleSystem:
        """Return the system without some rules, by their numbers; its cells stay."""
        return replace(self, left_out=self.left_out.union(rules))

    @cached_property
    def preference(self) -> tuple[int, ...]:
        """The cells of the equations, those first that are drawn rather than computed.

        These are levels, then differences, then parts, then totals and functions; of an order the lower one, which no
        sum makes too small.
        """
        results = {each.columns[0] for each in self.relations}
        members = {j for each in self.relations for j in each.columns} | set(range(self.n_columns, self.first_copy))
        members |= {j for pair in self.orders[: self.n_differences] for j in pair}
        height = dict.fromkeys(sorted(members), 0)
        for _ in self.orders:
            for low, high in self.orders:
                if low in height and high in height:
                    height[high] = min(max(height[high], height[low] + 1), len(members))
        return tuple(
            sorted(height, key=lambda j: (j not in self.levels, j < self.n_columns, j in results, height[j], j))
        )

    @cached_property
    def drawn(self) -> BoolArray:
        """Which cells are drawn where nothing is known, (D,)."""
        asked = np.arange(self.n_cells)[None] < self.n_columns
        known, drawn = self.basis(np.zeros_like(asked), asked)
        settled: BoolArray = self.settled(known, drawn, np.full((1, len(self.copies)), np.nan))[1][0]
        return settled

    @property
    def draws_may_break(self) -> bool:
        """Whether rows drawn with nothing known may break a rule, or have a computed value out of its column's range.

        Only of a single rule of two columns of levels, each that is drawn first leaves the other some.
        """
        n_of_levels = len(self.orders) - self.n_differences + len(self.dependencies)
        return (
            bool(self.equations or self.copies)
            or n_of_levels > 1
            or not self.orders_of_levels.issuperset(j for pair in self.orders[self.n_differences :] for j in pair)
            or any(len(each.columns) > 2 for each in self.dependencies)
        )

    def cells(self, values: FloatArray, on_grid: OnGrid) -> FloatArray:
        """Return the cells, (n, D), of rows, (n, d), with those filled that rules determine.

        The difference of an order that a row breaks is NaN.
        """
        cells = np.column_stack([values, np.full((len(values), self.n_cells - self.n_columns), np.nan)])
        cells = self.solve(cells, on_grid)
        differences = cells[:, self.n_columns : self.first_copy]
        differences[differences < 0.0] = np.nan
        return cells

    def solve(self, cells: FloatArray, on_grid: OnGrid) -> FloatArray:
        """Return cells, (n, D), with those filled that are NaN and follow from others.

        A column of levels stays NaN where what follows is none of its levels.
        """
        cells, is_new = cells.copy(), True
        while is_new and np.isnan(cells).any():
            is_new = False
            for equation in self.closing:
                for column, at in equation.follows(~np.isnan(cells)):
                    if at.any():
                        rows = cells[at]
                        rows[:, column] = on_grid(column, equation.compute(column, rows))
                        if column in self.levels:  # what follows may be none of them
                            rows[equation.breaks(rows), column] = np.nan
                        cells[at, column] = rows[:, column]
                        is_new |= bool((~np.isnan(rows[:, column])).any())
            for source, target, cell in self.active_copies.values():
                one, other = cells[:, source], cells[:, target]
                at = np.isnan(cells[:, cell]) & ~np.isnan(one) & ~np.isnan(other)
                cells[at, cell] = one[at] == other[at]
                of_source, of_target = (
                    ((cells[:, cell] == 1.0) & np.isnan(one)),
                    (cells[:, cell] == 1.0) & np.isnan(other),
                )
                one[of_source], other[of_target] = other[of_source], one[of_target]
                is_new |= bool(at.any() or (of_source ^ of_target).any())
        return cells

    def basis(
        self, known: BoolArray, asked: BoolArray, *, has_value: BoolArray | None = None, only_asked: bool = False
    ) -> tuple[BoolArray, BoolArray]:
        """Return which cells, (n, D), stand for the known ones, and which are drawn or scored for those asked for.

        Known cells are taken where rows have a value, by default everywhere. With `only_asked`, no cell is drawn but
        those asked for.
        """
        of_known, of_asked = known.copy(), asked & ~known
        has_value = np.ones_like(known) if has_value is None else has_value
        for cells, equations in self.parts:
            at = list(cells)
            patterns, of_row = _distinct(np.concatenate([known[:, at], asked[:, at], has_value[:, at]], axis=1))
            is_known, is_asked, has = np.split(patterns, 3, axis=1)
            chosen, covered = _choose(equations, _closure(equations, is_known) & has, np.zeros_like(is_known))
            drawn, _ = _choose(equations, is_asked if only_asked else _closure(equations, covered | is_asked), covered)
            of_known[:, at], of_asked[:, at] = chosen[of_row], drawn[of_row]
        return of_known, of_asked

    def settled(self, known: BoolArray, drawn: BoolArray, is_equal: FloatArray) -> tuple[BoolArray, BoolArray]:
        """Return the known and drawn cells, (n, D), of `basis` where rows are known to be copies or not, (n, C).

        `is_equal` is 1 or 0, and NaN where that is to be drawn.
        """
        known, drawn = known.copy(), drawn.copy()
        for source, target, cell in reversed(self.active_copies.values()):
            equal, both = is_equal[:, cell - self.first_copy], (known | drawn)[:, [source, target]].all(axis=1)
            known[:, cell], drawn[:, cell] = both & ~np.isnan(equal), both & np.isnan(equal)
            is_copy = known[:, cell] & (equal == 1.0)
            known[:, source] |= is_copy & known[:, target]
            drawn[:, source] &= ~known[:, source]
            known[is_copy, target] = drawn[is_copy, target] = False
        return known, drawn

    @cached_property
    def alone(self) -> frozenset[int]:
        """The cells of which none but the drawn ones ever stands for anything.

        What is computed there determines a cell that is preferred to it, and follows from this.
        """
        found = set[int]()
        for cells, equations in self.parts:
            follows = _closure(equations, np.eye(len(cells), dtype=bool))
            stand_ins = {i for i in range(len(cells)) if (follows[i, :i] & follows[:i, i]).any()}
            if all(self.drawn[j] or i in stand_ins for i, j in enumerate(cells)):
                found.update(cells)
        return frozenset(found)

    @cached_property
    def joined(self) -> BoolArray:
        """Which columns are in each rule, in one that shares a column with it, and so on: (R, d)."""
        joined = np.zeros((self.n_rules, self.n_cells), dtype=bool)
        for i, columns in enumerate(self.columns_of):
            joined[i, list(columns)] = True
        n_before = -1
        while joined.sum() > n_before:
            n_before = int(joined.sum())
            joined = (joined @ joined.T) @ joined
        return joined[:, : self.n_columns]

    @cached_property
    def parts(self) -> tuple[tuple[tuple[int, ...], tuple[Equation, ...]], ...]:
        """Cells that equations join, in their order of preference, and these, whose columns are places among them."""
        groups: list[list[Equation]] = []
        for equation in self.closing:
            near = [group for group in groups if any(set(equation.columns) & set(each.columns) for each in group)]
            groups = [*(group for group in groups if group not in near), [each for group in near for each in group]]
            groups[-1].append(equation)
        parts = []
        for group in groups:
            members = {j for each in group for j in each.columns}
            cells = tuple(j for j in self.preference if j in members)
            parts.append((cells, tuple(replace(each, columns=tuple(map(cells.index, each.columns))) for each in group)))
        return tuple(parts)

    def log_change(
        self,
        given: BoolArray,
        asked: BoolArray,
        scored: BoolArray,
        cells: FloatArray,
        continuous: BoolArray,
        at_atom: BoolArray,
    ) -> FloatArray:
        """Return ln |det| of the change from the cells that columns are scored by to these columns: (n,), nats.

        `given` and `asked`, (n, d), are the columns that are known and in question, `scored`, (n, D), the cells that
        stand for those in question, and `continuous`, (D,), those with a density: a probability does not change, and
        neither does that of a value `at_atom`, (n, D). Where atoms leave fewer densities than columns, these are of the
        first columns that do not depend on each other.
        """
        total, none = np.zeros(len(cells)), np.zeros((len(cells), self.n_differences), dtype=bool)
        given, asked = (np.column_stack([mask, none]) for mask in (given, asked))
        for of_part, equations in self.parts:
            at = list(of_part)
            states = [mask[:, at] for mask in (asked, scored, given, at_atom)]
            patterns, of_row = _distinct(np.concatenate(states, axis=1))
            for i, pattern in enumerate(patterns):
                rows = np.flatnonzero(of_row == i)
                is_asked, is_scored, is_given, is_atom = np.split(pattern, 4)
                is_new, is_old = is_asked & ~is_scored & continuous[at], is_scored & ~is_asked & continuous[at]
                old = np.flatnonzero(is_old & ~is_atom)[: is_new.sum()]
                if len(old):
                    slopes = _slopes(equations, is_scored | is_given, old, cells[rows][:, at])
                    new = _independent(slopes[0], np.flatnonzero(is_new).tolist())
                    if len(new) == len(old):
                        total[rows] -= np.linalg.slogdet(slopes[:, new])[1]
        return total

    def breaks(self, values: FloatArray, levels: Callable[[int], IntArray]) -> BoolArray:
        """Return which rules, in the order of `stated`, rows break, (n, d): (n, R). Missing values break none.

        `levels` returns the number of the level of each row in a column, (n,), -1 for a value that is none.
        """
        broken = np.zeros((len(values), self.n_rules), dtype=bool)
        first_order, first_dependency = len(self.relations), len(self.relations) + len(self.orders)
        for i in set(range(self.n_rules)) - self.left_out:
            if i < first_order:
                broken[:, i] = self.relations[i].breaks(values)
            elif i < first_dependency:
                low, high = self.orders[i - first_order]
                broken[:, i] = values[:, low] > values[:, high]
            elif i < first_dependency + len(self.dependencies):
                dependency = self.dependencies[i - first_dependency]
                broken[:, i] = dependency.breaks(np.stack([levels(j) for j in dependency.columns], axis=1))
        return broken

    def narrowed(self, low: FloatArray, high: FloatArray) -> tuple[FloatArray, FloatArray, IntArray]:
        """Return the ends of all cells, (n, D) each, that rules leave between `low` and `high`, and what contradicts.

        This is the number of the first rule of each row that leaves a cell no value, -1 where there is none: (n,).
        """
        low, high, contradicts = low.copy(), high.copy(), np.full(len(low), -1)
        orders = {len(self.relations) + i: pair for i, pair in enumerate(self.orders)}
        for _ in range(_MOST_SWEEPS):
            before = low.copy(), high.copy()
            with np.errstate(invalid="ignore", over="ignore"):
                for i, equation in self.equations.items():
                    for j in equation.columns:
                        self._cut(i, j, *equation.bounds(j, low, high), low, high, contradicts)
                for i, (a, b) in orders.items():
                    if i not in self.left_out:
                        self._cut(i, b, low[:, a], np.full(len(low), np.inf), low, high, contradicts)
                        self._cut(i, a, np.full(len(low), -np.inf), high[:, b], low, high, contradicts)
            if all(np.array_equal(*each) for each in zip(before, (low, high), strict=True)):
                break
        return low, high, contradicts

    @staticmethod
    def _cut(
        rule: int,
        j: int,
        least: FloatArray,
        largest: FloatArray,
        low: FloatArray,
        high: FloatArray,
        contradicts: IntArray,
    ) -> None:
        """Cut the ends of cell j to those that a rule leaves, where it leaves some."""
        is_empty = (least > high[:, j]) | (largest < low[:, j])
        contradicts[is_empty & (contradicts < 0)] = rule
        low[:, j] = np.where(is_empty, low[:, j], np.fmax(low[:, j], least))
        high[:, j] = np.where(is_empty, high[:, j], np.fmin(high[:, j], largest))

    def stated(self, names: Sequence[str]) -> tuple[Rule, ...]:
        """Return the rules of columns of these names: relations, orders, dependencies and copies."""
        rules: list[Rule] = []
        for each in self.relations:
            first, *others = (names[j] for j in each.columns)
            if each.function is not None:
                rules.append(Computed(first, f"{each.function}({others[0]})"))
            else:
                scale = each.factors[0]
                factors = [-factor / scale + 0.0 for factor in each.factors[1:]]
                rules.append(Total(first, others, factors, each.constant / scale))
        rules += [Order(names[low], names[high]) for low, high in self.orders]
        for dependency in self.dependencies:
            of, *by = (names[j] for j in dependency.columns)
            rules.append(Determines(of, by))
        rules += [Copy(names[target], of=names[source]) for source, target in self.copies]
        return tuple(rules)

    def to_dict(self) -> dict[str, Any]:
        """Return the rules as plain JSON values."""
        return {
            "relations": [asdict(each) | {"columns": list(each.columns)} for each in self.relations],
            "orders": [list(pair) for pair in self.orders],
            "n_differences": self.n_differences,
            "dependencies": [asdict(each) for each in self.dependencies],
            "levels": list(self.levels),
            "are_found": self.are_found,
            "copies": [list(pair) for pair in self.copies],
        }

    @classmethod
    def from_dict(cls, n_columns: int, record: Any) -> RuleSystem:
        """Return the rules that `to_dict` wrote. Raises InvalidInput for any other record."""
        try:
            relations = tuple(
                Equation(**each | {"columns": tuple(each["columns"]), "factors": tuple(each["factors"])})
                for each in record["relations"]
            )
            dependencies = tuple(
                Dependency(
                    tuple(each["columns"]),
                    tuple(map(int, each["n_levels"])),
                    tuple(tuple(map(int, levels)) for levels in each["combinations"]),
                )
                for each in record["dependencies"]
            )
            orders, copies = (
                tuple((int(one), int(other)) for one, other in record[name]) for name in ("orders", "copies")
            )
            n_differences, levels = int(record["n_differences"]), tuple(map(int, record["levels"]))
            are_found = bool(record["are_found"])
            return cls(n_columns, relations, orders, n_differences, dependencies, levels, are_found, copies)
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput("Rules should be those of a saved model, but got another record.") from error


def _choose(equations: Sequence[Equation], candidates: BoolArray, covered: BoolArray) -> tuple[BoolArray, BoolArray]:
    """Return the candidates, (n, m), that do not follow from those before or are covered, and all then covered."""
    chosen = np.zeros_like(candidates)
    for j in range(candidates.shape[1]):
        chosen[:, j] = candidates[:, j] & ~covered[:, j]
        if chosen[:, j].any():
            covered = covered.copy()
            covered[:, j] |= chosen[:, j]
            covered = _closure(equations, covered)
    return chosen, covered


def _closure(equations: Sequence[Equation], has: BoolArray) -> BoolArray:
    """Return which cells, (n, m), follow from those that rows have, these among them."""
    has, n, n_before = has.copy(), int(has.sum()), -1
    while n > n_before:
        for equation in equations:
            for column, at in equation.follows(has):
                has[:, column] |= at
        n, n_before = int(has.sum()), n
    return has


def _slopes(equations: Sequence[Equation], known: BoolArray, by: IntArray, cells: FloatArray) -> FloatArray:
    """Return the derivatives of cells, (n, m), by some of those that are known, (m,), all others fixed: (n, m, b)."""
    slopes, has = np.zeros((*cells.shape, len(by))), known[None].copy()
    slopes[:, by, np.arange(len(by))] = 1.0
    n_before = -1
    while has.sum() > n_before:
        n_before = int(has.sum())
        for equation in equations:
            for column, at in equation.follows(has):
                if at[0] and not has[0, column]:
                    for other, slope in equation.slopes(column, cells):
                        slopes[:, column] += np.reshape(slope, (-1, 1)) * slopes[:, other]
                    has[0, column] = True
    return slopes


def _independent(slopes: FloatArray, cells: Sequence[int]) -> list[int]:
    """Return the first cells, as many as there can be, whose slopes, (m, b), do not depend on each other."""
    found = list[int]()
    for j in cells:
        if len(found) < slopes.shape[1] and np.linalg.matrix_rank(slopes[[*found, j]]) > len(found):
            found.append(j)
    return found


def _distinct(states: BoolArray) -> tuple[BoolArray, IntArray]:
    """Return the distinct rows of states, (n, m), and the place of each row among them."""
    packed = np.ascontiguousarray(np.packbits(states, axis=1))
    codes: NDArray[Any] = packed.view(np.dtype((np.void, packed.shape[1])))[:, 0]
    if packed.shape[1] <= 8:  # integers are sorted faster
        codes = np.column_stack([packed, np.zeros((len(packed), 8 - packed.shape[1]), np.uint8)]).view(np.uint64)[:, 0]
    _, first, of_row = np.unique(codes, return_index=True, return_inverse=True)
    return states[first], of_row
