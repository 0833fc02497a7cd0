"""Fit the shipped models, and store their first answers: `python -m backwalk.web.start.make [answers]`."""

from __future__ import annotations

import json
import sys

from backwalk.datasets import DENSITIES
from backwalk.streams import Stream
from backwalk.web import pictures, start
from backwalk.web.catalogue import catalogue
from backwalk.web.opening import moons_data, shipped
from backwalk.web.requests import ChainRequest, SettingsRequest, checked
from backwalk.web.settings import estimator


def write_models() -> None:
    """Fit and write the models."""
    rows = DENSITIES[start.DENSITY]().sample_rows(0, start.N_ROWS, stream=Stream(start.SEED))
    for own in start.MODELS.values():
        model = estimator(SettingsRequest(**own.settings), {}, start.SEED, device="cpu").set_params(verbose=True)
        model.fit(rows).save(start.FOLDER / own.file, overwrite=True)


def write_answers() -> None:
    """Write the answers about the stored models."""
    data = moons_data()
    for name in start.MODELS:
        text = json.dumps(shipped(name, data).record())
        (start.FOLDER / f"{name}.json").write_text(text, encoding="utf-8")
    (start.FOLDER / "catalogue.json").write_text(json.dumps(catalogue()), encoding="utf-8")
    packed = pictures.chain(shipped(start.NAME, data), checked(ChainRequest, dict(start.CHAIN)))
    (start.FOLDER / "chain.bin").write_bytes(packed.to_bytes())


if __name__ == "__main__":
    if sys.argv[1:] != ["answers"]:
        write_models()
    write_answers()
