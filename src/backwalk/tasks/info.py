"""Describe a saved model, a table file or a built-in density."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from backwalk.datasets import DENSITIES
from backwalk.model import blur_words, student_words, training_words
from backwalk.model_file import load
from backwalk.table import facts_of_columns
from backwalk.tasks.data import check_source, is_built_in
from backwalk.tasks.models import is_model


def info(path: str | None = None) -> dict[str, Any]:
    """Describe a model, a table file or a built-in density as JSON values; without a path, list the densities."""
    if path is None:
        return {"densities": [{"name": name, "d": make().d} for name, make in DENSITIES.items()]}
    if is_model(path):
        return _of_model(path)
    if is_built_in(path):
        return _of_density(path)
    return _of_table(path)


def _of_model(path: str) -> dict[str, Any]:
    model = load(Path(path))
    columns = zip(model.schema.names, model.codec.columns, strict=True)
    return {
        "model": path,
        "columns": [{"name": name, "kind": column.kind, "encoded_as": column.description} for name, column in columns],
        "network": repr(model.architecture),
        "training": training_words(model),
        "schedule": repr(model.schedule),
        "alpha_bar_N": float(model.schedule.alpha_bar[-1]),
        "prior_mismatch_nats": model.prior_mismatch,
        "reverse_variance": model.reverse_variance,
        "log_density": f"probability-flow ODE, blurred by {blur_words(model)}",
        "sampler": model.sampler.describe(model.schedule),
        **({"student": student_words(model.student)} if model.student else {}),
        "training_step_kept": f"{model.history.chosen_step} of {model.history.n_steps}",
        **{name: value for name, value in model.card.items() if not isinstance(value, dict)},
        **{f"{name}_version": version for name, version in model.card["versions"].items()},
    }


def _of_density(name: str) -> dict[str, Any]:
    density = DENSITIES[name]()
    return {"density": name, "d": density.d, "entropy_nats": density.entropy}


def _of_table(path: str) -> dict[str, Any]:
    check_source(path, name="PATH")
    n_rows, columns = facts_of_columns(path)
    return {"table": path, "rows": n_rows, "n_columns": len(columns), "columns": columns}
