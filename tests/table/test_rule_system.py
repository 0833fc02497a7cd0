"""Rules as equations: what is drawn for what is known, what follows from it, and which rows hold."""

from itertools import combinations, product

import numpy as np
import pytest

from backwalk.errors import InvalidInput
from backwalk.table.rule_system import Equation, LevelPairs, RuleSystem, closed_pairs

# 0 + 1 = 2, 3 <= 4 <= 5 with the gaps 8 and 9, 7 = log(6)
SYSTEM = RuleSystem(
    8, (Equation((2, 0, 1), (1.0, -1.0, -1.0)), Equation((7, 6), function="log")), ((3, 4), (4, 5)), n_gaps=2
)
D = SYSTEM.n_cells


def exactly(_, x):
    return x


def mask(*cells):
    return np.isin(np.arange(D), cells)[None]


def follows(has):
    """Which cells follow from others, by solving for them at random numbers that obey the rules."""
    casual, registered, low, wage = np.random.default_rng(0).uniform(1.0, 9.0, 4)
    row = np.array([casual, registered, casual + registered, low, low + 2.0, low + 5.0, wage, np.log(wage), 2.0, 3.0])
    return ~np.isnan(SYSTEM.solve(np.where(has, row, np.nan), exactly))


@pytest.mark.parametrize("only_asked", [False, True])
def test_what_stands_for_known_and_asked_cells_determines_them_and_nothing_twice(only_asked):
    generator = np.random.default_rng(1)
    known = generator.random((300, D)) < 0.3
    asked = ~known & (generator.random((300, D)) < 0.5)
    of_known, of_asked = SYSTEM.basis(known, asked, only_asked=only_asked)
    assert (follows(of_known) == follows(known)).all()
    assert (follows(of_known | of_asked) == follows(known | asked)).all()
    assert not (of_known & of_asked).any()
    if only_asked:
        assert not (of_asked & ~asked).any()
    for j in range(D):  # no cell of the basis follows from the others
        without = (of_known | of_asked) & (np.arange(D) != j)
        assert not (follows(without)[:, j] & (of_known | of_asked)[:, j]).any()


def test_gaps_and_parts_are_drawn_and_totals_follow():
    upside_down = RuleSystem(3, orders=((1, 0), (2, 1)), n_gaps=2)
    assert upside_down.drawn.tolist() == [False, False, True, True, True]  # the least, and sums from it
    assert SYSTEM.drawn.tolist() == [True, True, False, True, False, False, True, False, True, True]
    cases = {(): (0, 1, 3, 6, 8, 9), (2,): (0, 3, 6, 8, 9), (5,): (0, 1, 6, 8, 9), (3, 4, 7): (0, 1, 9)}
    for known, drawn in cases.items():
        assert np.flatnonzero(SYSTEM.basis(mask(*known), ~mask(*known))[1][0]).tolist() == list(drawn)


def test_an_order_with_gaps_holds_whatever_is_known():
    generator = np.random.default_rng(2)
    gaps = generator.exponential(size=2)
    for known in [c for k in range(4) for c in combinations((3, 4, 5), k)]:
        cells = np.full((1, D), np.nan)
        cells[0, list(known)] = np.sort(generator.normal(size=3))[[j - 3 for j in known]]
        _of_known, drawn = SYSTEM.basis(mask(*known), ~mask(*known))
        cells = SYSTEM.cells(cells[:, :8], exactly)
        for i, gap in zip((8, 9), gaps, strict=True):
            cells[0, i] = gap if drawn[0, i] else cells[0, i]
        cells[0, 3] = 0.0 if drawn[0, 3] else cells[0, 3]
        low, middle, high = SYSTEM.solve(cells, exactly)[0, 3:6]
        assert low <= middle
        if known != (3, 5):  # the second gap then follows, and may be negative
            assert middle <= high


def test_cells_fill_what_follows_and_a_broken_order_has_no_gap():
    rows = np.array([[3.0, 5.0, np.nan, 1.0, 4.0, 2.0, np.nan, 0.0]])
    cells = SYSTEM.cells(rows, exactly)
    np.testing.assert_array_equal(cells[0], [3, 5, 8, 1, 4, 2, 1, 0, 3, np.nan])


def test_each_broken_rule_is_named_and_missing_values_break_none():
    rows = np.array([[3, 5, 8, 1, 2, 3, 1, 0], [3, 5, 9, 1, 2, 3, 1, 0], [3, 5, 8, 1, 2, 1, 1, 9]], dtype=float)
    rows = np.vstack([rows, np.full((1, 8), np.nan)])
    stated = SYSTEM.stated([f"c{j}" for j in range(8)])
    assert list(map(str, stated)) == ["c2 = c0 + c1", "c7 = log(c6)", "c3 <= c4", "c4 <= c5"]
    assert SYSTEM.is_broken(rows).tolist() == [[0, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 1], [0, 0, 0, 0]]


def test_levels_drawn_one_after_the_other_find_one_that_goes_with_all_before():
    # of three columns the first and the last determine the middle one
    first, last = np.eye(3, dtype=bool)[[0, 1, 2, 0]], np.eye(3, dtype=bool)[[0, 1, 1]]
    pairs = closed_pairs({(0, 1): first, (2, 1): last})
    possible = {(i, j, k) for i, j, k in product(range(4), range(3), range(3)) if first[i, j] and last[k, j]}
    assert pairs[0][2].tolist() == [[any((i, j, k) in possible for j in range(3)) for k in range(3)] for i in range(4)]
    for i, k in product(range(4), range(3)):
        if pairs[0][2][i, k]:
            assert (pairs[0][1][i] & pairs[2][1][k]).any()


def test_records_of_rules_are_read_back_and_others_refused():
    system = RuleSystem(8, SYSTEM.relations, SYSTEM.orders, 2, (LevelPairs((0, 1), ((0, 1), (2, 0)), False),))
    assert RuleSystem.from_dict(8, system.to_dict()) == system
    assert system.level_pairs[0].allowed((3, 2)).sum() == 2
    for record in ({}, {**system.to_dict(), "orders": [[0]]}, {**system.to_dict(), "n_gaps": "x"}, 3):
        with pytest.raises(InvalidInput):
            RuleSystem.from_dict(8, record)
    with pytest.raises(InvalidInput):
        RuleSystem(2, SYSTEM.relations)


def test_of_a_column_and_an_invertible_function_of_it_only_one_is_ever_seen():
    assert SYSTEM.stand_ins == {7}
    generator = np.random.default_rng(5)
    known = generator.random((200, D)) < 0.4
    assert not any(chosen[:, 7].any() for chosen in SYSTEM.basis(known, ~known))


@pytest.mark.parametrize("seed", range(10))
def test_totals_of_common_columns_determine_what_linear_algebra_says(seed):
    """Found on a table of image segments: r = m + R/3, g = m + G/3, b = m + B/3, R + G + B = 0 and r, g, b give all."""
    generator = np.random.default_rng(seed)
    m = 7
    columns = [np.sort(generator.choice(m, int(k), replace=False)) for k in generator.integers(2, 5, 4)]
    factors = [generator.choice([-2.0, -1.0, 0.5, 1.0, 3.0], len(at)) for at in columns]
    row = generator.normal(size=m)
    relations = tuple(
        Equation(tuple(at.tolist()), tuple(f.tolist()), float(f @ row[at]))
        for at, f in zip(columns, factors, strict=True)
    )
    a = np.zeros((4, m))
    for of_relation, at, f in zip(a, columns, factors, strict=True):
        of_relation[at] = f
    system = RuleSystem(m, relations)
    known = np.array(list(product([False, True], repeat=m)))
    found = system.solve(np.where(known, row, np.nan), exactly)
    for has, of_found in zip(known, found, strict=True):
        _, s, v = np.linalg.svd(a[:, ~has], full_matrices=True)
        null = v[int((s > 1e-9).sum()) :]
        follows = has.copy()
        follows[~has] = np.abs(null).max(axis=0, initial=0.0) < 1e-9
        np.testing.assert_array_equal(~np.isnan(of_found), follows)
        np.testing.assert_allclose(of_found[follows], row[follows], atol=1e-9)


def test_totals_typed_with_eight_digits_imply_nothing_absurd():
    """Found by review: r, g and b gave R = 1.8e10, as m = (r + g + b) / 3 and R + G + B = 0 nearly follow."""
    third = 0.33333333
    relations = (
        *(Equation((i, 3, 4 + i), (1.0, -1.0, -third)) for i in range(3)),
        Equation((3, 0, 1, 2), (1.0, -third, -third, -third)),
        Equation((4, 5, 6), (1.0, 1.0, 1.0)),
    )
    of_parts = np.array([0.536, -0.618, 0.082])
    row = np.array([*(0.5 + of_parts / 3.0), 0.5, *of_parts])
    has = np.array([True, True, True, False, False, False, False])
    found = RuleSystem(7, relations).solve(np.where(has, row, np.nan)[None], exactly)[0]
    np.testing.assert_allclose(found[~np.isnan(found)], row[~np.isnan(found)], atol=1e-6)


def test_what_totals_imply_changes_no_density():
    """Found by review: of a = x + y and c = x - y, a and c were scored by x and y, without ln 2."""
    system = RuleSystem(4, (Equation((0, 2, 3), (1.0, -1.0, -1.0)), Equation((1, 2, 3), (1.0, -1.0, 1.0))))
    asked = np.array([[True, True, False, False]])
    none = np.zeros_like(asked)
    assert system.basis(none, asked)[1].tolist() == asked.tolist()


@pytest.mark.parametrize("orders", [((0, 2), (1, 2), (2, 3)), ((2, 3), (0, 2), (1, 2))])
def test_broken_orders_are_mended_from_either_end(orders):
    system = RuleSystem(5, (Equation((4, 4), function="log"),), orders)
    row, known = np.array([[5.0, 6.0, 1.0, 2.0, 0.0]]), np.array([[True, True, False, False, False]])
    assert system.put_in_order(row, known).tolist() == [[5.0, 6.0, 6.0, 6.0, 0.0]]
    known = np.array([[False, False, False, True, False]])
    assert system.put_in_order(np.array([[5.0, 1.0, 7.0, 3.0, 0.0]]), known).tolist() == [[3.0, 1.0, 3.0, 3.0, 0.0]]


def test_ends_that_totals_bind_are_not_mended():
    system = RuleSystem(3, (Equation((2, 0), (1.0, -2.0)),), ((0, 1), (1, 2)))
    row = np.array([[5.0, 12.0, 10.0]])
    assert system.put_in_order(row, np.array([[True, False, False]])).tolist() == [[5.0, 10.0, 10.0]]
