"""Make the files that ship with the page: `python -m backwalk.web.ship [answers]`.

Without `answers` the models are fitted again as well, which takes minutes.
"""

from __future__ import annotations

import json
import sys

from backwalk.datasets import DENSITIES
from backwalk.streams import Stream
from backwalk.web import pictures, shipped
from backwalk.web.answers import shipped_data, shipped_model
from backwalk.web.catalogue import catalogue
from backwalk.web.models import make_estimator
from backwalk.web.requests import ChainRequest, SettingsRequest, check_body


def write_models() -> None:
    """Fit and write the models."""
    rows = DENSITIES[shipped.DENSITY]().sample_rows(0, shipped.N_ROWS, stream=Stream(shipped.SEED))
    for model in shipped.MODELS.values():
        settings = SettingsRequest(**model.settings)
        estimator = make_estimator(settings, {}, shipped.SEED, device="cpu").set_params(verbose=True)
        estimator.fit(rows).save(shipped.FOLDER / model.file, overwrite=True)


def write_answers() -> None:
    """Write the catalogue, and the card and the chain of the first model."""
    entry = shipped_model(shipped.START, shipped_data())
    chain = pictures.chain(entry, check_body(ChainRequest, dict(shipped.FIRST_CHAIN)))
    (shipped.FOLDER / "catalogue.json").write_text(json.dumps(catalogue()), encoding="utf-8")
    (shipped.FOLDER / "model.json").write_text(json.dumps(entry.record()), encoding="utf-8")
    (shipped.FOLDER / "chain.bin").write_bytes(chain.to_bytes())


if __name__ == "__main__":
    if sys.argv[1:] != ["answers"]:
        write_models()
    write_answers()
