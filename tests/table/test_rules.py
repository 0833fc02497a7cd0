"""The text of a rule, and its reading."""

import pytest

from backwalk.errors import InvalidInput
from backwalk.table import Computed, Determines, Order, Total, parse_rule

TEXTS = {
    "start <= end": Order("start", "end"),
    "bikers = casual + registered": Total("bikers", ["casual", "registered"]),
    "fahrenheit = 1.8 * celsius + 32": Total("fahrenheit", ["celsius"], [1.8], 32.0),
    "net = gross - tax - 2.5": Total("net", ["gross", "tax"], [1.0, -1.0], -2.5),
    "same = other": Total("same", ["other"]),
    "logwage = log(wage)": Computed("logwage", "log(wage)"),
    "`a b` <= `1st`": Order("a b", "1st"),
    "city -> country": Determines("country", "city"),
    "city, `a b` -> zip": Determines("zip", ["city", "a b"]),
}


@pytest.mark.parametrize(("text", "rule"), TEXTS.items())
def test_a_rule_is_read_from_its_text_and_written_as_it(text, rule):
    assert parse_rule(text) == rule
    assert str(rule) == text
    assert parse_rule(text.replace(" <= ", "<=").replace(" = ", "=").replace(" -> ", "  ->")) == rule


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "a <=",
        "a = ",
        "a == b",
        "a = b c",
        "a = 2 *",
        "a = f(b)",
        "a < b",
        "a = log(b) + c",
        "a -> b -> c",
        "a, b",
        "-> a",
    ],
)
def test_other_texts_are_refused_with_the_text(text):
    with pytest.raises(InvalidInput, match=r"rule|formula"):
        parse_rule(text)


def test_rules_refuse_what_they_cannot_mean():
    for make in (lambda: Total("a", []), lambda: Total("a", "bc"), lambda: Total("a", ["b"], [0.0])):
        with pytest.raises(InvalidInput):
            make()
    with pytest.raises(InvalidInput, match="one to 3"):
        Determines("a", list("bcde"))
    with pytest.raises(InvalidInput, match="log"):
        Computed("a", "sin(b)")
