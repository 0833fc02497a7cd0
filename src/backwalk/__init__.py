"""backwalk: denoising diffusion for vectors.

>>> import numpy as np
>>> from backwalk import Diffusion
>>> X = np.random.default_rng(0).normal(size=(200, 2))
>>> Diffusion(max_steps=20, random_state=0).fit(X).sample(5, random_state=1).shape
(5, 2)

The names below load on first use, so that importing the package, and `backwalk --help`, need no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from backwalk.denoiser import CNNEmbedding, FCEmbedding, Residual, Textbook
    from backwalk.diffusion import NoiseSchedule
    from backwalk.errors import (
        BackwalkError,
        CheckpointError,
        ColumnsSetAsideWarning,
        DegenerateRowsWarning,
        DoubtfulCellsWarning,
        FewEffectiveDrawsWarning,
        ImpossibleRowsWarning,
        InvalidInput,
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
    "CheckpointError",
    "ColumnsSetAsideWarning",
    "DegenerateRowsWarning",
    "Diffusion",
    "DiffusionImputer",
    "DoubtfulCellsWarning",
    "FCEmbedding",
    "FewEffectiveDrawsWarning",
    "ImpossibleRowsWarning",
    "InvalidInput",
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


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
