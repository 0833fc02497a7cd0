"""Rules between columns, as equations of the cells of a row: what they determine, what is drawn, and which rows hold.

A row has d cells, one for each of the user's columns, and one more for each *gap*, high - low >= 0 of an order. Each
total, each function and each gap is an equation, which determines its last unknown cell where all others are known. So
of the cells of the rules only some are drawn and scored, the *basis*. The others are computed from it at the end, and
until then the network does not see them. What known cells determine only by several totals at once, which *imply*
others, such as a - c = x - y of a = x + b and c = y + b, is drawn and then computed in its place.

    known cells:  the first of what is known, in an order of preference, until the rest of it is determined;
    drawn cells:  the first of all others, until everything is determined.

Gaps are preferred, then parts, then totals and functions of others. What is drawn therefore obeys a <= b as a gap is
never negative. Rules that drawn cells may break, such as an order that closes a circle or a total that leaves too
little for its last part, are checked, and such rows are drawn again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backwalk.errors import InvalidInput
from backwalk.table.functions import FUNCTIONS
from backwalk.table.maps import BoolArray, check_floats
from backwalk.table.rules import Combinations, Computed, Order, Rule, Total
from backwalk.table.schema import FloatArray

_NONE = 1e-6  # of a factor: rules that were typed with eight digits may hold within 1e-7 of their size
_MOST_SETS = 100  # of columns that are left out to find what totals imply
OnGrid = Callable[[int, FloatArray], FloatArray]
"""Rounds computed values, (n,), of a column, by its number, to its grid."""


@dataclass(frozen=True)
class Equation:
    """An equation between cells, by their numbers: sum_j factors_j x_j = constant, or x_0 = f(x_1) of its columns.

    `slack` is the most by which both sides may differ. A function whose result was rounded is not `is_invertible`.
    """

    columns: tuple[int, ...]
    factors: tuple[float, ...] = ()
    constant: float = 0.0
    function: str | None = None
    is_invertible: bool = True
    slack: float = 0.0

    def __post_init__(self) -> None:
        check_floats({"constant": self.constant, "slack": self.slack})
        check_floats({f"factor {i}": factor for i, factor in enumerate(self.factors)})
        is_complete = self.function in FUNCTIONS and len(self.columns) == 2
        if not (is_complete if self.function is not None else len(self.factors) == len(self.columns) > 0):
            raise InvalidInput("An equation should have factors or a function: fit the codec again.")

    def residual(self, cells: FloatArray) -> FloatArray:
        """Return by how much the sides differ in rows of cells, (n, D): (n,), NaN where a cell is unknown."""
        x = cells[:, list(self.columns)]
        if self.function is not None:
            return np.asarray(x[:, 0] - FUNCTIONS[self.function].of(x[:, 1]))
        return np.asarray(x @ np.array(self.factors) - self.constant)

    def scale(self, cells: FloatArray) -> float:
        """Return the greatest size of a term in rows of cells, (n, D)."""
        x = np.abs(cells[:, list(self.columns)])
        terms = x[:, 0] if self.function is not None else (x * np.abs(self.factors)).max(axis=1)
        return float(np.nanmax(terms, initial=abs(self.constant)))

    def determined(self, has: BoolArray) -> list[tuple[int, BoolArray]]:
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
        place = self.columns.index(column)
        total = np.full(len(cells), self.constant)
        for other, factor in zip(self.columns, self.factors, strict=True):
            if other != column:
                total -= factor * cells[:, other]
        return total / self.factors[place]

    @property
    def _inverse(self) -> Callable[[FloatArray], FloatArray] | None:
        assert self.function is not None
        return FUNCTIONS[self.function].inverse if self.is_invertible else None


def implied(equations: Sequence[Equation]) -> tuple[Equation, ...]:
    """Return the totals that follow from some, in which no more cells could be left out: the circuits of their matroid.

    Let A x = c be r independent totals of m cells. Each set of r - 1 columns of A has combinations y^T A that vanish
    there; where y is unique but for its length, y^T A x = y^T c is a circuit. With more than 100 sets none is returned.

    >>> from backwalk.table.rule_system import Equation, implied
    >>> of_b = [Equation((0, 1, 2), (1.0, -1.0, -1.0)), Equation((3, 4, 2), (1.0, -1.0, -1.0))]
    >>> [each.columns for each in implied(of_b)]
    [(0, 1, 3, 4)]
    """
    totals = [each for each in equations if each.function is None]
    columns = sorted({j for each in totals for j in each.columns})
    a = np.zeros((len(totals), len(columns)))
    for row, each in zip(a, totals, strict=True):
        row[[columns.index(j) for j in each.columns]] = each.factors
    size = np.abs(a).max(axis=1, keepdims=True, initial=0.0)
    u, s, v = np.linalg.svd(a / size, full_matrices=False)
    r = int((s > _NONE).sum())
    if r < 2 or math.comb(len(columns), r - 1) > _MOST_SETS:
        return ()
    rows, constants = v[:r], (u[:, :r] / s[:r]).T @ (np.array([each.constant for each in totals]) / size[:, 0])
    found = {frozenset(each.columns) for each in totals}
    circuits = list[Equation]()
    for at in combinations(range(len(columns)), r - 1):
        left, kept, _ = np.linalg.svd(rows[:, at])
        if kept[-1] < _NONE:
            continue
        factors = left[:, -1] @ rows
        scale = factors[np.abs(factors).argmax()]
        here = np.flatnonzero(np.abs(factors / scale) > _NONE)
        cells = tuple(columns[j] for j in here)
        if len(cells) > 1 and frozenset(cells) not in found:
            found.add(frozenset(cells))
            constant = float(left[:, -1] @ constants / scale)
            circuits.append(Equation(cells, tuple((factors[here] / scale).tolist()), constant))
    return tuple(circuits)


@dataclass(frozen=True)
class LevelPairs:
    """The pairs of levels of two columns, by the columns' numbers, that do not occur, or that alone do.

    `pairs` are the places of the levels in the columns' `Block`s.
    """

    columns: tuple[int, int]
    pairs: tuple[tuple[int, int], ...]
    are_excluded: bool = True

    def allowed(self, n_levels: tuple[int, int]) -> BoolArray:
        """Return which pairs may occur, (L_1, L_2), of columns of `n_levels`."""
        marked = np.zeros(n_levels, dtype=bool)
        one, other = np.array(self.pairs, dtype=np.intp).reshape(-1, 2).T
        marked[one, other] = True
        return ~marked if self.are_excluded else marked


def closed_pairs(allowed: Mapping[tuple[int, int], BoolArray]) -> dict[int, dict[int, BoolArray]]:
    """Return which pairs of levels of two columns may occur, (L_i, L_j), for each i and j that rules bind.

    `allowed` are the pairs by the rules themselves. A pair that goes with no level of a third column is left out, so
    that each of levels that are drawn one after the other finds one that goes with all before.
    """
    pairs = dict[int, dict[int, BoolArray]]()
    for (i, j), mask in allowed.items():
        mask = mask & pairs.get(i, {}).get(j, True)
        pairs.setdefault(i, {})[j], pairs.setdefault(j, {})[i] = mask, mask.T
    is_new = True
    while is_new:
        is_new = False
        for middle in pairs:
            for i, j in combinations(sorted(pairs[middle]), 2):
                through = (pairs[i][middle].astype(np.float32) @ pairs[middle][j].astype(np.float32)) > 0.0
                before = pairs[i].get(j)
                after = through if before is None else before & through
                if after.all() if before is None else (after == before).all():
                    continue
                pairs[i][j], pairs[j][i], is_new = after, after.T, True
    return pairs


@dataclass(frozen=True)
class _Part:
    """Cells, in their order of preference, and the equations between them, whose columns are places among the cells."""

    cells: tuple[int, ...]
    equations: tuple[Equation, ...]

    def basis(
        self, known: BoolArray, asked: BoolArray, has_value: BoolArray, *, only_asked: bool
    ) -> tuple[BoolArray, BoolArray]:
        """Return the basis of the known cells and of those asked for, (n, m) each: see `RuleSystem.basis`."""
        of_known, covered = self._choose(self.closure(known) & has_value, np.zeros_like(known))
        of_asked, _ = self._choose(asked if only_asked else self.closure(covered | asked), covered)
        return of_known, of_asked

    def _choose(self, candidates: BoolArray, covered: BoolArray) -> tuple[BoolArray, BoolArray]:
        """Return the candidates, (n, m), that do not follow from those before or are covered, and all then covered."""
        chosen = np.zeros_like(candidates)
        for j in range(len(self.cells)):
            chosen[:, j] = candidates[:, j] & ~covered[:, j]
            if chosen[:, j].any():
                covered = covered.copy()
                covered[:, j] |= chosen[:, j]
                covered = self.closure(covered)
        return chosen, covered

    def closure(self, has: BoolArray) -> BoolArray:
        """Return which cells, (n, m), follow from those that rows have, these among them."""
        has, n, n_before = has.copy(), int(has.sum()), -1
        while n > n_before:
            for equation in self.equations:
                for column, at in equation.determined(has):
                    has[:, column] |= at
            n, n_before = int(has.sum()), n
        return has

    def log_change(self, asked: BoolArray, scored: BoolArray, cells: FloatArray) -> FloatArray:
        """Return ln |det| of the change from scored cells, (m,), to as many that are asked for: (n,), nats.

        Each equation gives one of them from another: d scored / d asked.
        """
        total, asked, scored = np.zeros(len(cells)), asked.copy(), scored.copy()
        for equation in self.equations:
            ends = [next((j for j in equation.columns if which[j]), None) for which in (asked, scored)]
            if None in ends:
                continue
            new, old = (int(j) for j in ends if j is not None)
            asked[new] = scored[old] = False
            if equation.function is None:
                factors = dict(zip(equation.columns, equation.factors, strict=True))
                total += math.log(abs(factors[new] / factors[old]))
            else:
                log_slope = FUNCTIONS[equation.function].log_slope(cells[:, equation.columns[1]])
                total += log_slope if old == equation.columns[0] else -log_slope
        return total


def _joined(equations: Sequence[Equation]) -> list[list[Equation]]:
    """Return equations in groups that have no cells in common."""
    groups: list[list[Equation]] = []
    for equation in equations:
        near = [group for group in groups if any(set(equation.columns) & set(each.columns) for each in group)]
        groups = [*(group for group in groups if group not in near), [each for group in near for each in group]]
        groups[-1].append(equation)
    return groups


def _distinct(states: BoolArray) -> tuple[BoolArray, NDArray[np.intp]]:
    """Return the distinct rows of states, (n, m), and the place of each row among them."""
    packed = np.ascontiguousarray(np.packbits(states, axis=1))
    codes: NDArray[Any] = packed.view(np.dtype((np.void, packed.shape[1])))[:, 0]
    if packed.shape[1] <= 8:  # integers are sorted faster
        codes = np.column_stack([packed, np.zeros((len(packed), 8 - packed.shape[1]), np.uint8)]).view(np.uint64)[:, 0]
    _, first, of_row = np.unique(codes, return_index=True, return_inverse=True)
    return states[first], of_row


@dataclass(frozen=True)
class RuleSystem:
    """The rules between the `n_columns` columns of a table, by their numbers.

    - `relations`: the equations of totals and functions.
    - `orders`: pairs (low, high). The first `n_gaps` of them have gaps: cell n_columns + i is that of order i.
    - `level_pairs`: the combinations of levels.
    """

    n_columns: int
    relations: tuple[Equation, ...] = ()
    orders: tuple[tuple[int, int], ...] = ()
    n_gaps: int = 0
    level_pairs: tuple[LevelPairs, ...] = ()

    def __post_init__(self) -> None:
        columns = {j for equation in self.relations for j in equation.columns}
        columns |= {j for pair in (*self.orders, *(each.columns for each in self.level_pairs)) for j in pair}
        if not columns <= set(range(self.n_columns)) or not 0 <= self.n_gaps <= len(self.orders):
            raise InvalidInput(f"Rules should be between {self.n_columns} columns: fit the codec again.")

    @property
    def n_cells(self) -> int:
        """The number of cells of a row, D."""
        return self.n_columns + self.n_gaps

    @cached_property
    def equations(self) -> tuple[Equation, ...]:
        """All equations: the relations, and high - low - gap = 0 of each gap."""
        gaps = (
            Equation((high, low, self.n_columns + i), (1.0, -1.0, -1.0))
            for i, (low, high) in enumerate(self.orders[: self.n_gaps])
        )
        return (*self.relations, *gaps)

    @cached_property
    def implied(self) -> tuple[Equation, ...]:
        """The totals that the relations imply."""
        return tuple(each for group in _joined(self.relations) for each in implied(group))

    @cached_property
    def preference(self) -> tuple[int, ...]:
        """The cells of the equations, those first that are drawn rather than computed.

        These are gaps, then parts, then totals and functions; of an order the lower one, which no sum makes too small.
        """
        results = {equation.columns[0] for equation in self.relations}
        members = sorted({j for equation in self.equations for j in equation.columns})
        height = dict.fromkeys(members, 0)
        for _ in self.orders:
            for low, high in self.orders:
                if low in height and high in height:
                    height[high] = min(max(height[high], height[low] + 1), len(members))
        return tuple(sorted(members, key=lambda j: (j < self.n_columns, j in results, height[j], j)))

    @cached_property
    def drawn(self) -> BoolArray:
        """Which cells are drawn where nothing is known, (D,)."""
        every = np.ones((1, self.n_cells), dtype=bool)
        drawn: BoolArray = self.basis(~every, every)[1][0]
        return drawn

    @cached_property
    def draws_too_many(self) -> bool:
        """Whether more cells are drawn than are free, as equations say what none of them says alone.

        Such draws break a rule.
        """
        a = np.zeros((len(self.equations), self.n_cells))
        for row, each in zip(a, self.equations, strict=True):
            factors = np.array(each.factors) if each.function is None else np.array([1.0, -1.0])
            row[list(each.columns)] = factors / np.abs(factors).max()
        return int(self.drawn.sum()) > self.n_cells - (int(np.linalg.matrix_rank(a, tol=_NONE)) if len(a) else 0)

    def cells(self, values: FloatArray, on_grid: OnGrid) -> FloatArray:
        """Return the cells, (n, D), of rows, (n, d), with those filled that rules determine.

        The gap of an order that a row breaks is NaN.
        """
        cells = self.solve(np.column_stack([values, np.full((len(values), self.n_gaps), np.nan)]), on_grid)
        gaps = cells[:, self.n_columns :]
        gaps[gaps < 0.0] = np.nan
        return cells

    def solve(self, cells: FloatArray, on_grid: OnGrid) -> FloatArray:
        """Return cells, (n, D), with those filled that are NaN and follow from others."""
        cells, is_new = cells.copy(), True
        while is_new and np.isnan(cells).any():
            is_new = False
            for equation in (*self.equations, *self.implied):
                for column, at in equation.determined(~np.isnan(cells)):
                    if at.any():
                        cells[at, column] = on_grid(column, equation.compute(column, cells[at]))
                        is_new |= bool((~np.isnan(cells[at, column])).any())
        return cells

    @cached_property
    def stand_ins(self) -> frozenset[int]:
        """The cells that never stand for anything, as they alone determine one that is preferred, and it them."""
        found = set[int]()
        for part in self.parts:
            follows = part.closure(np.eye(len(part.cells), dtype=bool))
            found |= {j for i, j in enumerate(part.cells) if (follows[i, :i] & follows[:i, i]).any()}
        return frozenset(found)

    def basis(
        self, known: BoolArray, asked: BoolArray, *, has_value: BoolArray | None = None, only_asked: bool = False
    ) -> tuple[BoolArray, BoolArray]:
        """Return which cells, (n, D), stand for the known ones, and which are drawn or scored for those asked for.

        Known cells are taken where rows have a value, by default everywhere. With `only_asked`, no cell is drawn but
        those asked for.
        """
        of_known, of_asked = known.copy(), asked & ~known
        has_value = np.ones_like(known) if has_value is None else has_value
        for part in self.parts:
            at = list(part.cells)
            states = np.concatenate([known[:, at], asked[:, at], has_value[:, at]], axis=1)
            patterns, of_row = _distinct(states)
            of_patterns = np.split(patterns, 3, axis=1)
            chosen = part.basis(of_patterns[0], of_patterns[1], of_patterns[2], only_asked=only_asked)
            of_known[:, at], of_asked[:, at] = (each[of_row] for each in chosen)
        return of_known, of_asked

    @cached_property
    def parts(self) -> tuple[_Part, ...]:
        """The equations in parts that have no cells in common."""
        parts = list[_Part]()
        for equations in _joined(self.equations):
            members = {j for each in equations for j in each.columns}
            cells = tuple(j for j in self.preference if j in members)
            at = (replace(each, columns=tuple(cells.index(j) for j in each.columns)) for each in equations)
            parts.append(_Part(cells, tuple(at)))
        return tuple(parts)

    def log_change(self, asked: BoolArray, scored: BoolArray, cells: FloatArray, continuous: BoolArray) -> FloatArray:
        """Return ln |det| of the change from the cells that columns are scored by to these columns: (n,), nats.

        `asked`, (n, d), are the columns in question, `scored`, (n, D), the cells that stand for them, and `continuous`,
        (D,), those with a density: a probability does not change.
        """
        total = np.zeros(len(cells))
        asked = np.column_stack([asked, np.zeros((len(asked), self.n_gaps), dtype=bool)])
        for part in self.parts:
            at = list(part.cells)
            patterns, of_row = _distinct(np.concatenate([asked[:, at], scored[:, at]], axis=1))
            for i, pattern in enumerate(patterns):
                rows = np.flatnonzero(of_row == i)
                of_asked, of_scored = np.split(pattern & np.tile(continuous[at], 2), 2)
                total[rows] += part.log_change(of_asked & ~of_scored, of_scored & ~of_asked, cells[rows][:, at])
        return total

    def is_broken(self, values: FloatArray) -> BoolArray:
        """Return which relations and orders, in this order, rows, (n, d), break: (n, r). Missing values break none."""
        with np.errstate(invalid="ignore"):
            parts = [np.abs(each.residual(values)) > each.slack for each in self.relations]
            parts += [values[:, low] > values[:, high] for low, high in self.orders]
        return np.stack(parts, axis=1) if parts else np.zeros((len(values), 0), dtype=bool)

    def put_in_order(self, values: FloatArray, known: BoolArray) -> FloatArray:
        """Return rows, (n, d), whose broken orders hold, where an end that is not known is in no relation.

        A higher value becomes the largest of its lower ones, or else a lower one the least of its higher ones.
        """
        values = values.copy()
        bound = {j for each in self.relations for j in each.columns}
        for ends, choose in ((self.orders, np.fmax), ([pair[::-1] for pair in reversed(self.orders)], np.fmin)):
            for other, end in [each for each in ends if each[1] not in bound] * len(self.orders):  # chains in any order
                at = ~known[:, end]
                values[at, end] = choose(values[at, end], values[at, other])
        return values

    def stated(self, names: Sequence[str]) -> tuple[Rule, ...]:
        """Return the rules of columns of these names: those of `is_broken` and then the combinations."""
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
        return (
            *rules,
            *(Combinations(names[one], names[other]) for one, other in (each.columns for each in self.level_pairs)),
        )

    @property
    def columns_of_levels(self) -> set[int]:
        """The numbers of the columns whose levels are bound to others."""
        return {j for each in self.level_pairs for j in each.columns}

    def to_dict(self) -> dict[str, Any]:
        """Return the rules as plain JSON values."""
        return {
            "relations": [asdict(each) | {"columns": list(each.columns)} for each in self.relations],
            "orders": [list(pair) for pair in self.orders],
            "n_gaps": self.n_gaps,
            "level_pairs": [asdict(each) for each in self.level_pairs],
        }

    @classmethod
    def from_dict(cls, n_columns: int, record: Any) -> RuleSystem:
        """Return the rules that `to_dict` wrote. Raises InvalidInput for any other record."""
        try:
            relations = tuple(
                Equation(**each | {"columns": tuple(each["columns"]), "factors": tuple(each["factors"])})
                for each in record["relations"]
            )
            pairs = tuple(
                LevelPairs(tuple(each["columns"]), tuple(map(tuple, each["pairs"])), bool(each["are_excluded"]))
                for each in record["level_pairs"]
            )
            orders = tuple((int(low), int(high)) for low, high in record["orders"])
            return cls(n_columns, relations, orders, int(record["n_gaps"]), pairs)
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput("Rules should be those of a saved model, but got another record.") from error
