"""Rules between the columns of a table, as the user states and reads them. All but copies hold in each row.

    low <= high                     `Order`
    total = part + 2 * part - 3     `Total`
    column = log(other)             `Computed`
    city, street -> postcode        `Determines`: a column of levels follows from up to three others
    paid ?= price                   `Copy`: a column equals another in a part of the rows

`str` of a rule is its text, and `parse_rule` reads it. In a text, names that are not letters, digits, dots and
underscores alone stand between backticks. `rule_system.py` applies rules to rows, and `find_rules.py` finds them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backwalk.errors import InvalidInput
from backwalk.formatting import listed
from backwalk.table.functions import FUNCTIONS
from backwalk.table.schema import shown

_PLAIN = re.compile(r"[A-Za-z_][\w.]*")
_TOKEN = re.compile(r"\s*(?:`([^`]+)`|([A-Za-z_][\w.]*)|(\d+\.?\d*(?:[eE][-+]?\d+)?)|(<=|->|\?=|[-+*()=,]))")
_FORMS = "'low <= high', 'total = part + part', 'column = log(other)', 'one, other -> third' or 'column ?= other'"
_MOST_BY = 3  # columns that determine another


@dataclass(frozen=True)
class Order:
    """A rule between two columns: one is at most the other, in each row that has both.

    Its text is "low <= high".

    Parameters
    ----------
    low : str
        Name of the column that is the smaller one.
    high : str
        Name of the column that is the larger one.

    See Also
    --------
    backwalk.Diffusion : Its parameter `rules`.
    Total : A column that is a sum of others.

    Examples
    --------
    >>> import numpy as np
    >>> import pyarrow as pa
    >>> from backwalk import Diffusion
    >>> from backwalk.table import Order
    >>> rng = np.random.default_rng(0)
    >>> start = rng.normal(size=200)
    >>> table = pa.table({"start": start, "end": start + rng.exponential(size=200)})
    >>> drawn = Diffusion(max_steps=20, rules=[Order("start", "end")], random_state=0).fit(table).sample(50)
    >>> bool((drawn["start"].to_numpy() <= drawn["end"].to_numpy()).all())
    True
    """

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
    """A rule between columns: one is a sum of others, with factors and a constant.

    Its text is such as "total = part + 2 * other - 3".

    Parameters
    ----------
    total : str
        Name of the column that is the sum.
    parts : sequence of str
        Names of the columns that add up to it.
    factors : sequence of float, default=None
        Factors of the parts, none of which is 0; None is 1 for each.
    constant : float, default=0.0
        A number that is added.

    See Also
    --------
    backwalk.Diffusion : Its parameter `rules`.
    Computed : A column that is a function of another.

    Examples
    --------
    >>> import numpy as np
    >>> import pyarrow as pa
    >>> from backwalk import Diffusion
    >>> from backwalk.table import Total
    >>> a, b = np.random.default_rng(0).poisson(20, (2, 200))
    >>> table = pa.table({"a": a, "b": b, "both": a + b})
    >>> drawn = Diffusion(max_steps=20, rules=[Total("both", ["a", "b"])], random_state=0).fit(table).sample(50)
    >>> bool((drawn["both"].to_numpy() == drawn["a"].to_numpy() + drawn["b"].to_numpy()).all())
    True
    """

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
    """A rule between two columns: one is a function of the other, up to its printed digits.

    Its text is such as "y = log(wage)".

    Parameters
    ----------
    column : str
        Name of the column that is computed.
    formula : str
        A function of another column, such as "log(wage)": log, log1p, log10, exp, sqrt, square, reciprocal or round.

    See Also
    --------
    backwalk.Diffusion : Its parameter `rules`.
    Total : A column that is a sum of others.

    Examples
    --------
    >>> import numpy as np
    >>> import pyarrow as pa
    >>> from backwalk import Diffusion
    >>> from backwalk.table import Computed
    >>> wage = np.random.default_rng(0).lognormal(size=200)
    >>> table = pa.table({"wage": wage, "y": np.log(wage)})
    >>> drawn = Diffusion(max_steps=20, rules=[Computed("y", "log(wage)")], random_state=0).fit(table).sample(50)
    >>> bool(np.allclose(drawn["y"], np.log(drawn["wage"])))
    True
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
class Determines:
    """A rule between columns with levels: those of one to three columns determine that of another.

    Its text is such as "city, street -> postcode". A combination that some fitted row has comes with the level of that
    row; other combinations come with any.

    Parameters
    ----------
    of : str
        Name of the column that follows from the others.
    by : str or sequence of str
        Names of the columns that determine it: one, two or three.

    See Also
    --------
    backwalk.Diffusion : Its parameter `rules`.
    Computed : A number that is a function of another.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from backwalk import Diffusion
    >>> from backwalk.table import Determines
    >>> city, country = ["Bonn", "Kiel", "Lyon"] * 70, ["DE", "DE", "FR"] * 70
    >>> table = pa.table({"city": city, "country": country})
    >>> rule = Determines("country", by="city")
    >>> drawn = Diffusion(max_steps=20, rules=[rule], random_state=0).fit(table).sample(50, random_state=1).to_pylist()
    >>> {row["city"] for row in drawn if row["country"] == "FR"}
    {'Lyon'}
    """

    of: str
    by: Sequence[str] | str

    def __post_init__(self) -> None:
        by = (self.by,) if isinstance(self.by, str) else tuple(self.by)
        if not 1 <= len(by) <= _MOST_BY:
            raise InvalidInput(
                f"by of Determines should be the names of one to {_MOST_BY} columns, but got {shown(self.by)}."
            )
        object.__setattr__(self, "by", by)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns."""
        return self.of, *self.by

    def __str__(self) -> str:
        """Return the rule's text."""
        return f"{', '.join(map(_quoted, self.by))} -> {_quoted(self.of)}"


@dataclass(frozen=True)
class Copy:
    """A rule between two columns of numbers: one equals the other in a part of the rows.

    Its text is such as "paid ?= price". In that part the two have one value, which is drawn and scored once.

    Parameters
    ----------
    column : str
        Name of the column that is a copy in some rows.
    of : str
        Name of the column that it is a copy of. Where one of the two is known, the other may follow from it.

    See Also
    --------
    backwalk.Diffusion : Its parameter `rules`.
    Total : A column that equals another, or a sum, in all rows.

    Examples
    --------
    >>> import numpy as np
    >>> import pyarrow as pa
    >>> from backwalk import Diffusion
    >>> from backwalk.table import Copy
    >>> price, other = np.random.default_rng(0).lognormal(size=(2, 200))
    >>> table = pa.table({"price": price, "paid": np.where(np.arange(200) % 2, price, other)})
    >>> drawn = Diffusion(max_steps=20, rules=[Copy("paid", of="price")], random_state=0).fit(table).sample(50)
    >>> bool(0.2 < (drawn["paid"].to_numpy() == drawn["price"].to_numpy()).mean() < 0.8)
    True
    """

    column: str
    of: str

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns."""
        return self.column, self.of

    def __str__(self) -> str:
        """Return the rule's text."""
        return f"{_quoted(self.column)} ?= {_quoted(self.of)}"


Rule = Order | Total | Computed | Determines | Copy


def parse_rule(text: str) -> Rule:
    """Return the rule of a text. Raises InvalidInput for a text that is none.

    >>> from backwalk.table.rules import parse_rule
    >>> parse_rule("bikers = casual + registered")
    Total(total='bikers', parts=('casual', 'registered'), factors=(1.0, 1.0), constant=0.0)
    """
    tokens = _tokens(text)
    names = [value for kind, value in tokens if kind == "name"]
    signs = [value for kind, value in tokens if kind == "sign"]
    if len(tokens) == 3 and len(names) == 2 and signs == ["<="]:
        return Order(names[0], names[1])
    if len(tokens) == 3 and len(names) == 2 and signs == ["?="]:
        return Copy(names[0], of=names[1])
    if "->" in signs:
        kinds = [kind for kind, _ in tokens]
        if kinds != ["name", *["sign", "name"] * len(signs)] or signs[:-1] != [","] * (len(signs) - 1):
            raise _no_rule(text)
        return Determines(names[-1], names[:-1])
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
        f"A rule should be {_FORMS}, but got {shown(text)}: write it so, with names of "
        "other characters between backticks."
    )


def _quoted(name: str) -> str:
    return name if _PLAIN.fullmatch(name) else f"`{name}`"
