"""Rules of a table: checked in all rows, with gaps that have their own kind, and numbers that are no levels."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from backwalk.errors import InvalidInput
from backwalk.table import Codec, Combinations, Order, Total, as_table, fit_codec, parse_rule
from backwalk.table.codec_rules import breaks_rules, stated_rules

generator = np.random.default_rng(0)
LOW = generator.integers(0, 6, 500) / 10.0
TABLE = as_table(
    pd.DataFrame(
        {
            "low": LOW,
            "high": (LOW + generator.integers(0, 40, 500) / 100.0).round(2),
            "kind": generator.choice(["x", "y"], 500),
        }
    )
)


def test_a_gap_is_a_number_on_the_grid_of_its_ends_and_decodes_exactly():
    codec = fit_codec(TABLE, rules=[Order("low", "high")])
    (gap,) = codec.gaps
    assert gap.number_column.grid.cell == pytest.approx(0.01)
    assert gap.value_range[0] >= 0.0
    assert codec.columns[0].number_column is not None  # 6 values, without rules levels
    assert fit_codec(TABLE).columns[0].number_column is None
    z = codec.encode(TABLE.values)
    np.testing.assert_array_equal(codec.decode(z), TABLE.values)
    z[:, ~codec.drawn_coordinates] = np.nan
    np.testing.assert_array_equal(codec.decode_new(z, np.full(TABLE.values.shape, np.nan)), TABLE.values)


@pytest.mark.parametrize("of_pandas", [pa.Table.from_pandas, pl.from_pandas])
def test_a_gap_has_a_column_in_tables_of_each_library(of_pandas):
    table = as_table(of_pandas(pd.DataFrame({"low": LOW, "high": LOW + generator.exponential(size=500)})))
    assert len(fit_codec(table, rules=[Order("low", "high")]).gaps) == 1


def test_a_codec_with_rules_is_read_back_from_its_record():
    rules = [Order("low", "high"), Combinations("kind", "kind2")]
    frame = pd.DataFrame(TABLE.values[:, :2], columns=["low", "high"])
    frame["kind"] = np.where(frame["low"] > 0.2, "x", "y")
    frame["kind2"] = np.where(frame["low"] > 0.4, "p", np.where(frame["low"] > 0.2, "q", "r"))
    codec = fit_codec(as_table(frame), rules=rules)
    assert Codec.from_dict(codec.to_dict()) == codec
    assert stated_rules(codec, list(frame)) == ["low <= high", "kind ~ kind2"]


def test_a_total_may_be_a_rounded_function_and_then_does_not_determine_its_argument():
    x = np.exp(generator.normal(size=300))
    table = as_table(pd.DataFrame({"x": x, "y": np.log(x).round(2)}))
    codec = fit_codec(table, rules=[parse_rule("y = log(x)")])
    known = np.array([[False, True]])
    assert codec.cell_masks(known, ~known)[1].tolist() == [[True, False]]
    assert not breaks_rules(codec, table.values).any()
    assert breaks_rules(codec, np.add(table.values, [[0.0, 0.01]])).all()


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (Order("high", "low"), "high <= low.*first row"),
        (Order("low", "kind"), "kind"),
        (Order("low", "wide"), "wide"),
        (Order("low", "low"), "different"),
        (Total("high", ["low"]), "high = low"),
        (Combinations("low", "high"), "none"),
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
    assert len(fit_codec(table, rules=[Order("low", "high")]).gaps) == 1
