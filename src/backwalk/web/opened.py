"""The models and the rows that the page opens with: those that ship with it, and the user's own."""

from __future__ import annotations

import importlib
import sys
from inspect import signature
from pathlib import Path

from torch import nn

from backwalk.errors import InvalidInput
from backwalk.estimator import Diffusion
from backwalk.model_file import n_network_columns
from backwalk.web import requests, shipped, tables
from backwalk.web.models import ModelEntry
from backwalk.web.tables import DataEntry


def shipped_data() -> DataEntry:
    """Return the rows that the shipped models were fitted to."""
    request = requests.DataRequest(density=shipped.DENSITY, n=shipped.N_ROWS, seed=shipped.SEED)
    return tables.draw(shipped.START, request)


def shipped_model(name: str, data: DataEntry) -> ModelEntry:
    """Return a shipped model with its data."""
    model = shipped.MODELS[name]
    estimator = Diffusion.load(shipped.FOLDER / model.file, device="cpu")
    settings = requests.SettingsRequest(**model.settings)
    return ModelEntry(name, estimator, data, settings, shipped.SEED, model.title)


def given_model(model: str | Diffusion, network: str | None = None) -> ModelEntry:
    """Return a fitted model, or that in a file, without its data; `network` is as in `network_of`."""
    title = shipped.title_of(model)
    if not isinstance(model, str):
        return ModelEntry(shipped.GIVEN, model, title=title)
    denoiser = None if network is None else network_of(network, model)
    return ModelEntry(shipped.GIVEN, Diffusion.load(model, denoiser=denoiser), title=title, path=model)


def network_of(text: str, path: str) -> nn.Module:
    """Return the module that MODULE:NAME names, for the model in a file.

    NAME is a module, or a class or function that makes one of no arguments or of the number of columns. MODULE is also
    sought in the current folder. Raises InvalidInput.
    """
    place, _, name = text.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        found = getattr(importlib.import_module(place), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidInput(f"--network should be MODULE:NAME, but {text!r} cannot be imported: {error}.") from error
    finally:
        sys.path.pop(0)
    if callable(found) and not isinstance(found, nn.Module):
        needed = [each for each in signature(found).parameters.values() if each.default is each.empty]
        found = found(*[n_network_columns(path)] if needed else [])
    if not isinstance(found, nn.Module):
        raise InvalidInput(f"--network should name a torch.nn.Module, or what makes one, but {text!r} does not.")
    return found
