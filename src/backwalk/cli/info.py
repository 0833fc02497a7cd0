"""`backwalk info`."""

from collections.abc import Iterator
from typing import Any

import click

from backwalk.cli import options
from backwalk.cli.console import Console, on_one_line
from backwalk.formatting import NO_NAME

_OF_RULES = {"doubts": "warning", "rules": "rule", "nearly": "nearly a rule"}


@click.command()
@click.argument("path", required=False)
@options.text_options
@options.reply_options
@click.pass_obj
def info(console: Console, path: str | None, json: bool) -> None:
    """Describe a model, a table or a built-in density.

    Of a model: its columns, their kinds, levels and bounds, gaps, and the conditions that it takes. Of a table: which
    kind a fit would give each column, what it holds, and which columns it would set aside; of a table that cannot be
    fitted, why. Without PATH, list the densities.
    """
    from backwalk.cli.describe import describe

    facts = describe(path if path is None else console.path(path))
    if json:
        console.print_json(facts)
        return
    lines = list(_lines(facts))
    width = max(len(label) for label, _ in lines)
    for label, text in lines:
        console.print(f"{label:<{width}}  {text}")


def _lines(facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each fact as a label and a text, both on one line."""
    for name, value in facts.items():
        label = name.replace("_", " ")
        if name in _OF_RULES:
            yield from ((_OF_RULES[name], on_one_line(text)) for text in value)
            continue
        if isinstance(value, list) and value and isinstance(value[0], dict):
            for item in value:
                others = (f"{key.replace('_', ' ')} = {_text(fact)}" for key, fact in item.items() if key != "name")
                yield on_one_line(item["name"]) or NO_NAME, ", ".join(others)
        else:
            yield label, _text(value)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return f"{value:.6g}" if isinstance(value, float) else on_one_line(str(value))
