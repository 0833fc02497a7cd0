import math

import pytest

from backwalk.assess.words import column_name, minus, significant, with_error
from backwalk.table import Schema


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.09999999999999995, 4e-17, "0.1"),
        (0.5, 0.0312, "0.50 ± 0.03"),
        (0.5, 0.0096, "0.500 ± 0.010"),
        (-0.0004, 0.003, "0.000 ± 0.003"),
        (-0.04, 0.003, "−0.040 ± 0.003"),
        (123.4, 12.3, "123 ± 12"),
        (math.inf, math.inf, "infinite"),
        (1.5, math.nan, "1.5"),
    ],
)
def test_a_value_has_the_digits_that_its_error_allows(value, error, text):
    assert with_error(value, error) == text


def test_minus_signs_are_true_ones_and_zero_has_none():
    assert (minus("-1.5"), minus("-0.00"), minus("2")) == ("−1.5", "0.00", "2")
    assert significant(math.inf) == "∞"


def test_columns_without_names_are_numbered():
    assert column_name(Schema(None, ("float64",) * 12, "numpy"), 11) == "x₁₂"
    assert column_name(Schema(("a<b>",), ("float64",), "pandas"), 0) == "a<b>"
