"""Copies in a table: found where cells repeat those of another column, and not where columns merely go together."""

import numpy as np
import pandas as pd
import pytest

from backwalk.errors import InvalidInput
from backwalk.table import Codec, Copy, as_table, fit_codec, parse_rule
from backwalk.table.codec_rules import stated_rules
from backwalk.table.find_rules import find_rules

N = 1_000


def amounts(seed, n=N):
    """Amounts of successive months, of which some are 0 and some those of the month before, and another number."""
    rng = np.random.default_rng(seed)
    columns = [np.where(rng.random(n) < 0.2, 0.0, rng.lognormal(8.0, 1.0, n).round())]
    for _ in range(2):
        new = np.where(rng.random(n) < 0.2, 0.0, (columns[-1] * rng.lognormal(0.0, 0.3, n)).round())
        columns.append(np.where(rng.random(n) < 0.14, columns[-1], new))
    return pd.DataFrame({"may": columns[0], "june": columns[1], "july": columns[2], "other": rng.normal(size=n)})


def tables_without_copies(seed):
    """Tables in which cells are equal by chance, by a common 0, or as numbers go together."""
    rng = np.random.default_rng(seed)
    age, is_zero = rng.integers(20, 60, N), rng.random(N) < 0.5
    yield {"his": age, "hers": age + rng.normal(0.0, 3.0, N).round()}
    yield {"a": np.where(is_zero, 0.0, rng.lognormal(size=N)), "b": np.where(is_zero, 0.0, rng.lognormal(size=N))}
    yield {"a": rng.integers(0, 6, N), "b": rng.integers(0, 6, N), "c": rng.integers(0, 200, N)}
    count = rng.poisson(30.0, N)
    yield {"one": rng.binomial(count, 0.5), "two": rng.binomial(count, 0.5)}
    yield {"grade": (7.0 + rng.normal(0.0, 0.5, N)).round(1), "mark": (7.0 + rng.normal(0.0, 0.5, N)).round(1)}


def test_successive_columns_are_copies_of_each_other_without_a_circle():
    found = [rule for rule in find_rules(as_table(amounts(0)), levels=()) if isinstance(rule, Copy)]
    assert list(map(str, found)) == ["june ?= may", "july ?= june"]


@pytest.mark.parametrize("unit", [1.0, 0.01, 7.0])
def test_numbers_on_grids_are_copies_too(unit):
    rng = np.random.default_rng(1)
    start, end = rng.integers(1, 300, (2, N)) * unit
    table = as_table(pd.DataFrame({"start": start, "end": np.where(rng.random(N) < 0.1, start, end).round(2)}))
    assert list(map(str, find_rules(table, levels=()))) == ["end ?= start"]


@pytest.mark.parametrize("seed", range(3))
def test_columns_that_go_together_are_no_copies(seed):
    for columns in tables_without_copies(seed):
        found = find_rules(as_table(pd.DataFrame(columns)), levels=())
        assert not [rule for rule in found if isinstance(rule, Copy)], columns.keys()


@pytest.mark.slow
def test_no_copies_are_found_in_a_hundred_tables_of_shuffled_columns():
    for seed in range(100):
        rng = np.random.default_rng(seed)
        columns = amounts(seed).assign(start=rng.integers(1, 300, N), year=rng.integers(1950, 2020, N))
        shuffled = columns.apply(lambda x, rng=rng: rng.permutation(x.to_numpy()))
        assert not find_rules(as_table(shuffled), levels=()), seed


def test_what_an_order_explains_is_no_copy():
    rng = np.random.default_rng(2)
    first = rng.integers(500, 4000, N)
    second = np.where(rng.random(N) < 0.5, 0.0, rng.exponential(700.0, N).round())
    table = as_table(pd.DataFrame({"first": first, "area": first + second}))
    assert list(map(str, find_rules(table, levels=()))) == ["first <= area"]


def test_a_codec_with_copies_brings_rows_back_and_is_read_from_its_record():
    table = as_table(amounts(0))
    codec = fit_codec(table, rules="auto")
    assert stated_rules(codec, table.schema.names) == ["june ?= may", "july ?= june"]
    assert Codec.from_dict(codec.to_dict()) == codec
    z = codec.encode(table.values)
    z[codec.copied(z)] = np.nan
    x = codec.decode_new(z, np.full(table.values.shape, np.nan))
    np.testing.assert_allclose(x, table.values, rtol=1e-12)
    equal = table.values[:, 1] == table.values[:, 0]
    np.testing.assert_array_equal(x[equal, 1], x[equal, 0])
    np.testing.assert_array_equal(codec.cells(table.values)[:, 4], equal)


def test_a_known_copy_gives_the_other_cell():
    codec = fit_codec(as_table(amounts(0)), rules="auto")
    cells = np.full((3, 6), np.nan)
    cells[:, 1] = 500.0
    cells[:, 4], cells[:, 5] = [1.0, 0.0, np.nan], [1.0, 1.0, 0.0]
    np.testing.assert_array_equal(
        codec.with_computed(cells)[:, :3], [[500, 500, 500], [np.nan, 500, 500], [np.nan, 500, np.nan]]
    )


def test_a_copied_cell_stands_for_nothing_and_what_is_unknown_is_drawn_first():
    codec = fit_codec(as_table(amounts(0)), rules="auto")
    known, asked = np.array([[False, True, False, False]]), np.array([[True, False, True, True]])
    cells = np.array([[np.nan, 500.0, np.nan, np.nan, np.nan, np.nan]])
    of_known, of_asked = codec.cell_masks(known, asked, ~np.isnan(cells), cells)
    np.testing.assert_array_equal(of_known[0], [False, True, False, False, False, False])
    np.testing.assert_array_equal(of_asked[0], [True, False, True, True, True, True])
    cells[0, 4:] = 1.0
    of_known, of_asked = codec.cell_masks(known, asked, None, cells)
    np.testing.assert_array_equal(of_known[0], [True, False, False, False, True, True])
    np.testing.assert_array_equal(of_asked[0], [False, False, False, True, False, False])


@pytest.mark.parametrize("declared", ["june ?= may", "`a b` ?= c"])
def test_the_text_of_a_copy_is_read_back(declared):
    assert str(parse_rule(declared)) == declared


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        (["june ?= other"], "holds in 0 of"),
        (["june ?= may", "june ?= july"], "copy of one other"),
        (["june ?= may", "july ?= june", "may ?= july"], "without circles"),
        (["june ?= may", "twice = june + june2"], "no other rule"),
        (["same ?= may"], "declare a total"),
    ],
)
def test_declared_copies_that_cannot_be_are_refused(rules, words):
    table = amounts(0)
    table = table.assign(same=table.may, june2=table.july, twice=table.june + table.july)
    with pytest.raises(InvalidInput, match=words):
        fit_codec(as_table(table), rules=[parse_rule(rule) for rule in rules])


def test_missing_cells_do_not_matter():
    table = amounts(0)
    table.loc[::3, "june"] = np.nan
    codec = fit_codec(as_table(table), rules=[Copy("june", of="may")])
    cells = codec.cells(as_table(table).values)
    assert np.isnan(cells[::3, 4]).all()
    assert not np.isnan(np.delete(cells[:, 4], np.arange(0, N, 3))).any()
    found = fit_codec(as_table(table), rules="auto", missing="generate")
    assert stated_rules(found, list(table)) == []  # a copy of what is missing is missing
