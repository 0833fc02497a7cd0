"""backwalk: denoising diffusion for vectors and tables.

>>> import numpy as np
>>> from backwalk import Diffusion
>>> X = np.random.default_rng(0).normal(size=(200, 2))
>>> Diffusion(max_steps=20, random_state=0).fit(X).sample(5, random_state=1).shape
(5, 2)

The names below, and the packages such as `backwalk.datasets`, load on first use, so that importing this package, and
`backwalk --help`, need no torch.

Public is what the API reference lists (docs/reference/api.py); all other names can change at any time.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from backwalk import assess as assess
    from backwalk import course as course
    from backwalk import datasets as datasets
    from backwalk import denoiser as denoiser
    from backwalk import diffusion as diffusion
    from backwalk import engines as engines
    from backwalk import errors as errors
    from backwalk import estimator as estimator
    from backwalk import fit as fit
    from backwalk import inference as inference
    from backwalk import model as model
    from backwalk import report as report
    from backwalk import sampling as sampling
    from backwalk import streams as streams
    from backwalk import table as table
    from backwalk import training as training
    from backwalk.denoiser import CNNEmbedding, FCEmbedding, Residual, Textbook
    from backwalk.diffusion import NoiseSchedule
    from backwalk.errors import (
        BackwalkError,
        ColumnsSetAsideWarning,
        DegenerateRowsWarning,
        DoubtfulCellsWarning,
        ImpossibleRowsWarning,
        InvalidInput,
        LeftOutRuleWarning,
        ModelFileError,
        PriorMismatchWarning,
        RepeatedValueWarning,
        SamplingDiverged,
        ShortTrainingWarning,
        TableFileError,
        TrainingDiverged,
        UnseenValuesWarning,
    )
    from backwalk.estimator import Diffusion, DiffusionImputer, multiple_imputations, pooled
    from backwalk.inference import posterior
    from backwalk.sampling import Sampler
    from backwalk.table import Levels, Number, TextPath
    from backwalk.training import Training

__version__ = "0.1.0"

__all__ = [
    "BackwalkError",
    "CNNEmbedding",
    "ColumnsSetAsideWarning",
    "DegenerateRowsWarning",
    "Diffusion",
    "DiffusionImputer",
    "DoubtfulCellsWarning",
    "FCEmbedding",
    "ImpossibleRowsWarning",
    "InvalidInput",
    "LeftOutRuleWarning",
    "Levels",
    "ModelFileError",
    "NoiseSchedule",
    "Number",
    "PriorMismatchWarning",
    "RepeatedValueWarning",
    "Residual",
    "Sampler",
    "SamplingDiverged",
    "ShortTrainingWarning",
    "TableFileError",
    "TextPath",
    "Textbook",
    "Training",
    "TrainingDiverged",
    "UnseenValuesWarning",
    "multiple_imputations",
    "pooled",
    "posterior",
]

_HOMES = {
    "CNNEmbedding": "denoiser",
    "Diffusion": "estimator",
    "DiffusionImputer": "estimator",
    "FCEmbedding": "denoiser",
    "Levels": "table",
    "NoiseSchedule": "diffusion",
    "Number": "table",
    "Residual": "denoiser",
    "Sampler": "sampling",
    "TextPath": "table",
    "Textbook": "denoiser",
    "Training": "training",
    "multiple_imputations": "estimator",
    "pooled": "estimator",
    "posterior": "inference",
}


_PACKAGES = {
    "assess",
    "course",
    "datasets",
    "denoiser",
    "diffusion",
    "engines",
    "errors",
    "estimator",
    "fit",
    "inference",
    "model",
    "report",
    "sampling",
    "streams",
    "table",
    "training",
}


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_PACKAGES})
