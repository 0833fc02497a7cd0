"""What `backwalk info` says: of a model, of a table, or of the built-in densities."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backwalk.cli.data import read_data
from backwalk.cli.output import printable

if TYPE_CHECKING:
    from backwalk.table import Schema


def facts_of(path: str | None) -> dict[str, Any]:
    """Return what a model or a table file holds, or, without a path, the built-in densities: plain JSON values."""
    if path is None:
        from backwalk.datasets import DENSITIES

        return {"densities": [{"name": name, "d": make().d} for name, make in DENSITIES.items()]}
    if Path(path).is_dir() or Path(path).suffix == ".safetensors":
        return _of_model(path)
    return _of_table(path)


def lines_of(facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the facts as a label and a text each, both on one line and harmless for a terminal."""
    for name, value in facts.items():
        label = name.replace("_", " ")
        if isinstance(value, list) and value and isinstance(value[0], dict):
            for of_one in value:
                others = (f"{fact} = {_worded(number)}" for fact, number in of_one.items() if fact != "name")
                yield printable(of_one["name"]), ", ".join(others)  # as it is typed
        elif isinstance(value, list):
            yield label, ", ".join(map(_worded, value))
        else:
            yield label, _worded(value)


def _worded(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else printable(str(value))


def _names(schema: Schema) -> list[str]:
    return list(schema.columns or (f"column {j}" for j in range(schema.n_columns)))


def _of_model(path: str) -> dict[str, Any]:
    from backwalk.model import blur_words, student_words, training_words
    from backwalk.model_file import load

    model = load(Path(path))
    columns = _names(model.schema)
    heavy = [columns[j] for j in model.codec.heavy_tailed_columns]
    return {
        "model": path,
        "columns": columns,
        **({"heavy_tailed": heavy} if heavy else {}),
        "network": repr(model.architecture),
        "training": training_words(model),
        "schedule": repr(model.schedule),
        "alpha_bar_N": float(model.schedule.alpha_bar[-1]),
        "prior_mismatch_nats": model.prior_mismatch,
        "reverse_variance": model.reverse_variance,
        "log_density": f"the probability-flow ODE's, blurred by {blur_words(model)}",
        "sampler": model.sampler.describe(model.schedule),
        **({"student": student_words(model.student)} if model.student else {}),
        "chosen_step": f"{model.history.chosen_step} of {model.history.n_steps}",
        **{name: value for name, value in model.card.items() if not isinstance(value, dict)},
        **{f"{name}_version": version for name, version in model.card["versions"].items()},
    }


def _of_table(path: str) -> dict[str, Any]:
    table = read_data(path, 10_000, 0, name="PATH").table
    values = table.values
    columns = [
        {
            "name": name,
            "mean": float(x.mean()),
            "sd": float(x.std()),
            "least": float(x.min()),
            "largest": float(x.max()),
        }
        for name, x in zip(_names(table.schema), values.T, strict=True)
    ]
    return {"table": path, "rows": len(values), "n_columns": values.shape[1], "columns": columns}
