"""Rules of a table: checked in all rows, with differences that have their own kind, and numbers that are no levels."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from backwalk.errors import InvalidInput
from backwalk.table import Codec, Determines, Order, Total, as_table, fit_codec, parse_rule
from backwalk.table.choose_rules import choose_rules
from backwalk.table.codec_rules import broken_rules, ends_by_rules, stated_rules

generator = np.random.default_rng(0)
LOW = generator.integers(0, 6, 500) / 10.0
TABLE = as_table(
    pd.DataFrame(
        {
            "low": LOW,
            "high": (LOW + generator.integers(0, 4000, 500) / 100.0).round(2),
            "kind": generator.choice(["x", "y"], 500),
        }
    )
)


def test_a_difference_is_a_number_on_the_grid_of_its_ends_and_decodes_exactly():
    codec = fit_codec(TABLE, rules=[Order("low", "high")])
    (difference,) = codec.differences
    assert difference.number_column.grid.cell == pytest.approx(0.01)
    assert difference.value_range[0] >= 0.0
    assert codec.columns[0].number_column is not None  # 6 values, without rules levels
    assert fit_codec(TABLE).columns[0].number_column is None
    z = codec.encode(TABLE.values)
    np.testing.assert_array_equal(codec.decode(z), TABLE.values)
    z[:, ~codec.drawn_coordinates] = np.nan
    np.testing.assert_array_equal(codec.decode_new(z, np.full(TABLE.values.shape, np.nan)), TABLE.values)


def test_counts_in_order_have_differences_where_these_have_less_entropy():
    """Seen in loans: differences of counts from a large one are as large as this, and the zeros of counts were lost."""
    rng = np.random.default_rng(0)
    most, start = rng.poisson(60, 2_000), rng.integers(0, 60, 2_000)
    apart = as_table(pd.DataFrame({"few": rng.geometric(0.3, 2_000), "more": rng.geometric(0.2, 2_000), "most": most}))
    orders = [Order("few", "most"), Order("more", "most")]
    start += 1_700_000_000  # seconds, of which single floats hold every 128th
    near = as_table(pd.DataFrame({"start": start, "end": start + rng.poisson(1, 2_000)}))
    is_level = [[column.number_column is None for column in fit_codec(table).columns] for table in (apart, near)]
    assert all(map(all, is_level))
    assert not fit_codec(apart, rules=orders).differences
    assert len(fit_codec(near, rules=[Order("start", "end")]).differences) == 1


@pytest.mark.parametrize("of_pandas", [pa.Table.from_pandas, pl.from_pandas])
def test_a_difference_has_a_column_in_tables_of_each_library(of_pandas):
    table = as_table(of_pandas(pd.DataFrame({"low": LOW, "high": LOW + generator.exponential(size=500)})))
    assert len(fit_codec(table, rules=[Order("low", "high")]).differences) == 1


def test_a_codec_with_rules_is_read_back_from_its_record():
    rules = [Order("low", "high"), Determines("kind", "kind2")]
    frame = pd.DataFrame(TABLE.values[:, :2], columns=["low", "high"])
    frame["kind"] = np.where(frame["low"] > 0.2, "x", "y")
    frame["kind2"] = np.where(frame["low"] > 0.4, "p", np.where(frame["low"] > 0.2, "q", "r"))
    codec = fit_codec(as_table(frame), rules=rules)
    assert Codec.from_dict(codec.to_dict()) == codec
    assert stated_rules(codec, list(frame)) == ["low <= high", "kind2 -> kind"]


def test_a_total_may_be_a_rounded_function_and_then_does_not_determine_its_argument():
    x = np.exp(generator.normal(size=300))
    table = as_table(pd.DataFrame({"x": x, "y": np.log(x).round(2)}))
    codec = fit_codec(table, rules=[parse_rule("y = log(x)")])
    known = np.array([[False, True]])
    assert codec.cell_masks(known, ~known)[1].tolist() == [[True, False]]
    assert not broken_rules(codec, table.values).any()
    assert broken_rules(codec, np.add(table.values, [[0.0, 0.01]])).all()


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (Order("high", "low"), "high <= low.*first row"),
        (Order("low", "kind"), "kind"),
        (Order("low", "wide"), "wide"),
        (Order("low", "low"), "different"),
        (Total("high", ["low"]), "high = low"),
        (Determines("low", "high"), "none"),
        (Determines("kind", "low"), "low"),
    ],
)
def test_rules_that_cannot_hold_are_refused(rule, words):
    with pytest.raises(InvalidInput, match=words):
        fit_codec(TABLE, rules=[rule])


def test_rules_of_columns_whose_gaps_are_generated_are_left_out():
    values = TABLE.values.copy()
    values[:50, 0] = np.nan
    table = as_table(pd.DataFrame(values[:, :2], columns=["low", "high"]))
    assert fit_codec(table, rules=[Order("low", "high")], missing="generate").rules is None
    assert len(fit_codec(table, rules=[Order("low", "high")]).differences) == 1


def test_orders_beside_totals_with_a_circle_are_checked_and_have_no_differences():
    """Found on a table of image segments: three differences and a mean were drawn, with one too few left free."""
    generator = np.random.default_rng(0)
    r, g, b = generator.integers(0, 100, size=(3, 200)) * 1.0
    m = (r + g + b) / 3.0
    columns = {"m": m, "r": r, "g": g, "b": b, "R": 3 * (r - m), "G": 3 * (g - m), "B": 3 * (b - m)}
    table = as_table(pd.DataFrame({**columns, "top": np.maximum(np.maximum(r, g), b)}))
    orders = [Order(low, "top") for low in "rgb"]
    totals = [Total(low, ["m", low.upper()], [1.0, 1.0 / 3.0]) for low in "rgb"]
    assert choose_rules(orders, table).system.n_differences == 3
    system = choose_rules([*totals, Total("R", ["G", "B"], [-1.0, -1.0]), *orders], table, are_found=True).system
    assert (len(system.orders), system.drawn.sum()) == (3, 4)


def test_found_equations_by_which_no_less_is_drawn_are_left_out():
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=(2, 200))
    table = as_table(pd.DataFrame({"a": a, "b": b, "c": a, "d": b}))
    rules = [Total("a", ["b", "c", "d"], [-1.0, 1.0, 1.0]), Total("a", ["b", "c", "d"], [1.0, 1.0, -1.0])]
    assert len(choose_rules(rules, table).system.relations) == 2  # as declared: a user is told by the draws
    assert len(choose_rules(rules, table, are_found=True).system.relations) == 1


def test_parts_of_totals_keep_their_levels():
    """Seen in invoices and surveys: shipping of 0, 4.99 or 9.99 was drawn as .01, .02 and so on."""
    generator = np.random.default_rng(0)
    shipping, items = generator.choice([0.0, 4.99, 9.99], 500), generator.gamma(3.0, 20.0, 500).round(2)
    years = generator.poisson(12, 500)
    one, other = generator.integers([[5], [7]], size=(2, 500))
    few, many = generator.poisson([[12.0], [25.0]], size=(2, 500))
    columns = {"items": items, "shipping": shipping, "total": (items + shipping).round(2), "years": years}
    columns |= {"squared": years**2, "one": one, "other": other, "both": one + other}
    table = as_table(pd.DataFrame({**columns, "few": few, "many": many, "counts": few + many}))
    codec = fit_codec(table, rules="auto")
    assert len(codec.rules.relations) == 4
    levels = {name for name, column in zip(table.schema.names, codec.columns, strict=True) if column.levels}
    assert levels == {"shipping", "one", "other", "few"}  # of parts that are all on long grids one is a number
    drawn = codec.decode(generator.normal(size=(400, codec.n_encoded)))
    assert np.isin(drawn[:, 1], [0.0, 4.99, 9.99]).all()


def test_a_part_of_two_totals_is_a_number_in_both_if_it_is_in_one():
    generator = np.random.default_rng(0)
    one, other, third = generator.poisson([[30.0], [60.0], [90.0]], size=(3, 1_500))
    columns = {"sum": one + other, "next": other + third, "one": one, "other": other, "third": third}
    codec = fit_codec(as_table(pd.DataFrame(columns)), rules=[Total("sum", ["one", "other"])])
    assert [bool(column.levels) for column in codec.columns[2:4]] == [True, False]
    both = [Total("sum", ["one", "other"]), Total("next", ["other", "third"])]
    codec = fit_codec(as_table(pd.DataFrame(columns)), rules=both)
    assert [bool(column.levels) for column in codec.columns[2:4]] == [True, False]


def test_a_computed_total_may_be_an_atom_off_the_grid_of_its_other_values():
    """Seen: 10 + 0 was rounded to 9.99, as all totals but the atoms were 19.99 + .5 k, and no row had a fee of 0."""
    generator = np.random.default_rng(0)
    fee = generator.choice([0.0, 4.99, 9.99], 1_500, p=[0.5, 0.3, 0.2])
    price = generator.choice([10.0, 20.0, 30.0, 45.5], 1_500)
    table = as_table(pd.DataFrame({"total": (fee + price).round(2), "fee": fee, "price": price}))
    codec = fit_codec(table, rules=[Total("total", ["fee", "price"])])
    known = np.column_stack([np.full(1_500, np.nan), table.values[:, 1:]])
    np.testing.assert_array_equal(codec.cells(known)[:, 0], table.values[:, 0])


def test_a_difference_that_no_row_has_breaks_its_order():
    low = np.random.default_rng(0).integers(0, 200, 500)
    codec = fit_codec(as_table(pd.DataFrame({"low": low, "high": low + 3})), rules=[Order("low", "high")])
    assert broken_rules(codec, np.array([[5.0, 8.0], [5.0, 60.0]]))[:, 0].tolist() == [False, True]


def test_of_a_difference_both_columns_are_numbers():
    generator = np.random.default_rng(0)
    before, is_more = generator.poisson(5, 500), generator.integers(0, 2, 500)
    table = as_table(pd.DataFrame({"before": before, "after": before + is_more, "is_more": is_more}))
    codec = fit_codec(table, rules=[Total("is_more", ["after", "before"], [1.0, -1.0])])
    assert [bool(column.levels) for column in codec.columns] == [False, False, True]
    codec = fit_codec(table, rules="auto")
    assert [str(rule) for rule in stated_rules(codec, table.schema.names)] == ["after = before + is_more"]
    assert [bool(column.levels) for column in codec.columns] == [True, False, True]


def test_columns_that_a_found_difference_makes_numbers_determine_no_labels():
    generator = np.random.default_rng(0)
    a, e = generator.integers([[10], [4]], size=(2, 500))
    for columns in ({"a": a, "b": -a - e, "e": e}, {"b": 12 - a - e, "a": a, "e": e}):
        table = as_table(
            pd.DataFrame({**columns, "of_a": np.array(list("xxxyyyzzzw"))[a], "of_e": np.array(list("pqpq"))[e]})
        )
        codec = fit_codec(table, rules="auto")
        numbers = {name for name, column in zip(table.schema.names, codec.columns, strict=True) if not column.levels}
        assert len(codec.rules.relations) == 1
        assert all(numbers.isdisjoint(each.columns) for each in codec.rules.stated(table.schema.names)[1:])


def test_a_part_that_follows_and_is_none_of_its_levels_stays_unknown_and_breaks_its_total():
    generator = np.random.default_rng(0)
    toll, fare = generator.choice([0.0, 5.5, 6.25], 300), generator.gamma(3.0, 5.0, 300).round(2)
    table = as_table(pd.DataFrame({"toll": toll, "fare": fare, "total": (toll + fare).round(2)}))
    codec = fit_codec(table, rules=[Total("total", ["toll", "fare"])])
    known = np.array([[np.nan, 10.1, 15.6], [np.nan, 10.1, 16.0], [np.nan, 10.1, 9.0], [np.nan, np.nan, 9.0]])
    np.testing.assert_array_equal(codec.cells(known)[:, 0], [5.5, np.nan, np.nan, np.nan])
    assert broken_rules(codec, known)[:, 0].tolist() == [False, True, True, False]
    assert np.isfinite(codec.encode(codec.cells(known))[0]).all()


def test_orders_of_levels_keep_them():
    generator = np.random.default_rng(0)
    low = generator.integers(0, 4, 500)
    table = as_table(pd.DataFrame({"low": low, "high": low + generator.integers(0, 4, 500)}))
    codec = fit_codec(table, rules=[Order("low", "high")])
    assert (len(codec.blocks), len(codec.differences), len(codec.level_rules)) == (2, 0, 1)
    of_rule = codec.level_rules[0].rule
    assert of_rule.excluded(np.array([[3, -1], [-1, -1]]), 1).tolist() == [[True] * 3 + [False] * 4, [False] * 7]


@pytest.mark.parametrize("decimals", [0, 2, 15])
def test_rows_that_obey_rules_contradict_none_of_them_whatever_is_known(decimals):
    """Seen: of an order of prices, 1.06 - -.13 lies an ulp beside 1.19, and rows of the fit were refused."""
    generator = np.random.default_rng(0)
    a, b, gap, tiny = generator.exponential(10.0 ** np.array([[3.0], [0.0], [1.0], [-3.0]]), size=(4, 400))
    a, b, gap, x = (each.round(decimals) for each in (a, b, gap, 0.005 * a - 12.0))
    columns = {"a": a, "b": b, "t": 1.1 * a + b - 3.0, "low": -b, "high": gap - b, "x": x, "y": np.exp(x)}
    table = as_table(pd.DataFrame({**columns, "tiny": tiny, "inverse": 1.0 / tiny}))
    texts = ["t = 1.1 * a + b - 3", "low <= high", "y = exp(x)", "inverse = reciprocal(tiny)"]
    codec = fit_codec(table, rules=list(map(parse_rule, texts)))
    known = generator.random(table.values.shape) < 0.7
    ends = (np.where(known, table.values, infinity) for infinity in (-np.inf, np.inf))
    low, high, contradicts = ends_by_rules(codec, *ends)
    assert (contradicts == -1).all()
    cells, slack = codec.cells(table.values), 1e-9 * np.abs(codec.cells(table.values))
    assert ((cells >= low - slack) & (cells <= high + slack)).all()


def test_a_dependency_of_many_levels_takes_little_memory():
    """Found by reading: a dense mask of 50,000 streets and postcodes took gigabytes."""
    streets = np.arange(50_000)
    table = as_table(pd.DataFrame({"street": streets, "postcode": streets // 2}).astype(str))
    codec = fit_codec(table, rules=[Determines("postcode", "street")])
    (of_levels,) = codec.level_rules
    levels = np.array([[-1, 7], [3, -1]])
    allowed = [~of_levels.rule.excluded(levels, 0)[0], ~of_levels.rule.excluded(levels, 1)[1]]
    assert [int(each.sum()) for each in allowed] == [1, 2]
