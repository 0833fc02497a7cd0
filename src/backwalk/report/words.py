"""Numbers and names as text, with the digits that their standard errors justify."""

from __future__ import annotations

import math

import numpy as np

from backwalk.estimates import Estimate
from backwalk.table import Schema, from_values

_LARGE = 1e9  # from here on an exponent is easier to read than digits
_ROUNDING = 1e-12  # an error that is smaller beside its value is that of arithmetic
_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def with_error(value: float, error: float, *, percent: bool = False) -> str:
    """Return "value ± error", with two digits of an error that begins with 1 and one digit of any other.

    >>> from backwalk.report.words import with_error
    >>> with_error(0.01234, 0.00213), with_error(0.5061, 0.0011, percent=True), with_error(12.3, 0.0)
    ('0.012 ± 0.002', '50.61 ± 0.11 %', '12.3')
    """
    factor, unit = (100.0, " %") if percent else (1.0, "")
    value, error = value * factor, error * factor
    if not math.isfinite(value):
        return "infinite" if value > 0 else "none"
    if not math.isfinite(error) or error <= _ROUNDING * abs(value):
        return f"{significant(value)}{unit}"
    exponent = math.floor(math.log10(error))
    decimals = max(0, -exponent + (error / 10.0**exponent < 1.95))
    return f"{minus(f'{value:.{decimals}f}')} ± {error:.{decimals}f}{unit}"


def estimate_text(estimate: Estimate | None) -> str:
    """Return an estimate with its error; "–" for None."""
    return "–" if estimate is None else with_error(estimate.value, estimate.standard_error)


def significant(value: float, digits: int = 4) -> str:
    """Return a number in a few significant digits, without an exponent where it is of ordinary size.

    >>> from backwalk.report.words import significant
    >>> significant(1234567.0), significant(0.34751), significant(-3.4e-07), significant(1e30)
    ('1,234,567', '0.3475', '−3.4e-07', '1e+30')
    """
    if not math.isfinite(value):
        return "∞" if value > 0 else minus("-∞") if value < 0 else "–"
    return minus(f"{value:,.0f}" if 1000 <= abs(value) < _LARGE else f"{value:.{digits}g}")


def seconds(value: float) -> str:
    """Return a duration.

    >>> from backwalk.report.words import seconds
    >>> seconds(0.0003), seconds(0.0712), seconds(7.23), seconds(209.4)
    ('under 0.01 s', '0.07 s', '7.2 s', '209 s')
    """
    if value < 0.01:
        return "under 0.01 s"
    return f"{value:.2f} s" if value < 1.0 else f"{value:.1f} s" if value < 100.0 else f"{value:,.0f} s"


def percent(share: float) -> str:
    """Return a share of rows in percent.

    >>> from backwalk.report.words import percent
    >>> percent(0.00384), percent(0.0)
    ('0.38 %', '0 %')
    """
    return f"{100.0 * share:.2g} %"


def signed(text: str) -> str:
    """Return a number's text with a plus sign where it is positive.

    >>> from backwalk.report.words import signed
    >>> signed("0.12 ± 0.02"), signed("0.00 ± 0.02"), signed("−0.1")
    ('+0.12 ± 0.02', '0.00 ± 0.02', '−0.1')
    """
    value = text.partition(" ")[0]
    return f"+{text}" if value[:1].isdigit() and value.strip("0.,") else text


def minus(text: str) -> str:
    """Return a number's text with a true minus sign, and none before zero."""
    if text.startswith("-") and not text.strip("-0.,"):
        return text[1:]
    return text.replace("-", "−", 1) if text.startswith("-") else text


def value_text(schema: Schema, column: int, value: float) -> str:
    """Return a value of a column for readers: the label of a code, a truth value, a date, or a number.

    >>> from backwalk.report.words import value_text
    >>> from backwalk.table import Schema
    >>> value_text(Schema(("grade",), ("string",), "pyarrow", labels=(("A", "B"),)), 0, 1.0)
    'B'
    >>> value_text(Schema(("year",), ("int64",), "pyarrow"), 0, 2007.0)
    '2007'
    """
    if np.isnan(value):
        return "missing"
    if schema.labels[column] is None and schema.units[column] is None and not schema.is_boolean(column):
        may_be_a_year = float(value).is_integer() and 1000 <= value < 10_000
        return f"{value:.0f}" if may_be_a_year else significant(value)
    return str(from_values(np.array([[value]]), schema.as_arrow().taken([column])).column(0)[0].as_py())


def column_name(schema: Schema, column: int) -> str:
    """Return the name of a column for readers: x₁, x₂, ... if it has none."""
    return schema.columns[column] if schema.columns else "x" + str(column + 1).translate(_SUBSCRIPTS)
