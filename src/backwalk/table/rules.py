"""Rules between the columns of a table, which hold in each of its rows, as the user states and reads them.

    low <= high                     `Order`
    total = part + 2 * part - 3     `Total`
    column = log(other)             `Computed`
    one ~ other                     `Combinations`: only some pairs of their levels occur

`str` of a rule is its text, and `parse_rule` reads it. In a text, names that are not letters, digits, dots and
underscores alone stand between backticks. `rule_system.py` applies rules to rows, and `find_rules.py` finds them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from backwalk.errors import InvalidInput
from backwalk.formatting import listed
from backwalk.table.functions import FUNCTIONS
from backwalk.table.schema import shown

_PLAIN = re.compile(r"[A-Za-z_][\w.]*")
_TOKEN = re.compile(r"\s*(?:`([^`]+)`|([A-Za-z_][\w.]*)|(\d+\.?\d*(?:[eE][-+]?\d+)?)|(<=|[-+*()=~]))")
_FORMS = "'low <= high', 'total = part + part', 'column = log(other)' or 'one ~ other'"


@dataclass(frozen=True)
class Order:
    """`low` is at most `high`, in each row that has both."""

    low: str
    high: str

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns."""
        return self.low, self.high

    def __str__(self) -> str:
        """Return the rule's text."""
        return f"{_quoted(self.low)} <= {_quoted(self.high)}"


@dataclass(frozen=True)
class Total:
    """`total` is the `constant` and the sum of `parts`, times their `factors`, which are 1 by default."""

    total: str
    parts: Sequence[str]
    factors: Sequence[float] | None = None
    constant: float = 0.0

    def __post_init__(self) -> None:
        parts = tuple(self.parts)
        if isinstance(self.parts, str) or not parts:
            raise InvalidInput(f"parts of Total should be a list of columns, but got {shown(self.parts)}.")
        factors = (1.0,) * len(parts) if self.factors is None else tuple(float(factor) for factor in self.factors)
        if len(factors) != len(parts) or not np.isfinite(factors).all() or 0.0 in factors:
            raise InvalidInput(
                f"factors of Total should be a number other than 0 for each of {len(parts)} parts, but got "
                f"{shown(self.factors)}."
            )
        object.__setattr__(self, "parts", parts)
        object.__setattr__(self, "factors", factors)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns."""
        return self.total, *self.parts

    def __str__(self) -> str:
        """Return the rule's text."""
        assert self.factors is not None
        text = f"{_quoted(self.total)} ="
        for part, factor in zip(self.parts, self.factors, strict=True):
            sign = " -" if factor < 0.0 else "" if text.endswith("=") else " +"
            times = "" if abs(factor) == 1.0 else f"{abs(factor):.12g} * "
            text += f"{sign} {times}{_quoted(part)}"
        return text if not self.constant else f"{text} {'-' if self.constant < 0.0 else '+'} {abs(self.constant):.12g}"


@dataclass(frozen=True)
class Computed:
    """`column` is a function of another column, up to its printed digits: `formula` is such as "log(wage)".

    Functions are log, log1p, log10, exp, sqrt, square, reciprocal and round.
    """

    column: str
    formula: str

    def __post_init__(self) -> None:
        if not self.of or self.function not in FUNCTIONS:
            raise InvalidInput(
                f"A formula should be a function of one column, such as log(wage), but got {shown(self.formula)}: "
                f"the functions are {listed(FUNCTIONS)}."
            )

    @property
    def function(self) -> str:
        """The name of the function."""
        return self.formula.partition("(")[0].strip()

    @property
    def of(self) -> str:
        """The name of the other column."""
        inside = self.formula.strip().partition("(")[2]
        return inside[:-1].strip().strip("`") if inside.endswith(")") else ""

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns."""
        return self.column, self.of

    def __str__(self) -> str:
        """Return the rule's text."""
        return f"{_quoted(self.column)} = {self.function}({_quoted(self.of)})"


@dataclass(frozen=True)
class Combinations:
    """Of the pairs of levels of two columns, only those occur that the fitted rows have.

    `excluded` are the pairs that do not occur, in the columns' labels or numbers; None for all that no fitted row has.
    """

    one: str
    other: str
    excluded: Sequence[tuple[object, object]] | None = field(default=None, repr=False)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns."""
        return self.one, self.other

    def __str__(self) -> str:
        """Return the rule's text."""
        return f"{_quoted(self.one)} ~ {_quoted(self.other)}"


Rule = Order | Total | Computed | Combinations


def parse_rule(text: str) -> Rule:
    """Return the rule of a text. Raises InvalidInput for a text that is none.

    >>> parse_rule("bikers = casual + registered")
    Total(total='bikers', parts=('casual', 'registered'), factors=(1.0, 1.0), constant=0.0)
    """
    tokens = _tokens(text)
    names = [value for kind, value in tokens if kind == "name"]
    signs = [value for kind, value in tokens if kind == "sign"]
    is_pair = len(tokens) == 3 and len(names) == 2
    if is_pair and signs == ["<="]:
        return Order(names[0], names[1])
    if is_pair and signs == ["~"]:
        return Combinations(names[0], names[1])
    if len(tokens) > 2 and tokens[0][0] == "name" and tokens[1] == ("sign", "="):
        if tokens[3:4] == [("sign", "(")] and signs == ["=", "(", ")"] and len(names) == 3 and len(tokens) == 6:
            return Computed(names[0], f"{names[1]}({names[2]})")
        return _parse_total(names[0], tokens[2:], text)
    raise _no_rule(text)


def _parse_total(total: str, tokens: list[tuple[str, str]], text: str) -> Total:
    """Return the total of a sum of names, with factors before them, and numbers."""
    parts, factors, constant, sign, factor = list[str](), list[float](), 0.0, 1.0, None
    expects_term = True
    for i, (kind, value) in enumerate(tokens):
        if kind == "sign" and value in "+-" and (not expects_term or i == 0):
            sign, expects_term = (-1.0 if value == "-" else 1.0), True
        elif kind == "number" and expects_term:
            if tokens[i + 1 : i + 2] == [("sign", "*")]:
                factor = float(value)
            else:
                constant, sign, expects_term = constant + sign * float(value), 1.0, False
        elif kind == "sign" and value == "*" and factor is not None:
            pass
        elif kind == "name" and expects_term:
            parts, factors = [*parts, value], [*factors, sign * (1.0 if factor is None else factor)]
            sign, factor, expects_term = 1.0, None, False
        else:
            raise _no_rule(text)
    if expects_term or not parts:
        raise _no_rule(text)
    return Total(total, parts, factors, constant)


def _tokens(text: str) -> list[tuple[str, str]]:
    """Return the names, numbers and signs of a text, each with its kind."""
    tokens, at, text = list[tuple[str, str]](), 0, text.strip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise _no_rule(text)
        quoted, name, number, sign = match.groups()
        tokens.append(("number", number) if number else ("sign", sign) if sign else ("name", quoted or name))
        at = match.end()
    return tokens


def _no_rule(text: str) -> InvalidInput:
    return InvalidInput(
        f"A rule should be {_FORMS}, but got {shown(text)}: put names with other characters between backticks."
    )


def _quoted(name: str) -> str:
    return name if _PLAIN.fullmatch(name) else f"`{name}`"
