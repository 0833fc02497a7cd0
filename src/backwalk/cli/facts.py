"""What `backwalk info` says: of a model, of a table, of a built-in density, or of all of these."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from backwalk.cli.data import check_source, is_built_in
from backwalk.cli.output import printable


def facts_of(path: str | None) -> dict[str, Any]:
    """Return what a model or a table holds or a density is, or, without a path, the densities: plain JSON values."""
    if path is None:
        from backwalk.datasets import DENSITIES

        return {"densities": [{"name": name, "d": make().d} for name, make in DENSITIES.items()]}
    if Path(path).is_dir() or Path(path).suffix == ".safetensors":
        return _of_model(path)
    if is_built_in(path):
        return _of_density(path)
    return _of_table(path)


def lines_of(facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the facts as a label and a text each, both on one line and harmless for a terminal."""
    for name, value in facts.items():
        label = name.replace("_", " ")
        if isinstance(value, list) and value and isinstance(value[0], dict):
            for of_one in value:
                others = (
                    f"{fact.replace('_', ' ')} = {_worded(number)}" for fact, number in of_one.items() if fact != "name"
                )
                yield printable(of_one["name"]), ", ".join(others)  # as it is typed
        elif isinstance(value, list):
            yield label, ", ".join(map(_worded, value))
        else:
            yield label, _worded(value)


def _worded(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else printable(str(value))


def _of_model(path: str) -> dict[str, Any]:
    from backwalk.model import blur_words, student_words, training_words
    from backwalk.model_file import load

    model = load(Path(path))
    columns = list(model.schema.names)
    codec = model.codec
    kinds: dict[str, Iterable[int]] = {
        "whole_numbers": codec.whole_columns,
        "heavy_tailed": codec.heavy_tailed_columns,
        "constant": codec.constants,
    }
    return {
        "model": path,
        "columns": columns,
        **{kind: [columns[j] for j in found] for kind, found in kinds.items() if found},
        "network": repr(model.architecture),
        "training": training_words(model),
        "schedule": repr(model.schedule),
        "alpha_bar_N": float(model.schedule.alpha_bar[-1]),
        "prior_mismatch_nats": model.prior_mismatch,
        "reverse_variance": model.reverse_variance,
        "log_density": f"the probability-flow ODE's, blurred by {blur_words(model)}",
        "sampler": model.sampler.describe(model.schedule),
        **({"student": student_words(model.student)} if model.student else {}),
        "training_step_kept": f"{model.history.chosen_step} of {model.history.n_steps}",
        **{name: value for name, value in model.card.items() if not isinstance(value, dict)},
        **{f"{name}_version": version for name, version in model.card["versions"].items()},
    }


def _of_density(name: str) -> dict[str, Any]:
    from backwalk.datasets import DENSITIES

    density = DENSITIES[name]()
    return {"density": name, "d": density.d, "entropy_nats": density.entropy}


def _of_table(path: str) -> dict[str, Any]:
    from backwalk.table import facts_of_columns

    check_source(path, name="PATH")
    n_rows, columns = facts_of_columns(path)
    return {"table": path, "rows": n_rows, "n_columns": len(columns), "columns": columns}
