"""`Diffusion`, the model as a scikit-learn estimator: a shell around `fit`, `model`, `assess`, `report`.

`diffusion.py` has its parameters, fit and files, `draws.py` the methods that make rows, `scores.py` those that score
them, and `conditionals.py` those that tell a column given others and fill gaps. `imputer.py` has the `DiffusionImputer`
for pipelines, and `pooling.py` pools estimates from several completed tables.
"""

from backwalk.estimator.diffusion import Diffusion
from backwalk.estimator.imputer import DiffusionImputer
from backwalk.estimator.multiple import multiple_imputations
from backwalk.estimator.pooling import Pooled, pooled

__all__ = ["Diffusion", "DiffusionImputer", "Pooled", "multiple_imputations", "pooled"]
