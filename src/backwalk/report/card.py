"""The last sections: the model card, and the command lines that made the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from backwalk.model import DiffusionModel
from backwalk.report.blocks import Code, Row, Section, Table
from backwalk.report.words import significant

_CARD_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "n_rows": "training rows",
        "n_validation_rows": "held-out rows (they chose the weights)",
        "n_table_rows": "rows of the table, of which these were chosen",
        "n_columns": "columns",
        "n_parameters": "parameters of the network",
        "steps_taken": "training steps",
        "last_gain": "gain of the last third of the steps, but for those of rates that fall to 0, nats a row",
        "stopped_by": "training ended by",
        "data_sha256": "SHA-256 of the table",
        "split_seed": "seed of the held-out rows",
    }
)


def card_section(model: DiffusionModel) -> Section:
    """Show the model card."""
    return Section("Model card", [Table((), [Row.of(name, value) for name, value in card_rows(model)])])


def commands_section(commands: Sequence[str]) -> Section | None:
    """Show the command lines that made the report, if there are any."""
    return Section("Commands", [Code("\n".join(commands))]) if commands else None


def card_rows(model: DiffusionModel) -> list[tuple[str, str]]:
    """Return the model card as names and values; parameters that are None, which the fit chose, in one row.

    With a time limit the planned number of training steps is left out: it is only an upper limit.
    """
    record = dict(model.card)
    parameters = record.pop("parameters", {})
    rows = list(_flattened({**record, "parameter": {k: v for k, v in parameters.items() if v is not None}}, ""))
    chosen = [name for name, value in parameters.items() if value is None]
    if chosen:
        rows.append(("parameters left to the fit", ", ".join(chosen)))
    limited = parameters.get("max_time") is not None
    return [row for row in rows if not (limited and row[0] == "training: max steps")]


def _flattened(record: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for key, value in record.items():
        if isinstance(value, Mapping):
            yield from _flattened(value, {"settings": "", "versions": "version of "}.get(key, f"{prefix}{key}: "))
        elif value is not None:
            name = _CARD_NAMES.get(key, key) if not prefix else key
            yield f"{prefix}{name}".replace("_", " "), significant(value) if isinstance(value, float) else str(value)
