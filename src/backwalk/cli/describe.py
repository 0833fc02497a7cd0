"""The facts of a saved model, a table file or a built-in density, as JSON values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from backwalk.cli.tables import check_file, is_built_in
from backwalk.datasets import DENSITIES
from backwalk.estimator import Diffusion
from backwalk.fit import ChosenColumns, check_settings, choose_within, read_rows
from backwalk.model import DiffusionModel, blur_words, training_words
from backwalk.model_file import is_model, load
from backwalk.table import Codec, Schema, StrPath, find_doubts
from backwalk.table.codec_rules import stated_rules
from backwalk.table.column_facts import facts_of_codec
from backwalk.table.find_rules import nearly_rules

MODEL_SUFFIXES = (".backwalk", ".safetensors")  # of files that are called models even if they are damaged


def describe(path: StrPath | None = None) -> dict[str, Any]:
    """Describe a model, a table file or a built-in density as JSON values; without a path, list the densities."""
    if path is None:
        return {"densities": [{"name": name, "d": make().d} for name, make in DENSITIES.items()]}
    if is_model(str(path)) or Path(path).suffix in MODEL_SUFFIXES:
        return _describe_model(str(path))
    if is_built_in(path):
        return _describe_density(str(path))
    return _describe_table(path)


def _describe_model(path: str) -> dict[str, Any]:
    model = load(Path(path))
    return {
        "model": path,
        "columns": facts_of_codec(model.schema, model.codec),
        **({"set_aside": list(model.schema.set_aside)} if model.schema.set_aside else {}),
        **_rules(model.codec, model.schema),
        "missing": "generated" if model.codec.missing_levels else "absent",
        "conditions": _conditions(model),
        "network": repr(model.architecture),
        "training": training_words(model),
        "schedule": repr(model.schedule),
        "alpha_bar_N": float(model.schedule.alpha_bar[-1]),
        "prior_mismatch_nats": model.prior_mismatch,
        "reverse_variance": model.reverse_variance,
        "log_density": f"probability-flow ODE, blurred by {blur_words(model)}",
        "sampler": model.sampler.describe(model.schedule),
        "training_step_kept": f"{model.history.chosen_step} of {model.history.n_steps}",
        **{name: value for name, value in model.card.items() if not isinstance(value, dict)},
        **{f"{name}_version": version for name, version in model.card["versions"].items()},
    }


def _describe_density(name: str) -> dict[str, Any]:
    density = DENSITIES[name]()
    return {"density": name, "d": density.d, "entropy_nats": density.entropy}


def _conditions(model: DiffusionModel) -> str:
    """Return which columns may be given, in words."""
    if isinstance(model.conditions, tuple):
        return "; ".join(", ".join(model.schema.names[j] for j in columns) for columns in model.conditions)
    return model.conditions or "none"


def _describe_table(path: StrPath) -> dict[str, Any]:
    check_file(path, name="PATH", folders=True)
    settings = check_settings(Diffusion().get_params(deep=False))
    rows = read_rows(path, settings)
    chosen = choose_within(rows, settings)
    facts = {each["name"]: each for each in facts_of_codec(chosen.table.schema, chosen.codec, chosen.gaps)}
    aside = {name: {"name": name, "set_aside": f"it {reason}"} for name, reason in chosen.set_aside.items()}
    return {
        "table": str(path),
        **({"files": rows.n_files} if rows.n_files > 1 else {}),
        "rows": rows.n_rows,
        "n_columns": rows.table.schema.n_columns,
        "columns": [{**facts, **aside}[name] for name in rows.table.schema.names],
        **_rules(chosen.codec, chosen.table.schema),
        **_nearly(chosen),
        **_doubts(chosen),
    }


def _rules(codec: Codec, schema: Schema) -> dict[str, list[str]]:
    """Return the rules between columns, if there are any."""
    rules = stated_rules(codec, schema.names)
    return {"rules": rules} if rules else {}


def _nearly(chosen: ChosenColumns) -> dict[str, list[str]]:
    """Return the rules that all but a few rows obey, if there are any."""
    levels = [block.column for block in chosen.codec.blocks if block.is_category]
    broken = nearly_rules(chosen.table, levels=[j for j in levels if j < chosen.codec.n_columns])
    texts = [f"{rule} (but for {n:,} row{'s' * (n != 1)})" for rule, n in broken.items()]
    return {"nearly": texts} if texts else {}


def _doubts(chosen: ChosenColumns) -> dict[str, list[str]]:
    """Return the likely mistakes, if there are any."""
    doubts = list(find_doubts(chosen.table))
    return {"doubts": doubts} if doubts else {}
