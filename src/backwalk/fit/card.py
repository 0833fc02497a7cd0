"""The card of a model: the parameters and the facts of its fit, as plain JSON."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from numbers import Integral, Real
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import backwalk
from backwalk.denoiser import CNNEmbedding, EnsembleDenoiser, FCEmbedding, Residual, Textbook
from backwalk.diffusion import NoiseSchedule
from backwalk.errors import InvalidInput
from backwalk.fit.plan import Plan
from backwalk.fit.settings import Settings
from backwalk.formatting import as_json
from backwalk.sampling import Sampler
from backwalk.streams import Stream
from backwalk.table import Levels, Number, Rule
from backwalk.training import EnsembleTrainer, Training, split_rows

_LEFT_OUT = ("callbacks", "device")  # a file holds no functions, and another machine has other devices
_SIZES = (Residual, Textbook, CNNEmbedding, FCEmbedding)
_KINDS = {kind.__name__: kind for kind in (*_SIZES, Sampler, Training, Levels, Number, *get_args(Rule))}
_AS_FITTED = "as fitted"
_OWN = "Module"  # a user's network
_BY_NAME = "by name"  # kinds of columns


def make_card(plan: Plan, denoiser: EnsembleDenoiser, trainer: EnsembleTrainer, *, data_sha256: str) -> dict[str, Any]:
    """Return the card of a fit.

    `data_sha256` is the `digest` of the table. In the card, `n_rows` counts the training rows, and `n_table_rows` all
    rows of the files, where some were chosen.
    """
    chosen = plan.chosen
    n_columns, n_used = chosen.table.schema.n_columns, len(chosen.table.values)
    are_some = n_used < chosen.n_rows
    columns = f"{n_columns} column{'s' * (n_columns > 1)}"
    n_held_out = plan.rows.n_held_out
    held_out = f", {n_held_out:,} of them held out" if n_held_out else ""
    return {
        "description": f"diffusion model of {columns}, fitted to {n_used:,} "
        f"{f'of {chosen.n_rows:,} ' if are_some else ''}rows{held_out}",
        "parameters": parameters_record(plan.settings),
        "settings": {"denoiser": _plain(plan.architecture_of(denoiser)), "training": asdict(plan.training)},
        "seed": plan.stream.seed,
        "split_seed": plan.split.stream.seed,
        "data_sha256": data_sha256,
        "n_rows": len(plan.rows.x_0),
        "n_validation_rows": n_held_out,
        **({"n_table_rows": chosen.n_rows} if are_some else {}),
        "n_columns": n_columns,
        "n_parameters": sum(parameter.numel() for parameter in denoiser.parameters()),
        "steps_taken": trainer.step,
        "last_gain": trainer.last_gain,
        "stopped_by": trainer.stopped_by,
        "versions": {**_versions(), "python": platform.python_version()},
    }


def is_of_the_fit(card: Mapping[str, Any], values: NDArray[np.float64]) -> bool:
    """Return whether rows, (n, d), are those of the fit that a card describes."""
    return bool(card.get("data_sha256") == digest(values))


def _versions() -> dict[str, str]:
    return {"backwalk": backwalk.__version__, "torch": torch.__version__, "numpy": np.__version__}


def digest(values: NDArray[np.float64]) -> str:
    """Return the SHA-256 of rows, (n, d), which identifies a table."""
    return hashlib.sha256(np.ascontiguousarray(values).reshape(-1).data).hexdigest()


def trained_rows(card: Mapping[str, Any], values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which rows of a fit's table, (n, d), were trained on: (n,), False for held-out rows.

    The split follows from its seed. For another table than the card's, all are True.
    """
    n_validation, trained = card.get("n_validation_rows", 0), np.ones(len(values), dtype=bool)
    if n_validation and is_of_the_fit(card, values):
        chosen_by, _ = split_rows(len(values), n_validation, stream=Stream(card["split_seed"]))
        trained[chosen_by] = False
    return trained


def split_of(card: Mapping[str, Any], data_sha256: str, otherwise: Stream) -> Stream:
    """Return the stream that draws the held-out rows of a fit that starts from the weights of an earlier fit.

    `card` is that of the earlier fit. On the same table its split is used again, so that the initial weights were not
    trained on held-out rows.
    """
    return Stream(card["split_seed"]) if card.get("data_sha256") == data_sha256 else otherwise


def parameters_record(settings: Settings) -> dict[str, Any]:
    """Return an estimator's parameters as plain JSON, without callbacks and device.

    A schedule becomes a reference to the fitted one, which the model holds, and a random state that is not an integer
    becomes None (the card holds the seed).
    """
    names = [name for name in Settings.model_fields if name not in _LEFT_OUT]
    return {name: _plain(getattr(settings, name)) for name in names}


def parameters_from(
    record: Mapping[str, Any], schedule: NoiseSchedule, modules: Mapping[str, nn.Module | None] | None = None
) -> dict[str, Any]:
    """Return the parameters that `parameters_record` wrote; `modules` take the places of a user's, by parameter.

    Raises InvalidInput or TypeError for values that it cannot have written.
    """
    for name in _LEFT_OUT:
        if name in record:
            raise InvalidInput(f"a file should not set {name}, but this one does.")
    modules = modules or {}
    revived = {
        name: schedule if value == _AS_FITTED else _revived(value, modules.get(name)) for name, value in record.items()
    }
    if isinstance(rules := revived.get("rules"), list):
        revived["rules"] = [_revived(rule, None) for rule in rules]
    return revived


def _plain(value: Any) -> Any:
    match value:
        case NoiseSchedule():
            return _AS_FITTED
        case Residual() | Textbook() | CNNEmbedding() | FCEmbedding() | Sampler() | Training() | Levels() | Number():
            return {"kind": type(value).__name__, **as_json(asdict(value))}
        case _ if isinstance(value, Rule):
            return {"kind": type(value).__name__, **as_json(asdict(value))}
        case Mapping():
            return {"kind": _BY_NAME, "of": {str(name): _plain(each) for name, each in value.items()}}
        case Sequence() if not isinstance(value, str):
            return [_plain(each) for each in value]
        case nn.Module():
            return {"kind": _OWN, "name": type(value).__name__}
        case None | str():
            return value
        case bool() | np.bool_():
            return bool(value)
        case Integral():
            return int(value)
        case Real():
            return float(value)
    return None


def _revived(value: Any, network: nn.Module | None) -> Any:
    if not isinstance(value, Mapping):
        return value
    fields = dict(value)
    kind = fields.pop("kind", None)
    if kind == _OWN:
        return network
    if kind == _BY_NAME:
        return {name: _revived(each, None) for name, each in fields["of"].items()}
    if kind not in _KINDS:
        raise InvalidInput(f"a parameter should be one of {', '.join(_KINDS)}, but got {str(kind)[:80]!r}.")
    return _KINDS[kind](**fields)
